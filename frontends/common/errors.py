"""Errors that every frontend but ONNX's raises; what is peculiar to one framework stands in its own folder."""

from __future__ import annotations

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
