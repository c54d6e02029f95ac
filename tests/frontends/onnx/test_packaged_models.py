"""The models that packages ship, through everything, and the page about them.

What `zoo_onnx.examine` finds is asserted per model; docs/onnx-models.md (`python bench/onnx_models.py --write`) must
list each of them as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.onnx_models import PAGE
from tests import zoo_onnx


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo_onnx.MODELS)
def test_a_model_computes_what_onnxruntime_computes(name: str, record_property: Callable[[str, object], None]) -> None:
    report = zoo_onnx.examine(zoo_onnx.MODELS[name])
    record_property("report", str(report))
    assert not report.faults, report


def test_the_page_lists_every_model() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    listed = {line.split("|")[1].strip(): line for line in lines}
    assert set(zoo_onnx.MODELS) <= set(listed)
    for name, model in zoo_onnx.MODELS.items():
        assert f"| {model.origin} |" in listed[name]


def test_numbers_in_sequences_and_maps_count_as_magnitude() -> None:
    assert zoo_onnx.magnitude([[{"a": 2.5}, {"b": -3}], np.ones(2)]) == 3
    assert zoo_onnx.magnitude([np.array(["text"])]) == 0
