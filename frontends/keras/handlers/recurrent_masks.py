"""Masks of time steps in recurrent layers: at a step that does not count, states and output stay what they were.

The steps that count are moved to the front in their order, the operator runs over as many as there are, and every step
then gets the output of the last one that counts: before it, or behind it for a layer that runs backwards.
"""

from __future__ import annotations

import attrs

from uair import ops
from uair.frontends.keras.node import KerasNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor


@attrs.frozen
class Steps:
    """Which steps count.

    Attributes:
        mask: bool [batch, steps].
        order: i64 [batch, steps], the steps that count in front.
        lengths: i32 [batch], how many count.
        before: i32 [batch, steps], how many count up to a step, itself included.
        zeros: whether the output of a step that does not count is 0, as Bidirectional wants it of its layers.
    """

    mask: Tensor
    order: Tensor
    lengths: Tensor
    before: Tensor
    zeros: bool = False

    def packed(self, n: KerasNode, x: Tensor) -> Tensor:
        """[batch, steps, features] with the steps that count in front."""
        return _picked(n, x, self.order)

    def spread(self, n: KerasNode, y: Tensor, *, reverse: bool) -> Tensor:
        """Outputs [batch, steps, units] of the packed steps at the steps that they belong to; zeros where none is."""
        if self.zeros:
            y = self._spread(n, y, reverse=False)
            return n(ops.Where(), n.reshaped(self.mask, (*n.shape(self.mask), 1)), y, n.like(0, y))
        return self._spread(n, y, reverse=reverse)

    def _spread(self, n: KerasNode, y: Tensor, *, reverse: bool) -> Tensor:
        one = n.like(1, self.before)
        if reverse:
            place = n(ops.Sub(), self.before, n.cast(self.mask, DType.I32))
            rows, extent = n.shape(self.lengths)[0], n.extent(y, 1)
            there = n(ops.Less(), place, n.reshaped(self.lengths, (rows, 1)))
            assert isinstance(extent, int)
            place = n(ops.Minimum(), place, n.like(extent - 1, place))
        else:
            there = n(ops.GreaterEqual(), self.before, one)
            place = n(ops.Maximum(), n(ops.Sub(), self.before, one), n.like(0, one))
        found = _picked(n, y, place)
        return n(ops.Where(), n.reshaped(there, (*n.shape(there), 1)), found, n.like(0, found))

    def kept(self, n: KerasNode, state: Tensor) -> Tensor:
        """The last output [batch, units]: zeros where no step counts, whatever the initial state is."""
        counts = n(ops.Greater(), self.lengths, n.like(0, self.lengths))
        return n(ops.Where(), n.reshaped(counts, (*n.shape(counts), 1)), state, n.like(0, state))


def _picked(n: KerasNode, x: Tensor, places: Tensor) -> Tensor:
    return n(ops.GatherND(batch_dims=1), x, n.reshaped(n.cast(places, DType.I64), (*n.shape(places), 1)))


def steps_of(n: KerasNode, x: Tensor, *, with_states: bool, zeros: bool = False) -> Steps | None:
    """What the mask of a layer's call, or of its operand, says; None without one.

    Keras 3 does not look at the operand's mask where the layer is given initial states, too (`with_states`).

    Raises:
        SourceOperatorError: the number of steps is not known.
    """
    given = n.argument(99, "mask")
    implied = n.mask_of(x) if n.importer.old or not with_states else None
    mask = given if isinstance(given, Tensor) else implied
    if mask is None:
        return None
    steps = n.extent(x, 1)
    if not isinstance(steps, int):
        n.refuse(
            "a mask is obeyed for a known number of steps, which this model leaves open",
            "declare the number of steps in the model's input, and pad sequences to it",
        )
    counts = n.cast(mask, DType.I32)
    _, order = n.all(ops.TopK(k=steps, axis=1), counts)  # equal ones keep their order
    lengths = n(ops.ReduceSum(axes=(1,), keepdims=False), counts)
    return Steps(n.cast(mask, DType.BOOL), order, lengths, n(ops.CumSum(axis=1), counts), zeros)
