"""HardSigmoid behind a convolution becomes a Clip."""

from __future__ import annotations

import numpy as np
import pytest

from uair.codegen.reference import run
from uair.ops import Clip, HardSigmoid
from uair.passes.clip_gates import ClipGates
from uair.pipeline import PassManager
from uair.testing import assert_keeps
from uair.text import parse_module

W = "constant @w = [0.5, -3.0, 2.0, 1.0, -1.0, 4.0] : f32[3,2,1,1]  "
B = "constant @b = [1.0, -2.0, 0.0] : f32[3]  "


@pytest.mark.parametrize("bias", ["", ", @b"])
def test_values_stay(bias: str) -> None:
    module = parse_module(f"{W}{B}%x: f32[2,2,5,5]  %c = Conv2D(%x, @w{bias})  %y = HardSigmoid(%c) {{alpha = 0.2}}")
    x = np.random.default_rng(0).normal(0, 1, (2, 2, 5, 5)).astype(np.float32)
    before = run(module, {"x": x})["y"]
    assert 0 == before.min() < before.max() == 1
    PassManager([ClipGates()], []).run(module)
    assert not any(isinstance(node.op, HardSigmoid) for node in module.main)
    assert sum(isinstance(node.op, Clip) for node in module.main) == 1
    np.testing.assert_allclose(run(module, {"x": x})["y"], before, atol=3e-7)


@pytest.mark.parametrize(
    "text",
    [
        f"{W}%x: f32[1,2,5,5]  %c = Conv2D(%x, @w)  %g = HardSigmoid(%c)  %y = Add(%g, %c)",
        "%w: f32[3,2,1,1]  %x: f32[1,2,5,5]  %c = Conv2D(%x, %w)  %y = HardSigmoid(%c)",
        "%x: f32[1,2,5,5]  %r = Relu(%x)  %y = HardSigmoid(%r)",
    ],
)
def test_keeps(text: str) -> None:
    assert_keeps(ClipGates(), text)
