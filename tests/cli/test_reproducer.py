"""`--reproducer`, and what `uair opt --check-numerics` says when numbers change."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tests.cli.helpers import Shell, listing
from tests.debugging import faults
from tests.debugging.test_bisect import CHAIN
from uair.api import load
from uair.context import Context
from uair.debugging.bisect import Rules

PLUGIN = ("--plugin", Path(faults.__file__))
WEIGHTED = """uair 1
module @m {
  constant @w = %s : f32[64]
  graph @main(%%x: f32[2,64]) -> (%%y: f32[2,64]) {
    %%a = Mul(%%x, @w) : f32[2,64] loc("scale" Mul)
    %%y = Tanh(%%a) : f32[2,64] loc("head" Tanh)
  }
}
""" % str(np.linspace(0.1, 1, 64, dtype=np.float32).tolist()).replace(" ", "")  # noqa: UP031  the text has braces


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.uair"
    path.write_text(WEIGHTED)
    return path


def replayed(uair: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command in a script says, run where the script runs it."""
    _, cd, command = (folder / "replay.sh").read_text().splitlines()
    assert cd == 'cd "$(dirname "$0")" || exit 1'
    words = shlex.split(command)
    assert words[:2] == ["exec", "uair"]
    monkeypatch.chdir(folder)
    found = uair(*words[2:])
    assert found.status in (1, 4)
    return found.out + found.err


@pytest.mark.parametrize(
    ("pipeline", "code", "text"),
    [
        ("explode", "UAIR-E0414", "pass explode raises KeyError: 'no such thing'"),
        ("explode{how=order}", "UAIR-E0310", "is defined later"),
        ("apply-rules{rules=[forever]}", "UAIR-E0412", "rule forever goes on for ever"),
    ],
)
def test_a_pass_that_fails_is_replayed_without_the_weights(
    uair: Shell, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str, code: str, text: str
) -> None:
    err = uair("opt", model, *PLUGIN, "-p", f"canonicalise,{pipeline},fuse", "--reproducer", "case").require(1).err
    assert code in err and text in err
    assert "case/replay.sh replays it on the module in front of the pass" in err
    assert listing(tmp_path / "case") == ["error.txt", "module.uair", "replay.sh"]
    assert "splat<1.0>" in (tmp_path / "case" / "module.uair").read_text()
    traceback = (tmp_path / "case" / "error.txt").read_text()
    assert traceback.startswith("Traceback") or "Traceback" in traceback
    again = replayed(uair, tmp_path / "case", monkeypatch)
    assert code in again and text in again


def test_changed_numbers_name_pass_rule_and_command(
    uair: Shell, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: list[str | Path] = [
        "opt",
        model,
        *PLUGIN,
        "-p",
        "canonicalise,apply-rules{rules=[tanh-is-sigmoid]}",
        "--timing",
    ]
    err = uair(*arguments, "--check-numerics", "1e-3", "-oout.onnx", "--reproducer=case").require(1).err
    assert "UAIR-E0410 output 'y' changes by" in err and "rule tanh-is-sigmoid at <Tanh head>, change 1 of 1" in err
    assert "[pass: apply-rules{rules=[tanh-is-sigmoid]}, rule: tanh-is-sigmoid]" in err and "at Tanh 'head'" in err
    (command,) = re.findall(r"`uair (bisect [^`]*)` cuts out", err)
    assert "--timing" not in command and "out.onnx" not in command and "--reproducer" not in command
    assert "tanh-is-sigmoid" in uair(*shlex.split(command)).require(4).out
    # here the values matter, so the weights are there
    assert listing(tmp_path / "case") == ["error.txt", "module.uair", "module.uair.safetensors", "replay.sh"]
    assert "rule          tanh-is-sigmoid" in replayed(uair, tmp_path / "case", monkeypatch)


def test_a_check_that_never_took_place_is_said(uair: Shell, tmp_path: Path) -> None:
    (tmp_path / "open.uair").write_text(CHAIN.replace("2,8", "n,8"))
    err = uair("opt", "open.uair", "--check-numerics", "1e-3").require(1).err
    assert "UAIR-E0413 input 'x' has open sizes" in err and "--shape x=" in err
    uair("opt", "open.uair", "--check-numerics", "1e-3", "--shape", "x=2,8").require()


def test_no_folder_without_a_failure(uair: Shell, model: Path, tmp_path: Path) -> None:
    uair("opt", model, "--reproducer", "case", "-o", "out.uair").require()
    uair("compile", model, "-t", "reference", "--reproducer", "case", "-o", "art/").require()
    assert not (tmp_path / "case").exists()


def test_compile(uair: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chain.uair").write_text(CHAIN)
    target = Context.default().target("cpu")
    monkeypatch.setattr(target, "prepare", lambda: [faults.Explode()])
    err = uair("compile", "chain.uair", "-t", "cpu", "--reproducer", "case", *PLUGIN).require(1).err
    assert "UAIR-E0414" in err and "replay.sh replays it" in err
    assert listing(tmp_path / "case") == ["error.txt", "module.uair", "replay.sh"]
    assert [n.op_type for n in load(tmp_path / "case" / "module.uair").main] == ["Relu", "Abs", "Tanh", "Neg", "Exp"]
    monkeypatch.setattr(target, "prepare", lambda: [Rules((faults.Forever(),))])  # has no name on a command line
    uair("compile", "chain.uair", "-t", "cpu", "--reproducer", "case").require(1)
    script = (tmp_path / "case" / "replay.sh").read_text()
    assert f"cd {tmp_path}" in script and "exec uair compile chain.uair -t cpu --reproducer case" in script
