"""The environment of measured processes: bytecode as an installed package has it, one thread, no caches of before."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
ROOT = Path(__file__).parent.parent


@functools.cache
def _bytecode() -> tempfile.TemporaryDirectory[str]:
    """A folder for bytecode that goes with this process."""
    return tempfile.TemporaryDirectory(prefix="uair-bytecode-")


def measured_environment() -> Mapping[str, str]:
    """What a measured process is started with.

    pip compiles what it installs, a checkout has bytecode from the second run on: without it every process would
    compile 500 files again, which takes longer than what is measured. It goes to a folder of its own, so that nothing
    stays behind and nothing old is taken. Run what is measured once before (`warm`).
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | dict.fromkeys(THREADS, "1") | {"PYTHONPYCACHEPREFIX": _bytecode().name}


def run_measured(arguments: Sequence[str], *, timeout: float) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run `python ARGUMENTS` in that environment; the finished process and its CPU seconds (user and system).

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout` seconds.
    """
    before = os.times()
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=ROOT,
        env=measured_environment(),
    )
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return done, cpu


def process_memory(key: str) -> float:
    """Return a memory field of this process in MiB: `VmRSS` (resident now) or `VmHWM` (highest so far)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"this kernel does not report {key}: the benchmark needs Linux")
