"""External data: what is read, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.frontends.onnx.models import floats, interpreted, model, one
from uair.errors import UairError
from uair.frontends.onnx import load, load_bytes
from uair.frontends.onnx.errors import OnnxExternalDataError
from uair.ir.data import MappedData

WEIGHTS = floats(4, 8)


def stored(folder: Path, **entries: str) -> Path:
    """A model in `folder` whose weight w: f32[4,8] is external, as the entries say."""
    folder.mkdir(parents=True, exist_ok=True)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 8], data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    proto = model([one("MatMul", "x", "w")], {"x": floats(2, 4)})
    proto.graph.initializer.append(tensor)
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def refusal(path: Path, external_data_root: Path | None = None) -> OnnxExternalDataError:
    with pytest.raises(OnnxExternalDataError) as caught:
        load(path, external_data_root=external_data_root)
    assert "'w'" in caught.value.place
    assert path.name in caught.value.place
    return caught.value


@pytest.mark.parametrize("location", ["w.bin", "sub/w.bin", "./w.bin"])
def test_a_plain_file_is_mapped(tmp_path: Path, location: str) -> None:
    path = stored(tmp_path, location=location, offset="16", length="128")
    (tmp_path / "sub").mkdir()
    (tmp_path / location).write_bytes(b"\0" * 16 + WEIGHTS.tobytes() + b"\0" * 7)
    module = load(path)
    (constant,) = module.main.constants()
    assert isinstance(constant.data, MappedData)
    x = floats(2, 4, seed=1)
    np.testing.assert_allclose(interpreted(module, {"x": x})[0], x @ WEIGHTS, rtol=1e-5, atol=1e-6)


def test_what_onnx_writes_is_read(tmp_path: Path) -> None:
    proto = model([one("MatMul", "x", "w")], {"x": floats(2, 4)}, constants={"w": WEIGHTS})
    onnx.save_model(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (constant,) = load(tmp_path / "m.onnx").main.constants()
    np.testing.assert_array_equal(constant.numpy(), WEIGHTS)


def test_a_file_without_offset_and_length_must_fit(tmp_path: Path) -> None:
    path = stored(tmp_path, location="w.bin")
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    assert load(path).main.constants()
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes() * 2)
    assert "256 bytes for a tensor of 128" in refusal(path).message


def test_missing_and_short_files(tmp_path: Path) -> None:
    path = stored(tmp_path, location="w.bin", length="128")
    assert "No such file" in refusal(path).message
    (tmp_path / "w.bin").write_bytes(b"\0" * 100)
    assert "outside" in refusal(path).message
    (tmp_path / "w.bin").write_bytes(b"")
    assert "w.bin" in refusal(path).message


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"offset": "-4"}, "offset"),
        ({"offset": "1e3"}, "offset"),
        ({"offset": "9" * 40}, "offset"),
        ({"offset": "\u0661"}, "offset"),
        ({"length": "-128"}, "length"),
        ({"length": "64"}, "64 bytes for a tensor of 128"),
        ({"length": "256"}, "256 bytes for a tensor of 128"),
        ({"length": "128", "offset": "9223372036854775800"}, "outside"),
        ({"offset": "400"}, "0 bytes for a tensor of 128"),
    ],
)
def test_numbers_that_do_not_fit(tmp_path: Path, entries: dict[str, str], words: str) -> None:
    path = stored(tmp_path, location="w.bin", **entries)
    (tmp_path / "w.bin").write_bytes(b"\0" * 300)
    assert words in refusal(path).message


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "sub/../../w.bin", "sub/../w.bin", "..\\w.bin", "/etc/passwd", "/proc/self/environ", "C:\\w.bin",
     "\\\\host\\share\\w.bin", "", "a\0b"],
)  # fmt: skip
def test_locations_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    path = stored(tmp_path / "model", location=location)
    (tmp_path / "model" / "sub").mkdir()
    message = refusal(path).message
    assert "outside the model's folder" in message or "without a file name" in message


def test_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHTS.tobytes())
    path = stored(tmp_path / "model", location="w.bin")
    (tmp_path / "model" / "w.bin").symlink_to(tmp_path / "secret.bin")
    assert "symbolic link" in refusal(path).message
    (tmp_path / "model" / "w.bin").unlink()
    os.link(tmp_path / "secret.bin", tmp_path / "model" / "w.bin")
    assert "hard link" in refusal(path).message
    path = stored(tmp_path / "other", location="sub/w.bin")
    (tmp_path / "other" / "sub").symlink_to(tmp_path / "model")
    assert "symbolic link, 'sub'" in refusal(path).message


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    path = stored(tmp_path, location="w.bin")
    (tmp_path / "w.bin").mkdir()
    assert "not a regular file" in refusal(path).message
    (tmp_path / "w.bin").rmdir()
    os.mkfifo(tmp_path / "w.bin")
    assert "not a regular file" in refusal(path).message


def test_a_trusted_root_allows_links_inside_it(tmp_path: Path) -> None:
    """The layout of a hub's cache: snapshots/1/w.bin -> ../../blobs/abc."""
    blobs = tmp_path / "cache" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc").write_bytes(WEIGHTS.tobytes())
    path = stored(tmp_path / "cache" / "snapshots" / "1", location="w.bin")
    (path.parent / "w.bin").symlink_to(blobs / "abc")
    refusal(path)
    (constant,) = load(path, external_data_root=tmp_path / "cache").main.constants()
    np.testing.assert_array_equal(constant.numpy(), WEIGHTS)
    assert "lies outside the folder" in refusal(path, external_data_root=tmp_path / "cache" / "snapshots").message


def test_a_trusted_root_is_no_door_to_the_rest(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHTS.tobytes())
    for location in ("../../secret.bin", str(tmp_path / "secret.bin")):
        path = stored(tmp_path / "root" / "m", location=location)
        assert "outside" in refusal(path, external_data_root=tmp_path / "root").message


def test_an_absolute_location_inside_a_trusted_root(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    path = stored(tmp_path / "model", location=str(tmp_path / "w.bin"))
    assert "--external-data-root" in refusal(path).hint
    (constant,) = load(path, external_data_root=tmp_path).main.constants()
    np.testing.assert_array_equal(constant.numpy(), WEIGHTS)


def test_a_model_in_memory_needs_a_root(tmp_path: Path) -> None:
    path = stored(tmp_path, location="w.bin")
    (tmp_path / "w.bin").write_bytes(WEIGHTS.tobytes())
    with pytest.raises(OnnxExternalDataError, match="has no folder"):
        load_bytes(path.read_bytes())
    (constant,) = load_bytes(path.read_bytes(), external_data_root=tmp_path).main.constants()
    np.testing.assert_array_equal(constant.numpy(), WEIGHTS)


def test_absurd_shapes_do_not_allocate(tmp_path: Path) -> None:
    path = stored(tmp_path, location="w.bin")
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer[0].dims[:] = [2**40, 64]
    path.write_bytes(proto.SerializeToString())
    (tmp_path / "w.bin").write_bytes(b"\0")
    with pytest.raises(UairError, match="1 bytes for a tensor of"):
        load(path)
