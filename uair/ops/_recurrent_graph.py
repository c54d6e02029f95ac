"""The recurrent layers in simpler operators: the cell step by step, or as the body of a Scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ops._compute import scalar
from uair.ops._recurrent import Activation, Weights
from uair.ops.activation import Elu, HardSigmoid, LeakyRelu, Relu, Sigmoid, Softplus, Softsign, Tanh
from uair.ops.comparison import Greater, GreaterEqual, Less
from uair.ops.control import Scan
from uair.ops.conversion import Cast
from uair.ops.elementwise import Add, Clip, Mul, Sub, Where
from uair.ops.indexing import ReverseSequence
from uair.ops.linear import MatMul
from uair.ops.shape import Concat, Expand, Flip, Reshape, Split, Squeeze, Transpose, Unsqueeze

if TYPE_CHECKING:
    from uair.ops.base import Operator
    from uair.ops.recurrent import Recurrent

UNROLLED = 16
"""Steps up to which a layer is decomposed step by step; more of them, or an open number, make a Scan."""

Apply = Callable[..., tuple[Tensor, ...]]
"""Applies an operator to tensors; gives the results."""

Step = Callable[..., tuple[Tensor, Sequence[Tensor]]]
"""The output and the state after a step, from (math, direction, the step's part, state, active or None)."""


def detached(op: Operator, *operands: Tensor | None) -> tuple[Tensor, ...]:
    """Results of a node that is in no graph yet."""
    return Node(op, operands).outputs


class TensorMath:
    """Cells on tensors.

    Attributes:
        apply: adds the nodes.
    """

    def __init__(self, apply: Apply = detached) -> None:
        self.apply = apply

    def __call__(self, op: Operator, *operands: Tensor | None) -> Tensor:
        """The result of an operator that has one."""
        (result,) = self.apply(op, *operands)
        return result

    def inside(self, graph: Graph) -> TensorMath:
        """The same arithmetic with its nodes in a graph."""
        return type(self)(lambda op, *operands: graph.append(Node(op, operands)).outputs)

    # --------------------------------------------------------------- parameters
    def split(self, a: Tensor, n: int) -> Sequence[Tensor]:
        """Equal parts of the last axis."""
        return self._parts(a, n, a.type.rank - 1)

    def rows(self, a: Tensor, n: int) -> Sequence[Tensor]:
        """Equal parts of the first axis."""
        return self._parts(a, n, 0)

    def _parts(self, a: Tensor, n: int, axis: int) -> Sequence[Tensor]:
        extent = a.type.dims[axis]
        if n == 1:
            return (a,)
        assert isinstance(extent, int)
        return self.apply(Split(axis=axis, sizes=(extent // n,) * n), a)

    def join(self, *parts: Tensor) -> Tensor:
        """Parts behind each other along the first axis."""
        return self(Concat(axis=0), *parts)

    def transpose(self, a: Tensor) -> Tensor:
        """A matrix with its axes exchanged."""
        return self(Transpose(perm=(1, 0)), a)

    # --------------------------------------------------------------- arithmetic
    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """The sum."""
        return self(Add(), a, b)

    def mul(self, a: Tensor, b: Tensor) -> Tensor:
        """The elementwise product."""
        return self(Mul(), a, b)

    def complement(self, a: Tensor) -> Tensor:
        """1 - a."""
        return self(Sub(), scalar(1, a), a)

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        """The matrix product."""
        return self(MatMul(), a, w)

    def activate(self, function: Activation, x: Tensor) -> Tensor:
        """The function of a gate."""
        if function.clip is not None:
            x = self(Clip(min=-function.clip, max=function.clip), x)
        alpha, beta = function.alpha, function.beta
        if function.name == "Affine":
            return self.add(self.mul(x, scalar(alpha, x)), scalar(beta, x))
        if function.name == "ScaledTanh":
            return self.mul(self(Tanh(), self.mul(x, scalar(beta, x))), scalar(alpha, x))
        if function.name == "ThresholdedRelu":
            return self(Where(), self(GreaterEqual(), x, scalar(alpha, x)), x, scalar(0, x))
        plain: dict[str, Operator] = {
            "Relu": Relu(),
            "Tanh": Tanh(),
            "Sigmoid": Sigmoid(),
            "LeakyRelu": LeakyRelu(alpha=alpha),
            "HardSigmoid": HardSigmoid(alpha=alpha, beta=beta),
            "Elu": Elu(alpha=alpha),
            "Softsign": Softsign(),
            "Softplus": Softplus(),
        }
        return self(plain[function.name], x)

    def cast(self, a: Tensor, dtype: DType) -> Tensor:
        """The tensor in an element type."""
        return a if a.type.dtype is dtype else self(Cast(to=dtype), a)

    def choose(self, active: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """A where active, else b."""
        return self(Where(), active, a, b)


@attrs.frozen
class Direction:
    """One direction of a layer.

    Attributes:
        op: the layer.
        index: 0 or 1.
        weights: what its cell takes.
        part: the input's part of the gates, [steps, batch, gates * hidden].
        states: the first state, tensors [batch, hidden].
        lengths: of the sequences, i64 [batch].
        step: the output and the state after a step.
    """

    op: Recurrent
    index: int
    weights: Weights
    part: Tensor
    states: Sequence[Tensor]
    lengths: Tensor | None
    step: Step

    @property
    def backward(self) -> bool:
        """Whether the sequences are taken from their end."""
        return self.op.direction == "reverse" or self.index == 1


def run(math: TensorMath, d: Direction) -> tuple[Tensor, Sequence[Tensor]]:
    """The outputs of all steps, [steps, batch, hidden], and the last state."""
    steps = d.part.type.dims[0]
    part = _reversed(math, d.part, d) if d.backward else d.part
    active = None if d.lengths is None else _active(math, part, d.lengths)
    if isinstance(steps, int) and 0 < steps <= UNROLLED:
        outputs, states = _unrolled(math, d, part, active, steps)
    else:
        outputs, states = _scanned(math, d, part, active)
    if d.lengths is not None:
        some = math(Unsqueeze(axes=(1,)), math(Greater(), d.lengths, constant(np.int64(0))))
        states = [math.choose(some, s, scalar(0, s)) for s in states]
    return _reversed(math, outputs, d) if d.backward else outputs, states


def _reversed(math: TensorMath, x: Tensor, d: Direction) -> Tensor:
    """Every sequence from its end to its start."""
    if d.lengths is None:
        return math(Flip(axes=(0,)), x)
    return math(ReverseSequence(batch_axis=1, time_axis=0), x, d.lengths)


def _active(math: TensorMath, part: Tensor, lengths: Tensor) -> Tensor:
    """For every step and sequence whether it is not over, bool [steps, batch, 1]."""
    from uair.ops._attention import positions

    steps, batch = part.type.dims[:2]
    places = math(Reshape(shape=(steps, 1, 1)), positions(part, 0, math))
    return math(Less(), places, math(Reshape(shape=(1, batch, 1)), lengths))


def plain_step(
    math: TensorMath, d: Direction, part: Tensor, states: Sequence[Tensor], active: Tensor | None
) -> tuple[Tensor, Sequence[Tensor]]:
    """The output and the state after a step."""
    following = d.op.cell(math, d.index, part, states, d.weights)
    if active is None:
        return following[0], following
    output = math.choose(active, following[0], scalar(0, following[0]))
    return output, [math.choose(active, new, old) for new, old in zip(following, states, strict=True)]


def _unrolled(
    math: TensorMath, d: Direction, part: Tensor, active: Tensor | None, steps: int
) -> tuple[Tensor, Sequence[Tensor]]:
    parts = [math(Squeeze(axes=(0,)), p) for p in math.rows(part, steps)]
    masks = [None] * steps if active is None else [math(Squeeze(axes=(0,)), a) for a in math.rows(active, steps)]
    outputs: list[Tensor] = []
    states = d.states
    for now, mask in zip(parts, masks, strict=True):
        output, states = d.step(math, d, now, states, mask)
        outputs.append(math(Unsqueeze(axes=(0,)), output))
    return math.join(*outputs), states


def _scanned(math: TensorMath, d: Direction, part: Tensor, active: Tensor | None) -> tuple[Tensor, Sequence[Tensor]]:
    scanned = [part] if active is None else [part, active]
    body = Graph("step")
    states = [body.add_input(f"state{i}", s.type) for i, s in enumerate(d.states)]
    slices = [body.add_input(f"slice{i}", s.type.with_shape(s.type.dims[1:])) for i, s in enumerate(scanned)]
    output, following = d.step(math.inside(body), d, slices[0], states, slices[1] if active is not None else None)
    for i, tensor in enumerate((*following, output)):
        body.add_output(f"next{i}" if i < len(states) else "output", tensor)
    results = math.apply(Scan(body=body, scanned=len(scanned)), *d.states, *scanned)
    return results[-1], results[:-1]


def decompose_layer(op: Recurrent, operands: Sequence[Tensor | None], states: Sequence[Tensor | None],
                    peepholes: Tensor | None) -> tuple[Tensor, ...] | None:  # fmt: skip
    """The layer in simpler operators. operands: x, w, r, bias, lengths; element types narrower than f32 are widened."""
    x, w, r, bias, lengths = operands
    assert x is not None and w is not None and r is not None
    if any(t is not None and t.type.shape is None for t in (*operands, *states, peepholes)):
        return None  # the parts of what has no known axes cannot be taken
    if not all(isinstance(extent, int) for extent in (*w.type.dims, *r.type.dims)):
        return None
    math = TensorMath()
    dtype = x.type.dtype
    wide = dtype if dtype.bits >= 32 else DType.F32

    def widened(t: Tensor | None) -> Any:
        return None if t is None else math.cast(t, wide)

    x, w, r, bias, peepholes = (widened(t) for t in (x, w, r, bias, peepholes))
    if lengths is not None:
        lengths = math.cast(lengths, DType.I64)
    ws, rs, biases, peeps, *first = (
        per_direction(math, t, op.directions) for t in (w, r, bias, peepholes, *(widened(s) for s in states))
    )
    shape = (x.type.dims[1], r.type.dims[2])
    outputs: list[Tensor] = []
    lasts: list[Sequence[Tensor]] = []
    for d in range(op.directions):
        added, weights = op.weights_of(math, rs[d], biases[d], peeps[d])
        part = math.product(x, math.transpose(ws[d]))
        part = part if added is None else math.add(part, added)
        begin = [math(Expand(shape=shape), scalar(0, x)) if s[d] is None else s[d] for s in first]
        output, last = run(math, Direction(op, d, weights, part, begin, lengths, plain_step))
        outputs.append(output)
        lasts.append(last)
    return tuple(math.cast(t, dtype) for t in stacked(math, outputs, lasts))


def per_direction(math: TensorMath, t: Tensor | None, directions: int) -> Sequence[Any]:
    """The parts of a parameter or a state that belong to each direction."""
    if t is None:
        return [None] * directions
    return [math(Squeeze(axes=(0,)), part) for part in math.rows(t, directions)]


def stacked(math: TensorMath, outputs: Sequence[Tensor], lasts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The results of a layer from those of its directions."""
    y = [math(Unsqueeze(axes=(1,)), output) for output in outputs]
    results = [y[0] if len(y) == 1 else math(Concat(axis=1), *y)]
    for states in zip(*lasts, strict=True):
        parts = [math(Unsqueeze(axes=(0,)), s) for s in states]
        results.append(parts[0] if len(parts) == 1 else math.join(*parts))
    return results
