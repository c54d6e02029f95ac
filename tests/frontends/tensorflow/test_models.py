"""SavedModels and frozen graphs, read without TensorFlow and held against what it computed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import uair
from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError
from uair.frontends.tensorflow.errors import GraphInterfaceError, LoweredControlFlowError, SignatureError, VariableError
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of

MODELS = Path(__file__).parent / "models"


def compare(module: uair.Module, recorded: Path) -> None:
    """Hold a module against recorded outputs."""
    values = np.load(recorded)
    names = [k for k in values.files if not k.startswith("y_")]
    given = {own: values[k] for own, k in zip(module.main.input_names, names, strict=True)}
    results = uair.run(module, given)
    for key in values.files:
        if key.startswith("y_"):
            wanted = values[key]
            assert np.ptp(wanted) > 0.01
            np.testing.assert_allclose(results[key[2:]], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("source", "recorded"), [("plain", "plain"), ("recurrent.pb", "recurrent")])
def test_outputs_are_tensorflows(source: str, recorded: str) -> None:
    module = uair.load(MODELS / source)
    verify(module)
    compare(module, MODELS / f"{recorded}.npz")
    compare(parse_module(print_module(module), weights=weights_of(module)), MODELS / f"{recorded}.npz")
    compare(uair.optimize(module), MODELS / f"{recorded}.npz")


def test_interface_names_and_origin() -> None:
    module = uair.load(MODELS / "plain")
    assert module.main.input_names == ["image", "sign"]
    assert [str(d) for d in module.main.inputs[0].type.dims] == ["batch", "9", "8", "2"]
    assert sorted(module.main.output_names) == ["features", "mean"]
    assert module.origin.format == "tensorflow" and module.origin.producer.startswith("tensorflow 2.")
    assert len(module.origin.sha256) == 64
    convolutions = [node for node in module.main if node.op_type == "Conv2D"]
    assert [node.loc.sources[0].kind for node in convolutions] == ["Conv2D"]
    weights = convolutions[0].inputs[1]
    assert weights is not None and weights.data is not None and weights.data.shape == (4, 2, 3, 3)


def test_branch_decided_by_a_value() -> None:
    module = uair.load(MODELS / "plain")
    assert any(node.op_type == "If" for node in module.main)


def test_model_without_signatures_lists_its_functions() -> None:
    with pytest.raises(SignatureError, match="halve") as caught:
        uair.load(MODELS / "unsigned")
    assert "signatures=" in caught.value.hint


def test_unknown_signature() -> None:
    with pytest.raises(SignatureError) as caught:
        uair.load(MODELS / "plain", signature="train")
    assert "serving_default" in caught.value.hint


def test_loops_of_tensorflow_1_are_refused() -> None:
    with pytest.raises(LoweredControlFlowError) as caught:
        uair.load(MODELS / "lowered.pb")
    assert "lower_control_flow=False" in caught.value.hint


def test_unknown_output() -> None:
    with pytest.raises(GraphInterfaceError, match="nowhere"):
        uair.load(MODELS / "recurrent.pb", outputs=["nowhere"])


def test_weights_missing(tmp_path: Path) -> None:
    shutil.copy(MODELS / "plain" / "saved_model.pb", tmp_path)
    with pytest.raises(VariableError, match=r"variables\.index"):
        uair.load(tmp_path)


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    shutil.copytree(MODELS / "plain", tmp_path / "model")
    data = tmp_path / "model" / "variables" / "variables.data-00000-of-00001"
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceFileError, match="leads out"):
        uair.load(tmp_path / "model")


def attempt(path: Path) -> None:
    """Load a damaged model: it loads or says what is wrong."""
    try:
        uair.load(path)
    except UairError as error:
        assert error.code != "UAIR-E0002"


@pytest.mark.parametrize("name", ["recurrent.pb", "plain"])
def test_damaged_graphs(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    if name == "plain":
        shutil.copytree(MODELS / name, folder)
        file = path = folder / "saved_model.pb"
        path = folder
    else:
        file = path = tmp_path / name
        shutil.copy(MODELS / name, file)
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        file.write_bytes(whole[: int(rng.integers(1, len(whole)))])
        attempt(path)
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 4):
            damaged[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(damaged))
        attempt(path)


def test_damaged_indexes(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODELS / "plain", folder)
    file = folder / "variables" / "variables.index"
    whole = file.read_bytes()
    for at in range(0, len(whole), 3):
        file.write_bytes(whole[:at])
        with pytest.raises(UairError):
            uair.load(folder)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(damaged))
        attempt(folder)
