"""pysuinfer, Biren's compiler and runtime, as UAIR runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uair.targets.logs import LogRule
from uair.targets.tool import PythonTool
from uair.targets.verdict import Source

RULES = (
    LogRule(
        r"^build_pysuinfer\.py: (?P<text>.+)", "{text}", source=Source("the artifact's own script, build_pysuinfer.py")
    ),
)


class PySuInfer(PythonTool):
    """The script builds on the card, runs there, and compares with the reference."""

    name = "pysuinfer"
    distribution = "biren-pysuinfer"
    variable = "UAIR_SUINFER_PYTHON"
    install = "install BIRENSUPA with suInfer 2.0 and biren-pysuinfer 1.4; name their Python in $UAIR_SUINFER_PYTHON"
    script = "build_pysuinfer.py"
    rules = RULES

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """The engine."""
        return ["model.bin"]
