"""The CPU targets: an optimised ONNX model, run by onnxruntime."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs

from uair.artifact import Artifact, ArtifactBuilder
from uair.codegen.cpu.tool import OnnxRuntime
from uair.codegen.onnx.emitters.contrib import ONNXRUNTIME
from uair.codegen.onnx.opsets import LegaliseLowest, lowest_emitted_ops, lowest_opset
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.target import OnnxTarget
from uair.codegen.standalone import standalone
from uair.codegen.standalone.parts import lacks_vnni
from uair.errors import UairError
from uair.ir.dtype import Array
from uair.ir.graph import Node
from uair.ir.module import Module
from uair.passes.canonicalise import Canonicalise
from uair.passes.float_results import FoldableWeights, IntegerSums
from uair.passes.store_weights import StoreWeights
from uair.passes.unsigned_integers import UnsignedIntegers
from uair.passes.widen_floats import WidenFloats
from uair.pipeline import Pass, PassManager
from uair.request import CompileRequest
from uair.targets.options import TargetOptions, option, parse_options
from uair.targets.tool import VendorTool

MODEL, RUN = "model.onnx", "run.py"
MANIFEST_KEY = "cpu"


class RuntimeMissing(UairError):
    """A package that runs an artifact on this machine is not installed."""

    code = "UAIR-E0801"
    title = "Runtime is not installed"


class RuntimeFailed(UairError):
    """The runtime refused an artifact or failed while running it."""

    code = "UAIR-E0802"
    title = "Runtime failed"


@attrs.frozen
class CpuOptions(TargetOptions):
    """What a user may tell the target."""

    weights: Literal["f32", "bf16"] = option("f32", help="what float weights are stored in (computed with in f32)")
    int8: Literal["any", "vnni"] = option(
        "any", help="x86 processors on which INT8 is right: all, or (faster there, refused elsewhere) those with VNNI"
    )
    triton: tuple[Literal["onnx", "python"], ...] = option((), help="Triton repositories to write: onnx, python")


class CpuTarget(OnnxTarget):
    """onnxruntime on CPUs."""

    options: ClassVar[type[TargetOptions]] = CpuOptions
    fallback: ClassVar[str | None] = None
    emitters: ClassVar[Emitters | None] = ONNXRUNTIME

    def emitted_ops(self, node: Node) -> Sequence[str] | None:
        """The ONNX operators of a node, at the lowest opset that has them."""
        return lowest_emitted_ops(node, self.opset, self.newest, self.emitters)

    def prepare(self) -> tuple[Pass, ...]:
        """Compute bf16 in f32: onnxruntime has no kernels for it but those that convert it."""
        return (*super().prepare(), WidenFloats())

    def legalise(self) -> tuple[Pass, ...]:
        """Decompose what ONNX lacks, then clean up."""
        return (LegaliseLowest(self.opset, self.newest, self.unsupported), Canonicalise())

    @property
    def is_x86(self) -> bool:
        """Whether the CPU is one whose 8-bit products may saturate."""
        return "x86_64" in self.description.detection.machine

    @property
    def newest(self) -> int:
        """The newest opset that the runtime reads."""
        onnx = self.description.onnx
        assert onnx is not None
        return onnx.newest

    def tool(self) -> VendorTool:
        """onnxruntime, which proves the artifact."""
        return OnnxRuntime()

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx, run.py, and the Triton repositories that are asked for.

        Raises:
            TritonError: an input or output is of a type that Triton does not transport.
        """
        chosen = parse_options(CpuOptions, request.options, self.name)
        if chosen.weights == "bf16":
            module = PassManager([StoreWeights()], []).run(module.clone())
        if self.is_x86:
            module = PassManager(int8_forms(chosen.int8), []).run(module.clone())
        opset = lowest_opset(module, self.opset, self.newest, self.emitters)
        self.write_onnx(module, artifact.path_for(MODEL), opset=opset)
        script = standalone(Path(__file__).with_name("run_script.py"))
        artifact.add_text(RUN, script, executable=True)
        artifact.manifest[MANIFEST_KEY] = {"opset": opset, "weights": chosen.weights, "int8": chosen.int8}
        if chosen.triton:
            from uair.codegen.triton import Repository
            from uair.codegen.triton.repository import graph_ports, model_name

            inputs, outputs = graph_ports(module.main)
            repository = Repository(model_name(module.name), inputs, outputs, "KIND_CPU")
            artifact.manifest[MANIFEST_KEY]["triton"] = repository.write(artifact, chosen.triton, MODEL)

    def run(self, artifact: Artifact, feeds: Mapping[str, Array]) -> dict[str, Array] | None:
        """Run an artifact in onnxruntime.

        Raises:
            RuntimeMissing: onnxruntime is not installed.
            RuntimeFailed: it does not load the model or fails, or the artifact's INT8 is wrong on this processor.
        """
        fault = lacks_vnni() if artifact.manifest.get(MANIFEST_KEY, {}).get("int8") == "vnni" else ""
        if fault:
            raise RuntimeFailed(fault, hint="compile without --option int8=vnni")
        return run_onnx(artifact.file(MODEL), feeds)


def int8_forms(processors: Literal["any", "vnni"]) -> tuple[Pass, ...]:
    """How quantized networks are written for x86 processors: for all of them, or for those with VNNI."""
    if processors == "vnni":
        return (FoldableWeights(dense=True),)  # of i8 onnxruntime has no fast ConvInteger
    return FoldableWeights(), UnsignedIntegers(), IntegerSums()


class InterpretedCpuTarget(CpuTarget):
    """A CPU for which no onnxruntime is published: without one, the reference interpreter runs the artifact."""

    def run(self, artifact: Artifact, feeds: Mapping[str, Array]) -> dict[str, Array] | None:
        """Run an artifact in an onnxruntime that was built for this machine; None when there is none."""
        return None if importlib.util.find_spec("onnxruntime") is None else super().run(artifact, feeds)


def run_onnx(path: Path, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name of an ONNX model run by onnxruntime on the CPU.

    Raises:
        RuntimeMissing, RuntimeFailed: see `CpuTarget.run`.
    """
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError:
        raise RuntimeMissing("running a cpu artifact needs onnxruntime", hint="pip install 'uair[cpu]'") from None
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except Exception as error:
        raise RuntimeFailed(f"onnxruntime failed on {path.name}: {error}") from error
