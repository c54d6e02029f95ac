"""Runs cases of the corpus, each in a process of its own with limits on time, memory and files.

    python -m tests.fuzz.server NAME...

It writes a JSON object a line: name, what became of each stage, seconds, and peak memory. Processes are forked from one
that has imported UAIR: a case costs milliseconds.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.cli.helpers import tiny_model
from tests.fuzz.case import Case
from tests.fuzz.corpus import CORPUS
from uair.api import export_onnx, optimize
from uair.codegen.reference import Interpreter
from uair.errors import ModelWarning, UairError
from uair.frontends.onnx import load
from uair.ir.compare import difference
from uair.ir.dims import static, symbols_of
from uair.ir.graph import Graph, Tensor
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of

SECONDS = 5
MEMORY = 1 << 30
FILE_SIZE = 64 << 20
FEED_BYTES = 16 << 20
MAX_RUNS = 300
PATIENCE = 12
"""A process is killed after so many times the seconds, so that a machine under load fails no test by crashing it."""


def stages(path: Path) -> dict[str, str]:
    """What became of each stage: "" or the error's code and message; a stage that breaks raises."""
    done: dict[str, str] = {}

    def run(stage: str, action: Callable[[], Any]) -> Any:
        try:
            result = action()
        except UairError as error:
            text = str(error)
            if stage != "interpret" and any(word in text for word in ("MemoryError", "Unable to allocate")):
                raise AssertionError(f"{stage} ran out of memory") from error
            if error.code == "UAIR-E0002":
                raise
            done[stage] = text[:400]
            return None
        done[stage] = ""
        return result

    module = run("import", lambda: load(path))
    if module is None:
        return done
    _reread(module)
    verify(module)
    run("export", lambda: export_onnx(module, path.with_name("out.onnx")))
    optimized = run("optimize", lambda: optimize(module.clone()))
    if optimized is not None:
        run("export optimized", lambda: export_onnx(optimized, path.with_name("out2.onnx")))
    feeds = _feeds(module.main)
    if feeds is not None:
        run("interpret", lambda: Interpreter(module, max_runs=MAX_RUNS).run(feeds))
    return done


def _reread(module: Module) -> None:
    again = parse_module(print_module(module), weights=weights_of(module))
    found = difference(module, again)
    assert not found, f"the text does not read back: {found}"


def _feeds(graph: Graph) -> dict[str, Any] | None:
    """Small inputs; None when an input is of no size that one has at hand."""
    feeds: dict[str, Any] = {}
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        array = _feed(tensor)
        if array is None:
            return None
        feeds[name] = array
    return feeds


def _feed(tensor: Tensor) -> Any:
    t = tensor.type
    if t.containers:
        return None
    if t.shape is None:
        t = t.with_shape((2, 3))
    t = t.substitute(dict.fromkeys(symbols_of(t.dims), 2))
    shape = tuple(map(int, static(t.dims)))
    if any(d < 0 for d in shape) or t.size * 16 > FEED_BYTES:
        return None
    if t.dtype.numpy == np.dtype(object):
        return np.full(shape, "a", object)
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape).astype(t.dtype.numpy)


def _child(case: Case, folder: Path, report: Path) -> None:
    """Run one case in this process and write what came of it."""
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ModelWarning)
    limit = _mapped() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    result: dict[str, Any] = {}
    started = time.perf_counter()
    cpu = time.process_time()
    try:
        result["stages"] = stages(folder / "model" / "m.onnx")
    except BaseException:  # noqa: BLE001  the parent reports it
        result["traceback"] = traceback.format_exc()[-6000:]
    result["seconds"] = time.process_time() - cpu
    result["elapsed"] = time.perf_counter() - started
    report.write_text(json.dumps(result))


def _mapped() -> int:
    """Bytes of address space in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def run_case(case: Case) -> dict[str, Any]:
    """The result of one case, from a process forked for it."""
    folder = Path(tempfile.mkdtemp(prefix="uair-fuzz-"))
    try:
        case.write(folder)
        report = folder / "report.json"
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _child(case, folder, report)
                status = 0
            finally:
                os._exit(status)
        return {"name": case.name, **_awaited(pid, report)}
    finally:
        shutil.rmtree(folder)


def _awaited(pid: int, report: Path) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE * SECONDS
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.wait4(pid, 0)
            return {"traceback": f"no end after {PATIENCE * SECONDS} s"}
        time.sleep(0.002)
    result: dict[str, Any] = {"memory": usage.ru_maxrss * 1024}
    if status != 0 or not report.exists():
        return result | {"traceback": f"the process ended with status {status}"}
    found: dict[str, Any] = json.loads(report.read_text())
    return result | found


def _warm_up() -> None:
    """Import in this process what every case needs."""
    with tempfile.TemporaryDirectory(prefix="uair-fuzz-") as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(tiny_model().SerializeToString())
        assert not any(stages(path).values())


def main(names: list[str]) -> None:
    """Run the cases named, or all."""
    _warm_up()
    for name in names or CORPUS.cases:
        print(json.dumps(run_case(CORPUS.cases[name])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
