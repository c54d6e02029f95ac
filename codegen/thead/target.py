"""The T-Head targets: what is written for SHL's csinn operators, and for HHB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import attrs
import numpy as np

from uair.artifact import ArtifactBuilder
from uair.codegen.onnx.interface import drop_unused_inputs, legal_interface
from uair.codegen.onnx.model import unsupported_reason
from uair.codegen.onnx.target import OnnxTarget
from uair.codegen.thead import hhb
from uair.codegen.thead.csinn import Platform, Written, write_csinn
from uair.codegen.thead.errors import NotInCsinn
from uair.codegen.thead.lower import Arithmetic
from uair.codegen.thead.operators import EMITTERS
from uair.codegen.thead.outputs import WatchOutputs
from uair.codegen.thead.program import CType
from uair.codegen.thead.source import Port
from uair.codegen.thead.tool import Shl
from uair.errors import UairError
from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Node
from uair.ir.module import Module
from uair.ops import Dequantize, Quantize
from uair.passes.canonicalise import Canonicalise
from uair.passes.finite_constants import FiniteConstants
from uair.passes.flatten_linear import FlattenLinear
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.passes.remove_quantization import RemoveQuantization
from uair.pipeline import Pass, PassContext
from uair.request import CompileRequest
from uair.targets.errors import OptionError
from uair.targets.options import TargetOptions, option, parse_options
from uair.targets.tool import VendorTool

MANIFEST_KEY = "thead"
GOLDEN = "golden"
INT8_SCHEME = "int8_asym_w_sym"


@attrs.frozen
class Chip:
    """What is written for a target.

    Attributes:
        platform: of the csinn route.
        arithmetic: likewise.
        scheme: HHB's word for the numbers of a float model.
    """

    platform: Platform
    arithmetic: Arithmetic
    scheme: str


CPU = Chip(
    Platform("C920", "c920", "$(SHL)/lib/libshl.a -static", "riscv64-linux-gnu-gcc", "csinn/csi_nn.h"),
    Arithmetic(CType.FLOAT16),
    "float16",
)
CHIPS: Mapping[str, Chip] = {
    "x86_ref": Chip(
        Platform("REF", "x86", "$(SHL)/lib/libshl.a", "gcc"), Arithmetic(CType.FLOAT32, dilates=False), "float32"
    ),
    "c920": CPU,
    "th1520": Chip(
        Platform(
            "TH1520",
            "th1520",
            "-L$(SHL)/lib -lshl_th1520 -Wl,--allow-shlib-undefined",
            "riscv64-linux-gnu-gcc",
            "shl_public/shl_pnna.h",
            npu=True,
        ),
        Arithmetic(CType.FLOAT16, integers_only=True),
        "float16",
    ),
}


class THeadTarget(OnnxTarget):
    """A chip that SHL has kernels for."""

    names: ClassVar[str | None] = hhb.NAMES

    def emitted_ops(self, node: Node) -> Sequence[str] | None:
        """Nothing of ONNX: the csinn route decides.

        Raises:
            NotInCsinn: UAIR writes no csinn operator for it.
        """
        if type(node.op) not in EMITTERS and not isinstance(node.op, (Quantize, Dequantize)):
            raise NotInCsinn(f"csinn has no {node.op_type}, or none that UAIR writes")
        return None

    def legalise(self) -> tuple[Pass, ...]:
        """Decompose what csinn lacks."""
        return (LegaliseOnnx(opset=self.opset, unsupported=self.lacks), Canonicalise())

    def prepare(self) -> tuple[Pass, ...]:
        """Constants that float16 holds."""
        return (FiniteConstants(),) if CType.FLOAT16 is CHIPS[self.name].arithmetic.real else ()

    def tool(self) -> VendorTool:
        """A C compiler with SHL."""
        platform = CHIPS[self.name].platform
        return Shl(platform.folder, platform.compiler, runs_here=platform.folder == "x86")

    def lacks(self, node: Node, opset: int) -> str:
        """Why a node must be decomposed for csinn; empty when it need not."""
        return self.must_decompose(node)

    def chip(self, request: CompileRequest) -> Chip:
        """What the request asks for."""
        return CHIPS[self.name]

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write the csinn route, and the HHB route where HHB's importer takes the model.

        Raises:
            NotInCsinn, UnknownRange: a node has no csinn form.
        """
        chip = self.chip(request)
        quantized = any(isinstance(node.op, Quantize) for node in module.main)
        written = write_csinn(module.main, artifact, chip.platform, chip.arithmetic, quantized=quantized)
        golden = _golden(artifact, written)
        artifact.manifest[MANIFEST_KEY] = {
            "api": chip.platform.api,
            "operators": written.operators,
            "params_bytes": written.params,
            "inputs": [_describe(port) for port in written.inputs],
            "outputs": [_describe(port) for port in written.outputs],
            "golden": golden,
            "hhb": self._hhb(module, artifact, request, quantized=quantized),
        }

    def _hhb(
        self, module: Module, artifact: ArtifactBuilder, request: CompileRequest, *, quantized: bool
    ) -> dict[str, Any]:
        """Write the HHB route; what the manifest says of it."""
        chip = self.chip(request)
        real, context = module.clone(), PassContext()
        RemoveQuantization().run(real, context)  # HHB quantizes by itself
        drop_unused_inputs(real.main)
        sources = list(real.main.input_names)
        legal_interface(real.main, hhb.NAMES)
        names = dict(zip(sources, real.main.input_names, strict=True))
        try:
            for step in (LegaliseOnnx(opset=self.opset, unsupported=unsupported_reason), Canonicalise()):
                step.run(real, context)
            self.write_onnx(real, artifact.path_for(hhb.MODEL))
        except UairError as error:  # the csinn route stands without it
            artifact.path_for(hhb.MODEL).unlink(missing_ok=True)
            return {"written": False, "reason": error.message}
        graph = real.main
        shapes = [static(t.type.dims) for t in graph.inputs]
        command = hhb.HhbCommand(
            board=chip.platform.folder.replace("x86", "x86_ref"),
            scheme=INT8_SCHEME if quantized else chip.scheme,
            inputs=list(zip(graph.input_names, shapes, strict=True)),
            outputs=graph.output_names,
            calibration=_calibration(names, real, artifact, request) if quantized else "",
        )
        version = self.description.toolchain.checked[-1]
        artifact.add_text(hhb.SCRIPT, command.script(version), executable=True)
        return {"written": True, "board": command.board, "scheme": command.scheme}


@attrs.frozen
class NpuOptions(TargetOptions):
    """What a user may tell a chip with an NPU."""

    unit: Literal["npu", "cpu"] = option("npu", help="the NPU, or the C910 cores in float16")


class NpuTarget(THeadTarget):
    """A chip whose NPU SHL compiles for, beside CPU cores that SHL has kernels for."""

    options = NpuOptions

    def prepare(self) -> tuple[Pass, ...]:
        """Everything in the NPU's operators before ranges are measured."""
        return (
            *super().prepare(),
            FlattenLinear(),
            LegaliseOnnx(opset=self.opset, unsupported=self.lacks),
            Canonicalise(),
        )

    def before_int8(self) -> tuple[Pass, ...]:
        """The NPU has integers only, results included: those of a part of the model, too."""
        return (WatchOutputs(),)

    def check_request(self, request: CompileRequest) -> None:
        """The cores compute in float16 only.

        Raises:
            OptionError: INT8 on the cores.
        """
        super().check_request(request)
        if self._unit(request) == "cpu" and request.quantization is not None:
            raise OptionError("the C910 cores are given float16", hint="leave --quantize out, or unit=cpu")

    def chip(self, request: CompileRequest) -> Chip:
        """The NPU or the cores."""
        return CPU if self._unit(request) == "cpu" else CHIPS[self.name]

    def _unit(self, request: CompileRequest) -> str:
        return parse_options(NpuOptions, request.options, self.name).unit


def _describe(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.ctype.value[0].lower(), "shape": list(port.shape)}


def _calibration(names: Mapping[str, str], real: Module, artifact: ArtifactBuilder, request: CompileRequest) -> str:
    """Write the samples for HHB, by its names of the inputs; the name of the file, empty without samples.

    HHB takes one file, in which the first axis of every array counts the samples; each has a batch of 1 then.
    """
    if request.samples is None or any(t.type.dims[:1] != (1,) for t in real.main.inputs):
        return ""
    columns: dict[str, list[Array]] = {name: [] for name in names.values()}
    for sample in request.samples:
        for source, name in names.items():
            columns[name].append(np.asarray(sample[source]))
    artifact.add_arrays(hhb.CALIBRATION, {name: np.concatenate(parts) for name, parts in columns.items()})
    return hhb.CALIBRATION


def _golden(artifact: ArtifactBuilder, written: Written) -> dict[str, list[str]]:
    """Write the reference arrays as .npy files, which the C program reads; their names."""
    golden: Mapping[str, Any] | None = artifact.manifest.get(GOLDEN)
    if golden is None:
        return {}
    names: dict[str, list[str]] = {}
    for key, ports in (("inputs", written.inputs), ("outputs", written.outputs)):
        names[key] = []
        with np.load(artifact.path_for(str(golden[key])), allow_pickle=False) as archive:
            for i, port in enumerate(ports):
                name = f"{GOLDEN}/{key[:-1]}_{i}.npy"
                np.save(artifact.path_for(name), np.ascontiguousarray(archive[port.name]), allow_pickle=False)
                names[key].append(name)
    return names
