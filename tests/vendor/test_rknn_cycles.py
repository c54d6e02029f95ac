"""UAIR's cycles are those of rknn-toolkit2's own compiler: convolution by convolution, and for whole models."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.vendor.rknn_cycles import measure

pytestmark = pytest.mark.vendor

MODELS = [
    *("squeezenet_real", "resnet50_real", "shufflenet_real", "densenet121_real", "inception_v1_real"),
    *("inception_v2_real", "ppocr_cls", "ppocr_det", "ppocr_rec", "yolo"),
]
EXACT = 0.01
"""Relative error of a convolution."""
TINY = 400
"""Cycles (0.4 microseconds) that a convolution may be wrong by where its weights are padded in a way that is not known:
of matrices of a few rows behind activations that are looked up in a table."""
IN_FRONT_OF_FLOAT_SUMS = {("ppocr_rec", "int8"): 600}
"""The same where products of a few rows stand in front of sums in float16: predicted is the transfer of the sum's other
operand, which costs the compiler nothing (four products, of 1,085 and 1,884 cycles)."""
FEW = 50
"""Cycles by which a convolution of a few pixels, as stages of means are, may be off."""
TILED = {("inception_v2_real", "float16"): 0.13, ("inception_v1_real", "int8"): 0.02, ("ppocr_det", "int8"): 0.10}
"""Where single convolutions are off: the compiler cuts input channels in two whose halves fill their blocks less well;
a transfer is padded in a way that is not known, in INT8 beside float16."""


@pytest.mark.parametrize("mode", ["float16", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_predicted_cycles(name: str, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = measure(name, mode, tmp_path)
    found = measured.cycles
    limit, tiny = TILED.get((name, mode), EXACT), IN_FRONT_OF_FLOAT_SUMS.get((name, mode), TINY)
    wrong = [p for p in found.pairs if abs(p.error) > limit and abs(p.predicted - p.compiler) > tiny]
    exact = sum(p.compiler for p in found.pairs if abs(p.error) <= EXACT or abs(p.predicted - p.compiler) <= FEW)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{name:20} {mode:8} {found.compiler:10,} cycles, predicted {found.predicted:12,.0f} "
            f"({found.error:+.2%}), {exact / found.compiler:.1%} of them in convolutions within 1 % or {FEW} cycles\n"
        )
    assert not wrong
    assert abs(found.error) <= 0.01
    assert exact >= 0.95 * found.compiler
    assert sum(c for _, c in found.only_compiler) <= 0.01 * found.compiler
    assert measured.lower_bound <= measured.activations
