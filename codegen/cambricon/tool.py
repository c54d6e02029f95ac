"""MagicMind, Cambricon's compiler, as UAIR runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uair.targets.logs import LogRule
from uair.targets.tool import PythonTool
from uair.targets.verdict import Source

RULES = (LogRule(r"^build\.py: (?P<text>.+)", "{text}", source=Source("the artifact's own script, build.py")),)


class MagicMind(PythonTool):
    """A Python that has MagicMind's package; calibration needs an MLU."""

    name = "MagicMind"
    distribution = "magicmind"
    variable = "UAIR_MAGICMIND_PYTHON"
    install = "install Cambricon's MagicMind with its Python package; name that Python in $UAIR_MAGICMIND_PYTHON"
    rules = RULES

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """The model for the MLU."""
        return ["model.mm"]
