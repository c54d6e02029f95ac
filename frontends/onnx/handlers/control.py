"""Control flow that is decided when the model is read."""

from __future__ import annotations

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result

FAMILY = Family()


@FAMILY.op("If", 1, 11, 13, 16, 19, 21, 23, 24, 25)
def _if(n: OnnxNode) -> Result:
    """A condition that is known selects its branch, which takes the node's place."""
    for name in ("then_branch", "else_branch"):
        n.attributes.required(name)
    known = n.known(0)
    condition = None if known is None or known.size != 1 else known.reshape(-1).tolist()[0]
    if not isinstance(condition, bool):
        n.unsupported("If with a condition computed at run time is not supported", "export the model without branches")
    branch = n.attributes.graph("then_branch" if condition else "else_branch")
    assert branch is not None
    if len(branch.output) != len(n.proto.output):
        n.refuse(f"the branch gives {len(branch.output)} results, the node has {len(n.proto.output)}")
    return n.importer.subgraph(n, branch)
