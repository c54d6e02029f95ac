"""Why an ONNX model cannot be read: one class per reason, each with its code."""

from __future__ import annotations

from uair.errors import UairError


class OnnxModelError(UairError):
    """The file is no ONNX model: empty, truncated, not a protobuf message, or without a graph."""

    code = "UAIR-E0101"
    title = "Not an ONNX model"
    next_step = "export the model again, or copy the file again"


class OnnxVersionError(UairError):
    """The model declares an IR version or an operator set that is not known, or none at all."""

    code = "UAIR-E0102"
    title = "Unknown ONNX version"


class OnnxCycleError(UairError):
    """Nodes of the model depend on each other in a circle."""

    code = "UAIR-E0103"
    title = "Cycle in the model"
    next_step = "the model was edited wrongly or is damaged; export it again"


class OnnxMissingValueError(UairError):
    """A node or an output names a value that nothing defines, or leaves out an input that its operator needs."""

    code = "UAIR-E0104"
    title = "Undefined value"
    next_step = "the model was edited wrongly or is damaged; export it again"


class OnnxDuplicateError(UairError):
    """A value, an input or a function is defined twice."""

    code = "UAIR-E0105"
    title = "Duplicate definition"
    next_step = "the model was edited wrongly or is damaged; export it again"


class OnnxAttributeError(UairError):
    """A node's attribute is missing, unknown to its operator, of the wrong type, or out of range."""

    code = "UAIR-E0106"
    title = "Wrong attribute in the model"
    next_step = "correct the exporter or tool that wrote the node, and export the model again"


class OnnxTensorError(UairError):
    """A stored tensor contradicts itself: its size is not its shape's, or its element type is not known."""

    code = "UAIR-E0107"
    title = "Malformed tensor"
    next_step = "the model is damaged or was edited wrongly; export it again"


class OnnxExternalDataError(UairError):
    """Weights kept outside the model file are missing, short, or lie where the model may not look."""

    code = "UAIR-E0108"
    title = "External data cannot be read"
    next_step = "copy the model together with its data files, or export it again"


class OnnxOperatorError(UairError):
    """An operator, a version of one, or a use of one is not supported."""

    code = "UAIR-E0109"
    title = "Unsupported operator"


class OnnxFunctionError(UairError):
    """A local function calls itself, is called wrongly, or the calls multiply beyond every measure."""

    code = "UAIR-E0110"
    title = "Local function cannot be inlined"
    next_step = "inline the functions with onnx.inliner before, or export the model without functions"


class OnnxShapeError(UairError):
    """A declared element type contradicts what follows from the operators. A wrong shape is a warning."""

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
