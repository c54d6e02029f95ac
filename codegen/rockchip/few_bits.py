"""Weights of few bits, which rknn-toolkit2 makes itself: what it is told, and what cannot be told to it.

Measured with rknn-toolkit2 2.5.0: `quantized_dtype="w4a16"` rounds the weights of matrices and of convolutions to the
integers -7 to 7 and computes in float16; it wants samples, and takes `quantized_method` "channel" or "group32" to
"group256" in steps of 32; convolutions have one scale for each output channel in any case. RK3576 alone has it.
"w8a16" is refused for RK3588, RK3576 and RK3566.
"""

from __future__ import annotations

from typing import Any

from uair.quant.errors import CalibrationSourceError, SchemeError
from uair.request import WeightOnly

ALGORITHM = "normal"
"""To the nearest: the greatest weight of a channel or group becomes 7."""


def quantized_dtype(settings: WeightOnly) -> str:
    """The toolkit's word for weights of so many bits."""
    return f"w{settings.bits}a16"


def few_bits_config(settings: WeightOnly) -> dict[str, Any]:
    """Arguments of `RKNN.config` for weights of few bits."""
    from uair.passes.quantize_weights import DEFAULT_GROUP  # here: with what rounds weights, which INT8 does without

    group = DEFAULT_GROUP[settings.bits] if settings.group is None else settings.group
    return {
        "quantized_dtype": quantized_dtype(settings),
        "quantized_algorithm": ALGORITHM,
        "quantized_method": f"group{group}" if group else "channel",
    }


def require_toolkit_weights(settings: WeightOnly) -> None:
    """Refuse what the toolkit cannot be told.

    Raises:
        CalibrationSourceError: there are no samples.
        SchemeError: a way of rounding, or nodes that keep their weights.
    """
    if settings.calibration is None:
        raise CalibrationSourceError(
            f"rknn-toolkit2 wants samples for {quantized_dtype(settings)}", hint="give some with --calib"
        )
    given = {
        f"method {settings.method}": settings.method not in ("auto", "nearest"),
        "skip": bool(settings.skip),
    }
    for what in (name for name, is_given in given.items() if is_given):
        raise SchemeError(
            f"{what} is given, but rknn-toolkit2 rounds weights of {settings.bits} bits itself, all to the nearest",
            hint="leave it out, or use --quantize int8, where UAIR decides",
        )
