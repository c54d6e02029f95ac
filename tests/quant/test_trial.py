"""Ways to quantize a model are compared on few samples first; what is far behind there is not run on the others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.quant.networks import samples, small_cnn
from uair.codegen.reference import Interpreter
from uair.ir.dtype import DType
from uair.passes.quantization.choose import Settings
from uair.passes.quantization.placement import plan_quantization
from uair.passes.quantization.statistics import collect_statistics
from uair.passes.quantization.trial import FAR, Study, compare, make_trial, ways_of
from uair.quant.parameters import Parameters
from uair.quant.scheme import Scheme


def study_of(count: int) -> Study:
    module, scheme = small_cnn(), Scheme()
    plan = plan_quantization(module.main, scheme)
    statistics = collect_statistics(plan, Interpreter(module), samples(count))
    return Study(module, plan, statistics, scheme, Interpreter)


def test_a_way_that_is_far_behind_runs_a_quarter_of_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    study, settings = study_of(8), Settings()
    good, other, *_ = (make_trial(study, settings, way).results for way in ways_of(study, settings))
    bad = make_trial(study, Settings("percentile", 50.0), ways_of(study, Settings("percentile", 50.0))[0]).results
    names = {id(good): "good", id(other): "other", id(bad): "bad"}
    runs: Counter[str] = Counter()
    energies = Study.energies

    def counted(self: Study, results: Any, reference: Any) -> Any:
        runs[names[id(results)]] += len(reference)
        return energies(self, results, reference)

    monkeypatch.setattr(Study, "energies", counted)
    losses = compare(study, {"bad": bad, "good": good, "other": other})
    assert runs == {"bad": 2, "good": 8, "other": 8}
    monkeypatch.undo()
    reference = study.references()
    assert losses["good"] == pytest.approx(study.loss(good, reference))
    assert losses["other"] == pytest.approx(study.loss(other, reference))
    assert losses["bad"] > FAR * min(losses["good"], losses["other"])


@pytest.mark.parametrize("dtype", [DType.I8, DType.U8, DType.I16])
@pytest.mark.parametrize("zero", [0, 5])
def test_rounding_at_once_is_quantizing_and_dequantizing(dtype: DType, zero: int) -> None:
    parameters = Parameters(np.array(0.037, np.float32), np.array(zero, dtype.numpy), dtype)
    special = [0.0, -0.0, -0.001, np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0185, 0.0555]
    x = np.concatenate([np.random.default_rng(0).normal(0, 10, 5000), special]).astype(np.float32)
    assert parameters.rounded(x).tobytes() == parameters.dequantize(parameters.quantize(x)).tobytes()
    assert parameters.rounded(x[:1].reshape(())).shape == ()
