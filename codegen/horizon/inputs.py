"""The inputs as the configuration states them: colours, layouts, normalisation, and the samples that go with them.

The vendor's node in front of the model computes (pixel - mean_value) * scale_value on pixels of 0 to 255; calibration
data for such an input are pixels, for all others what the model itself takes.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np

from uair.codegen.horizon.errors import HorizonInputError
from uair.codegen.horizon.options import Chip, HorizonOptions
from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Graph
from uair.names import IDENTIFIER, Namer
from uair.preprocess import Preprocess

CONVERSIONS: Mapping[str, tuple[str, ...]] = {
    "yuv444": ("nv12", "yuv444"),
    "rgb": ("nv12", "yuv444", "rgb", "bgr"),
    "bgr": ("nv12", "yuv444", "rgb", "bgr"),
    "gray": ("gray",),
    "featuremap": ("featuremap",),
}
"""What may arrive on the board for what a model was trained on."""
RESIZER_PIXELS = 18432


@attrs.frozen
class InputSpec:
    """One input.

    Attributes:
        name: in the ONNX file.
        source: in the user's model.
        shape: in the ONNX file.
        type_train: what the model was trained on.
        layout_train: layout in the ONNX file.
        type_rt: what arrives on the board.
        layout_rt: its layout; None for nv12, which has one of its own.
        mean: of pixels 0 to 255, by channel; empty when nothing is normalised.
        std: the same.
        folder: of its calibration data.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    type_train: str
    layout_train: str
    type_rt: str
    layout_rt: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    folder: str

    @property
    def norm_type(self) -> str:
        """The kind of normalisation."""
        mean, scale = any(m != 0 for m in self.mean), any(s != 1 for s in self.std)
        return {
            (False, False): "no_preprocess",
            (True, False): "data_mean",
            (False, True): "data_scale",
            (True, True): "data_mean_and_scale",
        }[mean, scale]

    @property
    def mean_value(self) -> str:
        """Means as the configuration wants them; "None" without."""
        return " ".join(map(_number, self.mean)) if "mean" in self.norm_type else "None"

    @property
    def scale_value(self) -> str:
        """Factors as the configuration wants them, the reciprocals of the standard deviations; "None" without."""
        return " ".join(_number(1.0 / s) for s in self.std) if "scale" in self.norm_type else "None"

    def sample(self, x: Array, *, pixels: bool) -> Array:
        """A calibration sample, float32, of the ONNX file's shape.

        Args:
            x: what the model takes.
            pixels: undo the normalisation, where the tool does it.
        """
        values = x.astype(np.float64).reshape(self.shape)
        if pixels and self.norm_type != "no_preprocess":
            axis = (1, -1, 1, 1) if self.layout_train == "NCHW" else (1, 1, 1, -1)
            values = values * np.reshape(self.std, axis) + np.reshape(self.mean, axis)
        result: Array = np.ascontiguousarray(values, np.float32)
        return result


def _number(value: float) -> str:
    """The shortest decimal that reads back as the same float32."""
    return np.format_float_positional(np.float32(value), trim="0")


def input_specs(
    graph: Graph, sources: Mapping[str, str], preprocess: Mapping[str, Preprocess], chip: Chip, options: HorizonOptions
) -> list[InputSpec]:
    """The inputs of the graph that is written.

    Args:
        graph: with the interface as it is written.
        sources: the user's names of inputs, by the written ones.
        preprocess: by the user's names.
        chip: the chip.
        options: what the user wants.

    Raises:
        HorizonInputError: the tool does not take the combination.
    """
    folders = Namer(IDENTIFIER, default="input")
    found: list[InputSpec] = []
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        source = sources[name]
        spec = _spec(name, source, static(tensor.type.dims), preprocess.get(source), chip, options)
        found.append(attrs.evolve(spec, folder=folders.unique(source)))
    if options.input_batch > 1 and len(found) != 1:
        raise HorizonInputError(
            f"input_batch={options.input_batch}, but the model has {len(found)} inputs",
            hint="the tool makes batches of models with one input only",
        )
    unknown = [name for name in options.input_source if name not in sources and name not in sources.values()]
    if unknown:
        raise HorizonInputError(f"input_source names {unknown[0]!r}", hint=f"the inputs are {', '.join(sources)}")
    return found


def _spec(
    name: str,
    source: str,
    shape: tuple[int, ...],
    preprocess: Preprocess | None,
    chip: Chip,
    options: HorizonOptions,
) -> InputSpec:
    train = "featuremap" if preprocess is None else preprocess.color
    arrives = train if options.input_type_rt is None or preprocess is None else options.input_type_rt
    layout = "NCHW" if preprocess is None else preprocess.layout
    layout_rt = options.input_layout_rt or (layout if preprocess is None else chip.layout_rt or layout)
    mean, std = ((), ()) if preprocess is None else preprocess.per_channel()
    spec = InputSpec(
        name, source, shape, train, layout, arrives, None if arrives == "nv12" else layout_rt, mean, std, ""
    )
    _check(spec, chip, options)
    return spec


def _check(spec: InputSpec, chip: Chip, options: HorizonOptions) -> None:
    """Refuse combinations that the tool does not take.

    Raises:
        HorizonInputError: see there.
    """
    if spec.type_rt not in CONVERSIONS[spec.type_train]:
        raise HorizonInputError(
            f"input {spec.source!r} is trained on {spec.type_train}, it cannot arrive as {spec.type_rt}",
            hint=f"input_type_rt may be {', '.join(CONVERSIONS[spec.type_train])}",
        )
    height, width = spec.shape[2:] if spec.layout_train == "NCHW" else spec.shape[1:3]
    if spec.type_rt == "nv12" and (height % 2 or width % 2):
        raise HorizonInputError(
            f"input {spec.source!r} is {width}x{height}: nv12 images have an even width and height",
            hint="bind an even size with --shape, or use another input_type_rt",
        )
    if chip.march == "bernoulli2" and (spec.type_rt, spec.layout_rt) == ("yuv444", "NCHW"):
        raise HorizonInputError(
            f"input {spec.source!r}: {chip.march} takes yuv444 in NHWC only", hint="use input_layout_rt=NHWC"
        )
    way = options.input_source.get(spec.source, options.input_source.get(spec.name, "ddr"))
    if way != "ddr" and spec.type_rt not in ("nv12", "gray"):
        raise HorizonInputError(
            f"input {spec.source!r} comes from the {way}, which gives nv12 or gray images, not {spec.type_rt}",
            hint="set input_type_rt=nv12",
        )
    if way == "resizer" and height * width >= RESIZER_PIXELS:
        raise HorizonInputError(
            f"input {spec.source!r} has {height * width} pixels, the resizer gives fewer than {RESIZER_PIXELS}",
            hint="use the pyramid",
        )
