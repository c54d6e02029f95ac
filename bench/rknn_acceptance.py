"""Real models through rknn-toolkit2 and its simulator: as published, and through UAIR.

    python bench/rknn_acceptance.py [MODEL ...] [--mode float16|int8] [--without-raw] [--json FILE]

For every model and number format the toolkit builds the file as published (open sizes fixed by load_onnx; INT8 by the
toolkit's own calibration) and what UAIR compiles from it (INT8 by UAIR's scales). Both are simulated on one input, and
held against the float reference: `cosine` is that of the worst output. NPU and CPU are the layers in the compiler's own
table; `before` are those without the rewrites of the device file, where one was applied. Cycles are the sum of the
compiler's table and UAIR's prediction for the same convolutions. Accepted is what is built and simulated, with a cosine
of at least 0.999 in float16 and 0.98 in INT8; light_* models have weights of one value, and are only built.

The toolkit runs in child processes with limits. Results are kept by hash: of the artifact for builds, and of UAIR's own
source for whole rows, so that a rerun takes seconds. Two models in parallel need about 2 GB.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # before NumPy starts its BLAS

import argparse
import functools
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import uair
from tests import zoo
from tests.vendor import rknn
from tests.vendor.rknn_models import Candidate, candidates
from tools import rknn_env
from uair.codegen.rockchip import RockchipTarget
from uair.codegen.rockchip.cycles import compare
from uair.codegen.rockchip.layer_table import Layer
from uair.context import Context
from uair.errors import UairError
from uair.ir.module import Module
from uair.passes.bind_inputs import BindInputs
from uair.passes.bind_shapes import BindShapes
from uair.pipeline import PassContext
from uair.vendor import run_tool

TARGET = "rk3588"
MODES = ("float16", "int8")
LOWEST = {"float16": 0.999, "int8": 0.98}
SCRIPT = ROOT / "codegen" / "rockchip" / "build_script.py"
SOURCES = ("uair", "passes", "frontends", "codegen")
VERSION = 3
"""Of what a row holds."""


@attrs.frozen
class Outcome:
    """What became of one build.

    Attributes:
        reason: why it failed; empty when it was built and simulated.
        cosine: of the worst output; None without one, or when it is not finite.
        seconds: in the toolkit.
        npu: layers on the NPU.
        cpu: layers on the CPU.
        cycles: of the compiler's table.
        predicted: UAIR's cycles for the same convolutions.
        worst: greatest relative error of the prediction for one convolution.
    """

    reason: str = ""
    cosine: float | None = None
    seconds: float = 0.0
    npu: int = 0
    cpu: int = 0
    cycles: int = 0
    predicted: float = 0.0
    worst: float = 0.0

    def accepted(self, mode: str, *, judged: bool) -> bool:
        """Whether it was built, and is close enough to the reference where that is looked at."""
        return not self.reason and (not judged or (self.cosine is not None and self.cosine >= LOWEST[mode]))


@attrs.frozen
class Row:
    """One model in one number format.

    Attributes:
        model: its name.
        mode: "float16" or "int8".
        judged: whether cosines count.
        raw: the model as published; None when it was left out.
        ours: through UAIR.
        before: (layers on the NPU, on the CPU) without the device file's rewrites, where one was applied.
        rewrites: those that were applied, and how often.
        floats: operators that UAIR left in float of those it could have quantized.
        compile_seconds: UAIR's own time.
    """

    model: str
    mode: str
    judged: bool
    raw: Outcome | None
    ours: Outcome
    before: tuple[int, int] | None
    rewrites: dict[str, int]
    floats: int
    compile_seconds: float


# -------------------------------------------------------------------------------------------------------------- keeping
@functools.cache
def source_hash() -> str:
    """Hash of all of UAIR's own source and of the models' makers."""
    digest = hashlib.sha256()
    files = [p for name in SOURCES for p in (ROOT / name).resolve().rglob("*") if p.suffix in (".py", ".toml", ".lark")]
    for path in sorted({p.resolve() for p in [*files, *(ROOT / "tests").glob("zoo*.py")]}):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kept(key: list[Any]) -> Path:
    """Where a result with this key is kept."""
    text = json.dumps([VERSION, str(rknn_env.folder()), *key], sort_keys=True)
    return zoo.cache_dir() / "rknn" / "acceptance" / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


def keep(path: Path, content: Any) -> None:
    """Write a result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(path)


def file_hash(path: Path) -> str:
    """Of a model."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ----------------------------------------------------------------------------------------------------------------- raw
def build_raw(model: Candidate, mode: str, reference: uair.Artifact) -> Outcome:
    """The published file in the toolkit."""
    place = kept(["raw", file_hash(model.path), file_hash(SCRIPT), mode, sorted(map(str, model.shapes.items()))])
    if place.is_file():
        return Outcome(**json.loads(place.read_text("utf-8")))
    with tempfile.TemporaryDirectory(prefix="rknn-raw-") as name:
        outcome = _raw_in(Path(name), model, mode, reference)
    keep(place, attrs.asdict(outcome))
    return outcome


def _raw_in(folder: Path, model: Candidate, mode: str, reference: uair.Artifact) -> Outcome:
    shutil.copy(model.path, folder / "model.onnx")
    shutil.copy(SCRIPT, folder / "build.py")
    bound = {name: np.asarray(value) for name, value in model.values.items()}
    feeds = {name: array for name, array in {**model.feeds, **bound}.items()}
    order = [n for n in published_inputs(model) if n in feeds]
    with np.load(reference.file(reference.manifest["golden"]["outputs"])) as archive:
        outputs = {name: archive[name] for name in archive.files}
    np.savez(folder / "inputs.npz", **feeds)  # type: ignore[arg-type]
    np.savez(folder / "outputs.npz", **outputs)
    lines: list[str] = []
    for i, sample in enumerate(model.calibration() if mode == "int8" else ()):
        names = [f"s{i}_{j}.npy" for j in range(len(order))]
        for file, key in zip(names, order, strict=True):
            np.save(folder / file, {**sample, **bound}[key])
        lines.append(" ".join(names))
    (folder / "dataset.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    content = {
        "schema": 1,
        "model": "model.onnx",
        "load": {"inputs": order, "input_size_list": [list(feeds[n].shape) for n in order]},
        "output": "model.rknn",
        "config": {"target_platform": TARGET, "optimization_level": 3},
        "quantization": "toolkit" if mode == "int8" else "none",
        "dataset": "dataset.txt",
        "inputs": [{"name": n, "source": n} for n in order],
        "outputs": [{"name": n, "source": n} for n in outputs],
        "golden": {"inputs": "inputs.npz", "outputs": "outputs.npz"},
        "cosine": 0.0,
    }
    (folder / "build.json").write_text(json.dumps(content), encoding="utf-8")
    return _run(folder / "build.py", folder / "out")


def published_inputs(model: Candidate) -> list[str]:
    """Names of the inputs in the order of the file."""
    return list(uair.load(model.path).main.input_names)


def _run(script: Path, output: Path) -> Outcome:
    """Run a build.py; never raises for what the toolkit does."""
    output.mkdir()
    threads = {name: str(rknn.THREADS) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    command = (rknn_env.ensure(), script, "--output", output)
    tool = run_tool(command, log=output / "process.log", limits=rknn.LIMITS, environment=threads)
    done = rknn.Build(tool.seconds, tool.peak_memory, rknn.result_of(output))
    if not done.is_built:
        return Outcome(rknn.why_failed(output, tool, done.result), seconds=tool.seconds)
    return outcome_of(attrs.evolve(done, layers=rknn.layers_of(output / "build.log")))


def outcome_of(done: rknn.Build) -> Outcome:
    """Cosine and table of a finished build."""
    npu, cpu = (sum(done.layers[key].values()) for key in ("npu", "cpu"))
    return Outcome("", done.cosine, round(done.seconds, 1), npu, cpu, done.layers["cycles"])


# ---------------------------------------------------------------------------------------------------------------- UAIR
def bound_module(model: Candidate) -> Module:
    """The model with its shapes and fixed inputs."""
    module, context = uair.load(model.path), PassContext()
    if model.values:
        BindShapes(shapes=model.shapes).run(module, context)
        BindInputs(values=model.values).run(module, context)
    return module


def compiled(model: Candidate, mode: str, output: Path) -> uair.Artifact:
    """UAIR's artifact."""
    quantize = uair.Int8(model.calibration()) if mode == "int8" else None
    return uair.compile(
        bound_module(model), TARGET, output=output, shapes=model.shapes, quantize=quantize, golden=model.feeds
    )


def build_ours(artifact: uair.Artifact, folder: Path) -> Outcome:
    """The artifact in the toolkit, and UAIR's prediction beside the compiler's cycles."""
    try:
        done = rknn.build(artifact, folder)
    except rknn.BuildFailed as error:
        return Outcome(error.reason)
    layers = [Layer(i, r[0], r[1], r[2], tuple(map(tuple, r[3])), tuple(r[4]), 0, 0, r[5], 0, r[6])
              for i, r in enumerate(done.layers["rows"])]  # fmt: skip
    found = compare(layers, uair.load(artifact.file("model.uair")).main, Context.default().target(TARGET).description)
    return attrs.evolve(outcome_of(done), predicted=round(found.predicted), worst=round(found.worst, 4))


def examine(model: Candidate, mode: str, *, raw: bool) -> Row:
    """Everything about one model in one number format."""
    place = kept(["row", file_hash(model.path), source_hash(), mode, raw, sorted(map(str, model.shapes.items()))])
    if place.is_file():
        return _row(json.loads(place.read_text("utf-8")))
    with tempfile.TemporaryDirectory(prefix="rknn-acceptance-") as name:
        row = _examine(model, mode, Path(name), raw=raw)
    keep(place, attrs.asdict(row))
    return row


def _row(content: dict[str, Any]) -> Row:
    outcomes: dict[str, Any] = {
        key: None if content[key] is None else Outcome(**content[key]) for key in ("raw", "ours")
    }
    before = None if content["before"] is None else tuple(content["before"])
    fields: dict[str, Any] = {**content, **outcomes, "before": before}
    return Row(**fields)


def _examine(model: Candidate, mode: str, work: Path, *, raw: bool) -> Row:
    started = time.monotonic()
    try:
        artifact = compiled(model, mode, work / "artifact")
    except UairError as error:
        failed = Outcome(f"{error.code}: {error.message}")
        return Row(model.name, mode, model.judged, None, failed, None, {}, 0, time.monotonic() - started)
    seconds = round(time.monotonic() - started, 1)
    ours = build_ours(artifact, work / "build")
    report = json.loads(artifact.file("report.json").read_text("utf-8"))
    known = Context.default().target(TARGET).description.rewrites
    applied = {name: count for name, count in report["rules"].items() if name in known}
    before = None
    if applied and not ours.reason:
        with mock.patch.object(RockchipTarget, "rewrite_for", lambda self, node: ""):
            plain = build_ours(compiled(model, mode, work / "plain"), work / "plain-build")
        before = (plain.npu, plain.cpu)
    floats = len(report.get("quantization", {}).get("skipped", []))
    published = build_raw(model, mode, artifact) if raw else None
    return Row(model.name, mode, model.judged, published, ours, before, applied, floats, seconds)


# --------------------------------------------------------------------------------------------------------------- output
HEAD = (
    "model",
    "mode",
    "raw",
    "s",
    "NPU",
    "CPU",
    "UAIR",
    "s",
    "NPU",
    "CPU",
    "before",
    "cycles",
    "predicted",
    "rewrites",
)
WIDTHS = (23, 7, 26, 5, 4, 4, 20, 5, 4, 4, 7, 10, 10, 0)


def line(cells: tuple[str, ...]) -> str:
    """A line of the table."""
    return " ".join(cell[:width].ljust(width) if width else cell for cell, width in zip(cells, WIDTHS, strict=True))


def _verdict(outcome: Outcome | None, mode: str, *, judged: bool) -> str:
    if outcome is None:
        return "-"
    if outcome.reason:
        return f"FAIL {outcome.reason.split(': ', 1)[-1]}"
    if not judged:
        return "ok (built)"
    cosine = "not finite" if outcome.cosine is None else f"{outcome.cosine:.5f}"
    return f"{'ok' if outcome.accepted(mode, judged=judged) else 'LOW'} {cosine}"


def cells(row: Row) -> tuple[str, ...]:
    """A row as text."""

    def counts(outcome: Outcome | None) -> tuple[str, str, str]:
        if outcome is None or outcome.reason:
            return "", "", ""
        return f"{outcome.seconds:.0f}", str(outcome.npu), str(outcome.cpu)

    ours = row.ours
    error = f" ({ours.predicted / ours.cycles - 1:+.1%})" if ours.cycles else ""
    return (
        row.model, row.mode, _verdict(row.raw, row.mode, judged=row.judged), *counts(row.raw),
        _verdict(ours, row.mode, judged=row.judged), *counts(ours),
        "" if row.before is None else f"{row.before[0]}/{row.before[1]}",
        str(ours.cycles or ""), f"{ours.predicted:.0f}" if ours.predicted else "",
        ", ".join(f"{name} {count}" for name, count in row.rewrites.items()) + error,
    )  # fmt: skip


def summary(rows: list[Row]) -> Iterator[str]:
    """Counts by number format."""
    for mode in MODES:
        chosen = [row for row in rows if row.mode == mode]
        if not chosen:
            continue
        ours = sum(row.ours.accepted(mode, judged=row.judged) for row in chosen)
        built = sum(not row.ours.reason for row in chosen)
        raw = [row.raw for row in chosen if row.raw is not None]
        text = f"{mode}: UAIR {ours}/{len(chosen)} accepted ({built} built)"
        if raw:
            good = sum(r.accepted(mode, judged=row.judged) for row in chosen if (r := row.raw) is not None)
            text += f"; as published {good}/{len(raw)} accepted ({sum(not r.reason for r in raw)} built)"
        moved = [(row.before[1], row.ours.cpu) for row in chosen if row.before is not None]
        if moved:
            text += f"; layers on the CPU of models with rewrites: {sum(a for a, _ in moved)} before, "
            text += f"{sum(b for _, b in moved)} after"
        yield text


def main() -> int:
    """Print the table; exit status 1 when UAIR's part of it is not accepted throughout."""
    parser = argparse.ArgumentParser(description="Real models through rknn-toolkit2, as published and through UAIR.")
    parser.add_argument("models", nargs="*", help="only these")
    parser.add_argument("--mode", choices=MODES, action="append", help="only this number format")
    parser.add_argument("--without-raw", action="store_true", help="leave out the models as published")
    parser.add_argument("--json", type=Path, help="write the rows to a file, too")
    options = parser.parse_args()
    known = candidates()
    if unknown := set(options.models) - set(known):
        parser.error(f"no model is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    rows: list[Row] = []
    sys.stdout.write(line(HEAD) + "\n")
    for name in options.models or known:
        for mode in options.mode or MODES:
            row = examine(known[name], mode, raw=not options.without_raw)
            rows.append(row)
            sys.stdout.write(line(cells(row)) + "\n")
            sys.stdout.flush()
    sys.stdout.write("\n".join(summary(rows)) + "\n")
    if options.json:
        options.json.write_text(json.dumps([attrs.asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return 0 if all(row.ours.accepted(row.mode, judged=row.judged) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
