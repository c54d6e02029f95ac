"""Taking a placed graph apart into one graph for each island, and putting the parts together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import copy_nodes
from uair.ops.placement import Placed, Transfer
from uair.passes.partition.place import CPU, Placement, borders
from uair.passes.partition.prices import tensor_bytes


@attrs.define(eq=False)
class Part:
    """An island as a graph of its own.

    Attributes:
        index: position in the order of execution.
        device: "cpu", or the target's name.
        graph: its inputs and outputs are called as the tensors of the whole graph.
        taken: the tensors of the whole graph that its inputs stand for.
        given: those that its outputs stand for.
    """

    index: int
    device: str
    graph: Graph
    taken: list[Tensor]
    given: list[Tensor]

    @property
    def name(self) -> str:
        """What its folder is called."""
        return f"{self.index:02}-{self.device}"


@attrs.frozen
class Copy:
    """One copy between the parts of a model.

    Attributes:
        tensor: its name.
        source: index of the part that computes it.
        destinations: indices of the parts that read the copy.
        from_device: the device it is on.
        to_device: the device it is copied to.
        bytes: of the tensor; 0 when a size is open.
    """

    tensor: str
    source: int
    destinations: tuple[int, ...]
    from_device: str
    to_device: str
    bytes: int


def split(graph: Graph, placement: Placement) -> list[Part]:
    """The islands of a graph, which is not changed, as graphs of their own."""
    parts: list[Part] = []
    for index, island in enumerate(placement.islands):
        taken, given = borders(island.nodes, placement.wires)
        inner = Graph("main")
        copies: dict[Tensor, Tensor] = {}
        for tensor in taken:
            copies[tensor] = inner.add_input(tensor.name, tensor.type)
        copy_nodes(_with_free(island.nodes, placement), inner, copies)
        for tensor in given:
            inner.add_output(tensor.name, copies[tensor])
        parts.append(Part(index, island.device, inner, taken, given))
    return parts


def _with_free(nodes: Sequence[Node], placement: Placement) -> list[Node]:
    """The nodes, each behind those of the free ones that it needs."""
    free = placement.wires.free
    found: dict[Node, None] = {}

    def add(node: Node) -> None:
        operands = [*node.inputs, *(t for region in node.regions for t in region.captures())]
        for tensor in operands:
            maker = tensor.producer if tensor is not None else None
            if maker is not None and maker in free and maker not in found:
                add(maker)
        found[node] = None

    for node in nodes:
        add(node)
    return list(found)


def assemble(graph: Graph, parts: Sequence[Part]) -> Graph:
    """A graph that runs parts, possibly changed since, in the place of the graph that they were cut from.

    What a part on a device gives to others is copied to the CPU, and from there to other parts on the device.

    Args:
        graph: the whole; not changed.
        parts: with the same inputs and outputs as when they were cut.
    """
    result = Graph(graph.name)
    on_host: dict[Tensor, Tensor] = {}
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        on_host[tensor] = result.add_input(name, tensor.type)
        on_host[tensor].name = tensor.name
    made: dict[Tensor, Tensor] = {}
    read_later = _readers(parts)
    for part in parts:
        operands = [_operand(result, part, tensor, on_host) for tensor in part.taken]
        node = Node(
            Placed(body=part.graph, device=part.device),
            operands,
            name=part.name,
            output_types=[t.type for t in part.given],
            output_names=[t.name for t in part.given],
        )
        result.append(node)
        for tensor, value in zip(part.given, node.outputs, strict=True):
            made[tensor] = on_host[tensor] = value
            if part.device != CPU and tensor in read_later:
                on_host[tensor] = _transfer(result, value, part.device, CPU)
    for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
        if tensor not in made and tensor not in on_host:
            made[tensor] = Tensor(tensor.type, tensor.name, tensor.data)
        result.add_output(name, made[tensor] if tensor in made else on_host[tensor])
    return result


def _operand(graph: Graph, part: Part, tensor: Tensor, on_host: Mapping[Tensor, Tensor]) -> Tensor:
    value = on_host[tensor]
    if part.device == CPU or tensor.producer is None:
        return value
    return _transfer(graph, value, CPU, part.device)


def _transfer(graph: Graph, value: Tensor, source: str, destination: str) -> Tensor:
    op = Transfer(source=source, destination=destination)
    name = f"{value.name}_on_{destination}"
    return graph.append(Node(op, [value], name=name, output_names=[name])).output


def _readers(parts: Sequence[Part]) -> dict[Tensor, list[Part]]:
    """By tensor the parts that read it."""
    readers: dict[Tensor, list[Part]] = {}
    for part in parts:
        for tensor in part.taken:
            readers.setdefault(tensor, []).append(part)
    return readers


def copies(parts: Sequence[Part]) -> list[Copy]:
    """The copies that `assemble` puts between parts, in order of the parts that compute the tensors."""
    readers = _readers(parts)
    found: list[Copy] = []
    for part in parts:
        for tensor in part.given:
            reading = readers.get(tensor, [])
            size = tensor_bytes(tensor)
            if part.device != CPU and reading:
                places = tuple(p.index for p in reading)
                found.append(Copy(tensor.name, part.index, places, part.device, CPU, size))
            for reader in reading:
                if reader.device != CPU:
                    found.append(Copy(tensor.name, part.index, (reader.index,), CPU, reader.device, size))
    return found
