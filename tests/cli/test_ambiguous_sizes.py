"""Models that call axes of different lengths the same: the command line tells them apart by what it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.helpers import Shell
from tests.frontends.onnx.models import F32, model, one, onnxruntime_outputs
from uair.cli.inputs import array_shapes

FEEDS = {
    "a": np.arange(10, dtype=np.float32).reshape(2, 5),
    "b": np.ones((2, 7), np.float32),
    "c": np.full((2, 5), 2, np.float32),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    nodes = [one("Concat", "a", "b", outputs=["joined"], axis=1), one("Add", "a", "c", outputs=["sum"])]
    made = model(nodes, {name: (F32, [2, "N"]) for name in FEEDS}, ["joined", "sum"])
    file = tmp_path / "model.onnx"
    onnx.save(made, file)
    return file


@pytest.mark.parametrize("form", ["all.npz", "{0}=all.npz", "{0}={0}.npy"])
def test_arrays_tell_the_sizes(uair: Shell, path: Path, form: str) -> None:
    """As onnxruntime takes them: all in one file, or one by one; and bisect does as run."""
    np.savez("all.npz", **FEEDS)  # type: ignore[arg-type]
    for name, array in FEEDS.items():
        np.save(f"{name}.npy", array)
    given = [text for file in dict.fromkeys(form.format(name) for name in FEEDS) for text in ("-i", file)]
    uair("run", path, *given, "-o", "y.npz").require()
    results = np.load("y.npz")
    for name, want in zip(("joined", "sum"), onnxruntime_outputs(onnx.load(path), FEEDS), strict=True):
        np.testing.assert_array_equal(results[name], want)
    uair("bisect", path, *given).require()


@pytest.mark.parametrize("name", ["a.npy", "all.npz"])
def test_shapes_come_from_headers(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arrays are read once, when they are fed: their shapes are known without the data, in either order of axes."""
    given = FEEDS if name == "all.npz" else {"a": np.asfortranarray(FEEDS["a"])}
    file = tmp_path / name
    np.savez(file, allow_pickle=False, **given) if name == "all.npz" else np.save(file, given["a"])
    monkeypatch.setattr(np.lib.format, "read_array", None)
    found = array_shapes([str(file) if name == "all.npz" else f"a={file}"])
    assert found == {key: array.shape for key, array in given.items()}


def test_a_bucket_tells_the_sizes(uair: Shell, path: Path) -> None:
    """Also where the sizes are the same in another bucket."""
    same, different = "a=2,5;b=2,5;c=2,5", "a=2,6;b=2,9;c=2,6"
    buckets = ["--shape-bucket", same, "--shape-bucket", different]
    uair("compile", path, "-t", "jetson_orin", *buckets, "-o", "art").require()


def test_all_buckets_together_tell_the_sizes(uair: Shell, path: Path) -> None:
    """No single one shows that a, b and c each have a size of their own."""
    nodes = [one("Relu", name, outputs=[name.upper()]) for name in FEEDS]
    onnx.save(model(nodes, {name: (F32, [2, "N"]) for name in FEEDS}, list("ABC")), path)
    buckets = ["--shape-bucket", "a=2,5;b=2,7;c=2,5", "--shape-bucket", "a=2,4;b=2,4;c=2,6"]
    uair("compile", path, "-t", "jetson_orin", *buckets, "-o", "art").require()
