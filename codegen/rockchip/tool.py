"""rknn-toolkit2, as UAIR runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uair.codegen.rockchip.log import RULES
from uair.targets.tool import PythonTool, Work, require_magic
from uair.vendor import ToolFailed

MAGIC = b"RKNN"
OUTPUT = "built"


class RknnToolkit(PythonTool):
    """A Python that has rknn-toolkit2. It simulates the result and compares it with the reference."""

    name = "rknn-toolkit2"
    distribution = "rknn-toolkit2"
    variable = "UAIR_RKNN_PYTHON"
    places = (
        "$UAIR_VENDOR_HOME/rknn*/bin/python",
        "~/.cache/uair/vendor/rknn*/bin/python",
    )
    install = (
        "make a Python 3.11 environment with rknn-toolkit2 (`python tools/rknn_env.py` in UAIR's source does) and "
        "name its interpreter in $UAIR_RKNN_PYTHON"
    )
    logs = (f"{OUTPUT}/build.log",)
    rules = RULES

    def command(self, work: Work) -> Sequence[str]:
        """The artifact's build.py."""
        return [str(work.installation.program), self.script, "--output", OUTPUT]

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """The model for the NPU."""
        return [f"{OUTPUT}/*.rknn"]

    def read_back(self, work: Work, results: Sequence[Path]) -> dict[str, Any]:
        """The file's head, and what the simulator made of the golden input.

        Raises:
            ToolFailed: it is no .rknn file, or build.py did not simulate it.
        """
        require_magic(results[0], MAGIC, "RKNN model")
        report = json.loads((work.folder / OUTPUT / "result.json").read_text("utf-8"))
        if report.get("status") != "ok":
            raise ToolFailed(f"build.py ended in stage {report.get('stage')!r}: {report.get('reason', '')}")
        return {"simulated": report.get("outputs", [])}
