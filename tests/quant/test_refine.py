"""Equalisation of channels and tuning: the function stays, the noise shrinks, or the stage is undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import uair
from tests.quant.networks import Builder, all_products, samples, scheme_of, small_cnn
from uair.codegen.reference import Differentiator, Interpreter, run
from uair.errors import UairError
from uair.ir.compare import difference, graph_difference
from uair.ir.graph import Node, Tensor, constant
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import Add, Conv1D, Conv2D, Conv3D, ConvTranspose2D, HardSwish, LayerNorm, Linear, MatMul, MaxPool2D, Relu
from uair.ops.gradients.base import NoGradientError
from uair.passes.quantization.choose import Settings
from uair.passes.quantization.equalise import (
    Equalisation,
    apply_equalisations,
    cross_layer_factors,
    propose_equalisations,
)
from uair.passes.quantization.judging import Judge, Noise, Stage, StoredSample
from uair.passes.quantization.parking import Store
from uair.passes.quantization.placement import plan_quantization
from uair.passes.quantization.products import Products
from uair.passes.quantization.refine import Refinement
from uair.passes.quantization.statistics import collect_statistics
from uair.passes.quantization.trial import Study, choose_trial, trials_of
from uair.passes.quantization.tuning import Backwards, Knobs, tune
from uair.passes.quantize_int8 import QuantizeInt8
from uair.pipeline import PassContext, PassManager
from uair.quant.channel_range import LEAST_ROOM, MOST_ROOM, ChannelRange
from uair.quant.parameters import sqnr

SPREAD = np.geomspace(0.05, 4.0, 16).astype(np.float32)


def uneven(b: Builder, *shape: int) -> Tensor:
    """Weights whose output channels differ by a factor of 80 in magnitude."""
    return constant((b.weight(*shape).numpy() * SPREAD.reshape(-1, *(1,) * (len(shape) - 1))), "uneven")


def uneven_cnn(between: Any = None) -> Module:
    """A convolution with uneven channels, an activation, a depthwise convolution and a projection."""
    b = Builder(1, 3, 16, 16)
    x = b.add(Conv2D(pads=(1, 1, 1, 1)), b.x, uneven(b, 16, 3, 3, 3), b.weight(16, scale=0.1), name="stem")
    x = b.add(Relu() if between is None else between, x, name="act")
    depthwise = constant(b.weight(16, 1, 3, 3).numpy() / SPREAD.reshape(-1, 1, 1, 1), "dw")
    x = b.add(Conv2D(pads=(1, 1, 1, 1), groups=16), x, depthwise, b.weight(16), name="depthwise")
    return b.done(b.add(Conv2D(), b.add(Relu(), x), b.weight(8, 16, 1, 1), b.weight(8), name="last"))


def images(n: int = 16, seed: int = 5) -> list[dict[str, Any]]:
    return samples(n, (1, 3, 16, 16), seed)


def quantize(module: Module, feeds: Any, **options: Any) -> dict[str, Any]:
    context = PassContext()
    PassManager([QuantizeInt8(samples=feeds, **options)], context=context).run(module)
    report: dict[str, Any] = context.reports["quantization"]
    return report


def named(module: Module, name: str) -> Node:
    return next(node for node in module.main if node.name == name)


# ----------------------------------------------------------------------------------------------------- equalisation
def test_uneven_channels_are_folded_into_what_makes_them() -> None:
    module, before = uneven_cnn(), uneven_cnn()
    plan = plan_quantization(module.main, scheme_of("cpu"))
    changes = propose_equalisations(plan, scheme_of("cpu"), Interpreter(module), images())
    change = next(c for c in changes if c.readers[0] is named(module, "depthwise"))
    assert change.maker is named(module, "stem")
    assert change.gain < 0.2
    assert change.factor.max() == 1
    apply_equalisations(module.main, [change])
    verify(module)
    assert len(module.main) == len(before.main), "a division that is folded costs nothing"
    feeds = images(1)[0]
    want, got = run(before, feeds)["y"], run(module, feeds)["y"]
    assert np.abs(want - got).max() <= 1e-6 * np.abs(want).max()


def test_what_cannot_be_folded_is_a_multiplication_where_floats_are_between() -> None:
    module, before = uneven_cnn(HardSwish()), uneven_cnn(HardSwish())
    plan = plan_quantization(module.main, scheme_of("cpu"))
    changes = propose_equalisations(plan, scheme_of("cpu"), Interpreter(module), images())
    change = next(c for c in changes if c.readers[0] is named(module, "depthwise"))
    assert change.maker is None
    edits = apply_equalisations(module.main, [change])
    verify(module)
    added = named(module, "act_equalised")
    assert added.op_type == "Mul"
    assert added.loc.by == ("equalise",)
    feeds = images(1)[0]
    want, got = run(before, feeds)["y"], run(module, feeds)["y"]
    assert np.abs(want - got).max() <= 1e-6 * np.abs(want).max()
    edits.undo()
    assert difference(module, before) == ""
    everywhere = scheme_of("rk3588")
    plan = plan_quantization(module.main, everywhere)
    assert all(c.maker is not None for c in propose_equalisations(plan, everywhere, Interpreter(module), images()))


def _weighted(kind: str) -> tuple[Module, tuple[Node, ...], Node | None]:
    """A network in which an activation can be equalised, with its readers and what makes it."""
    b = Builder(1, 6, 6, 6)
    x = b.add(Conv2D(), b.x, b.weight(6, 6, 1, 1), b.weight(6), name="maker")
    if kind == "grouped":
        y = b.add(Conv2D(groups=2), b.add(Relu(), x), b.weight(4, 3, 2, 2), b.weight(4), name="reader")
    elif kind == "transposed":
        y = b.add(ConvTranspose2D(groups=3), b.add(MaxPool2D(kernel=(2, 2)), x), b.weight(6, 2, 2, 2), name="reader")
    elif kind == "from a transposed one":
        x = b.add(ConvTranspose2D(groups=2), b.x, b.weight(6, 3, 2, 2), b.weight(6), name="maker2")
        y = b.add(Conv2D(), x, b.weight(4, 6, 1, 1), name="reader")
    elif kind == "linear":
        x = b.add(LayerNorm(), x, b.weight(6), b.weight(6), name="norm")
        y = b.add(Linear(), x, b.weight(5, 6), b.weight(5), name="reader")
    elif kind == "linear untransposed":
        x = b.add(Linear(transpose_w=False), x, b.weight(6, 6), name="plain")
        y = b.add(Linear(transpose_w=False), x, b.weight(6, 5), name="reader")
    else:
        y = b.add(MatMul(trans_b=kind == "matmul transposed"), x, b.weight(6, 6), name="reader")
    module = b.done(y)
    makers = {"linear": "norm", "linear untransposed": "plain", "from a transposed one": "maker2"}
    maker = None if kind.startswith("matmul") else named(module, makers.get(kind, "maker"))
    return module, (named(module, "reader"),), maker


@pytest.mark.parametrize(
    "kind",
    [
        "grouped",
        "transposed",
        "from a transposed one",
        "linear",
        "linear untransposed",
        "matmul",
        "matmul transposed",
    ],
)
def test_the_function_stays(kind: str) -> None:
    module, readers, maker = _weighted(kind)
    feeds = samples(1, (1, 6, 6, 6))[0]
    want = run(module, feeds)["y"]
    tensor = readers[0].inputs[0]
    assert tensor is not None
    factor = np.array([1, 0.5, 0.3, 0.25, 0.7, 0.1])
    apply_equalisations(module.main, [Equalisation(tensor, readers, factor, maker, 0.1)])
    verify(module)
    got = run(module, feeds)["y"]
    assert np.abs(want - got).max() <= 1e-5 * np.abs(want).max()


def test_channels_that_others_see_are_left_alone() -> None:
    """A division that is folded would reach a reader in float: there it is a multiplication, or nothing."""
    b = Builder(1, 3, 16, 16)
    x = b.add(Conv2D(pads=(1, 1, 1, 1)), b.x, uneven(b, 16, 3, 3, 3), b.weight(16), name="stem")
    y = b.add(Conv2D(pads=(1, 1, 1, 1), groups=16), x, b.weight(16, 1, 3, 3), name="depthwise")
    module = b.done(b.add(Add(), x, y))
    plan = plan_quantization(module.main, scheme_of("cpu"))
    changes = propose_equalisations(plan, scheme_of("cpu"), Interpreter(module), images())
    assert [c.maker for c in changes if c.tensor is x] in ([], [None])


def uneven_layers(kind: str) -> Module:
    """Two or three layers, of which each makes up for the uneven channels of the one before."""
    undo = 1 / SPREAD
    if kind == "linear":
        b = Builder(32, 12)
        x = b.add(Linear(), b.x, uneven(b, 16, 12), constant(b.weight(16).numpy() * SPREAD, "b1"), name="first")
        w = constant(b.weight(8, 16).numpy() * undo, "w2")
        return b.done(b.add(Linear(), b.add(Relu(), x), w, b.weight(8), name="second"))
    b = Builder(1, 3, 16, 16)
    x = b.add(
        Conv2D(pads=(1, 1, 1, 1)),
        b.x,
        uneven(b, 16, 3, 3, 3),
        constant(b.weight(16, scale=0.1).numpy() * SPREAD, "b1"),
        name="first",
    )
    x = b.add(MaxPool2D(kernel=(2, 2), strides=(2, 2)), b.add(Relu(), x))
    middle = uneven(b, 16, 16, 1, 1).numpy()[::-1] * undo.reshape(1, -1, 1, 1)
    x = b.add(Conv2D(), x, constant(np.ascontiguousarray(middle), "w2"), name="second")
    last = b.weight(8, 16, 1, 1).numpy() * undo[::-1].reshape(1, -1, 1, 1)
    return b.done(b.add(Conv2D(), x, constant(last, "w3"), b.weight(8), name="third"))


@pytest.mark.parametrize("kind", ["linear", "convolutions"])
def test_layers_with_one_scale_per_weight_are_equalised_with_each_other(kind: str) -> None:
    module, before = uneven_layers(kind), uneven_layers(kind)
    scheme = attrs.evolve(scheme_of("cpu"), per_channel=())
    shape = (32, 12) if kind == "linear" else (1, 3, 16, 16)
    changes = propose_equalisations(
        plan_quantization(module.main, scheme), scheme, Interpreter(module), samples(4, shape, 5)
    )
    assert [c.maker.name for c in changes if c.maker is not None] == ["first", "second"][: len(module.main) // 2]
    apply_equalisations(module.main, changes)
    for first, second in zip(changes, changes[1:], strict=False):
        assert first.readers == (second.maker,)
    for change in changes:
        assert change.maker is not None
        made, read = (node.inputs[1] for node in (change.maker, change.readers[0]))
        assert made is not None
        assert read is not None
        rows = np.abs(made.numpy()).reshape(16, -1).max(axis=1)
        columns = np.abs(read.numpy()).reshape(-1, 16, read.type.size // read.numpy().shape[0] // 16).max(axis=(0, 2))
        np.testing.assert_allclose(rows, columns, rtol=2e-3)
    feed = samples(1, shape, 6)[0]
    want, got = run(before, feed)["y"], run(module, feed)["y"]
    assert np.abs(want - got).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("kind", ["linear", "convolutions"])
def test_one_scale_per_weight_gains_from_it_at_high_effort(kind: str) -> None:
    shape = (32, 12) if kind == "linear" else (1, 3, 16, 16)
    gains: dict[str, float] = {}
    for effort in ("default", "high"):
        module = uneven_layers(kind)
        report = quantize(module, samples(16, shape, 5), per_channel=False, effort=effort)
        feed = samples(1, shape, 6)[0]
        gains[effort] = sqnr(run(uneven_layers(kind), feed)["y"], run(module, feed)["y"])
    stages = {stage["stage"]: stage for stage in report["summary"]["stages"]}
    assert stages["equalise"]["kept"]
    assert gains["high"] > gains["default"] + 6


def test_linear_layers_of_a_target_with_one_scale_per_matrix_gain_from_it() -> None:
    quality: dict[str, float] = {}
    for effort in ("default", "high"):
        module = uneven_layers("linear")
        quantize(module, samples(16, (32, 12), 5), target="ascend310", effort=effort)
        feed = samples(1, (32, 12), 6)[0]
        quality[effort] = sqnr(run(uneven_layers("linear"), feed)["y"], run(module, feed)["y"])
    assert quality["high"] > quality["default"] + 15


def test_a_channel_without_weights_keeps_its_factor() -> None:
    b = Builder(4, 6)
    dead = b.weight(5, 6).numpy().copy()
    dead[2] = 0
    x = b.add(Linear(), b.x, constant(dead, "w1"), b.weight(5), name="first")
    module = b.done(b.add(Linear(), x, b.weight(3, 5), name="second"))
    first, second = named(module, "first"), named(module, "second")
    factor = cross_layer_factors([(first, (second,))])[first]
    assert factor[2] == 1
    assert np.all(np.isfinite(factor))
    assert np.all(factor > 0)


# ----------------------------------------------------------------------------------------------------------- tuning
def _study(module: Module, feeds: Any, method: Any = "percentile", percentile: float = 95.0) -> tuple[Study, Any]:
    scheme = scheme_of("cpu")
    plan = plan_quantization(module.main, scheme)
    study = Study(module, plan, collect_statistics(plan, Interpreter(module), feeds), scheme, Interpreter)
    return study, choose_trial(study, Settings(method=method, percentile=percentile, weight_rounding=False)).results


def tuned(module: Module, feeds: Any, **changes: Any) -> tuple[Study, Any, Any]:
    """A study, results of the greatest ranges, and what tuning makes of them."""
    study, results = _study(module, feeds, "minmax")
    study = attrs.evolve(study, scheme=attrs.evolve(study.scheme, **changes))
    return study, results, tune(study, results, feeds, Differentiator)


@pytest.mark.parametrize("make", [uneven_cnn, small_cnn])
def test_tuning_makes_the_noise_of_fresh_samples_less(make: Callable[[], Module]) -> None:
    module = make()
    shape = tuple(int(str(d)) for d in module.main.inputs[0].type.dims)
    feeds, fresh = samples(24, shape, 5), samples(48, shape, 77)
    study, results, found = tuned(module, feeds)
    assert fresh_noise(study, found, fresh) < fresh_noise(study, results, fresh)
    for old, new in zip(results, found, strict=True):
        assert new.node is old.node
        assert new.constants.weight is not None and old.constants.weight is not None
        assert new.constants.weight[1] is old.constants.weight[1], "the integers of the weights stay"
        for i, parameters in new.activations.items():
            assert parameters.dtype is old.activations[i].dtype
            assert 0.9 < float(parameters.scale / old.activations[i].scale) < 1.1
    again = tune(study, results, feeds, Differentiator)
    for one, other in zip(found, again, strict=True):
        assert one.constants.weight is not None and other.constants.weight is not None
        assert np.array_equal(one.constants.weight[0].scale, other.constants.weight[0].scale), "no chance"


def test_gradients_of_tuning_are_those_of_the_noise() -> None:
    """Behind the last rounding the noise is a smooth function, whose differences are known."""
    module, feeds = uneven_cnn(), images(3)
    study, results = _study(module, feeds, "minmax")
    judge = Judge.of(study, feeds, Store())
    last = len(results) - 1
    keys: list[Any] = [("bias", last), ("weight", last)]

    def noise(key: Any, by: float) -> tuple[float, dict[Any, Any]]:
        knobs = Knobs.of(study, results, feeds)
        knobs.values[key] = knobs.values[key].copy()
        knobs.values[key][2] += by
        changed = knobs.results()
        with study.quantized_copy(changed) as copied:
            found = Backwards.of(knobs, judge, changed, copied, Differentiator).gradients(range(3))
        return sum(judge.losses(study, changed, range(3))), found

    for key, by in zip(keys, (1e-2, 1e-2), strict=True):
        (more, _), (less, _) = noise(key, by), noise(key, -by)
        np.testing.assert_allclose(noise(key, 0)[1][key][2], (more - less) / (2 * by), rtol=2e-2)


def test_scales_of_a_scheme_with_powers_of_two_stay() -> None:
    _, results, found = tuned(uneven_cnn(), images(16), power_of_two=True)
    for old, new in zip(results, found, strict=True):
        assert all(new.activations[i].scale == p.scale for i, p in old.activations.items())
        assert np.array_equal(new.constants.weight[0].scale, old.constants.weight[0].scale)
    assert any(
        not np.array_equal(a.constants.bias[1], b.constants.bias[1]) for a, b in zip(results, found, strict=True)
    )


def no_gradient(*_: Any) -> Any:
    raise NoGradientError("there is no gradient through Nothing", hint="none")


def test_a_model_without_gradients_is_not_tuned() -> None:
    report = quantize(uneven_cnn(), images(), effort="high", differentiator=no_gradient)
    stage = report["summary"]["stages"][-1]
    assert stage["stage"] == "tuning" and not stage["changed"] and not stage["kept"]
    assert any("nothing was tuned: there is no gradient through Nothing" in note for note in report["notes"])


@pytest.mark.parametrize(
    "kind", ["plain", "grouped", "1d", "3d", "linear", "linear untransposed", "matmul", "transposed"]
)
def test_products_are_what_a_node_computes(kind: str) -> None:
    rng = np.random.default_rng(0)
    ops: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {
        "plain": (Conv2D(pads=(1, 0, 2, 1), strides=(2, 1), dilations=(1, 2)), (2, 4, 7, 9), (6, 4, 3, 2)),
        "grouped": (Conv2D(groups=2, auto_pad="same_upper", strides=(2, 2)), (2, 4, 7, 9), (6, 2, 3, 3)),
        "1d": (Conv1D(pads=(1, 1)), (2, 4, 7), (6, 4, 3)),
        "3d": (Conv3D(groups=4), (1, 4, 3, 4, 5), (4, 1, 2, 2, 2)),
        "linear": (Linear(), (2, 3, 5), (7, 5)),
        "linear untransposed": (Linear(transpose_w=False), (3, 5), (5, 7)),
        "matmul": (MatMul(), (2, 3, 5), (5, 7)),
        "transposed": (ConvTranspose2D(groups=2, strides=(2, 2)), (2, 4, 3, 3), (4, 3, 2, 2)),
    }
    op, extents, shape = ops[kind]
    x, w = rng.normal(size=extents).astype(np.float32), rng.normal(size=shape).astype(np.float32)
    node = op.node(constant(x), constant(w))
    products = Products.of(node, shape)
    assert products is not None
    assert np.array_equal(products.restored(products.matrices(w)), w)
    got = products.matrices(w) @ products.inputs(x, 10**6).swapaxes(1, 2)  # [G, M, rows]
    want = op.evaluate(x, w)
    if kind in ("linear", "linear untransposed", "matmul"):
        want = want.reshape(-1, want.shape[-1]).T
        got = got[0]
    elif kind == "transposed":  # [2 groups, 3 channels * 2 * 2 taps, 2 * 3 * 3 places]
        got = got.reshape(2, 3, 2, 2, 2, 3, 3).transpose(4, 0, 1, 5, 2, 6, 3).reshape(want.shape)
    else:
        got = np.moveaxis(got.reshape(want.shape[1], len(x), *want.shape[2:]), 0, 1)
    assert np.allclose(got, want, atol=1e-5)
    assert 3 <= products.inputs(x, 4).shape[1] <= 8
    assert (
        Products.of(
            MatMul().node(constant(x.reshape(1, -1)), constant(np.zeros((1, x.size, 2), np.float32))), (1, x.size, 2)
        )
        is None
    )


# ---------------------------------------------------------------------------------------------------------- together
def test_high_effort_is_better_on_fresh_samples() -> None:
    plain, refined, reference = uneven_cnn(), uneven_cnn(), uneven_cnn()
    feeds = images(24)
    quantize(plain, feeds)
    report = quantize(refined, feeds, effort="high")
    stages = {stage["stage"]: stage for stage in report["summary"]["stages"]}
    assert list(stages) == ["ranges", "equalise", "tuning"]
    assert stages["equalise"]["kept"] and stages["equalise"]["changed"] >= 1
    for stage in stages.values():
        assert not stage["kept"] or (stage["changed"] > 0 and stage["after"] < stage["before"])
    fresh = images(8, seed=99)
    gain = [
        sqnr(run(reference, f)["y"], run(refined, f)["y"]) - sqnr(run(reference, f)["y"], run(plain, f)["y"])
        for f in fresh
    ]
    assert np.mean(gain) > 2


@pytest.mark.parametrize("make", [small_cnn, all_products])
def test_every_network_survives(make: Callable[[], Module]) -> None:
    module = make()
    shape = tuple(int(str(d)) for d in module.main.inputs[0].type.dims)
    report = quantize(module, samples(16, shape), effort="high")
    verify(module)
    assert len(report["summary"]["stages"]) == 3
    reference, fresh = make(), samples(2, shape, seed=3)
    for feeds in fresh:
        want, got = run(reference, feeds), run(module, feeds)
        assert all(sqnr(want[name], got[name]) > 15 for name in want)


def test_a_stage_that_does_not_help_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stage, "is_kept", property(lambda _: False))
    plain, refined = uneven_cnn(HardSwish()), uneven_cnn(HardSwish())
    feeds = images()
    quantize(plain, feeds, range="mse")
    quantize(refined, feeds, effort="high", range="mse")
    assert graph_difference(plain.main, refined.main) == ""


def test_noise_is_less_only_where_it_is_no_accident() -> None:
    before = Noise((1.0, 2.0, 1.5, 1.0, 0.7, 1.2))
    assert Noise(tuple(0.9 * x for x in before.losses)).is_better(before)
    assert not before.is_better(before)
    assert not Noise(tuple(0.95 * x for x in before.losses)).is_better(before, 0.9), "less, but not convincing"
    assert not Noise((0.1, 2.2, 1.6, 1.1, 0.8, 1.3)).is_better(before), "one sample is better by accident"
    assert not Noise((0.9, 2.1, 1.6, 0.55, 0.75, 0.58)).is_better(Noise((1.0, 2.0, 1.5, 0.6, 0.7, 0.6))), "level"
    assert not Noise((0.8, 8.0, 1.2, 0.8, 0.5, 0.9)).is_better(before), "the worst one became four times as bad"


def test_what_goes_downhill_is_undone_only_where_it_is_noisier_beyond_chance() -> None:
    before = Noise((1.0, 2.0, 1.5, 1.0, 0.7, 1.2))
    by_chance, worse = Noise((1.1, 1.9, 1.6, 1.1, 0.7, 1.3)), Noise(tuple(1.2 * x for x in before.losses))
    assert not Stage("ranges", 3, before, by_chance).is_kept
    assert Stage("tuning", 3, before, by_chance, is_downhill=True).is_kept
    assert not Stage("tuning", 3, before, worse, is_downhill=True).is_kept
    assert not Stage("tuning", 0, before, before, is_downhill=True).is_kept, "nothing changed"


def test_ranges_are_judged_by_samples_that_did_not_make_them() -> None:
    """One sample has a great value that a range of the others does not hold."""
    module, feeds, settings = uneven_cnn(), images(16), Settings("minmax")
    feeds[3]["x"] = feeds[3]["x"].copy()
    feeds[3]["x"][0, :, 2:9, 2:9] = 60.0
    plan = plan_quantization(module.main, scheme_of("cpu"))
    study = Study(module, plan, collect_statistics(plan, Interpreter(module), feeds), scheme_of("cpu"), Interpreter)
    trial = choose_trial(study, settings)
    honest = (
        Refinement(study, trial, feeds, settings, (), Differentiator, PassContext(), "test", kept=feeds)
        .taught()["minmax"]
        .noise
    )
    known = Judge.of(study, feeds, Store()).losses(study, trial.results, range(len(feeds)))
    assert honest.losses[3] > 20 * known[3]
    assert max(honest.losses[:3] + honest.losses[4:]) < honest.losses[3]


def test_the_way_of_choosing_ranges_is_judged_anew() -> None:
    """A few bright pixels in every image widen the ranges of "minmax"; what was chosen before does not bind."""
    module, feeds, settings = uneven_cnn(), images(24), Settings()
    for i, feed in enumerate(feeds):
        feed["x"] = feed["x"].copy()
        feed["x"][0, :, i % 16, 3] *= 6.0
    plan = plan_quantization(module.main, scheme_of("cpu"))
    study = Study(module, plan, collect_statistics(plan, Interpreter(module), feeds), scheme_of("cpu"), Interpreter)
    trials = trials_of(study, settings)
    assert list(trials) == ["minmax", "percentile", "mse"]
    loss = {name: fresh_noise(study, trial.results, feeds) for name, trial in trials.items()}
    worst = max(loss, key=lambda way: loss[way])
    refinement = Refinement(
        study, trials[worst], feeds, settings, (), Differentiator, PassContext(), "test", kept=feeds
    )
    ways = refinement.taught()
    assert worst in ways, "what there was before is never left out"
    chosen = refinement.choose_ranges(ways)
    assert chosen.way != worst
    assert refinement.stages[0].name == "ranges" and refinement.stages[0].is_kept
    assert loss[chosen.way] < 0.6 * loss[worst]


def fresh_noise(study: Study, results: list[Any], feeds: list[dict[str, Any]]) -> float:
    return float(np.mean(Judge.of(study, feeds, Store()).losses(study, results, range(len(feeds)))))


def test_no_sample_judges_what_it_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges and factors of channels are learned anew without each part of the samples."""
    module, feeds, settings = uneven_cnn(), images(16), Settings("minmax")
    taught: list[set[int]] = []

    def number(sample: Any) -> int:
        return next(i for i, feed in enumerate(feeds) if np.array_equal(feed["x"], sample["x"]))

    def propose(*arguments: Any) -> Any:
        taught.append({number(sample) for sample in arguments[-1]})
        return propose_equalisations(*arguments)

    monkeypatch.setattr("uair.passes.quantization.refine.propose_equalisations", propose)
    plan = plan_quantization(module.main, scheme_of("cpu"))
    study = Study(module, plan, collect_statistics(plan, Interpreter(module), feeds), scheme_of("cpu"), Interpreter)
    trial = choose_trial(study, settings)
    refinement = Refinement(study, trial, feeds, settings, (), Differentiator, PassContext(), "test", kept=feeds)
    candidate = refinement.taught(is_equalised=True)["minmax"]
    parts = [set(range(i, 16, 4)) for i in range(4)]
    assert [set(fold.judging) for fold in candidate.folds] == parts
    assert taught == [set(range(16)) - part for part in parts]
    for fold in candidate.folds:
        assert fold.study.module is not module and fold.study.weights is not study.weights
        assert {number(s) for s in (*fold.samples, *fold.study.statistics.kept)}.isdisjoint(fold.judging)
        assert fold.study.statistics.count == 12
    assert candidate.changed >= 1
    assert graph_difference(module.main, uneven_cnn().main) == "", "the model itself is only changed in the end"


def test_channels_get_room_for_what_other_samples_reach() -> None:
    """A channel that is seldom great is not blown up to fill the range with what few samples show of it."""
    feeds = [np.ones((1, 3, 4, 4), np.float32) * np.array([8, 1, 1], np.float32).reshape(1, 3, 1, 1) for _ in range(4)]
    feeds[1] = feeds[1] * np.array([1, 1, 3], np.float32).reshape(1, 3, 1, 1)
    feeds[3] = feeds[3] * np.array([1, 1, 9], np.float32).reshape(1, 3, 1, 1)
    found = ChannelRange.empty(1, 3)
    for values in feeds[:3]:
        found.observe(values)
    np.testing.assert_allclose(found.magnitude, [8, 1, 3])
    np.testing.assert_allclose(found.expected, [8 * LEAST_ROOM, LEAST_ROOM, 9])
    found.observe(feeds[3])
    np.testing.assert_allclose(found.expected, [8 * LEAST_ROOM, LEAST_ROOM, 9 * MOST_ROOM])


def test_noise_is_measured_by_the_signal_of_all_samples() -> None:
    """A dark image has the same noise as a bright one; by its own signal it would decide alone."""
    module, feeds = uneven_cnn(), images(12)
    feeds[5] = {"x": feeds[5]["x"] * np.float32(1e-3)}
    study, results = _study(module, feeds, "minmax")
    judge = Judge.of(study, feeds, Store())
    losses = judge.losses(study, results, range(len(feeds)))
    assert losses[5] < 2 * max(losses[:5])
    assert judge.losses(study, results, [7, 2]) == [losses[7], losses[2]]


def test_samples_in_a_file_are_the_samples() -> None:
    store = Store()
    sample = {"x": np.arange(12.0).reshape(3, 4), "n": np.int64(7).reshape(())}
    stored = StoredSample(store, sample)
    assert list(stored) == ["x", "n"] and len(stored) == 2
    assert all(np.array_equal(stored[name], array) for name, array in sample.items())
    end = store.end
    del stored
    StoredSample(store, sample)
    assert store.end == end, "places of samples that are gone are used again"


def test_what_is_worse_in_the_end_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """All stages convince, but the numbers that all samples together teach are noisier than those of before."""
    kept = Stage.is_kept
    monkeypatch.setattr(Stage, "is_kept", property(lambda s: s.name != "all" and kept.fget(s)))  # type: ignore[attr-defined]
    plain, refined = uneven_cnn(), uneven_cnn()
    feeds = images(24)
    quantize(plain, feeds, range="mse")
    report = quantize(refined, feeds, effort="high", range="mse", differentiator=no_gradient)
    assert any(stage["kept"] for stage in report["summary"]["stages"])
    assert any("was undone" in note for note in report["notes"])
    assert graph_difference(plain.main, refined.main) == ""


def test_too_few_samples_to_judge_by() -> None:
    report = quantize(uneven_cnn(), images(5), effort="high")
    assert report["summary"]["stages"] == []
    assert "needs 8 samples" in report["notes"][-1]


def test_through_compile(tmp_path: Path) -> None:
    module, feeds = uneven_cnn(), images(12)
    settings = uair.Int8(calibration=feeds, effort="high")
    artifact = uair.compile(module, "cpu", output=tmp_path / "a", quantize=settings)
    assert "effort=high" in artifact.manifest["quantization"]["pass"]
    with pytest.raises(UairError, match="effort is given, but for target 'horizon_j5' the vendor's tool decides"):
        uair.compile(module, "horizon_j5", output=tmp_path / "b", quantize=settings)
    wrong: Any = "most"
    with pytest.raises(UairError, match="no effort 'most'"):
        uair.compile(module, "cpu", output=tmp_path / "c", quantize=uair.Int8(calibration=feeds, effort=wrong))
