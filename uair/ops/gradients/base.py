"""What a gradient is, and what the files of gradients share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.errors import UairError
from uair.ir.dtype import Array
from uair.ops._precision import compute_type
from uair.ops.base import Operator

Function: TypeAlias = Callable[..., Any]


class NoGradientError(UairError):
    """A gradient is asked for through an operator that has none, or of a tensor whose elements are not floating-point.

    The message names the node. What has no gradient: products of quantized numbers (differentiate the model before it
    is lowered to integers; Quantize and Dequantize are straight through), control flow, recurrent layers that do not
    decompose, and operators of others without a decomposition.
    """

    code = "UAIR-E0339"
    title = "Operator without a gradient"


@attrs.frozen(eq=False)
class Part:
    """The gradient of one operand of an operator.

    Attributes:
        function: called with the operator, the gradient of the result (a tuple of them where the operator has several
            results) and the operands as `evaluate` is; those that it does not read have the right shape and type, and
            zeros for elements. What it reads of the results comes by their names, and `index`, the place among them,
            where the operand is one of a variadic number.
        reads: names of the operands and results whose elements it needs.
    """

    function: Function
    reads: frozenset[str] = frozenset()

    def reads_operand(self, op: Operator, i: int) -> bool:
        """Whether it needs the elements of operand `i`."""
        return param_name(op, i) in self.reads

    def reads_result(self, op: Operator, i: int) -> bool:
        """Whether it needs the elements of result `i`."""
        return i < len(op.results) and op.results[i] in self.reads

    def apply(
        self,
        op: Operator,
        gradients: Sequence[Array],
        operands: Sequence[Array | None],
        results: Sequence[Array],
        index: int = 0,
    ) -> Array:
        """The gradient of an operand.

        Args:
            op: without open sizes.
            gradients: of all results.
            operands: of the node, `blank` where the part does not read them.
            results: likewise.
            index: the place of the operand among all.
        """
        named: dict[str, Any] = {
            name: results[i] for i, name in enumerate(op.results[: len(results)]) if name in self.reads
        }
        if op.params[min(index, len(op.params) - 1)].variadic:
            named["index"] = index
        g: Any = gradients[0] if op.result_count() == 1 else tuple(gradients)
        with np.errstate(all="ignore"):
            return np.asarray(self.function(op, g, *operands, **named))


Parts: TypeAlias = Mapping[str, Part]


def param_name(op: Operator, i: int) -> str:
    """The name of operand `i`."""
    return op.params[min(i, len(op.params) - 1)].name


def part(function: Function, reads: str = "") -> Part:
    """A part; `reads` names what it reads, separated by blanks."""
    return Part(function, frozenset(reads.split()))


def blank(like: Array) -> Array:
    """An array of this shape and type that takes no memory."""
    return np.broadcast_to(np.zeros((), like.dtype), like.shape)


def gradient_type(like: Array) -> np.dtype[Any]:
    """The type of an operand's gradient."""
    return compute_type(like)


def summed_to(g: Array, shape: Sequence[int]) -> Array:
    """The gradient of an operand of `shape` that was broadcast: summed over where it was repeated."""
    if g.shape == tuple(shape):
        return g
    extra = g.ndim - len(shape)
    repeated = tuple(i for i in range(g.ndim) if i < extra or (shape[i - extra] == 1 and g.shape[i] != 1))
    return np.asarray(g.sum(axis=repeated)).reshape(shape)
