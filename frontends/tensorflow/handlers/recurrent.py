"""Loops that are the steps of an LSTM or GRU layer."""

from __future__ import annotations

from collections.abc import Sequence

from uair.frontends.tensorflow.node import TfNode
from uair.ir.graph import Graph, Tensor


def recognized(n: TfNode, region: Graph, initial: Sequence[Tensor], runs: int | None) -> tuple[Tensor, ...] | None:
    """The results of the loop as a layer computes them; None when its body is no known cell."""
    return None
