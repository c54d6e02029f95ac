"""Which csinn operators stand for a canonical one: a function for each, by operator class.

A function sees a node that the target's description calls supported; what it cannot say in csinn's parameters it
refuses with `NotInCsinn`. What the reference kernels of SHL make of the parameters was measured operator by operator
(tests/vendor/test_thead_operators.py); where they disagree with the header's words, the measurement stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import attrs
import numpy as np

from uair import ops
from uair.codegen.thead.errors import NotInCsinn
from uair.codegen.thead.lower import Lowering, is_fixed
from uair.codegen.thead.program import CTensor, CType, Enumerator, QuantInfo, Value, plain_layout
from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Node
from uair.ops.base import Operator

Emitter: TypeAlias = Callable[[Lowering, Node], None]
Shape: TypeAlias = tuple[int, ...]

GREATEST = float(np.finfo(np.float32).max)


def fixed_point(value: float) -> tuple[int, int]:
    """A number as the multiplier (Q31) and shift of csinn's integer parameters: value = multiplier / 2^31 * 2^shift."""
    fraction, shift = math.frexp(value)
    multiplier = round(fraction * 2**31)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    return multiplier, shift


def number(field: str, value: float) -> dict[str, Value]:
    """A real parameter with the fixed-point form that kernels of quantized tensors read instead."""
    multiplier, shift = fixed_point(value)
    return {field: float(value), f"{field}_multiplier": multiplier, f"{field}_shift": shift}


def normalized(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis + rank if axis < 0 else axis


# ----------------------------------------------------------------------------------------------------------- one by one
def unary(function: str, struct: str = "siso") -> Emitter:
    """An operator of one operand without parameters."""

    def emit(low: Lowering, node: Node) -> None:
        low.call(node, function, struct, (low.operand(node, 0), low.result(node)))

    return emit


def binary(function: str) -> Emitter:
    """An operator of two operands, broadcast as NumPy does."""

    def emit(low: Lowering, node: Node) -> None:
        y = low.result(node)
        low.call(node, function, "diso", (low.operand(node, 0), low.operand(node, 1), y))

    return emit


def leaky_relu(low: Lowering, node: Node) -> None:
    """The slope below 0 is a number."""
    op: Any = node.op
    low.call(node, "leaky_relu", "relu", (low.operand(node, 0), low.result(node)), number("n", op.alpha))


def threshold_relu(low: Lowering, node: Node) -> None:
    """Elements above a number, 0 elsewhere."""
    op: Any = node.op
    low.call(node, "threshold_relu", "relu", (low.operand(node, 0), low.result(node)), number("n", op.alpha))


def clip(low: Lowering, node: Node) -> None:
    """From 0 to 6 and from -1 to 1 are operators of their own, the only ones of the kind that the NPU has.

    There, from 0 to anything is relu on integers that end at the limit.
    """
    op: Any = node.op
    begin = -GREATEST if op.min is None else max(op.min, -GREATEST)
    end = GREATEST if op.max is None else min(op.max, GREATEST)
    x, y = low.operand(node, 0), low.result(node)
    if (begin, end) == (0.0, 6.0):
        low.call(node, "relu6", "relu", (x, y), number("n", 6.0))
    elif (begin, end) == (-1.0, 1.0) and low.arithmetic.integers_only:
        low.call(node, "relu1", "relu", (x, y), number("n", 1.0))
    elif begin == 0.0 and low.arithmetic.integers_only:
        if low.is_integer(node):
            _cut_relu(low, node, x, y, end)
        else:
            _scaled_relu6(low, node, x, y, end)
    else:
        low.call(node, "clip", "clip", (x, y), {"min_value": float(begin), "max_value": float(end)})


def _cut_relu(low: Lowering, node: Node, x: CTensor, y: CTensor, end: float) -> None:
    """From 0 to `end`, by integers that end there: a shared scale may reach further than one result does.

    The same steps with a zero point that moves the limit to 127 saturate there, and are then exactly the result's.
    """
    assert y.quant is not None
    steps = float(np.rint(np.float32(end) / y.quant.scales[0]))
    if y.quant.zero_points[0] + steps < 127:
        ending = QuantInfo.make(y.quant.scales, np.asarray(127 - steps))
        cut = low.new(f"{y.name}_cut", y.shape, y.ctype, layout=y.layout, quant=ending)
        low.call(node, "relu", "relu", (x, cut))
        x = cut
    low.call(node, "relu", "relu", (x, y))


def _scaled_relu6(low: Lowering, node: Node, x: CTensor, y: CTensor, end: float) -> None:
    """From 0 to `end`, where only 6 can be the end."""
    wide, cut = (low.new(f"{y.name}_{part}", y.shape, y.ctype) for part in ("scaled", "cut"))
    low.call(node, "mul", "diso", (x, low.scalar(f"{y.name}_factor", 6.0 / end), wide))
    low.call(node, "relu6", "relu", (wide, cut), number("n", 6.0))
    low.call(node, "mul", "diso", (cut, low.scalar(f"{y.name}_divisor", end / 6.0), y))


def prelu(low: Lowering, node: Node) -> None:
    """Slope per channel: the kernels take axis 1 and a slope of that many elements."""
    x, y = low.operand(node, 0), low.result(node)
    slope = node.inputs[1]
    assert slope is not None
    channels = x.shape[1] if len(x.shape) > 1 else 1
    if slope.type.size != channels:
        raise NotInCsinn(f"a slope of shape {list(slope.type.dims)} is not one per channel")
    low.call(node, "prelu", "prelu", (x, low.constant(node, 1, shape=(channels,)), y), {"axis": 1})


def along_axis(function: str, struct: str) -> Emitter:
    """Softmax and the like."""

    def emit(low: Lowering, node: Node) -> None:
        op: Any = node.op
        x = low.operand(node, 0)
        low.call(node, function, struct, (x, low.result(node)), {"axis": normalized(op.axis, len(x.shape))})

    return emit


# --------------------------------------------------------------------------------------------------- weighted operators
def _weights(low: Lowering, node: Node, layout: str, *, transposed: bool = False) -> tuple[CTensor, CTensor]:
    """Weight and bias. In a quantized graph the bias is i32 with scale s_x * s_w per channel, as csinn has it."""
    w = low.constant(node, 1, layout=layout, transposed=transposed)
    channels = _out_channels(node)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return w, low.constant(node, 2, layout="O")
    x = low.operand(node, 0)
    quant = None
    if w.quant is not None and x.quant is not None:
        scales = np.asarray(x.quant.scales * w.quant.scales, np.float32)
        quant = QuantInfo(scales, np.zeros(scales.shape, np.int32))
    return w, low.zero_bias(node, channels, quant)


def _out_channels(node: Node) -> int:
    last = isinstance(node.op, (ops.Linear, ops.MatMul))
    return static(node.output.type.dims)[-1 if last else 1]


def resolved(node: Node) -> Any:
    """The operator with its padding in numbers."""
    op: Any = node.op
    x, w = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    assert x is not None
    kernel = op.kernel if hasattr(op, "kernel") else tuple(cast("Any", w).type.dims[2:])
    return op.with_explicit_pads(x.type.dims[2:], kernel) if hasattr(op, "auto_pad") else op


def _window(op: Any, names: str, *, groups: bool = True) -> dict[str, Value]:
    """Strides, padding and dilation of a convolution over the axes in `names`, e.g. "hw"."""
    long = {"d": "depth", "h": "height", "w": "width"}
    ends = {"d": ("front", "back"), "h": ("top", "down"), "w": ("left", "right")}
    fields: dict[str, Value] = {"group": op.groups} if groups else {}
    n = len(names)
    for i, axis in enumerate(names):
        fields[f"stride_{long[axis]}"] = op.strides[i]
        fields[f"dilation_{long[axis]}"] = op.dilations[i]
        fields[f"pad_{ends[axis][0]}"] = op.pads[i]
        fields[f"pad_{ends[axis][1]}"] = op.pads[n + i]
    return fields


def conv2d(low: Lowering, node: Node) -> None:
    """Which kernel computes it (plain, depthwise, grouped) the library decides by group and channels."""
    op = resolved(node)
    x, y = low.operand(node, 0), low.result(node)
    w, bias = _weights(low, node, _kernel_layout(node))
    if max(op.dilations) > 1 and not low.arithmetic.dilates:
        w, op = _dilated(w, op.dilations), attrs.evolve(op, dilations=(1, 1))
    direct: dict[str, Value] = {
        "conv_extra.kernel_tm": Enumerator("NULL"),
        "conv_extra.conv_mode": Enumerator("CSINN_DIRECT"),
    }
    low.call(node, "conv2d", "conv2d", (x, y, w, bias), {**_window(op, "hw"), **direct})


def _dilated(w: CTensor, dilations: Shape) -> CTensor:
    """The kernel with zeros between its taps, whose plain convolution is the dilated one."""
    data = w.data
    assert data is not None
    o, i, *kernel = w.shape
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]

    def values() -> Array:
        taps = data().reshape(w.shape)
        wide = np.zeros((o, i, *extents), taps.dtype)
        places = (slice(None), slice(None), *(slice(None, None, d) for d in dilations))
        wide[places] = taps
        return wide

    return CTensor(w.name, (o, i, *extents), w.ctype, w.layout, w.quant, values)


def _kernel_layout(node: Node) -> str:
    """O1HW tells a depthwise kernel, of one input channel per group."""
    op: Any = node.op
    x = node.inputs[0]
    assert x is not None
    return "O1HW" if op.groups > 1 and op.groups == x.type.dims[1] else "OIHW"


def conv1d(low: Lowering, node: Node) -> None:
    """As over two axes."""
    op = resolved(node)
    x, y = low.operand(node, 0), low.result(node)
    w, bias = _weights(low, node, "OIW")
    if max(op.dilations) > 1 and not low.arithmetic.dilates:
        w, op = _dilated(w, op.dilations), attrs.evolve(op, dilations=(1,))
    low.call(node, "conv1d", "conv1d", (x, y, w, bias), _window(op, "w"))


def conv3d(low: Lowering, node: Node) -> None:
    """As over two axes; the library ignores groups."""
    x, y = low.operand(node, 0), low.result(node)
    w, bias = _weights(low, node, "OIDHW")
    low.call(node, "conv3d", "conv3d", (x, y, w, bias), _window(resolved(node), "dhw"))


def deconv3d(low: Lowering, node: Node) -> None:
    """Transposed over three axes."""
    op: Any = node.op
    x, y = low.operand(node, 0), low.result(node)
    w, bias = _weights(low, node, "OIDHW")
    padding: dict[str, Value] = {
        f"out_pad_{name}": p for name, p in zip(("depth", "height", "width"), op.output_padding, strict=True)
    }
    low.call(node, "deconv3d", "conv3d", (x, y, w, bias), {**_window(op, "dhw"), **padding})


def deconv2d(low: Lowering, node: Node) -> None:
    """The kernels know no dilation: the weight is dilated."""
    op: Any = node.op
    x, y = low.operand(node, 0), low.result(node)
    w, bias = _weights(low, node, "IOHW")
    if max(op.dilations) > 1:
        w, op = _dilated(w, op.dilations), attrs.evolve(op, dilations=(1, 1))
    padding: dict[str, Value] = {"out_pad_height": op.output_padding[0], "out_pad_width": op.output_padding[1]}
    low.call(node, "deconv2d", "conv2d", (x, y, w, bias), {**_window(op, "hw"), **padding})


def linear(low: Lowering, node: Node) -> None:
    """The layer takes any number of axes in front of the last; its weight is [out, in]."""
    op: Any = node.op
    _fully_connected(low, node, transposed=not op.transpose_w)


def _fully_connected(low: Lowering, node: Node, *, transposed: bool) -> None:
    x, y = low.operand(node, 0), low.result(node)
    w, bias = _weights(low, node, "OI", transposed=transposed)
    low.call(node, "fullyconnected", "fc", (x, y, w, bias), {"units": _out_channels(node)})


def matmul(low: Lowering, node: Node) -> None:
    """A constant matrix is a fully connected layer. The kernels want as many matrices on both sides."""
    op: Any = node.op
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None
    if is_fixed(b) and b.type.rank == 2 and a.type.rank > 1 and not op.trans_a:
        _fully_connected(low, node, transposed=not op.trans_b)
        return
    left, right = low.operand(node, 0), low.operand(node, 1)
    if min(len(left.shape), len(right.shape)) < 2:
        raise NotInCsinn("a vector is not multiplied with a matrix", hint="reshape it to a matrix")
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    left, right = (_batched(low, node, each, batch) for each in (left, right))
    fields: dict[str, Value] = {"trans_a": op.trans_a, "trans_b": op.trans_b}
    low.call(node, "matmul", "matmul", (left, right, low.result(node)), fields)


def _batched(low: Lowering, node: Node, x: CTensor, batch: Shape) -> CTensor:
    """A stack of matrices, repeated to `batch` of them."""
    shape = (*batch, *x.shape[-2:])
    if x.shape == shape:
        return x
    if x.data is not None:
        data, own = x.data, x.shape
        values = lambda: np.ascontiguousarray(np.broadcast_to(data().reshape(own), shape))  # noqa: E731
        return CTensor(x.name, shape, x.ctype, plain_layout(len(shape)), x.quant, values)
    made = low.new(f"{x.name}_repeated", shape, x.ctype, quant=x.quant)
    low.call(node, "broadcast_to", "broadcast_to", (x, made), {"shape": shape, "shape_count": len(shape)})
    return made


# -------------------------------------------------------------------------------------------------------------- pooling
def _pool(op: Any, names: str, ceil: bool) -> dict[str, Value]:
    long = {"d": "depth", "h": "height", "w": "width"}
    ends = {"d": ("front", "back"), "h": ("top", "down"), "w": ("left", "right")}
    fields: dict[str, Value] = {}
    n = len(names)
    for i, axis in enumerate(names):
        fields[f"filter_{long[axis]}"] = op.kernel[i]
        fields[f"stride_{long[axis]}"] = op.strides[i]
        fields[f"pad_{ends[axis][0]}"] = op.pads[i]
        fields[f"pad_{ends[axis][1]}"] = op.pads[n + i]
    fields["ceil_mode"] = int(ceil)
    if hasattr(op, "count_include_pad"):
        fields["count_include_pad"] = bool(op.count_include_pad)
    return fields


def pool(function: str, names: str) -> Emitter:
    """Pooling over two or three axes. The result's extents are given: ceil_mode only says how they were found."""

    def emit(low: Lowering, node: Node) -> None:
        op = resolved(node)
        x, y = low.operand(node, 0), low.result(node)
        low.call(node, function, "pool", (x, y), _pool(op, names, op.ceil_mode))

    return emit


def pool1d(function: str) -> Emitter:
    """Pooling over one axis: over two, of which one has extent 1."""

    def emit(low: Lowering, node: Node) -> None:
        op = resolved(node)
        x = low.operand(node, 0)
        n, c, w = x.shape
        fields = {
            **_pool(op, "w", op.ceil_mode),
            **{"filter_height": 1, "stride_height": 1, "pad_top": 0, "pad_down": 0},
        }
        flat = low.reshaped(node, x, (n, c, 1, w))
        y = low.result(node, shape=(n, c, 1, static(node.output.type.dims)[2]))
        low.call(node, function, "pool", (flat, y), fields)
        low.finish(node, y)

    return emit


def global_pool(function: str) -> Emitter:
    """Over all axes behind the channels, made two where they are not."""

    def emit(low: Lowering, node: Node) -> None:
        x = low.operand(node, 0)
        if len(x.shape) == 4:
            low.call(node, function, "pool", (x, low.result(node)))
            return
        n, c, *rest = x.shape
        flat = low.reshaped(node, x, (n, c, 1, math.prod(rest)))
        y = low.result(node, shape=(n, c, 1, 1))
        low.call(node, function, "pool", (flat, y))
        low.finish(node, y)

    return emit


# ----------------------------------------------------------------------------------------------------------- reductions
def reduction(function: str) -> Emitter:
    """Over several axes: extents and strides of what is left, and of what is reduced."""

    def emit(low: Lowering, node: Node) -> None:
        op: Any = node.op
        x = low.operand(node, 0)
        rank = len(x.shape)
        if len(node.inputs) > 1 and node.inputs[1] is not None:
            raise NotInCsinn("the axes of a reduction are computed at run time")
        axes = range(rank) if op.axes is None else sorted(normalized(a, rank) for a in op.axes)
        strides = [math.prod(x.shape[i + 1 :]) for i in range(rank)]
        kept = [i for i in range(rank) if i not in axes]
        fields: dict[str, Value] = {
            "n": len(kept),
            "out_strides": tuple(strides[i] for i in kept),
            "out_extents": tuple(x.shape[i] for i in kept),
            "m": len(axes),
            "inner_strides": tuple(strides[i] for i in axes),
            "inner_extents": tuple(x.shape[i] for i in axes),
            "axis": tuple(axes),
            "axis_count": len(axes),
            "keepdims": op.keepdims,
        }
        low.call(node, function, "reduce", (x, low.result(node)), fields)

    return emit


# -------------------------------------------------------------------------------------------------------- normalization
def lrn(low: Lowering, node: Node) -> None:
    """Across channels. The kernel divides alpha by the size of the window, as ONNX does."""
    op: Any = node.op
    fields: dict[str, Value] = {"range": op.size}
    for name in ("bias", "alpha", "beta"):
        fields |= number(name, getattr(op, name))
    fields["norm_region"] = Enumerator("CSINN_LRN_ACROSS_CHANNELS")
    low.call(node, "lrn", "lrn", (low.operand(node, 0), low.result(node)), fields)


def layer_norm(low: Lowering, node: Node) -> None:
    """Scale and bias are given always."""
    op: Any = node.op
    x, y = low.operand(node, 0), low.result(node)
    axis = normalized(op.axis, len(x.shape))
    shape = x.shape[axis:]
    scale, bias = (_affine(low, node, i, shape, fill) for i, fill in ((1, 1.0), (2, 0.0)))
    fields: dict[str, Value] = {"epsilon": op.epsilon, "center": True, "scale": True, "axis": axis}
    low.call(node, "layer_norm", "layer_norm", (x, y, scale, bias), fields)


def rms_norm(low: Lowering, node: Node) -> None:
    """The scale is given always."""
    op: Any = node.op
    x, y = low.operand(node, 0), low.result(node)
    axis = normalized(op.axis, len(x.shape))
    fields: dict[str, Value] = {"epsilon": op.epsilon, "axis": axis}
    low.call(node, "rms_norm", "rms_norm", (x, _affine(low, node, 1, x.shape[axis:], 1.0), y), fields)


def group_norm(low: Lowering, node: Node) -> None:
    """Scale and bias are given always."""
    op: Any = node.op
    x, y = low.operand(node, 0), low.result(node)
    scale, bias = (_affine(low, node, i, x.shape[1:2], fill) for i, fill in ((1, 1.0), (2, 0.0)))
    fields: dict[str, Value] = {"epsilon": op.epsilon, "center": True, "scale": True, "num_groups": op.groups}
    low.call(node, "group_norm", "group_norm", (x, y, scale, bias), fields)


def l2_normalization(low: Lowering, node: Node) -> None:
    """Along the last axis, whatever the parameters say."""
    op: Any = node.op
    x = low.operand(node, 0)
    fields: dict[str, Value] = {
        **number("epsilon", op.epsilon),
        "axis": (normalized(op.axis, len(x.shape)),),
        "n": 1,
    }
    low.call(node, "l2_normalization", "l2n", (x, low.result(node)), fields)


def _affine(low: Lowering, node: Node, i: int, shape: Shape, fill: float) -> CTensor:
    """Scale or bias of a normalization; `fill` where there is none."""
    tensor = node.inputs[i] if i < len(node.inputs) else None
    if tensor is not None:
        if tensor.type.size != math.prod(shape):
            raise NotInCsinn(f"{node.op.params[i].name} of shape {list(tensor.type.dims)} is broadcast")
        return low.constant(node, i, shape=shape)
    dtype = np.float16 if low.arithmetic.real is CType.FLOAT16 else np.float32
    made = low.new(f"{node.output.name}_{node.op.params[i].name}", shape, low.arithmetic.real)
    made.data = lambda: np.full(shape, fill, dtype)
    return made


# ---------------------------------------------------------------------------------------------------------- data moving
def concat(low: Lowering, node: Node) -> None:
    """Operands are an array of tensors."""
    op: Any = node.op
    y = low.result(node)
    parts = [low.operand(node, i) for i in range(len(node.inputs))]
    fields: dict[str, Value] = {"inputs_count": len(parts), "axis": normalized(op.axis, len(y.shape))}
    low.call(node, "concat", "concat", (parts, y), fields)


def split(low: Lowering, node: Node) -> None:
    """The results are an array of tensors; `split_index` holds where all but the first begin."""
    op: Any = node.op
    x = low.operand(node, 0)
    axis = normalized(op.axis, len(x.shape))
    parts = [low.result(node, i) for i in range(len(node.outputs))]
    ends = np.cumsum([part.shape[axis] for part in parts])[:-1]
    fields: dict[str, Value] = {
        "split_index": tuple(int(e) for e in ends),
        "output_num": len(parts),
        "axis": axis,
    }
    low.call(node, "split", "split", (x, parts), fields)


def slice_(low: Lowering, node: Node) -> None:
    """Every axis has a begin, an end and a step."""
    op: Any = node.op
    x, y = low.operand(node, 0), low.result(node)
    if any(part is None for part in (op.axes, op.starts, op.ends, op.steps)):
        raise NotInCsinn("the bounds of a Slice are computed at run time")
    begin, end, stride = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
    for axis, start, stop, step in zip(op.axes, op.starts, op.ends, op.steps, strict=True):
        if step < 1:
            raise NotInCsinn("a Slice runs backwards", hint="reverse the axis with Flip")
        i = normalized(axis, len(x.shape))
        begin[i], end[i], stride[i] = slice(start, stop, step).indices(x.shape[i])
    fields: dict[str, Value] = {
        "begin": tuple(begin),
        "end": tuple(end),
        "stride": tuple(stride),
        "slice_count": len(begin),
    }
    low.call(node, "strided_slice", "strided_slice", (x, y), fields)


def pad(low: Lowering, node: Node) -> None:
    """The kernels pad four axes: others are merged, or added."""
    op: Any = node.op
    x = low.operand(node, 0)
    rank = len(x.shape)
    if op.pads is None or op.value is None or op.mode != "constant":
        raise NotInCsinn("only a constant in amounts that are known is padded with")
    before, after = list(op.pads[:rank]), list(op.pads[rank:])
    if min(before + after) < 0:
        raise NotInCsinn("negative padding crops", hint="slice instead")
    extra = (1,) * (4 - rank)
    shape = static(node.output.type.dims)
    wide = x if rank == 4 else low.reshaped(node, x, (*extra, *x.shape))
    y = low.result(node) if rank == 4 else low.result(node, shape=(*extra, *shape))
    zeros = [0] * len(extra)
    fields: dict[str, Value] = {
        "pad_before": (*zeros, *before),
        "pad_after": (*zeros, *after),
        "pad_num": 4,
        "pad_value": float(op.value),
        "pad_mode": Enumerator("CSINN_PAD_CONSTANT"),
    }
    low.call(node, "pad", "pad", (wide, y), fields)
    if rank != 4:
        low.finish(node, y)


def reshape(low: Lowering, node: Node) -> None:
    """Of the elements in their order."""
    low.reshape(node, low.operand(node, 0), low.result(node))


def transpose(low: Lowering, node: Node) -> None:
    """Result axis i is operand axis permute[i]."""
    op: Any = node.op
    x = low.operand(node, 0)
    perm = op.perm or tuple(reversed(range(len(x.shape))))
    fields: dict[str, Value] = {"permute": tuple(perm), "permute_num": len(perm)}
    low.call(node, "transpose", "transpose", (x, low.result(node)), fields)


def expand(low: Lowering, node: Node) -> None:
    """To the shape of the result."""
    y = low.result(node)
    fields: dict[str, Value] = {"shape": y.shape, "shape_count": len(y.shape)}
    low.call(node, "broadcast_to", "broadcast_to", (low.operand(node, 0), y), fields)


def tile(low: Lowering, node: Node) -> None:
    """Every axis has a number of repetitions."""
    op: Any = node.op
    if op.repeats is None:
        raise NotInCsinn("how often a Tile repeats is computed at run time")
    fields: dict[str, Value] = {"reps": tuple(op.repeats), "reps_num": len(op.repeats)}
    low.call(node, "tile", "tile", (low.operand(node, 0), low.result(node)), fields)


def flip(low: Lowering, node: Node) -> None:
    """One axis."""
    op: Any = node.op
    x = low.operand(node, 0)
    if len(op.axes) != 1:
        raise NotInCsinn("csinn reverses one axis at a time")
    low.call(node, "reverse", "reverse", (x, low.result(node)), {"axis": normalized(op.axes[0], len(x.shape))})


def cumsum(low: Lowering, node: Node) -> None:
    """Forwards."""
    op: Any = node.op
    x = low.operand(node, 0)
    if op.axis is None or op.reverse:
        raise NotInCsinn("sums run forwards, along an axis that is known")
    fields: dict[str, Value] = {"axis": normalized(op.axis, len(x.shape)), "exclusive": op.exclusive}
    low.call(node, "cumsum", "cumsum", (x, low.result(node)), fields)


def where(low: Lowering, node: Node) -> None:
    """The condition is of type BOOL."""
    y = low.result(node)
    low.call(node, "where", "where", (*(low.operand(node, i) for i in range(3)), y))


def gather(low: Lowering, node: Node) -> None:
    """Slices of one axis."""
    op: Any = node.op
    x, y = low.operand(node, 0), low.result(node)
    indices = node.inputs[1]
    assert indices is not None
    taken = low.constant(node, 1) if is_fixed(indices) else low.real(indices)
    if taken.ctype is not CType.INT64:
        raise NotInCsinn("the kernels read indices of 64 bits", hint="cast them to i64")
    low.call(node, "gather", "gather", (x, taken, y), {"axis": normalized(op.axis, len(x.shape))})


def blocks(function: str) -> Emitter:
    """Between depth and space."""

    def emit(low: Lowering, node: Node) -> None:
        op: Any = node.op
        fields: dict[str, Value] = {"block_size": op.block}
        if function == "depth_to_space":
            fields["mode"] = Enumerator(f"CSINN_DEPTHTOSPACE_{op.mode}")
        low.call(node, function, function, (low.operand(node, 0), low.result(node)), fields)

    return emit


def resize(low: Lowering, node: Node) -> None:
    """The nearest element is at floor(i / scale), linear interpolation at i / scale, or with aligned corners."""
    op: Any = node.op
    modes = {"nearest": "NEAREST_NEIGHBOR", "linear": "BILINEAR"}
    if op.mode not in modes:
        raise NotInCsinn(f"there is no Resize of mode {op.mode}")
    fields: dict[str, Value] = {
        "resize_mode": Enumerator(f"CSINN_RESIZE_{modes[op.mode]}"),
        "align_corners": op.coordinate_mode == "align_corners",
    }
    low.call(node, "resize", "resize", (low.operand(node, 0), low.result(node)), fields)


UNARY = (
    *(ops.Abs, ops.Acos, ops.Acosh, ops.Asin, ops.Asinh, ops.Atan, ops.Atanh, ops.Ceil, ops.Cos, ops.Cosh, ops.Erf),
    *(ops.Exp, ops.Expm1, ops.Floor, ops.Log, ops.Log1p, ops.Round, ops.Rsqrt, ops.Sign, ops.Sin, ops.Sinh),
    *(ops.Softplus, ops.Softsign, ops.Sqrt, ops.Tan, ops.Tanh, ops.Trunc),
)
"""csinn's functions for these have the same names."""

EMITTERS: Mapping[type[Operator], Emitter] = {
    **{cls: unary(cls.__name__.lower()) for cls in UNARY},
    **{cls: binary(cls.__name__.lower()) for cls in (ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Maximum, ops.Minimum)},
    ops.Neg: unary("negative"),
    ops.Pow: binary("power"),
    ops.Relu: unary("relu", "relu"),
    ops.Elu: unary("elu", "relu"),
    ops.LeakyRelu: leaky_relu,
    ops.PRelu: prelu,
    ops.Clip: clip,
    ops.Sigmoid: unary("sigmoid", "sigmoid"),
    ops.HardSigmoid: unary("hard_sigmoid", "sigmoid"),
    ops.Swish: unary("silu", "silu"),
    ops.Softmax: along_axis("softmax", "softmax"),
    ops.LogSoftmax: along_axis("log_softmax", "softmax"),
    ops.Conv1D: conv1d,
    ops.Conv2D: conv2d,
    ops.Conv3D: conv3d,
    ops.ConvTranspose2D: deconv2d,
    ops.Linear: linear,
    ops.MatMul: matmul,
    ops.MaxPool1D: pool1d("maxpool2d"),
    ops.MaxPool2D: pool("maxpool2d", "hw"),
    ops.MaxPool3D: pool("maxpool3d", "dhw"),
    ops.AvgPool1D: pool1d("avgpool2d"),
    ops.AvgPool2D: pool("avgpool2d", "hw"),
    ops.AvgPool3D: pool("avgpool3d", "dhw"),
    ops.GlobalAvgPool: global_pool("global_avgpool2d"),
    ops.GlobalMaxPool: global_pool("global_maxpool2d"),
    ops.ReduceMean: reduction("mean"),
    ops.ReduceSum: reduction("sum"),
    ops.ReduceMax: reduction("max"),
    ops.ReduceMin: reduction("min"),
    ops.ReduceProd: reduction("prod"),
    ops.LRN: lrn,
    ops.LayerNorm: layer_norm,
    ops.RMSNorm: rms_norm,
    ops.GroupNorm: group_norm,
    ops.LpNormalize: l2_normalization,
    ops.ThresholdedRelu: threshold_relu,
    ops.ConvTranspose3D: deconv3d,
    ops.Tile: tile,
    ops.Flip: flip,
    ops.CumSum: cumsum,
    ops.Where: where,
    ops.Greater: binary("greater"),
    ops.GreaterEqual: binary("greater_equal"),
    ops.Less: binary("less"),
    ops.LessEqual: binary("less_equal"),
    ops.Equal: binary("equal"),
    ops.NotEqual: binary("not_equal"),
    ops.Concat: concat,
    ops.Split: split,
    ops.Slice: slice_,
    ops.Pad: pad,
    ops.Reshape: reshape,
    ops.Squeeze: reshape,
    ops.Unsqueeze: reshape,
    ops.Transpose: transpose,
    ops.Expand: expand,
    ops.Gather: gather,
    ops.DepthToSpace: blocks("depth_to_space"),
    ops.SpaceToDepth: blocks("space_to_depth"),
    ops.Resize: resize,
}
"""By operator class."""
