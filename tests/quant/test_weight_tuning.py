"""Rounding weights by what calibration samples show: against errors measured by running the products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.quant.networks import Builder
from uair.codegen.reference import run
from uair.ir.graph import constant
from uair.ir.module import Module
from uair.ops import Add, LayerNorm, Linear, MatMul, Mul, Relu, Sigmoid
from uair.passes.quantization.weight_tuning import BUDGET, batches
from uair.passes.quantize_weights import QuantizeWeights
from uair.pipeline import PassContext, PassManager
from uair.quant.errors import CalibrationSourceError
from uair.quant.parameters import sqnr
from uair.rewrite import Fuel


def data(count: int, *shape: int, seed: int = 3) -> list[dict[str, Any]]:
    """Correlated inputs whose channels differ in size, as those of trained models do, and are not 0 on average."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).normal(size=(shape[-1] // 4, shape[-1]))
    size = np.exp(np.random.default_rng(2).normal(size=shape[-1]))
    rows = [rng.normal(size=(*shape[:-1], shape[-1] // 4)) @ mixing * size + 0.5 * size for _ in range(count)]
    return [{"x": r.astype(np.float32)} for r in rows]


def products(*, norm: bool = False) -> Module:
    """Two products of one activation, and one behind them."""
    b = Builder(4, 64)
    x = b.x
    if norm:
        x = b.add(LayerNorm(), x, b.weight(64), b.weight(64), name="norm")
    left = b.add(Linear(), x, b.weight(64, 64), b.weight(64), name="left")
    right = b.add(MatMul(), x, b.weight(64, 64), name="right")
    h = b.add(Sigmoid(), b.add(Add(), left, right))
    return b.done(b.add(Linear(), h, b.weight(32, 64), b.weight(32), name="last"))


def quantize(module: Module, samples: Any = None, **options: Any) -> dict[str, Any]:
    context = PassContext()
    PassManager([QuantizeWeights(samples=samples, **options)], context=context).run(module)
    report: dict[str, Any] = context.reports["quantization"]
    return report


def quality(module: Module, original: Module, samples: list[dict[str, Any]]) -> float:
    exact, actual = ([run(m, s)["y"] for s in samples] for m in (original, module))
    return sqnr(np.array(exact), np.array(actual))


@pytest.mark.parametrize("symmetric", [True, False])
def test_with_samples_the_outputs_are_better(symmetric: bool) -> None:
    original = products()
    found: dict[str, float] = {}
    for method in ("nearest", "gptq", "awq", "auto"):
        module = original.clone()
        report = quantize(module, data(32, 4, 64), method=method, group=32, symmetric=symmetric)
        found[method] = quality(module, original, data(20, 4, 64, seed=77))
        assert report["summary"]["outputs"]["y"]["sqnr_db"] == pytest.approx(found[method], abs=3)
    assert found["gptq"] > found["nearest"] + 2.5
    assert found["awq"] > found["nearest"] + 0.5
    assert found["auto"] > max(found["gptq"], found["awq"]) - 0.7


def test_the_error_that_is_reported_is_the_one_on_held_out_samples() -> None:
    """Of the product alone, on the samples that weights were not rounded by."""
    b = Builder(16, 48)
    original = b.done(b.add(Linear(), b.x, b.weight(24, 48), b.weight(24), name="fc"))
    samples = data(32, 16, 48)
    module = original.clone()
    (entry,) = quantize(module, samples, group=16)["nodes"]
    held = samples[3::4]
    exact, actual = ([run(m, s)["y"] for s in held] for m in (original, module))
    bias = original.main.constants()[1].numpy()
    measured = sqnr(np.array(exact) - bias, np.array(actual) - bias)
    assert entry["quality"]["sqnr_db"] == pytest.approx(measured, abs=0.1)
    assert entry["quality"]["cosine"] > 0.99


def test_factors_go_into_the_norm_and_change_nothing_in_float() -> None:
    """Every reader of the norm's result is a product, so that the factors cost nothing."""
    original = products(norm=True)
    for sample in data(1, 4, 64):
        assert np.isfinite(run(original, sample)["y"]).all()
    module = original.clone()
    weight = next(n for n in original.main if n.name == "norm").inputs[1]
    assert weight is not None
    weight.numpy()
    report = quantize(module, data(32, 4, 64), method="awq", group=32)
    methods = {e["name"]: e["weight"]["method"] for e in report["nodes"]}
    assert methods["left"].startswith("awq")
    assert methods["right"].startswith("awq")
    assert not any(isinstance(n.op, Mul) for n in module.main)
    norm = next(n for n in module.main if n.name == "norm").inputs[1]
    assert norm is not None
    assert not np.array_equal(norm.numpy(), weight.numpy())
    assert quality(module, original, data(8, 4, 64, seed=5)) > 20


def test_factors_are_a_multiplication_where_others_read_the_activation() -> None:
    b = Builder(4, 64)
    x = b.add(Relu(), b.x)
    y = b.add(Linear(), x, b.weight(64, 64), name="fc")
    original = b.done(b.add(Add(), x, y))
    rng = np.random.default_rng(0)
    size = np.where(np.arange(64) % 16 == 0, 60.0, 0.3)  # a few channels that matter, among weights of the same size
    samples = [{"x": (rng.normal(size=(4, 64)) * size).astype(np.float32)} for _ in range(32)]
    module = original.clone()
    (entry,) = quantize(module, samples, method="awq", group=0)["nodes"]
    assert entry["weight"]["method"].startswith("awq")
    (mul,) = (n for n in module.main if isinstance(n.op, Mul))
    assert [user.name for user in mul.output.users] == ["fc"]
    plain = original.clone()
    quantize(plain, samples, method="nearest", group=0)
    assert quality(module, original, samples) > quality(plain, original, samples) + 3


def test_the_bias_takes_over_the_mean_error() -> None:
    rng = np.random.default_rng(0)
    samples = [{"x": (5 + 0.1 * rng.normal(size=(8, 32))).astype(np.float32)} for _ in range(16)]
    lost: list[float] = []
    for with_bias in (True, False):
        b = Builder(8, 32)
        w = b.weight(48, 32)
        original = b.done(b.add(Linear(), b.x, w, *([constant(np.zeros(48, np.float32))] if with_bias else [])))
        module = original.clone()
        quantize(module, samples, method="awq", group=16)
        lost.append(quality(module, original, samples))
    assert lost[0] > lost[1] + 10


def test_few_samples_serve_both_ends() -> None:
    original = products()
    module = original.clone()
    report = quantize(module, data(2, 4, 64), group=32)
    assert all(np.isfinite(e["quality"]["sqnr_db"]) for e in report["nodes"])
    assert quality(module, original, data(2, 4, 64)) > 15


def test_inputs_that_are_always_zero() -> None:
    module = products()
    report = quantize(module, [{"x": np.zeros((4, 64), np.float32)}] * 9, group=32)
    assert report["summary"]["quantized"] == 3
    assert np.isfinite(run(module, data(1, 4, 64)[0])["y"]).all()


def test_methods_that_look_at_data_need_some() -> None:
    with pytest.raises(CalibrationSourceError, match="method gptq needs calibration data"):
        quantize(products(), method="gptq")


def test_a_matrix_that_is_not_finite_keeps_its_weight_and_its_neighbours_do_not() -> None:
    b = Builder(4, 64)
    broken = np.ones((64, 64), np.float32)
    broken[0, 0] = np.inf
    left = b.add(Linear(), b.x, constant(broken, "w"), name="broken")
    right = b.add(Linear(), b.x, b.weight(64, 64), name="sound")
    module = b.done(left, right)
    report = quantize(module, data(8, 4, 64), group=32, quality=False)
    assert [e["name"] for e in report["nodes"]] == ["sound"]
    assert [(e["name"], "not finite" in e["reason"]) for e in report["skipped"]] == [("broken", True)]


def test_moments_that_do_not_fit_are_collected_in_turns() -> None:
    class Site:
        def __init__(self, extent: int) -> None:
            self.extent = extent

        def rows(self) -> Any:
            return np.broadcast_to(np.float32(0), (2, self.extent))

    half = int((BUDGET / 8 / 2) ** 0.5)
    groups: Any = [[Site(half)], [Site(half)], [Site(half)], [Site(4 * half)], [Site(8)]]
    sizes = [[group[0].rows().shape[1] for group in batch] for batch in batches(groups)]
    assert sizes == [[half, half], [half, 8]]


def test_fuel_stops_it() -> None:
    module = products()
    context = PassContext(fuel=Fuel(1))
    PassManager([QuantizeWeights(samples=data(8, 4, 64), group=32)], context=context).run(module)
    assert context.reports["quantization"]["summary"]["quantized"] <= 1
