"""A `.pt2` file read where PyTorch is not installed."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import uair
from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError
from uair.frontends.torch import archive
from uair.frontends.torch.errors import TorchWeightsError
from uair.frontends.torch.expressions import parsed
from uair.frontends.torch.symbols import Sizes
from uair.ir.data import ComputedData, MappedData

FILE = Path(__file__).parent / "files" / "small.pt2"


def test_results_are_pytorchs() -> None:
    module = uair.load(FILE)
    assert "torch" not in sys.modules
    stored = np.load(FILE.with_suffix(".npz"))
    assert [f"{n}: {t.type}" for n, t in zip(module.main.input_names, module.main.inputs, strict=True)] == [
        "x: f32[x.0,2,5,5]",
        "options.bias: f32[4]",
    ]
    for each in (module, uair.optimize(module.clone())):
        found = uair.run(each, {"x": stored["x"], "options.bias": stored["options.bias"]})
        assert list(found) == ["scores", "rest.0", "rest.1"]
        for name, value in found.items():
            np.testing.assert_allclose(value, stored[f"to.{name}"], rtol=1e-4, atol=1e-5)


def test_weights_stay_in_the_file() -> None:
    constants = dict(archive.read(FILE).constants.values())
    assert isinstance(constants["conv.weight"], MappedData)
    assert isinstance(constants["turned"], ComputedData)  # its strides are those of a transposed matrix
    np.testing.assert_allclose(constants["turned"].array(), np.arange(12, dtype=np.float32).reshape(3, 4).T / 12)
    assert archive.read(FILE).ranges == {"x.0": (1, 8)}


def test_every_node_knows_module_and_line() -> None:
    calls = {call.target: call for call in archive.read(FILE).graph.calls}
    conv = calls["aten.conv2d.default"]
    assert (conv.module_path, conv.module_type) == ("conv", "torch.nn.modules.conv.Conv2d")
    assert conv.file.startswith("make_files.py:")


@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -30])
def test_a_cut_file_is_refused(tmp_path: Path, keep: int) -> None:
    (tmp_path / "cut.pt2").write_bytes(FILE.read_bytes()[:keep])
    with pytest.raises(SourceFileError) as caught:
        uair.load(tmp_path / "cut.pt2")
    assert caught.value.hint


def test_old_and_foreign_archives_are_refused(tmp_path: Path) -> None:
    for entries, words in (
        (("serialized_exported_program.json", "version"), "torch 2.6 or earlier"),
        (("x/readme.txt",), "no exported program"),
        (("models/a.json", "models/b.json"), "a, b"),
    ):
        with zipfile.ZipFile(tmp_path / "m.pt2", "w") as made:
            for name in entries:
                made.writestr(name, "{}")
        with pytest.raises(SourceFileError, match=words):
            uair.load(tmp_path / "m.pt2")


def test_a_compressed_description_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("models/model.json", b" " * 50_000_000)
    with pytest.raises(SourceFileError, match="compressed"):
        uair.load(tmp_path / "m.pt2")


def test_a_pickle_is_told_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"\x80\x02cos\nsystem\n(S'exit 3'\ntR.")
    with pytest.raises(TorchWeightsError):
        uair.load(tmp_path / "m.bin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Integer(7)", "7"),
        ("Symbol('s77', positive=True, integer=True)", "s77"),
        ("Add(Mul(Integer(2), Symbol('s0')), Integer(-1))", "2*s0 - 1"),
        ("FloorDiv(Symbol('s0'), Integer(2))", "floor(s0/2)"),
        ("2*s0 + s1**2 - 3", "2*s0 + s1**2 - 3"),
        ("Max(Integer(1), Symbol('u0'))", "Max(1, data_0)"),
        ("Where(Symbol('s0'), Integer(1), Integer(2))", "None"),
    ],
)
def test_sizes_are_parsed(text: str, expected: str) -> None:
    assert str(parsed(text, Sizes())) == expected


@pytest.mark.parametrize(
    "text", ["__import__('os').system('exit 3')", "(lambda: 1)()", "[1]", "'a'", "", "(" * 5000, "s0 +", "Symbol(3)"]
)
def test_what_is_no_size_is_refused_and_not_run(text: str) -> None:
    with pytest.raises((ValueError, UairError)):
        parsed(text, Sizes())
