"""A device's arithmetic: floats that are held in fewer bits than the module says.

Accelerators compute a node in f32 or wider and store its result in f16 or bf16. The interpreter does the same when it
is told to: operands that come from outside, constants, and the results of nodes are rounded to the device's type (half
to even) and keep the type that the module records. Integers are exact: what a Dequantize gives, and what is computed of
it and goes into a Quantize at once, stand for the integers and sums that an integer unit holds, and are not rounded.
"""

from __future__ import annotations

from uair.ir.graph import Node
from uair.ops.quantization import Dequantize, Quantize

EXACT_FAMILY = Quantize.family


def is_exact(node: Node) -> bool:
    """Whether a node's results stand for integers, or for sums that become integers at once."""
    if node.op.family == EXACT_FAMILY:
        return True
    producers = [None if t is None else t.producer for t in node.inputs if t is None or not t.is_constant]
    if not any(producer is not None and _of_activations(producer) for producer in producers):
        return False
    users = [user for tensor in node.outputs for user in tensor.users]
    return bool(users) and all(isinstance(user.op, Quantize) for user in users)


def _of_activations(node: Node) -> bool:
    """Whether a node turns integers that are computed into numbers; those of weights say nothing of their reader."""
    x = node.inputs[0] if node.inputs else None
    return isinstance(node.op, Dequantize) and x is not None and not x.is_constant
