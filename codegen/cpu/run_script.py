"""Runs the model beside it with onnxruntime, and checks it against the reference result. Written by UAIR.

    python3 run.py                                 check against golden/
    python3 run.py --input x=x.npy --output folder run on inputs of your own; one .npy for each output
    python3 run.py --repeat 100                    and measure

Needs numpy and onnxruntime. The exit status is 0 when all is well, 1 when onnxruntime fails, 2 for a wrong call, 3 when
the results are not those of the reference.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from uair.codegen.standalone.parts import Fault, arrays_of, compare, given, lacks_vnni, say

HERE = Path(__file__).resolve().parent
MODEL = "model.onnx"
LEAST_COSINE = {"float": 0.9999, "quantized": 0.95}
"""What every float output must have in common with the reference; less is no matter of the number format."""


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(description="Run model.onnx with onnxruntime.")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=FILE.npy", help="an input, all or none")
    parser.add_argument("--output", type=Path, help="folder for the outputs")
    parser.add_argument("--repeat", type=int, default=0, help="runs to measure")
    parser.add_argument("--threads", type=int, default=0, help="threads of one operator; 0: onnxruntime's choice")
    chosen = parser.parse_args(arguments)
    try:
        return work(chosen)
    except Fault as fault:
        sys.stderr.write(f"run.py: {fault}\n")
        return fault.status


def work(chosen: argparse.Namespace) -> int:
    """What was asked for; the exit status.

    Raises:
        Fault: see there.
    """
    manifest = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    fault = lacks_vnni() if manifest.get("cpu", {}).get("int8") == "vnni" else ""
    if fault:
        raise Fault(1, f"{fault}: compile without --option int8=vnni")
    session = opened(chosen.threads)
    feeds = given(chosen.input) if chosen.input else golden(manifest, "inputs")
    outputs = run(session, feeds)
    if chosen.output is not None:
        chosen.output.mkdir(parents=True, exist_ok=True)
        for i, (name, value) in enumerate(outputs.items()):
            np.save(chosen.output / f"{i}.npy", value)
            say(f"{name}: {chosen.output / f'{i}.npy'}")
    if chosen.repeat > 0:
        measure(session, feeds, chosen.repeat)
    if chosen.input:
        return 0
    kind = "quantized" if manifest.get("quantization") else "float"
    return compare(outputs, golden(manifest, "outputs"), LEAST_COSINE[kind], exact=kind == "float")


def opened(threads: int) -> Any:
    """The session.

    Raises:
        Fault: onnxruntime is missing or does not load the model.
    """
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise Fault(1, f"onnxruntime is needed: pip install onnxruntime ({error})") from error
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(str(HERE / MODEL), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Fault(1, f"onnxruntime {runtime.__version__} does not load {MODEL}: {error}") from error


def golden(manifest: dict[str, Any], which: str) -> dict[str, Any]:
    """The reference's arrays.

    Raises:
        Fault: the artifact has none.
    """
    file = manifest.get("golden", {}).get(which)
    if not isinstance(file, str):
        raise Fault(2, "the artifact has no reference result: give every input with --input")
    return arrays_of(HERE / file)


def run(session: Any, feeds: dict[str, Any]) -> dict[str, Any]:
    """Outputs by name.

    Raises:
        Fault: an input is missing or unknown, or onnxruntime fails.
    """
    wanted = [each.name for each in session.get_inputs()]
    unknown = [name for name in feeds if name not in wanted]
    missing = [name for name in wanted if name not in feeds]
    if unknown or missing:
        raise Fault(2, f"the inputs are {', '.join(wanted)}; {', '.join(unknown or missing)} does not fit")
    names = [each.name for each in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feeds), strict=True))
    except Exception as error:
        raise Fault(1, f"onnxruntime failed: {error}") from error


def measure(session: Any, feeds: dict[str, Any], count: int) -> None:
    """Print median and range of the time of one run."""
    seconds: list[float] = []
    for _ in range(count):
        begin = time.perf_counter()
        session.run(None, feeds)
        seconds.append(time.perf_counter() - begin)
    low, middle, high = (1e3 * f(seconds) for f in (min, statistics.median, max))
    say(f"{count} runs: median {middle:.2f} ms, {low:.2f} to {high:.2f} ms")


if __name__ == "__main__":
    sys.exit(main())
