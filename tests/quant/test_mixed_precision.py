"""Parts of a model stay in float, as few as its outputs need."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from uair.codegen.reference import Interpreter, run
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.passes.quantize_int8 import QuantizeInt8
from uair.pipeline import PassContext
from uair.text import parse_module

CHANNELS = 8
STRAIGHT = "%i = Relu(%h)  "
SHUFFLE = (
    "%p = Reshape(%h) {shape = [1,2,4,6,6]}  %q = Transpose(%p) {perm = [0,2,1,3,4]}  "
    "%i = Reshape(%q) {shape = [1,8,6,6]}  "
)
WINDOWS = (
    "%p = Reshape(%h) {shape = [1,8,2,3,6]}  %q = Transpose(%p) {perm = [0,1,3,2,4]}  "
    "%i = Reshape(%q) {shape = [1,8,6,6]}  "
)


def model(moves: str = STRAIGHT) -> Module:
    """Convolutions, with an amplified difference of two nearly equal ones in the middle that rounding would drown."""
    rng = np.random.default_rng(0)

    def weight(name: str, values: Any) -> str:
        text = ",".join(repr(float(v)) for v in np.asarray(values, np.float32).ravel())
        return f"constant @{name} = [{text}] : f32[{CHANNELS},{CHANNELS},1,1]  "

    plain = [rng.standard_normal((CHANNELS, CHANNELS)) * 0.3 for _ in range(4)]
    text = "".join(weight(f"w{i}", w) for i, w in enumerate(plain))
    text += weight("near", plain[1] + 0.002 * rng.standard_normal((CHANNELS, CHANNELS)))
    text += "constant @gain = 400.0 : f32[]  "
    return parse_module(
        text + f"%x: f32[1,{CHANNELS},6,6]  %a = Conv2D(%x, @w0)  %b = Relu(%a)  %c = Conv2D(%b, @w1)  "
        "%d = Conv2D(%b, @near)  %e = Sub(%c, %d)  %f = Mul(%e, @gain)  %g = Conv2D(%f, @w2)  %h = Relu(%g)  "
        f"{moves}%y = Conv2D(%i, @w3)  return %y"
    )


def samples(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((1, CHANNELS, 6, 6)).astype(np.float32)} for _ in range(count)]


def quantized(least: float, moves: str = STRAIGHT) -> tuple[Module, dict[str, Any]]:
    module, context = model(moves), PassContext()
    step = QuantizeInt8(target="rk3588", samples=samples(4), least_cosine=least, interpreter=Interpreter)
    assert step.run(module, context)
    verify(module)
    return module, context.reports["quantization"]


def cosine(module: Module) -> float:
    feeds = {"x": np.random.default_rng(7).standard_normal((1, CHANNELS, 6, 6)).astype(np.float32)}
    a, b = (next(iter(run(each, feeds).values())).ravel().astype(np.float64) for each in (model(), module))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_without_a_limit_everything_is_quantized() -> None:
    module, report = quantized(0.0)
    assert cosine(module) < 0.9
    assert not any("stays float" in row["reason"] for row in report["skipped"])


@pytest.mark.parametrize("least", [0.98, 0.999])
def test_as_few_as_are_needed(least: float) -> None:
    module, report = quantized(least)
    assert cosine(module) > least - 0.005
    floats = [row for row in report["skipped"] if "stays float" in row["reason"]]
    assert floats and report["summary"]["quantized"] > 0
    assert "has cosine 0." in floats[0]["reason"]
    everything = quantized(0.0)[1]["summary"]["quantized"]
    assert report["summary"]["quantized"] + len(floats) == everything
    assert {row["operator"] for row in floats} & {"Conv2D", "Sub", "Mul"}


@pytest.mark.parametrize(("moves", "stays"), [(SHUFFLE, False), (WINDOWS, True)], ids=["channels", "rows"])
def test_only_a_shuffle_of_channels_keeps_all_quantized(moves: str, stays: bool) -> None:
    """rknn-toolkit2 may fail to build a model that has both shuffles and float parts; other exchanges do no harm."""
    _, report = quantized(0.98, moves)
    assert stays == any("stays float" in row["reason"] for row in report["skipped"])


def test_a_limit_that_cannot_be_reached_leaves_nothing_quantized() -> None:
    module, context = model(), PassContext()
    step = QuantizeInt8(target="rk3588", samples=samples(2), least_cosine=1.1, interpreter=Interpreter)
    step.run(module, context)
    assert context.reports["quantization"]["summary"]["quantized"] == 0
    assert cosine(module) == pytest.approx(1.0)
