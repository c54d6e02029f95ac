"""The calibration cache: scales of activations for TensorRT 8 and 10, which quantize a float model with it.

A text file: a header that names the version and the calibrator, then one line a tensor, `name: hex`, the scale amax/127
as a big-endian float32. TensorRT compares the header: with another version's it says "Calibration table does not match
calibrator algorithm type" and calibrates itself. Source: NVIDIA/Deep-Learning-Accelerator-SW, tools/qdq-translator.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from uair.errors import UairError

CALIBRATOR = "EntropyCalibration2"
VERSIONS: Mapping[str, bool] = {"8502": True, "8602": True, "100300": False}
"""Digits of the versions in headers, and whether they are certain: of TensorRT 10 no cache was seen."""


class CacheError(UairError):
    """A tensor cannot stand in a calibration cache, or a cache cannot be read."""

    code = "UAIR-E0580"
    title = "Calibration cache cannot be written or read"


def cache_text(scales: Mapping[str, float], version: str) -> str:
    """A cache.

    Args:
        scales: scale by the tensor's name in the ONNX file.
        version: the digits of the header, a key of VERSIONS.

    Raises:
        CacheError: a scale is no positive float32, or a name would break its line.
    """
    lines = [f"TRT-{version}-{CALIBRATOR}"]
    for name, scale in scales.items():
        if not name or "\n" in name or ": " in name:
            raise CacheError(f"the name {name!r} of a tensor does not fit a line of a calibration cache")
        lines.append(f"{name}: {scale_hex(scale)}")
    return "\n".join([*lines, ""])


def scale_hex(scale: float) -> str:
    """Eight lower-case digits of the float32.

    Raises:
        CacheError: it is not positive and finite.
    """
    try:
        packed = struct.pack(">f", scale)
    except OverflowError:
        packed = b"\x7f\x80\x00\x00"
    (value,) = struct.unpack(">f", packed)
    if not 0 < value < float("inf"):
        raise CacheError(f"{scale!r} is no scale: it must be positive and a float32")
    return packed.hex()


def read_cache(text: str) -> tuple[str, dict[str, float]]:
    """The version and the scales by tensor of a cache.

    Raises:
        CacheError: a line that no cache has.
    """
    header, *lines = text.splitlines() or [""]
    found = re.fullmatch(r"TRT-(\d{4,6})-(?:EntropyCalibration2|MinMaxCalibration)", header)
    if found is None:
        raise CacheError(f"{header!r} is not the header of a calibration cache")
    scales: dict[str, float] = {}
    for line in lines:
        name, separator, digits = line.rpartition(": ")
        if not separator or not re.fullmatch("[0-9a-f]{8}", digits) or name in scales:
            raise CacheError(f"{line!r} is no line of a calibration cache")
        scales[name] = float(struct.unpack(">f", bytes.fromhex(digits))[0])
    return found[1], scales
