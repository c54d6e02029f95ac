"""Weights of 8 bits and symmetric activations, stated so that rknn-toolkit2 takes them over as they are.

The toolkit makes floats of a dequantized weight and quantizes these again. Its scale is that of the whole range of i8,
which is one step longer below 0, made symmetric: 128/127 of the scale in the file. Of integers q that are stated as
they are it makes round(q * 127/128), most of which stand for another number than before: noise like that of a second
quantization to 8 bits. Measured with rknn-toolkit2 2.5.0: of a convolution's results 6 % were a step off its exact
arithmetic, none with weights in the form that is written here.

So it does with the scale of an activation whose zero point is 0: it takes the tensor for a symmetric one. Stated as it
is, every integer of the tensor stands for another number; 17 % of a convolution's results were a step off.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ops import Dequantize, MatMul, Quantize, Relu
from uair.passes.fusion import affine

WEIGHTED = (*affine.WEIGHTED, MatMul)
TOOLKIT = 128 / 127
"""The toolkit's scale of a weight by the scale in the file."""
LEAST, GREATEST = -127, 126
"""Integers that round(q * 128/127) has room for in i8."""


def state_weights(graph: Graph) -> None:
    """Divide the scales of weights by 128/127, and multiply their integers.

    The toolkit's own rounding then gives the integers that the module has: |round(q * 128/127) * 127/128 - q| < 1/2. In
    other tools the file's weights are off by up to half a step. A channel that uses 127 or -128 is left as it is: its
    integers are those of a model that came quantized.
    """
    for node in weights(graph):
        integers, scale, *zero = (t for t in node.inputs if t is not None)
        stated = restated(integers.numpy(), scale.numpy(), node.op.axis if isinstance(node.op, Dequantize) else None)
        new = [constant(array, tensor.name) for array, tensor in zip(stated, (integers, scale), strict=True)]
        for i, tensor in enumerate((*new, *zero)):
            node.set_input(i, tensor)


def state_symmetric(graph: Graph) -> None:
    """Divide the scales of activations with zero point 0 by 128/127: the toolkit multiplies them.

    What this costs is the least integer: the toolkit's symmetric tensors end at -127.
    """
    narrower: dict[Tensor, Tensor] = {}
    for node in graph:
        scale = node.inputs[1] if _is_symmetric_activation(node) else None
        if scale is None:
            continue
        stated = narrower.get(scale)
        if stated is None:
            array = scale.numpy()
            stated = constant((array.astype(np.float64) / TOOLKIT).astype(array.dtype), scale.name)
            narrower[scale] = stated
        node.set_input(1, stated)


def _is_symmetric_activation(node: Node) -> bool:
    """Whether it makes i8 of an activation, or floats of it, with one constant scale and zero point 0."""
    if not isinstance(node.op, (Quantize, Dequantize)) or node.op.axis is not None or node.op.block_size:
        return False
    x, scale = node.inputs[:2]
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    integers = node.output if isinstance(node.op, Quantize) else x
    if x is None or integers is None or x.is_constant or integers.type.dtype is not DType.I8:
        return False
    constants = all(t is None or t.is_constant for t in (scale, zero))
    return constants and scale is not None and (zero is None or not np.any(zero.numpy()))


def weights(graph: Graph) -> Iterator[Node]:
    """The Dequantize nodes of constant symmetric i8 weights that only nodes with quantized results read."""
    for node in graph:
        if not isinstance(node.op, Dequantize) or node.op.block_size:
            continue
        integers, scale = node.inputs[:2]
        zero = node.inputs[2] if len(node.inputs) > 2 else None
        if integers is None or scale is None or not (integers.is_constant and scale.is_constant):
            continue
        symmetric = zero is None or (zero.is_constant and not np.any(zero.numpy()))
        users = node.output.uses
        if integers.type.dtype is DType.I8 and symmetric and all(_is_weight(user, i) for user, i in users):
            yield node


def _is_weight(user: Node, i: int) -> bool:
    """Whether it is the weight of a node that the toolkit computes on integers: one with a quantized result.

    Others it computes in float16, with the numbers that the file's integers stand for.
    """
    return isinstance(user.op, WEIGHTED) and i == 1 and _is_quantized(user)


def _is_quantized(node: Node) -> bool:
    users = node.output.users
    return any(isinstance(user.op, Quantize) or (isinstance(user.op, Relu) and _is_quantized(user)) for user in users)


def restated(integers: Array, scale: Array, axis: int | None) -> tuple[Array, Array]:
    """Integers and scales as the file has them.

    Args:
        integers: i8.
        scale: f32, a scalar or one for each index of `axis`.
        axis: of the scales.
    """
    per_channel = scale.ndim > 0 and axis is not None
    others = tuple(i for i in range(integers.ndim) if not per_channel or i != (axis or 0) % integers.ndim)
    low = integers.min(axis=others, initial=0, keepdims=True)
    high = integers.max(axis=others, initial=0, keepdims=True)
    fits = (low >= LEAST) & (high <= GREATEST)
    longer = np.rint(integers * TOOLKIT).astype(np.int8)
    narrower = (scale.astype(np.float64) / TOOLKIT).astype(scale.dtype)
    return np.where(fits, longer, integers), np.where(fits.reshape(scale.shape), narrower, scale)
