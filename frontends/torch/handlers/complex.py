"""Complex numbers and Fourier transforms. A transform of the IR takes and gives pairs of numbers along a last axis."""

from __future__ import annotations

from uair import ops
from uair.frontends.torch.node import Family, TorchNode
from uair.frontends.torch.promotion import category
from uair.ir.dtype import DType
from uair.ir.graph import Tensor

FAMILY = Family()


def made_of(node: TorchNode, real: Tensor, imaginary: Tensor) -> Tensor:
    """A complex tensor of its parts: real + i * imaginary."""
    wanted = DType.C128 if real.type.dtype is DType.F64 else DType.C64
    a, b = node.cast(real, wanted), node.cast(imaginary, wanted)
    unit = node.stored(wanted.numpy.type(1j))
    return node(ops.Add(), a, node(ops.Mul(), b, unit))


@FAMILY.op("aten.is_complex")
def _is_complex(node: TorchNode) -> Tensor:
    return node.number(category(node.tensor("self").type.dtype) == 3)
