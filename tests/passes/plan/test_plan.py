"""The plan of a module as a whole, and where it is written."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import pytest

import uair
from tests.passes.plan.graphs import chain, residual_block
from uair.ir.graph import Graph, constant
from uair.ir.module import Module
from uair.ops import MatMul, Relu
from uair.passes.plan import PLAN, plan
from uair.targets import DeviceDescription, load_description
from uair.targets.description import Memory
from uair.targets.units import Pages, PlanModel
from uair.text import parse_type

ASCEND = load_description("ascend310")


def test_a_fused_node_is_part_of_another() -> None:
    module, _ = residual_block()
    made = plan(module, load_description("rk3588"))
    conv, add, relu, _flat = made.nodes
    assert (add.part_of, relu.part_of) == ("conv", "conv")
    assert conv.layout == ("NC1HWC2<8>", (1, 8, 8, 8, 8))
    assert made.seconds == pytest.approx(conv.cost.seconds or 0)
    assert made.memory is not None and made.memory.bytes == made.memory.lower_bound == 2 * 64 * 64 * 2


def test_tiles_and_layouts_of_ascend() -> None:
    module, _ = residual_block()
    made = plan(module, ASCEND).to_json()
    conv, add = made["nodes"][0], made["nodes"][1]
    assert conv["layout"] == {"name": "NC1HWC0<16>", "shape": [1, 4, 8, 8, 16]}
    assert conv["tiles"][0]["cores"] == 2 and conv["tiles"][0]["balance"] == 1
    assert add["tiles"][0]["bytes_on_chip"]["vector"] <= 253952
    assert made["activations"]["lower_bound"] <= made["activations"]["bytes"]
    assert json.loads(json.dumps(made)) == made


def test_open_sizes_have_no_plan() -> None:
    graph = Graph()
    x = graph.add_input("x", parse_type("f32[n,4]"))
    graph.add_output("y", graph.append(Relu().node(x)).output)
    made = plan(Module("m", {"main": graph}), ASCEND)
    assert made.nodes == () and "fixed shapes" in made.notes[0]


# ------------------------------------------------------------------------------------------------- chips of their own
def chip(**changes: object) -> DeviceDescription:
    """A chip with on-chip memory, one behind it, and its peak."""
    memory = (Memory("L2", bytes=1 << 20), Memory("HBM", bytes=1 << 30, per="board", bandwidth=1e9))
    compute = attrs.evolve(ASCEND.compute, clock=0.0)
    return attrs.evolve(ASCEND, memory=memory, unit=(), compute=compute, **changes)  # type: ignore[arg-type]


def test_a_model_is_spread_over_chips_that_have_no_other_memory() -> None:
    small = chip(plan=PlanModel(resident="L2"), cost=attrs.evolve(ASCEND.cost, memory="L2"))
    fitting = plan(chain(4, 256), small).residency
    assert fitting is not None and fitting.fits and fitting.weights == 4 * 256 * 256 * 2
    made = plan(chain(12, 256), small)
    assert made.residency is not None and not made.residency.fits
    assert [s.weights + s.activations <= 1 << 20 for s in made.residency.stages] == [True, True]
    assert any("pipeline of 2 chips" in note for note in made.notes)


def test_pages_migrate_ahead_of_the_nodes() -> None:
    pages = Pages(bytes=4096, fast="L2", slow="HBM", host_bandwidth=1e8)
    made = plan(
        chain(12, 256, rows=2048), chip(plan=PlanModel(pages=pages), cost=attrs.evolve(ASCEND.cost, memory="HBM"))
    )
    assert made.pages is None or made.pages.warm is None  # 2048 rows of 256 do not fit 1 MiB with the result
    small = plan(
        chain(12, 256, rows=256), chip(plan=PlanModel(pages=pages), cost=attrs.evolve(ASCEND.cost, memory="HBM"))
    )
    assert small.pages is not None and small.pages.warm is not None and small.pages.cold is not None
    for without, ahead in (small.pages.warm, small.pages.cold):
        assert ahead.stalled < without.stalled and ahead.seconds < without.seconds
    weights = {m.tensor for m in small.pages.warm[1].migrations if m.tensor.startswith("weights")}
    assert len(weights) == 12
    table = small.pages.to_json()
    assert table["confidence"] == "uncertain" and table["warm"]["with_prefetch"]["peak_pages"] <= 256


def test_a_node_that_needs_more_pages_than_there_are_is_told() -> None:
    pages = Pages(bytes=4096, fast="L2", slow="HBM")
    made = plan(chain(1, 1024), chip(plan=PlanModel(pages=pages)))
    assert made.pages is not None and "product 0 needs" in made.pages.refused


# ------------------------------------------------------------------------------------------------------------ artifacts
def linear() -> Module:
    graph = Graph()
    x = graph.add_input("x", parse_type("f32[1,16,32]"))
    product = graph.append(MatMul().node(x, constant(np.ones((32, 16), np.float32)), name="product"))
    graph.add_output("y", graph.append(Relu().node(product.output, name="relu")).output)
    return Module("m", {"main": graph})


@pytest.mark.parametrize("target", ["rk3588", "ascend310"])
def test_compiling_for_an_accelerator_writes_the_plan(target: str, tmp_path: Path) -> None:
    artifact = uair.compile(linear(), target, output=tmp_path / "artifact")
    table = json.loads(artifact.file(PLAN).read_text())
    assert table["target"] == target and PLAN in artifact.manifest["files"]
    assert table["nodes"][0]["cost"]["cycles"] > 0


def test_there_is_none_for_the_cpu(tmp_path: Path) -> None:
    artifact = uair.compile(linear(), "cpu", output=tmp_path / "artifact")
    assert PLAN not in artifact.manifest["files"]
    assert not load_description("cpu").has_plan
