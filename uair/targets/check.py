"""The report of a target over a module: what stays on the device, what does not, and why."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from uair.ir.dims import ceil_div
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops.custom import Opaque
from uair.targets.description import DeviceDescription, confidence_of
from uair.targets.interface import InterfaceRow, interface_rows
from uair.targets.target import Target
from uair.targets.verdict import Confidence, NodeVerdict, Support

FOLDED = NodeVerdict(Support.SUPPORTED, through=("fold constants",))


@attrs.frozen
class NodeRow:
    """One node of the report.

    Attributes:
        graph: name of its graph.
        index: position in the graph.
        op_type: its operator; of an operator that UAIR does not know, its name in the source model too.
        name: of its first result.
        sources: names of the source model's nodes that it stands for.
        result: type of its first result as text.
        verdict: the target's answer.
        flops: floating-point operations of one run; None while an extent is symbolic.
    """

    graph: str
    index: int
    op_type: str
    name: str
    sources: tuple[str, ...]
    result: str
    verdict: NodeVerdict
    flops: int | None

    @property
    def node(self) -> str:
        """The node for people: the names in the source model, or its own."""
        names = ", ".join(self.sources[:3]) + (", ..." if len(self.sources) > 3 else "")
        return names or f"%{self.name or self.index}"

    @property
    def level(self) -> Support:
        """The verdict in one word."""
        return self.verdict.support

    @property
    def reason(self) -> str:
        """Why."""
        return self.verdict.reason

    @property
    def source(self) -> str:
        """Where the knowledge comes from; marked when it is uncertain."""
        text = str(self.verdict.source or "")
        return f"{text} (uncertain)".lstrip() if self.verdict.confidence is Confidence.UNCERTAIN else text

    @property
    def rewrite(self) -> str:
        """The rewrites that the verdict presumes, or what would help."""
        return ", ".join(self.verdict.through) or self.verdict.suggestion

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "graph": self.graph,
            "index": self.index,
            "operator": self.op_type,
            "name": self.name,
            "sources": list(self.sources),
            "result": self.result,
            "flops": self.flops,
            **self.verdict.to_json(),
        }


@attrs.frozen
class CheckReport:
    """What a target says about a module.

    Attributes:
        target: its name.
        title: the target for people.
        rows: one per node, in order.
        unbound: inputs with symbolic extents, as text, of a target that takes static shapes only.
        peak_bytes: estimate of the most activation memory in use at one time, in the device's element type and layout,
            every tensor in a buffer of its own; None while an extent is symbolic.
        parameter_bytes: bytes of the constants as they stand in the module.
        experimental: whether no vendor tool has ever accepted an artifact of the target.
        interface: inputs and outputs that the target does not take as they are.
    """

    target: str
    title: str
    rows: tuple[NodeRow, ...]
    unbound: Mapping[str, str]
    peak_bytes: int | None
    parameter_bytes: int
    experimental: bool = False
    interface: tuple[InterfaceRow, ...] = ()

    def __repr__(self) -> str:
        found = ", ".join(f"{n} {support.value}" for support, n in self.counts.items() if n)
        return f"<check for {self.target}: {found or 'no nodes'}>"

    @functools.cached_property
    def counts(self) -> Mapping[Support, int]:
        """Number of nodes by verdict; every verdict has an entry."""
        return {s: sum(row.verdict.support is s for row in self.rows) for s in Support}

    @functools.cached_property
    def flops(self) -> int:
        """Floating-point operations of one run, of the nodes for which they are known."""
        return sum(row.flops or 0 for row in self.rows)

    @functools.cached_property
    def device_flops(self) -> int:
        """Those of them that stay on the device."""
        return sum(row.flops or 0 for row in self.rows if row.verdict.on_device)

    @property
    def device_share(self) -> float | None:
        """Share of the operations that stays on the device, from 0 to 1; None when no operation is known."""
        return self.device_flops / self.flops if self.flops else None

    @property
    def verdict(self) -> Support:
        """The worst answer about any node, input or output."""
        answers = [*(row.verdict for row in self.rows), *(row.verdict for row in self.interface)]
        return max((each.support for each in answers), key=lambda s: s.rank, default=Support.SUPPORTED)

    @property
    def fits(self) -> bool:
        """Whether the whole module runs on the device as it is given (its shapes bound, where that is needed)."""
        return self.verdict is Support.SUPPORTED and not self.unbound

    def problems(self) -> list[NodeRow]:
        """The rows that are not supported, worst first."""
        return sorted((r for r in self.rows if r.level is not Support.SUPPORTED), key=lambda r: -r.level.rank)

    def summary(self) -> dict[str, Any]:
        """The report without its nodes, as plain data: for the manifest and for one line of a table."""
        return {
            "target": self.target,
            "title": self.title,
            "experimental": self.experimental,
            "verdict": self.verdict.value,
            "fits": self.fits,
            **{support.value: n for support, n in self.counts.items()},
            "flops": self.flops,
            "device_flops": self.device_flops,
            "device_flops_share": self.device_share,
            "peak_activation_bytes": self.peak_bytes,
            "parameter_bytes": self.parameter_bytes,
            "unbound": dict(self.unbound),
        }

    def to_json(self) -> dict[str, Any]:
        """The whole report as plain data, for `--json` and the report file."""
        interface = [{"name": row.name, **row.verdict.to_json()} for row in self.interface]
        return {**self.summary(), "interface": interface, "nodes": [row.to_json() for row in self.rows]}


@attrs.frozen(eq=False)
class NodeFacts:
    """What a report says about a node whatever the target.

    Attributes:
        node: the node.
        graph: name of its graph.
        index: position in the graph.
        name: of its first result.
        sources: names of the source model's nodes that it stands for.
        result: type of its first result as text.
        flops: floating-point operations of one run; None while an extent is symbolic.
        folded: whether its results are known before the model runs.
    """

    node: Node
    graph: str
    index: int
    name: str
    sources: tuple[str, ...]
    result: str
    flops: int | None
    folded: bool

    def row(self, verdict: NodeVerdict) -> NodeRow:
        """The row with a target's verdict."""
        return NodeRow(
            self.graph, self.index, operator_text(self.node), self.name, self.sources, self.result, verdict, self.flops
        )


@attrs.frozen(eq=False)
class ModuleFacts:
    """What reports say about a module whatever the target: gathered once, used for all.

    Attributes:
        module: the module, which must not change meanwhile.
        nodes: of all graphs, inner ones first.
        parameter_bytes: bytes of the constants.
        unbound: inputs with symbolic extents, as text.
    """

    module: Module
    nodes: tuple[NodeFacts, ...]
    parameter_bytes: int
    unbound: Mapping[str, str]

    @staticmethod
    def of(module: Module) -> ModuleFacts:
        """Gather them."""
        graphs = list(module.all_graphs())
        constants = {id(t.data): t.data.nbytes for graph in graphs for t in graph.constants() if t.data is not None}
        nodes = tuple(facts for graph in graphs for facts in _facts(graph))
        return ModuleFacts(module, nodes, sum(constants.values()), _unbound(module.graphs.values()))


def check_module(module: Module, target: Target, facts: ModuleFacts | None = None) -> CheckReport:
    """Ask `target` about every node of a module; no vendor tool is needed.

    What every target does before anything else is presumed: computations on constants and on static shapes are folded.

    Args:
        module: the module.
        target: the target.
        facts: of the module, when several targets are asked.

    Raises:
        UairError: the target's description is wrong.
    """
    description = target.description
    known = facts or ModuleFacts.of(module)
    peaks = [peak_activation_bytes(graph, description) for graph in module.graphs.values()]
    return CheckReport(
        target=target.name,
        title=description.title,
        rows=tuple(each.row(FOLDED if each.folded else _verdict(each.node, target)) for each in known.nodes),
        unbound=known.unbound if description.static_shapes else {},
        peak_bytes=max((p for p in peaks if p is not None), default=0) if None not in peaks else None,
        parameter_bytes=known.parameter_bytes,
        experimental=description.experimental,
        interface=tuple(_interface_rows(module.main, description)),
    )


def _interface_rows(graph: Graph, description: DeviceDescription) -> Iterable[InterfaceRow]:
    limits = description.interface
    source = description.source(limits.source)
    return interface_rows(graph, limits, source, confidence_of(limits.confidence, source))


def _facts(graph: Graph) -> Iterable[NodeFacts]:
    known: set[Tensor] = set()
    for index, node in enumerate(graph):
        folded = _is_folded(node, known)
        if folded:
            known.update(node.outputs)
        yield NodeFacts(
            node=node,
            graph=graph.name,
            index=index,
            name=node.outputs[0].name if node.outputs else node.name,
            sources=tuple(source.name for source in node.loc.sources),
            result=str(node.outputs[0].type) if node.outputs else "",
            flops=0 if folded else node_flops(node),
            folded=folded,
        )


def _verdict(node: Node, target: Target) -> NodeVerdict:
    """The target's answer; of a node that one of its rewrites has made already, with the rewrite's name."""
    verdict = target.verdict(node)
    wanted = target.description.rewrites
    applied = [name for name in node.loc.by if name in wanted and name not in verdict.through]
    return attrs.evolve(verdict, through=(*applied, *verdict.through)) if applied else verdict


def operator_text(node: Node) -> str:
    """A node's operator for people: `Conv2D`, `Opaque com.example.Relu`."""
    if isinstance(node.op, Opaque):
        return f"{node.op_type} {node.op.domain}.{node.op.kind}".replace(" .", " ")
    return node.op_type


def _is_folded(node: Node, known: set[Tensor]) -> bool:
    """Whether the results are known before the model runs; only those of a static shape that has bytes are folded."""
    given = [t for t in node.inputs if t is not None]
    if node.op_type in ("ShapeOf", "SizeOf") and all(t.type.is_static for t in given):
        return True
    if not node.op.deterministic or node.regions:
        return False
    storable = all(t.type.is_static and t.type.dtype.bits for t in node.outputs)
    return storable and all(t.is_constant or t in known for t in given)


def node_flops(node: Node) -> int | None:
    """Floating-point operations of a node; None while an extent is symbolic."""
    operands = [None if t is None else t.type for t in node.inputs]
    results = [t.type for t in node.outputs]
    if not all(t.is_static for t in (*(o for o in operands if o is not None), *results)):
        return None
    return node.op.flops(operands, results)


def _unbound(graphs: Iterable[Graph]) -> dict[str, str]:
    return {
        name: str(tensor.type)
        for graph in graphs
        for name, tensor in zip(graph.input_names, graph.inputs, strict=True)
        if tensor.type.is_tensor and not tensor.type.is_static
    }


# ------------------------------------------------------------------------------------------- memory
def storage_bytes(type_: TensorType, description: DeviceDescription) -> int:
    """Bytes that a static tensor takes on the device.

    Floats are held in the type that the device computes in when that is narrower, the channels of [N, C, ...] are
    padded to the layout's block, the whole to the alignment.
    """
    dtype = description.device_type(type_.dtype)
    extents: list[Any] = list(type_.dims)
    if len(extents) >= 4:
        block = description.channel_block(dtype)
        extents[1] = ceil_div(extents[1], block) * block
    dense = (TensorType(dtype, tuple(extents)).size * dtype.bits + 7) // 8
    return ceil_div(dense, description.alignment.bytes) * description.alignment.bytes  # type: ignore[return-value]


def peak_activation_bytes(graph: Graph, description: DeviceDescription) -> int | None:
    """The most bytes of inputs and results alive at one time, in the order of the nodes; None with symbolic sizes.

    A result is alive from its node to its last use, in the graphs of control flow too, and graph outputs to the end.
    Views count as buffers of their own, so this is an upper bound of a planner's result without fragmentation.
    """
    if not all(t.type.is_static for t in (*graph.inputs, *(t for node in graph for t in node.outputs))):
        return None
    bytes_of: dict[TensorType, int] = {}

    def stored(tensor: Tensor) -> int:
        if tensor.type not in bytes_of:
            bytes_of[tensor.type] = storage_bytes(tensor.type, description)
        return bytes_of[tensor.type]

    last = {tensor: index for index, node in enumerate(graph) for tensor in _read(node)}
    last.update((tensor, len(graph)) for tensor in graph.outputs)
    ends: dict[int, list[Tensor]] = {}
    for tensor, index in last.items():
        ends.setdefault(index, []).append(tensor)
    sizes = {tensor: stored(tensor) for tensor in graph.inputs}
    alive = peak = sum(sizes.values())
    for index, node in enumerate(graph):
        inside = [peak_activation_bytes(region, description) for region in node.regions]
        if None in inside:
            return None
        for tensor in node.outputs:
            sizes[tensor] = stored(tensor)
            alive += sizes[tensor]
        peak = max(peak, alive + max((p for p in inside if p is not None), default=0))
        alive -= sum(sizes[t] for t in ends.get(index, ()) if t in sizes)
        alive -= sum(sizes[t] for t in node.outputs if t not in last)
    return peak


def _read(node: Node) -> list[Tensor]:
    """What a node reads that is no constant; control flow also what its graphs see of the graph around them."""
    operands = [t for t in node.inputs if t is not None and not t.is_constant]
    return [*operands, *(t for region in node.regions for t in region.captures())]
