"""Every kind of calibration source, and every way in which one can be wrong."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uair.errors import UairError
from uair.ir.dims import symbol
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType
from uair.preprocess import Preprocess
from uair.quant.calibration import open_calibration
from uair.quant.errors import CalibrationDataError, CalibrationSourceError, EmptyCalibrationError

ONE = {"x": TensorType(DType.F32, (1, 3, 4, 4))}
TWO = {"ids": TensorType(DType.I64, (1, 5)), "mask": TensorType(DType.F32, (1, 5))}


def data(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, 3, 4, 4)).astype(np.float32)


def read(source: Any, types: dict[str, TensorType] | None = None, **options: Any) -> list[dict[str, Array]]:
    return list(open_calibration(source, types or ONE, **options))


def equal(samples: list[dict[str, Array]], expected: Array) -> bool:
    return len(samples) == len(expected) and all(
        s["x"].dtype == np.float32 and np.array_equal(s["x"], e[None]) for s, e in zip(samples, expected, strict=True)
    )


def test_arrays_and_mappings() -> None:
    x = data(5)
    assert equal(read(x), x)
    assert equal(read({"x": x}), x)
    assert equal(read(x[:, None]), x)
    assert equal(read(x[0]), x[:1])
    assert equal(read(x, limit=2), x[:2])


def test_npz_and_npy_files(tmp_path: Path) -> None:
    x = data(4)
    np.savez(tmp_path / "a.npz", x=x, __label__=np.arange(4))
    np.savez_compressed(tmp_path / "b.npz", x=x)
    np.save(tmp_path / "c.npy", x)
    np.save(tmp_path / "d.npy", np.asfortranarray(x))
    for name in ("a.npz", "b.npz", "c.npy", "d.npy"):
        assert equal(read(tmp_path / name), x), name
        assert equal(read(str(tmp_path / name)), x), name


def test_folders_of_arrays_in_order_of_names(tmp_path: Path) -> None:
    x = data(3)
    for i in (2, 0, 1):
        np.save(tmp_path / f"{i}.npy", x[i])
    (tmp_path / "readme.txt").write_text("not data")
    (tmp_path / ".hidden.npy").write_bytes(b"not data")
    assert equal(read(tmp_path), x)


def test_folder_of_npz_with_several_inputs(tmp_path: Path) -> None:
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", ids=np.full(5, i), mask=np.ones((1, 5)))
    samples = read(tmp_path, TWO)
    assert [int(s["ids"][0, 0]) for s in samples] == [0, 1, 2]
    assert samples[0]["ids"].shape == samples[0]["mask"].shape == (1, 5)
    assert samples[0]["mask"].dtype == np.float32


def test_images(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    (tmp_path / "class").mkdir()
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    Image.fromarray(pixels[1]).save(tmp_path / "class" / "b.bmp")
    preprocess = Preprocess(mean=(127.5,), std=(127.5,))
    samples = read(tmp_path, preprocess={"x": preprocess})
    expected = (pixels.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5
    assert equal(samples, expected.astype(np.float32))
    assert equal(read(tmp_path / "a.png", preprocess={"x": preprocess}), expected[:1].astype(np.float32))


def test_pixels_in_arrays_are_normalised(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 4), np.uint8)
    samples = read(pixels, preprocess={"x": Preprocess(mean=(1, 2, 3), std=(2,))})
    expected = (pixels.astype(np.float32) - np.array([1, 2, 3], np.float32).reshape(3, 1, 1)) / 2
    assert equal(samples, expected)


def test_iterables() -> None:
    x = data(4)
    assert equal(read([a for a in x]), x)
    assert equal(read({"x": a} for a in x), x)
    assert equal(read([x[:3], x[3:]]), x)  # batches are taken apart
    pairs = [(np.full((1, 5), i), np.ones(5)) for i in range(2)]
    assert [int(s["ids"][0, 0]) for s in read(pairs, TWO)] == [0, 1]


def test_samples_are_read_lazily() -> None:
    drawn: list[int] = []

    def source() -> Iterator[Array]:
        for i in range(100):
            drawn.append(i)
            yield data(1, i)[0]

    samples = iter(open_calibration(source(), ONE, limit=10))
    assert drawn == []
    next(samples)
    assert drawn == [0]
    assert len(list(samples)) == 9
    assert len(drawn) <= 11


def test_static_batches_and_symbolic_ones() -> None:
    x = data(6)
    batch = {"x": TensorType(DType.F32, (2, 3, 4, 4))}
    assert [s["x"].shape for s in read(x, batch)] == [(2, 3, 4, 4)] * 3
    with pytest.raises(CalibrationDataError, match=r"has shape \[5, 3, 4, 4\]"):
        read(x[:5], batch)
    open_batch = {"x": TensorType(DType.F32, (symbol("n"), 3, 4, 4))}
    assert equal(read(x, open_batch), x)
    scalars = {"x": TensorType(DType.F32, ())}
    assert [float(s["x"]) for s in read(np.arange(3.0), scalars)] == [0, 1, 2]
    unknown = {"x": TensorType(DType.F32, None)}
    assert read(x, unknown)[0]["x"].shape == (6, 3, 4, 4)


def test_digest_depends_on_the_samples_used_only(tmp_path: Path) -> None:
    x = data(4)
    np.save(tmp_path / "x.npy", x)
    first = open_calibration(x, ONE, limit=2)
    second = open_calibration(tmp_path / "x.npy", ONE, limit=2)
    list(second)
    assert first.digest() == second.digest()
    assert first.count == 2
    assert open_calibration(x, ONE, limit=3).digest() != first.digest()
    assert len(first.digest()) == 64


def test_notes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4)).astype(np.float32)
    raw = open_calibration(pixels, ONE)
    list(raw)
    assert any("preprocessing" in note for note in raw.notes)
    constant = open_calibration(np.ones((9, 3, 4, 4), np.float32), ONE)
    list(constant)
    assert any("is 1 in all samples" in note for note in constant.notes)
    few = open_calibration(data(2), ONE)
    list(few)
    assert any("only 2" in note for note in few.notes)
    good = open_calibration(data(40), ONE)
    list(good)
    assert good.notes == []


# -------------------------------------------------------------------------------------------------------------- errors
def refused(kind: type[UairError], words: str, source: Any, types: dict[str, TensorType] | None = None) -> None:
    with pytest.raises(kind, match=words) as caught:
        read(source, types)
    assert caught.value.hint or caught.value.place


def test_missing_and_unknown_sources(tmp_path: Path) -> None:
    refused(CalibrationSourceError, "there is no calibration data", tmp_path / "none")
    (tmp_path / "data.csv").write_text("1,2")
    refused(CalibrationSourceError, "of no known kind", tmp_path / "data.csv")
    refused(CalibrationSourceError, "holds no calibration samples: it has 1 other files, such as data.csv", tmp_path)
    (tmp_path / "empty").mkdir()
    refused(CalibrationSourceError, "holds no calibration samples: it is empty", tmp_path / "empty")
    refused(CalibrationSourceError, "int is no calibration data", 3)
    with pytest.raises(CalibrationSourceError, match="0 calibration samples"):
        open_calibration(data(1), ONE, limit=0)
    with pytest.raises(CalibrationSourceError, match="'y', which is no input"):
        open_calibration(data(1), ONE, preprocess={"y": Preprocess()})


def test_mixed_folders_and_images_for_several_inputs(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    refused(CalibrationSourceError, "cannot feed a model with 2 inputs", tmp_path, TWO)
    with pytest.raises(CalibrationSourceError, match="images feed 'ids' only"):
        read(tmp_path, TWO, preprocess={"ids": Preprocess()})
    symbolic = {"x": TensorType(DType.F32, (1, 3, symbol("h"), 4))}
    refused(CalibrationSourceError, "need an input of known size", tmp_path, symbolic)
    np.save(tmp_path / "b.npy", data(1))
    refused(CalibrationSourceError, r"holds images \(a.png\) and arrays \(b.npy\)", tmp_path)
    np.save(tmp_path / "only.npy", data(1))
    refused(CalibrationSourceError, "cannot feed a model with 2 inputs", tmp_path / "only.npy", TWO)


def test_a_broken_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UairError, match="cannot be read as an image"):
        read(tmp_path)


def test_wrong_names_shapes_and_types() -> None:
    refused(CalibrationDataError, "it lacks 'x'", {"y": data(1)})
    refused(CalibrationDataError, "'y' is no input", {"x": data(1), "y": data(1)})
    refused(CalibrationDataError, r"has shape \[2, 3, 4, 5\]", np.zeros((2, 3, 4, 5), np.float32))
    refused(
        CalibrationDataError,
        "different numbers of samples",
        {"ids": np.zeros((2, 5), int), "mask": np.ones((3, 5))},
        TWO,
    )
    refused(
        CalibrationDataError,
        "expects i64, its calibration data is f32",
        {"ids": np.zeros((2, 5), np.float32), "mask": np.ones((2, 5))},
        TWO,
    )
    refused(CalibrationDataError, "expects f32, its calibration data is c64", np.zeros((1, 3, 4, 4), np.complex64))
    refused(CalibrationDataError, "is no array of numbers", [object()])
    narrow = {"x": TensorType(DType.U8, (1, 2))}
    refused(CalibrationDataError, "expects u8", np.array([[1, 300]]), narrow)
    assert read(np.array([[1, 200]]), narrow)[0]["x"].dtype == np.uint8


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(value: float) -> None:
    x = data(3)
    x[1, 0, 0, 0] = value
    with pytest.raises(CalibrationDataError, match="NaN or infinite") as caught:
        read(x)
    assert "sample 1" in caught.value.place


def test_no_samples(tmp_path: Path) -> None:
    refused(EmptyCalibrationError, "has no samples", data(0))
    refused(EmptyCalibrationError, "has no samples", [])
    refused(EmptyCalibrationError, "has no samples", iter(()))


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "junk.npz").write_bytes(b"PK no zip")
    refused(CalibrationDataError, "cannot be read", tmp_path / "junk.npz")
    (tmp_path / "junk.npy").write_bytes(b"no array")
    refused(CalibrationDataError, "no readable array", tmp_path / "junk.npy")
    whole = io.BytesIO()
    np.save(whole, data(3))
    (tmp_path / "cut.npy").write_bytes(whole.getvalue()[:-100])
    refused(CalibrationDataError, "is cut off", tmp_path / "cut.npy")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    refused(CalibrationDataError, "Python objects", tmp_path / "objects.npy")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("x.npy", "text")
    refused(CalibrationDataError, "no readable array", tmp_path / "text.npz")


def test_a_damaged_member_of_an_archive(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=data(50))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(bytes(content))
    refused(CalibrationDataError, "cannot be read|cut off", tmp_path / "x.npz")
