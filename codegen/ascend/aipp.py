"""AIPP: preprocessing that the Ascend chip does on the way in, from a Preprocess.

With an AIPP file the model takes 8-bit pixels in the order height, width, channel instead of normalised numbers:

    (pixel - mean_chn - min_chn) * var_reci_chn, after the exchange of red and blue

AIPP does not resize; the host brings the picture to the input's size. Sources: hicann/ge, graph_metadef/proto/
insert_op.proto (fields) and the AIPP chapter of the ATC documentation (ranges, order of the steps).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.graph import Graph
from uair.ir.types import TensorType
from uair.preprocess import Preprocess, PreprocessError

FORMATS = {"rgb": "RGB888_U8", "bgr": "RGB888_U8", "gray": "YUV400_U8"}
LARGEST = 4096
"""Pixels in width and height."""


@attrs.frozen
class AippInput:
    """One input that AIPP prepares.

    Attributes:
        index: position among the model's inputs.
        name: the input.
        shape: [N, C, H, W].
        preprocess: what is done.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    preprocess: Preprocess

    def text(self) -> str:
        """The input's section of the AIPP file."""
        _, channels, height, width = self.shape
        means, deviations = self.preprocess.per_channel()
        lines = [
            "aipp_op {",
            "  aipp_mode: static",
            f"  related_input_rank: {self.index}",
            f"  input_format: {FORMATS[self.preprocess.color]}",
            f"  src_image_size_w: {width}",
            f"  src_image_size_h: {height}",
            "  crop: false",
            "  padding: false",
            "  csc_switch: false",
            f"  rbuv_swap_switch: {'true' if self.preprocess.color == 'bgr' else 'false'}",
        ]
        whole = [min(math.floor(m), 255) for m in means[:channels]]
        lines += [f"  mean_chn_{i}: {m}" for i, m in enumerate(whole)]
        lines += [f"  min_chn_{i}: {_number(m - w)}" for i, (m, w) in enumerate(zip(means, whole, strict=True))]
        lines += [f"  var_reci_chn_{i}: {_number(1.0 / s)}" for i, s in enumerate(deviations)]
        return "\n".join([*lines, "}"]) + "\n"

    def manifest(self) -> dict[str, Any]:
        """What the compiled model takes, and what the host has to do before."""
        batch, channels, height, width = self.shape
        color = "gray" if self.preprocess.color == "gray" else "rgb"
        steps = [f"decode to 8-bit {color}"]
        steps += [_resize(self.preprocess, height, width)] if self.preprocess.resize != "none" else []
        return {
            "dtype": "u8",
            "layout": "NHWC",
            "shape": [batch, height, width, channels],
            "color": color,
            "host_preprocessing": steps,
            "on_the_chip": "exchange of red and blue, mean, standard deviation"
            if self.preprocess.color == "bgr"
            else "mean, standard deviation",
        }


def _resize(preprocess: Preprocess, height: int, width: int) -> str:
    size = f"{width}x{height}"
    return {
        "stretch": f"resize to {size}",
        "pad": f"resize to fit {size} with the aspect ratio kept, fill right and below with {preprocess.fill:g}",
        "crop": f"resize to cover {size} with the aspect ratio kept, cut out the middle",
    }[preprocess.resize]


def _number(value: float) -> str:
    """The shortest decimal that reads back as the same f32, with a decimal point."""
    return np.format_float_positional(np.float32(value), trim="0")


def aipp_inputs(graph: Graph, preprocess: Mapping[str, Preprocess]) -> list[AippInput]:
    """The inputs that have a preprocessing, in order.

    Raises:
        PreprocessError: AIPP cannot do it.
    """
    found: list[AippInput] = []
    for index, (name, tensor) in enumerate(zip(graph.input_names, graph.inputs, strict=True)):
        if name in preprocess:
            found.append(AippInput(index, name, _checked(name, tensor.type, preprocess[name]), preprocess[name]))
    return found


def aipp_text(inputs: Sequence[AippInput]) -> str:
    """The whole AIPP file."""
    return "\n".join(each.text() for each in inputs)


def _checked(name: str, type_: TensorType, preprocess: Preprocess) -> tuple[int, ...]:
    """The input's shape.

    Raises:
        PreprocessError: the input is no image that AIPP can make, or a number is out of AIPP's range.
    """
    where = f"input {name!r}"
    if preprocess.layout != "NCHW":
        raise PreprocessError(
            f"{where} has layout {preprocess.layout}: AIPP makes images for NCHW inputs only",
            hint="compile without --preprocess and normalise on the host, or export the model with NCHW inputs",
        )
    if type_.rank != 4 or type_.dtype not in (DType.F32, DType.F16):
        raise PreprocessError(f"{where} is {type_}: AIPP makes images of floating-point numbers, [N, C, H, W]")
    shape = static(type_.dims)
    if shape[1] != preprocess.channels:
        raise PreprocessError(
            f"{where} has {shape[1]} channels, color={preprocess.color} gives {preprocess.channels}",
            hint="set color=gray|rgb|bgr",
        )
    if not (1 <= shape[2] <= LARGEST and 2 <= shape[3] <= LARGEST):
        raise PreprocessError(f"{where} is {shape[3]}x{shape[2]} pixels: AIPP takes 2x1 to {LARGEST}x{LARGEST}")
    means, deviations = preprocess.per_channel()
    wrong = next((m for m in means if not 0 <= m <= 256), None)
    if wrong is not None:
        raise PreprocessError(
            f"{where}: AIPP subtracts means of 0 to 256, not {wrong:g}",
            hint="mean and std are those of pixel values 0..255",
        )
    if any(1.0 / s > float(np.finfo(np.float32).max) for s in deviations):
        raise PreprocessError(f"{where}: a standard deviation is too small")
    return shape
