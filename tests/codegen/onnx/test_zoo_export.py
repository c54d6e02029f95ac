"""The real models, imported and written again, compute what the originals compute."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests import zoo
from uair.codegen.onnx import NEWEST_OPSET, export
from uair.frontends.onnx import load
from uair.ir import Array, Module
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.pipeline import PassManager

OPSETS = (11, 13, 17, NEWEST_OPSET)
TOLERANCE = 1e-4  # relative to the greatest magnitude of an output
HUGE = frozenset({"light_vgg19", "light_bvlc_alexnet", "light_zfnet512"})
"""Their weights, one repeated value each in the source, are hundreds of MiB when written."""


def run(path: Path, feeds: dict[str, Array]) -> dict[str, Array]:
    """Outputs by name, on one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    taken = {i.name for i in session.get_inputs()}
    values: Sequence[Any] = session.run(names, {n: v for n, v in feeds.items() if n in taken})
    return dict(zip(names, values, strict=True))


@functools.cache
def original(name: str) -> dict[str, Array]:
    """What the model computes as it came."""
    model = zoo.models()[name]
    return run(model.path, dict(model.feeds()))


@functools.cache
def imported(name: str) -> Module:
    """The model as a module."""
    return load(zoo.models()[name].path)


def cases() -> list[object]:
    """(model, opset) pairs; light models, whose uniform outputs prove little, are written at the oldest opset only."""
    return [
        pytest.param(name, opset, marks=[pytest.mark.slow] if name in HUGE else [])
        for name, model in zoo.models().items()
        for opset in (OPSETS[:1] if "light" in model.tags else OPSETS)
    ]


@pytest.mark.parametrize(("name", "opset"), cases())
def test_export_computes_the_same(name: str, opset: int, tmp_path: Path) -> None:
    module = imported(name).clone()
    PassManager([LegaliseOnnx(opset=opset)]).run(module)
    path = tmp_path / "model.onnx"
    export(module, path, opset=opset)
    written = onnx.load(path, load_external_data=False) if name not in HUGE else None
    if written is not None:
        assert [(o.domain, o.version) for o in written.opset_import] == [("", opset)]
    got, want = run(path, dict(zoo.models()[name].feeds())), original(name)
    path.unlink()
    assert list(got) == list(want)
    for output, expected in want.items():
        scale = max(float(np.abs(expected).max()), 1e-6)
        error = float(np.abs(got[output].astype(np.float64) - expected).max())
        assert error <= TOLERANCE * scale, f"{output}: {error} of {scale}"
