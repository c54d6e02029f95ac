"""Control flow: decided when the model is read where that is possible, else an operator with graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import attrs
from onnx import GraphProto

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import InferredShape
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.types import Container, TensorType, inferred
from uair.ops import If, Loop, OptionalConstruct, OptionalGetElement, Scan, Unsqueeze
from uair.ops.control import join_shapes

FAMILY = Family()
MAX_ATTEMPTS = 8
"""Imports of a body until the types of its states hold from run to run; a state loses a size or its rank each time."""


@FAMILY.op("If", 1, 11, 13, 16, 19, 21, 23, 24, 25)
def _if(n: OnnxNode) -> Result:
    """A condition that is known selects its branch, which takes the node's place."""
    branches = [_graph(n, name) for name in ("then_branch", "else_branch")]
    for branch in branches:
        if len(branch.output) != len(n.proto.output):
            n.refuse(f"the branch gives {len(branch.output)} results, the node has {len(n.proto.output)}")
        _require_inputs(n, branch, 0)
    known = n.known(0)
    condition = None if known is None or known.size != 1 else known.reshape(-1).tolist()[0]
    if isinstance(condition, bool):
        return n.importer.subgraph(n, branches[0 if condition else 1])
    then, other = (n.importer.region(n, branch) for branch in branches)
    for i, (one, another) in enumerate(zip(then.outputs, other.outputs, strict=True)):
        if (one.type.dtype, one.type.containers) != (another.type.dtype, another.type.containers):
            n.refuse(f"result {i} is {one.type} in then_branch and {another.type} in else_branch")
    return n.all(If(then_branch=then, else_branch=other), n[0])


@FAMILY.op("Loop", 1, 11, 13, 16, 19, 21, 23, 24, 25)
def _loop(n: OnnxNode) -> Result:
    """The states' types are those of the initial values, as far as the body keeps them."""
    body = _graph(n, "body")
    states = [n[i] for i in range(2, len(n.inputs))]
    _require_inputs(n, body, 2 + len(states))
    if len(body.output) < 1 + len(states):
        n.refuse(f"the body gives {len(body.output)} results for {len(states)} states and a condition")
    control = [None if t is None else n.single(t) for t in (n.optional(0), n.optional(1))]
    region = _settled(n, body, _control_types(n, body), states, [], 1)
    for i in (0, 1):
        _take_scalar(region, region.inputs[i])
    held = [i for i, t in enumerate(states) if _wrap_held(region, 1 + i, t.type)]
    results = list(n.all(Loop(body=region), *control, *states))
    for i in held:
        results[i] = n(OptionalGetElement(), results[i])
    return results


def _control_types(n: OnnxNode, body: GraphProto) -> list[TensorType]:
    """Types of the number of the run and of the condition in a body: scalars, or lists of one as it declares.

    A condition of which it declares no shape is as the one that is given.
    """
    declared = [value.type.tensor_type for value in body.input[:2]]
    lists = [t.HasField("shape") and len(t.shape.dim) == 1 for t in declared]
    condition = n.optional(1)
    if condition is not None and not declared[1].HasField("shape"):
        lists[1] = condition.type.shape == (1,)
    return [TensorType(dtype, (1,) if one else ()) for dtype, one in zip((DType.I64, DType.BOOL), lists, strict=True)]


def _take_scalar(region: Graph, given: Tensor) -> None:
    """Let a body that takes a list of one number take the number."""
    if given.type.shape == ():
        return
    given.type = given.type.with_shape(())
    node = Node(Unsqueeze(axes=(0,)), [given])
    region.insert_before(next(iter(region), region.end), node)
    given.replace_all_uses_with(node.output)
    node.set_input(0, given)


def _wrap_held(region: Graph, output: int, state: TensorType) -> bool:
    """Let a body that takes an optional, and gives what one holds, give an optional."""
    given = region.outputs[output]
    if given.type.containers == state.containers:
        return False
    region.set_output(output, region.append(Node(OptionalConstruct(), [given])).output)
    return True


@FAMILY.op("Scan", 9, 11, 16, 19, 21, 23, 24, 25)
def _scan(n: OnnxNode) -> Result:
    """Scan."""
    a = n.attributes
    body, scanned = _graph(n, "body"), a.integer("num_scan_inputs", 0)
    operands = [n[i] for i in range(len(n.inputs))]
    _require_inputs(n, body, len(operands))
    count = len(operands) - scanned
    if scanned < 1 or count < 0 or len(body.output) < count:
        n.refuse(f"{scanned} of {len(operands)} operands are scanned, the body gives {len(body.output)} results")
    axes = a.integers("scan_input_axes", ())
    slices = [_slice(n, x.type, axes[i] if i < len(axes) else 0) for i, x in enumerate(operands[count:])]
    op = Scan(
        body=_settled(n, body, [], operands[:count], slices, 0),
        scanned=scanned,
        input_axes=axes,
        input_reverse=a.integers("scan_input_directions", ()),
        output_axes=a.integers("scan_output_axes", ()),
        output_reverse=a.integers("scan_output_directions", ()),
    )
    return n.all(op, *operands)


@FAMILY.op("Scan", 8)
def _batched_scan(n: OnnxNode) -> Result:
    """Before version 9 all operands have a batch axis in front: a Scan over the batch that runs one over the steps."""
    body, scanned = _graph(n, "body"), n.attributes.integer("num_scan_inputs", 0)
    if n.optional(0) is not None:
        n.unsupported("Scan with sequence lengths is not supported", "export the model with operator set 9 or later")
    operands = [n[i] for i in range(1, len(n.inputs))]
    _require_inputs(n, body, len(operands))
    count = len(operands) - scanned
    items = [_slice(n, x.type, 0) for x in operands]
    batch = Graph(f"{body.name}_batch")
    inner = [batch.add_input(value.name, t) for value, t in zip(body.input, items, strict=True)]
    region = _settled(n, body, [], inner[:count], [_slice(n, t, 0) for t in items[count:]], 0)
    op = Scan(body=region, scanned=scanned, input_reverse=n.attributes.integers("directions", ()))
    node = batch.append(Node(op, inner, name=n.proto.name, loc=n.loc))
    for value, tensor in zip(body.output, node.outputs, strict=True):
        batch.add_output(value.name, tensor)
    # The states are scanned over the batch like everything else: the outer Scan has none of its own.
    return n.all(Scan(body=batch, scanned=len(operands)), *operands)


def _graph(n: OnnxNode, name: str) -> GraphProto:
    n.attributes.required(name)
    return cast(GraphProto, n.attributes.graph(name))


def _require_inputs(n: OnnxNode, body: GraphProto, count: int) -> None:
    if len(body.input) != count:
        n.refuse(f"the subgraph {body.name!r} takes {len(body.input)} inputs, {count} are given")


def _slice(n: OnnxNode, t: TensorType, axis: int) -> TensorType:
    """The type of a slice along an axis."""
    if t.shape is None:
        return t
    at = n.axis(axis, len(t.shape))
    return t.with_shape(t.shape[:at] + t.shape[at + 1 :])


def _settled(
    n: OnnxNode,
    body: GraphProto,
    before: Sequence[TensorType],
    states: Sequence[Tensor],
    after: Sequence[TensorType],
    skipped: int,
) -> Graph:
    """The body as a graph whose inputs have types that hold in every run.

    What the body gives for a state is what it takes in the next run: where the shapes differ, the size is open, or the
    rank. The body is imported again until nothing differs.

    Args:
        n: the node.
        body: its subgraph.
        before: types of the inputs in front of the states.
        states: the initial states.
        after: types of the inputs behind the states.
        skipped: number of outputs in front of the states.
    """
    shapes: list[InferredShape | None] = [t.type.shape for t in states]
    names = [value.name for value in body.input[len(before) :]]
    decided: dict[tuple[int, int], TensorType] = {}
    for _ in range(MAX_ATTEMPTS):
        formals = [
            _formal(n, t.type, shape, i, names[i], decided)
            for i, (t, shape) in enumerate(zip(states, shapes, strict=True))
        ]
        region = n.importer.region(n, body, [*before, *formals, *after])
        results = [t.type for t in region.outputs[skipped : skipped + len(states)]]
        for i, (formal, result) in enumerate(zip(formals, results, strict=True)):
            held = formal.containers[:1] == (Container.OPTIONAL,) and result.containers == formal.containers[1:]
            if formal.dtype is not result.dtype or (formal.containers != result.containers and not held):
                n.refuse(f"state {i} is {formal} at first, the body gives {result}")
        wider = [
            join_shapes(shape, _with_open(formal.shape, shape, result.shape))
            for shape, formal, result in zip(shapes, formals, results, strict=True)
        ]
        if wider == shapes:
            return region
        region.release()
        shapes = wider
    n.refuse("the shapes of its states change from run to run without end")


def _formal(
    n: OnnxNode,
    t: TensorType,
    shape: InferredShape | None,
    i: int,
    name: str,
    decided: dict[tuple[int, int], TensorType],
) -> TensorType:
    """The type of a state in the body; open sizes have names, the same in every attempt."""
    if shape is None or t.containers:
        return attrs.evolve(inferred(t.dtype, shape), containers=t.containers)
    extents = list(shape)
    for axis, d in enumerate(shape):
        if d is None:
            if (i, axis) not in decided:
                one = inferred(t.dtype, (None,))
                decided[(i, axis)] = n.importer.decided(one, f"{n.scope.prefix}{n.proto.name or n.op_type}/{name}")
            extents[axis] = decided[(i, axis)].dims[0]
    return inferred(t.dtype, tuple(extents))


def _with_open(
    formal: InferredShape | None, shape: InferredShape | None, result: InferredShape | None
) -> InferredShape | None:
    """The result's shape, with sizes open where they already are in the state's."""
    if formal is None or shape is None or result is None or len(result) != len(shape):
        return result
    return tuple(None if open_ is None else d for open_, d in zip(shape, result, strict=True))
