"""What scikit-learn's models look like in ONNX: read, evaluated, written, against onnxruntime on the same file.

The files are made by sklearn_models.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.codegen.onnx.running import run
from tests.frontends.onnx.classical import written
from tests.frontends.onnx.models import floats, imported, interpreted
from uair.ir.dtype import Array

FOLDER = Path(__file__).with_name("sklearn")
MODELS = sorted(p.stem for p in FOLDER.glob("*.onnx"))
LINES = ["the cat sat on the mat", "a dog sat", "the dog ate the cat", "no cats here", "", "dog dog dog"]
WORDS: dict[str, Array] = {
    "ordinals": np.array([["red", "s"], ["blue", "m"], ["red", "l"], ["green", "s"]], object),
    "words_weighted": np.array(LINES, object).reshape(-1, 1),
}
NOT_WRITTEN = ("words_weighted",)  # its Tokenizer is of onnxruntime's own domain


def close(got: Any, want: Any) -> None:
    """Numbers close, everything else equal."""
    if isinstance(want, list):
        assert len(got) == len(want)
        for mine, theirs in zip(got, want, strict=True):
            assert list(mine) == list(theirs)
            close(np.array([float(v) for v in mine.values()]), np.array(list(theirs.values())))
        return
    assert got.shape == want.shape
    if want.dtype.kind in "OU":
        assert got.tolist() == want.tolist()
        return
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def judged(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Any]:
    """What onnxruntime makes of the file."""
    return list(run(model.SerializeToString(), feeds).values())


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    model = onnx.load(FOLDER / f"{name}.onnx")
    feeds = {"x": WORDS.get(name, floats(12, 4))}
    want = judged(model, feeds)
    module = imported(model)
    assert not [node for node in module.main if node.op_type == "Opaque"]
    for mine, theirs in zip(interpreted(module, feeds), want, strict=True):
        close(mine, theirs)
    for opset in () if name in NOT_WRITTEN else (11, 17, 22):
        for mine, theirs in zip(written(model, feeds, opset).values(), want, strict=True):
            close(mine, theirs)


def test_all_of_them_are_there() -> None:
    assert len(MODELS) == 9
