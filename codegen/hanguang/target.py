"""The Hanguang 800 target: what can be written without the vendor's SDK, which is not public."""

from __future__ import annotations

from uair.artifact import ArtifactBuilder
from uair.codegen.hanguang.memory import memory_plan
from uair.codegen.onnx.target import OnnxTarget
from uair.ir.module import Module
from uair.request import CompileRequest

MODEL, PLAN = "model.onnx", "memory_plan.json"
MANIFEST_KEY = "hanguang"
UNCERTAIN = [
    "everything about the SDK (HGAI, RatelNN): no document is public, and no tool of the vendor took this artifact",
    "the opset and the form of INT8",
    "which operators the chip takes",
]
"""What no source settles."""


class HanguangTarget(OnnxTarget):
    """The chip, experimentally."""

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx and memory_plan.json.

        Raises:
            NotExpressible: an operator has no form at the opset.
        """
        self.write_onnx(module, artifact.path_for(MODEL))
        plan = memory_plan(module.main, self.description)
        artifact.add_json(PLAN, plan)
        artifact.manifest[MANIFEST_KEY] = {
            "experimental": True,
            "model": MODEL,
            "memory_plan": PLAN,
            "fits_one_chip": plan["fits_one_chip"],
            "chips": plan["chips"],
            "uncertain": UNCERTAIN,
        }
