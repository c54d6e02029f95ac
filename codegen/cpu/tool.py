"""onnxruntime, as UAIR runs it to prove an artifact for a CPU."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from uair.targets.logs import LogRule
from uair.targets.tool import PythonTool
from uair.targets.verdict import Confidence, Source

MEASURED = Source("onnxruntime", "1.26", Confidence.MEASURED)
RULES = (
    LogRule(
        r"Could not find an implementation for (?P<op>\w+)\((?P<opset>\d+)\) node with name '(?P<node>[^']*)'",
        "onnxruntime has no kernel of ONNX {op} (opset {opset}) for these types",
        "update onnxruntime",
        source=MEASURED,
    ),
    LogRule(
        r"Unsupported model IR version: (?P<found>\d+), max supported IR version: (?P<most>\d+)",
        "this onnxruntime reads files up to version {most}, the model is of {found}",
        "update onnxruntime",
        source=MEASURED,
    ),
    LogRule(r"^run\.py: (?P<text>.+)", "{text}", source=MEASURED),
)


class OnnxRuntime(PythonTool):
    """There is nothing to convert: the model is loaded, run, and compared with the reference."""

    name = "onnxruntime"
    distribution = "onnxruntime"
    variable = "UAIR_ONNXRUNTIME_PYTHON"
    places = (sys.executable,)
    install = "pip install 'uair[cpu]'"
    script = "run.py"
    rules = RULES

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """The model itself."""
        return ["model.onnx"]
