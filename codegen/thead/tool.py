"""SHL, T-Head's library of neural network operators, as UAIR builds against it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uair.codegen.thead.log import RULES
from uair.targets.tool import Installation, VendorTool, Work
from uair.vendor import ToolFailed, ToolNotFound

LEAST_COSINE = 0.98
"""Of an output with the reference: below, something is wrong with the build rather than with INT8."""


class Shl(VendorTool):
    """The artifact's Makefile compiles the model against SHL; on the machine it is for, the result is run, too.

    Args:
        platform: folder of the chip in SHL's installation, e.g. "c920".
        compiler: the C compiler for the chip.
        runs_here: whether the program runs on the machine that builds it.
    """

    name = "SHL"
    variable = "UAIR_SHL"
    places = (
        "$UAIR_VENDOR_HOME/hhb*/lib/python*/site-packages/hhb/install_nn2",
        "~/.cache/uair/vendor/hhb*/lib/python*/site-packages/hhb/install_nn2",
    )
    install = (
        "unpack the wheel hhb 3.2.3 (`bash tools/vendor/hhb.sh FOLDER` in UAIR's source does) and name its folder "
        "install_nn2 in $UAIR_SHL"
    )
    rules = RULES
    script = "Makefile"

    def __init__(self, platform: str, compiler: str, *, runs_here: bool) -> None:
        self.platform = platform
        self.compiler = compiler
        self.runs_here = runs_here

    def locate(self) -> Installation:
        """make, and the folder of SHL for the chip.

        Raises:
            ToolNotFound: SHL, make or the compiler is missing.
        """
        for program in ("make", self.compiler):
            if shutil.which(program) is None:
                package = {"riscv64-linux-gnu-gcc": "gcc-riscv64-linux-gnu"}.get(program, program)
                raise ToolNotFound(f"{program} is not installed", hint=f"apt-get install {package}")
        folder = self._folder()
        return Installation(Path(str(shutil.which("make"))), {"SHL": str(folder)}, str(folder))

    def _folder(self) -> Path:
        stated = os.environ.get(self.variable)
        patterns = (stated,) if stated else self.places
        for pattern in patterns:
            expanded = Path(os.path.expandvars(os.path.expanduser(pattern)))
            if expanded.is_absolute():
                for home in sorted(Path("/").glob(str(expanded.relative_to("/")))):
                    if (home / self.platform / "include").is_dir():
                        return home / self.platform
        looked = f"${self.variable}, {', '.join(self.places)}"
        raise ToolNotFound(f"SHL for {self.platform} is not installed (looked in {looked})", hint=self.install)

    def version(self, installation: Installation) -> str:
        """The version of the wheel that SHL came in; empty when it came otherwise."""
        packages = Path(installation.environment["SHL"]).parents[2]
        found = sorted(packages.glob("hhb-*.dist-info"))
        return found[-1].name.removeprefix("hhb-").removesuffix(".dist-info") if found else ""

    def command(self, work: Work) -> Sequence[str]:
        """Make."""
        return [str(work.installation.program), f"SHL={work.installation.environment['SHL']}"]

    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """The program."""
        return ["model"]

    def read_back(self, work: Work, results: Sequence[Path]) -> dict[str, Any]:
        """Run the program on the golden input, where it runs here and there is one.

        Raises:
            ToolFailed: it fails, or its outputs are not those of the reference.
        """
        golden = sorted((work.folder / "golden").glob("output_*.npy"))
        if not self.runs_here or not golden:
            return {}
        done = work.run([*self.command(work), "run"], log=work.folder / "read-back.log")
        if not done.ok:
            raise ToolFailed(f"the program that was built {done.describe()}", window=done.tail)
        rows = [_compared(expected, work.folder / expected.name) for expected in golden]
        worst = min(row["cosine"] for row in rows)
        if worst < LEAST_COSINE:
            raise ToolFailed(f"the program that was built computes something else: cosine {worst:.4f}")
        return {"simulated": rows}


def _compared(expected: Path, found: Path) -> dict[str, Any]:
    if not found.is_file():
        raise ToolFailed(f"the program that was built wrote no {found.name}")
    a, b = (np.load(path, allow_pickle=False).astype(np.float64).ravel() for path in (expected, found))
    if a.shape != b.shape:
        raise ToolFailed(f"{found.name} has {b.size} elements, the reference has {a.size}")
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / scale if scale else float(np.array_equal(a, b))
    return {"name": expected.stem, "cosine": cosine, "max_abs": float(np.abs(a - b).max(initial=0.0))}
