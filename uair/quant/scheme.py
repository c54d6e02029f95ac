"""What INT8 looks like on a target, as data: element types, granularity, limits, and where quantization happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import attrs

from uair.ir.dtype import DType
from uair.quant.errors import SchemeError

CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
TRANSPOSED = ("ConvTranspose1D", "ConvTranspose2D", "ConvTranspose3D")
PRODUCTS = ("Linear", "MatMul")
COMPUTE = (*CONVOLUTIONS, *TRANSPOSED, *PRODUCTS)
"""Operators with a constant weight that sum products: the ones that 8-bit hardware is built for."""

ACTIVATIONS = (
    "Relu",
    "Clip",
    "LeakyRelu",
    "PRelu",
    "HardSwish",
    "HardSigmoid",
    "Sigmoid",
    "Swish",
    "Tanh",
    "Gelu",
    "Elu",
)
PASS_THROUGH = (
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Flip", "Concat", "DepthToSpace", "SpaceToDepth",
    "MaxPool1D", "MaxPool2D", "GlobalMaxPool",
)  # fmt: skip
ELEMENTWISE = (
    "Add", "Sub", "Mul", *ACTIVATIONS, "AvgPool1D", "AvgPool2D", "GlobalAvgPool", "ReduceMean", "Resize",
)  # fmt: skip

FLOAT_EPSILON = 1.1920928955078125e-07
"""2**-23, the smallest scale that Ascend's tools accept (AMCT), used everywhere: below it an activation is nothing."""


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise SchemeError(f"expected a list of operator names, got {value!r}")
    names: tuple[Any, ...] = tuple(value)
    if not all(isinstance(name, str) for name in names):
        raise SchemeError(f"expected operator names, got {value!r}")
    return cast("tuple[str, ...]", names)


@attrs.frozen
class Scheme:
    """How a target represents quantized networks.

    Weights are i8 in [-127, 127] with zero point 0, scaled per output channel or per tensor. Activations are scaled per
    tensor.

    Attributes:
        activation: I8 or U8.
        symmetric: whether the zero point of activations is fixed (0 for I8, 128 for U8).
        bias: I32 with scale s_x * s_w and zero point 0, or None: biases stay float.
        rounding: of x / scale.
        operators: canonical operators that are computed on integers.
        per_channel: those of them whose weight has one scale per output channel; the others have one per tensor.
        placement: "compute": only operands of operators with weights are quantized, what lies between is float. "all":
            whole regions are, with every operator of `operators`; from the last operator with a weight on the graph
            stays float.
        pass_through: operators (of `operators`) whose operands and results share scale and zero point.
        fused: activations that the target computes together with the operator before them: nothing is quantized
            between the two.
        two_activations: whether a product of two activations is computed on integers too.
        scale_min: least scale allowed.
        scale_max: greatest scale allowed.
        bias_limit: greatest absolute value of a quantized bias.
    """

    activation: DType = DType.I8
    symmetric: bool = False
    bias: DType | None = DType.I32
    rounding: Literal["half_even", "half_away"] = "half_even"
    operators: tuple[str, ...] = attrs.field(default=COMPUTE, converter=_names)
    per_channel: tuple[str, ...] = attrs.field(default=COMPUTE, converter=_names)
    placement: Literal["compute", "all"] = "compute"
    pass_through: tuple[str, ...] = attrs.field(default=(), converter=_names)
    fused: tuple[str, ...] = attrs.field(default=ACTIVATIONS, converter=_names)
    two_activations: bool = False
    scale_min: float = FLOAT_EPSILON
    scale_max: float = float(2**127)
    bias_limit: int = 2**31 - 1

    def __attrs_post_init__(self) -> None:
        _require(self.activation in (DType.I8, DType.U8), f"activations are i8 or u8, not {self.activation}")
        _require(self.bias in (None, DType.I32), f"biases are i32 or float, not {self.bias}")
        _require(self.rounding in ("half_even", "half_away"), f"there is no rounding {self.rounding!r}")
        _require(self.placement in ("compute", "all"), f"there is no placement {self.placement!r}")
        _require(0 < self.scale_min < self.scale_max, f"scales from {self.scale_min} to {self.scale_max} are no range")
        _require(0 < self.bias_limit < 2**31, f"bias_limit {self.bias_limit} does not fit i32")

    @property
    def zero_point(self) -> int:
        """The zero point of symmetric activations."""
        return 0 if self.activation is DType.I8 else 128

    @staticmethod
    def from_mapping(value: Mapping[str, Any]) -> Scheme:
        """A scheme from plain data, as `to_mapping` writes it or as a device description states it.

        A device description gives `activation` as a table with `dtype` and `symmetric`, `weight` as a table, and in
        `weight_axis` the operators that may be scaled per channel. Its keys that say nothing about the arithmetic of
        the graph (form, source, confidence, requantization) are passed over.

        Raises:
            SchemeError: an unknown key or a value that is not allowed; the message names it.
        """
        given = {str(k): v for k, v in value.items() if k not in ("form", "source", "confidence", "requantization")}
        fields: dict[str, Any] = _tables(given)
        known = {a.name for a in attrs.fields(Scheme)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise SchemeError(f"a quantization scheme has no {unknown[0]!r}", hint=f"it has {', '.join(sorted(known))}")
        for key in ("activation", "bias"):
            if key in given:
                fields[key] = _dtype(given[key], key)
        for key, item in given.items():
            if key not in fields and item is not None:
                fields[key] = item
        if "scale_min" in fields:
            fields["scale_min"] = max(float(fields["scale_min"]), FLOAT_EPSILON)
        if "scale_max" in fields:
            fields["scale_max"] = min(float(fields["scale_max"]), float(2**127))
        try:
            return Scheme(**fields)
        except TypeError as error:
            raise SchemeError(f"a value of the quantization scheme is of the wrong type: {error}") from None

    def to_mapping(self) -> dict[str, Any]:
        """As plain data."""
        fields = attrs.asdict(self)
        for key in ("activation", "bias"):
            fields[key] = None if fields[key] is None else str(fields[key])
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SchemeError(message)


def _tables(given: dict[str, Any]) -> dict[str, Any]:
    """Take the tables of a device description out of `given`, and give what they mean."""
    fields: dict[str, Any] = {}
    activation = given.get("activation")
    if isinstance(activation, Mapping):
        table = cast("Mapping[str, Any]", activation)
        _require(table.get("per", "tensor") == "tensor", "activations are scaled per tensor")
        _require(not table.get("power_of_two", False), "scales that are powers of two are not supported")
        given["activation"] = table.get("dtype", DType.I8)
        fields["symmetric"] = bool(table.get("symmetric", False))
    axes = given.pop("weight_axis", None)
    weight = given.pop("weight", None)
    if isinstance(weight, Mapping):
        table = cast("Mapping[str, Any]", weight)
        _require(_dtype(table.get("dtype", DType.I8), "weight") is DType.I8, "weights are i8")
        _require(bool(table.get("symmetric", True)), "weights have zero point 0")
        _require(not table.get("power_of_two", False), "scales that are powers of two are not supported")
        if table.get("per", "channel") == "tensor":
            axes = {}
    if axes is not None:
        _require(isinstance(axes, Mapping), f"weight_axis must name an axis for each operator, is {axes!r}")
        fields["per_channel"] = tuple(cast("Mapping[str, int]", axes))
    return fields


def _dtype(value: Any, key: str) -> DType | None:
    if value is None or isinstance(value, DType):
        return value
    try:
        return DType(value)
    except ValueError:
        raise SchemeError(f"{key}: there is no element type {value!r}") from None


CPU = Scheme()
"""onnxruntime on x86: asymmetric activations, weights per channel, i32 biases; only operators with weights."""

ASCEND310 = Scheme(per_channel=(*CONVOLUTIONS, *TRANSPOSED), scale_max=8e6)
"""Ascend 310 as AMCT quantizes: per-channel convolutions, per-tensor products, asymmetric activations, bias i32.

Scale limits and granularity: AMCT (docs: compression_concepts; CHANNEL_WISE_ONNX_TYPES).
"""

RK3588 = Scheme(
    operators=(*COMPUTE, *ELEMENTWISE, *PASS_THROUGH), placement="all", pass_through=PASS_THROUGH,
)  # fmt: skip
"""RK3588: the NPU runs whole regions in int8 (rknn-toolkit2 2.5.0); a node without scales runs in f16."""

SCHEMES: dict[str, Scheme] = {"cpu": CPU, "ascend310": ASCEND310, "rk3588": RK3588}
"""Ready-made schemes by target."""
