"""The plan of a model on a device: layouts, tiles, transfers, buffers, and what every node costs.

Everything follows from the device description. The vendor's compiler makes plans of its own; this one tells beforehand
what a model will need and cost, stands in the artifact as plan.json, and is what kernels that UAIR writes itself
follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs

from uair.ir.dims import static
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.layout import Layout
from uair.ir.module import Module
from uair.names import Namer
from uair.passes.plan.buffers import Allocation, Lifetimes, allocate, lifetimes, reads
from uair.passes.plan.pages import DoesNotFitPages, Simulation, Use, simulate
from uair.passes.plan.residency import Piece, Residency, fit
from uair.passes.plan.tiles import Tiling, tiling_of
from uair.targets.cost import NOTHING, UNKNOWN, NodeCost, cost_of, least_sure, total_seconds
from uair.targets.description import DeviceDescription, confidence_of
from uair.targets.steps import Step, StepFinder, is_known, is_parameter, written
from uair.targets.units import Pages
from uair.targets.verdict import Confidence

SCHEMA = 1
PLAN = "plan.json"


@attrs.frozen
class NodePlan:
    """One node.

    Attributes:
        name: of the node.
        op_type: its operator.
        sources: the nodes of the user's model that it stands for.
        cost: what it costs; nothing when it is part of another one.
        part_of: the node that it became part of; empty for none.
        tilings: the tiles of each of its steps; None where the description names no buffers.
        layout: of its first result, and the shape in memory.
    """

    name: str
    op_type: str
    sources: tuple[str, ...]
    cost: NodeCost
    part_of: str
    tilings: tuple[Tiling | None, ...]
    layout: tuple[str, tuple[int, ...]] | None

    def to_json(self) -> dict[str, Any]:
        """Plain data; what does not apply is left out."""
        table: dict[str, Any] = {"name": self.name, "operator": self.op_type, "sources": list(self.sources)}
        if self.part_of:
            return {**table, "part_of": self.part_of}
        table["cost"] = self.cost.to_json()
        tiles = [t.to_json() for t in self.tilings if t is not None]
        if tiles:
            table["tiles"] = tiles
        if self.layout is not None:
            table["layout"] = {"name": self.layout[0], "shape": list(self.layout[1])}
        return table


@attrs.frozen
class PagePlan:
    """Migration of pages.

    Attributes:
        pages: the description's facts.
        warm: the simulations with the weights in the slow memory: without and with prefetch.
        cold: the same with the weights still in the host's memory; None when that bandwidth is not known.
        refused: why there is none.
    """

    pages: Pages
    warm: tuple[Simulation, Simulation] | None
    cold: tuple[Simulation, Simulation] | None
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the schedule of the warm run, or else of the cold one."""
        table: dict[str, Any] = {"page_bytes": self.pages.bytes, "fast": self.pages.fast, "slow": self.pages.slow}
        runs = {name: each for name, each in (("warm", self.warm), ("cold", self.cold)) if each is not None}
        if not runs:
            return {**table, "refused": self.refused}
        for name, (without, ahead) in runs.items():
            table[name] = {"without_prefetch": without.summary(), "with_prefetch": ahead.summary()}
        shown = next(iter(runs))
        schedule = [m.to_json() for m in runs[shown][1].migrations]
        return {**table, "schedule_of": shown, "schedule": schedule, "confidence": Confidence.UNCERTAIN.value}


@attrs.frozen
class Plan:
    """The plan of one graph.

    Attributes:
        target: name of the device description.
        nodes: in order.
        memory: offsets of activations.
        seconds: the known times of all nodes together.
        unknown: number of nodes whose time is not known.
        confidence: that of the least sure node.
        weight_bytes: of the parameters.
        residency: whether the model fits the chip, for chips without a memory behind it.
        pages: migration, for chips with a unified address space.
        notes: what else there is to say.
    """

    target: str
    nodes: tuple[NodePlan, ...]
    memory: Allocation | None
    seconds: float
    unknown: int
    confidence: Confidence
    weight_bytes: int
    residency: Residency | None = None
    pages: PagePlan | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The content of plan.json."""
        table: dict[str, Any] = {
            "schema": SCHEMA,
            "target": self.target,
            "estimate": {
                "milliseconds": round(self.seconds * 1e3, 6),
                "nodes_of_unknown_cost": self.unknown,
                "confidence": self.confidence.value,
            },
            "weight_bytes": self.weight_bytes,
            "notes": list(self.notes),
            "nodes": [n.to_json() for n in self.nodes],
        }
        if self.memory is not None:
            buffers = [attrs.asdict(b) for b in self.memory.buffers]
            table["activations"] = {
                "bytes": self.memory.bytes,
                "lower_bound": self.memory.lower_bound,
                "buffers": buffers,
            }
        if self.residency is not None:
            table["residency"] = self.residency.to_json()
        if self.pages is not None:
            table["pages"] = self.pages.to_json()
        return table


def plan(module: Module, description: DeviceDescription) -> Plan:
    """Plan the main graph of a module as it is emitted.

    Args:
        module: float or quantized; a graph with open sizes has a plan of notes only.
        description: of the device.
    """
    graph = module.main
    tensors = (*graph.inputs, *(t for node in graph for t in node.outputs))
    if not all(t.type.is_static for t in tensors):
        note = "sizes are open: there is a plan for fixed shapes only"
        return Plan(
            description.name, (), None, 0.0, len(graph), Confidence.UNCERTAIN, weight_bytes(graph), notes=(note,)
        )
    return _Planner(graph, description).plan()


def weight_bytes(graph: Graph) -> int:
    """Bytes of the parameters as they stand in the module."""
    return sum({id(t.data): t.data.nbytes for t in graph.constants() if t.data is not None}.values())


@attrs.define(eq=False)
class _Planner:
    graph: Graph
    description: DeviceDescription
    finder: StepFinder = attrs.field(init=False)
    lives: Lifetimes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.finder = StepFinder(self.description)
        self.finder.of_graph(self.graph)
        self.lives = lifetimes(self.graph, self.finder)

    def plan(self) -> Plan:
        """All of it."""
        nodes = tuple(self._node(node) for node in self.graph)
        costs = [n.cost for n in nodes]
        seconds, unknown = total_seconds(costs)
        memory = allocate(self.lives.buffers)
        residency = self._residency(memory)
        notes = [] if residency is None else [residency.note]
        if unknown:
            notes.append(f"the description does not tell what {unknown} nodes cost")
        return Plan(
            self.description.name,
            nodes,
            memory,
            seconds,
            unknown,
            least_sure(c.confidence for c in costs),
            weight_bytes(self.graph),
            residency,
            self._pages(),
            tuple(notes),
        )

    def _node(self, node: Node) -> NodePlan:
        head = self.finder.fused_to.get(node)
        steps: Sequence[Step] = self.finder.steps[node]
        cost = (cost_of(steps, self.description) if steps else NOTHING) if is_known(node) else UNKNOWN
        tilings = tuple(tiling_of(node, step, self.finder) for step in steps)
        return NodePlan(
            node.name or (node.outputs[0].name if node.outputs else node.op_type),
            node.op_type,
            tuple(s.name for s in node.loc.sources),
            cost,
            "" if head is None else head.name or head.outputs[0].name,
            tilings,
            self._layout(node) if steps else None,
        )

    def _layout(self, node: Node) -> tuple[str, tuple[int, ...]] | None:
        """The device's layout of a node's first result."""
        if not node.outputs or not node.outputs[0].type.is_tensor:
            return None
        found = device_layout(node.outputs[0], self.description)
        if found is None:
            return None
        type_ = written(node.outputs[0])
        dtype = self.description.device_type(type_.dtype)
        return (found.name, static(found.storage_shape(type_.dims, max(dtype.bits // 8, 1))))

    # -------------------------------------------------------------------------------------------------------- residency
    def _residency(self, memory: Allocation) -> Residency | None:
        name = self.description.plan.resident
        capacity = self.description.memory_level(name).bytes if name else None
        if capacity is None:
            return None
        live, needed = self._live(memory), self._last_reads()
        seen: set[Tensor] = set()
        pieces: list[Piece] = []
        for at, node in enumerate(self.graph):
            constant = all(is_parameter(t) for t in node.outputs)  # a Dequantize of weights: counted where it is read
            fresh = set() if constant else {t for t in node.inputs if t is not None and is_parameter(t)} - seen
            seen |= fresh
            cost = cost_of(self.finder.steps[node], self.description).seconds or 0.0
            weights = sum(self.finder.stored(self._parameter(t)) for t in fresh)
            given = sum(b.bytes for b in memory.buffers if b.first <= at < needed.get(b.name, -1))
            pieces.append(Piece(node.name or node.op_type, weights, live[at], cost, given))
        return fit(pieces, capacity, memory.lower_bound)

    def _last_reads(self) -> dict[str, int]:
        """The position of the last node that reads a buffer, by its name; an output of the model needs none."""
        return {
            buffer.name: at
            for at, node in enumerate(self.graph)
            for tensor in reads(node)
            for buffer in self.lives.of.get(tensor, ())
        }

    def _live(self, memory: Allocation) -> list[int]:
        """Bytes of activations while each node runs."""
        return [sum(b.bytes for b in memory.buffers if b.first <= at <= b.last) for at in range(len(self.graph))]

    def _parameter(self, tensor: Tensor) -> Any:
        """The type of a parameter in memory."""
        maker = tensor.producer
        inner = maker.inputs[0] if maker is not None else None
        return (inner or tensor).type

    # ------------------------------------------------------------------------------------------------------------ pages
    def _pages(self) -> PagePlan | None:
        facts = self.description.plan.pages
        if facts is None:
            return None
        fast, slow = (self.description.memory_level(n) for n in (facts.fast, facts.slow))
        uses = self._uses(facts.bytes)
        warm = cold = None
        try:
            if fast is not slow and fast.bytes and slow.bandwidth:
                warm = self._simulated(uses, fast.bytes // facts.bytes, facts.bytes / slow.bandwidth)
            if facts.host_bandwidth and slow.bytes:
                cold = self._simulated(uses, slow.bytes // facts.bytes, facts.bytes / facts.host_bandwidth)
        except DoesNotFitPages as error:
            return PagePlan(facts, None, None, str(error))
        return PagePlan(facts, warm, cold, "" if warm or cold else "a size or a bandwidth is not known")

    def _simulated(self, uses: Sequence[Use], pages: int, seconds: float) -> tuple[Simulation, Simulation]:
        runs = [simulate(uses, pages, seconds, prefetch=ahead) for ahead in (False, True)]
        return (runs[0], runs[1])

    def _uses(self, page: int) -> list[Use]:
        """The pages that each node with steps needs; its arithmetic counts, the transfers are what is simulated."""
        uses: list[Use] = []
        names = Namer(reserved=(b.name for b in self.lives.buffers))
        weight_names: dict[Tensor, str] = {}
        for node in self.graph:
            steps = self.finder.steps[node]
            if not steps:
                continue
            members = self.finder.members.get(node, ())
            given = [t for each in (node, *members) for t in each.inputs if t is not None]
            made = {b for t in node.outputs for b in self.lives.of.get(t, ())}
            reads = {b.name: -(-b.bytes // page) for t in given for b in self.lives.of.get(t, ()) if b not in made}
            for tensor in (t for t in given if is_parameter(t)):
                name = weight_names.setdefault(tensor, names.unique(f"weights {tensor.name or node.name}"))
                reads[name] = -(-self.finder.stored(self._parameter(tensor)) // page)
            writes = {b.name: -(-b.bytes // page) for b in made}
            uses.append(Use(node.name or node.op_type, self._busy(steps), reads, writes))
        return uses

    def _busy(self, steps: Sequence[Step]) -> float:
        """Seconds of arithmetic alone; the transfers are what is simulated."""
        cost = cost_of(
            steps, attrs.evolve(self.description, memory=(), cost=attrs.evolve(self.description.cost, memory=""))
        )
        return cost.seconds or 0.0


def device_layout(tensor: Tensor, description: DeviceDescription) -> Layout | None:
    """The layout that the device keeps a result in; None when the description has none for it."""
    type_ = written(tensor)
    dtype, rank = description.device_type(type_.dtype), len(type_.dims)
    return description.image_layout(dtype) if rank == 4 else description.matrix_layout(dtype, rank)


def describe_confidence(description: DeviceDescription) -> Confidence:
    """How sure the buffers and limits of a plan are."""
    stated = description.plan
    return confidence_of(stated.confidence, description.source(stated.source))


def mean_balance(made: Plan) -> float:
    """The mean share of the cores' time that is work, over all steps that are cut into tiles; 1 for none."""
    found = [t.balance for n in made.nodes for t in n.tilings if t is not None]
    return math.fsum(found) / len(found) if found else 1.0
