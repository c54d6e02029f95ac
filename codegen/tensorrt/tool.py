"""trtexec, TensorRT's command line, as UAIR runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uair.codegen.tensorrt.log import RULES
from uair.codegen.tensorrt.scripts import PLAN
from uair.targets.tool import Installation, VendorTool, Work
from uair.vendor import ToolFailed

BANNER = re.compile(r"TensorRT\.trtexec \[TensorRT v(\d+)\]|TensorRT v(\d+)")


class Trtexec(VendorTool):
    """TensorRT builds on the device itself; the artifact has a script for each generation of it."""

    name = "trtexec"
    programs = ("trtexec",)
    variable = "UAIR_TRTEXEC"
    places = ("/usr/src/tensorrt/bin/trtexec", "/opt/tensorrt/bin/trtexec")
    install = "install JetPack (TensorRT comes with it) on the Jetson, and build there"
    success = r"&&&& PASSED TensorRT\.trtexec"
    rules = RULES

    def installation(self, program: Path, place: str) -> Installation:
        """The libraries of CUDA are found where JetPack puts them."""
        return Installation(program, {"LD_LIBRARY_PATH": "/usr/local/cuda/lib64"}, place)

    def read_version(self, text: str) -> str:
        """8.6.1 of the banner's "TensorRT v8601", 10.3.0 of "v100300"."""
        match = BANNER.search(text)
        return dotted(match.group(1) or match.group(2)) if match else ""

    def command(self, work: Work) -> Sequence[str]:
        """build.sh, told the version, and with the program's folder in PATH."""
        return self.script_command(work, TENSORRT_VERSION=self.version(work.installation))

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """The engine."""
        return [PLAN]

    def read_back(self, work: Work, results: Sequence[Path]) -> dict[str, Any]:
        """Trtexec loads the engine and runs it.

        Raises:
            ToolFailed: it cannot.
        """
        log = work.folder / "read-back.log"
        done = work.run([work.installation.program, f"--loadEngine={results[0].name}", "--iterations=1"], log=log)
        if not done.ok or re.search(self.success, log.read_text("utf-8", "replace")) is None:
            raise ToolFailed(f"the engine that was built does not run: trtexec {done.describe()}", window=done.tail)
        return {"run_by": "trtexec --loadEngine"}


def dotted(digits: str) -> str:
    """A version as trtexec prints it: one or two digits of the major version, then two each (8601, 100300)."""
    if len(digits) < 4:
        return digits
    if len(digits) == 4:  # v8601 is 8.6.1, v8201 is 8.2.1
        return f"{digits[0]}.{digits[1]}.{int(digits[2:])}"
    tail = digits[-4:]
    return f"{int(digits[:-4])}.{int(tail[:2])}.{int(tail[2:])}"
