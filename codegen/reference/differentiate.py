"""Reverse-mode differentiation: a module is run forwards, then each node's vector-Jacobian products backwards.

What a node's operands get of the gradient of its results stands in `uair.ops.gradients`, found by the operator. Of the
values of the forward run those are kept that a product reads, until it is done; constants are had again. An operator
without products of its own is differentiated as it decomposes.

    differentiator = Differentiator(module, module.main.inputs)
    found = differentiator.run({"x": image}, lambda outputs: {"logits": one_hot})
    found.gradients[module.main.input("x")]
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.codegen.reference.errors import NoGradientError, SeedError
from uair.codegen.reference.feeds import is_stored
from uair.codegen.reference.interpreter import Execution, Interpreter, Observer, place_of
from uair.ir.dims import static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops.base import Operator
from uair.ops.control import Isolated
from uair.ops.gradients import Part, Parts, parts_of
from uair.ops.gradients.base import blank, gradient_type, param_name
from uair.ops.quantization import Quantize
from uair.rewrite.driver import insert_detached

Seeds: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Array]]
Use: TypeAlias = "tuple[Node, int]"
UseObserver: TypeAlias = Callable[[Node, int, Array, Array], None]


@attrs.frozen(eq=False)
class Derivatives:
    """What a run found.

    Attributes:
        outputs: of the module, by name.
        gradients: of the tensors asked for, each of its tensor's shape; in f32 where the tensor is narrower. A tensor
            that no output depends on is not in there.
    """

    outputs: dict[str, Any]
    gradients: dict[Tensor, Array]


@attrs.frozen(eq=False)
class _Plan:
    """What is done for a node on the way back.

    Attributes:
        node: the node.
        operands: those that get a gradient.
        parts: how, by operand; empty for a node that is differentiated as it decomposes.
        watched: operands whose gradient is shown with their value.
    """

    node: Node
    operands: tuple[int, ...]
    parts: Mapping[int, Part]
    watched: frozenset[int]

    def needs_operand(self, op: Operator, i: int) -> bool:
        """Whether the elements of operand `i` are read on the way back."""
        if i in self.watched or not self.parts:
            return True
        return any(part.reads_operand(op, i) for part in self.parts.values())

    def needs_result(self, op: Operator, i: int) -> bool:
        """Whether the elements of result `i` are read on the way back."""
        return any(part.reads_result(op, i) for part in self.parts.values())


@attrs.frozen(eq=False)
class _Record:
    """A node that has run.

    Attributes:
        plan: of the node.
        op: its operator without open sizes.
        operands: values; without memory where nobody reads them, None for those left out and for constants that are
            had again.
        results: likewise.
    """

    plan: _Plan
    op: Operator
    operands: tuple[Array | None, ...]
    results: tuple[Array, ...]


class Differentiator:
    """Runs a module's main graph forwards and backwards; prepared once, run many times.

    Args:
        module: the graph must not change meanwhile.
        wrt: tensors of the main graph whose gradients are wanted: inputs, constants, results of nodes.
        uses: operands of nodes; what comes back through just these is shown, see `run`.

    Raises:
        NoGradientError: there is no gradient through a node on the way; it is named.
    """

    def __init__(self, module: Module, wrt: Iterable[Tensor] = (), *, uses: Iterable[Use] = ()) -> None:
        self.graph = module.main
        self.wrt = tuple(dict.fromkeys(wrt))
        for tensor in self.wrt:
            if not _is_differentiable(tensor):
                raise NoGradientError(
                    f"{tensor!r} has no gradient: its elements are not floating-point",
                    hint="ask for the gradients of floating-point tensors",
                )
        self._interpreter = Interpreter(module)
        self._plans = _plans(self.graph, frozenset(self.wrt), frozenset(uses))
        self._decomposed: dict[tuple[Node, tuple[Any, ...]], Differentiator] = {}

    def run(
        self,
        feeds: Mapping[str, Any],
        seeds: Seeds,
        *,
        observe: Observer | None = None,
        observe_use: UseObserver | None = None,
    ) -> Derivatives:
        """Outputs and gradients of one run.

        Args:
            feeds: as for `Interpreter.run`.
            seeds: called with the outputs; gives by name the gradients of what is differentiated with respect to them,
                each of its output's shape. Outputs that are left out count as 0.
            observe: as for `Interpreter.run`.
            observe_use: called on the way back, for each of the uses asked for, with its node, the number of the
                operand, the operand's value and what of its gradient comes through this node.

        Raises:
            SeedError: a seed does not fit its output.
            NoGradientError: an operator turns out not to decompose.
            UairError: from the interpreter.
        """
        execution = self._interpreter.start(feeds, observe=observe)
        records: list[_Record] = []
        while execution.node is not None:
            plan = self._plans.get(execution.node)
            if plan is None:
                execution.advance()
            else:
                records.append(_forwards(execution, plan))
        outputs = execution.outputs()
        gradients = self._seeded(outputs, seeds(outputs))
        found: dict[Tensor, Array] = {}
        while records:
            record = records.pop()
            arrived = [self._arrived(tensor, gradients, found) for tensor in record.plan.node.outputs]
            if any(g is not None for g in arrived):
                self._backwards(record, arrived, gradients, observe_use)
        for tensor in self.wrt:
            if tensor in gradients:
                found[tensor] = gradients[tensor]
        return Derivatives(outputs, found)

    def _arrived(self, tensor: Tensor, gradients: dict[Tensor, Array], found: dict[Tensor, Array]) -> Array | None:
        """The gradient of a result, complete when its node is reached; kept if it was asked for."""
        g = gradients.pop(tensor, None)
        if g is not None and tensor in self.wrt:
            found[tensor] = g
        return g

    def _seeded(self, outputs: Mapping[str, Any], seeds: Mapping[str, Array]) -> dict[Tensor, Array]:
        tensors = dict(zip(self.graph.output_names, self.graph.outputs, strict=True))
        gradients: dict[Tensor, Array] = {}
        for name, seed in seeds.items():
            if name not in tensors:
                raise SeedError(f"the model has no output {name!r}", hint=f"its outputs are {', '.join(tensors)}")
            if np.shape(seed) != np.shape(outputs[name]):
                raise SeedError(
                    f"output {name!r} has shape {list(np.shape(outputs[name]))}, its gradient {list(np.shape(seed))}",
                    hint="give one number for each element of the output",
                )
            if _is_differentiable(tensors[name]):
                _add(gradients, tensors[name], np.asarray(seed).astype(gradient_type(outputs[name])))
        return gradients

    def _backwards(
        self,
        record: _Record,
        arrived: Sequence[Array | None],
        gradients: dict[Tensor, Array],
        observe_use: UseObserver | None,
    ) -> None:
        """Hand the gradients of a node's results on to its operands."""
        plan, node = record.plan, record.plan.node
        operands = [_again(t, value, plan, record.op, i) for i, (t, value) in _pairs(node, record.operands)]
        given = [
            np.zeros(y.shape, _type_of(y)) if g is None else g for g, y in zip(arrived, record.results, strict=True)
        ]
        if plan.parts:
            made = {i: p.apply(record.op, given, operands, record.results, i) for i, p in plan.parts.items()}
        else:
            made = self._as_decomposed(record, operands, given)
        for i, g in made.items():
            tensor, value = node.inputs[i], operands[i]
            assert tensor is not None and value is not None
            if i in plan.watched and observe_use is not None:
                observe_use(node, i, value, g)
            if i in plan.operands:
                _add(gradients, tensor, g)

    def _as_decomposed(
        self, record: _Record, operands: Sequence[Array | None], given: Sequence[Array]
    ) -> dict[int, Array]:
        plan, node = record.plan, record.plan.node
        wanted = [i for i in range(len(operands)) if i in plan.operands or i in plan.watched]
        key = node, (record.op, *(None if a is None else a.shape for a in operands))
        feeds = {f"x{i}": a for i, a in enumerate(operands) if a is not None and not _stays(node, i, wanted)}
        seeds = {f"y{i}": g for i, g in enumerate(given)}
        if key not in self._decomposed:
            module = _decomposed(record.op, node, operands, wanted)
            with _within(node):
                self._decomposed[key] = Differentiator(module, [module.main.input(f"x{i}") for i in wanted])
        inner = self._decomposed[key]
        with _within(node):
            found = inner.run(feeds, lambda _: seeds).gradients
        tensors = {i: inner.graph.input(f"x{i}") for i in wanted}
        return {i: found[t] for i, t in tensors.items() if t in found}


# ---------------------------------------------------------------------------------------------------------------- plans
def _plans(graph: Graph, wrt: Collection[Tensor], uses: Collection[Use]) -> dict[Node, _Plan]:
    """The nodes that gradients go back through: those between what is asked for and the outputs."""
    needed = set(graph.outputs)
    reaching: set[Node] = set()
    for node in reversed(graph):
        if any(t in needed for t in node.outputs):
            reaching.add(node)
            needed.update(t for t in node.inputs if t is not None)
            needed.update(t for region in node.regions for t in region.captures())
    active = set(wrt)
    plans: dict[Node, _Plan] = {}
    for node in graph:
        plan = _plan(node, active, uses) if node in reaching else None
        if plan is not None:
            plans[node] = plan
            active.update(t for t in node.outputs if _is_differentiable(t) or _stands_for_floats(node, t, active))
    return plans


def _plan(node: Node, active: Collection[Tensor], uses: Collection[Use]) -> _Plan | None:
    """What is done for a node; None when no gradient goes through it."""
    if not any(_is_differentiable(t) or _stands_for_floats(node, t, active) for t in node.outputs):
        return None  # integers end the way, but for those that stand for floating-point numbers
    candidates = [i for i, t in enumerate(node.inputs) if t is not None and (t in active or (node, i) in uses)]
    captured = any(t in active for region in node.regions for t in region.captures())
    if not candidates and not captured:
        return None
    parts = parts_of(node.op)
    whole = parts is not None or (_decomposes(node.op) and all(map(_is_differentiable, _given(node, candidates))))
    runs_graphs = bool(node.regions) and not isinstance(node.op, Isolated)
    if captured or runs_graphs or not whole or not _is_plain(node):
        raise _no_gradient(node)
    candidates = [i for i in candidates if _has_derivative(node, parts, i, active)]
    if not candidates:
        return None
    return _Plan(
        node,
        tuple(i for i in candidates if node.inputs[i] in active),
        {} if parts is None else {i: parts[param_name(node.op, i)] for i in candidates},
        frozenset(i for i in candidates if (node, i) in uses),
    )


def _given(node: Node, places: Iterable[int]) -> Iterable[Tensor]:
    return (t for i in places if (t := node.inputs[i]) is not None)


def _stands_for_floats(node: Node, tensor: Tensor, active: Collection[Tensor]) -> bool:
    """Whether a result's integers stand for floating-point numbers: quantized ones, and what is made of such."""
    if not tensor.type.is_tensor or not tensor.type.dtype.is_integer:
        return False
    given = (t for t in node.inputs if t is not None and t in active)
    return isinstance(node.op, Quantize) or any(not _is_differentiable(t) for t in given)


def _has_derivative(node: Node, parts: Parts | None, i: int, active: Collection[Tensor]) -> bool:
    tensor = node.inputs[i]
    assert tensor is not None
    return (_is_differentiable(tensor) or tensor in active) and (parts is None or param_name(node.op, i) in parts)


def _decomposes(op: Operator) -> bool:
    return type(op).decompose is not Operator.decompose


def _is_differentiable(tensor: Tensor) -> bool:
    return tensor.type.is_tensor and tensor.type.dtype.is_float


def _is_plain(node: Node) -> bool:
    """Whether all values are arrays of logical shape."""
    tensors = [t for t in (*node.inputs, *node.outputs) if t is not None]
    return all(t.type.is_tensor and not is_stored(t.type.layout) for t in tensors)


def _type_of(array: Array) -> np.dtype[Any]:
    """The type of a result's gradient; that of integers that stand for floating-point numbers is f32."""
    return gradient_type(array) if DType.from_numpy(array.dtype).is_float else np.dtype(np.float32)


def _no_gradient(node: Node, reason: str = "") -> NoGradientError:
    error = NoGradientError(
        f"there is no gradient through {node.op_type}" + (f": {reason}" if reason else ""),
        place=place_of(node),
        hint="ask for gradients behind this node, or differentiate the model before it is quantized and laid out",
    )
    error.node = node
    return error


# -------------------------------------------------------------------------------------------------------------- records
def _pairs(node: Node, values: Sequence[Array | None]) -> Iterable[tuple[int, tuple[Tensor | None, Array | None]]]:
    return enumerate(zip(node.inputs, values, strict=True))


def _forwards(execution: Execution, plan: _Plan) -> _Record:
    """Run a node and keep what will be read."""
    op, node = execution.operator, plan.node
    operands: list[Array | None] = []
    for i, tensor in enumerate(node.inputs):
        if tensor is None or tensor.data is not None:
            operands.append(None)
        else:
            value = execution.value(tensor)
            operands.append(value if plan.needs_operand(op, i) else blank(value))
    results = execution.advance()
    kept = tuple(y if plan.needs_result(op, i) else blank(y) for i, y in enumerate(results))
    return _Record(plan, op, tuple(operands), kept)


def _again(tensor: Tensor | None, value: Array | None, plan: _Plan, op: Operator, i: int) -> Array | None:
    """An operand's value; a constant is read once more where its elements are needed."""
    if tensor is None or tensor.data is None:
        return value
    if plan.needs_operand(op, i):
        return tensor.data.array()
    return np.broadcast_to(np.zeros((), tensor.type.dtype.numpy), static(tensor.type.dims))


def _add(gradients: dict[Tensor, Array], tensor: Tensor, g: Array) -> None:
    gradients[tensor] = gradients[tensor] + g if tensor in gradients else g


# -------------------------------------------------------------------------------------------------------- decomposition
@contextlib.contextmanager
def _within(node: Node) -> Generator[None]:
    """Let errors of what a node decomposes into name the node."""
    try:
        yield
    except NoGradientError as error:
        raise _no_gradient(node, f"it stands for others, and {error.message}") from None


def _stays(node: Node, i: int, wanted: Collection[int]) -> bool:
    """Whether an operand is a constant of the decomposition too."""
    tensor = node.inputs[i]
    return tensor is not None and tensor.data is not None and i not in wanted


def _decomposed(op: Operator, node: Node, operands: Sequence[Array | None], wanted: Collection[int]) -> Module:
    """A module of what an operator stands for: inputs x0, x1, ..., outputs y0, y1, ..."""
    graph = Graph()
    given: list[Tensor | None] = []
    for i, (tensor, value) in _pairs(node, operands):
        if tensor is None or value is None:
            given.append(None)
        elif _stays(node, i, wanted):
            given.append(constant(tensor.data))
        else:
            given.append(graph.add_input(f"x{i}", TensorType(DType.from_numpy(value.dtype), value.shape)))
    made = op.decompose(*given)
    if made is None:
        raise _no_gradient(node, "it does not decompose with these operands")
    results = made if isinstance(made, tuple) else (made,)
    insert_detached(graph, graph.end, results, node.loc)
    for i, result in enumerate(results):
        graph.add_output(f"y{i}", result)
    return Module(graphs={"main": graph})
