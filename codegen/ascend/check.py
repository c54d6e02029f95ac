"""The rules of ATC for the ONNX files it reads.

Sources: hicann/ge, parser/parser/onnx/onnx_parser.cc (one operator set, known operators, unique names, an input and an
output) and docs, general_restrictions.md (element types of inputs, no empty tensors).
"""

from __future__ import annotations

from uair.codegen.ascend.lower import NAMES
from uair.codegen.onnx.rules import ModelRules
from uair.errors import InternalError
from uair.targets.description import DeviceDescription


def atc_rules(description: DeviceDescription) -> ModelRules:
    """The rules for a chip."""
    if description.onnx is None or description.onnx_operators is None:
        raise InternalError(f"the description of {description.name} lists no ONNX operators")
    inputs = frozenset(description.interface.input_dtypes)
    return ModelRules("ATC", description.onnx.opset, frozenset(description.onnx_operators), NAMES, inputs)
