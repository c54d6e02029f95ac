"""The graph: tensors, nodes, and the doubly linked list that keeps nodes in topological order.

The three classes stand in one file because they keep each other's books: a node registers the uses of its operands, a
graph links its nodes. They compare by identity; names are hints for people.
"""

# pyright: reportPrivateUsage=false
# The links and use lists are private to these three classes, which keep them for each other; an operator's list of the
# attributes that hold graphs is read with every node that comes or goes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs
import numpy as np

from uair.errors import InternalError, StillUsed, UnknownNameError
from uair.ir.data import ArrayData, Data
from uair.ir.dims import InferredShape, fresh_symbol
from uair.ir.dtype import Array
from uair.ir.location import UNKNOWN, Location
from uair.ir.types import TensorType

if TYPE_CHECKING:
    from uair.ops.base import Operator


@attrs.define(eq=False, repr=False, slots=True)
class Tensor:
    """A value: the result of a node, a graph input, or a constant (then `data` is set).

    Compared by identity. `name` is a hint for people: nothing is looked up by it, and two tensors may share it.

    Attributes:
        type: element type, shape and layout.
        name: the source model's name for it, or what a rewrite called it.
        data: values of a constant.
        producer: the node whose result it is; None for graph inputs and constants.
        index: which result of the producer.
    """

    type: TensorType
    name: str = ""
    data: Data | None = None
    producer: Node | None = None
    index: int = 0
    _uses: dict[tuple[Node, int], None] = attrs.field(factory=dict, init=False)

    @property
    def uses(self) -> tuple[tuple[Node, int], ...]:
        """(node, operand index) pairs in order of registration; a graph output is a use by the graph's Return node.

        Nodes that are not (or no longer) in a graph use nothing.
        """
        return tuple(self._uses)

    @property
    def use_set(self) -> Mapping[tuple[Node, int], None]:
        """The uses as an ordered set, for membership tests."""
        return self._uses

    @property
    def use_count(self) -> int:
        """Number of uses."""
        return len(self._uses)

    @property
    def users(self) -> Iterator[Node]:
        """The using nodes, each once."""
        return iter(dict.fromkeys(node for node, _ in self._uses))

    @property
    def is_constant(self) -> bool:
        """Whether the values are known."""
        return self.data is not None

    @property
    def is_output(self) -> bool:
        """Whether a graph returns it."""
        return any(node.is_return for node, _ in self._uses)

    def numpy(self) -> Array:
        """The values of a constant, materialised.

        Raises:
            ValueError: the tensor is not a constant.
        """
        if self.data is None:
            raise ValueError(f"{self!r} is not a constant")
        return self.data.array()

    def replace_all_uses_with(self, new: Tensor) -> None:
        """Let every user, graph outputs included, use `new` instead."""
        if new is self:
            return
        for node, i in self.uses:
            node.set_input(i, new)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without producer and uses: the graph that is pickled with it puts them back."""
        return Tensor, (self.type, self.name, self.data)

    def __repr__(self) -> str:
        kind = "constant" if self.is_constant else "tensor"
        return f"<{kind} %{self.name or '?'}: {self.type}>"


def constant(value: Any, name: str = "") -> Tensor:
    """A constant tensor from an array, a scalar or `Data`.

    Python floats become f32 and Python ints i64 (as in ONNX and PyTorch), NumPy values keep their type.
    """
    if isinstance(value, Data):
        data = value
    else:
        array = np.asarray(value)
        if array.dtype == np.float64 and not isinstance(value, (np.ndarray, np.generic)):
            array = array.astype(np.float32)
        data = ArrayData(array)
    return Tensor(TensorType(data.dtype, data.shape), name, data)


@attrs.define(eq=False, repr=False, slots=True, init=False)
class Node:
    """An operator applied to tensors. Compared by identity; `name` is a hint.

    A node made by hand belongs to no graph and uses nothing until a graph takes it in.

    Attributes:
        op: the operator with its attributes (a value: share it, evolve it, never mutate it).
        outputs: the results, one tensor each.
        name: the source model's name for it.
        loc: the source nodes that it stands for.
        graph: the graph it is in.
    """

    op: Operator
    outputs: tuple[Tensor, ...]
    name: str
    loc: Location
    graph: Graph | None
    _inputs: tuple[Tensor | None, ...]
    _previous: Node | None
    _next: Node | None

    def __init__(
        self,
        op: Operator,
        inputs: Sequence[Tensor | None],
        *,
        name: str = "",
        loc: Location = UNKNOWN,
        output_types: Sequence[TensorType] | None = None,
        output_names: Sequence[str] = (),
    ) -> None:
        """Apply `op` to `inputs`; an omitted optional operand is None, trailing ones may be left out.

        Args:
            op: the operator.
            inputs: the operands in the operator's order.
            name: hint.
            loc: origin.
            output_types: result types; inferred when not given.
            output_names: hints for the results.

        Raises:
            ArityError, TypeInferenceError: the operands do not fit the operator.
        """
        self.op = op
        self._inputs = op.normalize_operands(inputs)
        self.name = name
        self.loc = loc
        self.graph = None
        self._previous = None
        self._next = None
        if output_types is None:
            output_types = [
                named_unknowns(t) for t in op.infer_types([None if t is None else t.type for t in self._inputs])
            ]
        named = len(output_names)
        self.outputs = tuple(
            [Tensor(t, output_names[i] if i < named else "", None, self, i) for i, t in enumerate(output_types)]
        )

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        """The operands; None where an optional one is omitted. Change them with `set_input`."""
        return self._inputs

    @property
    def output(self) -> Tensor:
        """The result of a node that has exactly one.

        Raises:
            ValueError: it has several, or none.
        """
        (result,) = self.outputs
        return result

    @property
    def op_type(self) -> str:
        """Name of the operator."""
        return self.op.op_type

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The operator's attributes by name (a view for generic code; prefer the typed fields of `op`)."""
        return self.op.attributes

    @property
    def is_return(self) -> bool:
        """Whether this is the terminator that holds a graph's outputs."""
        return self.op.is_terminator

    @property
    def next(self) -> Node | None:
        """The following node; a removed node still knows the one that followed it."""
        node = self._next
        return None if node is None or node.is_return else node

    @property
    def previous(self) -> Node | None:
        """The preceding node."""
        return self._previous

    def operand(self, name: str) -> Tensor | None:
        """The operand with the operator's parameter name, None when omitted.

        Raises:
            KeyError: the operator has no such parameter.
        """
        return self._inputs[self.op.operand_index(name)] if self.op.operand_index(name) < len(self._inputs) else None

    def set_input(self, i: int, new: Tensor | None) -> None:
        """Replace operand `i`, or give an optional one that was left out. The only way to change operands.

        It keeps the use lists right.

        Raises:
            ArityError: the operator has no such operand.
        """
        if i >= len(self._inputs):
            longer = (*self._inputs, *(None,) * (i + 1 - len(self._inputs)))
            self.op.normalize_operands((*longer[:i], new))
            self._inputs = longer
        old = self._inputs[i]
        if self.graph is not None:
            if old is not None:
                old._uses.pop((self, i), None)  # a region of a removed node has released what it captures
            if new is not None:
                new._uses[(self, i)] = None
        self._inputs = (*self._inputs[:i], new, *self._inputs[i + 1 :])

    @property
    def regions(self) -> tuple[Graph, ...]:
        """The graphs in the operator's attributes."""
        return self.op.regions

    def attach(self, graph: Graph) -> None:
        """Register the uses of the operands and of what the regions capture; called by the graph that takes it in."""
        self.graph = graph
        for i, tensor in enumerate(self._inputs):
            if tensor is not None:
                tensor._uses[(self, i)] = None
        if self.op._graphs:
            graph._holders[self] = None
            for region in self.regions:
                for user, i, tensor in region.captured_uses():
                    tensor._uses[(user, i)] = None

    def detach(self) -> None:
        """Drop the uses of the operands and of what the regions capture; called by the graph that removes the node."""
        for i, tensor in enumerate(self._inputs):
            if tensor is not None:
                del tensor._uses[(self, i)]
        if self.graph is not None and self.op._graphs:
            self.graph._holders.pop(self, None)
            for region in self.regions:
                region.release()
        self.graph = None

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a node is copied or pickled with its graph only: take the module, or make a new node")

    def __repr__(self) -> str:
        return f"<{self.op_type} {self.name or '%' + (self.outputs[0].name if self.outputs else '')}>"


def named_unknowns(t: TensorType) -> TensorType:
    """`t` with extents that only the data decides (None) named by fresh symbols."""
    shape = cast("InferredShape | None", t.shape)
    if shape is None or None not in shape or t.containers:
        return t
    return t.with_shape(tuple(fresh_symbol() if d is None else d for d in shape))


@attrs.define(eq=False, repr=False, slots=True, init=False)
class Graph:
    """Inputs, nodes in topological order, outputs.

    Iterating while editing is safe: nodes inserted after the current one are visited, nodes inserted before it are not,
    removed nodes are skipped, and when the current node is removed iteration goes on with what followed it.

    The names of inputs and outputs are the model's interface and survive every pass; the names of the tensors behind
    them are hints.
    """

    name: str
    inputs: list[Tensor]
    input_names: list[str]
    output_names: list[str]
    _terminator: Node
    _first: Node
    _count: int
    _holders: dict[Node, None]  # the nodes whose operators hold graphs

    def __init__(self, name: str = "main") -> None:
        from uair.ops.base import Return

        self.name = name
        self.inputs = []
        self.input_names = []
        self.output_names = []
        self._terminator = Node(Return(), (), output_types=())
        self._terminator.graph = self
        self._first = self._terminator
        self._count = 0
        self._holders = {}

    # ---------------------------------------------------------------- interface
    def add_input(self, name: str, type: TensorType) -> Tensor:
        """Append an input called `name`."""
        tensor = Tensor(type, name)
        self.inputs.append(tensor)
        self.input_names.append(name)
        return tensor

    def add_output(self, name: str, tensor: Tensor) -> None:
        """Append an output called `name`."""
        index = len(self._terminator._inputs)
        self._terminator._inputs = (*self._terminator._inputs, tensor)
        tensor._uses[(self._terminator, index)] = None
        self.output_names.append(name)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The returned tensors."""
        return tuple(t for t in self._terminator.inputs if t is not None)

    def set_output(self, i: int, tensor: Tensor) -> None:
        """Return `tensor` as output `i`."""
        self._terminator.set_input(i, tensor)

    def input(self, name: str) -> Tensor:
        """The input of that interface name.

        Raises:
            UnknownNameError: there is none.
        """
        if name not in self.input_names:
            raise UnknownNameError(
                f"the model has no input {name!r}", hint=f"its inputs are {', '.join(self.input_names) or 'none'}"
            )
        return self.inputs[self.input_names.index(name)]

    # -------------------------------------------------------------------- nodes
    def __iter__(self) -> Iterator[Node]:
        node: Node | None = self._first
        while node is not None and node is not self._terminator:
            if node.graph is self:
                yield node
            node = node._next

    def __reversed__(self) -> Iterator[Node]:
        node = self._terminator._previous
        while node is not None:
            if node.graph is self:
                yield node
            node = node._previous

    def __len__(self) -> int:
        return self._count

    def append(self, node: Node) -> Node:
        """Add a node at the end."""
        return self.insert_before(self._terminator, node)

    def insert_before(self, anchor: Node, node: Node) -> Node:
        """Add a node in front of `anchor`, which must be in this graph (`graph.end` stands behind the last node)."""
        if node.graph is not None:
            raise InternalError(f"{node!r} is in a graph already")
        if anchor.graph is not self:
            raise InternalError(f"{anchor!r} is not in graph {self.name!r}")
        self._link(anchor, node)
        self._count += 1
        node.attach(self)
        return node

    def insert_after(self, anchor: Node, node: Node) -> Node:
        """Add a node behind `anchor`."""
        following = anchor._next
        if anchor.graph is not self or following is None:
            raise InternalError(f"{anchor!r} is not in graph {self.name!r}")
        return self.insert_before(following, node)

    @property
    def end(self) -> Node:
        """The terminator: an anchor behind the last node."""
        return self._terminator

    def remove(self, node: Node) -> None:
        """Take a node out.

        Raises:
            StillUsed: one of its results still has uses.
        """
        for tensor in node.outputs:
            if tensor._uses:
                users = ", ".join(repr(user) for user in tensor.users)
                raise StillUsed(f"{node!r} cannot be removed: {tensor!r} is used by {users}")
        if node.graph is not self or node is self._terminator:
            raise InternalError(f"{node!r} is not in graph {self.name!r}")
        node.detach()
        self._unlink(node)
        self._count -= 1

    def replace(self, node: Node, replacements: Sequence[Tensor]) -> None:
        """Let the users of `node`'s results use `replacements` and remove the node; hints pass to the new tensors."""
        for old, new in zip(node.outputs, replacements, strict=True):
            if old.name and not new.name:
                new.name = old.name
            old.replace_all_uses_with(new)
        self.remove(node)

    def move_before(self, anchor: Node, node: Node) -> None:
        """Move a node of this graph in front of `anchor`; the caller keeps the order topological."""
        self._unlink(node)
        self._link(anchor, node)

    def _link(self, anchor: Node, node: Node) -> None:
        """Put a node into the list in front of `anchor`."""
        before = anchor._previous
        node._previous, node._next = before, anchor
        anchor._previous = node
        if before is None:
            self._first = node
        else:
            before._next = node

    def _unlink(self, node: Node) -> None:
        """Take a node out of the list; it still knows its neighbours."""
        before, following = node._previous, node._next
        assert following is not None
        following._previous = before
        if before is None:
            self._first = following
        else:
            before._next = following

    # ------------------------------------------------------------------ tensors
    def constants(self) -> list[Tensor]:
        """The constants used by nodes or returned, each once, in order of first use."""
        found: dict[Tensor, None] = {}
        for node in (*self, self._terminator):
            for tensor in node.inputs:
                if tensor is not None and tensor.is_constant:
                    found[tensor] = None
        return list(found)

    def tensors(self) -> Iterator[Tensor]:
        """Inputs, constants, and all results in order."""
        yield from self.inputs
        yield from self.constants()
        for node in self:
            yield from node.outputs

    # ------------------------------------------------------------------ regions
    @property
    def holds_graphs(self) -> bool:
        """Whether an operator of one of its nodes has graphs among its attributes."""
        return bool(self._holders)

    def nested(self) -> Iterator[Graph]:
        """The graphs in the attributes of this graph's nodes, and theirs: inner ones before those that hold them."""
        if not self._holders:  # nearly always
            return
        for node in self:
            for region in node.regions:
                yield from region.nested()
                yield region

    def captured_uses(self) -> Iterator[tuple[Node, int, Tensor]]:
        """(node, operand index, tensor) for every use in here, or in a nested graph, of a tensor from around."""
        graphs = [*self.nested(), self]
        own: set[Tensor] = set()
        for graph in graphs:
            own.update(graph.inputs)
            own.update(tensor for node in graph for tensor in node.outputs)
        for graph in graphs:
            for node in (*graph, graph._terminator):
                for i, tensor in enumerate(node._inputs):
                    if tensor is not None and tensor.data is None and tensor not in own:
                        yield node, i, tensor

    def captures(self) -> tuple[Tensor, ...]:
        """The tensors of enclosing graphs that are used in here, each once."""
        return tuple(dict.fromkeys(tensor for _, _, tensor in self.captured_uses()))

    def release(self) -> None:
        """Drop the uses of captured tensors, when the node that runs the graph is removed or the graph given up."""
        for node, i, tensor in self.captured_uses():
            tensor._uses.pop((node, i), None)

    def dissolve(self) -> None:
        """Let nodes and tensors no longer know each other; nothing of the graph may be used any more.

        They refer to each other in circles, which stay in memory until the next search for circles. What the graph was
        given (constant data, operators, captured tensors) is not touched.
        """
        nodes = [*self, self._terminator]
        self._holders.clear()
        for node in nodes:
            for region in node.regions:
                region.dissolve()
            for i, tensor in enumerate(node._inputs):
                if tensor is not None:
                    tensor._uses.pop((node, i), None)
            for tensor in node.outputs:
                tensor.producer = None
            node._inputs = node.outputs = ()
            node._previous = node._next = node.graph = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as lists: following uses from node to node would be as deep as the graph is long."""
        nodes = [(node.op, node.inputs, node.outputs, node.name, node.loc) for node in self]
        outputs = list(zip(self.output_names, self.outputs, strict=True))
        return _restored, (self.name, self.inputs, self.input_names, nodes, outputs)

    def __repr__(self) -> str:
        return f"<graph @{self.name}: {self._count} nodes>"


def _restored(
    name: str,
    inputs: list[Tensor],
    input_names: list[str],
    nodes: Sequence[tuple[Operator, Sequence[Tensor | None], tuple[Tensor, ...], str, Location]],
    outputs: Sequence[tuple[str, Tensor]],
) -> Graph:
    """A graph from what `Graph.__reduce__` gives; its nodes have the very tensors that are given."""
    graph = Graph(name)
    graph.inputs, graph.input_names = list(inputs), list(input_names)
    for op, operands, results, hint, loc in nodes:
        node = Node(op, operands, name=hint, loc=loc, output_types=[t.type for t in results])
        node.outputs = tuple(results)
        for i, tensor in enumerate(results):
            tensor.producer, tensor.index = node, i
        graph.append(node)
    for output, tensor in outputs:
        graph.add_output(output, tensor)
    return graph
