"""build.json: the configuration that MagicMind's `BuilderConfig.parse_from_file` reads.

Keys and values: Cambricon magicmind_cloud 1.7, build configurations and build_param.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from uair.codegen.cambricon.errors import MagicMindError
from uair.ir.graph import Tensor
from uair.preprocess import Preprocess
from uair.targets.errors import OptionError
from uair.targets.options import TargetOptions, option

QUANTIZED = ("qint8_mixed_float16", "qint8_mixed_float32", "qint16_mixed_float16", "qint16_mixed_float32")
WIDE = "qint16_mixed_float16"
FLOAT = ("force_float16", "force_float32")
LAYOUTS = {3: ("NCT", "NTC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}
CLUSTERS = {"mtp_372": (2, 6, 8)}
"""cluster_num of an arch, where it is stated."""

Precision = Literal[
    "force_float16", "force_float32", "qint8_mixed_float16", "qint8_mixed_float32", "qint16_mixed_float16",
    "qint16_mixed_float32",
]  # fmt: skip


@attrs.frozen
class CambriconOptions(TargetOptions):
    """Options of MagicMind; what is not given follows from the model."""

    precision_mode: Precision | None = option(
        None,
        help="numbers to compute in; qint8_mixed_float16 when quantized (qint16 for least_cosine), else force_float16",
    )
    weight_quant_granularity: Literal["per_tensor", "per_axis"] | None = option(
        None, help="scales of weights; per_axis unless quantized with one scale (not for depthwise convolutions)"
    )
    activation_quant_algo: Literal["symmetric", "asymmetric"] = option("symmetric", help="zero points of activations")
    calibration: Literal["linear", "eqnm"] = option("linear", help="how MagicMind calibrates; eqnm is symmetric only")
    cluster_num: tuple[int, ...] = option((), help="numbers of clusters to build for")
    input_layout: Literal["first", "last"] = option("first", help="channels of inputs: first as in ONNX, or last")
    output_layout: Literal["first", "last"] = option("first", help="channels of outputs: first as in ONNX, or last")
    normalize: Literal["device", "host"] = option("device", help="where mean and standard deviation are applied")
    computation_preference: Literal["auto", "fast", "high_precision"] = option("auto", help="speed against exactness")

    def __attrs_post_init__(self) -> None:
        if self.calibration == "eqnm" and self.activation_quant_algo == "asymmetric":
            raise OptionError("calibration=eqnm is symmetric", hint="use calibration=linear for asymmetric activations")

    def check(self, arch: str, *, quantized: bool) -> None:
        """Refuse what does not fit the chip, or what is asked for.

        Raises:
            OptionError: see there.
        """
        allowed = QUANTIZED if quantized else FLOAT
        if self.precision_mode is not None and self.precision_mode not in allowed:
            what = "a quantized" if quantized else "a float"
            raise OptionError(
                f"precision_mode={self.precision_mode} is not for {what} model",
                hint=f"use {', '.join(allowed)}" + ("" if quantized else ", or add --quantize int8"),
            )
        known = CLUSTERS.get(arch)
        wrong = [n for n in self.cluster_num if n < 1 or (known is not None and n not in known)]
        if wrong:
            raise OptionError(
                f"cluster_num={wrong[0]} is not known of {arch}", hint=f"use {', '.join(map(str, known or (1, 2)))}"
            )


def build_config(
    arch: str,
    options: CambriconOptions,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    quantized: bool,
    wide: bool = False,
    per_axis: bool = True,
    normalized: Mapping[int, Preprocess] | None = None,
    shapes: Sequence[Sequence[tuple[int, ...]]] = (),
) -> dict[str, Any]:
    """Content of build.json.

    Args:
        arch: MagicMind's name of the chip.
        options: what the user wants.
        inputs: of the ONNX file.
        outputs: of the ONNX file.
        quantized: whether MagicMind computes in integers.
        wide: whether 8 bits are not enough. precision_mode is the whole network's: 16 bits are everywhere then.
        per_axis: whether weights have a scale for each output channel.
        normalized: inputs, by index, whose mean and standard deviation the compiled model applies to uint8 pixels.
        shapes: for every input the shapes that are to be taken; one each for a fixed model.

    Raises:
        MagicMindError: more than one dimension of an input varies, or a layout has no name.
    """
    default = (WIDE if wide else QUANTIZED[0]) if quantized else FLOAT[0]
    clusters = list(options.cluster_num or CLUSTERS.get(arch, ()))
    config: dict[str, Any] = {
        "archs": [{arch: clusters}] if clusters else [arch],
        "graph_shape_mutable": any(len(set(each)) > 1 for each in shapes),
        "precision_config": {"precision_mode": options.precision_mode or default},
        "opt_config": {"type64to32_conversion": True, "conv_scale_fold": True},
        "computation_preference": options.computation_preference,
    }
    if quantized:
        config["precision_config"] |= {
            "weight_quant_granularity": options.weight_quant_granularity or ("per_axis" if per_axis else "per_tensor"),
            "activation_quant_algo": options.activation_quant_algo,
        }
    if config["graph_shape_mutable"]:
        config["dim_range"] = {str(i): _dim_range(i, each) for i, each in enumerate(shapes)}
    if options.input_layout == "last":
        config |= _layouts("convert_input_layout", inputs)
    if options.output_layout == "last":
        config |= _layouts("convert_output_layout", outputs)
    if normalized:
        config["insert_bn_before_firstnode"] = {str(i): _batch_norm(each) for i, each in normalized.items()}
    return config


def _dim_range(index: int, shapes: Sequence[tuple[int, ...]]) -> dict[str, list[int]]:
    least = [min(extents) for extents in zip(*shapes, strict=True)]
    most = [max(extents) for extents in zip(*shapes, strict=True)]
    varying = [axis for axis, (a, b) in enumerate(zip(least, most, strict=True)) if a != b]
    if len(varying) > 1:
        raise MagicMindError(
            f"axes {', '.join(map(str, varying))} of input {index} differ between the buckets: dim_range lets one vary",
            hint="compile once for each shape, or let only the batch size differ",
        )
    return {"min": least, "max": most}


def _layouts(key: str, tensors: Sequence[Tensor]) -> dict[str, Any]:
    """Conversions from the model's layout, `src`, to channels last, of the tensors that have such layouts."""
    named = {str(i): LAYOUTS[t.type.rank] for i, t in enumerate(tensors) if t.type.rank in LAYOUTS}
    table = {i: {"src": first, "dst": last} for i, (first, last) in named.items()}
    return {key: table} if table else {}


def _batch_norm(preprocess: Preprocess) -> dict[str, list[float]]:
    """Mean and variance of pixels 0 to 255."""
    mean, std = preprocess.per_channel()
    return {"mean": list(mean), "var": [s * s for s in std]}
