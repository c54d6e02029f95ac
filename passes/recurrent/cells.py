"""Which cell of a recurrent layer some expressions are, and its parameters in the order that the operators take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ops import GRU, LSTM, RNN, Elu, HardSigmoid, LeakyRelu
from uair.ops.base import Operator
from uair.ops.recurrent import Recurrent
from uair.passes.recurrent.expressions import (
    Affine,
    Applied,
    Atom,
    Complement,
    Difference,
    Expression,
    Product,
    Total,
    same,
)


@attrs.frozen(eq=False)
class Cell:
    """A cell of a recurrent layer.

    Attributes:
        op: the layer's operator, forward.
        order: for each of the layer's states, which state of the loop it is.
        x: what it takes in a step.
        w, r: [gates * hidden, ...].
        bias: [2 * gates * hidden]; None when it is all zeros.
    """

    op: Recurrent
    order: tuple[int, ...]
    x: Atom
    w: Array
    r: Array
    bias: Array | None


@attrs.frozen(eq=False)
class _Gate:
    """f(x w + h r + bias)."""

    op: Operator
    x: Atom
    w: Array
    r: Array
    bias: Array


def recognize(states: Sequence[Atom], following: Sequence[Expression | None]) -> Cell | None:
    """The cell that gives the states of the next step; None when it is none that is known.

    Args:
        states: atoms that stand for the states at the begin of a step.
        following: what they are at its end.
    """
    if len(states) == 1 and following[0] is not None:
        return _rnn(states[0], following[0]) or _gru(states[0], following[0])
    if len(states) == 2:
        for h, c in ((0, 1), (1, 0)):
            output, memory = following[h], following[c]
            if output is not None and memory is not None:
                cell = _lstm((states[h], states[c]), output, memory, (h, c))
                if cell is not None:
                    return cell
    return None


def _gate(e: Expression, h: Expression) -> _Gate | None:
    """The gate that an activation is: of one step's input and of h."""
    if not isinstance(e, Applied) or not isinstance(e.argument, Affine):
        return None
    return _affine_gate(e.op, e.argument, h)


def _affine_gate(op: Operator, argument: Affine, h: Expression) -> _Gate | None:
    if len(argument.terms) != 2:
        return None
    for (a, w), (b, r) in (argument.terms, argument.terms[::-1]):
        if isinstance(a, Atom) and a.key[0] == "step" and same(b, h):
            return _Gate(op, a, w, r, argument.bias)
    return None


def _functions(*ops: Operator) -> dict[str, Any] | None:
    """The attributes of a layer for the functions of its gates."""
    names = tuple(type(op).__name__ for op in ops)
    if all(not isinstance(op, (HardSigmoid, Elu, LeakyRelu)) for op in ops):
        return {"activations": names}
    alpha = tuple(float(getattr(op, "alpha", 0.0)) for op in ops)
    beta = tuple(float(getattr(op, "beta", 0.0)) for op in ops)
    return {"activations": names, "alpha": alpha, "beta": beta}


def _layer(kind: type[Any], *ops: Operator, **more: Any) -> Recurrent:
    functions = _functions(*ops) or {}
    if functions["activations"] == kind.functions:
        functions = {}
    layer: Recurrent = kind(**functions, **more)
    return layer


def _cell(op: Recurrent, order: tuple[int, ...], gates: Sequence[_Gate], more: Sequence[Array] = ()) -> Cell | None:
    """Gates in the operator's order as its weights; `more` are the biases of the recurrence."""
    hidden = gates[0].bias.size
    if not all(same(g.x, gates[0].x) and g.bias.size == hidden and g.r.shape == (hidden, hidden) for g in gates):
        return None
    w, r = (np.concatenate([m.T for m in ms]) for ms in ([g.w for g in gates], [g.r for g in gates]))
    added = np.concatenate([g.bias for g in gates])
    recurrent = np.concatenate(more) if more else np.zeros_like(added)
    bias = np.concatenate([added, recurrent])
    return Cell(op, order, gates[0].x, w, r, bias if bias.any() else None)


def _rnn(h: Atom, output: Expression) -> Cell | None:
    gate = _gate(output, h)
    return None if gate is None else _cell(_layer(RNN, gate.op), (0,), [gate])


# ----------------------------------------------------------------------------------------------------------------- LSTM
def _lstm(states: tuple[Atom, Atom], output: Expression, memory: Expression, order: tuple[int, int]) -> Cell | None:
    """LSTM: c' = f * c + i * n; h' = o * g(c')."""
    h, c = states
    if not isinstance(output, Product):
        return None
    for gate, shown in ((output.left, output.right), (output.right, output.left)):
        o = _gate(gate, h)
        if o is None or not isinstance(shown, Applied) or not same(shown.argument, memory):
            continue
        parts = _memory(memory, h, c)
        if parts is None:
            return None
        i, f, n = parts
        if not o.op == i.op == f.op:
            return None
        return _cell(_layer(LSTM, i.op, n.op, shown.op), order, [i, o, f, n])
    return None


def _memory(memory: Expression, h: Atom, c: Atom) -> tuple[_Gate, _Gate, _Gate] | None:
    """The gates i, f and n of f * c + i * n."""
    if not isinstance(memory, Total) or len(memory.parts) != 2:
        return None
    for kept, new in (memory.parts, memory.parts[::-1]):
        if not isinstance(kept, Product) or not isinstance(new, Product):
            return None
        forget = _factor(kept, c)
        f = None if forget is None else _gate(forget, h)
        a, b = _gate(new.left, h), _gate(new.right, h)
        if f is None or a is None or b is None:
            continue
        i, n = (a, b) if a.op == f.op else (b, a)
        return (i, f, n)
    return None


def _factor(e: Product, other: Expression) -> Expression | None:
    """The other factor of a product with `other`."""
    if same(e.right, other):
        return e.left
    return e.right if same(e.left, other) else None


# ------------------------------------------------------------------------------------------------------------------ GRU
def _gru(h: Atom, output: Expression) -> Cell | None:
    """GRU: h' = z * h + (1 - z) * n, or z * (h - n) + n."""
    if not isinstance(output, Total) or len(output.parts) != 2:
        return None
    for kept, new in (output.parts, output.parts[::-1]):
        if isinstance(kept, Product) and isinstance(new, Applied):
            update = _factor_of_difference(kept, h, new)
            z = None if update is None else _gate(update, h)
            return None if z is None else _reset_before(h, z, new) or _reset_after(h, z, new)
        if not isinstance(kept, Product) or not isinstance(new, Product):
            continue
        update = _factor(kept, h)
        z = None if update is None else _gate(update, h)
        if update is None or z is None:
            continue
        n = _factor(new, Complement(update))
        if isinstance(n, Applied):
            return _reset_before(h, z, n) or _reset_after(h, z, n)
    return None


def _factor_of_difference(e: Product, h: Atom, n: Expression) -> Expression | None:
    """The other factor of a product with h - n."""
    for factor, other in ((e.left, e.right), (e.right, e.left)):
        if isinstance(other, Difference) and same(other.left, h) and same(other.right, n):
            return factor
    return None


def _reset_before(h: Atom, z: _Gate, n: Applied) -> Cell | None:
    """GRU with n = g(x w + (r * h) u + bias)."""
    if not isinstance(n.argument, Affine):
        return None
    for inner, _ in n.argument.terms:
        reset = _factor(inner, h) if isinstance(inner, Product) else None
        r = None if reset is None else _gate(reset, h)
        gate = _affine_gate(n.op, n.argument, inner)
        if r is not None and gate is not None and r.op == z.op:
            return _cell(_layer(GRU, z.op, n.op), (0,), [z, r, gate])
    return None


def _reset_after(h: Atom, z: _Gate, n: Applied) -> Cell | None:
    """GRU with n = g(x w + bias + r * (h u + more))."""
    if not isinstance(n.argument, Total) or len(n.argument.parts) != 2:
        return None
    for given, inner in (n.argument.parts, n.argument.parts[::-1]):
        if not isinstance(given, Affine) or not isinstance(inner, Product) or len(given.terms) != 1:
            continue
        for reset, after in ((inner.left, inner.right), (inner.right, inner.left)):
            r = _gate(reset, h)
            if r is None or r.op != z.op or not isinstance(after, Affine) or len(after.terms) != 1:
                continue
            (x, w), (state, u) = given.terms[0], after.terms[0]
            if isinstance(x, Atom) and x.key[0] == "step" and same(state, h):
                gate = _Gate(n.op, x, w, u, given.bias)
                zeros = np.zeros_like(given.bias)
                layer = _layer(GRU, z.op, n.op, linear_before_reset=True)
                return _cell(layer, (0,), [z, r, gate], (zeros, zeros, after.bias))
    return None
