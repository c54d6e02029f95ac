"""Errors of running a module: feeds that do not fit its inputs, and results that contradict its types."""

from __future__ import annotations

from uair.errors import EvaluationError, UairError
from uair.ops.gradients.base import NoGradientError as NoGradientError  # noqa: PLC0414  exported


class MissingFeedError(UairError):
    """An input of the model was given no array."""

    code = "UAIR-E0333"
    title = "Input without a value"


class UnknownFeedError(UairError):
    """An array was given for an input that the model does not have."""

    code = "UAIR-E0334"
    title = "Value without an input"


class FeedTypeError(UairError):
    """The array given for an input has another element type than the input."""

    code = "UAIR-E0335"
    title = "Input of another element type"


class FeedShapeError(UairError):
    """The array given for an input has another shape than the input, or contradicts the size of another input."""

    code = "UAIR-E0336"
    title = "Input of another shape"


class MemoryLimitError(EvaluationError):
    """A value needs more memory than the process may have."""

    code = "UAIR-E0338"
    title = "Value larger than memory"


class ResultTypeError(UairError):
    """An operator's result is not of the type that the module records for it."""

    code = "UAIR-E0337"
    title = "Result contradicts its type"


class SeedError(UairError):
    """The gradient given for an output has another shape than the output, or is for no output."""

    code = "UAIR-E0340"
    title = "Gradient of an output that does not fit"
