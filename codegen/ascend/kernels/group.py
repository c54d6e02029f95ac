"""Which nodes of a graph become one kernel.

Nodes are visited in order. A node joins the kernel of an operand when both run over one iteration space (uair.codegen.
ascend.kernels.space), and when no path leads from the kernel out of it and back to the node: a kernel starts when all
its inputs are there. Kernels of several operands become one under the same conditions. What a kernel computes beside
its main tensor, such as a mask along one axis, stays a kernel of its own when others need it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from uair.codegen.ascend.kernels.lower import Argument, Lowering, takes, takes_matrix
from uair.codegen.ascend.kernels.program import EXACT, ROUNDED_ONCE, Builder, Program, Step, Verb
from uair.codegen.ascend.kernels.space import Space, extents, iteration_space
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.location import Location

MOST_NODES = 64
"""Larger kernels would not be faster, and the memory next to the vector unit would not hold their values."""
MOST_ARGUMENTS = 12
MOST_AXES = 4
REDUCING = frozenset({Verb.SUM, Verb.LARGEST, Verb.LEAST})


Refusal = Callable[[Program], str]


def takes_all(program: Program) -> str:
    """The refusal of a target that takes every program: none."""
    return ""


@attrs.frozen(eq=False)
class Kernel:
    """A program and what it stands for in the graph.

    Attributes:
        arguments: what the program's inputs are.
        results: for every output the tensors that it is; several nodes may compute the same.
    """

    program: Program
    arguments: tuple[Argument, ...]
    results: tuple[tuple[Tensor, ...], ...]


@attrs.define(eq=False)
class Group:
    """Nodes that become one kernel.

    Attributes:
        nodes: in the graph's order.
        space: what they run over.
    """

    nodes: list[Node]
    space: Space

    @property
    def inputs(self) -> list[Tensor]:
        """Tensors that are read and not made in it, constants with more than one element among them."""
        made = {t for node in self.nodes for t in node.outputs}
        read = dict.fromkeys(t for node in self.nodes for t in node.inputs if t is not None and t not in made)
        return [t for t in read if not (t.is_constant and t.type.size == 1)]

    @property
    def outputs(self) -> list[Tensor]:
        """Tensors that are made in it and needed outside."""
        inside = set(self.nodes)
        return [t for node in self.nodes for t in node.outputs if any(user not in inside for user, _ in t.uses)]

    @property
    def location(self) -> Location:
        """The source nodes that it stands for."""
        return Location.fused(node.loc for node in self.nodes)

    def program(self, interface: DType) -> Kernel:
        """What it computes, what its inputs are, and which tensors its outputs are.

        Floats are computed in f32 and rounded to `interface` at the end, unless at most one step rounds, and rounds
        correctly: then f16 gives the same result at twice the speed.
        """
        narrow = self._program(interface, interface)
        exact = interface is DType.F32 or rounds_once(narrow.program)
        return narrow if exact else self._program(interface, DType.F32)

    def _program(self, interface: DType, compute: DType) -> Kernel:
        low = Lowering(Builder(self.space.sizes), self.space, interface, compute)
        for node in self.nodes:
            low.node(node)
        values = [low.result(t) for t in self.outputs]
        program = low.builder.finish(values)
        results = [tuple(t for t, v in zip(self.outputs, values, strict=True) if v is out) for out in program.outputs]
        return Kernel(program, tuple(low.arguments), tuple(results))


def rounds_once(program: Program) -> bool:
    """Whether its f16 result equals the f32 one, rounded."""
    rounding = [step for step in program.steps if step.verb not in EXACT]
    return len(rounding) <= 1 and all(s.verb in ROUNDED_ONCE and _is_exact(s) for s in rounding)


def _is_exact(step: Step) -> bool:
    numbers = [x for x in step.operands if isinstance(x, float)]
    return all(float(step.result.dtype.numpy.type(x)) == x for x in numbers)


@attrs.frozen(eq=False)
class Product:
    """An INT8 matrix product: a kernel for the cube unit, which gives plain i32 sums.

    What follows it, from its bias on, is the group of its AscendDequant, a kernel for the vector unit: whether a kernel
    that uses both units is synchronised right is uncertain.
    """

    node: Node

    @property
    def weight(self) -> Tensor:
        """I8 [in, out], or [out, in] when `transposed`."""
        w = self.node.inputs[1]
        assert w is not None
        return w

    @property
    def transposed(self) -> bool:
        """Whether the weight is transposed by the product."""
        return bool(self.node.attributes["transpose_w"])

    def program(self) -> Kernel:
        """Sums i32 [m, n] of x i8 [m, k] and w i8 [k, n], the transposed weight where the product transposes."""
        x, y = self.node.inputs[0], self.node.outputs[0]
        assert x is not None
        depth, width = extents(x)[-1], extents(y)[-1]
        b = Builder((y.type.size // width, depth, width))
        left, right = b.input(DType.I8, (0, 1)), b.input(DType.I8, (1, 2))
        sums = b.step(Verb.MATMUL, [left, right], DType.I32, (0, 2))
        weight = self.weight.numpy().T if self.transposed else None
        use = "transposed" if self.transposed else "tensor"
        return Kernel(b.finish([sums]), (Argument(x), Argument(self.weight, use, weight)), ((y,),))


def products(graph: Graph) -> Iterator[Product]:
    """The INT8 matrix products that become kernels: those whose sums a dequantization kernel reads."""
    for node in graph:
        users = list(node.outputs[0].users) if takes_matrix(node) else []
        if users and all(takes(u) and u.op_type == "AscendDequant" for u in users):
            yield Product(node)


def groups(graph: Graph, *, least: int = 2, refusal: Refusal = takes_all, matrices: bool = True) -> list[Group]:
    """The element-wise, reducing and dequantizing kernels of a graph.

    Args:
        graph: a legalised graph.
        refusal: why the target does not take a program; what it takes node by node, it need not take together.
        least: kernels of fewer operators are left out, unless they reduce: one operator alone gains nothing by a kernel
            of its own. Reshapes do not count.
        matrices: whether INT8 products are kernels too; a dequantization reads what only these give.
    """
    grouping = _Grouping(graph, refusal)
    for node in graph:
        if takes(node) and (matrices or node.op_type != "AscendDequant"):
            grouping.place(node)
    return [group for group in grouping.groups() if _is_worthwhile(group, least)]


def _is_worthwhile(group: Group, least: int) -> bool:
    working = [n for n in group.nodes if n.op_type not in ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Cast")]
    if not working or not group.outputs or (len(working) < 2 and working[0].op_type == "AscendQuant" and least > 1):
        return False
    return len(working) >= least or not group.program(DType.F16).program.verbs.isdisjoint(REDUCING)


class _Grouping:
    """The state of one search."""

    def __init__(self, graph: Graph, refusal: Refusal) -> None:
        self._refusal = refusal
        self._index = {node: i for i, node in enumerate(graph)}
        self._of: dict[Node, Group] = {}

    def groups(self) -> list[Group]:
        """What was found, by the position of the first node."""
        return list(dict.fromkeys(self._of[node] for node in self._index if node in self._of))

    def place(self, node: Node) -> None:
        """Give a node to the kernels of its operands, or to a new one."""
        space = iteration_space([node])
        own = None if space is None or len(space.sizes) > MOST_AXES else Group([node], space)
        if own is None or self._refused(own):
            return
        for group in self._neighbours(node):
            joined = self._joined(group, own)
            if joined is not None:
                own = joined
        for member in own.nodes:
            self._of[member] = own

    def _neighbours(self, node: Node) -> list[Group]:
        """The kernels that make its operands, the one that ends last first."""
        makers = (t.producer for t in node.inputs if t is not None and t.producer is not None)
        found = dict.fromkeys(self._of[m] for m in makers if m in self._of)
        return sorted(found, key=lambda group: -self._index[group.nodes[-1]])

    def _joined(self, group: Group, own: Group) -> Group | None:
        """Both as one, when that is a kernel."""
        nodes = sorted({*group.nodes, *own.nodes}, key=self._index.__getitem__)
        if len(nodes) > MOST_NODES or self._is_shared_aside(group, own):
            return None
        space = iteration_space(nodes)
        if space is None or len(space.sizes) > MOST_AXES or not self._is_convex(nodes):
            return None
        joined = Group(nodes, space)
        fits = len(joined.inputs) + len(joined.outputs) <= MOST_ARGUMENTS
        return joined if fits and not self._refused(joined) else None

    def _refused(self, group: Group) -> str:
        """Why the target does not take a kernel; one that no node needs yet is judged when one does."""
        return self._refusal(group.program(DType.F16).program) if group.outputs else ""

    def _is_shared_aside(self, group: Group, own: Group) -> bool:
        """Whether a kernel runs over less than the node that reads it, and others read it too."""
        inside = {*group.nodes, *own.nodes}
        smaller = _volume(group.space) < _volume(own.space)
        return smaller and any(user not in inside for t in group.outputs for user, _ in t.uses)

    def _is_convex(self, nodes: Sequence[Node]) -> bool:
        """Whether no path leaves the nodes and comes back, through kernels that exist already."""
        inside = set(nodes)
        first = self._index[nodes[0]]
        waiting = [m for n in nodes for m in self._makers(n) if m not in inside]
        seen: set[Node] = set()
        while waiting:
            node = waiting.pop()
            if node in inside:
                return False
            if node in seen:
                continue
            unit = self._of[node].nodes if node in self._of else [node]
            seen.update(unit)
            if self._index[unit[-1]] > first:
                waiting.extend(m for n in unit for m in self._makers(n) if m not in seen and m not in unit)
        return True

    def _makers(self, node: Node) -> Iterator[Node]:
        """The nodes that a node reads, through its graphs too."""
        captured = (t for region in node.regions for _, _, t in region.captured_uses())
        for tensor in (*node.inputs, *captured):
            if tensor is not None and tensor.producer is not None and tensor.producer in self._index:
                yield tensor.producer


def _volume(space: Space) -> int:
    result = 1
    for size in space.sizes:
        result *= size
    return result
