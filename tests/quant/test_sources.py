"""Calibration sources beyond arrays and images: raw numbers, folders by input, lists, functions, data loaders."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uair.ir.dims import symbol
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType
from uair.preprocess import Preprocess
from uair.quant.calibration import Calibration, open_calibration
from uair.quant.errors import CalibrationDataError, CalibrationSourceError

ONE = {"x": TensorType(DType.F32, (1, 3, 4, 4))}
TWO = {"image": TensorType(DType.F32, (1, 3, 4, 4)), "size": TensorType(DType.F32, (1, 2))}


def data(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, 3, 4, 4)).astype(np.float32)


def read(source: Any, types: dict[str, TensorType] | None = None, **options: Any) -> list[dict[str, Array]]:
    return list(open_calibration(source, types or ONE, **options))


def equal(samples: list[dict[str, Array]], expected: Array, name: str = "x") -> bool:
    return len(samples) == len(expected) and all(
        np.array_equal(s[name], e[None]) for s, e in zip(samples, expected, strict=True)
    )


# ---------------------------------------------------------------------------------------------------------- raw numbers
def test_raw_numbers(tmp_path: Path) -> None:
    x = data(4)
    (tmp_path / "all.bin").write_bytes(x.tobytes())
    assert equal(read(tmp_path / "all.bin"), x)
    (tmp_path / "each").mkdir()
    for i in range(4):
        (tmp_path / "each" / f"{i}.raw").write_bytes(x[i].tobytes())
    assert equal(read(tmp_path / "each"), x)


def test_raw_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4), np.uint8)
    (tmp_path / "x.bin").write_bytes(pixels.tobytes())
    samples = read(tmp_path / "x.bin", preprocess={"x": Preprocess(mean=(100.0,), std=(2.0,))})
    assert equal(samples, ((pixels.astype(np.float32) - 100) / 2)[None])
    with pytest.raises(CalibrationDataError, match="has 48 bytes, a sample of 'x', f32.*, has 192") as caught:
        read(tmp_path / "x.bin")
    assert caught.value.place == "x.bin"


def test_raw_numbers_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(CalibrationDataError, match="has 0 bytes"):
        read(tmp_path / "x.bin")
    (tmp_path / "x.bin").write_bytes(data(1).tobytes())
    with pytest.raises(CalibrationSourceError, match="how many of them are a sample is open"):
        read(tmp_path / "x.bin", {"x": TensorType(DType.F32, (1, 3, symbol("h"), 4))})
    np.save(tmp_path / "y.npy", data(1))
    with pytest.raises(CalibrationSourceError, match=r"holds arrays \(y.npy\) and raw numbers \(x.bin\)"):
        read(tmp_path)


# ------------------------------------------------------------------------------------------------------ several inputs
def two_folders(folder: Path, images: int, sizes: int) -> None:
    for name in TWO:
        (folder / name).mkdir(parents=True)
    for i in range(images):
        Image.new("RGB", (4, 4), (i, 10, 20)).save(folder / "image" / f"{i}.png")
    for i in range(sizes):
        np.save(folder / "size" / f"{i}.npy", np.array([i, 2.0], np.float32))


def test_a_folder_for_each_input(tmp_path: Path) -> None:
    two_folders(tmp_path, 3, 3)
    samples = read(tmp_path, TWO)
    assert [list(s) for s in samples] == [["image", "size"]] * 3
    assert [float(s["image"][0, 0, 0, 0]) for s in samples] == [0, 1, 2]
    assert [float(s["size"][0, 0]) for s in samples] == [0, 1, 2]
    halved = read(tmp_path, TWO, preprocess={"image": Preprocess(std=(2.0,))})
    assert float(halved[2]["image"][0, 0, 0, 0]) == 1


def test_folders_of_unequal_length(tmp_path: Path) -> None:
    two_folders(tmp_path, 3, 2)
    with pytest.raises(CalibrationDataError, match="'size' has 2 samples, 'image' has more"):
        read(tmp_path, TWO)


def test_a_list_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_folders(tmp_path / "data", 2, 2)
    (tmp_path / "dataset.txt").write_text(
        "data/image/1.png data/size/0.npy\n\n  data/image/0.png   data/size/1.npy\n", "utf-8"
    )
    samples = read(tmp_path / "dataset.txt", TWO)
    assert [float(s["image"][0, 0, 0, 0]) for s in samples] == [1, 0]
    assert [float(s["size"][0, 0]) for s in samples] == [0, 1]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "own.txt").write_text("a picture.png\n")
    Image.new("RGB", (4, 4), (7, 0, 0)).save(tmp_path / "a picture.png")
    monkeypatch.chdir(tmp_path)
    assert float(read("lists/own.txt")[0]["x"][0, 0, 0, 0]) == 7


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("data/image/1.png", "names 1 files, the model has 2 inputs"),
        ("data/image/1.png data/size/9.npy", "names 'data/size/9.npy', which is no file"),
    ],
)
def test_wrong_lines(line: str, words: str, tmp_path: Path) -> None:
    two_folders(tmp_path / "data", 2, 2)
    (tmp_path / "dataset.txt").write_text(line)
    with pytest.raises(CalibrationDataError, match=words):
        read(tmp_path / "dataset.txt", TWO)


# ------------------------------------------------------------------------------------------------------------ functions
CODE = """
import numpy as np
calls = []
def samples():
    calls.append(1)
    for i in range(3):
        yield {"x": np.full((1, 3, 4, 4), i, np.float32)}
def whole():
    return np.zeros((5, 3, 4, 4), np.float32)
def fails():
    yield np.zeros((3, 4, 4), np.float32)
    raise KeyError("camera")
def parameter(n):
    return []
number = 3
"""


def test_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_calibration_data.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    for source in ("my_calibration_data.py:samples", str(tmp_path / "my_calibration_data.py:samples")):
        calibration = open_calibration(source, ONE)
        for _ in range(2):  # the function is called again
            assert [float(s["x"][0, 0, 0, 0]) for s in calibration] == [0, 1, 2]
        assert calibration.description == f"the function {source}"
    assert len(read("my_calibration_data:whole")) == 5
    assert str(tmp_path) not in sys.path
    sys.modules.pop("my_calibration_data")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("data.py:fails", r"data\.py:fails fails: KeyError: 'camera'"),
        ("data.py:parameter", "fails: TypeError"),
        ("data.py:number", "is a int, no function"),
        ("data.py:missing", "fails: AttributeError"),
        ("none.py:samples", "fails: FileNotFoundError"),
        ("no_such_package.module:samples", "fails: ModuleNotFoundError"),
        ("broken.py:samples", "fails: SyntaxError"),
    ],
)
def test_functions_that_fail(source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("def")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CalibrationSourceError, match=words) as caught:
        read(source)
    if "camera" in words:
        assert caught.value.place == "data.py:12"


# --------------------------------------------------------------------------------------------------------- data loaders
class Tensor:
    """What PyTorch's tensors are to NumPy: no array before they are detached."""

    def __init__(self, array: Array) -> None:
        self.array, self.shape = array, array.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Array:
        return self.array


def test_items_of_data_loaders() -> None:
    x = data(6)
    loader = [[Tensor(x[:4]), Tensor(np.arange(4))], [Tensor(x[4:]), Tensor(np.arange(2))]]
    calibration = open_calibration(loader, ONE)
    assert equal(list(calibration), x)
    assert any("items have 2 entries, the model 1 input" in note for note in calibration.notes)
    mappings = open_calibration(({"x": e, "labels": np.array(3)} for e in x), ONE)
    assert equal(list(mappings), x)
    assert any("labels of the calibration items was left out" in note for note in mappings.notes)
    with pytest.raises(CalibrationDataError, match="it lacks 'x'"):
        read([{"pixels": x[0]}])


def test_what_a_generator_gives_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uair.quant.spool.IN_MEMORY", 100)  # to a file on disk
    x = data(5)
    drawn: list[int] = []

    def source() -> Iterator[Array]:
        for i, sample in enumerate(x):
            drawn.append(i)
            yield sample

    calibration = open_calibration(source(), ONE)
    assert drawn == []
    for _ in range(3):
        assert equal(list(calibration), x)
    assert drawn == [0, 1, 2, 3, 4]
    first, second = iter(calibration), iter(calibration)
    for e in x:
        for reading in (first, second):
            np.testing.assert_array_equal(next(reading)["x"], e[None])


def test_batches_that_are_no_whole_samples() -> None:
    batch = {"x": TensorType(DType.F32, (4, 3, 4, 4))}
    assert [s["x"].shape for s in read([data(4), data(8)], batch)] == [(4, 3, 4, 4)] * 3
    with pytest.raises(CalibrationDataError, match=r"has shape \[3, 3, 4, 4\]") as caught:
        read([data(4), data(3)], batch)
    assert caught.value.place == "calibration sample 1"


# ---------------------------------------------------------------------------------------------------------------- looks
def notes(source: Any, preprocess: Preprocess | None = None, types: dict[str, TensorType] | None = None) -> list[str]:
    calibration: Calibration = open_calibration(
        source, types or ONE, preprocess={} if preprocess is None else {"x": preprocess}
    )
    list(calibration)
    return calibration.notes


def photographs(n: int = 16, order: str = "rgb", seed: int = 0) -> Array:
    """uint8 [n, 3, 4, 4] with the mean colours of photographs."""
    rng = np.random.default_rng(seed)
    light = rng.normal(size=(n, 1, 4, 4)) * 40
    pixels = np.array([123.7, 116.3, 103.5]).reshape(1, 3, 1, 1) + light + rng.normal(size=(n, 3, 4, 4)) * 5
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return pixels if order == "rgb" else pixels[:, ::-1]


IMAGENET = ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4))


def test_good_data_have_no_notes() -> None:
    assert notes(photographs(), Preprocess(mean=IMAGENET[0], std=IMAGENET[1])) == []
    assert notes(photographs(), Preprocess(mean=(127.5,), std=(127.5,))) == []
    assert notes(photographs().astype(np.float32) / 255) == []
    assert notes(photographs(order="bgr"), Preprocess(color="bgr", mean=IMAGENET[0][::-1], std=IMAGENET[1][::-1])) == []
    gray = {"x": TensorType(DType.F32, (1, 1, 4, 4))}
    assert notes(photographs()[:, :1], Preprocess(color="gray", mean=(127.5,), std=(127.5,)), gray) == []


def test_colours_in_the_other_order() -> None:
    usual = Preprocess(mean=IMAGENET[0], std=IMAGENET[1])
    swapped = notes(photographs(order="bgr"), usual)
    assert len(swapped) == 1
    assert "the preprocessing subtracts 123.7/116.3/103.5: is one of them in the other colour order?" in swapped[0]
    assert re.search(r"have the means 1\d\d(\.\d)?/1\d\d(\.\d)?/12\d(\.\d)?", swapped[0])
    centred = notes(photographs(order="bgr"), Preprocess(mean=(127.5,), std=(127.5,)))
    assert ["is the first channel red and the last one blue?" in note for note in centred] == [True]
    scaled = notes(photographs(order="bgr").astype(np.float32) / 255)
    assert ["in photographs red is mostly brighter than blue" in note for note in scaled] == [True]
    floats = (photographs(order="bgr") - np.reshape(IMAGENET[0], (3, 1, 1))) / np.reshape(IMAGENET[1], (3, 1, 1))
    assert any("the other colour order" in note for note in notes(floats.astype(np.float32), usual))


def test_colour_order_of_image_files(tmp_path: Path) -> None:
    for i, pixels in enumerate(photographs()):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / f"{i:02}.png")
    assert notes(tmp_path, Preprocess(mean=IMAGENET[0], std=IMAGENET[1])) == []
    assert notes(tmp_path, Preprocess(color="bgr", mean=(127.5,), std=(127.5,))) == []
    wrong = notes(tmp_path, Preprocess(color="bgr", mean=IMAGENET[0], std=IMAGENET[1]))
    assert ["the other colour order" in note for note in wrong] == [True]


@pytest.mark.parametrize(
    ("values", "preprocess", "words"),
    [
        (photographs().astype(np.float32), None, "give their preprocessing"),
        (photographs().astype(np.float32), Preprocess(mean=(127.5,), std=(127.5,)), "as floats, which are taken as"),
        ((photographs() / 127.5 - 1 - 127.5) / 127.5, None, "are its values normalised twice?"),
        ((photographs() / 255 - 127.5) / 127.5, None, "are its values normalised twice?"),
        (photographs() / 255 / 255, None, "divided by 255 twice?"),
        (np.full((9, 3, 4, 4), 0.5), None, "is 0.5 in all samples"),
        (np.repeat(data(3), 4, axis=0), None, "9 of the 12 calibration samples repeat others"),
        (data(1), None, "only 1 calibration sample: 32 or more"),
        (data(7), None, "only 7 calibration samples: 32 or more"),
    ],
)
def test_what_looks_wrong(values: Array, preprocess: Preprocess | None, words: str) -> None:
    assert any(words in note for note in notes(values.astype(np.float32), preprocess))


def test_channels_in_the_wrong_place() -> None:
    last = np.zeros((2, 4, 4, 3), np.float32)
    with pytest.raises(CalibrationDataError, match=r"has shape \[2, 4, 4, 3\]") as caught:
        read(last)
    assert "channels last, the model takes them first: transpose it by (0, 3, 1, 2)" in caught.value.hint
    with pytest.raises(CalibrationDataError) as caught:
        read(data(2), {"x": TensorType(DType.F32, (1, 4, 4, 3))})
    assert "channels first, the model takes them last: transpose it by (0, 2, 3, 1)" in caught.value.hint
    with pytest.raises(CalibrationDataError) as caught:
        read([last[0]])
    assert "transpose" in caught.value.hint
    with pytest.raises(CalibrationDataError) as caught:
        read(np.zeros((2, 3, 5, 4), np.float32))
    assert "transpose" not in caught.value.hint


def test_where_a_value_is_not_finite(tmp_path: Path) -> None:
    x = data(3)
    x[2, 1, 0, 3] = np.nan
    x[2, 2, 0, 0] = np.inf
    for i in range(3):
        np.save(tmp_path / f"frame{i}.npy", x[i])
    with pytest.raises(CalibrationDataError, match=r"nan at \[0, 1, 0, 3\], 2 of 48 in all") as caught:
        read(tmp_path)
    assert caught.value.place == "frame2.npy"
