"""The sidecar: written once per value, mapped when read, checked before it is believed."""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from tests.text.toys import TOYS, Pair
from uair.ir import ArrayData, ComputedData, Data, DType, Graph, MappedData, Module, constant
from uair.ir.compare import difference
from uair.text import TextFileError, WeightsError, load, open_weights, save, weights_of, write_weights


def module_of(*data: Data) -> Module:
    graph = Graph()
    graph.append(Pair().node(*(constant(d, f"c{i}") for i, d in enumerate(data))))
    return Module("m", {"main": graph})


def every_dtype() -> list[Data]:
    codes = np.arange(80)
    return [
        ArrayData((codes % 2 if d.bits < 8 or d is DType.BOOL else codes).astype(d.numpy).reshape(2, 40), d)
        for d in DType
        if d is not DType.STRING
    ]


def test_save_and_load(tmp_path: Path) -> None:
    module = module_of(*every_dtype(), ArrayData(np.arange(3)))
    path = tmp_path / "m.uair"
    save(module, path)
    assert sorted(os.listdir(tmp_path)) == ["m.uair", "m.uair.safetensors"]
    again = load(path, context=TOYS)
    assert difference(module, again) == ""
    data = [t.data for t in again.main.constants()]
    assert all(isinstance(d, MappedData) for d in data[:-1])
    save(again, path)  # over the files that it is mapped from
    assert difference(module, load(path, context=TOYS)) == ""


def test_the_same_module_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.uair", "b.uair"):
        save(module_of(*every_dtype()), tmp_path / name)
    assert (tmp_path / "a.uair").read_bytes() == (tmp_path / "b.uair").read_bytes()
    assert (tmp_path / "a.uair.safetensors").read_bytes() == (tmp_path / "b.uair.safetensors").read_bytes()


def test_other_tools_read_the_sidecar(tmp_path: Path) -> None:
    data = ArrayData(np.arange(100, dtype=np.float32).reshape(4, 25))
    write_weights({data.sha256: data}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="numpy") as file:
        (name,) = file.keys()
        assert name == hashlib.sha256(data.array().tobytes()).hexdigest()
        assert np.array_equal(file.get_tensor(name), data.array())


def test_values_are_aligned(tmp_path: Path) -> None:
    save(module_of(*every_dtype()), tmp_path / "m.uair")
    for tensor in load(tmp_path / "m.uair", context=TOYS).main.constants():
        assert isinstance(tensor.data, MappedData)
        assert tensor.data.array().flags.aligned


def test_no_sidecar_without_large_constants(tmp_path: Path) -> None:
    save(module_of(ArrayData(np.arange(32)), ArrayData(np.zeros(1000))), tmp_path / "m.uair")
    assert os.listdir(tmp_path) == ["m.uair"]
    load(tmp_path / "m.uair", context=TOYS)


def test_one_constant_at_a_time_is_in_memory(tmp_path: Path) -> None:
    """Twelve constants of 4 MB, computed when asked for, are written with far less than their sum in memory."""
    count, size = 12, 1 << 20

    def values(k: int) -> Data:
        return ComputedData(lambda x: x + np.float32(k), (ArrayData(ramp),), DType.F32, (size,))

    ramp = np.arange(size, dtype=np.float32)
    module = module_of(*(values(k) for k in range(count)))
    tracemalloc.start()
    save(module, tmp_path / "m.uair")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "m.uair.safetensors").stat().st_size > count * size * 4
    assert peak < 3 * size * 4


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(module_of(ArrayData(np.arange(100, dtype=np.float32)), ArrayData(np.arange(50))), tmp_path / "m.uair")
    return tmp_path / "m.uair"


def sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".safetensors")


def test_missing_sidecar(saved: Path) -> None:
    sidecar(saved).unlink()
    with pytest.raises(WeightsError, match="none was given") as caught:
        load(saved, context=TOYS)
    assert caught.value.place == "m.uair:3:18"


def test_changed_bytes(saved: Path) -> None:
    content = bytearray(sidecar(saved).read_bytes())
    content[-1] ^= 1
    sidecar(saved).write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        load(saved, context=TOYS)
    load(saved, context=TOYS, check_weights=False)


def test_truncated_sidecar(saved: Path) -> None:
    content = sidecar(saved).read_bytes()
    for length in (0, 4, 8, 20, len(content) - 1):
        sidecar(saved).write_bytes(content[:length])
        with pytest.raises(WeightsError):
            load(saved, context=TOYS)


def test_another_models_sidecar(saved: Path, tmp_path: Path) -> None:
    data = ArrayData(np.arange(77))
    write_weights({data.sha256: data}, sidecar(saved))
    with pytest.raises(WeightsError, match="has no constant with sha256"):
        load(saved, context=TOYS)


def test_text_that_claims_another_size(saved: Path) -> None:
    saved.write_text(saved.read_text().replace("f32[100]", "f32[1000]"))
    with pytest.raises(WeightsError, match="400 bytes in m.uair.safetensors, 4000 in the text"):
        load(saved, context=TOYS)


def header(entries: object, data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        (1 << 62).to_bytes(8, "little") + b"{}",
        b"\xff" * 16,
        header({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}, b"1234"),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1 << 60]}}, b"1234"),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"1234"),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"1234"),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),
        header({"a": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        header({"a": 3}),
        header([1, 2]),
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
        (200_000).to_bytes(8, "little") + b'{"a":' * 40_000,
    ],
)
def test_lying_headers(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        open_weights(path)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing"):
        with pytest.raises(WeightsError):
            open_weights(path)
        with pytest.raises(TextFileError):
            load(path)
    (tmp_path / "latin1").write_bytes(b"uair 1 \xe4")
    with pytest.raises(TextFileError, match="not UTF-8"):
        load(tmp_path / "latin1")


def test_weights_of_names_each_value_once() -> None:
    a = ArrayData(np.arange(64, dtype=np.float32))
    b = ArrayData(np.arange(64, dtype=np.float32).reshape(8, 8))
    assert list(weights_of(module_of(a, b, a))) == [a.sha256]
