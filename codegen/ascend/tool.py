"""ATC, Huawei's offline compiler, as UAIR runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uair.codegen.ascend.log import RULES
from uair.targets.tool import Installation, VendorTool, Work
from uair.vendor import ToolFailed


class Atc(VendorTool):
    """ATC needs the environment that CANN's set_env.sh makes; the artifact's script sources it where it has to."""

    name = "ATC"
    programs = ("atc",)
    variable = "UAIR_ATC"
    places = (
        "$ASCEND_TOOLKIT_HOME/bin/atc",
        "/usr/local/Ascend/ascend-toolkit/latest/bin/atc",
        "/usr/local/Ascend/cann/bin/atc",
        "~/Ascend/ascend-toolkit/latest/bin/atc",
    )
    install = "install Huawei's CANN toolkit (it runs without a device) and source its set_env.sh"
    success = r"ATC run success"
    rules = RULES
    version_flag = ""

    def installation(self, program: Path, place: str) -> Installation:
        """With what set_env.sh sets, taken from the caller's own environment where it was sourced."""
        import os

        kept = (
            "ASCEND_",
            "LD_LIBRARY_PATH",
            "PYTHONPATH",
            "TOOLCHAIN_HOME",
            "TE_PARALLEL_COMPILER",
            "MAX_COMPILE_CORE",
        )
        variables = {key: value for key, value in os.environ.items() if key.startswith(kept)}
        return Installation(program, variables, place)

    def version(self, installation: Installation) -> str:
        """CANN's release, from the file `version.info` of the toolkit that has the program."""
        for folder in installation.program.resolve().parents[:4]:
            file = folder / "version.info"
            if file.is_file():
                return self.read_version(file.read_text("utf-8", "replace"))
        return ""

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """The offline model; later releases add the host's system to its name."""
        return ["*.om"]

    def read_back(self, work: Work, results: Sequence[Path]) -> dict[str, Any]:
        """ATC itself reads the model and describes it as JSON (--mode=1).

        Raises:
            ToolFailed: it cannot.
        """
        described = work.folder / "model.om.json"
        program = str(work.installation.program)
        command = [program, "--mode=1", f"--om={results[0].name}", f"--json={described.name}"]
        done = work.run(command, log=work.folder / "read-back.log")
        if not done.ok or not described.is_file():
            raise ToolFailed(f"ATC does not read the model that it wrote: it {done.describe()}", window=done.tail)
        try:
            content = json.loads(described.read_text("utf-8"))
        except ValueError as error:
            raise ToolFailed(f"ATC describes the model that it wrote by what is no JSON: {error}") from error
        return {"described_by": "atc --mode=1", "name": content.get("name", "") if isinstance(content, dict) else ""}
