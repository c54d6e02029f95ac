"""The walk over a TensorFlow graph that builds a Module.

A node is imported when something that is wanted needs it, functions in place of their calls. Edges of control only
order nodes, and are left out: a model that changes variables is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence

import attrs

from uair.frontends.common.builder import Builder
from uair.frontends.common.errors import SourceFileError, placed
from uair.frontends.tensorflow import graphdef
from uair.frontends.tensorflow.branches import MERGE, SWITCH, Branches, Join, joined
from uair.frontends.tensorflow.coverage import check_coverage
from uair.frontends.tensorflow.errors import FunctionError, GraphInterfaceError, LoweredControlFlowError
from uair.frontends.tensorflow.graphdef import Body, FunctionDef, NodeDef, Ref
from uair.frontends.tensorflow.handlers import handlers, result_names
from uair.frontends.tensorflow.node import Result, TfNode
from uair.frontends.tensorflow.opaque import keep, result_types
from uair.frontends.tensorflow.program import Input, Program, Variable
from uair.frontends.tensorflow.sizes import Sizes
from uair.frontends.tensorflow.tensors import DTYPES, dtype_name, shape_of
from uair.frontends.tensorflow.values import Complex, Nothing, TensorList, Value, describe
from uair.ir.dims import InferredShape
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.inference import number_unknowns
from uair.ir.module import Module
from uair.ir.types import TensorType

MAX_CALLS = 48
"""Calls inside of each other."""
MAX_NODES = 2_000_000
"""Nodes after the expansion of all calls."""
_CALL = re.compile(r"(^|/)(Stateful)?PartitionedCall(_\d+)?(?=/|$)")


@attrs.define(eq=False)
class Scope:
    """One graph, or one call of a function.

    Attributes:
        body: its nodes.
        graph: where they are imported to.
        values: results of the nodes imported so far, and arguments.
        prefix: of names from here.
        where: in words.
        stack: the functions being called.
        attributes: of the call.
    """

    body: Body
    graph: Graph
    values: MutableMapping[str, tuple[Value, ...]] = attrs.Factory(dict[str, "tuple[Value, ...]"])
    prefix: str = ""
    where: str = "the graph"
    stack: tuple[str, ...] = ()
    attributes: Mapping[str, graphdef.Value] = attrs.Factory(dict[str, graphdef.Value])

    def describe(self, node: NodeDef) -> str:
        """A node in words, for messages."""
        return f"TensorFlow node {self.prefix + node.name!r} ({node.op}) in {self.where}"


@attrs.frozen
class Told:
    """Shapes of inputs that the user told, by name.

    Attributes:
        shapes: of any inputs, which must not contradict the model; None for an open extent.
        unranked: of inputs whose rank the model does not say; of no meaning for others.
    """

    shapes: Mapping[str, Sequence[int | None]] = attrs.field(factory=dict)
    unranked: Mapping[str, Sequence[int]] = attrs.field(factory=dict)

    def of(self, name: str, shape: InferredShape | None) -> Sequence[int | None] | None:
        """The shape that was told for an input of which the model says this one."""
        told = self.shapes.get(name)
        return self.unranked.get(name) if told is None and shape is None else told


class Importer:
    """Imports one program.

    Attributes:
        program: the program.
        builder: of all its graphs.
        graph: the main graph.
    """

    def __init__(self, program: Program, told: Told) -> None:
        self.program = program
        self.builder = Builder()
        self.graph = Graph("main")
        self.sizes = Sizes()
        self.told = told
        self.handlers = handlers()
        self.results = result_names()
        self.expanded = 0
        self._read: dict[Variable, Tensor] = {}
        self._branches: dict[Body, Branches] = {}

    def run(self) -> Module:
        """The module.

        Raises:
            UairError: the model is wrong or cannot be expressed; the error names the node.
        """
        program = self.program
        outputs = [ref for _, ref in program.outputs]
        names = [i.ref.name for i in program.inputs]
        check_coverage(program.graph, outputs, names, self.handlers, lambda node: self._kept_types(node) is not None)
        scope = Scope(program.graph.body, self.graph)
        for name, variable in program.bound.items():
            scope.values[name] = (variable,)
        for given in program.inputs:
            self._input(scope, given)
        for name, value in zip([n for n, _ in program.outputs], self.evaluate(scope, outputs), strict=True):
            self._output(name, value)
        module = Module(program.name, {"main": self.graph})
        number_unknowns(module)
        return module

    def _kept_types(self, node: NodeDef) -> tuple[TensorType, ...] | None:
        """The types of the results of an operator that is kept as it is."""
        return result_types(node, self.program.operators)

    def _input(self, scope: Scope, given: Input) -> None:
        node = scope.body.nodes.get(given.ref.name)
        place = f"input {given.name!r}"
        if node is None:
            raise GraphInterfaceError(f"the graph has no node {given.ref.name!r}", place=place)
        recorded = node.attributes.get("shape")
        shape = given.shape
        if shape is None and recorded is not None and recorded.message.has(7):
            shape = shape_of(recorded.message.message(7))
        kind = node.attributes.get("dtype")
        name = given.dtype or (dtype_name(kind.message.unsigned(6)) if kind is not None else "float32")
        if name not in DTYPES:
            raise GraphInterfaceError(
                f"the input is a {name}, which cannot be given from outside",
                place=place,
                hint="save a signature whose inputs are tensors",
            )
        tensor = self.graph.add_input(given.name, self._declared(given.name, DTYPES[name], shape, place))
        scope.values[given.ref.name] = (tensor,)

    def _declared(self, name: str, dtype: DType, shape: InferredShape | None, place: str) -> TensorType:
        """The type of an input: as the user says, else as the model does."""
        told = self.told.of(name, shape)
        if told is not None:
            fits = shape is None or (
                len(shape) == len(told)
                and all(None in (a, b) or b in (a, -1) for a, b in zip(shape, told, strict=True))
            )
            if not fits:
                raise GraphInterfaceError(f"the shape {list(told)} was given, the model says {shape}", place=place)
            shape = tuple(b if b is not None and b >= 0 else None for b in told)
        if shape is None:
            return TensorType(dtype, None)
        return TensorType(dtype, self.sizes.declared(name, shape))

    def _output(self, name: str, value: Value) -> None:
        if isinstance(value, Variable):
            value = self.read(value)
        if not isinstance(value, Tensor):
            what = describe(value)
            raise GraphInterfaceError(f"the output is {what}, not a tensor", place=f"output {name!r}")
        if name in self.graph.output_names:
            raise GraphInterfaceError("the output is listed twice", place=f"output {name!r}")
        self.graph.add_output(name, value)

    # ------------------------------------------------------------------ used by nodes
    def read(self, variable: Variable) -> Tensor:
        """The values of a variable: one constant, however often it is read."""
        if variable not in self._read:
            self._read[variable] = constant(variable.data, variable.name)
        return self._read[variable]

    def function(self, name: str, place: str) -> FunctionDef:
        """A function of the graph.

        Raises:
            FunctionError: it does not exist.
        """
        found = self.program.graph.functions.get(name)
        if found is None:
            raise FunctionError(f"the graph has no function {name!r}", place=place)
        return found

    def call(
        self, node: TfNode, function: FunctionDef, arguments: Sequence[Value], graph: Graph | None = None
    ) -> list[Value]:
        """Import a function's body for one call, into the caller's graph or a graph of its own.

        Raises:
            FunctionError: it calls itself, or calls are nested too deep.
        """
        scope = node.scope
        if function.name in scope.stack:
            raise FunctionError(
                f"the function {function.name!r} calls itself", place=node.place, hint="recursion is not supported"
            )
        if len(scope.stack) >= MAX_CALLS:
            raise FunctionError(f"more than {MAX_CALLS} calls are nested", place=node.place)
        if len(arguments) != len(function.arguments):
            raise FunctionError(
                f"{function.name!r} takes {len(function.arguments)} values, {len(arguments)} are given",
                place=node.place,
            )
        self._count(len(function.body.order), node.place)
        inner = Scope(
            function.body,
            scope.graph if graph is None else graph,
            prefix=_joined(scope.prefix, node.proto.name),
            where=f"function {function.name!r}",
            stack=(*scope.stack, function.name),
            attributes=node.proto.attributes,
        )
        for argument, value in zip(function.arguments, arguments, strict=True):
            inner.values[argument.name] = (value,)
        return self.evaluate(inner, function.results)

    def _count(self, nodes: int, place: str) -> None:
        self.expanded += nodes
        if self.expanded > MAX_NODES:
            raise FunctionError(f"the calls of the graph expand to more than {MAX_NODES} nodes", place=place)

    # ------------------------------------------------------------------ the walk
    def evaluate(self, scope: Scope, refs: Iterable[Ref]) -> list[Value]:
        """The values of some results, and of everything that they need."""
        wanted = list(refs)
        pending, opened = [ref.name for ref in reversed(wanted)], set[str]()
        while pending:
            name = pending[-1]
            if name in scope.values:
                pending.pop()
                continue
            node = scope.body.nodes.get(name)
            if node is None:
                raise SourceFileError(f"{name!r} is used in {scope.where}, but nothing defines it")
            join = self._join(scope, node) if node.op == MERGE else None
            operands = node.inputs if join is None else join.operands
            missing = [ref.name for ref in operands if ref.name not in scope.values]
            if missing and name in opened:
                raise SourceFileError("the node's value depends on itself", place=scope.describe(node))
            if missing:
                opened.add(name)
                pending.extend(reversed(missing))
                continue
            pending.pop()
            if join is None:
                scope.values[name] = self._node(scope, node)
            else:
                self._joined(scope, node, join)
        return [self.value_at(scope, ref, scope.where) for ref in wanted]

    def _join(self, scope: Scope, merge: NodeDef) -> Join:
        """The branches that end in a Merge."""
        if len(scope.stack) >= MAX_CALLS:
            raise FunctionError(f"more than {MAX_CALLS} branches are nested", place=scope.describe(merge))
        return self._branches.setdefault(scope.body, Branches(scope.body)).join(merge)

    def _joined(self, scope: Scope, merge: NodeDef, join: Join) -> None:
        """Import the two sides of a condition."""
        place = scope.describe(merge)
        with placed(place, merge.op, parts="attributes or operands", inner="TensorFlow node"):
            node = TfNode(self, scope, merge, [self.value_at(scope, join.condition, place)], place)
            for name, value in zip(join.merges, joined(node, join), strict=True):
                if isinstance(value, Tensor) and not value.name:
                    value.name = scope.prefix + name
                scope.values[name] = (value,)

    def value_at(self, scope: Scope, ref: Ref, place: str) -> Value:
        """A result of a node that is imported.

        Raises:
            SourceFileError: the node has no such result.
        """
        values, index = scope.values[ref.name], ref.index
        node = scope.body.nodes.get(ref.name)
        if ref.port and node is not None:
            called = self.program.graph.functions.get(node.op)
            names = self.results.get(node.op, ()) if called is None else called.result_names
            if len(names) > 1:
                if ref.port not in names:
                    raise SourceFileError(f"{node.op} has no result {ref.port!r}", place=place)
                index += names.index(ref.port)
        if index >= len(values):
            raise SourceFileError(f"{ref.name!r} has no result {index}", place=place)
        return values[index]

    def _node(self, scope: Scope, proto: NodeDef) -> tuple[Value, ...]:
        place = scope.describe(proto)
        if proto.op == SWITCH:
            raise LoweredControlFlowError("what a branch is given is used outside of it", place=place)
        with placed(place, proto.op, parts="attributes or operands", inner="TensorFlow node"):
            inputs = [self.value_at(scope, ref, place) for ref in proto.inputs]
            node = TfNode(self, scope, proto, inputs, place)
            function = self.program.graph.functions.get(proto.op)
            if function is not None:
                result: Result = self.call(node, function, inputs)
            elif proto.op in self.handlers:
                result = self.handlers[proto.op](node)
            else:
                result = keep(node, self._kept_types(proto) or ())
        values = (result,) if isinstance(result, (Tensor, Variable, TensorList, Complex, Nothing)) else tuple(result)
        for i, value in enumerate(values):
            if isinstance(value, Tensor) and not value.name:
                value.name = node.name if i == 0 else f"{node.name}:{i}"
        return values


def _joined(prefix: str, name: str) -> str:
    """The prefix of names in a call: without the names that TensorFlow gives to calls itself."""
    kept = _CALL.sub("", name).strip("/")
    return f"{prefix}{kept}/" if kept else prefix
