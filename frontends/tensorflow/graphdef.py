"""Graphs, functions and attributes as TensorFlow stores them: a minimal description of its protobuf messages.

Field numbers: tensorflow/core/framework/{graph,node_def,attr_value,function,op_def}.proto of TensorFlow 2.21; the
tests in tests/frameworks/tensorflow read what TensorFlow itself writes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import attrs

from uair.frontends.tensorflow.tensors import dtype_name, shape_of
from uair.frontends.tensorflow.wire import Message
from uair.ir.dims import InferredShape


@attrs.frozen(slots=True)
class Ref:
    """The result `index` of the node or argument `name`; `port` names the operator's result list, in functions."""

    name: str
    index: int = 0
    port: str = ""

    @staticmethod
    def parse(text: str, in_function: bool) -> Ref:
        """From the text of an input: `node`, `node:1` in a graph; `argument`, `node:port:1` in a function."""
        name, _, rest = text.partition(":")
        if not rest:
            return Ref(name)
        port, _, number = rest.rpartition(":")
        if in_function and not number.isdigit():  # `node:port` without a number
            port, number = number, "0"
        return Ref(name, int(number) if number.isdigit() and len(number) < 10 else 0, port)


class Value:
    """An attribute's value (AttrValue)."""

    __slots__ = ("message",)

    def __init__(self, message: Message) -> None:
        self.message = message

    @property
    def placeholder(self) -> str:
        """Name of the call's attribute that stands here, in functions."""
        return self.message.text(9)

    @property
    def list(self) -> Value:
        """The list, whose fields have the numbers of the single values."""
        return Value(self.message.message(1))

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of functions in a list."""
        return tuple(m.text(1) for m in self.message.message(1).messages(9))

    def describe(self) -> str:
        """What kind it is, for messages."""
        kinds = {2: "text", 3: "int", 4: "float", 5: "bool", 6: "type", 7: "shape", 8: "tensor", 1: "list", 10: "func"}
        return next((kind for number, kind in kinds.items() if self.message.has(number)), "nothing")


class NodeDef:
    """A node. Its attributes are read when asked for."""

    __slots__ = ("_attributes", "_message", "inputs", "name", "op")

    def __init__(self, message: Message, in_function: bool) -> None:
        self._message = message
        self.name = message.text(1)
        self.op = message.text(2)
        self._attributes: dict[str, Value] | None = None
        texts = message.texts(3)
        self.inputs = tuple(Ref.parse(t, in_function) for t in texts if not t.startswith("^"))

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the nodes that must run before."""
        return tuple(t[1:] for t in self._message.texts(3) if t.startswith("^"))

    @property
    def content(self) -> bytes:
        """The node as the file has it."""
        return bytes(self._message.source.buffer[self._message.start : self._message.end])

    @property
    def attributes(self) -> Mapping[str, Value]:
        """Attributes by name."""
        if self._attributes is None:
            self._attributes = {name: Value(m) for name, m in self._message.entries(5).items()}
        return self._attributes


@attrs.frozen
class Argument:
    """An argument of a function.

    Attributes:
        name: its name.
        dtype: element type by TensorFlow's name; "" when an attribute of the call decides.
        repeated: name of the attribute that says how many values it stands for; "" for one.
        shape: as far as the function records it.
    """

    name: str
    dtype: str = ""
    repeated: str = ""
    shape: InferredShape | None = None


class Body:
    """Nodes by name, and what order they stand in."""

    def __init__(self, nodes: Sequence[NodeDef]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.order = list(nodes)


class FunctionDef:
    """A function of the graph's library."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self.signature = message.message(1)
        self.name = self.signature.text(1)

    @functools.cached_property
    def arguments(self) -> tuple[Argument, ...]:
        """Its arguments."""
        shapes: dict[int, InferredShape | None] = {}
        for entry in self._message.messages(7):
            recorded = entry.message(2).entries(1).get("_output_shapes")
            found = recorded.message(1).messages(7) if recorded is not None else []
            if found:
                shapes[entry.integer(1)] = shape_of(found[0])
        return tuple(_argument(m, shapes.get(i)) for i, m in enumerate(self.signature.messages(2)))

    @functools.cached_property
    def results(self) -> tuple[Ref, ...]:
        """What it returns, in order."""
        returned = self._message.text_entries(4)
        return tuple(Ref.parse(returned.get(a.text(1), a.text(1)), True) for a in self.signature.messages(3))

    @functools.cached_property
    def result_names(self) -> tuple[str, ...]:
        """Names of its results."""
        return tuple(a.text(1) for a in self.signature.messages(3))

    @functools.cached_property
    def controls(self) -> tuple[str, ...]:
        """Names of the nodes that must have run when it returns."""
        return tuple(self._message.text_entries(6).values())

    @functools.cached_property
    def body(self) -> Body:
        """Its nodes."""
        return Body([NodeDef(m, True) for m in self._message.messages(3)])


def _argument(message: Message, shape: InferredShape | None) -> Argument:
    number = message.integer(3)
    return Argument(message.text(1), dtype_name(number) if number else "", message.text(5) or message.text(6), shape)


class GraphDef:
    """A graph with its library of functions."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self.body = Body([NodeDef(m, False) for m in message.messages(1)])
        self.functions = {f.name: f for f in map(FunctionDef, message.message(2).messages(1))}

    @property
    def producer(self) -> int:
        """Version of graphs that the writer had."""
        return self._message.message(4).integer(1)
