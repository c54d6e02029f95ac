"""Building artifacts with the real rknn-toolkit2, once: the result of an unchanged artifact is kept.

The key of a result is a hash of everything that decides it: the ONNX file, build.py, build.json, the golden arrays, and
the versions of the toolkit's environment. A build that the toolkit fails is never kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

import uair
from tests import zoo
from tools import rknn_env
from uair.codegen.rockchip.layer_table import LayerTable, read_layer_table
from uair.vendor import Limits, ToolResult, run_tool

THREADS = 2
LAYERS = 1
"""Version of what `summary` keeps."""
LIMITS = Limits(seconds=540.0, memory=10 << 30)
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ERROR = re.compile(r"^E (?P<text>[\w ]+: .+)", re.MULTILINE)
"""The toolkit's lines of errors, without their colours."""


class BuildFailed(AssertionError):
    """The toolkit crashed, failed, or wrote no result.

    Args:
        reason: one line: the step, and the toolkit's own words.
        details: how the process ended, its result, the end of its log.
    """

    def __init__(self, reason: str, details: str) -> None:
        super().__init__(f"{reason}\n{details}")
        self.reason = reason


@attrs.frozen
class Build:
    """A finished build.

    Attributes:
        seconds: wall-clock time of the child process.
        memory: its peak, in bytes.
        result: content of result.json.
        layers: the compiler's table: numbers of layers and operators on the NPU and on the CPU, see `summary`.
        cached: whether it was done in an earlier run.
    """

    seconds: float
    memory: int
    result: dict[str, Any]
    layers: dict[str, Any] = attrs.Factory(dict[str, Any])
    cached: bool = False

    @property
    def is_built(self) -> bool:
        """Whether the file was written and the simulator ran it: only comparing may have failed."""
        return self.result.get("stage") in ("compare", "done") and "outputs" in self.result

    @property
    def cosine(self) -> float | None:
        """The lowest of all outputs; None when one is not finite."""
        values = [row["cosine"] for row in self.result["outputs"]]
        return None if None in values else min(values)

    def describe(self) -> str:
        """One line for people."""
        cosine = "not finite" if self.cosine is None else f"{self.cosine:.6f}"
        size = self.result["file"]["bytes"] / 2**20
        kept = ", kept" if self.cached else ""
        return (
            f"{self.seconds:5.1f} s{kept}, {size:6.1f} MiB, {self.memory / 2**20:5.0f} MiB of memory, cosine {cosine}"
        )


def build(artifact: uair.Artifact, folder: Path) -> Build:
    """Run the artifact's build.py in a child process.

    Args:
        artifact: what `uair.compile` made.
        folder: for its results and logs.

    Raises:
        BuildFailed: the toolkit crashed, failed, or wrote no result.
    """
    python = rknn_env.ensure()
    kept = zoo.cache_dir() / "rknn" / f"{_key(artifact, python)}.json"
    if kept.is_file():
        return Build(**json.loads(kept.read_text()), cached=True)
    folder.mkdir()
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    command: Sequence[str | os.PathLike[str]] = (python, artifact.file("build.py"), "--output", folder)
    tool = run_tool(command, log=folder / "process.log", limits=LIMITS, environment=dict.fromkeys(names, str(THREADS)))
    done = Build(round(tool.seconds, 1), tool.peak_memory, result_of(folder))
    if not done.is_built:
        details = f"{tool.describe()}\n{done.result}\n{_tail(folder / 'build.log')}"
        raise BuildFailed(why_failed(folder, tool, done.result), details)
    done = attrs.evolve(done, layers=layers_of(folder / "build.log"))
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(attrs.asdict(done, filter=lambda a, _: a.name != "cached")))
    partial.replace(kept)
    shutil.rmtree(folder)
    return done


def layers_of(log: Path) -> dict[str, Any]:
    """The `summary` of the table in a log."""
    return summary(read_layer_table(log.read_text("utf-8", "replace")))


def summary(table: LayerTable) -> dict[str, Any]:
    """A table of layers as plain data: `npu` and `cpu` are how often each operator runs there, `rows` the layers."""
    return {
        "npu": dict(sorted(table.operators("NPU").items())),
        "cpu": dict(sorted(table.operators("CPU").items())),
        "cycles": table.cycles,
        "internal_bytes": table.internal_bytes,
        "weight_bytes": table.weight_bytes,
        "rows": [
            [row.op, row.dtype, row.target, [list(s) for s in row.inputs], list(row.output or ()), row.cycles, row.name]
            for row in table.computing
        ],
    }


def result_of(folder: Path) -> dict[str, Any]:
    """Content of result.json; empty when the script did not get so far as to write it."""
    path = folder / "result.json"
    result: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return result


def why_failed(folder: Path, tool: ToolResult, result: dict[str, Any]) -> str:
    """One line: the step in which a build ended, and why, in the toolkit's own words where it has any."""
    stage = str(result.get("stage", "start"))
    if not tool.status or tool.status < 0:
        return f"{stage}: {tool.describe()}"
    reason = str(result.get("reason", "")) or tool.describe()
    if " returned " in reason:  # a return code: what happened is in the log alone
        reason = f"{reason.split(';')[0]}: {_last_error(folder / 'build.log') or 'its log gives no reason'}"
    return reason if reason.startswith(f"{stage}: ") else f"{stage}: {reason}"


def _last_error(log: Path) -> str:
    text = log.read_text("utf-8", "replace") if log.is_file() else ""
    found: list[str] = _ERROR.findall(_COLOURS.sub("", text.replace("\r", "\n")))
    return found[-1].strip() if found else ""


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").replace("\r", "\n").splitlines() if log.is_file() else []
    return "\n".join(lines[-30:])


def _key(artifact: uair.Artifact, python: Path) -> str:
    files = artifact.manifest["files"]
    decisive = {
        name: files[name]["sha256"]
        for name in files
        if name.startswith(("build.", "calibration/", "golden/", "model.onnx"))
    }
    text = json.dumps([decisive, str(python.relative_to(rknn_env.home())), THREADS, LAYERS], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
