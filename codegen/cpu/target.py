"""The `cpu` target: an optimised ONNX model, run by onnxruntime."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from uair.artifact import Artifact, ArtifactBuilder
from uair.codegen.onnx.target import OnnxTarget
from uair.errors import UairError
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.request import CompileRequest

MODEL = "model.onnx"


class RuntimeMissing(UairError):
    """A package that runs an artifact on this machine is not installed."""

    code = "UAIR-E0801"
    title = "Runtime is not installed"


class RuntimeFailed(UairError):
    """The runtime refused an artifact or failed while running it."""

    code = "UAIR-E0802"
    title = "Runtime failed"


class CpuTarget(OnnxTarget):
    """onnxruntime on x86-64 and ARM CPUs."""

    fallback: ClassVar[str | None] = None

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx."""
        self.write_onnx(module, artifact.path_for(MODEL))

    def run(self, artifact: Artifact, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run an artifact in onnxruntime.

        Raises:
            RuntimeMissing: onnxruntime is not installed.
            RuntimeFailed: it does not load the model or fails.
        """
        return run_onnx(artifact.file(MODEL), feeds)


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
