"""Control flow: cond, whose graphs use the values around them directly."""

from __future__ import annotations

from uair import ops
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.frontends.torch.program import ProgramGraph
from uair.ir.dtype import DType

FAMILY = Family()


def _graph(node: TorchNode, name: str) -> ProgramGraph:
    found = node.get(name)
    if not isinstance(found, ProgramGraph):
        node.refuse(f"{name} is no graph")
    return found


@FAMILY.op("higher_order.cond")
def _cond(node: TorchNode) -> Result:
    """The operands of the branches are captured; a number is a condition, too."""
    condition = node.single(node.cast(node.number(node.get("pred")), DType.BOOL))
    operands = node.get("operands") or ()
    then, other = (node.region(_graph(node, name), operands) for name in ("true_fn", "false_fn"))
    return node.all(ops.If(then_branch=then, else_branch=other), condition)
