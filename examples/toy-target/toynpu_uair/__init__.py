"""The Toy NPU as a target of UAIR: a description file, and this class."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from uair.artifact import ArtifactBuilder
from uair.codegen.onnx.target import OnnxTarget
from uair.ir import Module
from uair.request import CompileRequest
from uair.targets.options import TargetOptions, option, parse_options

SCRIPT = """\
#!/bin/sh
# Builds model.toy with toycc, the compiler of the Toy NPU.
set -eu
cd "$(dirname "$0")"
exec toycc --chip {chip} --effort {effort} model.onnx -o model.toy
"""


@attrs.frozen
class ToyOptions(TargetOptions):
    """What a user may tell toycc."""

    effort: Literal["fast", "best"] = option("best", help="how long toycc looks for a schedule")


class ToyTarget(OnnxTarget):
    """An imaginary chip whose compiler takes ONNX: what it takes is data, here is what is written for it."""

    options = ToyOptions
    fallback = "cpu"  # what the chip refuses runs in onnxruntime on its host

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx and build.sh."""
        chosen = parse_options(ToyOptions, request.options, self.name)
        self.write_onnx(module, artifact.path_for("model.onnx"))
        script = SCRIPT.format(chip=self.description.toolchain.soc_version, effort=chosen.effort)
        artifact.add_text("build.sh", script, executable=True)


TARGET = ToyTarget("toynpu", file=Path(__file__).with_name("toynpu.toml"))
