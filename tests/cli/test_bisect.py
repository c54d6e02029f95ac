"""`uair bisect`, and plug-in files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.helpers import EXAMPLE, ROOT, Shell, listing
from tests.debugging import faults
from tests.debugging.test_bisect import CHAIN
from uair.context import Context

PLUGIN = Path(faults.__file__)
WRONG = ("-p", "apply-rules{rules=[abs-of-relu,tanh-is-sigmoid]}", "--plugin", PLUGIN)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "chain.uair"
    path.write_text(CHAIN)
    return path


def test_the_change_is_shown_with_the_users_names(uair: Shell, model: Path, tmp_path: Path) -> None:
    out = uair("bisect", model, *WRONG).require(4).out
    assert out.startswith("Output 'y' changes by ")
    for fact in ("rule          tanh-is-sigmoid", "change        2 of 2", "in the model  Tanh 'third'"):
        assert fact in out, out
    assert "> " in out and "^^^^ from Tanh 'third'" in out
    assert "The smallest module that shows it, 1 node:" in out
    assert "Replay:  sh chain-bisect/replay.sh" in out
    assert listing(tmp_path / "chain-bisect") == ["after.uair", "inputs.npz", "module.uair", "replay.sh"]


def test_the_script_replays_it(uair: Shell, model: Path, tmp_path: Path) -> None:
    uair("bisect", model, *WRONG, "-o", "case").require(4)
    script = tmp_path / "case" / "replay.sh"
    text = script.read_text().replace("exec uair ", f"exec {sys.executable} -m uair ")
    script.write_text(text)
    done = subprocess.run(
        ["sh", script], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, check=False
    )
    assert done.returncode == 4, done.stderr
    assert "tanh-is-sigmoid" in done.stdout
    assert listing(tmp_path / "case") == ["after.uair", "inputs.npz", "module.uair", "replay.sh"]


def test_json(uair: Shell, model: Path) -> None:
    found = uair("bisect", model, *WRONG, "--json").require(4).json
    assert found["found"] and found["rule"] == "tanh-is-sigmoid"
    assert (found["change"], found["changes"]) == (2, 2)
    assert found["sources"] == [{"name": "third", "kind": "Tanh", "file": ""}]
    assert found["smallest"]["nodes"] == 1 and "chain-bisect/module.uair" in found["smallest"]["files"]
    assert found["replay"].startswith("uair bisect module.uair -p 'apply-rules{")
    agreed = uair("bisect", model, "--json").require().json
    assert agreed == {"found": False, "tolerance": 1e-4, "errors": {"y": 0.0}}


def test_numbers_that_agree_are_said_to(uair: Shell, model: Path, tmp_path: Path) -> None:
    out = uair("bisect", model, "--plugin", PLUGIN, "-p", "apply-rules{rules=[abs-of-relu]}").require().out
    assert out.startswith("The numbers agree")
    assert listing(tmp_path) == ["chain.uair"]
    uair("bisect", model, "-t", "cpu").require()


def test_given_inputs_and_no_reduction(uair: Shell, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 8), np.float32))
    uair("bisect", model, "--plugin", PLUGIN, "-p", "drop-relu", "-i", "x.npy").require()
    np.save(tmp_path / "x.npy", -np.ones((2, 8), np.float32))
    out = uair("bisect", model, "--plugin", PLUGIN, "-p", "drop-relu", "-i", "x.npy", "--no-reduce").require(4).out
    assert "drop-relu" in out and "without drawing fuel" in out
    assert listing(tmp_path) == ["chain.uair", "x.npy"]


def test_wrong_command_lines(uair: Shell, model: Path, tmp_path: Path) -> None:
    assert "--target" in uair("bisect", model, "--option", "a=b").require(2).err
    assert "--input" in uair("bisect", model, "--preprocess", "mean=1").require(2).err
    assert "did you mean" in uair("bisect", model, "-p", "canonicalize").require(1).err
    (tmp_path / "open.uair").write_text(CHAIN.replace("2,8", "n,8"))
    assert "UAIR-E0413" in uair("bisect", "open.uair").require(1).err
    assert "there is no rule called 'abs-of-relu'" in uair("bisect", model, *WRONG[:2]).require(1).err


# ------------------------------------------------------------------------------------------------- plug-in files
def test_a_plug_in_is_known_in_its_command_only(uair: Shell, model: Path) -> None:
    assert "Sigmoid(" in uair("opt", model, *WRONG).require().out
    assert "tanh-is-sigmoid" not in Context.default().rules
    assert "there is no rule" in uair("opt", model, "-p", "apply-rules{rules=[tanh-is-sigmoid]}").require(1).err
    hint = uair("opt", model, "-p", "tanh-is-sigmoid", "--plugin", PLUGIN).require(1).err
    assert "apply-rules{rules=[tanh-is-sigmoid]}" in hint


def test_operators_of_a_plug_in_are_read(uair: Shell, model: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from uair import Operator, operator\n\n\n"
        "@operator(inputs='x', family='own')\nclass Twice(Operator):\n    '''2 x.'''\n\n"
        "    def infer(self, x):\n        return x\n\n    def evaluate(self, x):\n        return x + x\n"
    )
    model.write_text(CHAIN.replace("Tanh(", "Twice("))
    np.save(tmp_path / "x.npy", np.ones((2, 8), np.float32))
    assert "Twice" in uair("run", model, "-i", "x.npy").require(1).err
    assert "0.135" in uair("run", model, "-i", "x.npy", "--plugin", "own.py").require().out  # exp(-2)


def test_the_examples_are_plug_ins(uair: Shell) -> None:
    rule, pass_ = ROOT / "examples" / "custom_rule.py", ROOT / "examples" / "custom_pass.py"
    assert "10 candidates; it applies to 10" in uair("why-not", "mean-for-global-pool", EXAMPLE, "--plugin", rule).out
    pipeline = "apply-rules{rules=[mean-for-global-pool]},prune-weights{share=0.2}"
    out = uair("opt", EXAMPLE, "--plugin", rule, "--plugin", pass_, "-p", pipeline).require().out
    assert out.count("= ReduceMean(") == 10 and 'applied "prune-weights{share=0.2}" changed' in out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module_at_all\n", "ModuleNotFoundError"),
        ("def f(:\n", "SyntaxError"),
        ("x = 1\n", "brings nothing"),
        (
            "import uair\nclass FoldConstants(uair.Pass):\n    def run(self, module, context):\n        return False\n",
            "brings 'fold-constants', which is a name among the passes already",
        ),
    ],
)
def test_a_broken_plug_in_is_named(uair: Shell, model: Path, tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "broken.py").write_text(text)
    err = uair("opt", model, "--plugin", "broken.py").require(1).err
    assert "UAIR-E0005" in err and "broken.py" in err and reason in err
    assert uair("opt", model, "--plugin", "missing.py").require(2).err


def test_shapes_are_bound_by_the_first_pass(uair: Shell, model: Path, tmp_path: Path) -> None:
    model.write_text(CHAIN.replace("2,8", "n,8"))
    wrong = uair("bisect", model, *WRONG, "--shape", "x=2,8").require(4).out
    assert "the 2nd of 2 that changed something" in " ".join(wrong.split())
    uair("bisect", model, "--shape", "x=2,8", "-t", "cpu").require()
    np.save(tmp_path / "x.npy", np.ones((2, 8), np.float32))
    uair("bisect", model, "--shape", "x=2,8", "-i", "x.npy").require()
    assert "UAIR-E0320" in uair("bisect", model, "--shape", "x=2,9").require(1).err
    assert "UAIR-E0320" in uair("bisect", model, "--shape", "z=2,9").require(1).err
