"""Channels of activations, evened by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import pytest

from tests.quant.networks import Builder, samples, scheme_of
from uair.codegen.reference import Interpreter, run
from uair.ir.dtype import Array
from uair.ir.graph import Node, constant
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import Clip, Conv2D, ConvTranspose2D, HardSwish, Linear, Relu
from uair.ops.base import Operator
from uair.passes.quantization.choose import Settings
from uair.passes.quantization.equalise import noise_of_readers
from uair.passes.quantization.even_channels import axes_to_watch, even_channels
from uair.passes.quantization.placement import plan_quantization
from uair.passes.quantization.statistics import collect_statistics
from uair.passes.quantization.trial import KeptJudge, Study, survey
from uair.passes.quantize_int8 import QuantizeInt8
from uair.pipeline import PassContext, PassManager
from uair.quant.channel_range import ChannelRange
from uair.quant.comparison import FLOOR
from uair.quant.parameters import sqnr
from uair.quant.scheme import WEIGHT_LIMIT, Scheme
from uair.rewrite import Fuel

SPREAD = np.logspace(0, -1.5, 16).astype(np.float32)
"""Greatest magnitudes of the channels, one by the other."""


def network(act: Operator, *, groups: int = 16, spread: Array = SPREAD) -> Module:
    """A convolution with uneven channels, an activation, and a convolution that reads them and makes up for it.

    What the last one reads has channels of like ranges: it stays as it is.
    """
    b = Builder(1, 3, 16, 16)
    w = constant(b.weight(16, 3, 3, 3).numpy() * spread[:, None, None, None], "w")
    x = b.add(Conv2D(pads=(1, 1, 1, 1)), b.x, w, name="stem")
    filters = b.weight(16, 16 // groups, 3, 3).numpy()
    filters = filters / (spread[:, None, None, None] if groups == 16 else spread[:, None, None])
    y = b.add(Conv2D(groups=groups), b.add(act, x, name="act"), constant(filters, "filters"), name="reader")
    y = b.add(HardSwish(), y)
    return b.done(b.add(Conv2D(), y, b.weight(8, 16, 1, 1), b.weight(8), name="head"))


def images(n: int = 12, seed: int = 5) -> list[dict[str, Any]]:
    return samples(n, (1, 3, 16, 16), seed)


def named(module: Module, name: str) -> Node:
    return next(node for node in module.main if node.name == name)


def study_of(module: Module, scheme: Scheme) -> Study:
    plan = plan_quantization(module.main, scheme)
    feeds: list[Mapping[str, Array]] = list(images())
    statistics = collect_statistics(plan, Interpreter(module), feeds, axes=axes_to_watch(plan, scheme))
    return Study(module, plan, statistics, scheme, Interpreter)


def everything(node: Node) -> bool:
    del node
    return True


def quantize(module: Module, context: PassContext | None = None, **options: Any) -> dict[str, Any]:
    context = context or PassContext()
    PassManager([QuantizeInt8(samples=images(), **options)], context=context).run(module)
    report: dict[str, Any] = context.reports["quantization"]
    return report


def ratio(module: Module, exact: Module) -> float:
    """SQNR on samples that nothing saw."""
    feeds = images(4, seed=77)
    return float(np.mean([sqnr(run(exact, f)["y"], run(module, f)["y"]) for f in feeds]))


@pytest.mark.parametrize("groups", [16, 1])
def test_evened_channels_make_the_outputs_better(groups: int) -> None:
    exact = network(HardSwish(), groups=groups)
    plain, evened = exact.clone(), exact.clone()
    assert quantize(plain, even_channels=False)["summary"]["evened"] == 0
    assert quantize(evened)["summary"]["evened"] == 1
    verify(evened)
    assert named(evened, "act_equalised").op_type == "Mul"
    assert ratio(evened, exact) > ratio(plain, exact) + 6


def test_a_division_that_can_be_folded_costs_no_node() -> None:
    exact = network(Relu())
    module = exact.clone()
    study, changes = even_channels(study_of(module, scheme_of("cpu")), scheme_of("cpu"), (), everything)
    assert [c.maker for c in changes] == [named(module, "stem")]
    assert len(module.main) == len(exact.main)
    feeds = images(1)[0]
    want, got = run(exact, feeds)["y"], run(module, feeds)["y"]
    assert np.abs(want - got).max() <= 1e-5 * np.abs(want).max()
    assert study.module is module


def test_layers_that_read_many_channels_are_helped_where_it_costs_no_node() -> None:
    exact = network(Relu(), groups=1)
    plain, evened = exact.clone(), exact.clone()
    assert quantize(plain, even_channels=False)["summary"]["evened"] == 0
    assert quantize(evened)["summary"]["evened"] == 1
    assert len(evened.main) == len(plain.main)
    assert ratio(evened, exact) > ratio(plain, exact) + 3


def test_between_integers_the_layer_in_front_takes_divisions() -> None:
    exact = network(Relu())
    plain, evened = exact.clone(), exact.clone()
    assert quantize(plain, target="rk3588", even_channels=False)["summary"]["evened"] == 0
    assert quantize(evened, target="rk3588")["summary"]["evened"] == 1
    assert len(evened.main) == len(plain.main)
    assert ratio(evened, exact) > ratio(plain, exact) + 3


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 2.0), (None, 3.0), (0.0, None)])
def test_a_clip_between_integers_cuts_nothing_that_samples_show(low: float | None, high: float | None) -> None:
    exact = network(Clip(min=low, max=high))
    module, scheme = exact.clone(), scheme_of("rk3588")
    changes = even_channels(study_of(module, scheme), scheme, (), everything)[1]
    assert [c.maker for c in changes] == [named(module, "stem")]
    for feeds in images():
        want, got = run(exact, feeds)["y"], run(module, feeds)["y"]
        assert np.abs(want - got).max() <= 1e-5 * np.abs(want).max()
    on_cpu = even_channels(study_of(exact, scheme_of("cpu")), scheme_of("cpu"), (), everything)[1]
    assert all(c.maker is None for c in on_cpu), "where floats lie between layers nothing may be cut"


def test_a_clip_away_from_0_takes_no_division() -> None:
    module, scheme = network(Clip(min=0.01, max=6.0)), scheme_of("rk3588")
    assert even_channels(study_of(module, scheme), scheme, (), everything)[1] == []


def test_every_sample_says_how_far_channels_go() -> None:
    """What one sample in twelve shows of a channel keeps it from being blown up."""
    module = network(HardSwish())
    scheme = scheme_of("cpu")
    plan = plan_quantization(module.main, scheme)
    axes = axes_to_watch(plan, scheme)
    assert named(module, "act").output in axes and named(module, "reader").output in axes
    feeds = images()
    plain = collect_statistics(plan, Interpreter(module), feeds, axes=axes).channels
    feeds[1] = {"x": feeds[1]["x"] * 20}  # not one of those that are kept
    far = collect_statistics(plan, Interpreter(module), feeds, axes=axes).channels
    act = named(module, "act").output
    assert (far[act].expected > 2 * plain[act].expected).all()
    assert far[act].samples == 12


def test_ranges_are_those_of_the_divided_values() -> None:
    module = network(HardSwish())
    before = study_of(module, scheme_of("cpu"))
    greatest = {t: o.maximum for t, o in before.statistics.observers.items()}
    study, changes = even_channels(before, scheme_of("cpu"), (), everything)
    divided = named(module, "act_equalised").output
    assert [tensor for tensor, _ in study.unseen] == [divided]
    survey(study, Settings())
    assert study.unseen == ()
    seen = study.statistics.observers[study.plan.groups[divided]]
    runs: list[float] = []
    assert len(study.statistics.kept) < 12
    for feeds in images():
        found: dict[Any, Array] = {}
        Interpreter(module).run(feeds, observe=found.__setitem__)
        runs.append(float(found[divided].max()))
    assert seen.maximum == pytest.approx(max(runs), rel=1e-6), "as far as all samples go"
    assert seen.count == divided.type.size * len(study.statistics.kept) + 2, (
        "the histogram is that of the kept samples, and the two ends"
    )
    assert changes[0].factor.max() == 1, "the greatest channel stays as it is"
    assert changes[0].factor.min() < 0.2
    for tensor, observer in study.statistics.observers.items():
        if tensor is not divided:
            assert observer.maximum == greatest[tensor], "nothing else is looked at anew"
    assert study.statistics.count == 12


def test_the_kept_samples_run_once_for_ranges_weights_and_references(monkeypatch: pytest.MonkeyPatch) -> None:
    module, exact = network(HardSwish()), network(HardSwish())
    before = study_of(module, scheme_of("cpu"))
    study, changes = even_channels(before, scheme_of("cpu"), (), everything)
    assert changes
    judge, started = KeptJudge(study), list[Any]()
    start = Interpreter.start

    def counted(self: Interpreter, *arguments: Any, **options: Any) -> Any:
        started.append(self)
        return start(self, *arguments, **options)

    monkeypatch.setattr(Interpreter, "start", counted)
    survey(study, Settings(), judge)
    survey(study, Settings(), judge)
    assert len(started) == len(study.statistics.kept), "nothing is left to be seen"
    assert len(study.weights) == len(study.plan.nodes)
    assert study.statistics.observers.keys() == set(study.plan.groups.values())
    monkeypatch.undo()
    for number, expected in enumerate(attrs.evolve(before, module=exact).references()):
        found = judge.energies([], range(number, number + 1))
        for one, two in zip(found.values(), expected.values(), strict=True):
            assert float(np.sum(one.signal)) == pytest.approx(float(np.square(two, dtype=np.float64).sum()), rel=1e-4)


@pytest.mark.parametrize(
    "kind", ["other placement", "scale per tensor", "even already", "no samples", "skipped", "not watched"]
)
def test_where_nothing_is_evened(kind: str) -> None:
    module = network(HardSwish(), spread=np.ones_like(SPREAD) if kind == "even already" else SPREAD)
    scheme = scheme_of("rk3588" if kind == "other placement" else "cpu")
    study = study_of(module, scheme)
    if kind == "no samples":
        study.statistics.kept = []
    if kind == "not watched":
        study.statistics.channels = {}
    if kind == "scale per tensor":
        scheme = attrs.evolve(scheme, per_channel=())
    if kind == "skipped":
        study.plan = plan_quantization(module.main, scheme, ("reader",))
    before = len(module.main)
    same, changes = even_channels(study, scheme, (), everything)
    assert changes == []
    assert same is study
    assert len(module.main) == before


def test_every_change_draws_fuel() -> None:
    context = PassContext(fuel=Fuel(0))
    module = network(HardSwish())
    report = quantize(module, context)
    assert report["summary"]["evened"] == 0
    assert "act_equalised" not in {node.name for node in module.main}


@pytest.mark.parametrize("kind", ["linear", "grouped", "transposed"])
def test_the_predicted_noise_is_that_of_both_roundings(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held against the sums written out, weight by weight; also where a wide layer is looked at by parts."""
    monkeypatch.setattr("uair.passes.quantization.equalise.AT_ONCE", 50)
    op, shape, groups = {
        "linear": (Linear(), (8, 6), 1),
        "grouped": (Conv2D(groups=2), (8, 3, 2, 1), 2),
        "transposed": (ConvTranspose2D(groups=2), (6, 4, 2, 1), 2),
    }[kind]
    b = Builder(*((4, 6) if kind == "linear" else (1, 6, 5, 5)))
    module = b.done(b.add(op, b.x, b.weight(*shape), name="layer"))
    (item,) = plan_quantization(module.main, Scheme()).nodes
    rng = np.random.default_rng(0)
    axis, channels = 1, {}
    for tensor, extent in ((item.operand(0), 6), (item.node.output, 8)):
        channels[tensor] = ChannelRange.empty(axis, extent)
        channels[tensor].observe(rng.normal(size=(1, extent, 40)).astype(np.float32))
    x, y, factor = channels[item.operand(0)], channels[item.node.output], rng.uniform(0.2, 1, 6)
    w = item.operand(1).numpy().astype(np.float64).reshape(*shape[:2], -1)
    per_group, inputs = 8 // groups, 6 // groups
    signal = y.mean_square + FLOOR * y.mean_square.mean()
    step = ((x.high / factor).max() - (x.low / factor).min()) / 255
    noise = 0.0
    for m in range(8):
        group = m // per_group
        read = range(group * inputs, (group + 1) * inputs)
        rows = {c: w[c, m % per_group] if kind == "transposed" else w[m, c - group * inputs] for c in read}
        limit = max(float(np.abs(rows[c]).max()) * factor[c] for c in read)
        by_input = sum(float(np.square(rows[c]).sum()) * factor[c] ** 2 for c in read) * step**2
        by_weight = sum(x.mean_square[c] / factor[c] ** 2 * len(rows[c]) for c in read) * (limit / WEIGHT_LIMIT) ** 2
        noise += (by_input + by_weight) / signal[m] / 12 / 8
    even, found = noise_of_readers([item], [np.ones(6), factor], channels, Scheme())
    assert found == pytest.approx(noise, rel=1e-5)
    assert even != found
