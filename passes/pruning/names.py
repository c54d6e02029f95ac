"""Nodes by the names that a user gives."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from uair.errors import UnknownNameError
from uair.ir.graph import Graph, Node
from uair.passes.quantization.placement import names_of


def nodes_named(graph: Graph, patterns: Sequence[str]) -> tuple[set[Node], list[str]]:
    """The nodes that fit a pattern (`*`, `?`) by a name of theirs, and notes about patterns that fit none.

    Raises:
        UnknownNameError: a name without wildcards fits no node.
    """
    found: set[Node] = set()
    notes: list[str] = []
    for pattern in patterns:
        fits = {node for node in graph if any(fnmatch.fnmatchcase(name, pattern) for name in names_of(node))}
        if not fits and not set(pattern) & set("*?["):
            raise UnknownNameError(
                f"skip names {pattern!r}, which is no node and no operator of the model",
                hint="`uair dump` shows the names; * and ? are wildcards",
            )
        if not fits:
            notes.append(f"skip pattern {pattern!r} fits no node")
        found |= fits
    return found, notes
