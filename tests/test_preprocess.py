"""Preprocessing: against Pillow and onnxruntime, in every layout, as text and as JSON, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from uair.preprocess import ImageError, Preprocess, PreprocessError, read_image, resize_bilinear

Array = npt.NDArray[Any]


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def smooth(height: int, width: int) -> Array:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(x * 255 / width), (y * 255 / height), ((x + y) * 255 / (height + width))], -1).astype(np.uint8)


def resized_by_onnxruntime(image: Array, height: int, width: int) -> Array:
    """ONNX Resize, linear, half-pixel centres: somebody else's implementation of what OpenCV calls INTER_LINEAR."""
    node = helper.make_node(
        "Resize", ["x", "", "", "s"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel"
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, None, None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, None, None])],
        [helper.make_tensor("s", TensorProto.INT64, [4], [1, 3, height, width])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": image.astype(np.float32).transpose(2, 0, 1)[None]})
    image_out: Array = np.asarray(result)[0].transpose(1, 2, 0)
    return image_out


# -------------------------------------------------------------------------------------------------------------- resize
@pytest.mark.parametrize("size", [(8, 8), (16, 12), (5, 30), (7, 9), (1, 1), (23, 17)])
def test_resize_is_that_of_onnxruntime(size: tuple[int, int]) -> None:
    image = noise(7, 9)
    expected = resized_by_onnxruntime(image, *size)
    np.testing.assert_allclose(resize_bilinear(image.astype(np.float32), *size), expected, atol=1e-3)
    assert resize_bilinear(image, *size).dtype == np.uint8
    assert np.max(np.abs(resize_bilinear(image, *size).astype(float) - expected)) <= 0.501


@pytest.mark.parametrize("size", [(48, 64), (40, 50), (96, 33)])
def test_enlarging_is_that_of_pillow(size: tuple[int, int]) -> None:
    """Only enlarging: Pillow averages when it shrinks."""
    image = smooth(32, 32)
    expected = np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)).astype(int)
    assert np.max(np.abs(resize_bilinear(image, *size).astype(int) - expected)) <= 1


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 20), st.integers(1, 20), st.integers(0, 255))
def test_a_plain_image_stays_plain(h: int, w: int, height: int, width: int, value: int) -> None:
    image = np.full((h, w, 3), value, np.uint8)
    assert np.all(resize_bilinear(image, height, width) == value)


# ------------------------------------------------------------------------------------------------------------- geometry
def test_stretch_ignores_the_aspect_ratio() -> None:
    image = noise(4, 8)
    result = Preprocess(resize="stretch").apply(image, (1, 3, 6, 6))
    np.testing.assert_array_equal(result[0].transpose(1, 2, 0), resize_bilinear(image, 6, 6).astype(np.float32))


def test_pad_keeps_the_aspect_ratio_and_fills_right_and_below() -> None:
    wide = Preprocess(resize="pad", fill=127.5, mean=127.5, std=127.5).apply(noise(4, 8), (1, 3, 6, 6))[0]
    assert np.all(wide[:, 3:, :] == 0) and np.any(wide[:, :3, :] != 0)
    tall = Preprocess(resize="pad", fill=127.5, mean=127.5, std=127.5).apply(noise(8, 4), (1, 3, 6, 6))[0]
    assert np.all(tall[:, :, 3:] == 0) and np.any(tall[:, :, :3] != 0)


def test_the_padding_is_exactly_the_fill_also_when_it_is_no_whole_number() -> None:
    result = Preprocess(resize="pad", fill=114.25).apply(noise(1, 4), (1, 3, 4, 4))
    assert np.all(result[0, :, 1:, :] == np.float32(114.25))


def test_crop_keeps_the_aspect_ratio_and_cuts_the_middle() -> None:
    image = noise(4, 8)
    result = Preprocess(resize="crop").apply(image, (1, 3, 4, 4))[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(result, image[:, 2:6].astype(np.float32))


def test_crop_cuts_a_part_of_the_covering_picture() -> None:
    image = noise(8, 12)
    halved = Preprocess(resize="crop", keep=0.5).apply(image, (1, 3, 4, 4))[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(halved, image[2:6, 4:8].astype(np.float32))
    scaled = Preprocess(resize="crop", keep=224 / 256)
    whole = Preprocess(resize="crop").apply(noise(300, 400), (1, 3, 256, 256))
    np.testing.assert_array_equal(scaled.apply(noise(300, 400), (1, 3, 224, 224)), whole[:, :, 16:240, 16:240])
    assert Preprocess.parse("resize=crop,keep=224/256") == Preprocess.parse("resize=crop,keep=0.875") == scaled
    assert str(scaled) == "resize=crop,keep=0.875"
    assert scaled.to_json()["keep"] == 0.875
    assert "keep" not in Preprocess(resize="crop").to_json()


def test_none_demands_the_right_size() -> None:
    image = noise(4, 6)
    result = Preprocess(resize="none").apply(image, (1, 3, 4, 6))[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(result, image.astype(np.float32))
    with pytest.raises(PreprocessError, match="6x4, the input is 4x4") as caught:
        Preprocess(resize="none").apply(image, (1, 3, 4, 4))
    assert "resize=" in caught.value.hint


@given(
    st.sampled_from(["stretch", "pad", "crop"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 24),
    st.integers(1, 24),
    st.sampled_from(["NCHW", "NHWC"]),
)
def test_the_result_has_the_inputs_shape(resize: Any, h: int, w: int, height: int, width: int, layout: Any) -> None:
    shape = (1, 3, height, width) if layout == "NCHW" else (1, height, width, 3)
    result = Preprocess(resize=resize, layout=layout).apply(noise(h, w), shape)
    assert result.shape == shape and result.dtype == np.float32 and result.flags.c_contiguous
    assert result.min() >= 0 and result.max() <= 255


# --------------------------------------------------------------------------------------------------------------- values
def test_mean_and_std_are_in_the_order_of_the_inputs_channels() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[...] = (10, 20, 30)  # red, green, blue
    rgb = Preprocess(mean=(1, 2, 3), std=(1, 2, 3)).apply(image, (1, 3, 2, 2))
    np.testing.assert_allclose(rgb[0, :, 0, 0], [(10 - 1) / 1, (20 - 2) / 2, (30 - 3) / 3])
    bgr = Preprocess(color="bgr", mean=(1, 2, 3), std=(1, 2, 3)).apply(image, (1, 3, 2, 2))
    np.testing.assert_allclose(bgr[0, :, 0, 0], [(30 - 1) / 1, (20 - 2) / 2, (10 - 3) / 3])


def test_layouts_hold_the_same_values() -> None:
    image = noise(5, 7)
    steps: dict[str, Any] = {"resize": "pad", "color": "bgr", "mean": (1, 2, 3), "std": 2.0}
    first = Preprocess(**steps).apply(image, (1, 3, 6, 6))
    last = Preprocess(**steps, layout="NHWC").apply(image, (1, 6, 6, 3))
    np.testing.assert_array_equal(first.transpose(0, 2, 3, 1), last)


def test_gray_is_pillows_luma(tmp_path: Path) -> None:
    image = noise(6, 5)
    Image.fromarray(image).save(tmp_path / "x.png")
    result = Preprocess(color="gray", resize="none").load(tmp_path / "x.png", (1, 1, 6, 5))
    luma = image.astype(float) @ [0.299, 0.587, 0.114]
    assert np.max(np.abs(result[0, 0] - luma)) <= 1


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "LA"])
def test_images_of_all_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(smooth(6, 5)).convert(mode)
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    picture.save(path)
    pixels = read_image(path)
    assert pixels.shape == (6, 5, 3) and pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(picture.convert("RGB")))


# ----------------------------------------------------------------------------------------------------------------- text
numbers = st.floats(0.01, 1000, allow_nan=False).map(lambda v: round(v, 3))
per_channel = st.one_of(numbers.map(lambda v: (v,)), st.tuples(numbers, numbers, numbers))
descriptions = st.builds(
    Preprocess,
    resize=st.sampled_from(["stretch", "pad", "crop", "none"]),
    color=st.sampled_from(["rgb", "bgr"]),
    mean=per_channel,
    std=per_channel,
    fill=numbers,
    layout=st.sampled_from(["auto", "NCHW", "NHWC"]),
)
cropped = st.builds(Preprocess, resize=st.just("crop"), keep=st.floats(0.1, 1))


@given(st.one_of(descriptions, cropped))
def test_text_and_json_are_read_back(steps: Preprocess) -> None:
    assert Preprocess.parse(str(steps)) == steps
    assert Preprocess.from_json(steps.to_json()) == steps


def test_the_text_leaves_defaults_out() -> None:
    assert str(Preprocess()) == "resize=stretch"
    assert str(Preprocess(color="bgr", mean=(127.5,), std=(1, 2, 3))) == "color=bgr,mean=127.5,std=1/2/3"
    assert Preprocess.parse("") == Preprocess.parse(" resize = stretch ,") == Preprocess()


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("men=1", "'men=1' in 'men=1' is no preprocessing step", "did you mean mean=...?"),
        ("mean", "'mean' in 'mean'", "mean"),
        ("blur=3", "'blur=3'", "the steps are resize, color, mean, std, fill, keep, layout"),
        ("resize=squash", "resize=squash is not one of stretch, pad, crop, none", ""),
        ("color=yuv", "color=yuv is not one of", ""),
        ("mean=a", "'a' is not a finite number", ""),
        ("mean=nan", "'nan' is not a finite number", ""),
        ("std=inf", "'inf' is not a finite number", ""),
        ("std=0", "std=0 must be positive", ""),
        ("std=1/-1/1", "std=1/-1/1 must be positive", ""),
        ("mean=1/2", "mean has 2 values, color=rgb has 3 channels", "one number or three"),
        ("color=gray,mean=1/2/3", "mean has 3 values, color=gray has 1 channels", "one number"),
        ("fill=1/2/3", "is not a finite number", ""),
        ("mean=1,mean=2", "mean is given twice", ""),
        ("resize=crop,keep=0", "keep=0 with resize=crop", "keep=224/256"),
        ("resize=crop,keep=256/224", "keep=1.14286", "keep=224/256"),
        ("resize=pad,keep=0.5", "keep=0.5 with resize=pad: it is a share from 0 to 1, for resize=crop", ""),
        ("resize=crop,keep=1/0", "cannot have 0 below", ""),
        ("resize=crop,keep=1/2/3", "is not a finite number", ""),
    ],
)
def test_what_cannot_be_understood(text: str, words: str, hint: str) -> None:
    with pytest.raises(PreprocessError) as caught:
        Preprocess.parse(text)
    assert words in caught.value.message
    assert hint in caught.value.hint


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        Preprocess.parse(text)
    except PreprocessError:
        pass


@pytest.mark.parametrize(
    "value", [{"blur": 1}, {"resize": 3}, {"mean": "x"}, {"mean": None}, {"fill": [1]}, {"std": []}]
)
def test_json_that_is_none(value: dict[str, Any]) -> None:
    with pytest.raises(PreprocessError):
        Preprocess.from_json(value)


# --------------------------------------------------------------------------------------------------------------- inputs
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 3, 8), "four axes"),
        ((1, 4, 8, 8), "has 4 channels in layout=NCHW, color=rgb gives 3"),
        ((1, 8, 8, 4), "has 8 channels in layout=NCHW"),
        ((2, 3, 8, 8), "batch size 2"),
    ],
)
def test_inputs_that_are_no_images(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(PreprocessError, match=words):
        Preprocess().apply(noise(8, 8), shape)


def test_the_other_layout_is_named_where_it_fits() -> None:
    """TensorFlow's images have the channels last."""
    with pytest.raises(PreprocessError) as last:
        Preprocess(layout="NCHW").apply(noise(8, 8), (1, 8, 8, 3))
    assert last.value.hint == "--preprocess layout=NHWC"
    with pytest.raises(PreprocessError) as first:
        Preprocess(layout="NHWC").apply(noise(8, 8), (1, 3, 8, 8))
    assert first.value.hint == "--preprocess layout=NCHW"


@pytest.mark.parametrize(
    ("color", "shape", "layout"),
    [
        ("rgb", (1, 8, 8, 3), "NHWC"),
        ("rgb", (1, 3, 8, 8), "NCHW"),
        ("rgb", (1, 3, 8, 3), "NCHW"),
        ("gray", (1, 8, 8, 1), "NHWC"),
        ("gray", (1, 1, 8, 1), "NCHW"),
        ("rgb", ("N", "H", "W", 3), "NHWC"),
        ("rgb", ("N", "C", "H", "W"), "NCHW"),
        ("rgb", (1, 4, 8, 8), "NCHW"),
    ],
)
def test_the_layout_is_seen_from_the_shape(color: Any, shape: tuple[Any, ...], layout: str) -> None:
    assert Preprocess(color=color).settled(shape).layout == layout
    for told in ("NCHW", "NHWC"):
        assert Preprocess(color=color, layout=told).settled(shape).layout == told


def test_channels_last_images_need_no_layout() -> None:
    image = noise(6, 6)
    first = Preprocess(mean=1.0).apply(image, (1, 3, 6, 6))
    np.testing.assert_array_equal(Preprocess(mean=1.0).apply(image, (1, 6, 6, 3)), first.transpose(0, 2, 3, 1))


def test_arrays_that_are_no_images() -> None:
    with pytest.raises(PreprocessError, match=r"\[8, 8\] is not \[H, W, 3\]"):
        Preprocess().apply(np.zeros((8, 8), np.uint8), (1, 3, 8, 8))
    with pytest.raises(PreprocessError, match=r"is not \[H, W, 1\]"):
        Preprocess(color="gray").apply(noise(8, 8), (1, 1, 8, 8))


def test_open_sizes_have_a_size_too() -> None:
    assert Preprocess().image_size((1, 3, "H", "W")) == ("H", "W")
    assert Preprocess(layout="NHWC").image_size(("N", 4, 5, "C")) == (4, 5)


# ---------------------------------------------------------------------------------------------------------------- files
def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    for path in (tmp_path / "x.png", tmp_path / "missing.png", tmp_path):
        with pytest.raises(ImageError, match="cannot be read as an image"):
            read_image(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_images_are_refused_or_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("images")
    suffix = data.draw(st.sampled_from(["png", "jpg", "bmp", "tif"]))
    path = folder / f"x.{suffix}"
    Image.fromarray(smooth(16, 16)).save(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about metadata
        try:
            assert read_image(path).shape[2] == 3
        except ImageError as error:
            assert "x." in error.message


def test_pillow_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "x.png")
    assert "uair[image]" in caught.value.hint
