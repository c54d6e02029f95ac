"""trtexec, TensorRT's command line, as UAIR runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uair.codegen.tensorrt.log import RULES
from uair.targets.tool import Installation, VendorTool, Work
from uair.vendor import ToolFailed

BANNER = re.compile(r"TensorRT\.trtexec \[TensorRT v(\d+)\]|TensorRT v(\d+)")
SCRIPTS = {8: "build_trt8.sh", 10: "build_trt10.sh", 11: "build_trt11.sh"}
ENGINE = "*.plan"


class Trtexec(VendorTool):
    """TensorRT builds on the device itself. Which of the artifact's scripts is run depends on its version."""

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
        """The script for the installed version, with the program's folder in PATH."""
        version = self.version(work.installation)
        major = int(version.split(".")[0]) if version else max(SCRIPTS)
        script = SCRIPTS.get(major, SCRIPTS[max(SCRIPTS)])
        return ["/bin/sh", "-c", f'PATH="{work.installation.program.parent}:$PATH" exec sh {script}']

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """The engine."""
        return [ENGINE]

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
