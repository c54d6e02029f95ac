"""Vector-Jacobian products: what the results' gradients mean for an operator's operands.

The gradients of the operators of `uair/ops/FAMILY.py` stand in `uair/ops/gradients/FAMILY.py`, in its `GRADIENTS`: one
part for each operand that has a derivative. A part has the signature of the operator's `evaluate`, behind the operator
and the gradient of its result, and names what it reads (operands, or the result `y`), so that whoever runs a graph
backwards keeps nothing else. An operator that has none here but a decomposition is differentiated through that one.

    gradient = part_of(op, "w").apply(op, (g,), (x, w, None), (None,))

Gradients have the shape of their operand, and the type that it is computed in: f32 for everything narrower. At a kink
(Relu at 0, equal elements of a maximum) a part gives one of the subgradients, the one that PyTorch gives.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from uair.ops.base import Operator
from uair.ops.gradients.base import Part, Parts

FAMILIES = frozenset({
    "activation", "attention", "conversion", "convolution", "elementwise", "indexing", "linear", "normalization",
    "padding", "pooling", "quantization", "reduction", "resize", "shape",
})  # fmt: skip
"""The files of operators that have a file of gradients."""

__all__ = ["FAMILIES", "Part", "Parts", "part_of", "parts_of"]


def parts_of(op: Operator) -> Parts | None:
    """The gradients of an operator by the name of the operand; None when it has none of its own.

    An operand that is not in there has no derivative (indices), or one that is 0 everywhere (what is rounded).
    """
    package, _, family = type(op).__module__.rpartition(".")
    if package != "uair.ops" or family not in FAMILIES:
        return None
    known: Mapping[str, Parts | Callable[[Operator], Parts | None]]
    known = importlib.import_module(f"uair.ops.gradients.{family}").GRADIENTS
    found = known.get(op.op_type)
    return found(op) if callable(found) else found


def part_of(op: Operator, operand: str) -> Part | None:
    """The gradient of one operand; None when the operator has none of its own, or the operand no derivative."""
    return (parts_of(op) or {}).get(operand)
