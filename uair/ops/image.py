"""Image files as tensors."""

from __future__ import annotations

import importlib
import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType, inferred
from uair.ops.base import Operator, Sample, bad, case, operator, ranked, require

_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged or unknown files."""


@operator(inputs="encoded", outputs="image", family="image")
class DecodeImage(Operator):
    """The pixels of an image file. encoded: [bytes] u8; result: [H, W, channels] u8, channels 3, or 1 for gray.

    BMP, JPEG, JPEG 2000, PNG, PNM, TIFF and WebP; what cannot be read gives no pixels, [0, 0, channels]. Colours are
    those that Pillow decodes to; gray is 0.299 R + 0.587 G + 0.114 B. Evaluation needs Pillow. Source: ONNX
    ImageDecoder (20).
    """

    pixel_format: Literal["rgb", "bgr", "gray"] = "rgb"

    def infer(self, encoded: TensorType) -> TensorType:
        require(encoded.dtype is DType.U8, "encoded must be u8, is {}", encoded.dtype)
        ranked(encoded, "encoded", 1)
        return inferred(DType.U8, (None, None, 1 if self.pixel_format == "gray" else 3))

    def evaluate(self, encoded: Array) -> Array:
        try:
            pillow: Any = importlib.import_module("PIL.Image")
        except ImportError:
            raise EvaluationError("DecodeImage needs Pillow", hint="pip install 'uair[image]'") from None
        gray = self.pixel_format == "gray"
        try:
            with pillow.open(io.BytesIO(encoded.tobytes())) as image:
                pixels = np.asarray(image.convert("L" if gray else "RGB"))
        except _UNREADABLE:
            return np.zeros((0, 0, 1 if gray else 3), np.uint8)
        except pillow.DecompressionBombError as error:
            raise EvaluationError(f"DecodeImage: the image is too large: {error}") from error
        if gray:
            return pixels[..., None]
        return np.ascontiguousarray(pixels[..., ::-1]) if self.pixel_format == "bgr" else pixels

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        pixels = bytes(range(0, 180, 10))
        encoded = np.frombuffer(b"P6 3 2 255\n" + pixels, np.uint8)
        yield case(cls(), encoded)
        yield case(cls(pixel_format="bgr"), encoded)
        yield case(cls(pixel_format="gray"), encoded)
        yield bad(cls(), "i8[9]", because="encoded must be u8")
        yield bad(cls(), "u8[3,3]", because="encoded must have rank 1")
