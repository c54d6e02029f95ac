"""What two models are run on when they are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from uair.codegen.reference import random_feeds
from uair.driver.difference.errors import NotComparable
from uair.driver.difference.pairing import pair_graphs
from uair.ir.graph import Graph
from uair.ir.types import TensorType


def common_types(a: Graph, b: Graph) -> dict[str, TensorType]:
    """The types of the first graph's inputs by name; sizes that it leaves open are those of the second one.

    Raises:
        NotComparable: see `pair_graphs`.
    """
    names = dict(zip(a.inputs, a.input_names, strict=True))
    return {names[pair.a]: _bound(pair.a.type, pair.b.type) for pair in pair_graphs(a, b).inputs}


def _bound(t: TensorType, other: TensorType) -> TensorType:
    if t.shape is None or other.shape is None or len(t.shape) != len(other.shape):
        return t
    both = list(zip(t.shape, other.shape, strict=True))
    if any(d != e for d, e in both if isinstance(d, int) and isinstance(e, int)):
        return t  # their axes lie in another order
    return attrs.evolve(t, shape=tuple(e if isinstance(e, int) else d for d, e in both))


def random_inputs(types: Mapping[str, TensorType]) -> dict[str, Any]:
    """Noise of these types, the same in every run.

    Raises:
        NotComparable: a size is open.
    """
    graph = Graph("inputs")
    for name, t in types.items():
        if not t.is_static:
            raise NotComparable(
                f"input {name!r} is {t}: there is no noise of open sizes",
                hint=f"fix them (--shape {name}=1,3,224,224), or give --input or --samples",
            )
        graph.add_input(name, t)
    return random_feeds(graph)
