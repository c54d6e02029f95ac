"""Convolutions: kernels become [M, C/groups, spatial...] when read, SAME padding numbers where sizes are known."""

from __future__ import annotations

from typing import Literal

from uair import ops
from uair.frontends.keras.handlers.activation import activated
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.dims import is_static, static
from uair.ir.graph import Tensor
from uair.ops._windows import same_pads

FAMILY = Family()

CONVOLUTIONS = {1: ops.Conv1D, 2: ops.Conv2D, 3: ops.Conv3D}
TRANSPOSED = {1: ops.ConvTranspose1D, 2: ops.ConvTranspose2D, 3: ops.ConvTranspose3D}
Padding = Literal["valid", "same", "causal"]


def padding_of(n: KerasNode, allowed: tuple[Padding, ...] = ("valid", "same")) -> Padding:
    """How the layer pads.

    Raises:
        SourceOperatorError: the word is not known.
    """
    given = str(n.get("padding", "valid")).lower()
    for word in allowed:
        if given == word:
            return word
    n.refuse(f"padding {given!r} is not one of {', '.join(allowed)}")


def convolve(
    n: KerasNode,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    *,
    padding: Padding,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    groups: int = 1,
) -> Tensor:
    """A convolution of x [N, C, spatial...] with w [M, C/groups, spatial...].

    "same" pads so that ceil(extent / stride) windows fit, the odd element at the end; "causal" (one axis) pads in front
    alone, dilation * (k - 1).
    """
    rank = len(strides)
    spatial, kernel = n.shape(x)[2:], static(w.type.dims[2:])
    n.require(min(strides + dilations) >= 1, "strides and dilation_rate must be at least 1")
    pads, auto = (0,) * (2 * rank), "notset"
    if padding == "causal":
        pads = (dilations[0] * (kernel[0] - 1), 0)
    elif padding == "same" and is_static(spatial):
        pairs = [same_pads(*a, "same_upper") for a in zip(static(spatial), kernel, strides, dilations, strict=True)]
        pads = tuple(begin for begin, _ in pairs) + tuple(end for _, end in pairs)
    elif padding == "same" and all(s == 1 for s in strides):
        spans = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        pads = tuple(s // 2 for s in spans) + tuple(s - s // 2 for s in spans)
    elif padding == "same":
        auto = "same_upper"
    op = CONVOLUTIONS[rank](strides=strides, pads=pads, dilations=dilations, groups=groups, auto_pad=auto)  # type: ignore[arg-type]
    return n(op, x, w, bias)


def _finished(n: KerasNode, y: Tensor) -> Tensor:
    """The activation, on the result as Keras has it when it names an axis, else before it is turned."""
    return activated(n, n.picture(y)) if n.get("activation") not in _ELEMENTWISE else n.picture(activated(n, y))


_ELEMENTWISE = frozenset({None, "linear", "relu", "relu6", "sigmoid", "tanh", "elu", "selu", "silu", "swish", "gelu",
                          "hard_sigmoid", "hard_silu", "hard_swish", "softplus", "softsign", "leaky_relu", "mish",
                          "exponential"})  # fmt: skip


@FAMILY.op("Conv1D", "Conv2D", "Conv3D")
def _conv(n: KerasNode) -> Result:
    """The kernel is [spatial..., C/groups, M]."""
    rank, groups, filters = int(n.op_type[4]), n.integer("groups", 1), n.integer("filters")
    x = n.image(n.x, rank)
    channels = n.extent(x, 1)
    n.require(isinstance(channels, int), "the number of channels must be known")
    n.require(groups >= 1, "groups must be at least 1")
    size = n.tuple_of("kernel_size", rank)
    kernel = n.variable("kernel", *size, channels // groups, filters)  # type: ignore[operator]
    y = convolve(
        n,
        x,
        n.permuted(kernel, (rank + 1, rank, *range(rank))),
        n.maybe("bias", filters),
        padding=padding_of(n, ("valid", "same", "causal") if rank == 1 else ("valid", "same")),
        strides=n.tuple_of("strides", rank, 1),
        dilations=n.tuple_of("dilation_rate", rank, 1),
        groups=groups,
    )
    return _finished(n, y)


def _depthwise_kernel(n: KerasNode, name: str, rank: int, channels: int) -> Tensor:
    """[spatial..., C, multiplier] as [C * multiplier, 1, spatial...]: a channel's results lie beside each other."""
    size, multiplier = n.tuple_of("kernel_size", rank), n.integer("depth_multiplier", 1)
    kernel = n.variable(name, *size, channels, multiplier)
    return n.permuted(kernel, (rank, rank + 1, *range(rank)), (channels * multiplier, 1, *size))


def _channels(n: KerasNode, x: Tensor) -> int:
    channels = n.extent(x, 1)
    if not isinstance(channels, int):
        n.refuse("the number of channels must be known")
    return channels


@FAMILY.op("DepthwiseConv1D", "DepthwiseConv2D")
def _depthwise(n: KerasNode) -> Result:
    """Every channel is its own group."""
    rank = int(n.op_type[13])
    x = n.image(n.x, rank)
    channels = _channels(n, x)
    w = _depthwise_kernel(n, "kernel", rank, channels) if n.has("kernel") else _depthwise_kernel(
        n, "depthwise_kernel", rank, channels
    )  # fmt: skip
    y = convolve(
        n,
        x,
        w,
        n.maybe("bias", w.type.dims[0]),
        padding=padding_of(n),
        strides=n.tuple_of("strides", rank, 1),
        dilations=n.tuple_of("dilation_rate", rank, 1),
        groups=channels,
    )
    return _finished(n, y)


@FAMILY.op("SeparableConv1D", "SeparableConv2D")
def _separable(n: KerasNode) -> Result:
    """A depthwise convolution, then one of kernel 1 across channels."""
    rank, filters = int(n.op_type[13]), n.integer("filters")
    x = n.image(n.x, rank)
    channels = _channels(n, x)
    w = _depthwise_kernel(n, "depthwise_kernel", rank, channels)
    ones = (1,) * rank
    middle = convolve(
        n,
        x,
        w,
        None,
        padding=padding_of(n, ("valid", "same", "causal") if rank == 1 else ("valid", "same")),
        strides=n.tuple_of("strides", rank, 1),
        dilations=n.tuple_of("dilation_rate", rank, 1),
        groups=channels,
    )
    pointwise = n.variable("pointwise_kernel", *ones, w.type.dims[0], filters)
    across = n.permuted(pointwise, (rank + 1, rank, *range(rank)))
    y = convolve(n, middle, across, n.maybe("bias", filters), padding="valid", strides=ones, dilations=ones)
    return _finished(n, y)


@FAMILY.op("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def _transposed(n: KerasNode) -> Result:
    """The kernel is [spatial..., M, C], ConvTranspose's [C, M, spatial...].

    What is cut off is what the convolution that this is the adjoint of pads: with "same" and without output_padding
    k - stride in all, more of it at the end. Source: TensorFlow's conv2d_transpose, Keras's compute_output_shape.
    """
    rank, filters = int(n.op_type[4]), n.integer("filters")
    x = n.image(n.x, rank)
    size, strides = n.tuple_of("kernel_size", rank), n.tuple_of("strides", rank, 1)
    dilations = n.tuple_of("dilation_rate", rank, 1)
    given = n.layer.config.get("output_padding")
    extra: tuple[int | None, ...] = (None,) * rank if given is None else n.tuple_of("output_padding", rank)
    kernel = n.variable("kernel", *size, filters, n.extent(x, 1))
    parts = [
        _cut(padding_of(n), (k - 1) * d + 1, s, e) for k, d, s, e in zip(size, dilations, strides, extra, strict=True)
    ]
    op = TRANSPOSED[rank](
        strides=strides,
        pads=tuple(p[0] for p in parts) + tuple(p[1] for p in parts),
        dilations=dilations,
        output_padding=tuple(p[2] for p in parts),
    )
    y = n(op, x, n.permuted(kernel, (rank + 1, rank, *range(rank))), n.maybe("bias", filters))
    return _finished(n, y)


def _cut(padding: Padding, span: int, stride: int, extra: int | None) -> tuple[int, int, int]:
    """What is cut off at the begin and end of one axis, and what is added at the end.

    The result has (extent - 1) * stride + wanted elements, where the full one has span in place of wanted.
    """
    if padding == "valid":
        wanted = span + (max(span, stride) - span if extra is None else extra)
    else:
        wanted = stride if extra is None else span % 2 + extra
    total = max(span - wanted, 0) if padding == "same" else 0
    return total // 2, total - total // 2, wanted - span + total
