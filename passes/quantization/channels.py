"""What single channels of activations look like, and which axis of a weight they meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from uair.ir.data import ArrayData
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.passes.fusion.exact import scaled
from uair.passes.quantization.placement import weight_axis
from uair.passes.quantization.statistics import ChannelObserver, Interpreter, run_until
from uair.quant.channel_range import ChannelRange
from uair.quant.scheme import COMPUTE, CONVOLUTIONS, TRANSPOSED

SMALL = 1 << 14
"""Bytes up to which a scaled weight is kept: to compute it in every run would take longer than what reads it."""


def channel_axis(node: Node, rank: int) -> int:
    """The axis of the channels of a weighted node's activation or result of that rank."""
    return 1 if node.op_type in (*CONVOLUTIONS, *TRANSPOSED) else rank - 1


def collect_channels(
    wanted: Mapping[Tensor, int], interpreter: Interpreter, samples: Iterable[Mapping[str, Array]]
) -> dict[Tensor, ChannelRange]:
    """Run the samples and look at the channels of the wanted tensors, given with the axis of their channels."""
    observer = ChannelObserver(wanted)
    for sample in samples:
        run_until(interpreter, sample, wanted, observer.observe)
    return observer.found


def weighted_axes(graph: Graph) -> dict[Tensor, int]:
    """What layers with constant weights read and give, with the axis of the channels."""
    found: dict[Tensor, int] = {}
    for node in graph:
        weight = node.inputs[1] if node.op_type in COMPUTE else None
        if weight is None or not weight.is_constant:
            continue
        for tensor in (node.inputs[0], node.output):
            if tensor is not None and not tensor.is_constant and tensor.type.shape is not None and tensor.type.rank > 1:
                found.setdefault(tensor, channel_axis(node, tensor.type.rank))
    return found


@attrs.frozen(eq=False)
class WeightView:
    """A constant weight as [output channels, input channels of its group, taps].

    Attributes:
        values: the weight in that order, a view where possible.
        groups: how many groups of output channels there are, one behind the other, each with its own input channels.
    """

    values: Array
    groups: int

    @staticmethod
    def of(node: Node, w: Array) -> WeightView:
        """The view of a weighted node's weight `w` of two axes or more."""
        op: Any = node.op
        if node.op_type in TRANSPOSED:  # [C, M / groups, ...]
            per_group = w.reshape(op.groups, w.shape[0] // op.groups, w.shape[1], -1).swapaxes(1, 2)
            values = per_group.reshape(-1, w.shape[0] // op.groups, per_group.shape[-1])
        elif node.op_type in CONVOLUTIONS:  # [M, C / groups, ...]
            values = w.reshape(w.shape[0], w.shape[1], -1)
        else:
            values = (w if weight_axis(op, w.ndim) == 0 else w.T)[:, :, None]
        return WeightView(values, int(getattr(op, "groups", 1)))

    @property
    def inputs(self) -> Array:
        """[output channels, input channels of its group]: which channel of the activation each one meets."""
        outputs, width = self.values.shape[:2]
        start = (np.arange(outputs) // max(outputs // self.groups, 1)) * width
        return np.asarray(start[:, None] + np.arange(width))


def scaled_inputs(node: Node, w: Tensor, factor: Array) -> Tensor:
    """A weight with what it meets of input channel c multiplied by factor[c]; computed when it is read, if large."""
    op: Any = node.op
    assert w.data is not None
    shape = w.data.shape
    if node.op_type in TRANSPOSED:
        along = factor.reshape(-1, *(1,) * (len(shape) - 1))
    elif node.op_type in CONVOLUTIONS:
        rows = 1 if op.groups == 1 else shape[0] // op.groups
        along = factor.reshape(op.groups, 1, shape[1]).repeat(rows, axis=1)
        along = along.reshape(-1, shape[1], *(1,) * (len(shape) - 2))
    else:
        along = factor[None, :] if weight_axis(op, len(shape)) == 0 else factor[:, None]
    result = scaled(w.data, along)
    return constant(ArrayData(result.array()) if result.nbytes <= SMALL else result, w.name)
