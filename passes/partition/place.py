"""Which nodes run on the device and which on the CPU."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from uair.errors import UairError, UnknownNameError
from uair.ir.graph import Graph, Node, Tensor
from uair.passes.partition.levels import Wiring, components, levels, wiring
from uair.passes.partition.prices import START, Prices, tensor_bytes
from uair.targets.check import node_flops
from uair.targets.target import Target
from uair.targets.verdict import NodeVerdict, Support

CPU = "cpu"
MAX_ROUNDS = 8
"""Small groups are given to the CPU until none is left, or so often: each time the others change a little."""
SMALL_SHARE = 0.01
"""Share of the model's operations from which a group of few nodes is an island of its own."""
LEAST_GAIN = 5e-6
"""Seconds that moving a single node across a border must save: less is within what the estimates are wrong by."""
OPEN_SIZES = "its sizes are known only when the model runs"


class PinError(UairError):
    """A node was pinned to a device that does not exist in this compilation, or that does not take it."""

    code = "UAIR-E0535"
    title = "Pin cannot be followed"


@attrs.frozen(eq=False)
class Island:
    """Nodes that run on one device, one after the other.

    Attributes:
        device: "cpu", or the target's name.
        nodes: in order.
        flops: their operations, as far as they are known.
    """

    device: str
    nodes: tuple[Node, ...]
    flops: int


@attrs.frozen(eq=False)
class Placement:
    """Where the nodes of a graph run.

    Attributes:
        device: the target's name.
        islands: in order of execution.
        reasons: why a node is on the CPU, for each that is.
        prices: what nodes and copies cost.
        wires: who reads what.
    """

    device: str
    islands: tuple[Island, ...]
    reasons: Mapping[Node, str]
    prices: Prices
    wires: Wiring

    @property
    def is_whole(self) -> bool:
        """Whether everything runs on the device."""
        return all(island.device == self.device for island in self.islands)

    @property
    def fits_nothing(self) -> bool:
        """Whether nothing that computes runs on the device."""
        return not any(island.flops for island in self.islands if island.device == self.device)

    @property
    def device_share(self) -> float | None:
        """Share of the operations on the device; None when no operation is known."""
        total = sum(island.flops for island in self.islands)
        return sum(i.flops for i in self.islands if i.device == self.device) / total if total else None

    def to_json(self) -> dict[str, Any]:
        """The summary for reports, as plain data."""
        return {
            "device": self.device,
            "device_flops_share": self.device_share,
            "islands": [self._island(i, island) for i, island in enumerate(self.islands)],
            "fallbacks": [self._fallback(node, reason) for node, reason in self.reasons.items()],
        }

    def _island(self, index: int, island: Island) -> dict[str, Any]:
        taken, given = borders(island.nodes, self.wires)
        seconds = self.prices.cpu if island.device == CPU else self.prices.device
        return {
            "index": index,
            "device": island.device,
            "nodes": len(island.nodes),
            "flops": island.flops,
            "seconds": seconds(island.nodes),
            "copied_in": {t.name: tensor_bytes(t) for t in taken if t.producer is not None},
            "copied_out": {t.name: tensor_bytes(t) for t in given if t in self.wires.users},
        }

    def _fallback(self, node: Node, reason: str) -> dict[str, Any]:
        return {
            "node": node_label(node),
            "operator": node.op_type,
            "sources": [source.name for source in node.loc.sources],
            "reason": reason,
            "flops": node_flops(node),
            "cpu_seconds": self.prices.cpu([node]),
            "device_seconds": self.prices.device([node]),
            "confidence": "uncertain",
        }


def node_label(node: Node) -> str:
    """A node in the words of the user's model."""
    names = [source.name for source in node.loc.sources if source.name]
    own = node.name or (node.outputs[0].name if node.outputs else "") or node.op_type
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else own


def borders(nodes: Sequence[Node], wires: Wiring) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors that a group of nodes reads from outside, and those that it gives to the outside, in order."""
    inside = set(nodes)
    taken = dict.fromkeys(t for node in nodes for t in wires.reads[node] if t.producer not in inside)
    given = [
        tensor
        for node in nodes
        for tensor in node.outputs
        if tensor in wires.returned or any(user not in inside for user in wires.users.get(tensor, ()))
    ]
    return list(taken), given


def place_nodes(
    graph: Graph,
    target: Target,
    *,
    verdicts: Mapping[Node, NodeVerdict] | None = None,
    pins: Mapping[str, str] | None = None,
    min_island: int = 4,
) -> Placement:
    """Place the nodes of a graph.

    Args:
        graph: fused, and prepared for the target; its tensors have names of their own.
        target: the device.
        verdicts: the target's answers by node, inner graphs' included, when they are known already.
        pins: by pattern (`*`, `?`) of node or source names "cpu", or the target's name for nodes that must not follow
            others to the CPU.
        min_island: see `Partition`.

    Raises:
        UnknownNameError: a pattern fits no node.
        PinError: a node is pinned to another device, or to the target that refuses it.
    """
    placer = _Placer(graph, target, wiring(graph), Prices(target.description), min_island)
    placer.refuse(verdicts)
    placer.pin(pins or {})
    return placer.place()


@attrs.define(eq=False)
class _Placer:
    """The placement while it is made.

    Attributes:
        on_cpu: why each node there is on the CPU.
        kept: nodes that are pinned to the device.
    """

    graph: Graph
    target: Target
    wires: Wiring
    prices: Prices
    min_island: int
    on_cpu: dict[Node, str] = attrs.Factory(dict[Node, str])
    kept: set[Node] = attrs.Factory(set[Node])

    def refuse(self, verdicts: Mapping[Node, NodeVerdict] | None) -> None:
        """Put on the CPU what the target does not take."""
        for node in self.wires.nodes:
            reason = self._refusal(node, verdicts)
            if reason:
                self.on_cpu[node] = reason

    def _refusal(self, node: Node, verdicts: Mapping[Node, NodeVerdict] | None) -> str:
        tensors = [*self.wires.reads[node], *node.outputs]
        if self.target.requires_static and not all(t.type.is_tensor and t.type.is_static for t in tensors):
            own = self.target.verdict(node) if verdicts is None else verdicts[node]
            return own.reason if own.support is Support.UNSUPPORTED else OPEN_SIZES
        inner = (n for region in node.regions for graph in (*region.nested(), region) for n in graph)
        for each in (node, *inner):
            verdict = self.target.verdict(each) if verdicts is None else verdicts[each]
            if verdict.support is Support.UNSUPPORTED:
                return verdict.reason if each is node else f"{each.op_type} in it: {verdict.reason}"
        return ""

    def pin(self, pins: Mapping[str, str]) -> None:
        """Follow the user's pins, the first that fits a node.

        Raises:
            UnknownNameError, PinError: see `place_nodes`.
        """
        names = {node: _names(node) for node in self.wires.nodes} if pins else {}
        taken: set[Node] = set()
        for pattern, device in pins.items():
            if device not in (CPU, self.target.name):
                raise PinError(f"{pattern!r} is pinned to {device!r}", hint=f"pin it to {CPU} or to {self.target.name}")
            found = [n for n, known in names.items() if any(fnmatch.fnmatchcase(name, pattern) for name in known)]
            if not found:
                near = difflib.get_close_matches(pattern, {name for known in names.values() for name in known}, n=3)
                raise UnknownNameError(
                    f"no node is called {pattern!r}",
                    hint=f"did you mean {' or '.join(near)}?" if near else "`uair check --all-nodes` lists the nodes",
                )
            for node in (n for n in found if n not in taken):
                self._follow(node, pattern, device)
            taken.update(found)

    def _follow(self, node: Node, pattern: str, device: str) -> None:
        if device == CPU:
            self.on_cpu.setdefault(node, f"pinned by {pattern!r}")
        elif node in self.on_cpu:
            raise PinError(
                f"{node_label(node)} is pinned to {device}, which does not take it: {self.on_cpu[node]}",
                hint=f"pin it to {CPU}, or leave the pin out",
            )
        else:
            self.kept.add(node)

    # ------------------------------------------------------------------------------------------------------ by cost
    def place(self) -> Placement:
        """The islands, after what is not worth the copies followed its neighbours to the CPU."""
        if self.on_cpu:
            for _ in range(MAX_ROUNDS):
                if not self._shrink(levels(self.wires, self.on_cpu)):
                    break
        level = levels(self.wires, self.on_cpu)
        groups: dict[int, list[Node]] = {}
        for node in self.wires.nodes:
            groups.setdefault(level[node], []).append(node)
        islands = tuple(self._island(number, groups[number]) for number in sorted(groups))
        reasons = {node: self.on_cpu[node] for node in self.wires.nodes if node in self.on_cpu}
        return Placement(self.target.name, islands, reasons, self.prices, self.wires)

    def _island(self, level: int, nodes: list[Node]) -> Island:
        return Island(CPU if level % 2 else self.target.name, tuple(nodes), _flops(nodes))

    def _shrink(self, level: Mapping[Node, int]) -> bool:
        """Give groups that are not worth the copies to the CPU, and nodes at its border; whether there were any."""
        found = [group for group in components(self.wires, level) if group[0] not in self.on_cpu]
        if not found:
            return False
        largest = max(found, key=lambda group: (_flops(group), len(group)))
        total = _flops(self.wires.nodes)
        per_level = {number: 0 for number in level.values()}
        for group in found:
            per_level[level[group[0]]] += 1
        before = len(self.on_cpu)
        for group in found:
            if group is not largest and self.kept.isdisjoint(group):
                reason = self._not_worth(group, START / per_level[level[group[0]]], total)
                self.on_cpu.update((node, reason) for node in group if reason)
        self._trim(set(largest))
        return len(self.on_cpu) > before

    def _not_worth(self, group: Sequence[Node], start: float, total: int) -> str:
        """Why a group is not worth the copies; empty when it is."""
        flops = _flops(group)
        if len(group) < self.min_island and flops < SMALL_SHARE * total:
            return f"an island of {len(group)} nodes between nodes on the CPU is too small"
        taken, given = borders(group, self.wires)
        copied = sum(tensor_bytes(t) for t in (*taken, *given))
        there = self.prices.device(group) + self.prices.copy(copied) + start
        here = self.prices.cpu(group)
        if here >= there:
            return ""
        return (
            f"copying {copied} bytes for an island of {len(group)} nodes takes longer than computing it on the CPU "
            f"({there * 1e6:.0f} against {here * 1e6:.0f} microseconds, uncertain)"
        )

    def _trim(self, largest: set[Node]) -> None:
        """Move single nodes across the border where less is copied then: behind a Cast, in front of an Expand."""
        for node in reversed(self.wires.nodes):
            users = [u for t in node.outputs for u in self.wires.users.get(t, ())]
            if users and all(u in self.on_cpu for u in users) and not self._returned(node):
                self._trim_one(node, self._only_here(node), node.outputs, largest)
        for node in self.wires.nodes:
            reads = self.wires.reads[node]
            if reads and all(t.producer in self.on_cpu for t in reads if t.producer is not None):
                if all(t.producer is not None for t in reads):
                    self._trim_one(node, node.outputs, reads, largest)

    def _trim_one(self, node: Node, after: Sequence[Tensor], before: Sequence[Tensor], largest: set[Node]) -> None:
        if node in self.on_cpu or node in self.kept or (node in largest and len(largest) == 1):
            return
        less = sum(map(tensor_bytes, before)) - sum(map(tensor_bytes, after))
        if self.prices.copy(max(less, 0)) > self.prices.cpu([node]) - self.prices.device([node]) + LEAST_GAIN:
            largest.discard(node)
            self.on_cpu[node] = f"{less} bytes less are copied when it follows its neighbour to the CPU"

    def _only_here(self, node: Node) -> list[Tensor]:
        """What would have to be copied for a node: the operands that are not on the CPU and not copied anyway."""
        return [
            t
            for t in self.wires.reads[node]
            if t.producer is not None
            and t.producer not in self.on_cpu
            and not any(user in self.on_cpu for user in self.wires.users[t])
        ]

    def _returned(self, node: Node) -> bool:
        return any(t in self.wires.returned for t in node.outputs)


def _names(node: Node) -> set[str]:
    """The names that a pin can mean."""
    names = {node.name, *(t.name for t in node.outputs), *(source.name for source in node.loc.sources)}
    return {name for name in names if name}


def _flops(nodes: Sequence[Node]) -> int:
    return sum(node_flops(node) or 0 for node in nodes)
