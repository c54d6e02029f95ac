"""2:4 sparsity."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import uair
from tests.passes.pruning_helpers import NETWORKS, conv, dense, residual, transformer
from tests.quant.networks import Builder
from uair.codegen.reference import random_feeds
from uair.errors import UairError
from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Node
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import Linear, MatMul, Relu
from uair.passes.prune_two_four import PruneTwoFour
from uair.passes.pruning import two_four
from uair.pipeline import PassContext


def samples(count: int, *shape: int) -> list[dict[str, Array]]:
    """Of few directions, as real activations are."""
    rng = np.random.default_rng(7)
    basis = rng.normal(size=(6, int(np.prod(shape))))
    return [{"x": (rng.normal(size=6) @ basis).reshape(shape).astype(np.float32)} for _ in range(count)]


def weights(module: Module) -> list[tuple[Node, Array]]:
    return [(n, n.inputs[1].numpy()) for n in module.main if n.op_type in ("Conv2D", "Linear") and n.inputs[1]]


def assert_pattern(node: Node, w: Array) -> None:
    """Written without the pass's own view of weights."""
    op = node.op
    summed = 1 if node.op_type == "Conv2D" or (isinstance(op, Linear) and op.transpose_w) else 0
    lanes = np.moveaxis(w, summed, -1).reshape(-1, w.shape[summed] // 4, 4)
    assert ((lanes != 0).sum(axis=-1) <= 2).all()


@pytest.mark.parametrize("criterion", ["magnitude", "wanda", "update", "auto"])
@pytest.mark.parametrize("name", ["residual", "transformer", "flattened", "mobile"])
def test_the_pattern_holds_and_the_report_says_where(name: str, criterion: str) -> None:
    module = NETWORKS[name]()
    shape = static(module.main.inputs[0].type.dims)
    context = PassContext()
    data = samples(8, *shape) if criterion != "magnitude" else None
    assert PruneTwoFour(criterion=criterion, samples=data).run(module, context)  # type: ignore[arg-type]
    verify(module)
    report = context.reports["sparsity"]
    sparse = {entry["name"]: entry for entry in report["layers"]}
    reasons = {entry["name"]: entry["reason"] for entry in report["skipped"]}
    for node, w in weights(module):
        if node.name in sparse:
            assert_pattern(node, w)
            assert sparse[node.name]["zeros"] == int((w == 0).sum()) >= w.size // 2
        else:
            assert "channels, which are no groups of 4" in reasons[node.name]
    assert report["summary"]["zeros"] == sum(entry["zeros"] for entry in sparse.values())


def test_the_greater_two_of_four_stay() -> None:
    rows = np.array([[1.0, -4.0, 3.0, 0.5, 2.0, 2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(two_four.by_magnitude(rows), [[0, -4, 3, 0, 2, 2, 0, 0]])
    moments = np.diag([100.0, 0.01, 1.0, 100.0, 1.0, 1.0, 1.0, 4.0])
    np.testing.assert_array_equal(two_four.by_norms(rows, moments), [[1, 0, 0, 0.5, 2, 0, 0, 2]])
    assert two_four.follows_pattern(two_four.by_magnitude(rows)) and not two_four.follows_pattern(rows)


def test_an_update_is_near_the_best_of_all_masks() -> None:
    """Against every mask with the least-squares weights for it, for single rows of eight."""
    rng = np.random.default_rng(0)
    pairs = list(itertools.combinations(range(4), 2))
    losses = {"best": 0.0, "update": 0.0, "magnitude": 0.0}
    for _ in range(20):
        x = rng.normal(size=(64, 3)) @ rng.normal(size=(3, 8)) + 0.3 * rng.normal(size=(64, 8))
        row, moments = rng.normal(size=(1, 8)), x.T @ x / len(x)

        def loss(other: Array, row: Array = row, moments: Array = moments) -> float:
            return float(((row - other) @ moments @ (row - other).T)[0, 0])

        fitted = []
        for a, b in itertools.product(pairs, pairs):
            kept = [*a, *(4 + i for i in b)]
            w = np.zeros((1, 8))
            w[0, kept] = np.linalg.solve(moments[np.ix_(kept, kept)], moments[kept] @ row[0])
            fitted.append(loss(w))
        losses["best"] += min(fitted)
        losses["update"] += loss(two_four.updated(row, moments))
        losses["magnitude"] += loss(two_four.by_magnitude(row))
    assert losses["best"] <= losses["update"] < 0.5 * losses["magnitude"]


def test_samples_pay() -> None:
    """On samples that nothing was learned from."""
    noise = {}
    for criterion in ("magnitude", "wanda", "update", "auto"):
        module = residual()
        context = PassContext()
        data = samples(32, 1, 3, 8, 8)
        PruneTwoFour(criterion=criterion, samples=data).run(module, context)
        noise[criterion] = context.reports["sparsity"]["summary"]["outputs"]["y"]["noise"]
    assert noise["update"] < 0.5 * noise["magnitude"]
    assert noise["auto"] < 0.5 * noise["magnitude"]


def test_order_of_the_weights_axes_does_not_matter() -> None:
    b = Builder(1, 8)
    x = b.add(Linear(transpose_w=False), b.x, b.weight(8, 12), b.weight(12))
    x = b.add(MatMul(trans_b=True), b.add(Relu(), x), b.weight(4, 12))
    module = b.done(b.add(MatMul(), x, b.weight(4, 3)))
    context = PassContext()
    PruneTwoFour(samples=samples(12, 1, 8)).run(module, context)
    (first, second, third) = (n.inputs[1].numpy() for n in module.main if n.op_type != "Relu" and n.inputs[1])
    for lanes in (first.T.reshape(12, 2, 4), second.reshape(4, 3, 4), third.T.reshape(3, 1, 4)):
        assert ((lanes != 0).sum(axis=-1) == 2).all()


def test_taps_of_a_convolution_are_apart() -> None:
    b = Builder(1, 4, 6, 6)
    module = b.done(conv(b, b.x, 3))
    PruneTwoFour().run(module, PassContext())
    ((_, w),) = weights(module)
    assert ((w != 0).sum(axis=1) == 2).all()


def test_skip_and_what_does_not_fit() -> None:
    b = Builder(1, 6)
    first = dense(b, b.x, 8)
    module = b.done(dense(b, dense(b, first, 8), 4))
    context = PassContext()
    names = [node.name for node in module.main]
    PruneTwoFour(skip=(names[1],)).run(module, context)
    reasons = {entry["name"]: entry["reason"] for entry in context.reports["sparsity"]["skipped"]}
    assert reasons == {names[0]: "it sums over 6 channels, which are no groups of 4", names[1]: "skip"}
    with pytest.raises(UairError) as caught:
        PruneTwoFour(criterion="wanda").run(module, PassContext())
    assert caught.value.code == "UAIR-E0703"


def test_a_sparse_model_runs_in_onnxruntime(tmp_path: Path) -> None:
    module = transformer()
    PruneTwoFour(samples=samples(12, 1, 6, 16)).run(module, PassContext())
    uair.export_onnx(module, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    feeds = random_feeds(module.main, seed=3)
    (got,) = session.run(None, {session.get_inputs()[0].name: feeds["x"]})
    (want,) = uair.run(module, feeds).values()
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=1e-5 * float(np.abs(want).max()))
