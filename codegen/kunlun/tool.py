"""x2paddle and Paddle Inference, as UAIR runs them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from uair.targets.logs import LogRule
from uair.targets.tool import PythonTool, Work
from uair.targets.verdict import Confidence, Source

MEASURED = Source("x2paddle, conversions of real models", "1.6.0", Confidence.MEASURED)
RULES = (
    LogRule(
        r"ModuleNotFoundError: No module named '(?P<module>[\w.]+)'",
        "the Python of x2paddle lacks the package {module}",
        "pip install x2paddle==1.6.0 paddlepaddle onnx==1.17 in that Python",
        source=MEASURED,
    ),
    LogRule(r"^(?:build\.sh|run_paddle_xpu\.py): (?P<text>.+)", "{text}", source=MEASURED),
    LogRule(r"^(?P<text>\w+(?:\.\w+)*Error: .+)", "{text}", source=MEASURED),
)


class X2Paddle(PythonTool):
    """The script converts, and runs the result with Paddle on the CPU against the reference."""

    name = "Paddle (x2paddle)"
    distribution = "paddlepaddle"
    variable = "UAIR_PADDLE_PYTHON"
    places = ("$UAIR_VENDOR_HOME/paddle*/bin/python", "~/.cache/uair/vendor/paddle*/bin/python")
    install = "pip install x2paddle==1.6.0 paddlepaddle onnx==1.17, and name the interpreter in $UAIR_PADDLE_PYTHON"
    script = "build.sh"
    success = r"is ready: run_paddle_xpu\.py"
    rules = RULES

    def command(self, work: Work) -> Sequence[str]:
        """The script, told the interpreter."""
        python = shlex.quote(str(work.installation.program))
        return ["/bin/bash", "-c", f"PYTHON={python} exec bash {self.script}"]

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """Paddle's model and its weights; the model's file name depends on Paddle's release."""
        return ["paddle/inference_model/model.pdiparams", "paddle/inference_model/model.*"]
