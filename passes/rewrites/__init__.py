"""Rewrites that a device file asks for by name: the same values from operators that the device computes itself.

    [[operator]]
    names = ["Minimum"]
    support = "partial"
    rewrites = ["minimum-by-maximum"]

A rewrite is an ordinary rule for one operator. It is exact, or (where an interpolation or a mean becomes a product with
constants) as exact as float32 sums in another order. Whether a node is rewritten is decided by the target's verdicts:
when the node does not stay on the device as it is, and everything that stands in its place does better. So a rule says
only whether it can be applied; that it pays is the device file's affair.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from uair.context import lookup
from uair.ir.graph import Node, Tensor
from uair.passes.rewrites import elementwise, pooling, quantization, resize, shape
from uair.rewrite import NoMatch, Rule


@functools.cache
def rules() -> Mapping[str, Rule]:
    """All rewrites by name."""
    families = (elementwise, shape, pooling, resize, quantization)
    return {rule.name: rule for family in families for rule in (make() for make in family.RULES)}


def rule(name: str) -> Rule:
    """The rewrite of that name.

    Raises:
        UnknownNameError: there is none; near names are suggested.
    """
    found: Rule = lookup(rules(), name, "rewrite")
    return found


def replacement(node: Node, name: str) -> list[Node] | None:
    """The nodes, in no graph, that the rewrite `name` would put in the place of `node`; None when it does not apply.

    Nodes that only compute on constants are left out: they are folded.

    Raises:
        UnknownNameError: there is no such rewrite.
    """
    chosen = rule(name)
    found = chosen.match(node)
    if isinstance(found, NoMatch):
        return None
    made = chosen.replacement(found)
    return None if isinstance(made, NoMatch) else _new_nodes(made.results, {t for t in node.inputs if t is not None})


def _new_nodes(results: Iterable[Tensor], known: AbstractSet[Tensor]) -> list[Node]:
    """The nodes between known tensors and the results, operands first."""
    found: dict[Node, None] = {}
    stack = [(t, False) for t in results]
    while stack:
        tensor, ready = stack.pop()
        node = tensor.producer
        if node is None or tensor in known or node in found:
            continue
        if ready:
            found[node] = None
            continue
        stack.append((tensor, True))
        stack.extend((t, False) for t in node.inputs if t is not None)
    return [node for node in found if not all(t is None or t.is_constant for t in node.inputs)]
