"""Ways to quantize a model are compared on few samples first; what is far behind there is not run on the others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.quant.networks import samples, small_cnn
from uair.codegen.reference import Interpreter
from uair.ir.dtype import DType
from uair.passes.quantization.choose import FEW_MARGIN, FEW_VALUES, METHODS, Settings, range_options
from uair.passes.quantization.placement import plan_quantization
from uair.passes.quantization.quality import measure_quality
from uair.passes.quantization.statistics import collect_statistics
from uair.passes.quantization.trial import ROUNDS, Energies, KeptJudge, Study, choose_trial, compare, trials_of
from uair.quant.parameters import Parameters
from uair.quant.scheme import Scheme


def study_of(count: int) -> Study:
    module, scheme = small_cnn(), Scheme()
    plan = plan_quantization(module.main, scheme)
    statistics = collect_statistics(plan, Interpreter(module), samples(count))
    return Study(module, plan, statistics, scheme, Interpreter)


def test_a_way_that_is_far_behind_runs_a_quarter_of_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    study, settings = study_of(8), Settings()
    good, other, *_ = (trial.results for trial in trials_of(study, settings).values())
    bad = trials_of(study, Settings("percentile", 50.0))["percentile"].results
    names = {id(good): "good", id(other): "other", id(bad): "bad"}
    runs: Counter[str] = Counter()
    energies = KeptJudge.energies

    def counted(self: KeptJudge, results: Any, numbers: range) -> Any:
        runs[names[id(results)]] += len(numbers)
        return energies(self, results, numbers)

    monkeypatch.setattr(KeptJudge, "energies", counted)
    losses = compare(KeptJudge(study), {"bad": bad, "good": good, "other": other})
    assert runs == {"bad": 2, "good": 8, "other": 8}
    monkeypatch.undo()
    reference = study.references()
    assert losses["good"] == pytest.approx(study.loss(good, reference))
    assert losses["other"] == pytest.approx(study.loss(other, reference))
    assert losses["bad"] > ROUNDS[0][2] * min(losses["good"], losses["other"])


def test_few_values_leave_room_for_what_they_do_not_show() -> None:
    study = study_of(4)
    plain = {way: range_options(study.statistics, study.scheme, Settings(way))[0] for way in METHODS}
    spared, _ = range_options(study.statistics, study.scheme, Settings())
    few = {root: observer.count <= FEW_VALUES for root, observer in study.statistics.observers.items()}
    assert set(few.values()) == {True}
    for root in spared:
        reach = FEW_MARGIN * float(plain["minmax"][root]["minmax"].scale)
        np.testing.assert_allclose([float(p.scale) for p in spared[root].values()], reach, rtol=0.01)
    for observer in study.statistics.observers.values():
        observer.count = FEW_VALUES + 1
    for root, ways in range_options(study.statistics, study.scheme, Settings())[0].items():
        assert ways["minmax"].scale == plain["minmax"][root]["minmax"].scale


def test_the_first_samples_do_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise measured on a text direction: what is best on eight samples is 2.3 times as noisy on the first two."""
    parts = {
        "minmax": (4.8, 1.7, 3.3, 3.3),
        "mse": (10.9, 0.8, 1.2, 1.2),
        "percentile": (15.9, 3.1, 2.4, 2.4),
        "none": (50.0, 9.0, 9.0, 9.0),
    }
    weights = (1.0, 9.0, 5.0, 5.0)
    study = study_of(8)
    names = {name: [trials_of(study, Settings())["minmax"].results[0]] for name in parts}
    seen: Counter[str] = Counter()

    def measured(self: KeptJudge, results: Any, numbers: range) -> Any:
        name = next(name for name, each in names.items() if each is results)
        energies = Energies(per_channel=False)
        energies.signal = np.array(weights[seen[name]])
        energies.noise = energies.signal * parts[name][seen[name]]
        seen[name] += 1
        return {"y": energies}

    monkeypatch.setattr(KeptJudge, "energies", measured)
    losses = compare(KeptJudge(study), names)
    assert min(losses, key=lambda name: losses[name]) == "mse"
    assert seen == {"minmax": 3, "mse": 3, "percentile": 2, "none": 1}


def test_errors_of_outputs_are_those_that_the_trial_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(8)
    trial = choose_trial(study, Settings(), shows_outputs=True)
    assert trial.outputs
    alone = measure_quality(study, trial.results, Interpreter)
    starts: list[Interpreter] = []
    start = Interpreter.start

    def counted(self: Interpreter, *arguments: Any, **options: Any) -> Any:
        starts.append(self)
        return start(self, *arguments, **options)

    monkeypatch.setattr(Interpreter, "start", counted)
    found = measure_quality(study, trial.results, Interpreter, trial.outputs)
    assert len(starts) == 4  # two samples through two models; the others measure no nodes
    assert found.outputs.keys() == alone.outputs.keys()
    for name, errors in found.outputs.items():
        assert errors.errors.count == alone.outputs[name].errors.count
        assert errors.errors.sqnr == pytest.approx(alone.outputs[name].errors.sqnr)
        assert errors.groups.keys() == alone.outputs[name].groups.keys()
    assert not choose_trial(study_of(8), Settings("minmax", weight_rounding=False), shows_outputs=True).outputs


@pytest.mark.parametrize("dtype", [DType.I8, DType.U8, DType.I16])
@pytest.mark.parametrize("zero", [0, 5])
def test_rounding_at_once_is_quantizing_and_dequantizing(dtype: DType, zero: int) -> None:
    parameters = Parameters(np.array(0.037, np.float32), np.array(zero, dtype.numpy), dtype)
    special = [0.0, -0.0, -0.001, np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0185, 0.0555]
    x = np.concatenate([np.random.default_rng(0).normal(0, 10, 5000), special]).astype(np.float32)
    assert parameters.rounded(x).tobytes() == parameters.dequantize(parameters.quantize(x)).tobytes()
    assert parameters.rounded(x[:1].reshape(())).shape == ()
