"""Files that Keras 2 wrote, against what it gave for them (keras2/make_files.py); h5py is all they need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import uair
from uair.codegen.reference import Interpreter
from uair.ir.compare import graph_difference
from uair.ir.verify import verify

FOLDER = Path(__file__).parent / "keras2"
FILES = sorted(p.name for p in FOLDER.iterdir() if p.suffix in (".h5", ".keras"))


@pytest.mark.parametrize("name", FILES)
def test_file(name: str) -> None:
    module = uair.load(FOLDER / name)
    verify(module)
    assert module.origin.producer.startswith("keras 2.")
    with np.load(FOLDER / f"{Path(name).stem}.npz") as kept:
        feed = kept["x"]
        expected = [kept[f"y{i}"] for i in range(len(kept.files) - 1)]
    got = Interpreter(uair.optimize(module)).run({"x": feed})
    assert len(got) == len(expected)
    for a, b in zip(got.values(), expected, strict=True):
        assert a.shape == b.shape and np.ptp(b) > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("name", [n.removesuffix(".keras") for n in FILES if n.endswith(".keras")])
def test_both_files_of_a_model_are_the_same(name: str) -> None:
    archive, legacy = (uair.load(FOLDER / f"{name}.{suffix}") for suffix in ("keras", "h5"))
    assert not graph_difference(archive.main, legacy.main)


def test_a_function_that_is_not_known_is_named(tmp_path: Path) -> None:
    data = (FOLDER / "functions.h5").read_bytes()
    changed = tmp_path / "changed.h5"
    changed.write_bytes(data.replace(b'"function": "nn.gelu"', b'"function": "nn.what"'))
    with pytest.raises(uair.UairError, match=r"tf\.nn\.what \('tf\.nn\.gelu"):
        uair.load(changed)
