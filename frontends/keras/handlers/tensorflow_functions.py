"""TensorFlow functions called on the symbolic tensors of Keras 2: TFOpLambda and SlicingOpLambda layers.

The first operand of a call stands alone, all others go by TensorFlow's names for them. Each function is one of
`keras.ops`, or a layer, with operands and configuration of other names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import attrs

from uair import ops
from uair.frontends.keras.handlers import activation, operations, preprocessing
from uair.frontends.keras.handlers.operations import common
from uair.frontends.keras.model import Layer
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.graph import Tensor

FAMILY = Family()


@attrs.frozen
class As:
    """What a function is.

    Attributes:
        kind: the operation or layer.
        operands: names of the operands behind the first one.
        config: Keras's names of what configures it, by TensorFlow's.
        defaults: configuration that the call leaves out.
    """

    kind: str
    operands: tuple[str, ...] = ()
    config: Mapping[str, str] = attrs.field(factory=dict[str, str])
    defaults: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


_REDUCED = {"axis": "axis", "keepdims": "keepdims"}
_AXIS = {"axis": "axis"}
_BINARY = {
    "add": "Add", "subtract": "Subtract", "multiply": "Multiply", "truediv": "TrueDivide", "divide": "TrueDivide",
    "floordiv": "FloorDivide", "floormod": "Mod", "mod": "Mod", "pow": "Power", "maximum": "Maximum",
    "minimum": "Minimum", "greater": "Greater", "greater_equal": "GreaterEqual", "less": "Less",
    "less_equal": "LessEqual", "equal": "Equal", "not_equal": "NotEqual", "logical_and": "LogicalAnd",
    "logical_or": "LogicalOr",
}  # fmt: skip
_UNARY = {
    "abs": "Abs", "negative": "Negative", "exp": "Exp", "log": "Log", "log1p": "Log1p", "sqrt": "Sqrt",
    "rsqrt": "Rsqrt", "square": "Square", "sin": "Sin", "cos": "Cos", "floor": "Floor", "ceil": "Ceil",
    "round": "Round", "sign": "Sign", "erf": "Erf", "reciprocal": "Reciprocal", "logical_not": "LogicalNot",
    "sigmoid": "Sigmoid", "tanh": "Tanh", "softplus": "Softplus",
}  # fmt: skip
_REDUCTIONS = {
    "reduce_mean": "Mean", "reduce_sum": "Sum", "reduce_max": "Max", "reduce_min": "Min", "reduce_prod": "Prod",
    "reduce_any": "Any", "reduce_all": "All", "reduce_logsumexp": "Logsumexp", "reduce_std": "Std",
    "reduce_variance": "Var",
}  # fmt: skip
_OTHERS = {
    "nn.relu": As("ReLU"),
    "nn.relu6": As("Relu6"),
    "nn.elu": As("Elu"),
    "nn.selu": As("Selu"),
    "nn.silu": As("Silu"),
    "nn.swish": As("Silu"),
    "nn.gelu": As("Gelu", config={"approximate": "approximate"}),
    "nn.leaky_relu": As("LeakyRelu", config={"alpha": "negative_slope"}),
    "nn.softmax": As("Softmax", config=_AXIS),
    "nn.log_softmax": As("LogSoftmax", config=_AXIS),
    "nn.bias_add": As("Add", ("bias",)),
    "identity": As("Copy"),
    "stop_gradient": As("StopGradient"),
    "convert_to_tensor": As("Copy"),
    "cast": As("Cast", config={"dtype": "dtype"}),
    "clip_by_value": As("Clip", config={"clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "concat": As("Concatenate", config=_AXIS),
    "stack": As("Stack", config=_AXIS),
    "reshape": As("Reshape", config={"shape": "newshape"}),
    "expand_dims": As("ExpandDims", config=_AXIS),
    "squeeze": As("Squeeze", config=_AXIS),
    "transpose": As("Transpose", config={"perm": "axes"}),
    "reverse": As("Flip", config=_AXIS),
    "tile": As("Tile", config={"multiples": "repeats"}),
    "broadcast_to": As("BroadcastTo", config={"shape": "shape"}),
    "zeros_like": As("ZerosLike"),
    "ones_like": As("OnesLike"),
    "where": As("Where", ("x", "y")),
    "gather": As("Take", ("indices",), _AXIS, {"axis": 0}),
    "one_hot": As("OneHot", config={"depth": "num_classes", "axis": "axis", "dtype": "dtype"}),
    "math.argmax": As("Argmax", config=_AXIS, defaults={"axis": 0}),
    "math.argmin": As("Argmin", config=_AXIS, defaults={"axis": 0}),
    "math.cumsum": As("Cumsum", config=_AXIS, defaults={"axis": 0}),
}
_OLD = ("transpose", "squeeze", "gather", "where", "expand_dims", "concat", "reverse")
"""Functions that Keras names by their form of TensorFlow 1, whose operands have the same names."""


def _handler(meaning: As) -> Callable[[KerasNode], Result]:
    return lambda n: _called(n, meaning)


def _called(n: KerasNode, meaning: As) -> Result:
    """The operation or layer that a function is, on the same operands."""
    kwargs = dict(n.kwargs)
    args = [n.args[0], *(kwargs.pop(name, None) for name in meaning.operands)]
    while args and args[-1] is None:
        args.pop()
    config = {**meaning.defaults}
    for theirs, value in kwargs.items():
        if theirs in meaning.config:
            if value is not None:
                config[meaning.config[theirs]] = getattr(value, "name", value) if theirs == "dtype" else value
        elif value not in (None, False, 0) and theirs != "name":
            n.refuse(f"{theirs}={str(value)[:80]} is not expressed")
    if any(isinstance(v, Tensor) for v in config.values()):
        n.refuse("what should be numbers is computed")
    return _as(n, f"ops.{meaning.kind}", args, config)


def _as(n: KerasNode, kind: str, args: list[Any], config: Mapping[str, Any]) -> Result:
    layer = Layer(kind, n.layer.name, n.layer.path, dict(config))
    inner = KerasNode(n.importer, n.graph, layer, args, {}, policy=n.policy)
    inner.loc, inner.place = n.loc, n.place
    handlers = {**activation.FAMILY.handlers, **operations.FAMILY.handlers, **preprocessing.FAMILY.handlers}
    return handlers[kind](inner)


def _slice(part: Any) -> Any:
    """A slice, which a configuration holds as an object."""
    return slice(part.get("start"), part.get("stop"), part.get("step")) if isinstance(part, dict) else part  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


@FAMILY.op("tf.__operators__.getitem")
def _get_item(n: KerasNode) -> Result:
    spec: Any = n.argument(1, "slice_spec")
    parts = [_slice(part) for part in (spec if isinstance(spec, (list, tuple)) else [spec])]  # pyright: ignore[reportUnknownVariableType]
    return _as(n, "ops.GetItem", [n.args[0], parts], {})


@FAMILY.op("tf.linalg.matmul")
def _matmul(n: KerasNode) -> Result:
    """Either operand may come transposed."""
    for option in ("adjoint_a", "adjoint_b", "a_is_sparse", "b_is_sparse", "output_type"):
        n.require(not n.kwargs.get(option), f"{option} is not expressed")
    flags = {f"trans_{side}": bool(n.kwargs.get(f"transpose_{side}")) for side in "ab"}
    return n(ops.MatMul(**flags), *common(n, n.args[0], n.argument(1, "b")))


@FAMILY.op("tf.split")
def _split(n: KerasNode) -> Result:
    """Into equal parts, or parts of given sizes."""
    given: Any = n.argument(1, "num_or_size_splits")
    borders = given if isinstance(given, int) else list(accumulate(n.integers_of(given, "num_or_size_splits")))[:-1]
    return _as(n, "ops.Split", [n.args[0]], {"indices_or_sections": borders, "axis": n.kwargs.get("axis", 0)})


@FAMILY.op("tf.pad", "tf.compat.v1.pad")
def _pad(n: KerasNode) -> Result:
    """The mode's name may be in capitals."""
    config = {"pad_width": n.argument(1, "paddings"), "mode": str(n.kwargs.get("mode") or "constant").lower()}
    return _as(n, "ops.Pad", [n.args[0], n.kwargs.get("constant_values") or 0], config)


@FAMILY.op("tf.image.resize")
def _resize(n: KerasNode) -> Result:
    size = n.integers_of(n.argument(1, "size"), "size", 2)
    n.require(not n.kwargs.get("preserve_aspect_ratio"), "preserve_aspect_ratio is not expressed")
    config: dict[str, Any] = {"height": size[0], "width": size[1], "antialias": bool(n.kwargs.get("antialias"))}
    config["interpolation"] = n.kwargs.get("method") or "bilinear"
    return _as(n, "Resizing", [n.args[0]], config)


for _name, _kind in _BINARY.items():
    FAMILY.add(f"tf.math.{_name}", _handler(As(_kind, ("y",))))
FAMILY.add("tf.__operators__.add", _handler(As("Add", ("y",))))
for _name, _kind in _UNARY.items():
    FAMILY.add(f"tf.math.{_name}", _handler(As(_kind)))
for _name, _kind in _REDUCTIONS.items():
    FAMILY.add(f"tf.math.{_name}", _handler(As(_kind, config=_REDUCED)))
for _name, _meaning in _OTHERS.items():
    FAMILY.add(f"tf.{_name}", _handler(_meaning))
    if _name in _OLD:
        FAMILY.add(f"tf.compat.v1.{_name}", _handler(_meaning))
