"""What the scripts in artifacts share; see the package. Python 3.8, as on a Jetson, is enough for all of it."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Fault(Exception):
    """A wrong call or a failed run; `status` is the exit status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class BuildFailed(Exception):
    """The vendor's tool refused something; the message says what."""


def recorded(script: str, output: Path, work: Callable[[dict[str, Any]], int]) -> int:
    """Do the work and write result.json: how far it came, and why no further; the exit status.

    Args:
        script: its name, for messages.
        output: folder of result.json; it is made.
        work: is given the result to fill in, `stage` above all; 0 when all is well, else the exit status.
    """
    output.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"schema": 1, "status": "failed", "stage": "import"}
    status = 1
    try:
        status = work(result)
        result["status"] = "ok" if status == 0 else "wrong"
    except Exception as error:  # noqa: BLE001  whatever the toolkit raises is a line of the result
        if not isinstance(error, BuildFailed):
            traceback.print_exc()
        result["reason"] = f"{type(error).__name__}: {error}"
        sys.stderr.write(f"{script}: {result['stage']}: {result['reason']}\n")
    text = json.dumps(result, indent=2, sort_keys=True)
    (output / "result.json").write_text(text + "\n", encoding="utf-8")
    return status


def given(texts: list[str]) -> dict[str, Any]:
    """Inputs from the command line.

    Raises:
        Fault: a text that names none, or a file that cannot be read.
    """
    feeds: dict[str, Any] = {}
    for text in texts:
        name, separator, file = text.rpartition("=")
        if not separator:
            raise Fault(2, f"{text!r} is not of the form NAME=FILE.npy")
        try:
            feeds[name] = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise Fault(2, f"{file} cannot be read: {error}") from error
    return feeds


def arrays_of(file: Path) -> dict[str, Any]:
    """The arrays of a golden file, by name."""
    with np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def compare(outputs: dict[str, Any], wanted: dict[str, Any], least: float, *, exact: bool) -> int:
    """Print how close every output is to the reference; the exit status, 3 when one is not close enough.

    Args:
        outputs: by name.
        wanted: the reference.
        least: cosine that every float output must have.
        exact: whether all other outputs must be equal.
    """
    wrong = 0
    for name, want in wanted.items():
        got = np.asarray(outputs[name])
        if got.shape != want.shape:
            wrong += 1
            say(f"{name}: shape {list(got.shape)}, the reference has {list(want.shape)}")
        elif want.dtype.kind != "f":
            same = float((got == want).mean()) if want.size else 1.0
            wrong += exact and same < 1
            say(f"{name}: {same:.4%} of the values are equal")
        else:
            row = closeness(name, got, want)
            wrong += not row["cosine"] >= least
            say(f"{name}: cosine {row['cosine']:.6f}, greatest difference {row['max_abs']:.3g}")
    return 3 if wrong else 0


def closeness(name: str, got: Any, want: Any) -> dict[str, Any]:
    """How close an output is to the reference: cosine (1 when both are 0) and the greatest difference."""
    x, y = got.astype(np.float64).reshape(-1), want.astype(np.float64).reshape(-1)
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    cosine = float(x @ y) / norm if norm else float(not x.any() and not y.any())
    return {"name": name, "cosine": cosine, "max_abs": float(np.abs(x - y).max()) if x.size else 0.0}


def say(line: str) -> None:
    """A line on standard output."""
    sys.stdout.write(line + "\n")


def lacks_vnni() -> str:
    """Why i8 weights are not for this x86 processor; empty when it has VNNI, and where Linux cannot be asked."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    if not flags or flags & {"avx512_vnni", "avx_vnni"}:
        return ""
    return "the INT8 weights are for processors with VNNI; the 8-bit products of this one saturate at 16 bits"
