"""Changes of the element type: by value, and by bits."""

from __future__ import annotations

from uair import ops
from uair.frontends.torch.handlers.complex import is_complex, made_of
from uair.frontends.torch.node import Family, TorchNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor

FAMILY = Family()


@FAMILY.op(
    "aten._to_copy",
    "aten.to",
    "aten.type_as",
    "aten._autocast_to_reduced_precision",
    "aten._autocast_to_full_precision",
    "prims.convert_element_type",
)
def _to(node: TorchNode) -> Tensor:
    """Whether the device, the layout of memory or the element type changes: only the last one means anything here."""
    x = node.tensor("a") if "a" in node.values else node.tensor("self")
    wanted = node.result.dtype
    if x.type.dtype in (DType.C64, DType.C128) and wanted not in (DType.C64, DType.C128):
        node.refuse("a complex number becomes a real one", "take its real part with .real")
    if wanted in (DType.C64, DType.C128) and x.type.dtype is not wanted and not is_complex(x):
        real = node.cast(x, DType.F64 if wanted is DType.C128 else DType.F32)
        return made_of(node, real, node(ops.Expand(shape=node.shape(x)), node.like(0, real)))
    return node.cast(x, wanted)


@FAMILY.op("aten.view.dtype", "aten.view_copy.dtype")
def _bits(node: TorchNode) -> Tensor:
    x, wanted = node.tensor("self"), node.result.dtype
    if x.type.dtype.bits != wanted.bits:
        node.refuse(
            f"it takes the bits of {x.type.dtype} as {wanted}, which has another width", "convert with Tensor.to"
        )
    return x if x.type.dtype is wanted else node(ops.BitCast(to=wanted), x)
