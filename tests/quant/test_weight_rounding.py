"""Weights are rounded, and biases corrected, by what that does to the results of layers on some of the samples."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest

from tests.quant.networks import Builder, samples, small_cnn
from uair.codegen.reference import Interpreter
from uair.ir.data import ArrayData
from uair.ir.dtype import Array
from uair.ir.graph import Tensor, constant
from uair.ir.module import Module
from uair.ops import Conv2D, Linear
from uair.passes.quantization.choose import NodeResult, Settings
from uair.passes.quantization.placement import plan_quantization
from uair.passes.quantization.statistics import collect_statistics
from uair.passes.quantization.trial import Energies, KeptJudge, Study, choose_trial
from uair.passes.quantization.weight_rounding import RoundedWeight, SeenInputs
from uair.quant.scheme import Scheme

Feeds = list[dict[str, Array]]


def study_of(module: Module, feeds: Feeds, scheme: Scheme | None = None) -> Study:
    scheme = scheme or Scheme()
    plan = plan_quantization(module.main, scheme)
    return Study(module, plan, collect_statistics(plan, Interpreter(module), feeds), scheme, Interpreter)


def depthwise() -> Module:
    b = Builder(1, 8, 12, 12)
    op = Conv2D(pads=(1, 1, 1, 1), groups=8)
    return b.done(b.add(op, b.x, b.weight(8, 1, 3, 3), constant(np.zeros(8, np.float32)), name="depth"))


def backgrounds(count: int) -> Feeds:
    """Images of one grey each, with a little noise."""
    rng = np.random.default_rng(3)
    grey = rng.uniform(0.5, 1.5, (count, 1, 1, 1, 1))
    return [{"x": np.asarray(g + rng.normal(size=(1, 8, 12, 12)) * 0.02, np.float32)} for g in grey]


def weight_noise(study: Study, feeds: Feeds, weights: dict[Any, RoundedWeight]) -> float:
    """Of the first node, if its weight and bias alone were quantized."""
    (item,) = study.plan.nodes
    w, found = item.operand(1), weights[item.operand(1)]
    exact = found.parameters.dequantize(found.integers.array())
    noise = 0.0
    for feed in feeds:
        (expected,) = item.node.op.evaluate_all([feed["x"], w.numpy(), None])
        (actual,) = item.node.op.evaluate_all([feed["x"], exact, found.shift])
        noise += float(np.square(expected - actual).sum())
    return noise


def test_roundings_of_a_depthwise_convolution_add_up_to_nothing_on_a_background() -> None:
    study = study_of(depthwise(), backgrounds(16))
    assert choose_trial(study, Settings("minmax")).rounding == "fitted"
    fitted = dict(study.weights)
    study.weights.clear()
    choose_trial(study, Settings("minmax", weight_rounding=False))
    nearest = dict(study.weights)
    assert all(r.shift is None and not r.is_fitted for r in nearest.values())
    fresh = backgrounds(20)[16:]
    assert weight_noise(study, fresh, fitted) < weight_noise(study, fresh, nearest) / 8


@pytest.mark.parametrize("limit", [127, 126])
def test_integers_stay_within_the_limit_and_scales_as_they_were(limit: int) -> None:
    study = study_of(small_cnn(), samples(8), attrs.evolve(Scheme(), weight_limit=limit))
    trial = choose_trial(study, Settings())
    assert any(r.is_fitted for r in study.weights.values())
    for result in trial.results:
        assert result.constants.weight is not None
        parameters, integers = result.constants.weight[0], result.constants.weight[1].array()
        w = result.item.operand(1).numpy()
        assert np.abs(integers.astype(int)).max() <= limit
        assert np.abs(parameters.dequantize(integers) - w).max() <= 4 * float(parameters.scale.max())


def test_the_bias_takes_up_what_rounding_takes_away_from_the_mean() -> None:
    """A layer of one weight for each output: there is nothing to round otherwise, only to shift."""
    b = Builder(4, 1)
    w = constant(np.array([[0.3], [1.0], [0.7351]], np.float32), "w")
    module = b.done(b.add(Linear(transpose_w=True), b.x, w, constant(np.zeros(3, np.float32)), name="linear"))
    scheme = attrs.evolve(Scheme(), per_channel=())
    study = study_of(module, [{"x": np.full((4, 1), 2.0 + i / 100, np.float32)} for i in range(8)], scheme)
    choose_trial(study, Settings("minmax", weight_search=False))
    (found,) = study.weights.values()
    lost = w.numpy() - found.parameters.dequantize(found.integers.array())
    assert found.shift is not None and not found.is_fitted
    np.testing.assert_allclose(found.shift, lost[:, 0] * 2.03, atol=2e-4)


def test_what_other_samples_contradict_is_not_done() -> None:
    """Three of four samples are one background; the one that judges is its negative, for which a shift is wrong."""
    feeds = [{"x": -feed["x"] if i % 4 == 3 else feed["x"]} for i, feed in enumerate(backgrounds(8))]
    study = study_of(depthwise(), feeds)
    choose_trial(study, Settings("minmax"))
    (found,) = study.weights.values()
    assert found.shift is None or not found.shift.any()


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_samples_to_judge_by_leave_the_nearest(count: int) -> None:
    study = study_of(small_cnn(), samples(count))
    choose_trial(study, Settings("minmax"))
    assert study.weights and all(r.shift is None and not r.is_fitted for r in study.weights.values())


def test_weights_that_make_the_outputs_worse_are_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(self: Any, item: Any, nearest: RoundedWeight, limit: int) -> RoundedWeight:
        return attrs.evolve(nearest, integers=ArrayData(-nearest.integers.array()), is_fitted=True)

    monkeypatch.setattr(SeenInputs, "rounded", spoilt)
    study = study_of(small_cnn(), samples(8))
    trial = choose_trial(study, Settings("minmax"))
    assert trial.rounding == "nearest"
    assert not any(r.is_fitted for r in study.weights.values())
    for result in trial.results:
        assert result.constants.weight is not None
        weight = study.weights[result.item.operand(1)]
        assert result.constants.weight[1] is weight.integers


@pytest.mark.parametrize(
    ("times", "kept", "runs"),
    [
        ((1.5, 1.5), "fitted", 2),
        ((2.5, 2.5), "nearest", 2),
        ((1.1, 5.0), "nearest", 2),
        ((2.5, 1.1), "fitted", 2),
        ((0.9, 9.0), "fitted", 1),
    ],
)
def test_outputs_that_are_a_little_worse_undo_nothing(
    times: tuple[float, float], kept: str, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many times as noisy the outputs are with fitted weights, on one half of the samples and on the other."""
    study, plain = study_of(depthwise(), backgrounds(16)), list[range]()

    def measured(self: KeptJudge, results: list[NodeResult], numbers: range) -> dict[Tensor, Energies]:
        (result,) = results
        weight = study.weights[result.item.operand(1)]
        found = result.constants.weight
        assert found is not None and weight.is_fitted and len(numbers) == 2
        is_fitted = found[1] is weight.integers
        if not is_fitted:
            plain.append(numbers)
        noise = times[numbers.start // 2] if is_fitted else 1.0
        return {result.node.output: Energies(per_channel=False, signal=100.0, noise=noise)}

    monkeypatch.setattr(KeptJudge, "energies", measured)
    assert choose_trial(study, Settings("minmax")).rounding == kept
    assert plain == [range(1, 8, 4), range(3, 8, 4)][:runs]
