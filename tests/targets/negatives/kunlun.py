"""Kunlunxin K200 and R200: what x2paddle does not convert."""

from __future__ import annotations

from tests.targets.helpers import make
from tests.targets.negatives import Case
from uair.codegen.kunlun import KunlunTarget
from uair.codegen.onnx.target import OnnxTarget
from uair.ops import MaxPool2D, Pad
from uair.targets import Support

X = "f32[1,4,16,16]"
NO = Support.UNSUPPORTED


def cases(name: str) -> list[Case]:
    target, plain = KunlunTarget(name), OnnxTarget(name)
    return [
        (target, make(Pad(pads=(0,) * 10), "f32[1,1,4,4,4]"), NO, "x.rank <= 4"),
        (target, make(Pad(pads=(0, 1), value=1.0), "f32[4]"), NO, "value == 0"),
        (target, make(Pad(pads=None), "f32[4]", "i64[2]"), NO, "pads != none"),
        # The target's own writer refuses it before the description is asked.
        (plain, make(MaxPool2D(kernel=(3, 3), dilations=(2, 2)), X), NO, "all(dilations == 1)"),
    ]


NEGATIVE: list[Case] = [case for name in ("kunlun_k200", "kunlun_r200") for case in cases(name)]
