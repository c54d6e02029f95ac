"""Variables: values that a model keeps from one run to the next.

A canonical graph keeps nothing. A variable that the model writes becomes an input, the value before the run, and an
output, the value after it; whoever runs the model hands the one on as the other. A variable that only the
initialisation writes is a constant.

Two things in a file are variables: resources (VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, first values in the subgraph
of CALL_ONCE), and tensors marked as such, which begin as zeros (the state of SVDF and of single steps of LSTM and RNN).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import numpy as np

from uair.frontends.tflite.errors import TfliteStateError
from uair.frontends.tflite.model import Model, TensorInfo
from uair.frontends.tflite.node import Handle, TfliteNode
from uair.ir.graph import Graph, Tensor
from uair.ir.module import Module
from uair.ir.types import TensorType

if TYPE_CHECKING:
    from uair.frontends.tflite.importer import Scope

MAX_LISTED = 4096
"""Elements of a first value that the module's metadata list."""

MAX_CALLS = 10_000
"""Ways in which subgraphs run each other with other variables."""


@attrs.define(eq=False)
class State:
    """A variable that becomes an input and an output.

    Attributes:
        before: the input.
        after: the output.
        initial: the first value; None for zeros.
    """

    before: Tensor
    after: Tensor
    initial: Tensor | None = None


class States:
    """The variables of a model.

    Attributes:
        graph: the main graph.
        written: names of the resources that the model writes.
        states: what became inputs and outputs, by name.
        first: first values of resources, by name.
    """

    def __init__(self, graph: Graph | None = None, written: frozenset[str] = frozenset()) -> None:
        self.graph = Graph() if graph is None else graph
        self.written = written
        self.states: dict[str, State] = {}
        self.first: dict[str, Tensor] = {}
        self._tensors: dict[int, str] = {}

    def read(self, node: TfliteNode, handle: Handle, t: TensorType) -> Tensor:
        """The present value of a resource.

        Raises:
            TfliteStateError: it has none, or it is read where control flow decides.
        """
        first = self.first.get(handle.name)
        if handle.name not in self.written:
            if first is None:
                raise TfliteStateError(
                    f"variable {handle.name!r} has no value",
                    place=node.place,
                    hint="convert the model with its variables frozen",
                )
            return first
        self._require_main(node, handle.name)
        if handle.name not in self.states:
            self._add(handle.name, t if first is None else first.type, first)
        return self.states[handle.name].after

    def assign(self, node: TfliteNode, handle: Handle, value: Tensor) -> None:
        """Give a resource a value.

        Raises:
            TfliteStateError: it is written where control flow decides, or its first value is computed.
        """
        if node.scope.initial:
            if value.data is None:
                folded = node.value_of(value)
                if folded is None or folded.dtype == object:
                    raise TfliteStateError(f"the first value of {handle.name!r} is computed", place=node.place)
                value = node.stored(folded.astype(value.type.dtype.numpy), handle.name)
            self.first[handle.name] = value
            return
        self._require_main(node, handle.name)
        if handle.name not in self.states:
            self._add(handle.name, value.type, self.first.get(handle.name))
        self.states[handle.name].after = value

    def tensor(self, number: int, scope: Scope, info: TensorInfo) -> Tensor:
        """The present value of a tensor that is a variable."""
        from uair.frontends.tflite.importer import declared

        name = info.name or f"state_{number}"
        if scope.graph is not self.graph:
            raise TfliteStateError(f"variable {name!r} is used in a graph that control flow runs", place=scope.where)
        if name in self.states:
            name = f"{name}_{number}"
        self._tensors[number] = name
        return self._add(name, declared(info, name, scope.where), None).before

    def update(self, node: TfliteNode, operand: int, value: Tensor) -> None:
        """Give a tensor that is a variable its next value.

        Raises:
            TfliteStateError: the operand is none.
        """
        number = node.number(operand)
        node.raw(operand)
        if number not in self._tensors:
            raise TfliteStateError(f"operand {operand} of {node.op_type} must be a variable", place=node.place)
        self.states[self._tensors[number]].after = value

    def finish(self, module: Module) -> None:
        """Add the outputs, and say in the module's metadata what belongs together and what it begins with."""
        described: list[dict[str, object]] = []
        for name, state in self.states.items():
            output = f"{name}/next"
            self.graph.add_output(output, state.after)
            described.append({"input": name, "output": output, "initial": _listed(state)})
        if described:
            module.metadata["states"] = json.dumps(described)

    def _add(self, name: str, t: TensorType, initial: Tensor | None) -> State:
        taken = set(self.graph.input_names)
        if name in taken:
            raise TfliteStateError(f"variable {name!r} has the name of an input")
        before = self.graph.add_input(name, t)
        self.states[name] = State(before, before, initial)
        return self.states[name]

    def _require_main(self, node: TfliteNode, name: str) -> None:
        if node.graph is not self.graph:
            raise TfliteStateError(
                f"variable {name!r} changes in a graph that control flow runs",
                place=node.place,
                hint="convert the model with the variable as an input and an output of the loop",
            )


def _listed(state: State) -> object:
    """A first value for the metadata: one number where all are equal, else a list."""
    if state.initial is None:
        return 0
    values = state.initial.numpy()
    if values.size and np.all(values == values.reshape(-1)[0]):
        return values.reshape(-1)[0].item()
    if values.size > MAX_LISTED:
        raise TfliteStateError(f"the first value of {state.initial.name!r} has {values.size} different numbers")
    return values.tolist()


def written(model: Model, number: int) -> frozenset[str]:
    """Names of the resources that a subgraph, or one that it runs, writes outside of the initialisation.

    Handles are followed through the operands of control flow.
    """
    found: set[str] = set()
    seen: set[tuple[int, tuple[str, ...]]] = set()
    pending: list[tuple[int, tuple[str, ...]]] = [(number, ())]
    while pending:
        entry = pending.pop()
        if entry in seen:
            continue
        seen.add(entry)
        if len(seen) > MAX_CALLS:
            raise TfliteStateError(f"graphs run each other in more than {MAX_CALLS} ways")
        pending += _calls(model, *entry, found)
    return frozenset(found)


def _calls(model: Model, number: int, given: tuple[str, ...], found: set[str]) -> list[tuple[int, tuple[str, ...]]]:
    """The subgraphs that one runs, with the names of the handles that it gives them; adds what it writes to `found`."""
    from uair.frontends.tflite.importer import called_by

    subgraph = model.subgraphs[number]
    names = dict(zip(subgraph.inputs, given, strict=False))
    calls: list[tuple[int, tuple[str, ...]]] = []
    for op in subgraph.operators:
        if op.kind == "VAR_HANDLE" and op.outputs:
            names[op.outputs[0]] = handle_name(op.options.text("container"), op.options.text("shared_name"))
        elif op.kind == "ASSIGN_VARIABLE" and op.inputs and names.get(op.inputs[0]):
            found.add(names[op.inputs[0]])
        elif op.kind != "CALL_ONCE":
            operands = op.inputs[1:] if op.kind == "IF" else op.inputs
            handles = tuple(names.get(i, "") for i in operands)
            calls += [(n, handles) for n in called_by(op) if 0 <= n < len(model.subgraphs)]
    return calls


def handle_name(container: str, shared: str) -> str:
    """The name of a resource."""
    return f"{container}/{shared}" if container else shared or "variable"
