"""What single channels of activations look like, and which axis of a weight they meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor
from uair.passes.quantization.placement import weight_axis
from uair.passes.quantization.statistics import Interpreter, run_until
from uair.quant.scheme import CONVOLUTIONS, TRANSPOSED

LEAST_ROOM = 1.1
MOST_ROOM = 4.0
"""What magnitudes of other samples may be expected to be at least and at most, as multiples of those seen."""


@attrs.define(eq=False)
class ChannelRange:
    """Least and greatest value and mean square of each channel.

    Attributes:
        low: [C], at most 0.
        high: [C], at least 0.
        energy: [C], sums of squares.
        count: values per channel.
        parts: [2, C], the greatest magnitudes in every second sample, and in the others.
        samples: how many there were.
    """

    low: Array
    high: Array
    energy: Array
    parts: Array
    count: int = 0
    samples: int = 0

    @staticmethod
    def empty(channels: int) -> ChannelRange:
        """Of no values."""
        low, high, energy = np.zeros((3, channels))
        return ChannelRange(low, high, energy, np.zeros((2, channels)))

    def observe(self, values: Array, axis: int) -> None:
        """Take in the values of one sample, whose channels lie along `axis`."""
        rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        if not rows.size:
            return
        low, high = rows.min(axis=1), rows.max(axis=1)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        part = self.parts[self.samples % 2]
        np.maximum(part, np.maximum(-low, high), out=part)
        self.samples += 1
        self.energy = self.energy + np.einsum("cr,cr->c", rows, rows, dtype=np.float64)
        self.count += rows.shape[1]

    @property
    def magnitude(self) -> Array:
        """The greatest magnitude of each channel."""
        return np.maximum(-self.low, self.high)

    @property
    def expected(self) -> Array:
        """The magnitude that other samples are expected to reach.

        It is greater than what was seen, by the ratio of what one half of the samples reached to what the other did. A
        channel that fills the range of an activation leaves it as soon as another sample goes further.
        """
        lesser, greater = self.parts.min(axis=0), self.parts.max(axis=0)
        ratio = np.divide(greater, lesser, out=np.full_like(greater, MOST_ROOM), where=lesser > 0)
        return np.asarray(self.magnitude * np.clip(ratio, LEAST_ROOM, MOST_ROOM))

    @property
    def mean_square(self) -> Array:
        """Of each channel."""
        return self.energy / max(self.count, 1)


def channel_axis(node: Node, rank: int) -> int:
    """The axis of the channels of a weighted node's activation or result of that rank."""
    return 1 if node.op_type in (*CONVOLUTIONS, *TRANSPOSED) else rank - 1


def collect_channels(
    wanted: Mapping[Tensor, int], interpreter: Interpreter, samples: Iterable[Mapping[str, Array]]
) -> dict[Tensor, ChannelRange]:
    """Run the samples and look at the channels of the wanted tensors, given with the axis of their channels."""
    found: dict[Tensor, ChannelRange] = {}

    def observe(tensor: Tensor, values: Array) -> None:
        axis = wanted.get(tensor)
        if axis is not None:
            if tensor not in found:
                found[tensor] = ChannelRange.empty(values.shape[axis])
            found[tensor].observe(values, axis)

    for sample in samples:
        run_until(interpreter, sample, wanted, observe)
    return found


@attrs.frozen(eq=False)
class WeightView:
    """A constant weight as [output channels, input channels of its group, taps].

    Attributes:
        values: the weight in that order, a view where possible.
        inputs: [output channels, input channels of its group]: which channel of the activation each one meets.
    """

    values: Array
    inputs: Array

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
        groups = int(getattr(op, "groups", 1))
        outputs, width = values.shape[:2]
        start = (np.arange(outputs) // max(outputs // groups, 1)) * width
        return WeightView(values, start[:, None] + np.arange(width))


def scaled_inputs(node: Node, w: Array, factor: Array) -> Array:
    """The weight with what it meets of input channel c multiplied by factor[c]."""
    op: Any = node.op
    if node.op_type in TRANSPOSED:
        shaped = factor.reshape(-1, *(1,) * (w.ndim - 1))
    elif node.op_type in CONVOLUTIONS:
        shaped = factor[WeightView.of(node, w).inputs].reshape(*w.shape[:2], *(1,) * (w.ndim - 2))
    else:
        shaped = factor[None, :] if weight_axis(op, w.ndim) == 0 else factor[:, None]
    return (w * shaped).astype(w.dtype)
