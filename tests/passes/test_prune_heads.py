"""Whole heads of attentions as channels that may go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import pytest

import uair
from tests.passes.pruning_helpers import dense, draw, without, zeroed
from tests.quant.networks import Builder
from uair.codegen.reference import random_feeds
from uair.ir.dims import static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import Add, Attention, LayerNorm, MatMul, Mul, Reshape, Softmax, Split, Squeeze, Transpose
from uair.passes.prune_channels import PruneChannels
from uair.passes.pruning.groups import Group, find_groups
from uair.passes.pruning.propagate import label_graph
from uair.pipeline import PassContext
from uair.targets.check import node_flops

TOKENS, WIDTH, SIZE = 6, 16, 4


def heads_of(b: Builder, x: Tensor, count: int) -> Tensor:
    """[1, tokens, count * size] as [1, count, tokens, size]."""
    return b.add(Transpose(perm=(0, 2, 1, 3)), b.add(Reshape(shape=(1, TOKENS, count, SIZE)), x))


def merged(b: Builder, x: Tensor) -> Tensor:
    """The heads side by side, into the width of the model, and on to outputs that all read."""
    count = static(x.type.dims)[1]
    rows = b.add(Reshape(shape=(1, TOKENS, count * SIZE)), b.add(Transpose(perm=(0, 2, 1, 3)), x))
    return b.add(Add(), b.x, dense(b, rows, WIDTH))


def fused(groups: int = 4, mask: tuple[int, ...] | None = None) -> Module:
    b = Builder(1, TOKENS, WIDTH)
    y = b.add(LayerNorm(), b.x, b.weight(WIDTH), b.weight(WIDTH))
    q = heads_of(b, dense(b, y, 4 * SIZE), 4)
    k, v = (heads_of(b, dense(b, y, groups * SIZE), groups) for _ in range(2))
    more = [] if mask is None else [constant(np.random.default_rng(0).normal(size=mask).astype(np.float32))]
    return b.done(merged(b, b.add(Attention(), q, k, v, *more)))


def shared_keys() -> Module:
    return fused(groups=2)


def masked() -> Module:
    return fused(mask=(1, 1, TOKENS, TOKENS))


def apart() -> Module:
    """As exporters leave it behind: products and a softmax."""
    b = Builder(1, TOKENS, WIDTH)
    q, k, v = (heads_of(b, dense(b, b.x, 4 * SIZE), 4) for _ in range(3))
    q = b.add(Mul(), q, constant(np.float32(0.5)))
    scores = b.add(Softmax(), b.add(MatMul(trans_b=True), q, k))
    return b.done(merged(b, b.add(MatMul(), scores, v)))


def packed() -> Module:
    """Queries, keys and values by one layer."""
    b = Builder(1, TOKENS, WIDTH)
    rows = b.add(Reshape(shape=(1, TOKENS, 3, 4, SIZE)), dense(b, b.x, 3 * 4 * SIZE))
    split = Split(axis=0, sizes=(1, 1, 1)).node(b.add(Transpose(perm=(2, 0, 3, 1, 4)), rows), name="split")
    b.graph.append(split)
    q, k, v = (b.add(Squeeze(axes=(0,)), t) for t in split.outputs)
    scores = b.add(Softmax(), b.add(MatMul(trans_b=True), q, k))
    return b.done(merged(b, b.add(MatMul(), scores, v)))


NETWORKS = (fused, shared_keys, masked, apart, packed)


def groups_of(module: Module) -> list[Group]:
    return find_groups(label_graph(module.main, heads=True))[0]


@pytest.mark.parametrize(
    ("make", "units", "counts"),
    [
        (fused, 4, (4, 4, 4)),
        (shared_keys, 2, (8, 4, 4)),
        (masked, 4, (4, 4, 4)),
        (apart, 4, (4, 4, 4)),
        (packed, 4, (12,)),
    ],
)
def test_a_head_is_one_unit(make: Callable[[], Module], units: int, counts: tuple[int, ...]) -> None:
    (group,) = groups_of(make())
    assert len(group.atoms) == units
    assert group.counts == counts


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", NETWORKS, ids=lambda f: f.__name__)
def test_heads_of_zeros_change_nothing(make: Callable[[], Module], seed: int) -> None:
    module = make()
    atoms = draw(groups_of(module), np.random.default_rng(seed))
    zeros = zeroed(module, label_graph(module.main, heads=True), atoms)
    pruned = without(zeros, label_graph(zeros.main, heads=True), atoms)
    feeds = random_feeds(module.main, seed)
    for got, want in zip(uair.run(pruned, feeds).values(), uair.run(zeros, feeds).values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    assert sum(t.type.size for t in pruned.main.constants()) < sum(t.type.size for t in zeros.main.constants())


def samples(count: int) -> list[dict[str, Array]]:
    rng = np.random.default_rng(3)
    return [{"x": rng.normal(size=(1, TOKENS, WIDTH)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("criterion", ["norm", "output", "taylor"])
@pytest.mark.parametrize("make", NETWORKS, ids=lambda f: f.__name__)
def test_the_pruned_model_runs_in_onnxruntime(
    make: Callable[[], Module], criterion: Literal["norm", "output", "taylor"], tmp_path: Path
) -> None:
    module, context = make(), PassContext()
    before = sum(node_flops(node) or 0 for node in module.main)
    PruneChannels(flops=0.8, heads=True, criterion=criterion, samples=samples(12)).run(module, context)
    assert sum(node_flops(node) or 0 for node in module.main) <= 0.8 * before
    (group,) = context.reports["pruning"]["groups"]
    assert group["removed"] >= 1
    path = tmp_path / "pruned.onnx"
    uair.export_onnx(module, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = random_feeds(module.main, seed=1)
    (got,) = session.run(None, feeds)
    np.testing.assert_allclose(np.asarray(got), uair.run(module, feeds)["y"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("criterion", ["output", "taylor"])
@pytest.mark.parametrize("make", [fused, apart], ids=lambda f: f.__name__)
def test_the_head_that_is_hardly_heard_goes_first(
    make: Callable[[], Module], criterion: Literal["output", "taylor"]
) -> None:
    module = make()
    last = next(node for node in reversed(module.main) if node.op_type == "Linear")
    w = last.inputs[1]
    assert w is not None
    quiet = w.numpy().copy()
    quiet[:, 2 * SIZE : 3 * SIZE] *= 0.01
    last.set_input(1, constant(quiet, w.name))
    context = PassContext()
    options = {"flops": 0.85, "heads": True, "compensate": "none"}
    PruneChannels(criterion=criterion, samples=samples(12), **options).run(module, context)  # type: ignore[arg-type]
    (group,) = context.reports["pruning"]["groups"]
    assert group["layers"][0]["removed"] == list(range(2 * SIZE, 3 * SIZE))


def test_without_the_option_a_fused_attention_keeps_its_heads() -> None:
    labelling = label_graph(fused().main)
    groups, fixed = find_groups(labelling)
    assert not groups
    assert "Attention needs them all" in fixed.values()
    (places,) = find_groups(label_graph(apart().main))[0][:1]
    assert len(places.atoms) == SIZE, "every head loses the same places"


def test_a_mask_for_every_head_keeps_them() -> None:
    module = fused(mask=(1, 4, TOKENS, TOKENS))
    groups, fixed = find_groups(label_graph(module.main, heads=True))
    assert not groups
    assert "Attention needs them all" in fixed.values()


def test_keys_from_outside_keep_the_heads() -> None:
    b = Builder(1, TOKENS, WIDTH)
    keys = b.graph.add_input("keys", TensorType(DType.F32, (1, 4, 9, SIZE)))
    q = heads_of(b, dense(b, b.x, 4 * SIZE), 4)
    module = b.done(merged(b, b.add(Attention(), q, keys, keys)))
    groups, fixed = find_groups(label_graph(module.main, heads=True))
    assert not groups
    assert "Attention combines them with something that has no such heads" in fixed.values()
