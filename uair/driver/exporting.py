"""Writing a module as an ONNX file for whoever reads ONNX, no target in particular."""

from __future__ import annotations

import os
from pathlib import Path

from uair.ir.module import Module
from uair.pipeline import PassManager


def export_onnx(
    module: Module, path: str | os.PathLike[str], *, opset: int | None = None, ir_version: int | None = None
) -> int:
    """Write a module, decomposing what the operator set lacks; the operator set that was written.

    Args:
        module: the module; it is not changed.
        path: the file.
        opset: of the default domain; when not given the lowest from 17 on that expresses the module.
        ir_version: version of the file format; the lowest that knows the operator sets when not given.

    Raises:
        UairError: an operator cannot be expressed at that opset, or the file cannot be written.
    """
    from uair.codegen.cpu.opsets import LegaliseLowest, lowest_opset
    from uair.codegen.onnx import DEFAULT_OPSET, NEWEST_OPSET, export
    from uair.passes.legalise_onnx import LegaliseOnnx

    legal = module.clone()
    if opset is None:
        PassManager([LegaliseLowest(DEFAULT_OPSET, NEWEST_OPSET)], []).run(legal)
        opset = lowest_opset(legal, DEFAULT_OPSET, NEWEST_OPSET)
    else:
        PassManager([LegaliseOnnx(opset=opset)], []).run(legal)
    export(legal, Path(path), opset=opset, ir_version=ir_version)
    return opset
