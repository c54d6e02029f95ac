"""The rules of ATC for the ONNX files it reads.

Sources: hicann/ge, parser/parser/onnx/onnx_parser.cc (one operator set, known operators, unique names, an input and an
output) and docs, general_restrictions.md (element types of inputs, no empty tensors).
"""

from __future__ import annotations

from uair.codegen.ascend.lower import NAMES
from uair.codegen.onnx.rules import ModelRules
from uair.errors import InternalError
from uair.ir.dtype import DType
from uair.targets.description import DeviceDescription

INPUTS = frozenset({DType.F32, DType.F16, DType.I32, DType.I64})
"""The documentation allows float32 and float16 (and uint8 through AIPP, where the file still says float); Huawei's own
scripts convert language models with integer token inputs (Ascend/ModelZoo-PyTorch, ACL_PyTorch/built-in/nlp)."""


def atc_rules(description: DeviceDescription) -> ModelRules:
    """The rules for a chip."""
    if description.onnx is None or description.onnx_operators is None:
        raise InternalError(f"the description of {description.name} lists no ONNX operators")
    return ModelRules("ATC", description.onnx.opset, frozenset(description.onnx_operators), NAMES, INPUTS)
