"""The Ascend targets: what is written for CANN's ATC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from uair.artifact import ArtifactBuilder
from uair.codegen.ascend.chips import Chip, chip_of
from uair.codegen.ascend.emitters import EMITTERS
from uair.codegen.ascend.lower import NAMES, LowerToAscend
from uair.codegen.ascend.options import AscendOptions, check_options
from uair.codegen.ascend.plan_layout import PlanLayout
from uair.codegen.ascend.tool import Atc
from uair.codegen.onnx import Emitters
from uair.codegen.onnx.target import OnnxTarget
from uair.ir.graph import Node
from uair.ir.module import Module
from uair.ops import Dequantize, Quantize
from uair.passes.canonicalise import Canonicalise
from uair.passes.layout_align import LayoutAlign
from uair.passes.propagate_layout import PropagateLayout
from uair.pipeline import Pass
from uair.request import CompileRequest
from uair.targets.errors import OptionError
from uair.targets.options import TargetOptions, parse_options
from uair.targets.tool import VendorTool

ONNX_ONLY = ("out_nodes", "output_types", "output_hw_layout", "input_fp16_nodes", "input_hw_layout")
"""Options that ATC ignores for GE IR."""


class AscendTarget(OnnxTarget):
    """A chip that CANN's ATC compiles ONNX or GE IR for."""

    emitters: ClassVar[Emitters | None] = EMITTERS
    names: ClassVar[str | None] = NAMES
    options: ClassVar[type[TargetOptions]] = AscendOptions
    takes_buckets: ClassVar[bool] = True

    @property
    def chip(self) -> Chip:
        """What the chip has."""
        return chip_of(self.name)

    def check_request(self, request: CompileRequest) -> None:
        """Refuse options that the chip, its releases of CANN, or a quantized model do not take."""
        super().check_request(request)
        options = self._options(request)
        check_options(
            options,
            self.chip,
            self.name,
            quantized=request.quantization is not None,
            open_sizes=bool(request.buckets),
        )
        ignored = [n for n in ONNX_ONLY if getattr(options, n)]
        if options.format == "air" and (ignored or request.buckets):
            raise OptionError(f"ATC ignores {ignored[0] if ignored else 'shape buckets'} for GE IR", hint="format=onnx")

    def _options(self, request: CompileRequest) -> AscendOptions:
        return parse_options(AscendOptions, request.options, self.name)

    def emitted_ops(self, node: Node) -> Sequence[str] | None:
        """The ONNX operators of a node; of quantization those that it is lowered to."""
        if isinstance(node.op, Quantize):
            return ["AscendQuant"]
        if isinstance(node.op, Dequantize):
            return ["AscendDequant"]
        return super().emitted_ops(node)

    def prepare(self) -> tuple[Pass, ...]:
        """Channels first where that saves transposes, each a kernel of its own on the device.

        LayerNorm is arithmetic at this opset in any case, and a convolution's weight is quantized by channels, a
        Linear's as a whole.
        """
        return (PropagateLayout(pointwise="arithmetic"), Canonicalise(), *super().prepare())

    def legalise(self) -> tuple[Pass, ...]:
        """Decompose and clean up, state quantization in Ascend's operators, align to the chip's memory."""
        return (*super().legalise(), LowerToAscend(), PlanLayout(self.name, self.description))

    def tool(self) -> VendorTool:
        """ATC."""
        return Atc()

    @property
    def layout_pass(self) -> LayoutAlign:
        """The plan of the 32-byte layout. ATC chooses its own when it compiles: this one says what it will cost."""
        return LayoutAlign(self.name, stated=self.description)

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write the model, the scripts around ATC, layout.json, and the files that options and quantization ask for.

        Raises:
            NotExpressible, NoGeForm: an operator has no form that ATC reads.
            PreprocessError, OptionError, BucketError: ATC cannot do what is asked for with this model.
            RuleViolation: the ONNX file breaks a rule of ATC.
        """
        from uair.codegen.ascend.emission import Emitter

        Emitter(self, module, artifact, request, self._options(request)).run()
