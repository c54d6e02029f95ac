"""`.keras` and `.h5` files, read without TensorFlow and held against what Keras computed."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import uair
from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError, UnmappedOperatorError, UnsafeModelError
from uair.frontends.keras.errors import KerasWeightsError
from uair.ir.compare import difference, graph_difference
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of

FILES = Path(__file__).parent / "files"
NAMES = ("images", "words")


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_keras(name: str, suffix: str) -> None:
    module = uair.load(FILES / f"{name}.{suffix}")
    verify(module)
    assert not difference(module, parse_module(print_module(module), weights=weights_of(module)))
    recorded = np.load(FILES / f"{name}.npz")
    assert np.ptp(recorded["y"]) > 0.01
    for each in (module, uair.optimize(module.clone())):
        (y,) = uair.run(each, recorded["x"]).values()
        np.testing.assert_allclose(y, recorded["y"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_of_a_file_give_the_same(name: str) -> None:
    archive, legacy = (uair.load(FILES / f"{name}.{suffix}") for suffix in ("keras", "h5"))
    assert not graph_difference(archive.main, legacy.main)


def test_layers_stay_whole_and_know_their_names() -> None:
    module = uair.load(FILES / "words.keras")
    kinds = Counter(node.op_type for node in module.main)
    assert all(kinds[kind] == 1 for kind in ("LSTM", "GRU", "Attention", "LayerNorm", "Gelu"))
    places = {source.name for node in module.main for source in node.loc.sources}
    assert {"both", "attention", "norm", "reader", "head"} <= places
    assert module.origin.format == "keras" and module.origin.file == "words.keras"
    assert {t.name for t in module.main.constants()} >= {"attention/query/kernel", "head/kernel"}


def test_channels_first() -> None:
    recorded = np.load(FILES / "images.npz")
    module = uair.load(FILES / "images.keras", channels="first")
    assert module.main.inputs[0].type.dims[1:] == (3, 9, 8) and module.metadata["transposes"] == "0"
    (y,) = uair.run(module, np.moveaxis(recorded["x"], -1, 1)).values()
    np.testing.assert_allclose(y, recorded["y"], rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------------------ damaged files
@pytest.mark.parametrize("file", ["images.keras", "words.h5"])
def test_a_file_cut_anywhere_is_refused(file: str, tmp_path: Path) -> None:
    whole = (FILES / file).read_bytes()
    path = tmp_path / file
    for part in range(40):
        path.write_bytes(whole[: len(whole) * part // 40])
        with pytest.raises(UairError) as caught:
            uair.load(path)
        assert caught.value.code != "UAIR-E0002"


@pytest.mark.parametrize("file", ["images.keras", "words.h5"])
def test_a_file_with_changed_bits_loads_or_is_refused(file: str, tmp_path: Path) -> None:
    whole = (FILES / file).read_bytes()
    path, rng, refused = tmp_path / file, np.random.default_rng(0), 0
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 8):
            damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            uair.load(path)
        except UairError as error:
            assert error.code != "UAIR-E0002"
            refused += 1
    assert refused > 5


def rewritten(folder: Path, name: str, change: Callable[[Any], None]) -> Path:
    """The archive with a changed configuration."""
    path = folder / "changed.keras"
    with zipfile.ZipFile(FILES / f"{name}.keras") as source, zipfile.ZipFile(path, "w") as out:
        for entry in source.namelist():
            data = source.read(entry)
            if entry == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            out.writestr(entry, data)
    return path


def layer(config: Any, name: str) -> Any:
    """The configuration of a layer."""
    return next(entry for entry in config["config"]["layers"] if entry["name"] == name)


def test_weights_of_another_shape_name_the_layer(tmp_path: Path) -> None:
    path = rewritten(tmp_path, "images", lambda c: layer(c, "head")["config"].update(units=7))
    with pytest.raises(KerasWeightsError, match="head"):
        uair.load(path)


def test_an_unknown_layer_is_named(tmp_path: Path) -> None:
    own = {"module": "mine", "class_name": "Mystery", "registered_name": "mine>Mystery"}
    path = rewritten(tmp_path, "images", lambda c: layer(c, "groups").update(own))
    with pytest.raises(UnmappedOperatorError, match=r"mine\.Mystery \('groups'\)"):
        uair.load(path)


def test_code_is_not_run(tmp_path: Path) -> None:
    code = {
        "module": "builtins",
        "class_name": "__lambda__",
        "config": {"code": "4wEAAAA=", "defaults": None, "closure": None},
    }
    own = {"module": "keras.layers", "class_name": "Lambda", "registered_name": None}
    path = rewritten(tmp_path, "images", lambda c: layer(c, "groups").update(own, config={"function": code}))
    with pytest.raises(UnsafeModelError) as caught:
        uair.load(path)
    assert "groups" in caught.value.place


def test_a_recurrent_layer_obeys_the_mask_of_its_words(tmp_path: Path) -> None:
    plain = uair.load(FILES / "words.keras")
    masked = uair.load(rewritten(tmp_path, "words", lambda c: layer(c, "table")["config"].update(mask_zero=True)))
    words = np.load(FILES / "words.npz")["x"]
    whole = np.where(words == 0, 1, words)
    padded = whole.copy()
    padded[:, -2:] = 0
    for feed, same in ((whole, True), (padded, False)):
        (want,), (got,) = (uair.run(module, feed).values() for module in (plain, masked))
        assert np.allclose(want, got, rtol=1e-5, atol=1e-6) == same


def test_a_graph_with_a_cycle_is_refused(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        layer(config, "conv")["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["head", 0, 0]

    with pytest.raises(SourceFileError, match="depends on itself"):
        uair.load(rewritten(tmp_path, "images", change))


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    shutil.copy(FILES / "words.h5", path)
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    with pytest.raises(UairError, match="weights"):
        uair.load(path)
