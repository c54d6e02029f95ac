"""Errors of calibration and quantization."""

from __future__ import annotations

from uair.errors import UairError


class CalibrationSourceError(UairError):
    """Calibration data is missing, or is of a kind that is not understood; the message says what was looked for."""

    code = "UAIR-E0703"
    title = "Calibration data cannot be found"


class CalibrationDataError(UairError):
    """A calibration sample does not fit the model: wrong name, shape or element type, an unreadable file, NaN."""

    code = "UAIR-E0704"
    title = "Calibration data does not fit"


class EmptyCalibrationError(UairError):
    """There is not a single calibration sample."""

    code = "UAIR-E0705"
    title = "No calibration samples"


class QuantizationError(UairError):
    """A range or weight cannot be expressed by 8-bit integers of the target's scheme."""

    code = "UAIR-E0706"
    title = "Cannot be quantized"


class SchemeError(UairError):
    """The description of a quantization scheme is wrong: an unknown key, or a value that is not allowed."""

    code = "UAIR-E0707"
    title = "Wrong quantization scheme"
