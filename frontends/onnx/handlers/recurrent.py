"""Recurrent layers.

`layout` (opset 14) puts the batch first: transposes do that here. `output_sequence` (before opset 7) said whether the
sequence of outputs was wanted, which the node's outputs say too. Parameters of activations are listed for those
functions alone that take them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.graph import Tensor
from uair.ops import GRU, LSTM, RNN, DynamicQuantizeLSTM, Transpose
from uair.ops._recurrent import KINDS
from uair.ops.recurrent import Recurrent

FAMILY = Family()

_DIRECTIONS: dict[str, Any] = {name: name for name in ("forward", "reverse", "bidirectional")}
_NAMES = {name.lower(): name for name in KINDS}
_BATCH_FIRST = (1, 0, 2)


@FAMILY.op("RNN", 1, 7, 14, 22)
def _rnn(n: OnnxNode) -> Result:
    return _layer(n, RNN(**layer_attributes(n, RNN)))


@FAMILY.op("GRU", 1, 3, 7, 14, 22)
def _gru(n: OnnxNode) -> Result:
    """Version 1 has no `linear_before_reset`."""
    flag = n.attributes.flag("linear_before_reset")
    return _layer(n, GRU(**layer_attributes(n, GRU), linear_before_reset=flag))


@FAMILY.op("LSTM", 1, 7, 14, 22)
def _lstm(n: OnnxNode) -> Result:
    flag = n.attributes.flag("input_forget")
    return _layer(n, LSTM(**layer_attributes(n, LSTM), input_forget=flag))


def layer_attributes(n: OnnxNode, layer: type[Recurrent]) -> dict[str, Any]:
    """The attributes that all layers have."""
    a = n.attributes
    direction = a.choice("direction", _DIRECTIONS["forward"], _DIRECTIONS)
    count = len(layer.functions) * (2 if direction == "bidirectional" else 1)
    names = activation_names(n, a.texts("activations"), count)
    alpha, beta = a.numbers("activation_alpha", ()), a.numbers("activation_beta", ())
    return {
        "direction": direction,
        "activations": names,
        "alpha": _parameters(names, "alpha", alpha) if alpha else (),
        "beta": _parameters(names, "beta", beta) if beta else (),
        "clip": a.number("clip", None),
    }


def activation_names(n: OnnxNode, given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """The functions by their canonical names; none when the layer's own are meant.

    Raises:
        OnnxAttributeError: one is not known, or their number is wrong.
    """
    if not given:
        return ()
    unknown = [name for name in given if name.lower() not in _NAMES]
    if unknown:
        n.refuse(f"activation {unknown[0]!r} is not known", f"known are {', '.join(KINDS)}")
    if len(given) != count:
        n.refuse(f"{len(given)} activations are given, its direction needs {count}")
    return tuple(_NAMES[name.lower()] for name in given)


def _parameters(names: Sequence[str], which: str, given: Sequence[float]) -> tuple[float, ...]:
    """One number for each function: the given ones in order for those that take one, then the defaults."""
    left: Iterator[float] = iter(given)
    defaults = [getattr(KINDS[name], which) for name in names]
    return tuple(0.0 if default is None else next(left, default) for default in defaults)


def _layer(n: OnnxNode, op: RNN | GRU | LSTM) -> Result:
    x, w, r = n[0], n[1], n[2]
    _check_hidden(n, n.shape(r)[-1] if n.rank(r) else None)
    batch_first = n.attributes.flag("layout")
    states = [n.optional(i) for i in range(5, 5 + len(op.state))]
    if batch_first:
        x = n(Transpose(perm=_BATCH_FIRST), x)
        states = [None if s is None else n(Transpose(perm=_BATCH_FIRST), s) for s in states]
    more = [n.optional(7)] if isinstance(op, LSTM) else []
    results = n.all(op, x, w, r, n.optional(3), n.optional(4), *states, *more)
    return _turned(n, results) if batch_first else results


def _check_hidden(n: OnnxNode, extent: object) -> None:
    """The attribute hidden_size agrees with the extent that the recurrence weights have."""
    hidden = n.attributes.integer("hidden_size", None)
    if hidden is not None and isinstance(extent, int) and extent != hidden:
        n.refuse(f"hidden_size is {hidden}, but the recurrence weights are for {extent}")


def _turned(n: OnnxNode, results: Sequence[Tensor]) -> list[Tensor | None]:
    """The results that the model uses with the batch first."""
    perms = ((2, 0, 1, 3), _BATCH_FIRST, _BATCH_FIRST)
    return [
        n(Transpose(perm=perm), result) if n.wants(i) else None
        for i, (result, perm) in enumerate(zip(results, perms, strict=False))
    ]


# ------------------------------------------------------------------- quantized
@FAMILY.op("DynamicQuantizeLSTM", 1, domain="com.microsoft")
def _dynamic_quantize_lstm(n: OnnxNode) -> Result:
    """An LSTM with 8-bit weights [directions, input or hidden, 4 * hidden]."""
    flag = n.attributes.flag("input_forget")
    op = DynamicQuantizeLSTM(**layer_attributes(n, DynamicQuantizeLSTM), input_forget=flag)
    _check_hidden(n, n.shape(n[2])[1] if n.rank(n[2]) else None)
    parameters = (n[i] for i in (8, 9, 10, 11))
    return n.all(op, n[0], n[1], n[2], *parameters, *(n.optional(i) for i in range(3, 8)))
