"""What pruning costs in accuracy: criteria and compensation beside a random choice and torch-pruning.

    python -m bench.pruning --data FOLDER fmnist_mbv2 fmnist_vit --write
    python -m bench.pruning --data FOLDER fmnist_mbv2 fmnist_vit --peer /venv/with/torch_pruning/bin/python --write

Models and data are those of bench.int8_accuracy; 96 calibration samples, no training afterwards. The noise is that of
held-out samples in onnxruntime, the metric is the task's. torch-pruning gets the operators of the same ONNX file
(convolutions, Clip, Add, mean, Gemm: the convolutional model only), its group magnitude criterion, and prunes globally
until the budget holds.
"""

# pyright: reportUnknownMemberType=false
# numpy's own annotations leave type arguments open.

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

import uair
from bench.int8 import metrics
from bench.int8.models import Model, open_model, read_arrays
from bench.int8_accuracy import run_float
from bench.processes import ROOT
from uair.passes.prune_channels import PruneChannels
from uair.passes.prune_two_four import PruneTwoFour
from uair.pipeline import Pass, PassManager, Verify
from uair.targets.check import node_flops

PAGE = ROOT / "docs" / "pruning.md"
START, END = "<!-- figures: made by bench.pruning -->\n", "<!-- end of figures -->\n"
FLOPS = (0.9, 0.8, 0.7)
CALIBRATION = 96
RANDOM = 3
"""Random choices that are averaged."""
SECONDS = 600.0

WAYS: dict[str, Mapping[str, Any]] = {
    "random": {"criterion": "random", "compensate": "none"},
    "norm": {"criterion": "norm", "compensate": "none"},
    "output": {"criterion": "output", "compensate": "none"},
    "taylor": {"criterion": "taylor", "compensate": "none"},
    "output, means": {"criterion": "output", "compensate": "mean"},
    "taylor, means": {"criterion": "taylor", "compensate": "mean"},
    "norm, weights": {"criterion": "norm", "compensate": "weights"},
    "output, weights": {"criterion": "output", "compensate": "weights"},
    "taylor, weights (default)": {"criterion": "taylor", "compensate": "weights"},
}
HEADS: dict[str, Mapping[str, Any]] = {
    "output, weights, whole heads": {"criterion": "output", "compensate": "weights", "heads": True},
    "taylor, weights, whole heads": {"criterion": "taylor", "compensate": "weights", "heads": True},
}
"""Of models with attention."""
SPARSE = ("magnitude", "wanda", "update", "auto")


@attrs.frozen
class Row:
    """One way on one model.

    Attributes:
        way: how.
        left: of the operations.
        sqnr: in dB.
        task: the metric.
        seconds: of the processor for the pass; of torch-pruning those on the wall for its whole process.
    """

    way: str
    left: float
    sqnr: float
    task: float
    seconds: float


class Bench:
    """One model with its float outputs."""

    def __init__(self, model: Model, samples: list[dict[str, metrics.Array]], work: Path) -> None:
        self.model, self.samples, self.work = model, samples, work
        self.reference = run_float(model.path, model.held_out)
        self.float_task = self._task(self.reference)
        kinds = {node.op_type for node in uair.load(model.path).main}
        self.ways = WAYS | HEADS if kinds & {"Softmax", "Attention"} and "MatMul" in kinds else WAYS

    def _task(self, outputs: list[metrics.Array]) -> float:
        return metrics.TASKS[self.model.task](outputs, self.reference, self.model.truth)

    def row(self, way: str, left: float, outputs: list[metrics.Array], seconds: float) -> Row:
        """Judge outputs."""
        return Row(way, left, metrics.sqnr(self.reference, outputs), self._task(outputs), seconds)

    def measure(self, way: str, passes: list[Pass]) -> Row:
        """Run passes and judge the model that comes out."""
        module = uair.load(self.model.path)
        uair.optimize(module)
        before = _operations(module)
        begin = time.process_time()
        PassManager(passes, [Verify()]).run(module)
        seconds = time.process_time() - begin
        path = self.work / "pruned.onnx"
        uair.export_onnx(module, path)
        return self.row(way, _operations(module) / before, run_float(path, self.model.held_out), seconds)

    def channels(self, way: str, flops: float) -> Row:
        """One way to prune channels; the mean of several random choices."""
        options = dict((WAYS | HEADS)[way])
        needs = options["criterion"] in ("output", "taylor") or options["compensate"] != "none"
        options |= {"samples": self.samples if needs else None, "limit": CALIBRATION, "flops": flops}
        seeds = range(RANDOM) if options["criterion"] == "random" else (0,)
        rows = [self.measure(way, [PruneChannels(seed=seed, **options)]) for seed in seeds]
        means = [float(np.mean([getattr(row, name) for row in rows])) for name in ("left", "sqnr", "task", "seconds")]
        return Row(way, *means)

    def peer(self, python: Path, flops: float) -> Row | None:
        """torch-pruning's result; None where it cannot be used."""
        worker = Path(__file__).with_name("pruning_peer.py")
        inputs, outputs = self.work / "inputs.npz", self.work / "outputs.npz"
        np.savez(inputs, **self.model.held_out)  # type: ignore[arg-type]
        begin = time.perf_counter()
        done = subprocess.run(
            [str(python), str(worker), str(self.model.path), str(inputs), str(outputs), str(flops)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            return None
        with np.load(outputs) as found:
            return self.row("torch-pruning", float(found["left"]), [found["y"]], time.perf_counter() - begin)


def _operations(module: uair.Module) -> int:
    return sum(node_flops(node) or 0 for node in module.main)


def calibration(name: str, data: Path | None, model: Model) -> list[dict[str, metrics.Array]]:
    """More samples than bench.int8_accuracy takes: fits need them."""
    if data is None or name.startswith("zoo:"):
        arrays = model.calibration
    else:
        meta = json.loads((data / name / "meta.json").read_text("utf-8"))
        arrays, _ = read_arrays(data / name / "calib.npz", meta)
    count = min(CALIBRATION, len(next(iter(arrays.values()))))
    return [{key: array[i : i + 1] for key, array in arrays.items()} for i in range(count)]


def _line(way: str, rows: list[Row]) -> str:
    cells = " | ".join(f"{row.task:.2%} ({row.sqnr:.1f})" for row in rows)
    return f"| {way} | {cells} | {max(row.seconds for row in rows):.1f} |"


def lines(bench: Bench, peer: Path | None) -> Iterator[str]:
    """The tables of one model."""
    yield f"**{bench.model.name}**, float: {bench.float_task:.2%}"
    yield ""
    yield (
        "| accuracy (SQNR in dB) at | "
        + " | ".join(f"{share:.0%} of the operations" for share in FLOPS)
        + " | seconds |"
    )
    yield "|---|" + "---|" * (len(FLOPS) + 1)
    for way in bench.ways:
        yield _line(way, [bench.channels(way, share) for share in FLOPS])
    if peer is not None:
        found = [bench.peer(peer, share) for share in FLOPS]
        known = [row for row in found if row is not None]
        if len(known) == len(found):
            yield _line("torch-pruning 1.6, group magnitude", known)
    yield ""
    yield "| 2:4 | accuracy (SQNR in dB) | seconds |"
    yield "|---|---|---|"
    for criterion in SPARSE:
        samples = None if criterion == "magnitude" else bench.samples
        options: dict[str, Any] = {"criterion": criterion, "samples": samples, "limit": CALIBRATION}
        row = bench.measure(criterion, [PruneTwoFour(**options)])
        yield f"| {criterion} | {row.task:.2%} ({row.sqnr:.1f}) | {row.seconds:.1f} |"
    yield ""


def main() -> int:
    """Measure and print; write into the page if asked to."""
    parser = argparse.ArgumentParser(description="Accuracy of pruned models.")
    parser.add_argument("models", nargs="+", help="names of folders in DATA, or zoo:NAME")
    parser.add_argument("--data", type=Path, help="folder of the models' folders")
    parser.add_argument("--peer", type=Path, help="a Python that has torch and torch_pruning")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/pruning.md")
    given = parser.parse_args()
    text: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.models:
            model = open_model(name, given.data, Path(folder))
            bench = Bench(model, calibration(name, given.data, model), Path(folder))
            for each in lines(bench, given.peer):
                print(each, flush=True)
                text.append(each)
    if given.write:
        page = PAGE.read_text("utf-8")
        before, rest = page.split(START)
        PAGE.write_text(before + START + "\n".join(text) + "\n" + END + rest.split(END)[1], "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
