"""Building and running csinn programs with SHL, the library in the wheel of HHB (tools/vendor/hhb.sh)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from uair.artifact import ArtifactBuilder
from uair.codegen.thead.csinn import Platform, Written, write_csinn
from uair.codegen.thead.lower import Arithmetic
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.vendor import Limits, ToolResult, run_tool

REFERENCE = Platform("REF", "x86", "$(SHL)/lib/libshl.a", "gcc")
LIMITS = Limits(seconds=300.0, memory=6 << 30)


def environment() -> Path:
    """The environment of HHB."""
    home = os.environ.get("UAIR_VENDOR_HOME")
    folder = Path(home) if home else Path.home() / ".cache" / "uair" / "vendor"
    found = folder / "hhb"
    assert (found / "shl" / "x86").is_dir(), f"{found} has no HHB: run make vendor-hhb"
    return found


@attrs.frozen
class Run:
    """What a program gave.

    Attributes:
        outputs: by name.
        milliseconds: of the repeated runs.
    """

    outputs: Mapping[str, Array]
    milliseconds: Sequence[float]


def make(folder: Path, shl: str = "x86", target: str = "model") -> ToolResult:
    """`make` in the folder of a csinn program."""
    command = ["make", "-s", "-C", str(folder), f"SHL={environment() / 'shl' / shl}", target]
    return run_tool(command, log=folder / "make.log", limits=LIMITS, environment={"OMP_NUM_THREADS": "1"})


def execute(folder: Path, inputs: Sequence[Array], outputs: Sequence[str], repeat: int = 0) -> Run:
    """Run a program that was made on arrays in the order of its inputs."""
    files: list[str] = []
    for i, array in enumerate(inputs):
        np.save(folder / f"input_{i}.npy", np.ascontiguousarray(array))
        files.append(f"input_{i}.npy")
    command = [folder / "model", "--repeat", str(repeat), *files]
    done = run_tool(command, log=folder / "run.log", limits=LIMITS, environment={"OMP_NUM_THREADS": "1"}, folder=folder)
    assert done.ok, done.describe()
    times = [float(line) for line in (folder / "run.log").read_text().splitlines() if line.replace(".", "").isdigit()]
    return Run({name: np.load(folder / f"output_{i}.npy") for i, name in enumerate(outputs)}, times)


def written(module: Module, folder: Path, *, quantized: bool = False) -> Written:
    """Write a module's program for x86."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_csinn(module.main, ArtifactBuilder(folder), REFERENCE, Arithmetic(dilates=False), quantized=quantized)


def compute(module: Module, folder: Path, feeds: Mapping[str, Array], *, quantized: bool = False) -> Run:
    """Write, make and run a module on x86."""
    program = written(module, folder, quantized=quantized)
    done = make(folder)
    assert done.ok, f"{done.describe()}\n{(folder / 'make.log').read_text()[-2000:]}"
    return execute(folder, [feeds[port.name] for port in program.inputs], [port.name for port in program.outputs])
