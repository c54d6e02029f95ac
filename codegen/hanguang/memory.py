"""The plan of the on-chip memory: there is no other, so a model fits or becomes a pipeline over several chips."""

from __future__ import annotations

from typing import Any

import attrs

from uair.ir.graph import Graph, Node, Tensor
from uair.targets.check import storage_bytes
from uair.targets.description import DeviceDescription


@attrs.define
class Stage:
    """Consecutive nodes on one chip.

    Attributes:
        first: index of the first node.
        last: index of the last node.
        weights: bytes of constants.
        activations: greatest number of bytes of values alive at one time.
        sent: bytes of values that the next chip needs.
    """

    first: int
    last: int
    weights: int = 0
    activations: int = 0
    sent: int = 0

    @property
    def bytes(self) -> int:
        """What the stage needs."""
        return self.weights + self.activations


def memory_plan(graph: Graph, description: DeviceDescription) -> dict[str, Any]:
    """How the model lies in the memory, as plain data.

    Values and constants have the sizes that the description says (floats in the type that the chip computes them in).
    Stages are cut greedily: each takes as many nodes as fit.

    Args:
        graph: static, in execution order.
        description: of the chip, with a memory level SRAM.
    """
    capacity = description.memory_level("SRAM").bytes or 0
    nodes = list(graph)
    alive = _alive(graph, nodes, description)
    weights = _weights(nodes, description)
    stages: list[Stage] = []
    for i in range(len(nodes)):
        current = stages[-1] if stages else None
        if current is not None and current.weights + weights[i] + max(current.activations, alive[i]) <= capacity:
            current.last, current.weights = i, current.weights + weights[i]
            current.activations = max(current.activations, alive[i])
        else:
            stages.append(Stage(i, i, weights[i], alive[i]))
    for stage in stages[:-1]:
        stage.sent = _crossing(nodes, stage.last, description)
    return {
        "memory": "SRAM",
        "bytes": capacity,
        "weights_bytes": sum(weights),
        "peak_activation_bytes": max(alive, default=0),
        "fits_one_chip": len(stages) <= 1 and all(s.bytes <= capacity for s in stages),
        "chips": len(stages),
        "stages": [{**attrs.asdict(s), "bytes": s.bytes, "fits": s.bytes <= capacity} for s in stages],
        "confidence": "uncertain",
        "note": "an upper bound without reuse inside of operators; weights uncompressed and not pruned",
    }


def _alive(graph: Graph, nodes: list[Node], description: DeviceDescription) -> list[int]:
    """Bytes of values alive while each node runs."""
    last: dict[Tensor, int] = {t: i for i, node in enumerate(nodes) for t in node.inputs if t is not None}
    last.update((t, len(nodes)) for t in graph.outputs)
    size = {t: storage_bytes(t.type, description) for t in graph.inputs}
    now = sum(size.values())
    found: list[int] = []
    for i, node in enumerate(nodes):
        size.update((t, storage_bytes(t.type, description)) for t in node.outputs)
        now += sum(size[t] for t in node.outputs)
        found.append(now)
        gone = {t for t in (*node.inputs, *node.outputs) if t in size and last.get(t, i) == i}
        now -= sum(size[t] for t in gone)
    return found


def _weights(nodes: list[Node], description: DeviceDescription) -> list[int]:
    """Bytes of the constants that each node is the first to use."""
    seen: set[object] = set()
    found: list[int] = []
    for node in nodes:
        total = 0
        for tensor in node.inputs:
            if tensor is not None and tensor.data is not None and tensor.data not in seen:
                seen.add(tensor.data)
                total += storage_bytes(tensor.type, description)
        found.append(total)
    return found


def _crossing(nodes: list[Node], last: int, description: DeviceDescription) -> int:
    """Bytes of values made up to node `last` and used behind it."""
    made = {t for node in nodes[: last + 1] for t in node.outputs}
    used = {t for node in nodes[last + 1 :] for t in node.inputs if t is not None and t in made}
    return sum(storage_bytes(t.type, description) for t in used)
