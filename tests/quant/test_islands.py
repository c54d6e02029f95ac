"""Regions between floats that hold no operator with a weight stay float."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

import uair
from uair.ir import Module
from uair.passes.quantization.placement import ISLAND, Plan, lone_nodes, plan_quantization
from uair.quant.scheme import Scheme
from uair.targets import load_description
from uair.text import parse_module


def network() -> Module:
    """Convolutions; a Sigmoid and a sum between the first two, a Relu in front of the third."""
    values = np.random.default_rng(0).normal(size=16).round(3).tolist()
    return parse_module(
        f"constant @w = {values} : f32[4,4,1,1]  %x: f32[1,4,8,8]  %a = Conv2D(%x, @w)  %s = Sigmoid(%a)  "
        "%t = Add(%s, %a)  %b = Conv2D(%t, @w)  %r = Relu(%b)  %y = Conv2D(%r, @w)"
    )


def scheme() -> Scheme:
    described = load_description("rk3588").quantization
    assert described is not None
    return described.scheme


def quantized(plan: Plan) -> set[str]:
    return {item.node.output.name for item in plan.nodes}


def test_what_lies_between_floats_stays_float() -> None:
    plan = plan_quantization(network().main, scheme(), ["a", "b"])
    assert quantized(plan) == {"r", "y"}  # the Relu's integers are those that the convolution reads
    assert {n.output.name: why for n, why in plan.float_nodes if n.op_type in ("Sigmoid", "Add")} == dict.fromkeys(
        "st", ISLAND
    )
    assert not {"a", "s", "t"} & {t.name for t in plan.groups}


def test_one_neighbour_on_integers_is_enough() -> None:
    assert quantized(plan_quantization(network().main, scheme(), ["a"])) == {"s", "t", "b", "r", "y"}
    assert quantized(plan_quantization(network().main, scheme(), ["b"])) == {"a", "s", "t", "r", "y"}


@pytest.mark.parametrize("kept", [attrs.evolve(scheme(), islands=True), attrs.evolve(scheme(), ends=True)])
def test_a_device_may_want_them_on_integers(kept: Scheme) -> None:
    plan = plan_quantization(network().main, kept, ["a", "b"])
    assert quantized(plan) == {"s", "t", "r", "y"}


def test_regions_are_found_whatever_the_order() -> None:
    nodes = list(network().main)
    by_name = {node.output.name: node for node in nodes}
    some = [by_name[name] for name in "trs"]
    assert lone_nodes(some) == some
    assert lone_nodes([by_name[name] for name in "bts"]) == []
    assert lone_nodes([by_name[name] for name in "rsy"]) == [by_name["s"]]


def test_the_report_gives_the_reason_and_nothing_is_rounded_between() -> None:
    samples = [{"x": np.random.default_rng(i).normal(size=(1, 4, 8, 8)).astype(np.float32)} for i in range(8)]
    settings = uair.Int8(samples, skip=("a", "b", "y"), least_cosine=0.0)
    module = network()
    found = uair.quantize(module, settings, target="rk3588")
    assert found.report["summary"]["quantized"] == 0
    feeds = samples[0]
    np.testing.assert_array_equal(uair.run(found.module, feeds)["y"], uair.run(module, feeds)["y"])


def test_results_stay_neighbours_when_they_are_reshaped() -> None:
    """A mean in front of a Linear is one region with it, though the Reshape between them is not quantized."""
    values = np.random.default_rng(1).normal(size=16).round(3).tolist()
    module = parse_module(
        f"constant @w = {values} : f32[4,4]  %x: f32[1,4,8,8]  %m = GlobalAvgPool(%x)  "
        "%f = Reshape(%m) {shape = [1,4]}  %y = Linear(%f, @w)"
    )
    described = load_description("jetson_orin").quantization
    assert described is not None
    assert quantized(plan_quantization(module.main, described.scheme)) == {"m", "y"}
    assert quantized(plan_quantization(module.main, described.scheme, ["y"])) == set()
