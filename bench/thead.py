"""T-Head's csinn programs on x86: how close to UAIR's interpreter, and how fast beside the program that HHB generates.

    python -m bench.thead [MODEL...] [--hhb] [--repeat N]

Needs the environment of tools/vendor/hhb.sh (make vendor-hhb) and gcc. For each model one line in Markdown: greatest
difference of the f32 outputs; in INT8 the integers that differ when every operator is given the interpreter's integers,
and by how many steps; milliseconds of one run in f32 and INT8 on one core, the best of N. With --hhb HHB compiles the
same model (minutes; kept in the cache), and its program is timed in the same run with the same library.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

import uair
from tests import zoo
from tests.vendor import hhb, shl

MODELS = ("squeezenet_real", "shufflenet_real", "ppocr_cls", "resnet50_real")
HEAD = (
    "| model | f32 difference | INT8 integers that differ | steps | f32 ms | HHB f32 ms | INT8 ms | HHB INT8 ms |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def measure(name: str, folder: Path, *, compare: bool, repeat: int) -> str:
    """The line of a model."""
    model = zoo.models()[name]
    cells: dict[str, str] = {}
    for mode in ("f32", "int8"):
        quantize = uair.Int8(model.calibration(2)) if mode == "int8" else None
        artifact = uair.compile(
            model.path,
            "x86_ref",
            output=folder / f"{name}_{mode}",
            shapes=dict(model.shapes),
            quantize=quantize,
            golden=model.feeds(0),
        )
        if not shl.make(artifact.root).ok:
            raise SystemExit((artifact.root / "make.log").read_text())
        entry = artifact.manifest["thead"]
        x = np.load(artifact.root / entry["golden"]["inputs"][0])
        names = [port["name"] for port in entry["outputs"]]
        ours = shl.execute(artifact.root, [x], names, repeat)
        cells[f"{mode} ms"] = f"{min(ours.milliseconds):.1f}"
        theirs = min(hhb.execute(artifact, x, names, repeat).milliseconds) if compare else None
        cells[f"hhb {mode} ms"] = "" if theirs is None else f"{theirs:.1f}"
        if mode == "f32":
            expected = artifact.arrays(artifact.manifest["golden"]["outputs"])
            cells["difference"] = f"{max(float(np.abs(ours.outputs[n] - expected[n]).max()) for n in names):.1e}"
        else:
            module = uair.load(artifact.root / "model.uair")
            steps = shl.compare_steps(module, folder / f"{name}_steps", model.feeds(0), one_by_one=True)
            cells["integers"] = f"{steps.different} of {steps.elements}"
            cells["steps"] = str(steps.greatest)
    order = ("difference", "integers", "steps", "f32 ms", "hhb f32 ms", "int8 ms", "hhb int8 ms")
    return f"| {name} | {' | '.join(cells[key] for key in order)} |\n"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Accuracy and speed of csinn programs on x86.")
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--hhb", action="store_true", help="compare with the program that HHB generates")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    sys.stdout.write(HEAD)
    with tempfile.TemporaryDirectory(prefix="uair-bench-") as folder:
        for name in given.models:
            sys.stdout.write(measure(name, Path(folder), compare=given.hhb, repeat=given.repeat))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
