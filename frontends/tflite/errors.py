"""Errors of the TFLite frontend."""

from __future__ import annotations

from uair.errors import UairError


class TfliteSchemaError(UairError):
    """The file uses a number of the TFLite schema that is not known here: an operator, element type or option."""

    code = "UAIR-E0150"
    title = "Number of a newer TFLite schema"
    next_step = "convert the model with an older TensorFlow or LiteRT, or ask for the number to be added"


class TfliteSignatureError(UairError):
    """The signature that was asked for is not in the file."""

    code = "UAIR-E0151"
    title = "Signature is not in the file"


class TfliteStateError(UairError):
    """A variable of the model is used in a way that cannot become an input and an output."""

    code = "UAIR-E0152"
    title = "Variable cannot become an input and an output"
