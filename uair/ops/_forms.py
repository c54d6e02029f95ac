"""Operands that may be attributes: an operator has the value in one of two forms, under one name.

The attribute is None where the operand gives the value. What then only the data decides, infer leaves open.
"""

from __future__ import annotations

from uair.errors import EvaluationError
from uair.ir import dims
from uair.ir.dims import Shape, is_static
from uair.ir.dtype import Array
from uair.ir.types import TensorType
from uair.ops import _symbolic
from uair.ops._compute import INTEGERS, require_dtype
from uair.ops.base import Ints, Operator, normalize_axis, require


def one_form(attribute: object, operand: TensorType | None, name: str, *, optional: bool = False) -> None:
    """Refuse an operator that has a list both as attribute and as operand, or (unless optional) in neither form."""
    _one_form(attribute, operand, name, optional)
    if operand is not None:
        require_dtype(operand, INTEGERS, name)
        require(operand.shape is None or len(operand.shape) == 1, "{} must be a vector, is {}", name, operand)


def one_number(
    attribute: object, operand: TensorType | None, name: str, *, optional: bool = False, integer: bool = True
) -> None:
    """Refuse an operator that has a number both as attribute and as operand, or (unless optional) in neither form."""
    _one_form(attribute, operand, name, optional)
    if operand is not None:
        if integer:
            require_dtype(operand, INTEGERS, name)
        require(not operand.is_static or operand.size == 1, "{} must hold one number, is {}", name, operand)


def _one_form(attribute: object, operand: TensorType | None, name: str, optional: bool) -> None:
    require(optional or attribute is not None or operand is not None, "{} is neither an attribute nor an operand", name)
    require(attribute is None or operand is None, "{} is both an attribute and an operand", name)


def vector_length(operand: TensorType | None) -> int | None:
    """The length of an operand in vector form when it is a number."""
    if operand is None or operand.shape is None or not isinstance(operand.shape[0], int):
        return None
    return operand.shape[0]


def numbers(op: Operator, attribute: Shape | None, operand: Array | None) -> Ints:
    """The value of an operand-or-attribute at evaluation.

    Raises:
        EvaluationError: the attribute still holds a symbolic size.
    """
    if attribute is None:
        return () if operand is None else tuple(_symbolic.integers(operand).reshape(-1).tolist())
    if not is_static(attribute):
        raise EvaluationError(f"{op!r} cannot be evaluated: a size in it is symbolic", hint="bind the model's shapes")
    return dims.static(attribute)


def number(op: Operator, attribute: int | None, operand: Array | None) -> int:
    """The one number of an operand-or-attribute at evaluation.

    Raises:
        EvaluationError: there is not exactly one.
    """
    found = numbers(op, None if attribute is None else (attribute,), operand)
    if len(found) != 1:
        raise EvaluationError(f"{op!r} needs one number, got {list(found)}")
    return found[0]


def unique_axes(axes: Ints, rank: int, name: str = "axes") -> Ints:
    """Non-negative axes, each named once."""
    result = tuple(normalize_axis(a, rank) for a in axes)
    require(len(set(result)) == len(result), "{} {} name an axis twice", name, list(axes))
    return result


def run_time_axes(op: Operator, attribute: Ints | None, operand: Array | None, rank: int) -> Ints:
    """The non-negative axes at evaluation, each named once.

    Raises:
        EvaluationError: one is out of range or named twice.
    """
    axes = numbers(op, attribute, operand)
    if any(not -rank <= a < rank for a in axes):
        raise EvaluationError(f"{op.op_type}: axes {list(axes)} are out of range for rank {rank}")
    result = tuple(a % rank for a in axes)
    if len(set(result)) < len(result):
        raise EvaluationError(f"{op.op_type}: axes {list(axes)} name an axis twice")
    return result
