"""Errors that every frontend but ONNX's raises; what is peculiar to one framework stands in its own folder."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import NoReturn

from uair.errors import UairError


class SourceFileError(UairError):
    """A model file is damaged, truncated, contradicts itself, or is not of the format that its name says."""

    code = "UAIR-E0120"
    title = "Model file cannot be read"


class UnmappedOperatorError(UairError):
    """The source model uses an operator that has no canonical counterpart, and what it gives is not known either."""

    code = "UAIR-E0121"
    title = "Operator of the source framework is not known"


class SourceOperatorError(UairError):
    """An operator of the source model is used in a way that the canonical operators do not express, or is wrong."""

    code = "UAIR-E0122"
    title = "Use of a source operator cannot be expressed"


class MissingFrameworkError(UairError):
    """What was given can only be read with its framework, which is not installed."""

    code = "UAIR-E0123"
    title = "Framework is not installed"


class UnsafeModelError(UairError):
    """A file could only be read by running code that it carries: pickles, marshalled functions."""

    code = "UAIR-E0124"
    title = "Model file carries code"


class RuntimeOperandError(UairError):
    """An operand that decides the structure of the graph is computed when the model runs."""

    code = "UAIR-E0125"
    title = "Operand must be known when the model is read"


MALFORMED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a handler meets in a node whose attributes or operands make no sense."""


@contextlib.contextmanager
def placed(
    place: str, operator: str, *, parts: str, inner: str = "", kind: type[UairError] = SourceOperatorError
) -> Generator[None]:
    """Around the import of one node: every error that leaves it says where, and is the project's own.

    Args:
        place: the node in words.
        operator: of the node.
        parts: what a wrong node has wrong, in the source's words: "arguments".
        inner: how the place of a node begins; where an error names a node inside of this one, it keeps its place.
        kind: of the error that another exception becomes.

    Raises:
        UairError: the error that was raised, with its place, or `kind` in place of an exception of Python's.
    """
    try:
        yield
    except (UairError, *MALFORMED) as error:
        raise_placed(error, place, operator, parts=parts, inner=inner, kind=kind)


def raise_placed(
    error: Exception,
    place: str,
    operator: str,
    *,
    parts: str,
    inner: str = "",
    kind: type[UairError] = SourceOperatorError,
) -> NoReturn:
    """Raise what the import of one node has raised as `placed` does, for those who enter no context per node.

    Raises:
        UairError: see `placed`.
    """
    if not isinstance(error, UairError):
        raise kind(
            f"{operator} cannot be imported: {error}",
            place=place,
            hint=f"its {parts} make no sense; if they do, please report the model",
        ) from error
    if place not in error.place and not (inner and inner in error.place):
        error.place = f"{place}: {error.place}" if error.place else place
    raise error
