"""What INT8 looks like on a target, as data: element types, granularity, limits, and where quantization happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
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
FLOAT_EPSILON = 1.1920928955078125e-07
"""2**-23, the least scale that vendors' tools accept (Ascend's AMCT refuses smaller ones)."""
WEIGHT_LIMIT = 127
"""Greatest magnitude of a weight in 8 bits: -128 is left out, so that steps are the same on both sides of 0."""
LOG_TOLERANCE = 1e-6
"""What the logarithm of a scale may be above a whole number and still count as that power of two: f32 rounding."""


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise SchemeError(f"expected a list of operator names, got {value!r}")
    names = tuple(cast(Any, value))
    if not all(isinstance(name, str) for name in names):
        raise SchemeError(f"expected operator names, got {value!r}")
    return cast("tuple[str, ...]", names)


@attrs.frozen
class Scheme:
    """How a target represents quantized networks; the default is what onnxruntime runs on a CPU.

    Weights are i8 in [-weight_limit, weight_limit] with zero point 0, scaled per output channel or per tensor.
    Activations are scaled per tensor.

    Attributes:
        activation: I8, U8, or I16 (symmetric only; sums are then of 64 bits).
        symmetric: whether the zero point of activations is fixed (0 for I8 and I16, 128 for U8).
        weight_limit: greatest magnitude of a weight's integer.
        bias: I32 with scale s_x * s_w and zero point 0, or None: biases stay float.
        rounding: of x / scale.
        operators: canonical operators that are computed on integers.
        per_channel: those of them whose weight has one scale per output channel; the others have one per tensor.
        placement: "compute": only operands of operators with weights are quantized, what lies between is float. "all":
            whole regions are, with every operator of `operators`; from the last operator with a weight on the graph
            stays float. "residual": operands of operators with weights, and of the other `operators` in front of one;
            of a sum that ends a residual branch only the skipping operand, so that the target can compute the sum
            together with the operator with a weight that gives the other one.
        islands: whether regions between floats that hold no operator with a weight are quantized too (with `ends` they
            always are): for devices where integers save more than converting to them and back costs.
        ends: whether the end of the graph is quantized, too (not with "compute"): for devices that have integers only.
        pass_through: operators (of `operators`) whose operands and results share scale and zero point.
        fused: activations that the target computes together with the operator before them: nothing is quantized
            between the two.
        fused_to_convolution: activations that the target computes together with a Conv2D before them (and with no other
            operator): nothing is quantized between the two.
        fused_sums: whether the target computes a sum (and a `fused` activation behind it) together with the Conv2D that
            gives one operand and is read by nothing else: nothing is quantized between the two. Where both operands
            are such results, it is the first.
        float_sums: whether sums, differences and products (of `operators`, with "all") whose results only operators in
            float read are in float themselves: of their operands those that nodes on integers give are quantized.
        one_value: whether a tensor that is quantized for one of its readers is integers for all of them (but for layers
            with weights in float), also where a node in float gives it.
        two_activations: whether a product of two activations is computed on integers too.
        symmetric_factors: whether both of those have zero points as if `symmetric` were true: for a tool that otherwise
            rounds one of them once more.
        whole_shuffles: whether a model that shuffles channels is quantized throughout, because the target's tool may
            not build it where a part is float.
        power_of_two: whether every scale is a power of two, so that the device shifts where others multiply.
        scale_min: least scale allowed.
        scale_max: greatest scale allowed.
        bias_limit: greatest absolute value of a quantized bias.
    """

    activation: DType = DType.I8
    symmetric: bool = False
    weight_limit: int = WEIGHT_LIMIT
    bias: DType | None = DType.I32
    rounding: Literal["half_even", "half_away"] = "half_even"
    operators: tuple[str, ...] = attrs.field(default=COMPUTE, converter=_names)
    per_channel: tuple[str, ...] = attrs.field(default=COMPUTE, converter=_names)
    placement: Literal["compute", "all", "residual"] = "compute"
    islands: bool = False
    ends: bool = False
    pass_through: tuple[str, ...] = attrs.field(default=(), converter=_names)
    fused: tuple[str, ...] = attrs.field(default=ACTIVATIONS, converter=_names)
    fused_to_convolution: tuple[str, ...] = attrs.field(default=(), converter=_names)
    fused_sums: bool = False
    float_sums: bool = False
    one_value: bool = False
    two_activations: bool = False
    symmetric_factors: bool = False
    whole_shuffles: bool = False
    power_of_two: bool = False
    scale_min: float = FLOAT_EPSILON
    scale_max: float = float(2**127)
    bias_limit: int = 2**31 - 1

    def __attrs_post_init__(self) -> None:
        _require(
            self.activation in (DType.I8, DType.U8, DType.I16), f"activations are i8, u8 or i16, not {self.activation}"
        )
        _require(self.symmetric or self.activation is not DType.I16, "activations of i16 are symmetric")
        _require(
            WEIGHT_LIMIT // 2 < self.weight_limit <= WEIGHT_LIMIT,
            f"weight_limit is from {WEIGHT_LIMIT // 2 + 1} to {WEIGHT_LIMIT}, not {self.weight_limit}",
        )
        _require(self.bias in (None, DType.I32), f"biases are i32 or float, not {self.bias}")
        _require(self.rounding in ("half_even", "half_away"), f"there is no rounding {self.rounding!r}")
        _require(self.placement in ("compute", "all", "residual"), f"there is no placement {self.placement!r}")
        _require(0 < self.scale_min < self.scale_max, f"scales from {self.scale_min} to {self.scale_max} are no range")
        _require(0 < self.bias_limit < 2**31, f"bias_limit {self.bias_limit} does not fit i32")

    @property
    def zero_point(self) -> int:
        """The zero point of symmetric activations."""
        return 128 if self.activation is DType.U8 else 0

    @property
    def wide(self) -> Scheme:
        """The same scheme with activations of 16 bits."""
        return attrs.evolve(self, activation=DType.I16, symmetric=True)

    def allowed(self, scale: Array) -> Array:
        """The least scales that this scheme has and that are not smaller: the same ones, or powers of two."""
        return np.exp2(np.ceil(np.log2(scale) - LOG_TOLERANCE)) if self.power_of_two else scale

    @staticmethod
    def from_mapping(value: Mapping[str, Any]) -> Scheme:
        """A scheme from plain data, as `to_mapping` writes it and a device description states it.

        Raises:
            SchemeError: an unknown key or a value that is not allowed; the message names it.
        """
        known = {a.name for a in attrs.fields(Scheme)}
        unknown = sorted(set(value) - known)
        if unknown:
            raise SchemeError(f"a quantization scheme has no {unknown[0]!r}", hint=f"it has {', '.join(sorted(known))}")
        fields: dict[str, Any] = {k: _dtype(v, k) if k in ("activation", "bias") else v for k, v in value.items()}
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


BLOCKS = (16, 32, 64, 128, 256)
"""Sizes of groups that runtimes have kernels for."""


@attrs.frozen
class WeightScheme:
    """Weights of few bits that a target computes with in floating point; the default is what onnxruntime runs.

    Attributes:
        bits: of an integer.
        groups: how many neighbours along the inputs of a matrix may share a scale; 0: all of an output channel.
        symmetric: "any", or "only": zero points must be 0.
        operators: those whose weights may be integers.
        blocks: of a matrix with groups: "any" length of the last one, and single scales for each output channel where
            there is one group; or "whole": the inputs are a multiple of the group (one group is a block, too), and
            outputs, which are stored next to each other, are even in number.
        opset: the ONNX operator set that is written for the sake of such weights; 0: the target's usual one.
        source: key in the device file's `sources`.
    """

    bits: tuple[int, ...] = (4, 8)
    groups: tuple[int, ...] = (0, *BLOCKS)
    symmetric: Literal["any", "only"] = "any"
    operators: tuple[str, ...] = attrs.field(default=(*COMPUTE, "Gather"), converter=_names)
    blocks: Literal["any", "whole"] = "any"
    opset: int = 0
    source: str = ""

    def __attrs_post_init__(self) -> None:
        _require(self.blocks in ("any", "whole"), f'blocks are "any" or "whole", not {self.blocks!r}')
        _require(set(self.bits) <= {4, 8}, f"weights have 4 or 8 bits, not {self.bits}")
        _require(all(g >= 0 for g in self.groups), f"groups of {min(self.groups, default=0)} weights are none")
        _require(self.symmetric in ("any", "only"), f'symmetric is "any" or "only", not {self.symmetric!r}')

    def require(self, bits: int, group: int, *, symmetric: bool) -> None:
        """Refuse weights that the target does not take.

        Raises:
            SchemeError: see there.
        """
        if bits not in self.bits:
            known = " or ".join(map(str, self.bits))
            raise SchemeError(f"weights of {bits} bits are not taken", hint=f"those of {known} bits are")
        if group not in self.groups:
            known = ", ".join(map(str, self.groups))
            raise SchemeError(f"weights in groups of {group} are not taken", hint=f"a group is one of {known}")
        if self.symmetric == "only" and not symmetric:
            raise SchemeError("weights with zero points are not taken", hint="choose symmetric weights")

    def matrix_problem(self, inputs: int, outputs: int, group: int) -> str:
        """Why a matrix cannot be stored in groups of that length; empty when it can."""
        if self.blocks == "any":
            return ""
        if inputs % group:
            fitting = [str(size) for size in self.groups if size and not inputs % size]
            return f"its {inputs} inputs are no multiple of {group}" + (
                f" (a group of {', '.join(fitting)} would do)" if fitting else ", and of no other group that is taken"
            )
        return f"its outputs are {outputs}, and must be even in number" if outputs % 2 else ""

    def describe(self) -> str:
        """In a few words."""
        groups = ", ".join(str(size) for size in self.groups if size)
        channels = " or one scale for each output channel" if 0 in self.groups else ""
        return f"{' or '.join(map(str, self.bits))} bits, groups of {groups}{channels}"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SchemeError(message)


def _dtype(value: Any, key: str) -> DType | None:
    if value is None or isinstance(value, DType):
        return value
    try:
        return DType(value)
    except ValueError:
        raise SchemeError(f"{key}: there is no element type {value!r}") from None


WEIGHT_ONLY = WeightScheme()
"""What onnxruntime runs."""
