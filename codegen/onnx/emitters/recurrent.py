"""Recurrent layers, with the steps first (`layout` is not written: runtimes know 0 alone)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dtype import DType
from uair.ops._recurrent import KINDS, Activation
from uair.ops.recurrent import GRU, LSTM, RNN, Recurrent

EMITTERS = Emitters()


def layer_attributes(e: Emission, op: Recurrent) -> dict[str, Any]:
    """The attributes that all layers have; parameters are listed for the functions that take them."""
    functions = [f for d in range(op.directions) for f in op.functions_of(d)]
    return {
        "direction": op.direction,
        "hidden_size": e.static_shape(2)[-1],
        "activations": [f.name for f in functions],
        "activation_alpha": parameters(functions, "alpha"),
        "activation_beta": parameters(functions, "beta"),
        "clip": op.clip,
    }


def parameters(functions: Sequence[Activation], which: str) -> list[float] | None:
    """The parameters of one kind in order; None when no function takes one."""
    found = [getattr(f, which) for f in functions if getattr(KINDS[f.name], which) is not None]
    return found or None


def operands(e: Emission) -> list[str | None]:
    """The operands; ONNX has the lengths as i32."""
    names = e.operands
    if e.given(4):
        names[4] = e.cast(e.x(4), DType.I32)
    return names


@EMITTERS.of(RNN)
def rnn(e: Emission, op: RNN) -> None:
    """RNN."""
    e.result("RNN", *operands(e), **layer_attributes(e, op))


@EMITTERS.of(GRU)
def gru(e: Emission, op: GRU) -> None:
    """GRU."""
    e.result("GRU", *operands(e), **layer_attributes(e, op), linear_before_reset=int(op.linear_before_reset))


@EMITTERS.of(LSTM)
def lstm(e: Emission, op: LSTM) -> None:
    """LSTM."""
    e.result("LSTM", *operands(e), **layer_attributes(e, op), input_forget=int(op.input_forget))
