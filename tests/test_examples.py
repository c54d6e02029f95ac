"""The examples run as a user runs them, and say what they should."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import uair
from tests.cli.helpers import ROOT, listing
from uair.artifact import Artifact
from uair.testing import assert_keeps, assert_rewrites

EXAMPLES = ROOT / "examples"


def run_example(name: str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    return done.stdout


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_demo(tmp_path: Path) -> None:
    out = run_example("demo.py", cwd=tmp_path)
    folder = tmp_path / "out" / "demo"
    for target in ("ascend310", "rk3588", "cpu"):
        for name in (target, f"{target}-int8"):
            artifact = Artifact.open(folder / name)
            assert artifact.target == target
            (error,) = artifact.manifest["golden"]["compiled_against_reference"].values()
            assert error["cosine"] > 0.999
            assert artifact.manifest["inputs"][0]["preprocess"]["color"] == "bgr"
            assert (artifact.manifest["quantization"] is not None) is name.endswith("int8")
    for image, label in (("text_line.png", "upright"), ("text_line_rotated.png", "upside down")):
        for name in ("cpu", "cpu-int8"):
            assert re.search(rf"{re.escape(image)} +{name} +{label} ", out)
    assert all(len(line) <= 120 for line in out.splitlines())
    assert listing(tmp_path)[0] == "out"

    (folder / "mine.txt").write_text("mine")
    example("demo").prepare(folder)
    assert listing(folder) == ["mine.txt"]


def test_the_rule(tmp_path: Path) -> None:
    out = run_example("custom_rule.py", cwd=tmp_path)
    assert out.startswith("applied 10 times")
    assert float(out.split()[-1]) < 1e-5
    rule = example("custom_rule").MeanForGlobalPool()
    assert_rewrites(
        [rule],
        before="%x: f32[1,8,4,4]  %y = GlobalAvgPool(%x)",
        after="%x: f32[1,8,4,4]  %y = ReduceMean(%x) {axes = [2,3]}",
    )
    assert_keeps([rule], "%x: f32[1,8,4]  %y = GlobalAvgPool(%x)")


def test_the_pass(tmp_path: Path) -> None:
    out = run_example("custom_pass.py", cwd=tmp_path)
    assert "prune-weights{share=0.02}" in out
    assert int(re.search(r"set to zero: (\d+)", out)[1]) > 1000  # type: ignore[index]
    prune = example("custom_pass").PruneWeights
    assert issubclass(prune, uair.Pass) and prune.name == "prune-weights"
    assert prune.description() == "Set the smallest weights of every convolution to zero."
