"""Channel pruning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import pytest

import uair
from tests.passes.pruning_helpers import NETWORKS, conv, draw, drawn, labelled, residual, transformer, without, zeroed
from tests.quant.networks import Builder
from uair.cli import main
from uair.codegen.reference import random_feeds
from uair.errors import UairError
from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import constant
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import Add, Conv2D, CumSum, Gather, LayerNorm, Linear, ReduceMean, Slice, Softmax, Tile
from uair.passes.prune_channels import PruneChannels
from uair.passes.pruning.cost import Costs
from uair.passes.pruning.groups import find_groups
from uair.passes.pruning.labels import Labelling
from uair.passes.pruning.propagate import label_graph
from uair.pipeline import PassContext
from uair.targets.check import node_flops
from uair.text import print_module


def outputs(module: Module, seed: int = 0) -> list[Array]:
    return list(uair.run(module, random_feeds(module.main, seed=seed)).values())


def assert_close(got: list[Array], want: list[Array], tolerance: float = 1e-5) -> None:
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(float(np.abs(b).max()), 1e-6))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NETWORKS)
def test_channels_of_zeros_change_nothing(name: str, seed: int) -> None:
    module = NETWORKS[name]()
    labelling, groups = labelled(module)
    assert groups, "nothing can be pruned"
    atoms = draw(groups, np.random.default_rng(seed))
    zeros = zeroed(module, labelling, atoms)
    pruned = without(zeros, relabelled(labelling, zeros), atoms)
    assert_close(outputs(pruned), outputs(zeros))
    assert sum(t.type.size for t in pruned.main.constants()) < sum(t.type.size for t in zeros.main.constants())


@pytest.mark.parametrize("seed", range(60))
def test_channels_of_zeros_change_nothing_in_random_graphs(seed: int) -> None:
    module = drawn(seed)
    labelling, groups = labelled(module)
    atoms = draw(groups, np.random.default_rng(seed))
    zeros = zeroed(module, labelling, atoms, read=True)
    pruned = without(zeros, relabelled(labelling, zeros), atoms)
    assert_close(outputs(pruned), outputs(zeros))


def test_random_graphs_have_something_to_prune() -> None:
    found = [len(labelled(drawn(seed))[1]) for seed in range(60)]
    assert sum(count > 0 for count in found) >= 50
    assert max(found) >= 5


REFUSING = {
    "CumSum": CumSum(axis=2),
    "Softmax": Softmax(axis=1),
    "LayerNorm": LayerNorm(axis=1),
    "Tile": Tile(repeats=(1, 2, 1, 1)),
    "Slice": Slice(axes=(1,), starts=(0,), ends=(8,), steps=(2,)),
    "ReduceMean": ReduceMean(axes=(1,)),
}


def refused(kind: str) -> Module:
    """A convolution, then something that needs all its channels, then another convolution."""
    b = Builder(1, 3, 8, 8)
    x = conv(b, b.x, 8)
    if kind == "model's output":
        return b.done(x)
    if kind in REFUSING:
        x = b.add(REFUSING[kind], x)
    elif kind == "Gather":
        x = b.add(Gather(axis=1), x, constant(np.array([3, 1, 4])))
    elif kind == "Linear":
        x = b.add(Linear(), x, b.weight(4, 8))
    else:
        x = b.add(Add(), x, b.graph.add_input("z", x.type))
    return b.done(b.add(Conv2D(), x, b.weight(2, static(x.type.dims)[1], 1, 1)))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("CumSum", "CumSum needs them all"),
        ("Softmax", "Softmax computes over them"),
        ("LayerNorm", "LayerNorm normalises them together"),
        ("ReduceMean", "ReduceMean computes over them"),
        ("Tile", "Tile changes their axis"),
        ("Slice", "Slice takes some of them in steps"),
        ("Gather", "Gather chooses among them"),
        ("Linear", "Linear makes channels along another axis"),
        ("model's input", "Add combines them with something that has no such channels"),
        ("model's output", "they reach the model's output"),
    ],
)
def test_what_must_stay_stays_and_says_why(kind: str, reason: str) -> None:
    module = refused(kind)
    first = next(iter(module.main))
    _, fixed = find_groups(label_graph(module.main))
    assert fixed[first] == reason


def test_a_model_without_anything_to_prune_is_refused() -> None:
    with pytest.raises(UairError) as caught:
        PruneChannels(flops=0.9).run(refused("model's output"), PassContext())
    assert caught.value.code == "UAIR-E0760"
    assert "100.0% of the operations are left, 90.0% are asked for" in str(caught.value)


def relabelled(labelling: Labelling, module: Module) -> Labelling:
    """The labelling of a module that differs in values only: the same one."""
    again, _ = labelled(module)
    assert [p.atoms.tolist() for p in again.producers] == [p.atoms.tolist() for p in labelling.producers]
    return again


def test_what_groups_there_are() -> None:
    """Counted by hand."""

    def units(name: str) -> list[tuple[int, int]]:
        return [(len(g.producers), len(g.atoms)) for g in labelled(NETWORKS[name]())[1]]

    assert units("residual") == [(3, 16), (1, 12), (1, 12)]
    assert units("densely_connected") == [(1, 8), (1, 6), (1, 6), (1, 6)]
    assert units("mobile") == [(2, 8), (2, 24), (1, 6)]
    assert units("transformer") == [(2, 4), (1, 4), (1, 32)] * 2  # q and k lose the same places of every head
    assert units("group_normalised") == [(1, 4)]
    assert units("depth_multiplied") == [(1, 8), (1, 8)]


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_are_those_of_the_pruned_module(name: str) -> None:
    module = NETWORKS[name]()
    labelling, groups = labelled(module)
    costs = Costs.of(labelling)
    before = costs.flops, costs.parameters
    atoms = draw(groups, np.random.default_rng(1))
    costs.remove(atoms)
    pruned = without(module, labelling, atoms)
    assert costs.flops == sum(node_flops(node) or 0 for node in pruned.main)
    assert costs.parameters == sum(t.type.size for t in pruned.main.constants())
    costs.restore(atoms)
    assert (costs.flops, costs.parameters) == before


def samples(count: int, *shape: int) -> list[dict[str, Array]]:
    rng = np.random.default_rng(7)
    return [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("criterion", ["norm", "random", "output", "taylor"])
def test_the_budget_holds(criterion: str) -> None:
    for budget in ({"flops": 0.7}, {"parameters": 0.6}, {"flops": 0.8, "parameters": 0.7}):
        module = residual()
        data = samples(12, 1, 3, 8, 8) if criterion in ("output", "taylor") else None
        context = PassContext()
        before = sum(node_flops(node) or 0 for node in module.main)
        assert PruneChannels(criterion=criterion, samples=data, **budget).run(module, context)  # type: ignore[arg-type]
        verify(module)
        summary = context.reports["pruning"]["summary"]
        after = sum(node_flops(node) or 0 for node in module.main)
        assert summary["flops"]["before"] == before
        assert summary["flops"]["after"] == after
        for quantity, share in budget.items():
            assert share - 0.12 < summary[quantity]["share"] <= share


def test_the_numbers_of_channels_are_multiples() -> None:
    module = residual()
    PruneChannels(flops=0.6, multiple=4).run(module, PassContext())
    convs = [node for node in module.main if node.op_type == "Conv2D"]
    channels = [node.output.type.dims[1] for node in convs]
    assert all(isinstance(c, int) and c % 4 == 0 and c >= 4 for c in channels)
    assert channels != [16, 12, 16, 12, 16]


def test_least_and_skip_keep_channels() -> None:
    module = residual()
    context = PassContext()
    first = next(
        node for node in module.main if node.op_type == "Conv2D" and node.inputs[0] is not module.main.inputs[0]
    )
    PruneChannels(flops=0.8, least=10, skip=(first.name, "nothing*")).run(module, context)
    assert first.output.type.dims[1] == 12
    assert all(static(node.output.type.dims)[1] >= 10 for node in module.main if node.op_type == "Conv2D")
    report = context.reports["pruning"]
    assert {"name": first.name, "reason": "skip"}.items() <= next(
        entry for entry in report["fixed"] if entry["name"] == first.name
    ).items()
    assert report["notes"] == ["skip pattern 'nothing*' fits no node"]


@pytest.mark.parametrize("criterion", ["output", "taylor"])
def test_data_find_what_norms_do_not(criterion: Literal["output", "taylor"]) -> None:
    """Channels that are great and never change, or hardly ever non-zero, have great norms and mean nothing."""
    module = residual()
    inner = [node for node in module.main if node.op_type == "Conv2D"][1]
    w, bias = (t.numpy().copy() for t in inner.inputs[1:] if t is not None)
    w[:4] *= 0.01
    bias[:4] = 50.0
    w[4:6] *= 3
    bias[4:6] = -500.0  # ReLU never lets them through
    for i, array in ((1, w), (2, bias)):
        inner.set_input(i, constant(array, "changed"))
    context = PassContext()
    expected = outputs(module)
    data = samples(16, 1, 3, 8, 8)
    PruneChannels(flops=0.93, criterion=criterion, compensate="mean", samples=data).run(module, context)
    entries = context.reports["pruning"]["groups"]
    removed = next(e for e in entries if e["layers"][0]["name"] == inner.name)["layers"][0]["removed"]
    assert {4, 5} <= set(removed)
    assert sum(len(e["layers"][0]["removed"]) for e in entries) == len(removed) <= 6
    assert context.reports["pruning"]["summary"]["outputs"]["y"]["cosine"] > 0.999
    assert_close(outputs(module), expected, 0.1)


def test_fitting_pays_on_samples_held_out() -> None:
    losses = {}
    for how in ("none", "mean", "weights"):
        module = transformer()
        context = PassContext()
        data = samples(48, 1, 6, 16)
        PruneChannels(flops=0.8, criterion="norm", compensate=how, samples=data).run(module, context)
        summary = context.reports["pruning"]["summary"]
        losses[how] = summary["outputs"]["y"]["noise"]
        assert summary["calibration"]["held_out"] == 12
        assert [s["name"] for s in summary["stages"]] == {"none": [], "mean": ["mean"], "weights": ["mean", "weights"]}[
            how
        ]
    assert losses["weights"] < losses["mean"] <= losses["none"]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_compensated_within_its_budget(name: str) -> None:
    """Layers without a bias get one, which is paid for."""
    module = NETWORKS[name]()
    context = PassContext()
    data = samples(12, *static(module.main.inputs[0].type.dims))
    assert PruneChannels(flops=0.9, least=1, samples=data).run(module, context)
    verify(module)
    summary = context.reports["pruning"]["summary"]
    assert sum(node_flops(node) or 0 for node in module.main) == summary["flops"]["after"]
    assert summary["flops"]["share"] <= 0.9


def test_the_pruned_model_runs_in_onnxruntime(tmp_path: Path) -> None:
    for name, network in NETWORKS.items():
        module = network()
        PruneChannels(parameters=0.8, least=1).run(module, PassContext())
        path = tmp_path / f"{name}.onnx"
        uair.export_onnx(module, path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        feeds = random_feeds(module.main, seed=3)
        got = session.run(None, {session.get_inputs()[0].name: feeds["x"]})
        assert_close([np.asarray(a) for a in got], outputs(module, seed=3))


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"flops": 0.0}, "UAIR-E0760"),
        ({"flops": 1.5}, "UAIR-E0760"),
        ({"flops": 0.8, "multiple": -1}, "UAIR-E0760"),
        ({"flops": 0.01}, "UAIR-E0760"),
        ({"flops": 0.8, "skip": ("nobody",)}, "UAIR-E0003"),
        ({"flops": 0.8, "criterion": "output"}, "UAIR-E0703"),
        ({"flops": 0.8, "criterion": "taylor"}, "UAIR-E0703"),
        ({"flops": 0.8, "target": "no_such"}, "UAIR-E0003"),
        ({"flops": 0.8, "compensate": "mean"}, "UAIR-E0703"),
    ],
)
def test_what_is_asked_for_in_vain_is_an_error(options: dict[str, object], code: str) -> None:
    module = residual()
    before = print_module(module)
    with pytest.raises(UairError) as caught:
        PruneChannels(**options).run(module, PassContext())  # type: ignore[arg-type]
    assert caught.value.code == code
    assert print_module(module) == before


def test_the_command_line_prunes_and_reports(tmp_path: Path) -> None:
    uair.export_onnx(residual(), tmp_path / "m.onnx")
    np.savez(tmp_path / "calib.npz", x=np.concatenate([s["x"] for s in samples(12, 1, 3, 8, 8)]))
    pipeline = f"canonicalise,fuse,prune-channels{{flops=0.7 multiple=2 calib={tmp_path / 'calib.npz'}}}"
    model, out, report = (str(tmp_path / name) for name in ("m.onnx", "out.onnx", "report.json"))
    arguments = ["opt", model, "-p", pipeline, "-o", out, "--report", report]
    assert main(arguments) == 0
    pruning = json.loads(Path(report).read_text())["pruning"]
    assert pruning["summary"]["flops"]["share"] <= 0.7
    assert pruning["summary"]["calibration"]["samples"] == 12
    pruned = uair.load(out)
    assert sum(node_flops(node) or 0 for node in pruned.main) == pruning["summary"]["flops"]["after"]
    names = {source for group in pruning["groups"] for layer in group["layers"] for source in layer["sources"]}
    assert any("Conv2D" in name for name in names)
