"""The front half of Huawei's compiler for Ascend 910B as a judge of kernels: does it take them, what do they compute.

The back half, `hivmc`, is not published. A kernel counts as accepted when everything in front of it passed: the tool
ends with the message that hivmc is missing and no other error, and has written the kernel in the dialect that hivmc
reads.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from tests import zoo
from uair.codegen.ascend.kernels.mlir import HOST, mlir_options, mlir_text
from uair.codegen.ascend.kernels.program import Program, Verb
from uair.ir import Array

SOC = "Ascend910B3"
LOWERED = "module.hivm.opt.mlir"
MISSING = "Cannot find hivmc under $PATH"
HARMLESS = (MISSING, "Failed to run `hivmc --version`", "External hivmc run fails", "Failed to run BiShengIR pipeline")
HIVM_STAGE, SCHEDULED_STAGE, FUSED_STAGE = "convert-to-hivm-op,1", "hfusion-auto-schedule,1", "hfusion-fuse-ops,1"
SECONDS = 300


@attrs.frozen
class Acceptance:
    """What the tool said.

    Attributes:
        accepted: see the module.
        errors: its error lines beside those about hivmc.
    """

    accepted: bool
    errors: tuple[str, ...]


def environment() -> Path:
    """The virtual environment that tools/vendor/bishengir.sh fills (`make vendor-bishengir`)."""
    home = os.environ.get("UAIR_VENDOR_HOME")
    folder = (Path(home) if home else zoo.cache_dir() / "vendor") / "bishengir"
    assert folder.is_dir(), f"{folder} is missing: run `make vendor-bishengir`"
    return folder


def compile_kernel(text: str, options: Sequence[str], folder: Path) -> Acceptance:
    """Give the text of a kernel to bishengir-compile; its files go to `folder`."""
    source = folder / "kernel.mlir"
    source.write_text(text)
    (folder / LOWERED).unlink(missing_ok=True)
    command = [str(environment() / "bin" / "bishengir-compile"), str(source), "--enable-hfusion-compile"]
    command += [f"--target={SOC}", "--block-dim=20", f"--save-temps={folder}", "-o", str(folder / "kernel.o"), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, check=False, env=clean_environment()
    )
    lines = [line.strip() for line in done.stderr.splitlines() if re.search("error", line, re.IGNORECASE)]
    errors = tuple(line for line in lines if not any(known in line for known in HARMLESS))
    ended = done.returncode == 1 and MISSING in done.stderr
    return Acceptance(ended and not errors and (folder / LOWERED).is_file(), errors)


def clean_environment() -> dict[str, str]:
    """The environment without the folders in which somebody's hivmc could lie."""
    return {**os.environ, "PATH": "/usr/bin:/bin"}


def accepts(program: Program, folder: Path) -> Acceptance:
    """Whether the tool takes a program as UAIR writes it for the device."""
    return compile_kernel(mlir_text(program, "kernel"), mlir_options(program), folder)


def stage(program: Program) -> str:
    """How far the vendor's tool lowers a program that is to run on the CPU.

    To the operators of the device, but for what makes the tool crash there: conversions between float types and
    reductions to one number are scheduled, tiled and fused before they run, matrix products only fused.
    """
    if Verb.MATMUL in program.verbs:
        return FUSED_STAGE
    scalar = program.sizes and any(not step.result.axes for step in program.steps)
    return SCHEDULED_STAGE if Verb.CAST in program.verbs or scalar else HIVM_STAGE


def lowered(program: Program, folder: Path) -> str:
    """The program in LLVM's dialect, lowered by the vendor's passes as far as it runs on a CPU."""
    source = folder / "kernel.host.mlir"
    source.write_text(mlir_text(program, "kernel", attributes=HOST))
    command = [str(environment() / "bin" / "bishengir-compile"), str(source), "--enable-hfusion-compile"]
    command += ["--enable-hivm-compile", "--enable-manage-host-resources", "--block-dim=2", *mlir_options(program)]
    command += [f"--enable-cpu-runner-after={stage(program)},wrapper-name=main_wrapper"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    start = re.search(r"^module", done.stdout, re.MULTILINE)
    assert done.returncode == 0 and start, f"{' '.join(command)}\n{done.stderr[-2000:]}"
    return done.stdout[start.start() :]


def run(program: Program, inputs: Sequence[Array], folder: Path) -> list[Array]:
    """What the program gives after the vendor's lowering, on this machine's CPU."""
    (folder / "kernel.llvm.mlir").write_text(lowered(program, folder))
    np.savez(folder / "inputs.npz", *(x if program.sizes else x.reshape(1) for x in inputs))
    outputs = [[list(program.shape(v)) if program.sizes else [1], str(v.dtype.numpy)] for v in program.outputs]
    (folder / "outputs.json").write_text(json.dumps(outputs))
    script = Path(__file__).with_name("bishengir_run.py")
    command = [str(environment() / "bin" / "python"), str(script), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-2000:]}"
    with np.load(folder / "outputs.npz") as archive:
        return [archive[f"arr_{i}"] for i in range(len(program.outputs))]
