"""What `make demo` runs: one pretrained model, compiled for three targets, run on real images.

```console
python examples/demo.py            # writes out/demo/
python examples/demo.py -o DIR     # writes DIR/
```

The model tells whether a line of text is upright or upside down (examples/README.md). It is compiled in floating point
and in INT8; the `cpu` artifacts run here, in onnxruntime, and every answer is held against the reference: the original
model in UAIR's NumPy interpreter.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import uair

HERE = Path(__file__).resolve().parent
MODEL = HERE / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
IMAGES = HERE / "images"
SHAPES = {"x": (1, 3, 48, 192)}
# Height 48, the aspect ratio kept, mid-grey to the right of a short line; -1..1, channels in BGR order.
STEPS = uair.Preprocess(resize="pad", color="bgr", mean=127.5, std=127.5, fill=127.5)
TARGETS = ("ascend310", "rk3588", "cpu")
LABELS = ("upright", "upside down")


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("out") / "demo", help="folder to write")
    folder: Path = parser.parse_args().output
    start = time.perf_counter()
    try:
        prepare(folder)
        module = read_model()
        artifacts = compile_all(module, folder)
        run_on_images(module, artifacts)
        describe_files(artifacts)
    except uair.UairError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\nThat took {time.perf_counter() - start:.0f} s. Try it with a model of your own:")
    print("  .venv/bin/uair check model.onnx\n  .venv/bin/uair compile model.onnx --target ascend310")
    return 0


def prepare(folder: Path) -> None:
    """An empty folder; what an earlier run left in it is removed, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for target in TARGETS:
        for name in (target, f"{target}-int8"):
            if (folder / name / "manifest.json").is_file():
                shutil.rmtree(folder / name)


def read_model() -> uair.Module:
    """Read the model and say what is in it."""
    module = uair.load(MODEL)
    heading(f"1. Read {MODEL.name} ({MODEL.stat().st_size / 1e3:.0f} kB, {module.origin.producer})")
    print(f"{len(module.main)} nodes, {len(module.main.constants())} constants\n")
    rows: list[Sequence[object]] = []
    for report in uair.check(module, TARGETS, shapes=SHAPES):
        share = f"{report.device_share:.0%}" if report.device_share is not None else "?"
        rows.append(
            (
                report.target,
                report.title,
                len(report.rows),
                sum(r.level.value == "supported" for r in report.rows),
                share,
            )
        )
    show(("target", "device", "nodes, fused", "taken", "operations on the device"), rows)
    return module


def compile_all(module: uair.Module, folder: Path) -> dict[str, uair.Artifact]:
    """Compile for every target, in floating point and in INT8; artifacts by name."""
    heading("2. Compile for three targets, in floating point and in INT8")
    golden = {"x": STEPS.load(IMAGES / "text_line.png", SHAPES["x"])}
    quantize = uair.Int8(calibration=IMAGES / "calibration")
    artifacts: dict[str, uair.Artifact] = {}
    rows: list[Sequence[object]] = []
    for target in TARGETS:
        for name, precision in ((target, None), (f"{target}-int8", quantize)):
            start = time.perf_counter()
            artifacts[name] = uair.compile(
                module,
                target,
                output=folder / name,
                shapes=SHAPES,
                quantize=precision,
                preprocess={"x": STEPS},
                golden=golden,
                overwrite=True,
            )
            seconds = time.perf_counter() - start
            size = sum(file["bytes"] for file in artifacts[name].manifest["files"].values())
            (error,) = artifacts[name].manifest["golden"]["compiled_against_reference"].values()
            rows.append((folder / name, f"{size / 1e3:.0f} kB", f"{seconds:.1f} s", *distance(error)))
    show(("artifact", "size", "time", "cosine", "greatest difference"), rows)
    print("\nCosine and difference: the compiled model against the original one, both interpreted, on text_line.png.")
    return artifacts


def run_on_images(module: uair.Module, artifacts: Mapping[str, uair.Artifact]) -> None:
    """Run the cpu artifacts in onnxruntime on an image and on the same image turned by 180 degrees."""
    heading("3. Run the cpu artifacts in onnxruntime")
    from uair.api import compare

    rows: list[Sequence[object]] = []
    for image in ("text_line.png", "text_line_rotated.png"):
        x = STEPS.load(IMAGES / image, SHAPES["x"])
        (expected,) = uair.run(module, {"x": x}).values()
        for name in ("cpu", "cpu-int8"):
            (actual,) = uair.run(artifacts[name], {"x": x}).values()
            label = int(np.argmax(actual))
            answer = f"{LABELS[label]} ({actual[0, label]:.2%})"
            rows.append((image, name, answer, *distance(compare(expected, actual))))
    show(("image", "artifact", "answer", "cosine", "greatest difference"), rows)


def describe_files(artifacts: Mapping[str, uair.Artifact]) -> None:
    """List what was written for each target."""
    heading("4. What was written")
    for name, artifact in artifacts.items():
        files = artifact.manifest["files"]
        own = sorted({f.partition("/")[0] + "/" * ("/" in f) for f in files} - {"golden/", "report.json"})
        own = [f for f in own if not f.startswith("model.uair")]
        print(textwrap.fill(", ".join(own), 116, initial_indent=f"{name:15}", subsequent_indent=" " * 15))
    print(
        "\nAnd in each: manifest.json, report.json (verdict of every node), model.uair (the final IR with its weights),"
    )
    print("golden/ (one input and the original model's output for it).")
    if all("build.sh" in artifacts[name].manifest["files"] for name in ("ascend310", "rk3588")):
        print("build.sh runs the vendor's tool where it is installed.")


def distance(error: Mapping[str, float | None]) -> tuple[str, str]:
    """Cosine and greatest difference in words."""
    cosine, largest = error["cosine"], error["max_abs"]
    return (
        "-" if cosine is None else f"{cosine:.6f}",
        "not comparable" if largest is None else f"{largest:.1e}",
    )


def heading(text: str) -> None:
    """A title."""
    print(f"\n{text}\n")


def show(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table as wide as its cells."""
    text = [[str(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in text) for i in range(len(columns))]
    for row in text:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
