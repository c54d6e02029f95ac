"""AIPP: preprocessing that the Ascend chip does on the way in, from a Preprocess.

With an AIPP file the model takes 8-bit pictures instead of normalised numbers. In this order:

    exchange of red and blue (or of the colour parts of YUV), cut, YUV to RGB,
    (pixel - mean_chn - min_chn) * var_reci_chn, padding with a number

AIPP does not resize; the host brings the picture to the size that is expected. Sources: hicann/ge, graph_metadef/proto/
insert_op.proto (fields) and the AIPP chapter of the ATC documentation (ranges, order of the steps, matrices).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import numpy as np

from uair.codegen.ascend.chips import Chip
from uair.codegen.ascend.options import AscendOptions
from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.graph import Graph
from uair.ir.types import TensorType
from uair.preprocess import Preprocess, PreprocessError
from uair.targets.errors import OptionError

Given = Literal["rgb", "bgr", "nv12", "nv21", "gray"]
FORMATS: Mapping[Given, str] = {
    "rgb": "RGB888_U8",
    "bgr": "RGB888_U8",
    "nv12": "YUV420SP_U8",
    "nv21": "YUV420SP_U8",
    "gray": "YUV400_U8",
}
BYTES: Mapping[Given, float] = {"rgb": 3, "bgr": 3, "nv12": 1.5, "nv21": 1.5, "gray": 1}
"""Bytes of a pixel."""
MATRICES: Mapping[str, tuple[tuple[tuple[int, int, int], ...], tuple[int, int, int]]] = {
    "bt601": (((298, 516, 0), (298, -100, -208), (298, 0, 409)), (16, 128, 128)),
    "jpeg": (((256, 454, 0), (256, -88, -183), (256, 0, 359)), (0, 128, 128)),
}
"""256 times the rows for blue, green and red over Y, U and V; what is subtracted from these before."""
LARGEST = 4096
"""Pixels in width and height."""


@attrs.frozen
class Picture:
    """What is done with a picture beside the numbers of its Preprocess.

    Attributes:
        mode: "static": compiled in; "dynamic": given with every call.
        given: what the caller gives.
        matrix: range of YUV.
        source: width and height of the given picture; None: what the rest leaves.
        corner: left and top of the part that is taken; None: the middle.
        padding: left, right, top, bottom.
        padded_width: greatest width after padding; None where no source says.
        any_size: whether height and width differ from call to call.
    """

    mode: Literal["static", "dynamic"] = "static"
    given: Given | None = None
    matrix: Literal["bt601", "jpeg"] = "bt601"
    source: tuple[int, int] | None = None
    corner: tuple[int, int] | None = None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    padded_width: int | None = None
    any_size: bool = False

    @staticmethod
    def of(options: AscendOptions, chip: Chip) -> Picture:
        """From the options."""
        source, corner, padding = options.aipp_source, options.aipp_crop, options.aipp_padding
        return Picture(
            options.aipp,
            options.aipp_format,
            options.aipp_matrix,
            (source[0], source[1]) if source else None,
            (corner[0], corner[1]) if corner else None,
            (padding[0], padding[1], padding[2], padding[3]) if padding else (0, 0, 0, 0),
            chip.padded_width,
        )


@attrs.frozen
class AippInput:
    """One input that AIPP prepares.

    Attributes:
        index: position among the model's inputs.
        name: the input.
        shape: [N, C, H, W]; the largest where there are several.
        preprocess: what is done.
        picture: how the picture is given.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    preprocess: Preprocess
    picture: Picture = Picture()

    @property
    def given(self) -> Given:
        """What the caller gives."""
        return self.picture.given or ("gray" if self.preprocess.color == "gray" else "rgb")

    @property
    def taken(self) -> tuple[int, int]:
        """Width and height of the part of the picture that is taken."""
        left, right, top, bottom = self.picture.padding
        return self.shape[3] - left - right, self.shape[2] - top - bottom

    @property
    def source(self) -> tuple[int, int]:
        """Width and height of the given picture."""
        return self.picture.source or self.taken

    @property
    def corner(self) -> tuple[int, int]:
        """Left and top of the part that is taken; even for YUV, whose colours are shared by pixels."""
        if self.picture.corner is not None:
            return self.picture.corner
        step = 2 if self.is_yuv else 1
        left, top = ((s - t) // 2 // step * step for s, t in zip(self.source, self.taken, strict=True))
        return left, top

    @property
    def is_yuv(self) -> bool:
        """Whether two of three numbers are shared by four pixels."""
        return self.given in ("nv12", "nv21")

    @property
    def swaps(self) -> bool:
        """Whether red and blue (or U and V) change places."""
        if self.is_yuv:
            return self.given == "nv21"
        return "gray" not in (self.given, self.preprocess.color) and self.given != self.preprocess.color

    def text(self) -> str:
        """The input's section of the AIPP file."""
        lines = [f"aipp_mode: {self.picture.mode}", f"related_input_rank: {self.index}"]
        if self.picture.mode == "dynamic":
            lines.append(f"max_src_image_size: {self.largest_bytes}")
        else:
            lines += [*self._place(), *self._colours(), *self._numbers()]
        return "\n".join(["aipp_op {", *(f"  {line}" for line in lines), "}"]) + "\n"

    @property
    def largest_bytes(self) -> int:
        """Bytes of the largest picture, of the whole batch."""
        width, height = self.source
        return math.ceil(self.shape[0] * width * height * BYTES[self.given])

    def _place(self) -> list[str]:
        """Format, size, cut and padding."""
        width, height = (0, 0) if self.picture.any_size else self.source
        lines = [
            f"input_format: {FORMATS[self.given]}",
            f"src_image_size_w: {width}",
            f"src_image_size_h: {height}",
        ]
        if self.source == self.taken:
            lines.append("crop: false")
        else:
            lines += ["crop: true", f"load_start_pos_w: {self.corner[0]}", f"load_start_pos_h: {self.corner[1]}"]
            lines += [f"crop_size_w: {self.taken[0]}", f"crop_size_h: {self.taken[1]}"]
        if not any(self.picture.padding):
            return [*lines, "padding: false"]
        sides = zip(("left", "right", "top", "bottom"), self.picture.padding, strict=True)
        lines += ["padding: true", *(f"{side}_padding_size: {size}" for side, size in sides)]
        return [*lines, f"padding_value: {_number(padding_value(self.preprocess))}"]

    def _colours(self) -> list[str]:
        """YUV to the model's order of colours, exchange of red and blue."""
        lines = [f"csc_switch: {'true' if self.is_yuv else 'false'}"]
        if self.is_yuv:
            rows, bias = MATRICES[self.picture.matrix]
            ordered = rows if self.preprocess.color == "bgr" else rows[::-1]
            lines += [f"matrix_r{r}c{c}: {n}" for r, row in enumerate(ordered) for c, n in enumerate(row)]
            lines += [f"input_bias_{i}: {n}" for i, n in enumerate(bias)]
        return [*lines, f"rbuv_swap_switch: {'true' if self.swaps else 'false'}"]

    def _numbers(self) -> list[str]:
        """Mean and standard deviation: whole parts of means in one place, fractions in another."""
        means, deviations = self.preprocess.per_channel()
        whole = [min(math.floor(m), 255) for m in means]
        lines = [f"mean_chn_{i}: {m}" for i, m in enumerate(whole)]
        lines += [f"min_chn_{i}: {_number(m - w)}" for i, (m, w) in enumerate(zip(means, whole, strict=True))]
        return [*lines, *(f"var_reci_chn_{i}: {_number(1.0 / s)}" for i, s in enumerate(deviations))]

    def manifest(self) -> dict[str, Any]:
        """What the compiled model takes, and what the host has to do before."""
        width, height = self.source
        colour = {"nv12": "YUV 4:2:0 (NV12)", "nv21": "YUV 4:2:0 (NV21)"}.get(self.given, self.given)
        steps = [f"decode to 8-bit {colour}"]
        steps += [_resize(self.preprocess, height, width)] if self.preprocess.resize != "none" else []
        batch = self.shape[0]
        shape = [batch, height * 3 // 2, width] if self.is_yuv else [batch, height, width, round(BYTES[self.given])]
        return {
            "dtype": "u8",
            "layout": self.given.upper() if self.is_yuv else "NHWC",
            "shape": shape,
            "color": self.given,
            "host_preprocessing": steps,
            "on_the_chip": ", ".join(self._steps()),
            **({"aipp": self._runtime()} if self.picture.mode == "dynamic" else {}),
        }

    def _steps(self) -> list[str]:
        """What AIPP does, in words and in order."""
        steps = ["exchange of U and V" if self.is_yuv else "exchange of red and blue"] if self.swaps else []
        if self.source != self.taken:
            steps.append(f"cut of {self.taken[0]}x{self.taken[1]} at {self.corner[0]},{self.corner[1]}")
        steps += [f"YUV to {self.preprocess.color.upper()}"] if self.is_yuv else []
        return [*steps, "mean", "standard deviation", *(["padding"] if any(self.picture.padding) else [])]

    def _runtime(self) -> dict[str, Any]:
        """What the caller sets with every call, under the names of the AIPP file."""
        fields = (line.partition(": ") for line in (*self._place(), *self._colours(), *self._numbers()))
        return {name: value for name, _, value in fields}


def padding_value(preprocess: Preprocess) -> float:
    """The number that `fill` becomes: AIPP pads after mean and standard deviation, all channels alike.

    Raises:
        PreprocessError: the channels would need different numbers.
    """
    means, deviations = preprocess.per_channel()
    values = {float(np.float32((preprocess.fill - m) / s)) for m, s in zip(means, deviations, strict=True)}
    if len(values) > 1:
        raise PreprocessError(
            f"AIPP pads all channels with one number, fill={preprocess.fill:g} is {len(values)} different ones after "
            "mean and standard deviation",
            hint="pad on the host, or give all channels the same mean and standard deviation",
        )
    return values.pop()


def _resize(preprocess: Preprocess, height: int, width: int) -> str:
    size = f"{width}x{height}"
    covered = f"{round(width / preprocess.keep)}x{round(height / preprocess.keep)}"
    middle = "the middle" if covered == size else f"the middle {size}"
    return {
        "stretch": f"resize to {size}",
        "pad": f"resize to fit {size} with the aspect ratio kept, fill right and below with {preprocess.fill:g}",
        "crop": f"resize to cover {covered} with the aspect ratio kept, cut out {middle}",
    }[preprocess.resize]


def _number(value: float) -> str:
    """The shortest decimal that reads back as the same f32, with a decimal point."""
    return np.format_float_positional(np.float32(value), trim="0")


def aipp_inputs(
    graph: Graph,
    preprocess: Mapping[str, Preprocess],
    picture: Picture = Picture(),
    shapes: Sequence[Sequence[tuple[int, ...]]] = (),
) -> list[AippInput]:
    """The inputs that have a preprocessing, in order.

    Args:
        graph: with its inputs.
        preprocess: by input name.
        picture: how pictures are given.
        shapes: of every input in every bucket, when there are several.

    Raises:
        PreprocessError, OptionError: AIPP cannot do it.
    """
    found: list[AippInput] = []
    for index, (name, tensor) in enumerate(zip(graph.input_names, graph.inputs, strict=True)):
        if name not in preprocess:
            continue
        _require_image(name, tensor.type, preprocess[name], fixed=not shapes)
        own = [bucket[index] for bucket in shapes] or [static(tensor.type.dims)]
        largest = tuple(max(sizes) for sizes in zip(*own, strict=True))
        varies = len({shape[2:] for shape in own}) > 1
        made = AippInput(index, name, largest, preprocess[name], attrs.evolve(picture, any_size=varies))
        _require_range(made)
        found.append(made)
    return found


def aipp_text(inputs: Sequence[AippInput]) -> str:
    """The whole AIPP file."""
    return "\n".join(each.text() for each in inputs)


def _require_image(name: str, type_: TensorType, preprocess: Preprocess, *, fixed: bool) -> None:
    """Refuse what is no image in the order of AIPP; `fixed`: and what has no fixed size.

    Raises:
        PreprocessError: see there.
    """
    where = f"input {name!r}"
    layout = preprocess.settled(type_.shape or ()).layout
    if layout != "NCHW":
        raise PreprocessError(
            f"{where} has layout {layout}: AIPP makes images for NCHW inputs only",
            hint="compile without --preprocess and normalise on the host, or export the model with NCHW inputs",
        )
    if type_.rank != 4 or type_.dtype not in (DType.F32, DType.F16):
        raise PreprocessError(f"{where} is {type_}: AIPP makes images of floating-point numbers, [N, C, H, W]")
    if fixed and not type_.is_static:
        raise PreprocessError(f"{where} is {type_}: AIPP makes images of one size", hint="give it with --shape")
    if type_.dims[1] != preprocess.channels:
        raise PreprocessError(
            f"{where} has {type_.dims[1]} channels, color={preprocess.color} gives {preprocess.channels}",
            hint="set color=gray|rgb|bgr",
        )


def _require_range(made: AippInput) -> None:
    """Refuse numbers outside of AIPP's ranges.

    Raises:
        PreprocessError: in the preprocessing.
        OptionError: in the options.
    """
    where = f"input {made.name!r}"
    means, deviations = made.preprocess.per_channel()
    wrong = next((m for m in means if not 0 <= m <= 256), None)
    if wrong is not None:
        raise PreprocessError(
            f"{where}: AIPP subtracts means of 0 to 256, not {wrong:g}",
            hint="mean and std are those of pixel values 0..255",
        )
    if any(1.0 / s > float(np.finfo(np.float32).max) for s in deviations):
        raise PreprocessError(f"{where}: a standard deviation is too small")
    if ("gray" in (made.given, made.preprocess.color)) and made.given != made.preprocess.color:
        raise OptionError(f"{where}: AIPP makes no {made.preprocess.color} of {made.given} pictures")
    if made.picture.any_size and (made.picture.source or any(made.picture.padding)):
        raise OptionError(f"{where} has several sizes: AIPP then neither cuts nor pads")
    _require_size(where, made)


def _require_size(where: str, made: AippInput) -> None:
    """The given picture holds the part that is taken, and both have sizes that AIPP takes.

    Raises:
        PreprocessError: of the input.
        OptionError: of the options.
    """
    (width, height), (wide, high), (left, top) = made.source, made.taken, made.corner
    if made.picture.source is None and not (1 <= height <= LARGEST and 2 <= width <= LARGEST):
        raise PreprocessError(f"{where} is {width}x{height} pixels: AIPP takes 2x1 to {LARGEST}x{LARGEST}")
    if not (1 <= height <= LARGEST and 2 <= width <= LARGEST):
        raise OptionError(f"aipp_source={width},{height}: AIPP takes 2x1 to {LARGEST}x{LARGEST} pixels")
    if min(left, top, wide - 1, high - 1) < 0 or left + wide > width or top + high > height:
        raise OptionError(
            f"{where} takes {wide}x{high} pixels at {left},{top}, the picture has {width}x{height}",
            hint="set aipp_source to the picture's width,height",
        )
    if made.is_yuv and any(n % 2 for n in (width, height, left, top)):
        raise OptionError(f"{where}: sizes and corners of {made.given} pictures are even, not {width}x{height}")
    if any(made.picture.padding):
        padding_value(made.preprocess)
        if made.shape[3] > (made.picture.padded_width or LARGEST):
            raise OptionError(
                f"{where}: what AIPP pads is at most {made.picture.padded_width} pixels wide on this chip"
            )
