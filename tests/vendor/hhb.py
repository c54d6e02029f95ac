"""Running HHB on an artifact, once: what it wrote for an unchanged artifact is kept; and its C program on x86."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import uair
from tests import zoo
from tests.vendor import shl
from uair.ir.dtype import Array
from uair.vendor import Limits, run_tool

LIMITS = Limits(seconds=1200.0, memory=8 << 30)
INPUTS = ("hhb.onnx", "build_hhb.sh", "calibration.npz")
DRIVER = Path(__file__).with_name("hhb_driver.c")
TVM_HEADER = """#pragma once
#define TVM_DLL
typedef struct { void *data; } DLTensor;
typedef union { void *v_handle; } TVMValue;
"""
"""What the end of HHB's model.c takes from TVM, which nothing here calls."""


def generated(artifact: uair.Artifact) -> Path:
    """The folder of what build_hhb.sh writes for an artifact.

    Raises:
        AssertionError: HHB failed.
    """
    digest = hashlib.sha256()
    for name in INPUTS:
        path = artifact.root / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    key = digest.hexdigest()[:24]
    kept = zoo.cache_dir() / "hhb" / key
    with zoo.locked(f"hhb-{key}"):
        if not kept.is_dir():
            _build(artifact, kept)
    return kept


def _build(artifact: uair.Artifact, kept: Path) -> None:
    """Run build_hhb.sh and keep what it writes."""
    tools = shl.environment() / "bin"
    environment = {"PATH": f"{tools}:{os.defpath}", "OMP_NUM_THREADS": "2"}
    log = artifact.root / "hhb.log"
    done = run_tool(["sh", artifact.root / "build_hhb.sh"], log=log, limits=LIMITS, environment=environment)
    assert done.ok, f"{done.describe()}\n{log.read_text()[-2000:]}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}")
    shutil.copytree(artifact.root / "hhb_out", partial)
    partial.replace(kept)


def execute(artifact: uair.Artifact, x: Array, outputs: Sequence[str], repeat: int = 0) -> shl.Run:
    """Make and run HHB's own program for x86.

    Args:
        artifact: for x86_ref, of a model with one input.
        x: the input.
        outputs: names, in order.
        repeat: how often it is timed.
    """
    source, folder = generated(artifact), artifact.root / "hhb_run"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tvm" / "runtime").mkdir(parents=True)
    (folder / "tvm" / "runtime" / "c_runtime_api.h").write_text(TVM_HEADER)
    np.save(folder / "input.npy", np.ascontiguousarray(x))
    library = shl.environment() / "shl" / "x86"
    headers = [folder, artifact.root, library / "include", library / "include" / "shl_public"]
    sources = [source / "model.c", DRIVER, artifact.root / "uair_io.c", library / "lib" / "libshl.a"]
    options = ["-O2", "-w", "-fopenmp", *(f"-I{h}" for h in headers), "-o", str(folder / "driver")]
    done = run_tool(["gcc", *options, *map(str, sources), "-lm"], log=folder / "gcc.log", limits=shl.LIMITS)
    assert done.ok, (folder / "gcc.log").read_text()[-2000:]
    command = [str(folder / "driver"), str(source / "model.params"), str(repeat), "input.npy"]
    log = folder / "run.log"
    done = run_tool(command, log=log, limits=shl.LIMITS, folder=folder, environment={"OMP_NUM_THREADS": "1"})
    assert done.ok, f"{done.describe()}\n{log.read_text()[-2000:]}"
    return shl.Run({name: np.load(folder / f"output_{i}.npy") for i, name in enumerate(outputs)}, shl.times(log))
