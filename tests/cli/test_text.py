"""`uair dump`, `uair opt`, `uair inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.helpers import EXAMPLE, EXAMPLE_SHAPE, Shell, listing, run_uair, tiny_model
from uair.api import load, run
from uair.ir.compare import difference
from uair.text import parse_module
from uair.text.weights import weights_of


def test_dump_prints_what_can_be_read_back(uair: Shell, tiny: Path) -> None:
    text = uair("dump", tiny).require().out
    assert text.startswith("uair 1\nmodule @tiny")
    module = load(tiny)
    assert difference(parse_module(text, weights=weights_of(module)), module) == ""


def test_dump_runs_passes_first(uair: Shell, tiny: Path) -> None:
    text = uair("dump", tiny, "--shape", "x=2,3,8,8", "-p", "canonicalise,fuse").require().out
    assert "= BatchNorm(" not in text and "f32[2,5]" in text


def test_dump_to_a_file(uair: Shell, tmp_path: Path) -> None:
    assert uair("dump", EXAMPLE, "-o", "m.uair").require().out == ""
    assert listing(tmp_path) == ["m.uair", "m.uair.safetensors"]
    assert difference(load("m.uair"), load(EXAMPLE)) == ""


@pytest.mark.parametrize("out", ["art", "art.zip"])
def test_dump_of_an_artifact(uair: Shell, tiny: Path, out: str) -> None:
    uair("compile", tiny, "-t", "reference", "--shape", "x=1,3,8,8", "-o", out).require()
    assert "graph @main(%x: f32[1,3,8,8])" in uair("dump", out).require().out


def test_names_of_strangers_do_not_reach_the_terminal(uair: Shell, tmp_path: Path) -> None:
    model = tiny_model()
    model.graph.node[2].name = "evil\x1b]0;title\x07"
    model.graph.node[5].output[0] = model.graph.output[0].name = "y\x1b[2J[red]"
    onnx.save(model, "evil.onnx")
    np.save("x.npy", np.zeros((1, 3, 8, 8), np.float32))
    commands = (
        ["dump", "evil.onnx"],
        ["inspect", "evil.onnx"],
        ["check", "evil.onnx", "--all-nodes", "-t", "cpu"],
        ["run", "evil.onnx", "-i", "x.npy"],
        ["compile", "evil.onnx", "-t", "reference", "--shape", "x=1,3,8,8"],
        ["run", "evil-reference"],
        ["inspect", "evil-reference"],
    )
    for command in commands:
        result = uair(*command).require()
        assert "\x1b" not in result.out + result.err, command
    assert "[red]" in uair("inspect", "evil.onnx").out


def test_opt_prints_the_optimised_module(uair: Shell, tiny: Path) -> None:
    text = uair("opt", tiny).require().out
    assert "= Conv2D(" in text and "= BatchNorm(" not in text


@pytest.mark.parametrize("name", ["out.uair", "out.onnx"])
def test_opt_writes(uair: Shell, tiny: Path, name: str) -> None:
    assert uair("opt", tiny, "-o", name).require().out == ""
    x = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(run(name, x)["y"], run(tiny, x)["y"], rtol=1e-4, atol=1e-6)


def test_opt_chooses_the_opset(uair: Shell, tiny: Path) -> None:
    uair("opt", tiny, "-o", "old.onnx", "--opset", "11").require()
    assert [o.version for o in onnx.load("old.onnx").opset_import if not o.domain] == [11]
    assert "--opset" in uair("opt", tiny, "--opset", "11").require(2).err
    assert ".uair or .onnx" in uair("opt", tiny, "-o", "x.pb").require(2).err


def test_opt_with_instruments(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    options = ["--timing", "--print-after", "--check-numerics", "1e-4", "--dump-dir", "dumps"]
    result = uair("opt", tiny, "--shape", "x=1,3,8,8", "-p", "canonicalise{max-rounds=2},fuse", *options).require()
    assert [line for line in result.out.splitlines() if line.startswith("// after")] == [
        "// after bind-shapes{shapes=[x:[1,3,8,8]]}",
        "// after fuse",
    ]
    assert result.err.split()[:3] == ["pass", "ms", "CPU"]
    assert "canonicalise{max-rounds=2}" in result.err
    assert listing(tmp_path / "dumps") == [
        "00-input.uair", "01-bind-shapes.uair", "03-fuse.uair",
    ]  # fmt: skip
    assert "--json" in uair("opt", tiny, "--print-after", "--json").require(2).err


def test_opt_json(uair: Shell, tiny: Path) -> None:
    passes = uair("opt", tiny, "-o", "out.onnx", "--json").require().json["passes"]
    assert [p["name"] for p in passes] == ["canonicalise", "fuse"]
    assert passes[1]["changed"] is True and passes[1]["nodes"] < 6


def test_opt_lists_the_passes(uair: Shell) -> None:
    from uair.builtin import PASSES

    out = uair("opt", "--list-passes").require().out
    assert [line for line in out.splitlines() if not line.startswith(" ")] == sorted(PASSES)
    assert "{max-rounds=6}" in out
    assert all(len(line) <= 80 for line in out.splitlines())


@pytest.mark.parametrize(
    ("pipeline", "code", "words"),
    [
        ("canonicalise,fusee", "UAIR-E0003", "fuse"),
        ("canonicalise,,fuse", "UAIR-E0401", "   canonicalise,,fuse\n                ^"),
        ("fuse{rounds=1}", "UAIR-E0401", "no option 'rounds'"),
        ("canonicalise{max-rounds=many}", "UAIR-E0401", "many"),
    ],
)
def test_opt_with_a_wrong_pipeline(uair: Shell, tiny: Path, pipeline: str, code: str, words: str) -> None:
    result = uair("opt", tiny, "-p", pipeline).require(1)
    assert result.err.startswith(code) and words in result.err


def test_inspect_a_model(uair: Shell, tiny: Path) -> None:
    out = uair("inspect", tiny).require().out
    assert "x: f32[N,3,8,8]" in out and "open sizes" in out
    facts = uair("inspect", EXAMPLE, "--shape", EXAMPLE_SHAPE, "--json").require().json
    assert facts["nodes"] == 258 and facts["operators"]["Conv2D"] == 53
    assert facts["source"]["sha256"].startswith("e47acedf")
    assert 30e6 < facts["flops"] < 40e6
    assert facts["constant_bytes"] > 500_000


@pytest.mark.parametrize("out", ["art", "art.zip"])
def test_inspect_an_artifact(uair: Shell, tiny: Path, out: str) -> None:
    uair("compile", tiny, "-t", "cpu", "--shape", "x=1,3,8,8", "-o", out, "--preprocess", "mean=127,std=64").require()
    shown = uair("inspect", out).require().out
    for words in (
        "cpu: CPU (onnxruntime)",
        "x: f32[1,3,8,8] from images: mean=127,std=64",
        "model.onnx",
        "cosine 1.0000",
    ):
        assert words in shown
    assert uair("inspect", out, "--json").require().json["target"] == "cpu"
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_head_may_close_the_pipe(tmp_path: Path) -> None:
    """A reader that has seen enough is no error to talk about."""
    import subprocess
    import sys

    command = f"{sys.executable} -m uair dump {EXAMPLE} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"uair 1\n" and done.stderr == b""


def test_piped_output_is_plain(tmp_path: Path) -> None:
    result = run_uair("inspect", EXAMPLE, "--shape", EXAMPLE_SHAPE, "--json", cwd=tmp_path).require()
    assert json.loads(result.out)["name"] == "paddle-onnx"
    assert result.err == ""
