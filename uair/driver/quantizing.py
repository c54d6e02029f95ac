"""Quantizing a model without compiling it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from uair.atomic import OutputError
from uair.context import Context
from uair.driver.exporting import export_onnx
from uair.driver.stages import Stages, open_samples, require_quantizable
from uair.driver.transform import bind_values, require_preprocess_fits
from uair.ir.module import Module
from uair.passes.bind_shapes import BindShapes
from uair.pipeline import Instrument, Measure, PassContext, PassManager, Verify
from uair.request import CompileRequest

if TYPE_CHECKING:
    from uair.targets.target import Target

SUFFIXES = (".onnx", ".uair")


@attrs.define(eq=False)
class Quantized:
    """A quantized model.

    Attributes:
        module: with Quantize and Dequantize nodes; it runs in the interpreter.
        report: what was done, see docs/quantization.md: `summary`, `nodes`, `skipped`, `notes`.
        target: whose scheme it has.
    """

    module: Module
    report: Mapping[str, Any]
    target: Target

    @property
    def notes(self) -> list[str]:
        """What looks wrong, in sentences."""
        return list(self.report["notes"])

    def save(self, path: str | os.PathLike[str], *, opset: int | None = None) -> None:
        """Write the model.

        Args:
            path: a file whose name ends in .onnx or .uair.
            opset: of an .onnx file; the lowest from 17 on that expresses the model when not given.

        Raises:
            OutputError: the name ends otherwise, or the file cannot be written.
            UairError: the model has no ONNX form.
        """
        from uair.text import save

        target = Path(path)
        if target.suffix.lower() not in SUFFIXES:
            raise OutputError(f"{target} is neither .onnx nor .uair", hint="the name of the file decides its format")
        if target.suffix.lower() == ".uair":
            save(self.module, target)
        else:
            export_onnx(self._written(), target, opset=opset)

    def _written(self) -> Module:
        """The module whose nodes are those of the ONNX file."""
        from uair.codegen.cpu.target import CpuTarget
        from uair.passes.unsigned_integers import UnsignedIntegers

        module = self.module
        if isinstance(self.target, CpuTarget) and self.target.is_x86:
            module = PassManager([UnsignedIntegers()], []).run(module.clone())
        return module


def quantize_module(source: Module, request: CompileRequest, instruments: Sequence[Instrument]) -> Quantized:
    """Quantize a copy of a module as its target would have it.

    Raises:
        SchemeError: the target has no integers; UairError: from the calibration data, or a pass.
    """
    from uair.passes.shape_buckets import Buckets

    target = Context.default().target(request.target)
    assert request.quantization is not None
    require_quantizable(request.quantization, target)
    module, context, measure = source.clone(), PassContext(), Measure()
    request = bind_values(module, request, context, measure)
    PassManager([BindShapes(shapes=dict(request.shapes))], [Verify()], context).run(module)
    require_preprocess_fits(module.main, request.preprocess)
    samples = open_samples(request, module.main)
    stages = Stages(request, target, Buckets({}, (), ()), context, [Verify(), measure, *instruments])
    stages.prepare(module)
    stages.quantize(module, samples)
    return Quantized(module, context.reports["quantization"], target)
