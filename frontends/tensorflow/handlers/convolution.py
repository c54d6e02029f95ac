"""Convolutions. Images are turned into channels first, weights are permuted when the model is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from uair.frontends.common.layout import channels_first, channels_last
from uair.frontends.tensorflow.graphdef import NodeDef
from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dims import Dim, is_static, static
from uair.ir.graph import Tensor
from uair.ops import Add, Conv2D, Conv3D, ConvTranspose2D, ConvTranspose3D
from uair.ops._windows import same_pads

FAMILY = Family()

_FIRST = ("NCHW", "NCDHW")
_FORMATS = ("NHWC", "NDHWC", *_FIRST)


def is_channels_first(n: TfNode) -> bool:
    """Whether the node's images have their channels first."""
    return n.choice("data_format", "NHWC", _FORMATS) in _FIRST


def image(n: TfNode, x: Tensor) -> Tensor:
    """An image of the node with its channels first."""
    return x if is_channels_first(n) or not n.shape(x) else channels_first(n, x)


def restored(n: TfNode, y: Tensor) -> Tensor:
    """A result with channels first as the node gives it."""
    return y if is_channels_first(n) else channels_last(n, y)


def spatial(n: TfNode, values: Sequence[int], what: str) -> tuple[int, ...]:
    """The part of a list over all axes that is for the spatial ones.

    Raises:
        SourceOperatorError: the other parts are not 1.
    """
    if is_channels_first(n):
        rest, inner = values[:2], values[2:]
    else:
        rest, inner = (*values[:1], *values[-1:]), values[1:-1]
    if any(v != 1 for v in rest):
        n.refuse(f"{what} {list(values)} step over the batch or the channels")
    return tuple(inner)


def window(
    n: TfNode, x: Tensor, kernel: Sequence[int], strides: tuple[int, ...], dilations: tuple[int, ...] | None = None
) -> dict[str, Any]:
    """Strides, dilations and padding of a window over an image with channels first.

    SAME padding becomes numbers where the image's size is known, and stays an attribute where it is not.
    """
    dilations = dilations or (1,) * len(kernel)
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations}
    padding = n.choice("padding", "VALID", ("SAME", "VALID", "EXPLICIT"))
    extents = n.shape(x)[2:]
    if padding == "EXPLICIT":
        attributes["pads"] = _explicit(n, len(kernel))
    elif padding == "SAME" and is_static(extents):
        sizes = zip(static(extents), kernel, strides, dilations, strict=True)
        pairs = [same_pads(d, k, s, r, "same_upper") for d, k, s, r in sizes]
        attributes["pads"] = (*(p[0] for p in pairs), *(p[1] for p in pairs))
    elif padding == "SAME":
        attributes["auto_pad"] = "same_upper"
    return {"pads": (0,) * 2 * len(kernel), **attributes}


def _explicit(n: TfNode, rank: int) -> tuple[int, ...]:
    pads = n.ints("explicit_paddings")
    if len(pads) != 2 * (rank + 2):
        n.refuse(f"explicit_paddings has {len(pads)} numbers")
    pairs = [tuple(pads[i : i + 2]) for i in range(0, len(pads), 2)]
    inner, rest = (pairs[2:], pairs[:2]) if is_channels_first(n) else (pairs[1:-1], [pairs[0], pairs[-1]])
    if any(p != (0, 0) for p in rest):
        n.refuse("batch or channels are padded")
    return (*(p[0] for p in inner), *(p[1] for p in inner))


def _dilations(n: TfNode, rank: int) -> tuple[int, ...]:
    given = n.ints("dilations")
    return spatial(n, given, "dilations") if given else (1,) * rank


def _kernel(n: TfNode, w: Tensor) -> tuple[int, ...]:
    """Extents of the kernel of weights [spatial..., in, out]."""
    extents = n.shape(w)[:-2]
    if not is_static(extents):
        n.refuse("the kernel's size must be known")
    return static(extents)


@FAMILY.op("Conv2D", "Conv3D")
def _conv(n: TfNode) -> Result:
    """Weights [spatial..., in / groups, out]."""
    return restored(n, convolution(n, image(n, n[0]), n[1]))


def convolution(n: TfNode, x: Tensor, w: Tensor, **changes: Any) -> Tensor:
    """A convolution of an image with channels first, which it stays."""
    rank = n.rank(w)
    spatial_rank = rank - 2
    given, taken = n.extent(x, 1), n.extent(w, rank - 2)
    if not isinstance(taken, int) or taken < 1 or not isinstance(given, int) or given % taken:
        n.refuse(f"the image has {given} channels, the weights are for {taken}")
    attributes = window(n, x, _kernel(n, w), spatial(n, n.ints("strides"), "strides"), _dilations(n, spatial_rank))
    op = (Conv2D if spatial_rank == 2 else Conv3D)(**{**attributes, **changes}, groups=given // taken)
    return n(op, x, n.transposed(w, (rank - 1, rank - 2, *range(spatial_rank))))


@FAMILY.op("DepthwiseConv2dNative")
def _depthwise(n: TfNode) -> Result:
    return restored(n, depthwise(n, image(n, n[0]), n[1]))


def depthwise(n: TfNode, x: Tensor, w: Tensor, **changes: Any) -> Tensor:
    """Weights [H, W, channels, multiplier]: one group for each channel."""
    height, width, channels, multiplier = n.shape(w)
    if not isinstance(channels, int) or not isinstance(multiplier, int):
        n.refuse("the channels of the weights must be known")
    attributes = window(n, x, _kernel(n, w), spatial(n, n.ints("strides"), "strides"), _dilations(n, 2))
    weights = n.reshaped(n.transposed(w, (2, 3, 0, 1)), (channels * multiplier, 1, height, width))
    return n(Conv2D(**{**attributes, **changes}, groups=channels), x, weights)


@FAMILY.op("Conv2DBackpropInput", "Conv3DBackpropInputV2", "Conv2DBackpropInputV2")
def _transposed(n: TfNode) -> Result:
    """Operands: the result's size, weights [spatial..., out, in], the image.

    The forward convolution's padding is cut from the result: what SAME pads for the result's size, or explicit numbers.
    """
    w, x = n[1], image(n, n[2])
    rank = n.rank(w)
    count, kernel = rank - 2, _kernel(n, w)
    strides, dilations = spatial(n, n.ints("strides"), "strides"), _dilations(n, rank - 2)
    wanted = _result_extents(n, x, kernel, strides, dilations)
    padding = n.text("padding", "VALID")
    if padding == "EXPLICIT":
        explicit = _explicit(n, count)
        pairs = [(explicit[i], explicit[count + i]) for i in range(count)]
    elif padding == "SAME":
        pairs = [_same_of_result(n, *p) for p in zip(wanted, n.shape(x)[2:], kernel, strides, dilations, strict=True)]
    else:
        pairs = [(0, 0)] * count
    outputs: list[int] = []
    for i, pair in enumerate(pairs):
        full = (n.shape(x)[2 + i] - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 - sum(pair)
        extra = wanted[i] - full
        if not isinstance(extra, int) or not 0 <= extra < max(strides[i], dilations[i]):
            n.refuse(f"a result of {wanted[i]} cannot come from {n.shape(x)[2 + i]} by stride {strides[i]}")
        outputs.append(extra)
    op = (ConvTranspose2D if count == 2 else ConvTranspose3D)(
        strides=strides,
        dilations=dilations,
        pads=(*(p[0] for p in pairs), *(p[1] for p in pairs)),
        output_padding=tuple(outputs),
    )
    weights = n.transposed(w, (rank - 1, rank - 2, *range(count)))
    return restored(n, n(op, x, weights))


def _result_extents(
    n: TfNode, x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[Dim, ...]:
    """The spatial extents that the first operand asks for; where they are computed, the smallest possible ones."""
    sizes = n.dims(n[0])
    count = len(kernel)
    if sizes is not None and len(sizes) in (count, count + 2):
        if len(sizes) == count:
            return sizes
        return sizes[2:] if is_channels_first(n) else sizes[1:-1]
    same_pad = n.text("padding", "VALID") == "SAME"
    return tuple(
        d * s if same_pad else (d - 1) * s + r * (k - 1) + 1
        for d, k, s, r in zip(n.shape(x)[2:], kernel, strides, dilations, strict=True)
    )


def _same_of_result(n: TfNode, wanted: Dim, given: Dim, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """SAME padding of the convolution that leads from the result back to the image."""
    total = (given - 1) * stride + dilation * (kernel - 1) + 1 - wanted
    if not isinstance(total, int):
        n.refuse("the size of the result must follow from that of the image", "give the inputs fixed shapes")
    total = max(total, 0)
    return total // 2, total - total // 2


@FAMILY.op("BiasAdd", "BiasAddV1")
def _bias_add(n: TfNode) -> Result:
    rank = n.rank(n[0])
    bias = n[1]
    if n.text("data_format", "NHWC") in _FIRST and rank > 2:
        bias = n.reshaped(bias, (n.extent(bias, 0), *(1,) * (rank - 2)))
    return n(Add(), n[0], bias)


# ------------------------------------------------------------------------------------------------------ dilated windows
@attrs.frozen(eq=False)
class Dilated:
    """A convolution between SpaceToBatchND and BatchToSpaceND, with what stands between it and the latter."""

    conv: NodeDef
    bias: NodeDef | None
    spread: NodeDef


def dilated(n: TfNode) -> Tensor | None:
    """The convolution with dilations that a BatchToSpaceND with what stands in front of it is; None when it is none.

    SpaceToBatchND pads the image and deals its pixels out to d * d smaller ones, BatchToSpaceND puts them together and
    crops: with a convolution of stride 1 without padding between them, that is a convolution whose dilations are d and
    whose padding is what was padded less what is cropped.
    """
    found = _dilated_pattern(n)
    if found is None:
        return None
    block = n.numbers(1, "the block")
    crops = n.known(2)
    x, spread_block, pads = (n.source_value(found.spread, i) for i in range(3))
    if crops is None or n.rank(x) != 4:
        return None
    given, padded = n.value_of(spread_block), n.value_of(pads)
    if given is None or padded is None or len(block) != 2 or tuple(given.tolist()) != block or padded.shape != (2, 2):
        return None
    total = [int(p) - int(c) for p, c in zip(padded.T.reshape(-1).tolist(), crops.T.reshape(-1).tolist(), strict=True)]
    if min(total) < 0:
        return None
    inner = n.standing_for(found.conv)
    changes: dict[str, Any] = {"pads": tuple(total), "dilations": block, "auto_pad": "notset"}
    w = n.source_value(found.conv, 1)
    apply = depthwise if found.conv.op == "DepthwiseConv2dNative" else convolution
    y = restored(inner, apply(inner, image(inner, x), w, **changes))
    return y if found.bias is None else n.standing_for(found.bias)(Add(), y, n.source_value(found.bias, 1))


def _dilated_pattern(n: TfNode) -> Dilated | None:
    node, bias = n.source(n.proto.inputs[0]), None
    if node is not None and node.op in ("BiasAdd", "AddV2"):
        bias, node = node, n.source(node.inputs[0])
    if node is None or node.op not in ("Conv2D", "DepthwiseConv2dNative"):
        return None
    conv = n.standing_for(node)
    plain = all(s == 1 for s in conv.ints("strides")) and conv.text("padding") == "VALID"
    if not plain or is_channels_first(conv) or any(d != 1 for d in conv.ints("dilations")):
        return None
    spread = n.source(node.inputs[0])
    return Dilated(node, bias, spread) if spread is not None and spread.op == "SpaceToBatchND" else None
