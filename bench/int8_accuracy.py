"""INT8 accuracy, time, memory and speed of UAIR beside other quantizers, on the same models and samples.

    python -m bench.int8_accuracy --data FOLDER fmnist_mbv2 ppocr_rec zoo:minilm --json figures.json
    python -m bench.int8_accuracy --from figures.json --write

Every tool gets the float ONNX file and 32 calibration samples, in a process of its own with one thread; the order of
the tools is turned from model to model. Its result is compared with the float model on held-out samples in
onnxruntime, optimizations off: there a QDQ file means what it says, on every processor. Two placements stand apart,
because floats between layers are accurate but no form for a device of integers alone: "compute" (the inputs of
convolutions and products with weights) and "all" (everything that a device of integers needs). `MACs` and
`activations` are what is on integers of each.

`--rknn` has rknn-toolkit2's simulator (which is slow: 64 held-out samples) run UAIR's artifact for rk3588 beside the
toolkit's own quantization. `--speed` measures the files in onnxruntime with all optimizations, in turns.
NNCF and onnxruntime may live elsewhere: `--python nncf=/path/to/python`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# onnxruntime has no annotations, NumPy's leave type arguments open.

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import onnxruntime

from bench.int8 import coverage, metrics
from bench.int8.models import Model, open_model
from bench.int8.workers import of_artifact
from bench.processes import ROOT, measured_environment
from tools import rknn_env

COMPUTE = ("uair", "uair-high", "nncf", "nncf-mixed", "nncf-bias", "nncf-transformer")
ALL = ("uair-all", "uair-all-high", "onnxruntime", "onnxruntime-percentile")
FLOAT = "float"
SIMULATED_FILES = {"rknn-uair": "uair-all", "rknn-uair-high": "uair-all-high"}
"""Whose file the simulator takes."""
RKNN = ("rknn-normal", "rknn-mmse", *SIMULATED_FILES)
SIMULATED = 64
"""Held-out samples for the simulator."""
SECONDS = 1800.0
ROUNDS = 15
PAGE = ROOT / "docs" / "int8-accuracy.md"
NAMES = {
    "uair": "UAIR",
    "uair-high": "UAIR, effort high",
    "uair-all": "UAIR, rk3588's scheme",
    "uair-all-high": "UAIR, rk3588's scheme, effort high",
    "onnxruntime": "onnxruntime, min-max",
    "onnxruntime-percentile": "onnxruntime, percentile",
    "nncf": "NNCF, default",
    "nncf-mixed": "NNCF, preset mixed",
    "nncf-bias": "NNCF, full bias correction",
    "nncf-transformer": "NNCF, model type transformer",
    "rknn-normal": "rknn-toolkit2, normal",
    "rknn-mmse": "rknn-toolkit2, mmse",
    "rknn-uair": "UAIR's rk3588 artifact",
    "rknn-uair-high": "UAIR's rk3588 artifact, effort high",
}


@attrs.frozen
class Row:
    """One tool on one model.

    Attributes:
        model: its name.
        tool: a key of NAMES.
        failed: the tool's last line when it failed; empty otherwise, and only then the rest means something.
        sqnr: in dB, over all outputs of all held-out samples.
        cosine: mean over them.
        task: the task's metric; None for a model without one.
        products: share of the weighted operators' multiplications on integers; None where it cannot be seen.
        activations: share of the activations read as integers; None where it cannot be seen.
        cpu: CPU seconds of the job, the import of the tool left out.
        peak: MiB over what was resident after the import.
        latency: milliseconds in onnxruntime with one thread, median; None when not measured.
    """

    model: str
    tool: str
    failed: str = ""
    sqnr: float = 0.0
    cosine: float = 0.0
    task: float | None = None
    products: float | None = None
    activations: float | None = None
    cpu: float = 0.0
    peak: float = 0.0
    latency: float | None = None


# ------------------------------------------------------------------------------------------------------------ measuring
def run_float(path: Path, samples: Mapping[str, metrics.Array]) -> list[metrics.Array]:
    """The outputs of an ONNX file on samples, in onnxruntime without optimizations."""
    session = open_session(path, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    feeds = list(_feeds(session, samples))
    results = [session.run(None, feed) for feed in feeds]
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def open_session(path: Path, level: Any) -> Any:
    """A session with one thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _feeds(session: Any, samples: Mapping[str, metrics.Array]) -> Iterable[dict[str, metrics.Array]]:
    """By the file's own names, which a vendor's form may have changed, in the order of the model."""
    names = [port.name for port in session.get_inputs()]
    renamed = names if set(names) != set(samples) else list(samples)
    for i in range(len(next(iter(samples.values())))):
        yield {name: array[i : i + 1] for name, array in zip(renamed, samples.values(), strict=True)}


def save(path: Path, samples: Mapping[str, metrics.Array]) -> Path:
    """Samples as a file."""
    np.savez(path, **samples)  # type: ignore[arg-type]  # names of inputs, not of parameters
    return path


def run_tool(tool: str, pythons: Mapping[str, str], arguments: Sequence[Path]) -> dict[str, float] | str:
    """Run one tool: its measurements, or its last words."""
    python = pythons.get(tool.split("-", maxsplit=1)[0], sys.executable)
    command = [python, "-m", "bench.int8.workers", tool, *map(str, arguments)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=ROOT, env=measured_environment()
        )
    except subprocess.TimeoutExpired:
        return f"no end after {SECONDS:.0f} s"
    lines = [line for line in (done.stdout if done.returncode == 0 else done.stderr).splitlines() if line.strip()]
    if done.returncode != 0:
        return f"exit status {done.returncode}: {lines[-1].strip() if lines else 'no message'}"
    record: dict[str, float] = json.loads(lines[-1])
    return record


def warm(model: Model, tools: Sequence[str], pythons: Mapping[str, str], work: Path) -> None:
    """Run the tools once on two samples: the bytecode of what they import late is there when they are measured.

    Those that take minutes are left out; so is what failed, which fails again when it is measured.
    """
    few = save(work / "few.npz", {name: array[:2] for name, array in model.calibration.items()})
    for tool in tools:
        if tool not in RKNN and not tool.endswith("-high"):
            run_tool(tool, pythons, [model.path, few, work / "few.onnx"])


def measure(model: Model, tools: Sequence[str], pythons: Mapping[str, str], work: Path, *, speed: bool) -> list[Row]:
    """All tools on one model."""
    calibration = save(work / "calibration.npz", model.calibration)
    reference = run_float(model.path, model.held_out)
    rows: list[Row] = []
    files: dict[str, Path] = {}
    for tool in tools:
        simulated = tool in RKNN
        limit = SIMULATED if simulated else len(reference[0])
        held_out = {name: array[:limit] for name, array in model.held_out.items()}
        output = work / f"{tool}.{'npz' if simulated else 'onnx'}"
        source = of_artifact(files[SIMULATED_FILES[tool]]) if tool in SIMULATED_FILES else model.path
        arguments = [source, calibration, output]
        if simulated:
            arguments.append(save(work / "held_out.npz", held_out))
        record = run_tool(tool, pythons, arguments)
        if isinstance(record, str):
            rows.append(Row(model.name, tool, record))
        elif tool == FLOAT:
            rows.append(Row(model.name, tool, cpu=record["cpu"], peak=record["peak"]))
            files[tool] = model.path
        else:
            files[tool] = output
            rows.append(judge(model, tool, output, held_out, [r[:limit] for r in reference], record))
        say(rows[-1])
    if not speed:
        return rows
    latencies = latency({tool: file for tool, file in files.items() if tool not in RKNN}, model)
    return [attrs.evolve(row, latency=latencies.get(row.tool)) for row in rows]


def judge(
    model: Model,
    tool: str,
    output: Path,
    held_out: Mapping[str, metrics.Array],
    reference: list[metrics.Array],
    record: Mapping[str, float],
) -> Row:
    """Compare what a tool made with the float model."""
    covered: coverage.Coverage | None = None
    if output.suffix == ".npz":
        with np.load(output) as archive:
            found = [archive[f"out{i}"] for i in range(len(archive.files))]
    else:
        covered = coverage.measure(output)
        found = run_float(output, held_out)
    truth = {k: v[: len(reference[0])] if isinstance(v, np.ndarray) else v for k, v in model.truth.items()}
    task = metrics.TASKS[model.task](found, reference, truth) if model.task else None
    return Row(
        model.name,
        tool,
        "",
        metrics.sqnr(reference, found),
        metrics.cosine(reference, found),
        task,
        covered.products if covered else None,
        covered.activations if covered else None,
        record["cpu"],
        record["peak"],
    )


def latency(files: Mapping[str, Path], model: Model) -> dict[str, float]:
    """Median milliseconds of one sample, all files in turns."""
    sessions = {t: open_session(f, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL) for t, f in files.items()}
    first = {name: array[:1] for name, array in model.held_out.items()}
    feeds = {tool: next(iter(_feeds(session, first))) for tool, session in sessions.items()}
    times: dict[str, list[float]] = {tool: [] for tool in files}
    for _ in range(ROUNDS):
        for tool, session in sessions.items():
            started = time.perf_counter()
            session.run(None, feeds[tool])
            times[tool].append(1e3 * (time.perf_counter() - started))
    return {tool: float(np.median(values[1:])) for tool, values in times.items()}


# --------------------------------------------------------------------------------------------------------------- tables
HEAD = ("tool", "SQNR dB", "cosine", "task", "MACs", "activations", "CPU s", "MiB", "ms")


def cells(row: Row) -> tuple[str, ...]:
    """A line of the table."""
    if row.tool == FLOAT and not row.failed:
        return (describe_float(row),)
    name = NAMES.get(row.tool, row.tool)
    if row.failed:
        return (name, f"failed: {row.failed[:90]}", *[""] * 7)
    share = ["" if s is None else f"{100 * s:.1f} %" for s in (row.task, row.products, row.activations)]
    latency_ = "" if row.latency is None else f"{row.latency:.2f}"
    return (name, f"{row.sqnr:.1f}", f"{row.cosine:.5f}", *share, f"{row.cpu:.1f}", f"{row.peak:.0f}", latency_)


def say(row: Row) -> None:
    """One line for the terminal, as soon as it is known."""
    print(f"{row.model:14} " + "  ".join(c for c in cells(row) if c), flush=True)


def tables(rows: Sequence[Row]) -> str:
    """Markdown: per model and placement one table."""
    parts: list[str] = []
    for model in dict.fromkeys(row.model for row in rows):
        of_model = {row.tool: row for row in rows if row.model == model}
        parts.append(f"### {model}\n")
        if (base := of_model.get(FLOAT)) is not None:
            parts.append(f"{describe_float(base)}\n")
        for title, tools in (("Compute only", COMPUTE), ("All on integers", ALL), ("rk3588's simulator", RKNN)):
            found = [of_model[tool] for tool in tools if tool in of_model]
            if found:
                parts.append(f"{title}:\n\n| {' | '.join(HEAD)} |\n|{'-|' * len(HEAD)}")
                parts.extend(f"| {' | '.join(cells(row))} |" for row in found)
                parts.append("")
    return "\n".join(parts)


def describe_float(row: Row) -> str:
    """What the others are compared with."""
    speed = "" if row.latency is None else f" One sample in onnxruntime: {row.latency:.2f} ms."
    return (
        f"The 32 samples through the float model in UAIR's interpreter: {row.cpu:.1f} CPU s, {row.peak:.0f} MiB.{speed}"
    )


def write_page(rows: Sequence[Row]) -> None:
    """Put the tables into the page, between its marks."""
    head, rest = PAGE.read_text("utf-8").split("<!-- tables -->\n", 1)
    _, tail = rest.split("<!-- end of tables -->", 1)
    PAGE.write_text(f"{head}<!-- tables -->\n{tables(rows)}\n<!-- end of tables -->{tail}", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="a folder in --data, or zoo:NAME")
    parser.add_argument("--data", type=Path, help="folder of models with their samples")
    parser.add_argument("--tools", nargs="+", default=[FLOAT, *COMPUTE, *ALL], choices=[FLOAT, *NAMES])
    parser.add_argument("--rknn", action="store_true", help="also rknn-toolkit2 and its simulator")
    parser.add_argument("--speed", action="store_true", help="also the latency in onnxruntime")
    parser.add_argument("--python", action="append", default=[], metavar="TOOL=PATH", help="the Python that has a tool")
    parser.add_argument("--json", type=Path, help="keep the figures, beside those of other models that are there")
    parser.add_argument("--from", dest="kept", type=Path, help="measure nothing: figures of an earlier --json")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    options = parser.parse_args(arguments)
    pythons = dict(text.split("=", 1) for text in options.python)
    tools = [tool for tool in options.tools if tool not in RKNN]
    simulators = [tool for tool in RKNN if options.rknn or tool in options.tools]
    tools += [made for tool, made in SIMULATED_FILES.items() if tool in simulators and made not in tools]
    if simulators:
        pythons.setdefault("rknn", str(rknn_env.ensure()))
    rows = _kept(options.kept) if options.kept else []
    for turn, name in enumerate(options.models):
        with tempfile.TemporaryDirectory(prefix="int8-accuracy-") as folder:
            model = open_model(name, options.data, Path(folder))
            if not turn:
                warm(model, tools, pythons, Path(folder))
            shift = turn % max(len(tools), 1)
            turned = [*tools[shift:], *tools[:shift], *simulators]  # simulators last: they take UAIR's file
            rows += measure(model, turned, pythons, Path(folder), speed=options.speed)
        if options.json:
            _keep(options.json, rows)
    if options.write:
        write_page(rows)
    else:
        print(tables(rows))
    return 0


def _kept(path: Path) -> list[Row]:
    return [Row(**record) for record in json.loads(path.read_text("utf-8"))]


def _keep(path: Path, rows: Sequence[Row]) -> None:
    """New figures replace old ones of the same model and tool."""
    known = {(row.model, row.tool): row for row in (_kept(path) if path.is_file() else [])}
    known.update({(row.model, row.tool): row for row in rows})
    path.write_text(json.dumps([attrs.asdict(row) for row in known.values()], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
