"""Quantizing a model without compiling it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from uair.atomic import OutputError
from uair.context import Context
from uair.driver.exporting import export_onnx, export_qoperator
from uair.driver.stages import Stages, open_samples, require_quantizable
from uair.driver.transform import bind_values, settle_preprocess
from uair.ir.module import Module
from uair.passes.bind_shapes import BindShapes
from uair.pipeline import Instrument, Measure, Pass, PassContext, PassManager, Verify
from uair.request import CompileRequest

if TYPE_CHECKING:
    from uair.targets.target import Target

Form: TypeAlias = Literal["qdq", "qoperator"]
FORMS: tuple[Form, ...] = ("qdq", "qoperator")
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
    report: Mapping[str, Any] = attrs.field(repr=False)
    target: Target

    @property
    def notes(self) -> list[str]:
        """What looks wrong, in sentences."""
        return list(self.report["notes"])

    def save(self, path: str | os.PathLike[str], *, form: Form = "qdq", opset: int | None = None) -> None:
        """Write the model.

        Args:
            path: a file whose name ends in .onnx or .uair.
            form: of an .onnx file. "qdq": QuantizeLinear and DequantizeLinear around operators on floats, which
                runtimes fuse. "qoperator": operators on integers, QLinearConv, QLinearMatMul, ConvInteger and
                MatMulInteger.
            opset: of an .onnx file; see `uair.export_onnx` for the one when none is given.

        Raises:
            OutputError: the name ends otherwise, there is no such form, or the file cannot be written.
            UairError: the model has no ONNX form.
        """
        from uair.text import save

        target = Path(path)
        if target.suffix.lower() not in SUFFIXES:
            raise OutputError(f"{target} is neither .onnx nor .uair", hint="the name of the file decides its format")
        if form not in FORMS:
            raise OutputError(f"there is no form {form!r}", hint=f"it is one of {', '.join(FORMS)}")
        if target.suffix.lower() == ".uair":
            save(self.module, target)
        elif form == "qoperator":
            export_qoperator(self.module, target, opset=opset)
        else:
            written = PassManager(self._last_passes(), []).run(self.module.clone())
            export_onnx(written, target, opset=opset)

    def _last_passes(self) -> list[Pass]:
        """What is done to a copy of the module before it is written."""
        from uair.codegen.cpu.target import CpuTarget
        from uair.passes.unsigned_integers import UnsignedIntegers

        return [UnsignedIntegers()] if isinstance(self.target, CpuTarget) and self.target.is_x86 else []


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
    request = settle_preprocess(module.main, request)
    samples = open_samples(request, module.main)
    stages = Stages(request, target, Buckets({}, (), ()), context, [Verify(), measure, *instruments])
    stages.prepare(module)
    stages.quantize(module, samples)
    return Quantized(module, context.reports["quantization"], target)
