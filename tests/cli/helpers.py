"""What the tests of the command line share: running commands, a small model that compiles in a blink."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from uair.cli import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
IMAGES = ROOT / "examples" / "images"
EXAMPLE_SHAPE = "x=1,3,48,192"
EXAMPLE_STEPS = "resize=pad,color=bgr,mean=127.5,std=127.5,fill=127.5"


@attrs.frozen
class Result:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The standard output as JSON; it must be nothing else."""
        return json.loads(self.out)

    def require(self, status: int = 0) -> Result:
        """The result itself, when it has that status."""
        assert self.status == status, f"status {self.status}\n{self.out}\n{self.err}"
        return self


@attrs.frozen
class Shell:
    """Runs commands in this process, in a folder of the test's own."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path) -> Result:
        """Run `uair` with these arguments."""
        self.capsys.readouterr()
        status = main([str(a) for a in arguments])
        captured = self.capsys.readouterr()
        return Result(status, captured.out, captured.err)


def run_uair(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> Result:
    """Run `uair` in a process of its own, its output piped."""
    done = subprocess.run(
        [sys.executable, "-m", "uair", *map(str, arguments)],
        capture_output=True,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        timeout=120,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def tiny_model() -> onnx.ModelProto:
    """x: f32[N,3,8,8] -> convolution, batch normalization, relu, mean, matrix product -> y: f32[N,5]."""
    rng = np.random.default_rng(0)
    values = {
        "w": rng.normal(0, 0.4, (4, 3, 3, 3)),
        "scale": rng.uniform(0.5, 1.5, 4),
        "bias": rng.normal(0, 0.1, 4),
        "mean": rng.normal(0, 0.1, 4),
        "var": rng.uniform(0.5, 1.5, 4),
        "fc": rng.normal(0, 0.5, (4, 5)),
        "fc_bias": rng.normal(0, 0.1, 5),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["n"], name="bn1"),
        helper.make_node("Relu", ["n"], ["r"], name="relu1"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "fc", "fc_bias"], ["y"], name="head"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_tiny(folder: Path) -> Path:
    """The tiny model as a file."""
    path = folder / "tiny.onnx"
    onnx.save(tiny_model(), path)
    return path


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
