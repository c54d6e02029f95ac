"""Element-wise operators, activations, comparisons, casts."""

from __future__ import annotations

from uair.codegen.ascend.ge.table import Emission, GeEmitters, NoGeForm, ge_type
from uair.ops import (
    Abs,
    Acos,
    Acosh,
    Add,
    Asin,
    Asinh,
    Atan,
    Atanh,
    BitwiseNot,
    Cast,
    Ceil,
    Clip,
    Cos,
    Cosh,
    Div,
    Elu,
    Equal,
    Erf,
    Exp,
    Floor,
    Greater,
    GreaterEqual,
    HardSigmoid,
    HardSwish,
    Identity,
    IsNaN,
    LeakyRelu,
    Less,
    LessEqual,
    Log,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    LogSoftmax,
    Maximum,
    Minimum,
    Mish,
    Mul,
    Neg,
    NotEqual,
    Pow,
    PRelu,
    Reciprocal,
    Relu,
    Round,
    Rsqrt,
    Selu,
    Sigmoid,
    Sign,
    Sin,
    Sinh,
    Softmax,
    Softplus,
    Softsign,
    Sqrt,
    Sub,
    Swish,
    Tan,
    Tanh,
    Where,
)

EMITTERS = GeEmitters()
EMITTERS.direct(
    {
        Abs: "Abs",
        Acos: "Acos",
        Acosh: "Acosh",
        Add: "Add",
        Asin: "Asin",
        Asinh: "Asinh",
        Atan: "Atan",
        Atanh: "Atanh",
        BitwiseNot: "Invert",
        Ceil: "Ceil",
        Cos: "Cos",
        Cosh: "Cosh",
        Div: "RealDiv",
        Equal: "Equal",
        Erf: "Erf",
        Floor: "Floor",
        Greater: "Greater",
        GreaterEqual: "GreaterEqual",
        HardSwish: "HardSwish",
        IsNaN: "IsNan",
        Less: "Less",
        LessEqual: "LessEqual",
        LogicalAnd: "LogicalAnd",
        LogicalNot: "LogicalNot",
        LogicalOr: "LogicalOr",
        Maximum: "Maximum",
        Minimum: "Minimum",
        Mish: "Mish",
        Mul: "Mul",
        Neg: "Neg",
        Reciprocal: "Reciprocal",
        Relu: "Relu",
        Round: "Round",
        Rsqrt: "Rsqrt",
        Sigmoid: "Sigmoid",
        Sign: "Sign",
        Sin: "Sin",
        Sinh: "Sinh",
        Softsign: "Softsign",
        Sqrt: "Sqrt",
        Sub: "Sub",
        Tan: "Tan",
        Tanh: "Tanh",
        Where: "SelectV2",
    }
)


@EMITTERS.of(Identity)
def identity(e: Emission, op: Identity) -> None:
    """No operator: the value itself."""
    e.same(e.x())


@EMITTERS.of(Exp)
def exp(e: Emission, op: Exp) -> None:
    """Base -1 stands for e."""
    e.results("Exp", [e.x()], base=-1.0, scale=1.0, shift=0.0)


@EMITTERS.of(Log)
def log(e: Emission, op: Log) -> None:
    """Base -1 stands for e."""
    e.results("Log", [e.x()], base=-1.0, scale=1.0, shift=0.0)


@EMITTERS.of(Pow)
def power(e: Emission, op: Pow) -> None:
    """Both operands of one type."""
    if e.type(1).dtype.is_float and not e.type(0).dtype.is_float:
        raise NoGeForm("an integer to a power that is none is not written")
    e.results("Pow", [e.x(0), e.cast(e.x(1), e.type().dtype)])


@EMITTERS.of(Cast)
def cast(e: Emission, op: Cast) -> None:
    """The attribute is a ge::DataType."""
    e.results("Cast", [e.x()], dst_type=ge_type(op.to))


@EMITTERS.of(NotEqual)
def not_equal(e: Emission, op: NotEqual) -> None:
    """Not equal."""
    e.results("LogicalNot", [e.op("Equal", [e.x(0), e.x(1)], e.y)])


@EMITTERS.of(Clip)
def clip(e: Emission, op: Clip) -> None:
    """ReLU and ReLU6 have operators of their own; one bound is a maximum or a minimum."""
    dtype = e.type().dtype
    if not dtype.is_float:
        raise NoGeForm(f"Clip of {dtype} is not written")
    low, high = (None if b is None else e.literal(b, dtype) for b in (op.min, op.max))
    if op.min == 0 and op.max in (6, None):
        e.results("Relu6" if op.max else "Relu", [e.x()])
    elif low is not None and high is not None:
        e.results("ClipByValue", [e.x(), low, high])
    elif low is not None or high is not None:
        bound = low or high
        assert bound is not None
        e.results("Maximum" if low is not None else "Minimum", [e.x(), bound])
    else:
        e.same(e.x())


@EMITTERS.of(LeakyRelu)
def leaky_relu(e: Emission, op: LeakyRelu) -> None:
    """The slope is an attribute."""
    e.results("LeakyRelu", [e.x()], negative_slope=op.alpha)


@EMITTERS.of(PRelu)
def prelu(e: Emission, op: PRelu) -> None:
    """A slope for all, or one for each channel as a vector."""
    rank, channels = len(e.shape()), e.shape()[1] if len(e.shape()) > 1 else 0
    slope = e.constant(1)
    aligned = (1,) * (rank - slope.ndim) + slope.shape
    if slope.size != 1 and not (rank > 1 and aligned == (1, channels, *(1,) * (rank - 2))):
        raise NoGeForm(f"PRelu takes one slope or one for each channel, not a slope of shape {list(slope.shape)}")
    e.results("PRelu", [e.x(), e.literal(slope.reshape(-1), e.type().dtype)])


@EMITTERS.of(Elu)
def elu(e: Emission, op: Elu) -> None:
    """Elu."""
    e.results("Elu", [e.x()], alpha=op.alpha)


@EMITTERS.of(Selu)
def selu(e: Emission, op: Selu) -> None:
    """The constants are fixed."""
    if (op.alpha, op.gamma) != (Selu().alpha, Selu().gamma):
        raise NoGeForm("Selu has the standard constants only")
    e.results("Selu", [e.x()])


@EMITTERS.of(HardSigmoid)
def hard_sigmoid(e: Emission, op: HardSigmoid) -> None:
    """HardSigmoid."""
    e.results("HardSigmoid", [e.x()], alpha=op.alpha, beta=op.beta)


@EMITTERS.of(Swish)
def swish(e: Emission, op: Swish) -> None:
    """The factor of the sigmoid is `scale`."""
    e.results("Swish", [e.x()], scale=op.alpha)


@EMITTERS.of(Softplus)
def softplus(e: Emission, op: Softplus) -> None:
    """Without a factor."""
    if op.beta != 1:
        raise NoGeForm("Softplus has no factor")
    e.results("Softplus", [e.x()])


@EMITTERS.of(Softmax)
def softmax(e: Emission, op: Softmax) -> None:
    """Along one axis."""
    e.results("SoftmaxV2", [e.x()], axes=[op.axis])


@EMITTERS.of(LogSoftmax)
def log_softmax(e: Emission, op: LogSoftmax) -> None:
    """Along one axis."""
    e.results("LogSoftmaxV2", [e.x()], axes=[op.axis])
