"""From an image file to a model's input tensor, as data.

The same description turns calibration images into samples, is recorded in the manifest, and becomes the vendor's own
preprocessing (AIPP on Ascend, mean and std values on Rockchip).
"""

from __future__ import annotations

import difflib
import importlib
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

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


def _number(value: Any) -> float:
    """A finite number.

    Raises:
        PreprocessError: it is none.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise PreprocessError(f"{value!r} is not a finite number")
    return number


def _per_channel(value: Any) -> tuple[float, ...]:
    return tuple(_number(v) for v in (cast("list[Any]", value) if isinstance(value, (tuple, list)) else (value,)))


def _share(parts: list[str]) -> Any:
    """A number, or the ratio of two: 224/256."""
    if len(parts) != 2:
        return parts[0] if len(parts) == 1 else parts
    above, below = (_number(part) for part in parts)
    if below == 0:
        raise PreprocessError("a share cannot have 0 below its line")
    return above / below


@attrs.frozen
class Preprocess:
    """How a picture becomes an input of shape [1, C, H, W]: resize, colour order, (pixel - mean) / std.

    Attributes:
        resize: "stretch" ignores the aspect ratio; "pad" keeps it and fills right and below; "crop" keeps it, covers
            the input and cuts the middle; "none" demands pictures of the right size.
        keep: for "crop", how much of the covering picture's sides is cut out: 224/256 where models are tested on the
            middle 224 pixels of pictures whose shorter side is 256.
        color: order of the input's channels; "gray" is one channel by ITU-R BT.601 luma.
        mean: subtracted from the pixel values 0..255, one number or one a channel, in the order of `color`.
        std: divided by afterwards.
        fill: pixel value of the padding.
        layout: axes of the model's input; "auto" is NHWC where only the last axis has the number of channels.
    """

    resize: Literal["stretch", "pad", "crop", "none"] = "stretch"
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    mean: tuple[float, ...] = attrs.field(default=(0.0,), converter=_per_channel)
    std: tuple[float, ...] = attrs.field(default=(1.0,), converter=_per_channel)
    fill: float = attrs.field(default=0.0, converter=_number)
    keep: float = attrs.field(default=1.0, converter=_number)
    layout: Literal["auto", "NCHW", "NHWC"] = "auto"

    def __attrs_post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise PreprocessError(f"{name}={getattr(self, name)} is not one of {', '.join(choices)}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise PreprocessError(
                    f"{name} has {len(values)} values, color={self.color} has {self.channels} channels",
                    hint=f"give {name} one number" + (" or three, separated by '/'" if self.channels == 3 else ""),
                )
        if not all(s > 0 for s in self.std):
            raise PreprocessError(f"std={_joined(self.std)} must be positive")
        if not 0 < self.keep <= 1 or (self.keep < 1 and self.resize != "crop"):
            raise PreprocessError(
                f"keep={self.keep:g} with resize={self.resize}: it is a share from 0 to 1, for resize=crop",
                hint="resize=crop,keep=224/256 cuts 224 pixels out of 256",
            )

    @property
    def channels(self) -> int:
        """Number of channels of the input."""
        return 1 if self.color == "gray" else 3

    def settled(self, shape: Sequence[Any]) -> Preprocess:
        """The same for an input of this shape (sizes may be open), with a layout that is not "auto"."""
        if self.layout != "auto":
            return self
        last = len(shape) == 4 and shape[3] == self.channels and shape[1] != self.channels
        return attrs.evolve(self, layout="NHWC" if last else "NCHW")

    def per_channel(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std, one number for each channel."""
        return self.mean * (self.channels // len(self.mean)), self.std * (self.channels // len(self.std))

    @staticmethod
    def parse(text: str) -> Preprocess:
        """From the command line: "resize=pad,color=bgr,mean=127.5,std=127.5" or "mean=123.7/116.3/103.5,...".

        Raises:
            PreprocessError: an unknown key or a value that is none.
        """
        names = [a.name for a in attrs.fields(Preprocess)]
        values: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            key, separator, value = (x.strip() for x in part.partition("="))
            if not separator or key not in names:
                near = difflib.get_close_matches(key, names, n=1)
                hint = f"did you mean {near[0]}=...?" if near else f"the steps are {', '.join(names)}"
                raise PreprocessError(f"{part!r} in {text!r} is no preprocessing step", hint=hint)
            if key in values:
                raise PreprocessError(f"{key} is given twice in {text!r}")
            values[key] = value if key in _CHOICES else value.split("/")
        if "keep" in values:
            values["keep"] = _share(values["keep"])
        if "fill" in values:
            values["fill"] = values["fill"][0] if len(values["fill"]) == 1 else values["fill"]
        return Preprocess(**values)

    def __str__(self) -> str:
        """As `parse` reads it; what is as it is by default is left out."""
        parts: list[str] = []
        for field in attrs.fields(Preprocess):
            value = getattr(self, field.name)
            if value != (_per_channel(field.default) if field.name in ("mean", "std") else field.default):
                parts.append(f"{field.name}={value if field.name in _CHOICES else _joined(value)}")
        return ",".join(parts) or f"resize={self.resize}"

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Preprocess:
        """The inverse of `to_json`.

        Raises:
            PreprocessError: an unknown step or a value that is none.
        """
        unknown = [key for key in value if key not in attrs.fields_dict(Preprocess)]
        if unknown:
            raise PreprocessError(f"{unknown[0]!r} is no preprocessing step")
        return Preprocess(**dict(value))

    def to_json(self) -> dict[str, Any]:
        """As plain data, for manifests."""
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in attrs.asdict(self).items()}
        return fields if self.keep < 1 else {k: v for k, v in fields.items() if k != "keep"}

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
        """The input, float32, made from an RGB or gray image.

        Args:
            image: uint8 [H, W, 3] in RGB order or, for color="gray", [H, W, 1].
            shape: shape of the input, see `load`.

        Raises:
            PreprocessError: image or input have another number of channels; the batch size is not 1.
        """
        height, width = self.image_size(shape)
        if shape[0] != 1:
            raise PreprocessError(
                f"images are fed one at a time, the input has batch size {shape[0]}",
                hint="bind the batch size to 1 with --shape",
            )
        if image.ndim != 3 or image.shape[2] != self.channels:
            raise PreprocessError(
                f"an image of shape {list(image.shape)} is not [H, W, {self.channels}], as color={self.color} needs"
            )
        sized = self._resized(image, height, width)
        if self.color == "bgr":
            sized = sized[..., ::-1]
        mean, std = (np.asarray(v, np.float32) for v in self.per_channel())
        normal = (sized - mean) / std
        chw = normal.transpose(2, 0, 1) if self.settled(shape).layout == "NCHW" else normal
        return np.ascontiguousarray(chw[None])

    def image_size(self, shape: Sequence[Any]) -> tuple[Any, Any]:
        """Height and width of an input of this shape; sizes may be open (symbols).

        Raises:
            PreprocessError: it is no image input of that many channels.
        """
        if len(shape) != 4:
            raise PreprocessError(f"an image input has four axes, this one has the shape {_shape_text(shape)}")
        layout = self.settled(shape).layout
        channels, height, width = (shape[1], *shape[2:]) if layout == "NCHW" else (shape[3], *shape[1:3])
        if isinstance(channels, int) and channels != self.channels:
            other, there = ("NHWC", shape[3]) if layout == "NCHW" else ("NCHW", shape[1])
            fits = there == self.channels
            raise PreprocessError(
                f"the input {_shape_text(shape)} has {channels} channels in layout={layout}, "
                f"color={self.color} gives {self.channels}",
                hint=f"--preprocess layout={other}" if fits else "set color=gray|rgb|bgr or layout=NCHW|NHWC",
            )
        return height, width

    def _resized(self, image: Array, height: int, width: int) -> Array:
        """The image as float32 [height, width, C]."""
        h, w = image.shape[:2]
        if self.resize == "none" and (h, w) != (height, width):
            raise PreprocessError(
                f"the image is {w}x{h}, the input is {width}x{height}", hint="set resize=stretch|pad|crop"
            )
        if self.resize in ("none", "stretch"):
            return resize_bilinear(image, height, width).astype(np.float32)
        ratio = min(height / h, width / w) if self.resize == "pad" else max(height / h, width / w) / self.keep
        new_h, new_w = max(round(h * ratio), 1), max(round(w * ratio), 1)
        if self.resize == "pad":
            new_h, new_w = min(new_h, height), min(new_w, width)
        sized = resize_bilinear(image, new_h, new_w).astype(np.float32)
        if self.resize == "pad":
            canvas = np.full((height, width, sized.shape[2]), self.fill, np.float32)
            canvas[:new_h, :new_w] = sized
            return canvas
        top, left = (new_h - height) // 2, (new_w - width) // 2
        return sized[top : top + height, left : left + width]


_CHOICES: Mapping[str, tuple[str, ...]] = {
    name: get_args(hint) for name, hint in get_type_hints(Preprocess).items() if get_origin(hint) is Literal
}


def _joined(value: float | Sequence[float]) -> str:
    values = value if isinstance(value, Sequence) else (value,)
    return "/".join(str(int(v)) if v == int(v) and abs(v) < 1e15 else repr(v) for v in values)


def _shape_text(shape: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, shape))}]"


_PILLOW_ERRORS = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged files."""


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
    except _PILLOW_ERRORS as error:
        raise ImageError(f"{path} cannot be read as an image: {error}", hint="is it complete?") from error
    except pillow.DecompressionBombError as error:
        raise ImageError(f"{path} is too large to be an input: {error}") from error
    return pixels[..., None] if gray else pixels


def resize_bilinear(image: Array, height: int, width: int) -> Array:
    """Bilinear resize of [H, W, C] with half-pixel centres, in the image's element type (as OpenCV's INTER_LINEAR)."""
    if image.shape[:2] == (height, width):
        return image
    values = _interpolated(_interpolated(image.astype(np.float32), 1, width), 0, height)
    if image.dtype == np.uint8:
        values = np.clip(np.rint(values), 0, 255)
    result: Array = values.astype(image.dtype)
    return result


def _interpolated(values: Array, axis: int, size: int) -> Array:
    """Linear interpolation along an axis, clamped at the edges."""
    source = values.shape[axis]
    at = np.clip((np.arange(size) + 0.5) * source / size - 0.5, 0, source - 1)
    low = np.floor(at).astype(int)
    shape = [1] * values.ndim
    shape[axis] = size
    fraction = (at - low).astype(np.float32).reshape(shape)
    first = np.take(values, low, axis)
    result: Array = first + (np.take(values, np.minimum(low + 1, source - 1), axis) - first) * fraction
    return result
