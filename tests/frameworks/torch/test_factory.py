"""A model that is Python code: `package.module:factory`, its weights and examples, on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import uair
from uair.cli import main
from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError, UnsafeModelError
from uair.frontends.torch.errors import TorchExportError, TorchModuleError
from uair.frontends.torch.factory import load_factory

# torch's own pytree tests for a class that it has deprecated, when it copies the structure of the inputs (torch 2.13).
pytestmark = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning")

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.line = nn.Linear(3, width)

    def forward(self, x, bias):
        return torch.relu(self.line(x)) + bias

class Branching(Net):
    def forward(self, x):
        if x.sum() > 0:
            return x
        return -x

def fails():
    return {}["missing"]

net = Net()
number = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the user's code in it."""
    (tmp_path / "their_nets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("their_nets", None)


EXAMPLES = ("x=f32[batch,3]", "bias=f32[4]")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt"])
def test_weights_are_those_of_the_file(folder: Path, suffix: str) -> None:
    weights = {"line.weight": torch.randn(4, 3), "line.bias": torch.randn(4)}
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(weights, path)
    else:
        torch.save({"state_dict": weights} if suffix == ".ckpt" else weights, path)
    module = load_factory("their_nets:Net", path, EXAMPLES)
    assert module.name == "net"
    assert module.main.input_names == ["x", "bias"]
    assert str(module.main.inputs[0].type) == "f32[batch,3]"
    x, bias = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32), np.ones(4, np.float32)
    (found,) = uair.run(module, {"x": x, "bias": bias}).values()
    expected = np.maximum(x @ weights["line.weight"].numpy().T + weights["line.bias"].numpy(), 0) + 1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_inputs_may_be_numbered_and_a_module_be_ready_made() -> None:
    module = load_factory("their_nets:net", None, ("1=f32[4]", "0=f32[2,3]"))
    assert [str(t.type) for t in module.main.inputs] == ["f32[2,3]", "f32[4]"]


@pytest.mark.parametrize(
    ("spec", "weights", "examples", "error", "words"),
    [
        ("not_there:Net", None, EXAMPLES, TorchModuleError, "not_there"),
        ("their_nets:Nett", None, EXAMPLES, TorchModuleError, "Nett"),
        ("their_nets:fails", None, EXAMPLES, TorchModuleError, "missing"),
        ("their_nets:number", None, EXAMPLES, TorchModuleError, "not callable"),
        ("their_nets:Net", "evil.pth", EXAMPLES, UnsafeModelError, "run code"),
        ("their_nets:Net", "other.pth", EXAMPLES, TorchModuleError, "size mismatch"),
        ("their_nets:Net", "cut.pth", EXAMPLES, SourceFileError, "cannot be read"),
        ("their_nets:Net", "missing.pth", EXAMPLES, SourceFileError, "No such file"),
        ("their_nets:Net", None, ("x=f32",), TorchModuleError, "not of the form"),
        ("their_nets:Net", None, ("x=f99[2]",), TorchModuleError, "not of the form"),
        ("their_nets:Net", None, ("x=f32[2,-1]",), TorchModuleError, "no size"),
        ("their_nets:Net", None, ("x=f32[2,3]", "1=f32[4]"), TorchModuleError, "numbers others"),
        ("their_nets:Branching", None, ("x=f32[2,3]",), TorchExportError, "cannot trace"),
    ],
)
def test_what_is_wrong_is_said(
    folder: Path, spec: str, weights: str | None, examples: tuple[str, ...], error: type[UairError], words: str
) -> None:
    good = {"line.weight": torch.zeros(4, 3), "line.bias": torch.zeros(4)}
    torch.save({"line.weight": torch.zeros(2, 3), "line.bias": torch.zeros(2)}, folder / "other.pth")
    torch.save({**good, "evil": Path}, folder / "evil.pth")
    torch.save(good, folder / "cut.pth")
    (folder / "cut.pth").write_bytes((folder / "cut.pth").read_bytes()[:300])
    with pytest.raises(error, match=words) as caught:
        load_factory(spec, None if weights is None else folder / weights, examples)
    assert caught.value.hint or error is SourceFileError
    if spec.endswith(("fails", "Branching")):
        assert "their_nets.py:" in caught.value.place


def test_every_command_takes_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["their_nets:Net", "--example", "x=f32[2,3]", "--example", "bias=f32[4]"]
    np.save("x.npy", np.ones((2, 3), np.float32))
    np.save("bias.npy", np.ones(4, np.float32))
    for command, more, words in (
        ("dump", [], "Linear("),
        ("inspect", [], "f32[2,3]"),
        ("check", ["-t", "cpu"], "cpu"),
        ("run", ["--input", "x=x.npy", "--input", "bias=bias.npy"], "output"),
        ("compile", ["-t", "reference"], "their_nets-Net-reference"),
    ):
        status = main([command, *given, *more])
        out = capsys.readouterr()
        assert status == 0, out.err
        assert words in out.out
    assert (folder / "their_nets-Net-reference" / "manifest.json").is_file()
    assert main(["dump", "model.onnx", "--weights", "x.npy"]) == 2
    assert "package.module:factory" in capsys.readouterr().err
