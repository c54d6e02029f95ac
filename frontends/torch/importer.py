"""The walk over an exported program that builds a Module."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import attrs
import numpy as np

from uair.errors import InternalError
from uair.frontends.common.builder import Builder
from uair.frontends.common.errors import SourceOperatorError, UnmappedOperatorError, placed
from uair.frontends.common.table import joined
from uair.frontends.torch.handlers import FAMILIES
from uair.frontends.torch.handlers.complex import handler_for
from uair.frontends.torch.node import Handler, Result, TorchNode, Value
from uair.frontends.torch.program import Argument, Call, Program, ProgramGraph, Ref
from uair.frontends.torch.sizes import as_tensor
from uair.ir.dims import COUNTED_NAME, Dim, plain_symbol, symbols_of
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.inference import number_unknowns, refine_types
from uair.ir.location import Location
from uair.ir.module import Module, Origin
from uair.ir.types import TensorType
from uair.ops.custom import Opaque

OWN_NAMESPACES = ("aten", "prims", "_operator", "math", "torch", "higher_order", "quantized_decomposed", "quantized")
"""Operators of PyTorch itself: one without a handler is refused. All others belong to somebody, and are kept."""
SCALAR_NAMESPACES = ("_operator.", "math.", "torch.sym_")
"""Python functions on numbers; many only serve assertions about sizes."""

CHECK = "._assert"
"""In the name of operators that check something when the model runs."""
MAX_NAMED = 20
"""Operators that one message names."""


@functools.cache
def handlers() -> Mapping[str, Handler]:
    """Every handler, by `namespace.name.overload` or, for all overloads, `namespace.name`."""
    return joined(FAMILIES)


def handler_of(target: str) -> Handler | None:
    """The handler of an operator."""
    table = handlers()
    return table.get(target) or table.get(target.rpartition(".")[0])


def unmapped(program: Program) -> dict[str, list[Call]]:
    """The calls of PyTorch's own operators that have no handler, by target."""
    found: dict[str, list[Call]] = {}
    for call in _all_calls(program.graph):
        if handler_of(call.target) is None and call.target.partition(".")[0] in OWN_NAMESPACES:
            found.setdefault(call.target, []).append(call)
    return found


@attrs.define(eq=False)
class Scope:
    """Names of one graph.

    Attributes:
        graph: where its nodes go.
        values: what the names stand for.
        outer: the enclosing graph's scope, in a region.
    """

    graph: Graph
    values: dict[str, Value] = attrs.Factory(dict[str, Value])
    outer: Scope | None = None

    def get(self, name: str) -> Value:
        """What a name stands for.

        Raises:
            InternalError: nothing defines it: the program's reader has lost it.
        """
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        raise InternalError(f"the exported program uses {name!r}, which nothing defines")


class Importer:
    """Imports one program, which changes nothing in place (see `uair.frontends.torch.mutation`).

    Attributes:
        builder: of all its graphs.
        program: what is imported.
        graph: the main graph.
        scalars: by a size that a value decides (`aten.item`), the scalar that holds it.
        extents: by a size that the data decide, a tensor that has it, and the axis.
        parts: of complex tensors, the real and the imaginary part that they are put together from.
        joints: the nodes that put them together.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.builder = Builder()
        self.graph = Graph("main")
        self.scalars: dict[str, Tensor] = {}
        self.extents: dict[str, tuple[Tensor, int]] = {}
        self._given = frozenset(symbols_of(d for _, t in program.graph.inputs if t is not None for d in t.dims))
        self.parts: dict[Tensor, tuple[Tensor, Tensor]] = {}
        self.joints: list[Node] = []
        self._decided: dict[str, Dim] = {}

    def run(self, name: str = "model") -> Module:
        """The module of the program's graph.

        Args:
            name: of the module.

        Raises:
            UnmappedOperatorError: it uses operators that have no handler; all of them are named.
            UairError: a call cannot be expressed; the error names it with the user's module and line.
        """
        check_coverage(self.program)
        scope = Scope(self.graph)
        self._inputs(scope)
        self._calls(scope, self.program.graph)
        self._outputs(scope)
        self._drop_joints()
        if self._decided:
            refine_types(self.graph, self._decided)
        module = Module(name, {"main": self.graph})
        number_unknowns(module)
        module.origin = Origin("pytorch", producer=self.program.producer, versions=self.program.versions)
        return module

    # ------------------------------------------------------------------ used by nodes
    def inlined(self, source: TorchNode, program: ProgramGraph, inputs: Sequence[Value]) -> list[Tensor]:
        """Import the calls of a graph that control flow runs, into the graph that its call emits into.

        Args:
            source: the call that runs it.
            program: the graph.
            inputs: what its inputs are. A number gives its value to the size that the graph calls it, as long as the
                graph is imported: a loop's condition is imported for the first run and for the others.

        Returns:
            Its outputs.

        Raises:
            SourceOperatorError: they are too few or too many.
        """
        if len(inputs) != len(program.inputs):
            source.refuse(f"a graph of {len(program.inputs)} inputs is given {len(inputs)}")
        scope = Scope(source.scope.graph, outer=source.scope)
        around = dict(self.scalars), dict(self.extents)
        for (name, _), given in zip(program.inputs, inputs, strict=True):
            scope.values[name] = given
            symbol = program.symbols.get(name)
            if symbol and (isinstance(given, Tensor) or plain_symbol(cast(Dim, given)) != symbol):
                self.scalars[symbol] = self.tensor(scope, given)
        self._calls(scope, program)
        outputs = [self.tensor(scope, self._resolved(scope, argument)) for argument in program.outputs]
        self.scalars, self.extents = around
        return outputs

    @property
    def has_decided(self) -> bool:
        """Whether there are sizes that values decide."""
        return bool(self.scalars or self.extents)

    def is_decided(self, symbol: str) -> bool:
        """Whether a size is decided by values, and not by the shapes of the program's inputs."""
        return symbol in self.scalars or symbol in self.extents

    def tensor(self, scope: Scope, value: Value) -> Tensor:
        """A value as a tensor: a number becomes a constant, a symbolic size is computed.

        Raises:
            SourceOperatorError: it is neither.
        """
        if isinstance(value, Tensor):
            return value
        if isinstance(value, (bool, int, float, complex)):
            return constant(np.asarray(value, _python_type(value)))
        if value is None or isinstance(value, (str, DType, ProgramGraph, tuple)):
            raise SourceOperatorError(f"a tensor is needed, {value!r} is none")
        return as_tensor(self._on_behalf(scope), value)

    def _on_behalf(self, scope: Scope) -> TorchNode:
        """A call for nodes that no call of the program asks for: sizes that are given out."""
        return TorchNode(self, scope, Call("aten.sym_size.int", {}, (), ()), {}, loc=Location(), place="sizes")

    # ------------------------------------------------------------------ graph
    def _inputs(self, scope: Scope) -> None:
        program = self.program
        for name, declared in program.graph.inputs:
            if name in program.constants:
                own, data = program.constants[name]
                scope.values[name] = constant(data, own)
            elif declared is not None:
                given = self.graph.add_input(program.input_names.get(name, name), declared)
                scope.values[name] = given
                if name in program.graph.symbols:
                    self.scalars[program.graph.symbols[name]] = given

    def _outputs(self, scope: Scope) -> None:
        program = self.program
        names = iter(program.output_names)
        for i, argument in enumerate(program.graph.outputs):
            if i in program.mutations:
                continue
            name = next(names)
            value = self._resolved(scope, argument)
            if value is not None:
                self.graph.add_output(name, self.tensor(scope, value))

    def _calls(self, scope: Scope, program: ProgramGraph) -> None:
        for call in _walked(program):
            place = describe(call)
            with placed(place, call.target, parts="arguments"):
                self._call(scope, call, place)

    def _call(self, scope: Scope, call: Call, place: str) -> None:
        values = {name: self._resolved(scope, argument) for name, argument in call.arguments.items()}
        name = next(filter(None, call.results), call.target)
        loc = Location.of(call.module_path or name, call.target, call.file)
        node = TorchNode(self, scope, call, values, loc=loc, place=place)
        handler = handler_of(call.target)
        results: Result = _kept(node) if handler is None else handler_for(node, handler)(node)
        found: Sequence[Tensor | None] = (results,) if isinstance(results, Tensor) else tuple(results)
        self.scalars.update((s, t) for s, t in zip(call.symbols, found, strict=False) if s and t is not None)
        for i, result in enumerate(call.results):
            if not result:
                continue
            tensor = found[i] if i < len(found) else None
            if tensor is None:
                raise InternalError(f"the handler of {call.target} gives no result {i}", place=place)
            self._check(tensor, call.types[i] if i < len(call.types) else None, call.target, place)
            if not tensor.name and tensor.producer is not None:
                tensor.name = result
            scope.values[result] = tensor

    def _drop_joints(self) -> None:
        """Remove what puts complex tensors together that nobody uses."""
        for node in reversed(self.joints):
            if node.graph is not None and not any(t.use_count or t.is_output for t in node.outputs):
                node.graph.remove(node)

    def _resolved(self, scope: Scope, argument: Argument) -> Value:
        if isinstance(argument, Ref):
            return scope.get(argument.name)
        if isinstance(argument, tuple):
            return tuple(self._resolved(scope, a) for a in argument)
        return cast(Value, argument)

    def _check(self, tensor: Tensor, recorded: TensorType | None, target: str, place: str) -> None:
        """Hold a result against the type that PyTorch recorded; extents that only the data decide get its names.

        Raises:
            InternalError: element type, rank or a number differ: the handler is wrong.
        """
        if recorded is None or tensor.type.containers:
            return
        if tensor.type.shape is None:
            if tensor.type.dtype is recorded.dtype:
                tensor.type = recorded
                return
            raise _contradiction(tensor.type, recorded, target, place)
        if tensor.type.dtype is not recorded.dtype or len(tensor.type.dims) != len(recorded.dims):
            raise _contradiction(tensor.type, recorded, target, place)
        for axis, (own, said) in enumerate(zip(tensor.type.dims, recorded.dims, strict=True)):
            name, wanted = plain_symbol(own), plain_symbol(said)
            if wanted is not None and wanted not in self._given:
                self.extents[wanted] = tensor, axis
            if name is not None and COUNTED_NAME.fullmatch(name):
                if name not in symbols_of((said,)):
                    self._decided.setdefault(name, said)
            elif isinstance(own, int) and isinstance(said, int) and own != said:
                raise _contradiction(tensor.type, recorded, target, place)


def check_coverage(program: Program) -> None:
    """Refuse a program with operators that have no handler, naming all of them.

    Raises:
        UnmappedOperatorError: there are such.
    """
    missing = unmapped(program)
    if not missing:
        return
    named = [f"{target} ({_where(calls)})" for target, calls in sorted(missing.items())]
    more = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
    raise UnmappedOperatorError(
        f"{len(named)} operators have no counterpart: {', '.join(named[:MAX_NAMED])}{more}",
        place=describe(next(iter(missing.values()))[0]),
        hint="write the computation with other operators of torch, or as a custom operator (torch.library.custom_op) "
        "that is kept as it is",
    )


def describe(call: Call) -> str:
    """A call in words, for messages."""
    module = f"module {call.module_path!r}" if call.module_path else "the model's own forward"
    kind = f" ({call.module_type})" if call.module_type else ""
    file = f", {call.file}" if call.file else ""
    return f"{call.target} in {module}{kind}{file}"


def _where(calls: Sequence[Call]) -> str:
    first = calls[0]
    at = " ".join(filter(None, (repr(first.module_path) if first.module_path else "", first.file)))
    count = f"{len(calls)} times" if len(calls) > 1 else "once"
    return f"{count}, {'first ' if len(calls) > 1 else ''}in {at or 'the model'}"


def _walked(graph: ProgramGraph) -> Iterator[Call]:
    """The calls that count: no checks, and Python's arithmetic only where something else uses the number."""
    needed = _needed(graph)
    for call in graph.calls:
        if CHECK in call.target:
            continue
        if not call.target.startswith(SCALAR_NAMESPACES) or needed.intersection(call.results):
            yield call


def _all_calls(graph: ProgramGraph) -> Iterator[Call]:
    for call in _walked(graph):
        yield call
        for argument in call.arguments.values():
            for part in _flat(argument):
                if isinstance(part, ProgramGraph):
                    yield from _all_calls(part)


def _flat(argument: Argument) -> Iterable[Argument]:
    if isinstance(argument, tuple):
        for part in argument:
            yield from _flat(part)
    else:
        yield argument


def _needed(graph: ProgramGraph) -> set[str]:
    """Names that something other than a check of sizes uses."""
    needed: set[str] = {part.name for a in graph.outputs for part in _flat(a) if isinstance(part, Ref)}
    for call in reversed(graph.calls):
        if CHECK in call.target:
            continue
        if call.target.startswith(SCALAR_NAMESPACES) and not needed.intersection(call.results):
            continue
        needed.update(part.name for a in call.arguments.values() for part in _flat(a) if isinstance(part, Ref))
    return needed


def _python_type(value: complex) -> Any:
    """The element type that PyTorch gives a Python number."""
    if isinstance(value, bool):
        return np.bool_
    return np.int64 if isinstance(value, int) else np.float32 if isinstance(value, float) else np.complex64


def _contradiction(own: TensorType, recorded: TensorType, target: str, place: str) -> InternalError:
    return InternalError(f"{target}: PyTorch recorded {recorded}, its canonical form gives {own}", place=place)


# ---------------------------------------------------------------------- custom operators
def _kept(node: TorchNode) -> Sequence[Tensor | None]:
    """An operator of somebody's own as an opaque node.

    Raises:
        UnmappedOperatorError: what it gives is not known, or is no tensor.
    """
    call = node.call
    types = [t for t in call.types if t is not None]
    if not types or len(types) < len(call.types):
        raise UnmappedOperatorError(
            f"custom operator {call.target} gives what is no tensor",
            place=node.place,
            hint="give it a fake implementation (torch.library.register_fake) that returns tensors",
        )
    operands: list[Tensor] = []
    written = {name: _written(value, operands) for name, value in node.values.items()}
    text = json.dumps({"target": call.target, "arguments": written}, sort_keys=True)
    payload = base64.b64encode(text.encode()).decode("ascii")
    domain, _, kind = call.target.partition(".")
    op = Opaque(domain=domain, kind=kind, payload=payload, result_types=tuple(types))
    return node.all(op, *operands)


def _written(value: Value, operands: list[Tensor]) -> Any:
    """An argument in JSON; tensors are numbered and put among the operands."""
    if isinstance(value, Tensor):
        operands.append(value)
        return {"operand": len(operands) - 1}
    if isinstance(value, tuple):
        return [_written(v, operands) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, ProgramGraph):
        return {"graph": len(value.calls)}
    return {type(value).__name__.lower(): str(value)}
