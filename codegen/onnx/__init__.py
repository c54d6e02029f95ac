"""The ONNX writer, shared by every target whose vendor reads ONNX."""

from uair.codegen.onnx.model import (
    ModelTooLarge,
    emitted_ops,
    emitter_supports,
    export,
    model_bytes,
    unsupported_reason,
)
from uair.codegen.onnx.schema import DEFAULT_OPSET, NEWEST_OPSET, OLDEST_OPSET, NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import LOCATION_KEY, Emission

__all__ = [
    "DEFAULT_OPSET",
    "LOCATION_KEY",
    "NEWEST_OPSET",
    "OLDEST_OPSET",
    "Emission",
    "Emitters",
    "ModelTooLarge",
    "NotExpressible",
    "emitted_ops",
    "emitter_supports",
    "export",
    "model_bytes",
    "unsupported_reason",
]
