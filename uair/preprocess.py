"""From an image file to a model's input tensor, as data.

The same description turns calibration images into samples, is recorded in the manifest, and becomes the vendor's own
preprocessing (AIPP on Ascend, mean and std values on Rockchip).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import attrs
import numpy as np

from uair.errors import UairError
from uair.ir.dtype import Array

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


class PreprocessError(UairError):
    """A preprocessing description cannot be understood, or does not fit the input it is for."""

    code = "UAIR-E0701"
    title = "Preprocessing does not fit"


class ImageError(UairError):
    """An image cannot be read."""

    code = "UAIR-E0702"
    title = "Image cannot be read"


def _per_channel(value: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in (value if isinstance(value, (tuple, list)) else (value,)))


@attrs.frozen
class Preprocess:
    """How a picture becomes an input of shape [1, C, H, W]: resize, colour order, (pixel - mean) / std.

    Attributes:
        resize: "stretch" ignores the aspect ratio; "pad" keeps it and fills right and below; "crop" keeps it, covers
            the input and cuts the middle; "none" demands pictures of the right size.
        color: order of the input's channels; "gray" is one channel by ITU-R BT.601 luma.
        mean: subtracted from the pixel values 0..255, one number or one a channel, in the order of `color`.
        std: divided by afterwards.
        fill: pixel value of the padding.
        layout: axes of the model's input.
    """

    resize: Literal["stretch", "pad", "crop", "none"] = "stretch"
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    mean: tuple[float, ...] = attrs.field(default=(0.0,), converter=_per_channel)
    std: tuple[float, ...] = attrs.field(default=(1.0,), converter=_per_channel)
    fill: float = 0.0
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    def __attrs_post_init__(self) -> None:
        channels = 1 if self.color == "gray" else 3
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise PreprocessError(f"{name} has {len(values)} values, {self.color} has {channels} channels")
        if not all(s > 0 for s in self.std):
            raise PreprocessError("std must be positive")

    @property
    def channels(self) -> int:
        """Number of channels of the input."""
        return 1 if self.color == "gray" else 3

    def per_channel(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std, one number for each channel."""
        return self.mean * (self.channels // len(self.mean)), self.std * (self.channels // len(self.std))

    @staticmethod
    def parse(text: str) -> Preprocess:
        """From the command line: "resize=pad,color=bgr,mean=127.5,std=127.5" or "mean=123.7/116.3/103.5,...".

        Raises:
            PreprocessError: an unknown key or a value that is none.
        """
        fields = {a.name: a for a in attrs.fields(Preprocess)}
        values: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            key, separator, value = part.partition("=")
            key = key.strip()
            if not separator or key not in fields:
                raise PreprocessError(f"{part!r} is not one of {', '.join(f'{k}=...' for k in fields)}")
            values[key] = _parse_value(key, value.strip())
        return Preprocess(**values)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Preprocess:
        """The inverse of `to_json`."""
        return Preprocess(**dict(value))

    def to_json(self) -> dict[str, Any]:
        """As plain data, for manifests."""
        return attrs.asdict(self)

    def load(self, path: Path, shape: tuple[int, ...]) -> Array:
        """The input made from an image file.

        Args:
            path: the image.
            shape: shape of the input, [N, C, H, W] or [N, H, W, C]; N must be 1.

        Raises:
            ImageError: the file is no readable image.
            PreprocessError: the input is no image of that many channels.
        """
        return self.apply(read_image(path, gray=self.color == "gray"), shape)

    def apply(self, image: Array, shape: tuple[int, ...]) -> Array:
        """The input, float32, made from an RGB or gray image [H, W, C] of uint8."""
        height, width = self._size(shape)
        sized = self._resized(image, height, width).astype(np.float32)
        if self.color == "bgr":
            sized = sized[..., ::-1]
        mean, std = (np.asarray(v, np.float32) for v in self.per_channel())
        normal = (sized - mean) / std
        chw = normal.transpose(2, 0, 1) if self.layout == "NCHW" else normal
        return np.ascontiguousarray(chw[None])

    def _size(self, shape: tuple[int, ...]) -> tuple[int, int]:
        if len(shape) != 4:
            raise PreprocessError(f"an image input has four axes, this one has shape {list(shape)}")
        channels, height, width = (shape[1], *shape[2:]) if self.layout == "NCHW" else (shape[3], *shape[1:3])
        if shape[0] != 1:
            raise PreprocessError(
                f"images are fed one at a time, the input has batch size {shape[0]}",
                hint="bind the batch size to 1 with --shape",
            )
        if channels != self.channels:
            raise PreprocessError(
                f"the input {list(shape)} has {channels} channels, color={self.color} gives {self.channels}",
                hint="set color=gray|rgb|bgr or layout=NCHW|NHWC",
            )
        return height, width

    def _resized(self, image: Array, height: int, width: int) -> Array:
        h, w = image.shape[:2]
        if self.resize == "none":
            if (h, w) != (height, width):
                raise PreprocessError(
                    f"the image is {w}x{h}, the input is {width}x{height}", hint="set resize=stretch|pad|crop"
                )
            return image
        if self.resize == "stretch":
            return resize_bilinear(image, height, width)
        ratio = min(height / h, width / w) if self.resize == "pad" else max(height / h, width / w)
        new_h, new_w = max(round(h * ratio), 1), max(round(w * ratio), 1)
        sized = resize_bilinear(image, new_h, new_w)
        if self.resize == "pad":
            canvas = np.full((height, width, sized.shape[2]), self.fill, sized.dtype)
            canvas[: min(new_h, height), : min(new_w, width)] = sized[:height, :width]
            return canvas
        top, left = (new_h - height) // 2, (new_w - width) // 2
        return sized[top : top + height, left : left + width]


def _parse_value(key: str, value: str) -> Any:
    if key in ("resize", "color", "layout"):
        choices = get_args(get_type_hints(Preprocess)[key])
        if value not in choices:
            raise PreprocessError(f"{key}={value} is not one of {', '.join(choices)}")
        return value
    try:
        numbers = tuple(float(v) for v in value.split("/"))
    except ValueError:
        raise PreprocessError(f"{key}={value} is not a number (or numbers separated by '/')") from None
    return numbers[0] if key == "fill" else numbers


def read_image(path: Path, *, gray: bool = False) -> Array:
    """Pixels of an image file: uint8 [H, W, 3] in RGB order, or [H, W, 1].

    Raises:
        ImageError: Pillow is missing or cannot read the file.
    """
    try:
        pillow: Any = importlib.import_module("PIL.Image")
    except ImportError:
        raise ImageError("reading images needs Pillow", hint="pip install 'uair[image]'") from None
    try:
        with pillow.open(path) as image:
            pixels = np.asarray(image.convert("L" if gray else "RGB"))
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise ImageError(f"{path} cannot be read as an image: {error}") from error
    return pixels[..., None] if gray else pixels


def resize_bilinear(image: Array, height: int, width: int) -> Array:
    """Bilinear resize of [H, W, C] with half-pixel centres, in the image's element type (as OpenCV's INTER_LINEAR)."""
    if image.shape[:2] == (height, width):
        return image
    rows = _weights(image.shape[0], height)
    columns = _weights(image.shape[1], width)
    values: Array = np.einsum("yh,hwc->ywc", rows, image.astype(np.float32), optimize=True)
    values = np.einsum("xw,ywc->yxc", columns, values, optimize=True)
    if image.dtype == np.uint8:
        values = np.clip(np.rint(values), 0, 255)
    result: Array = values.astype(image.dtype)
    return result


def _weights(source: int, target: int) -> Array:
    """Matrix [target, source] of a linear interpolation with half-pixel centres, clamped at the edges."""
    at = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, source - 1)
    matrix = np.zeros((target, source), np.float32)
    np.add.at(matrix, (np.arange(target), low), 1 - (at - low))
    np.add.at(matrix, (np.arange(target), high), at - low)
    return matrix
