"""hb_mapper and hb_compile, Horizon's converters, as UAIR runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uair.codegen.horizon.log import RULES
from uair.codegen.horizon.scripts import RESULT
from uair.targets.tool import VendorTool, Work
from uair.vendor import ToolFailed

IMAGE = "openexplorer/ai_toolchain_ubuntu_20_x5_cpu, openexplorer/ai_toolchain_centos_7_xj3"


class HbMapper(VendorTool):
    """The converter of J3, J5 and X5. It may exit 0 on failure: the artifact's script looks for its line of success."""

    name = "hb_mapper"
    programs = ("hb_mapper",)
    variable = "UAIR_HB_MAPPER"
    install = f"run `uair build` inside Horizon's container ({IMAGE}), where hb_mapper is installed"
    logs = ("checker.log", "makertbin.log", "hb_mapper_makertbin.log", "compile.log")
    rules = RULES
    reader = "hb_model_info"

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """The model for the board."""
        return [RESULT["hb_mapper"]]

    def read_back(self, work: Work, results: Sequence[Path]) -> dict[str, Any]:
        """hb_model_info lists what the model is made of.

        Raises:
            ToolFailed: it cannot read the file.
        """
        program = work.installation.program.with_name(self.reader)
        if not program.exists():
            return {"described_by": ""}
        done = work.run([program, results[0]], log=work.folder / "read-back.log")
        if not done.ok:
            raise ToolFailed(f"{self.reader} does not read the model: it {done.describe()}", window=done.tail)
        return {"described_by": self.reader}


class HbCompile(HbMapper):
    """The converter of J6, S100 and S600."""

    name = "hb_compile"
    programs = ("hb_compile",)
    variable = "UAIR_HB_COMPILE"
    install = "run `uair build` inside Horizon's container of the J6 or S100 toolchain, where hb_compile is installed"

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """The model for the board."""
        return [RESULT["hb_compile"]]
