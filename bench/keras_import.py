"""keras.applications, all of it: Keras' own prediction against what is imported, beside tf2onnx.

    python -m bench.keras_import [MODEL ...] [--side N | --full] [--theirs-limit SECONDS]

Needs tensorflow, keras and h5py; tf2onnx 1.17 and onnxruntime for the columns on the right. Every model has random
weights and statistics and its whole head. It is imported twice, from the live object and from a saved `.keras` file,
which must give the same graph; the optimized module, run by the interpreter, is held against the model itself: "error"
is the greatest difference over the greatest value. "transposes" are those left after optimization. "seconds" are those
of `uair.load` and `uair.optimize` of the live object, and of `tf2onnx.convert.from_keras` with its own optimizer.
tf2onnx is right when onnx.checker takes the file and onnxruntime gives what Keras gives; it writes files with
operators that ONNX does not have, too. Every model and every way has a process of its own, so that memory is bounded
by the largest model; nothing is kept.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
# The frameworks are not installed where the checkers run.

from __future__ import annotations

import argparse
import collections
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np

SIDE = 96
"""Of the images, unless --full or --side says otherwise: above the least that any of the models takes, 75."""
BOUND = 1e-4
OURS_LIMIT = 1800.0
Array = np.ndarray[Any, Any]


@attrs.frozen
class Result:
    """One model by one way; `reason` says why it is not right."""

    nodes: int | None = None
    transposes: int | None = None
    seconds: float | None = None
    error: float | None = None
    reason: str = ""

    @property
    def right(self) -> bool:
        """Whether it was read and gives what Keras gives."""
        return not self.reason and self.error is not None and self.error <= BOUND


# ------------------------------------------------------------------- in the child
def ours(name: str, side: int | None) -> Result:
    """Import, optimize, run with the interpreter."""
    import keras

    import uair
    from tests.frameworks.keras import applications
    from uair.codegen.reference import Interpreter
    from uair.ir.compare import graph_difference
    from uair.ops import Transpose

    uair.optimize(uair.load(_small(keras)), instruments=[])
    model = applications.application(name, side)
    image, expected = _expected(model)
    start = time.perf_counter()
    module = uair.load(model)
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        found = graph_difference(module.main, uair.load(path).main)
    start = time.perf_counter()
    uair.optimize(module, instruments=[])
    seconds += time.perf_counter() - start
    del model
    nodes = collections.Counter(isinstance(node.op, Transpose) for graph in module.all_graphs() for node in graph)
    (got,) = Interpreter(module).run({module.main.input_names[0]: image}).values()
    reason = f"the saved file gives another graph: {found}"[:200] if found else ""
    return Result(nodes.total(), nodes[True], seconds, _error(got, expected), reason)


def theirs(name: str, side: int | None) -> Result:
    """tf2onnx, onnx.checker, onnxruntime."""
    import keras
    import onnx
    import onnxruntime
    import tensorflow

    from tests.frameworks.keras import applications

    tf2onnx = importlib.import_module("tf2onnx")  # has no types, and is not installed where the checkers run

    def converted(model: Any) -> Any:
        signature = [tensorflow.TensorSpec(model.input_shape, tensorflow.float32, name="image")]
        return tf2onnx.convert.from_keras(model, signature, opset=18)[0]

    converted(_small(keras))
    model = applications.application(name, side)
    image, expected = _expected(model)
    start = time.perf_counter()
    result = converted(model)
    seconds = time.perf_counter() - start
    del model
    kinds = [node.op_type for node in result.graph.node if node.op_type != "Constant"]
    row = Result(len(kinds), kinds.count("Transpose"), seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(result.SerializeToString())
        del result
        try:
            onnx.checker.check_model(path)
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            (got,) = session.run(None, {session.get_inputs()[0].name: image})
        except Exception as error:  # noqa: BLE001  a row says what is wrong with the file
            return attrs.evolve(row, reason=f"invalid ONNX: {' '.join(str(error).split())[:160]}")
    return attrs.evolve(row, error=_error(got, expected))


def _small(keras: Any) -> Any:
    """A model that is read once before the clock runs, so that imports are not counted."""
    x = keras.Input((8, 8, 3))
    return keras.Model(x, keras.layers.Conv2D(2, 3)(x))


def _expected(model: Any) -> tuple[Array, Array]:
    """An image, and what Keras predicts for it, which must not be one and the same for all classes."""
    from tests.frameworks.keras import applications

    image = applications.images(model.input_shape[1])
    expected = np.asarray(model.predict_on_batch(image))
    assert expected.std() > 0.1 * expected.mean(), "the output does not vary"
    return image, expected


def _error(got: Any, expected: Array) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got.astype(np.float64) - expected).max() / np.abs(expected).max())


WAYS: dict[str, Callable[[str, int | None], Result]] = {"ours": ours, "theirs": theirs}


# ------------------------------------------------------------------- in the parent
def measure(way: str, name: str, side: int | None, limit: float) -> Result:
    """One way with one model, in a process of its own."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "bench.keras_import",
        name,
        "--child",
        way,
        "--side",
        str(side or 0),
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return Result(reason=f"not done after {limit:.0f} s")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        complaint = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return Result(reason=complaint[-1][:200])
    return Result(**json.loads(lines[-1]))


HEAD = """| model | ok | error | nodes | transposes | seconds | tf2onnx ok | error | nodes | transposes | seconds |
|---|---|---|---|---|---|---|---|---|---|---|"""


def row(name: str, results: list[Result]) -> str:
    """A line of the table."""
    cells = [name]
    for r in results:
        cells += ["yes" if r.right else "no", _shown(r.error, ".0e"), _shown(r.nodes, "d"), _shown(r.transposes, "d")]
        cells.append(_shown(r.seconds, ".1f"))
    return f"| {' | '.join(cells)} |"


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def totals(results: list[list[Result]]) -> str:
    """How many models each way reads, and the sums over those that both do."""
    both = [pair for pair in results if all(r.right for r in pair)]
    cells = [f"{len(both)} models that both read"]
    for i in range(len(WAYS)):
        of = [pair[i] for pair in both]
        nodes, transposes, seconds = (sum(getattr(r, c) for r in of) for c in ("nodes", "transposes", "seconds"))
        cells += [f"{sum(pair[i].right for pair in results)} of {len(results)}", "", f"{nodes}", f"{transposes}"]
        cells.append(f"{seconds:.0f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="constructors of keras.applications; all by default")
    parser.add_argument("--side", type=int, default=SIDE, help="of the images")
    parser.add_argument("--full", action="store_true", help="images of each model's own size")
    parser.add_argument(
        "--theirs-limit", type=float, default=900.0, metavar="SECONDS", help="for tf2onnx and its check"
    )
    parser.add_argument("--child", choices=list(WAYS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    side = None if given.full else given.side or None
    if given.child:
        print(json.dumps(attrs.asdict(WAYS[given.child](given.models[0], side))))
        return
    from tests.frameworks.keras import applications

    print(HEAD, flush=True)
    results: list[list[Result]] = []
    for name in given.models or applications.names():
        pair = [measure("ours", name, side, OURS_LIMIT), measure("theirs", name, side, given.theirs_limit)]
        results.append(pair)
        print(row(name, pair), flush=True)
        for way, r in zip(WAYS, pair, strict=True):
            if not r.right:
                print(f"{name}, {way}: {r.reason}", file=sys.stderr, flush=True)
    print(totals(results))


if __name__ == "__main__":
    main()
