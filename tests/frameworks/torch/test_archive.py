"""`.pt2` files read without PyTorch, against the same programs read in memory."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import uair
from tests.frameworks.torch.harness import Function
from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError, UnsafeModelError
from uair.frontends.torch import archive, live
from uair.frontends.torch.errors import TorchScriptError, TorchWeightsError
from uair.frontends.torch.mutation import functionalised
from uair.frontends.torch.program import Program, ProgramGraph

# torch's own pytree tests for a class that it has deprecated, when it copies the structure of the inputs (torch 2.13).
# torch.export.save warns of a buffer that is a part of a longer tensor, which the test wants.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:No complete tensor found in the group:UserWarning"),
]


class Net(nn.Module):
    """Convolution, norm, in-place operators, control flow, shared and transposed weights, nested inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.first = nn.Linear(8, 8, bias=False)
        self.tied = nn.Linear(8, 8, bias=False)
        self.tied.weight = self.first.weight
        self.register_buffer("turned", torch.arange(24.0).reshape(3, 8).T)
        self.register_buffer("part", torch.arange(16.0)[4:12])
        self.register_buffer("low", torch.ones(8, dtype=torch.bfloat16), persistent=False)
        self.register_buffer("seen", torch.zeros(8))

    def forward(self, x: torch.Tensor, options: dict[str, Any], scale: torch.Tensor) -> Any:
        y = torch.relu_(self.norm(self.conv(x)))
        y[:, :, 0] = 3.0
        z = self.tied(self.first(y.mean((2, 3)))) + self.part
        self.seen.add_(z.sum(0))
        z[..., :3] += options["k"]
        w = torch.cond(options["k"].sum() > 0, lambda t: t.sin(), lambda t: t.cos(), (scale[0],))
        return {"z": z @ self.turned, "w": (w, self.seen * self.low.float())}, torch.topk(z, 3)[0]


def inputs() -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 8, 8, generator=generator), {"k": torch.ones(3)}, torch.ones(1, 4)


def saved(tmp_path: Path, module: nn.Module, *given: Any, dynamic: Any = None) -> tuple[Any, Path]:
    exported = torch.export.export(module.eval(), given, dynamic_shapes=dynamic, strict=False)
    path = tmp_path / "model.pt2"
    torch.export.save(exported, path)
    return exported, path


def lines(graph: ProgramGraph) -> list[str]:
    """A graph in text, for comparison by value."""
    found = [f"inputs {graph.inputs}"]
    for call in graph.calls:
        arguments = {k: lines(v) if isinstance(v, ProgramGraph) else v for k, v in call.arguments.items()}
        found.append(f"{call.results} = {call.target}({arguments}) : {call.types} @ {call.module_path} {call.file}")
    return [*found, f"outputs {graph.outputs}"]


def assert_same(ours: Program, theirs: Program) -> None:
    assert lines(ours.graph) == lines(theirs.graph)
    assert ours.input_names == theirs.input_names
    assert ours.output_names == theirs.output_names
    assert ours.mutations == theirs.mutations
    assert ours.ranges == theirs.ranges
    assert set(ours.constants) == set(theirs.constants)
    for name, (own, data) in ours.constants.items():
        other, values = theirs.constants[name]
        assert own == other
        assert data.equals(values), own


@pytest.mark.parametrize("decomposed", [False, True])
def test_a_file_gives_the_program_that_memory_gives(tmp_path: Path, decomposed: bool) -> None:
    exported = torch.export.export(Net().eval(), inputs(), strict=False)
    exported = exported.run_decompositions({}) if decomposed else exported
    torch.export.save(exported, tmp_path / "model.pt2")
    ours = archive.read(tmp_path / "model.pt2")
    assert_same(ours, live.read(exported))
    assert_same(functionalised(ours), functionalised(live.read(exported)))
    tied = [data for own, data in ours.constants.values() if own in ("first.weight", "tied.weight")]
    assert tied[0] is tied[-1]


def test_open_sizes_are_the_same(tmp_path: Path) -> None:
    def function(x: torch.Tensor) -> Any:
        n, m = x.shape
        return x.reshape(m * 2, n // 2).sum(0), x.new_zeros(n * m + 1), n

    class Function(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return function(x)

    dynamic = ({0: 2 * torch.export.Dim("h", min=2, max=64), 1: torch.export.Dim.AUTO},)
    exported, path = saved(tmp_path, Function(), torch.randn(6, 5), dynamic=dynamic)
    ours, theirs = archive.read(path), live.read(exported)
    assert [c.target for c in ours.graph.calls] == [c.target for c in theirs.graph.calls]
    assert list(ours.ranges.values()) == list(theirs.ranges.values())
    assert [len(t.dims) for c in ours.graph.calls for t in c.types if t] == [
        len(t.dims) for c in theirs.graph.calls for t in c.types if t
    ]


def test_a_file_runs_as_the_module_does(tmp_path: Path) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 5)
    )
    x = torch.randn(2, 3, 8, 8)
    _, path = saved(tmp_path, module, x)
    read = uair.load(path)
    assert read.origin.file == "model.pt2"
    assert len(read.origin.sha256) == 64
    (found,) = uair.run(read, {read.main.input_names[0]: x.numpy()}).values()
    np.testing.assert_allclose(found, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """A copy of an archive with entries changed."""
    copy = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return copy


def test_infinities_are_numbers_in_a_file(tmp_path: Path) -> None:
    """JSON has no infinities: PyTorch writes them as words."""

    def filled(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, torch.full_like(x, float("-inf")))

    x = torch.tensor([1.0, -1.0])
    torch.export.save(torch.export.export(Function(filled), (x,)), tmp_path / "m.pt2")
    (y,) = uair.run(uair.load(tmp_path / "m.pt2"), x.numpy()).values()
    assert y.tolist() == [1.0, float("-inf")]


def test_a_pickle_in_the_file_is_not_run(tmp_path: Path) -> None:
    """`torch.export.load` runs it."""
    mark = tmp_path / "was-run"
    _, path = saved(tmp_path, nn.Linear(3, 2), torch.randn(1, 3))
    evil = pickle.dumps(Evil(mark))
    changed = rewritten(path, lambda name, raw: evil if name.endswith("sample_inputs/model.pt") else raw)
    uair.load(changed)
    assert not mark.exists()
    pickle.loads(evil)
    assert mark.exists()


def test_a_pickled_weight_is_refused(tmp_path: Path) -> None:
    _, path = saved(tmp_path, nn.Linear(3, 2), torch.randn(1, 3))
    changed = rewritten(path, lambda _, raw: raw.replace(b'"use_pickle": false', b'"use_pickle": true'))
    with pytest.raises(UnsafeModelError, match="weight"):
        uair.load(changed)


@pytest.mark.parametrize("as_module", [False, True])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
def test_a_file_of_weights_is_refused_unread(tmp_path: Path, suffix: str, as_module: bool) -> None:
    mark, path = tmp_path / "was-run", tmp_path / f"weights{suffix}"
    torch.save({"w": torch.ones(2), "evil": Evil(mark)}, path, _use_new_zipfile_serialization=as_module)
    with pytest.raises(TorchWeightsError, match="no program") as caught:
        uair.load(path)
    assert "weights_only=True" in caught.value.hint
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_refused_with_the_way_forward(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(3, 2).eval(), torch.randn(1, 3)), tmp_path / "model.pt")
    with pytest.raises(TorchScriptError, match="TorchScript") as caught:
        uair.load(tmp_path / "model.pt")
    assert "torch.export.save" in caught.value.hint


def test_another_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    _, path = saved(tmp_path, nn.Linear(3, 2), torch.randn(1, 3))
    changed = rewritten(path, lambda _, raw: raw.replace(b'"major": 8', b'"major": 9'))
    with pytest.raises(SourceFileError, match=r"schema 9\.\d+ .*known is 8"):
        uair.load(changed)


def test_a_damaged_file_is_an_error_and_no_crash(tmp_path: Path) -> None:
    """Cut at many places, and with bytes flipped."""
    _, path = saved(tmp_path, Net(), *inputs())
    whole = path.read_bytes()
    bad = tmp_path / "bad.pt2"
    refused = 0
    random = np.random.default_rng(7)
    cut = [whole[: int(n)] for n in np.linspace(0, len(whole) - 1, 40)]
    flipped = []
    for _ in range(150):
        raw = bytearray(whole)
        for at in random.integers(0, len(raw), 3):
            raw[at] ^= 1 << int(random.integers(8))
        flipped.append(bytes(raw))
    for content in (*cut, *flipped):
        bad.write_bytes(content)
        try:
            archive.read(bad)
        except UairError:
            refused += 1
    assert refused >= 40


def test_json_with_any_value_missing_is_an_error_and_no_crash(tmp_path: Path) -> None:
    """Fields of the description are left out or of another type, with the checksums right."""
    _, path = saved(tmp_path, Net(), *inputs())
    random = np.random.default_rng(3)
    with zipfile.ZipFile(path) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    for _ in range(120):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as target:
            for name, raw in entries.items():
                target.writestr(name, _changed(raw, random) if name.endswith(".json") else raw)
        (tmp_path / "bad.pt2").write_bytes(buffer.getvalue())
        try:
            functionalised(archive.read(tmp_path / "bad.pt2"))
        except UairError:
            continue


def _changed(raw: bytes, random: np.random.Generator) -> bytes:
    words = [b'"as_tensor"', b'"name"', b": 1", b": 8", b'"as_int"', b"null", b"[]", b'"sizes"', b"false", b'"arg"']
    old, new = (words[int(i)] for i in random.integers(0, len(words), 2))
    places = [i for i in range(len(raw)) if raw.startswith(old, i)]
    if not places:
        return raw
    at = places[int(random.integers(len(places)))]
    return raw[:at] + new + raw[at + len(old) :]
