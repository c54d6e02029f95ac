"""Compile-side benchmark: CPU seconds and peak memory from ONNX file to optimised ONNX file, as ratios between tools.

```
python -m bench.compile_time                     # all tools on all models of bench/models.py, five rounds
python -m bench.compile_time --tools uair onnxsim --models resnet50_real --rounds 9 --json out.json
```

How it measures, and why:

- Every run is a process of its own: no warm caches, no memory left by another tool, and the import counts.
- The rounds interleave the tools, each round in a rotated order: when the machine slows down, it does so for all.
  Ratios of numbers from one invocation can be compared; seconds of two invocations cannot.
- One thread everywhere, and CPU seconds rather than wall time: other load disturbs them least. They count from the
  start of the process. `import` is the part until the tool is imported, `job` the part from file to file.
- Peak memory is the kernel's VmHWM, which starts anew at exec (`ru_maxrss` does not: a child inherits its parent's).
  `peak-import` is the peak without what was resident after the import; `/file` is that divided by the model's size.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# onnx's own annotations leave type arguments open, and onnxruntime and onnxsim have none.

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from bench.processes import process_memory, run_measured

MIB = 2**20
Job = Callable[[Path, Path], None]


# ------------------------------------------------------------------------------------ what is measured, in the child
def uair_job(source: Path, target: Path) -> None:
    """UAIR: import, the standard optimisation, export."""
    uair = importlib.import_module("uair")
    module = uair.load(source)
    uair.optimize(module)
    uair.export_onnx(module, target)


def onnxsim_job(source: Path, target: Path) -> None:
    """onnxsim: simplify with its own defaults."""
    import onnx

    onnxsim: Any = importlib.import_module("onnxsim")  # of uair[bench], which the checkers do without

    simplified, _ = onnxsim.simplify(onnx.load(source))
    onnx.save(simplified, target)


def onnxruntime_job(source: Path, target: Path) -> None:
    """The offline optimiser of onnxruntime, level "extended": all fusions, no layout for this very machine."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


@attrs.frozen
class Tool:
    """A tool under measurement: what `import` means for it, and its job from file to file."""

    modules: tuple[str, ...]
    job: Job


TOOLS = {
    "uair": Tool(("uair", "onnx"), uair_job),  # `import uair` defers onnx; it is no part of the job's memory
    "onnxsim": Tool(("onnxsim", "onnx"), onnxsim_job),
    "onnxruntime": Tool(("onnxruntime",), onnxruntime_job),
}


def measure_here(tool: Tool, source: Path, target: Path) -> None:
    """Run the job in this process and write the measurement to stdout; ends the process without its clean-up."""
    for module in tool.modules:
        importlib.import_module(module)
    imported, resident = time.process_time(), process_memory("VmRSS")
    start = time.perf_counter()
    tool.job(source, target)
    wall, cpu = time.perf_counter() - start, time.process_time()
    record = {
        "import_cpu": imported,
        "job_cpu": cpu - imported,
        "cpu": cpu,
        "job_wall": wall,
        "peak": process_memory("VmHWM"),
        "resident_after_import": resident,
    }
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()
    os._exit(0)


# ------------------------------------------------------------------------------------------- rounds, in the parent
def run_once(tool: str, source: Path, target: Path, seconds: float) -> dict[str, float]:
    """Measure one run in a new process.

    Raises:
        SystemExit: the tool failed or took too long; the message ends with its last line.
    """
    command = ["-m", "bench.compile_time", "--child", tool, str(source.resolve()), str(target)]
    try:
        done, _ = run_measured(command, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{tool} on {source.name}: no end after {seconds:.0f} s") from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(f"{tool} on {source.name}: exit status {done.returncode}: {reason}")
    record: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return record


def count_nodes(path: Path) -> int:
    """Return the number of nodes in the top graph of an ONNX file."""
    import onnx

    return len(onnx.load(path, load_external_data=False).graph.node)


@attrs.define
class Series:
    """All runs of one tool on one model."""

    tool: str
    model: str
    file_mib: float
    runs: list[dict[str, float]] = attrs.field(factory=list[dict[str, float]])
    nodes: int = 0

    def median(self, key: str) -> float:
        """Return the median of one measured quantity."""
        return statistics.median(run[key] for run in self.runs)

    @property
    def over_import(self) -> float:
        """Median MiB of peak memory beyond what was resident after the import."""
        return statistics.median(run["peak"] - run["resident_after_import"] for run in self.runs)


def measure_model(model: str, source: Path, tools: list[str], rounds: int, seconds: float) -> list[Series]:
    """Measure every tool on one model, interleaved."""
    table = {tool: Series(tool, model, source.stat().st_size / MIB) for tool in tools}
    with tempfile.TemporaryDirectory(prefix="uair-bench-") as folder:
        for number in range(rounds):
            first = number % len(tools)
            for tool in tools[first:] + tools[:first]:
                target = Path(folder) / f"{tool}.onnx"
                table[tool].runs.append(run_once(tool, source, target, seconds))
                if number == 0:
                    table[tool].nodes = count_nodes(target)
                target.unlink()
    return list(table.values())


def warm(tools: list[str], source: Path, seconds: float) -> None:
    """Run every tool once on one model: the bytecode of what it imports is there afterwards."""
    with tempfile.TemporaryDirectory(prefix="uair-bench-") as folder:
        for tool in tools:
            run_once(tool, source, Path(folder) / f"{tool}.onnx", seconds)


def report(series: list[Series]) -> str:
    """Return the table of one model; the ratios are to the first tool: above 1 means more than it."""
    base = series[0]
    lines = [
        f"{base.model} ({base.file_mib:.1f} MiB, {len(base.runs)} rounds; ratios to {base.tool})",
        "  tool          CPU s (import + job)    ratio   peak MiB   ratio   peak-import   /file   nodes",
    ]
    for row in series:
        cpu, peak = row.median("cpu"), row.median("peak")
        lines.append(
            f"  {row.tool:12} {cpu:6.3f} ({row.median('import_cpu'):.3f} + {row.median('job_cpu'):.3f})"
            f"   {cpu / base.median('cpu'):6.2f}   {peak:8.1f}  {peak / base.median('peak'):6.2f}"
            f"      {row.over_import:8.1f}  {row.over_import / row.file_mib:6.2f}  {row.nodes:6}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.compile_time", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tools", nargs="+", choices=list(TOOLS), default=list(TOOLS))
    parser.add_argument("--models", nargs="+", metavar="NAME_OR_FILE", help="names of bench/models.py or .onnx files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="for one run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        tool, source, target = options.child
        measure_here(TOOLS[tool], Path(source), Path(target))
    from bench.models import benchmark_models  # here: a child must not pay for the parent's imports

    known = {} if options.models and all(Path(name).is_file() for name in options.models) else benchmark_models()
    sources = {name: known[name] if name in known else Path(name) for name in options.models or known}
    if missing := [name for name, path in sources.items() if not path.is_file()]:
        parser.error(f"no such model: {', '.join(missing)}; there are {', '.join(known)}")
    warm(options.tools, min(sources.values(), key=lambda path: path.stat().st_size), options.timeout)
    everything: list[Series] = []
    for name, path in sources.items():
        series = measure_model(name, path, options.tools, options.rounds, options.timeout)
        sys.stdout.write(report(series) + "\n")
        sys.stdout.flush()
        everything += series
    if options.json:
        options.json.write_text(json.dumps([attrs.asdict(row) for row in everything], indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
