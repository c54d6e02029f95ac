"""Kunlunxin K200 and R200: what x2paddle does not convert."""

from __future__ import annotations

from tests.targets.helpers import make
from tests.targets.negatives import Case
from uair.codegen.kunlun import KunlunTarget
from uair.codegen.onnx.target import OnnxTarget
from uair.ops import (
    ArgMax,
    BatchNorm,
    CumSum,
    InstanceNorm,
    MaxPool1D,
    MaxPool2D,
    Pad,
    Pow,
    PRelu,
    ReduceL2,
    Resize,
)
from uair.targets import Support

X = "f32[1,4,16,16]"
NO = Support.UNSUPPORTED


def cases(name: str) -> list[Case]:
    target, plain = KunlunTarget(name), OnnxTarget(name)
    larger = (1, 4, 24, 32)
    return [
        (target, make(Pad(pads=(0, -1)), "f32[4]"), NO, "min(pads) >= 0"),
        (target, make(Pad(pads=(1, 1, 1, 1), mode="reflect"), "f32[4,4]"), NO, 'mode == "constant" or x.rank >= 3'),
        (target, make(MaxPool1D(kernel=(3,), pads=(0, 1)), "f32[1,4,9]"), NO, "pad_left == pad_right"),
        (plain, make(MaxPool1D(kernel=(3,), dilations=(2,)), "f32[1,4,9]"), NO, "all(dilations == 1)"),
        (target, make(MaxPool2D(kernel=(3, 3), pads=(0, 1, 0, 0)), X), NO, "pad_left == pad_right"),
        (target, make(BatchNorm(), X, "f32[4]", "=f32[4]", "=f32[4]", "=f32[4]"), NO, "scale.is_constant"),
        (target, make(InstanceNorm(), X, "f32[4]", "=f32[4]"), NO, "scale.is_constant"),
        (target, make(PRelu(), X, "f32[4,1,1]"), NO, "slope.is_constant"),
        (target, make(PRelu(), "i32[4]", "=i32[4]"), NO, "x.dtype == f32"),
        (target, make(ArgMax(axis=1, select_last=True), X), NO, "not select_last"),
        (target, make(CumSum(exclusive=True), X), NO, "not exclusive"),
        (target, make(ReduceL2(axes=(2, 3)), X), NO, "len(axes) == 1"),
        (target, make(Pow(), "i32[4]", "i32[4]"), NO, "a.dtype == f32"),
        (plain, make(Resize(sizes=larger, mode="cubic"), X), NO, 'mode in ["nearest", "linear"]'),
        (plain, make(Resize(sizes=larger, mode="linear", coordinate_mode="asymmetric"), X), NO, "coordinate_mode in"),
        (plain, make(Resize(sizes=larger), X), NO, 'mode != "nearest"'),
        (target, make(Pad(pads=(0,) * 10), "f32[1,1,4,4,4]"), NO, "x.rank <= 4"),
        (target, make(Pad(pads=(0, 1), value=1.0), "f32[4]"), NO, "value == 0"),
        (target, make(Pad(pads=None), "f32[4]", "i64[2]"), NO, "pads != none"),
        # The target's own writer refuses it before the description is asked.
        (plain, make(MaxPool2D(kernel=(3, 3), dilations=(2, 2)), X), NO, "all(dilations == 1)"),
    ]


NEGATIVE: list[Case] = [case for name in ("kunlun_k200", "kunlun_r200") for case in cases(name)]
