"""What the recurrent operators share: activation functions, the cells' arithmetic, and the loop over the time steps.

A cell is written once over `Math`, whose values are arrays when an operator is evaluated and tensors when it is
decomposed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ops._precision import widened
from uair.ops.base import Floats, Strs

V = TypeVar("V")
Function = Callable[[Array, Any, Any], Array]


@attrs.frozen
class Kind:
    """A function that a gate may have, and the defaults of the parameters that it takes (None: it takes none).

    Attributes:
        function: of the values, alpha and beta.
        alpha: default of alpha.
        beta: default of beta.
        needs: whether the parameters must be given.
    """

    function: Function
    alpha: float | None = None
    beta: float | None = None
    needs: bool = False


def _sigmoid(x: Array, alpha: Any, beta: Any) -> Array:
    one = x.dtype.type(1)
    result: Array = one / (one + np.exp(-x))
    return result


KINDS: dict[str, Kind] = {
    "Relu": Kind(lambda x, alpha, beta: np.maximum(x, x.dtype.type(0))),
    "Tanh": Kind(lambda x, alpha, beta: np.tanh(x)),
    "Sigmoid": Kind(_sigmoid),
    "Affine": Kind(lambda x, alpha, beta: alpha * x + beta, 1.0, 0.0),
    "LeakyRelu": Kind(lambda x, alpha, beta: np.where(x >= 0, x, alpha * x), 0.01),
    "ThresholdedRelu": Kind(lambda x, alpha, beta: np.where(x >= alpha, x, x.dtype.type(0)), 1.0),
    "ScaledTanh": Kind(lambda x, alpha, beta: alpha * np.tanh(beta * x), 1.0, 1.0, needs=True),
    "HardSigmoid": Kind(lambda x, alpha, beta: np.clip(alpha * x + beta, x.dtype.type(0), x.dtype.type(1)), 0.2, 0.5),
    "Elu": Kind(lambda x, alpha, beta: np.where(x >= 0, x, alpha * np.expm1(x)), 1.0),
    "Softsign": Kind(lambda x, alpha, beta: x / (x.dtype.type(1) + np.abs(x))),
    "Softplus": Kind(lambda x, alpha, beta: np.logaddexp(x, x.dtype.type(0))),
}
"""The functions of ONNX's RNN, GRU and LSTM; the defaults are those of the operators of the same name."""


@attrs.frozen
class Activation:
    """A function of a gate with its parameters; `clip` bounds its operand to [-clip, clip]."""

    name: str
    alpha: float
    beta: float
    clip: float | None


@functools.lru_cache(maxsize=256)
def functions_named(names: Strs, alpha: Floats, beta: Floats, clip: float | None) -> tuple[Activation, ...]:
    """Functions with their parameters, the defaults of the kinds where there are none: every step asks for them."""
    return tuple(
        Activation(
            name, alpha[i] if alpha else KINDS[name].alpha or 0.0, beta[i] if beta else KINDS[name].beta or 0.0, clip
        )
        for i, name in enumerate(names)
    )


class Math(Protocol[V]):
    """The arithmetic in which cells are written."""

    def add(self, a: V, b: V) -> V:
        """The sum."""
        ...

    def mul(self, a: V, b: V) -> V:
        """The elementwise product."""
        ...

    def complement(self, a: V) -> V:
        """1 - a."""
        ...

    def product(self, a: V, w: V) -> V:
        """The matrix product of a: [batch, k] and w: [k, n]."""
        ...

    def split(self, a: V, n: int) -> Sequence[V]:
        """`n` equal parts of the last axis."""
        ...

    def rows(self, a: V, n: int) -> Sequence[V]:
        """`n` equal parts of the first axis."""
        ...

    def join(self, *parts: V) -> V:
        """Parts behind each other along the first axis."""
        ...

    def transpose(self, a: V) -> V:
        """A matrix with its axes exchanged."""
        ...

    def activate(self, function: Activation, x: V) -> V:
        """The function of a gate."""
        ...


@attrs.frozen
class Weights:
    """Parameters of one direction, as its cell takes them.

    Attributes:
        r: recurrence weights, [hidden, gates * hidden]; GRU has those of z and r here when h comes after the reset.
        r_after: of the GRU's hidden gate, [hidden, hidden], when the reset comes before the product.
        bias_after: recurrence bias of the GRU's hidden gate when the reset comes after the product.
        peepholes: of the LSTM's gates i, o, f, each [hidden]; empty when there are none.
    """

    r: Any
    r_after: Any = None
    bias_after: Any = None
    peepholes: Sequence[Any] = ()


class NumpyMath:
    """Cells on arrays."""

    def add(self, a: Array, b: Array) -> Array:
        """The sum."""
        result: Array = a + b
        return result

    def mul(self, a: Array, b: Array) -> Array:
        """The elementwise product."""
        result: Array = a * b
        return result

    def complement(self, a: Array) -> Array:
        """1 - a."""
        result: Array = a.dtype.type(1) - a
        return result

    def product(self, a: Array, w: Array) -> Array:
        """The matrix product."""
        result: Array = a @ w
        return result

    def split(self, a: Array, n: int) -> Sequence[Array]:
        """Equal parts of the last axis."""
        size = a.shape[-1] // n  # np.split takes a fifth of an LSTM's time
        return [a[..., i * size : (i + 1) * size] for i in range(n)]

    def rows(self, a: Array, n: int) -> Sequence[Array]:
        """Equal parts of the first axis."""
        return np.split(a, n)

    def join(self, *parts: Array) -> Array:
        """Parts behind each other along the first axis."""
        return np.concatenate(parts)

    def transpose(self, a: Array) -> Array:
        """A matrix with its axes exchanged."""
        result: Array = a.T
        return result

    def activate(self, function: Activation, x: Array) -> Array:
        """The function of a gate."""
        number, kind = x.dtype.type, KINDS[function.name]
        if function.clip is not None:
            x = np.clip(x, number(-function.clip), number(function.clip))
        if kind.alpha is None:
            return kind.function(x, None, None)
        return kind.function(x, number(function.alpha), number(function.beta))


Cell = Callable[[Array, Sequence[Array]], Sequence[Array]]


def time_order(steps: int, lengths: Array | None, batch: int) -> Array:
    """For every step and sequence the place from which a reversed sequence takes its element; its own inverse."""
    t = np.arange(steps)[:, None]
    if lengths is None:
        return np.broadcast_to(steps - 1 - t, (steps, batch))
    return np.where(t < lengths, lengths - 1 - t, t)


def run_steps(
    projected: Array, states: Sequence[Array], lengths: Array | None, cell: Cell
) -> tuple[Array, Sequence[Array]]:
    """The loop over time.

    Args:
        projected: the input's part of the gates, [steps, batch, gates * hidden].
        states: the first state, arrays [batch, hidden].
        lengths: of the sequences; behind its end a sequence keeps its state and gives zeros.
        cell: the next state from a step's part and the state.

    Returns:
        The first state array after every step, and the last state (zeros for a sequence without elements).
    """
    outputs = np.zeros((len(projected), *states[0].shape), projected.dtype)
    for t, part in enumerate(projected):
        following = cell(part, states)
        if lengths is None:
            states = following
            outputs[t] = states[0]
        else:
            active = (t < lengths)[:, None]
            states = [np.where(active, new, old) for new, old in zip(following, states, strict=True)]
            outputs[t] = np.where(active, states[0], states[0].dtype.type(0))
    if lengths is not None:
        states = [np.where((lengths > 0)[:, None], s, s.dtype.type(0)) for s in states]
    return outputs, states


def run_direction(
    x: Array,
    w: Array,
    bias: Array | None,
    states: Sequence[Array],
    lengths: Array | None,
    cell: Cell,
    *,
    backward: bool,
) -> tuple[Array, Sequence[Array]]:
    """One direction: the input's part of all steps as one product, then the steps.

    Args:
        x: [steps, batch, input].
        w: [gates * hidden, input].
        bias: added to the input's part, [gates * hidden].
        states: the first state.
        lengths: of the sequences.
        cell: see `run_steps`.
        backward: whether the sequences are taken from their end to their start.
    """
    steps, batch, size = x.shape
    projected = (x.reshape(steps * batch, size) @ w.T).reshape(steps, batch, len(w))
    if bias is not None:
        projected = projected + bias
    return run_projected(projected, states, lengths, cell, backward=backward)


def run_projected(
    projected: Array, states: Sequence[Array], lengths: Array | None, cell: Cell, *, backward: bool
) -> tuple[Array, Sequence[Array]]:
    """`run_steps` in one direction; see there and `run_direction`."""
    steps, batch = projected.shape[:2]
    if not backward:
        return run_steps(projected, states, lengths, cell)
    order, columns = time_order(steps, lengths, batch), np.arange(batch)
    outputs, states = run_steps(projected[order, columns], states, lengths, cell)
    return outputs[order, columns], states


def widened_all(*arrays: Array | None) -> list[Any]:
    """The arrays in their compute type."""
    return [None if a is None else widened(a) for a in arrays]
