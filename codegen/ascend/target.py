"""The Ascend targets: what is written for CANN's ATC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from uair.artifact import ArtifactBuilder
from uair.codegen.ascend.aipp import AippInput, aipp_inputs, aipp_text
from uair.codegen.ascend.atc import AtcCommand, input_format, input_shapes
from uair.codegen.ascend.check import atc_rules
from uair.codegen.ascend.emitters import EMITTERS
from uair.codegen.ascend.kernels import add_kernels
from uair.codegen.ascend.lower import NAMES, REPORT, LowerToAscend, has_quantization
from uair.codegen.ascend.record import record_text
from uair.codegen.ascend.tool import Atc
from uair.codegen.onnx import Emitters
from uair.codegen.onnx.target import OnnxTarget
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.names import Namer
from uair.ops import Dequantize, Pack, Quantize, Unpack
from uair.passes.layout_align import LayoutAlign, layout_report
from uair.pipeline import Pass
from uair.request import CompileRequest
from uair.targets.tool import VendorTool

MODEL, OM, AIPP, RECORD, LAYOUT, BUILD = "model.onnx", "model", "aipp.cfg", "record.txt", "layout.json", "build.sh"
MANIFEST_KEY = "ascend"


class AscendTarget(OnnxTarget):
    """A chip that CANN's ATC compiles ONNX for."""

    emitters: ClassVar[Emitters | None] = EMITTERS
    names: ClassVar[str | None] = NAMES

    def emitted_ops(self, node: Node) -> Sequence[str] | None:
        """The ONNX operators of a node; of quantization those that it is lowered to."""
        if isinstance(node.op, Quantize):
            return ["AscendQuant"]
        if isinstance(node.op, Dequantize):
            return ["AscendDequant"]
        return super().emitted_ops(node)

    def legalise(self) -> tuple[Pass, ...]:
        """Decompose and clean up, state quantization in Ascend's operators, align to the chip's memory."""
        return (*super().legalise(), LowerToAscend(), self.layout_pass)

    @property
    def layout_pass(self) -> LayoutAlign:
        """The plan of the 32-byte layout. ATC chooses its own when it compiles: this one says what it will cost."""
        return LayoutAlign(alignment=self.description.alignment.bytes)

    def tool(self) -> VendorTool:
        """ATC."""
        return Atc()

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx, build.sh, layout.json, and where they apply aipp.cfg and record.txt.

        Raises:
            NotExpressible: an operator has no form that ATC reads.
            PreprocessError: AIPP cannot do the preprocessing.
            RuleViolation: the ONNX file breaks a rule of ATC.
        """
        prepared = aipp_inputs(module.main, request.preprocess)
        written = module.clone()
        for graph in written.all_graphs():
            drop_layouts(graph)
        inputs, outputs = legal_interface(written.main)
        path = artifact.path_for(MODEL)
        self.write_onnx(written, path)
        atc_rules(self.description).check(path)
        if has_quantization(module):
            artifact.add_text(RECORD, record_text(artifact.report[REPORT]["layers"]))
        if prepared:
            artifact.add_text(AIPP, aipp_text(prepared))
        plan = self.layout_pass
        artifact.add_json(LAYOUT, layout_report(module.main, plan.itemsize, plan.alignment))
        command = AtcCommand(
            model=MODEL,
            output=OM,
            soc=self.description.toolchain.soc_version,
            input_format=input_format(written.main),
            input_shape=input_shapes(inputs, written.main),
            aipp=AIPP if prepared else "",
        )
        artifact.add_text(BUILD, command.script(), executable=True)
        add_kernels(written, self.description, artifact)
        artifact.manifest[MANIFEST_KEY] = interface(module.main, inputs, outputs, prepared)


def drop_layouts(graph: Graph) -> None:
    """Remove conversions between layouts: in the ONNX file every tensor is plain, and ATC inserts its own."""
    for node in graph:
        if isinstance(node.op, (Pack, Unpack)):
            x = node.inputs[0]
            assert x is not None
            graph.replace(node, [x])


def legal_interface(graph: Graph) -> tuple[list[str], list[str]]:
    """Give inputs and outputs names that ATC's command line can state; the new names of both, in order."""
    namer = Namer(NAMES, default="value")
    graph.input_names = [namer.unique(name) for name in graph.input_names]
    graph.output_names = [namer.unique(name) for name in graph.output_names]
    return graph.input_names, graph.output_names


def interface(
    graph: Graph, inputs: Sequence[str], outputs: Sequence[str], prepared: Sequence[AippInput]
) -> dict[str, Any]:
    """For the manifest: what the compiled model takes and gives, by its names."""
    by_index = {each.index: each for each in prepared}
    taken: list[dict[str, Any]] = []
    for i, (name, tensor) in enumerate(zip(inputs, graph.inputs, strict=True)):
        plain = {"dtype": str(tensor.type.dtype), "shape": list(tensor.type.dims)}
        own = by_index[i].manifest() if i in by_index else plain
        taken.append({"name": name, "source": graph.input_names[i], **own})
    given = [
        {"name": name, "source": source, "dtype": str(tensor.type.dtype), "shape": list(tensor.type.dims)}
        for name, source, tensor in zip(outputs, graph.output_names, graph.outputs, strict=True)
    ]
    return {"model": f"{OM}.om", "inputs": taken, "outputs": given}
