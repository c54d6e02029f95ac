"""Writing a module as an ONNX file for whoever reads ONNX, no target in particular."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from uair.ir.graph import Node
from uair.ir.module import Module
from uair.ops import Conv1D, Conv2D, Conv3D, MatMul, Quantize, Relu
from uair.passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from uair.passes.fold_constants import FoldConstants
from uair.pipeline import Pass, PassManager

if TYPE_CHECKING:
    from uair.codegen.onnx.table import Emitters
    from uair.quant.view import QuantizedView


def export_onnx(
    module: Module, path: str | os.PathLike[str], *, opset: int | None = None, ir_version: int | None = None
) -> int:
    """Write a module, decomposing what the operator set lacks; the operator set that was written.

    Operators that onnxruntime alone has (domain com.microsoft), which come from files that it alone reads, are written
    as such. `legalise-onnx`, run before, decomposes them too.

    Args:
        module: the module; it is not changed.
        path: the file.
        opset: of the default domain; when not given the lowest that expresses the module, from 17 on or from that of
            the file that it was read from, if that is 18, 19 or 20.
        ir_version: version of the file format; the lowest that knows the operator sets when not given.

    Raises:
        UairError: an operator cannot be expressed at that opset, or the file cannot be written.
    """
    from uair.codegen.onnx import export
    from uair.codegen.onnx.emitters.contrib import ONNXRUNTIME

    legal, chosen = _legalised(module, opset, ONNXRUNTIME)
    export(legal, Path(path), opset=chosen, ir_version=ir_version, emitters=ONNXRUNTIME)
    return chosen


def export_qoperator(module: Module, path: str | os.PathLike[str], *, opset: int | None = None) -> int:
    """Write a quantized module as an ONNX file whose operators take integers; the operator set that was written.

    Convolutions and products of matrices whose result is quantized as well are QLinearConv and QLinearMatMul; others
    are ConvInteger and MatMulInteger, whose sums are dequantized. Transposed convolutions stay between Q/DQ nodes.
    Integers are of the scheme's types: in these operators onnxruntime computes i8 by i8 exactly (measured on x86 with
    AVX2 and without VNNI, where it saturates when it fuses Q/DQ nodes).

    Args:
        module: with Quantize and Dequantize nodes; it is not changed.
        path: the file; its weights may not exceed 2 GiB.
        opset: see `export_onnx`.

    Raises:
        UairError: see `export_onnx`.
    """
    from uair.codegen.onnx.qoperator import export_qlinear
    from uair.quant.integer import lower_to_integer  # here: `export_onnx` does without

    integers = lower_to_integer(_without_clipping_relus(module), where=_has_integer_sums)
    legal, chosen = _legalised(integers, opset)
    export_qlinear(legal, path, opset=chosen)
    return chosen


def _legalised(module: Module, opset: int | None, emitters: Emitters | None = None) -> tuple[Module, int]:
    """A module that the operator set, with the operators of some emitters, can express; and the operator set.

    It is the module itself where that can be written as it is, else a copy.
    """
    from uair.codegen.onnx import NEWEST_OPSET, unsupported_reason
    from uair.codegen.onnx.opsets import LegaliseLowest, lowest_opset, opset_as_it_is
    from uair.passes.legalise_onnx import LegaliseOnnx

    reason, lowest = partial(unsupported_reason, emitters=emitters), _first_opset(module)
    if opset is None and (found := opset_as_it_is(module, lowest, NEWEST_OPSET, reason)) is not None:
        return module, found
    legal = module.clone()
    if opset is None:
        legalise: Pass = LegaliseLowest(lowest, NEWEST_OPSET, reason)
    else:
        legalise = LegaliseOnnx(opset=opset, unsupported=reason)
    # Many nodes are spelled out with the same tables and masks: those are computed once.
    PassManager([legalise, EliminateCommonSubexpressions(), FoldConstants()], []).run(legal)
    return legal, lowest_opset(legal, lowest, NEWEST_OPSET, emitters) if opset is None else opset


_SOURCE_AT_MOST = 20
"""From 21 on onnxruntime 1.32 has GroupNormalization, but no kernel: it takes 1.6 times as long (64 x 56 x 56)."""


def _first_opset(module: Module) -> int:
    """The lowest operator set to write: what reads the source file reads its operator set.

    With a lower one Gelu, one node since operator set 20, would become five.
    """
    from uair.codegen.onnx import DEFAULT_OPSET

    version = dict(module.origin.versions).get("ai.onnx", "") if module.origin.format == "onnx" else ""
    return max(DEFAULT_OPSET, min(int(version), _SOURCE_AT_MOST)) if version.isdecimal() else DEFAULT_OPSET


def _without_clipping_relus(module: Module) -> Module:
    """A copy without each Relu whose results become integers of which none is below 0: rounding does the same."""
    result = module.clone()
    for graph in result.all_graphs():
        for node in list(graph):
            if isinstance(node.op, Relu) and node.output.uses and all(map(_starts_at_zero, node.output.users)):
                operand = node.inputs[0]
                assert operand is not None
                graph.replace(node, [operand])
    return result


def _starts_at_zero(node: Node) -> bool:
    """Whether a node quantizes, and 0 becomes the least integer."""
    if not isinstance(node.op, Quantize) or node.op.block_size:
        return False
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    least = node.output.type.dtype.range[0]
    return least == 0 if zero is None else zero.is_constant and bool((zero.numpy() == least).all())


def _has_integer_sums(view: QuantizedView) -> bool:
    """Whether a node becomes ConvInteger or MatMulInteger. ONNX has none for transposed convolutions."""
    from uair.quant.view import TRANSPOSED

    return not isinstance(view.node.op, TRANSPOSED) and not _is_qlinear(view)


def _is_qlinear(view: QuantizedView) -> bool:
    """Whether a node can be a QLinearConv or QLinearMatMul."""
    bias_fits = view.float_bias is None and (view.bias is None or view.integer_bias() is not None)
    if view.output is None or view.output.scale.ndim or not bias_fits:
        return False
    return isinstance(view.node.op, (Conv1D, Conv2D, Conv3D, MatMul))
