"""Why an ONNX model cannot be read: one class per reason, each with its code."""

from __future__ import annotations

from uair.errors import UairError


class OnnxModelError(UairError):
    """The file is no ONNX model: empty, truncated, not a protobuf message, or without a graph."""

    code = "UAIR-E0101"
    title = "Not an ONNX model"


class OnnxVersionError(UairError):
    """The model declares an IR version or an operator set that is not known, or none at all."""

    code = "UAIR-E0102"
    title = "Unknown ONNX version"


class OnnxCycleError(UairError):
    """Nodes of the model depend on each other in a circle."""

    code = "UAIR-E0103"
    title = "Cycle in the model"


class OnnxMissingValueError(UairError):
    """A node or an output names a value that nothing defines, or leaves out an input that its operator needs."""

    code = "UAIR-E0104"
    title = "Undefined value"


class OnnxDuplicateError(UairError):
    """A value, an input or a function is defined twice."""

    code = "UAIR-E0105"
    title = "Duplicate definition"


class OnnxAttributeError(UairError):
    """A node's attribute is missing, unknown to its operator, of the wrong type, or out of range."""

    code = "UAIR-E0106"
    title = "Wrong attribute in the model"


class OnnxTensorError(UairError):
    """A stored tensor contradicts itself: its size is not its shape's, or its element type is not known."""

    code = "UAIR-E0107"
    title = "Malformed tensor"


class OnnxExternalDataError(UairError):
    """Weights kept outside the model file are missing, short, or lie where the model may not look."""

    code = "UAIR-E0108"
    title = "External data cannot be read"


class OnnxOperatorError(UairError):
    """An operator, a version of one, or a use of one is not supported."""

    code = "UAIR-E0109"
    title = "Unsupported operator"


class OnnxFunctionError(UairError):
    """A local function calls itself, is called wrongly, or the calls multiply beyond every measure."""

    code = "UAIR-E0110"
    title = "Local function cannot be inlined"


class OnnxShapeError(UairError):
    """A declared type contradicts what follows from the operators."""

    code = "UAIR-E0111"
    title = "Declared type contradicts the inferred type"


class OnnxTypeError(UairError):
    """A value is no tensor (a sequence, an optional, a map), or its element type is not known."""

    code = "UAIR-E0112"
    title = "Unsupported type"


class OnnxRuntimeOperandError(UairError):
    """An operand that decides the structure of the graph is only known when the model runs."""

    code = "UAIR-E0113"
    title = "Operand must be known when the model is read"
