"""The Hanguang 800 target: what can be written without the vendor's SDK, which is not public."""

from __future__ import annotations

from uair.artifact import ArtifactBuilder
from uair.codegen.onnx.target import OnnxTarget
from uair.ir.module import Module
from uair.request import CompileRequest

MODEL = "model.onnx"
MANIFEST_KEY = "hanguang"
UNCERTAIN = [
    "everything about the SDK (HGAI, RatelNN): no document is public, and no tool of the vendor took this artifact",
    "the opset and the form of INT8",
    "which operators the chip takes",
    "the memory plan: weights are taken as uncompressed and not pruned, although the chip can do both",
]
"""What no source settles."""


class HanguangTarget(OnnxTarget):
    """The chip, experimentally."""

    def emit(self, module: Module, artifact: ArtifactBuilder, request: CompileRequest) -> None:
        """Write model.onnx; the fit into the chip's memory is part of plan.json.

        Raises:
            NotExpressible: an operator has no form at the opset.
        """
        from uair.passes.plan import PLAN, plan  # here: who only asks what is legal plans no memory

        self.write_onnx(module, artifact.path_for(MODEL))
        fit = plan(module, self.description).residency
        assert fit is not None, "the chip's description says where a model is resident"
        artifact.manifest[MANIFEST_KEY] = {
            "experimental": True,
            "model": MODEL,
            "memory_plan": PLAN,
            "fits_one_chip": fit.fits,
            "chips": len(fit.stages) or None,
            "uncertain": UNCERTAIN,
        }
