"""The report over a module, on toys with known numbers and on real models."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import pytest

from tests import zoo
from uair.api import standard_passes
from uair.codegen.onnx.target import OnnxTarget
from uair.codegen.reference import ReferenceTarget
from uair.frontends.onnx import load
from uair.ir.module import Module
from uair.passes.bind_shapes import BindShapes
from uair.pipeline import PassManager
from uair.targets import CheckReport, Support, Target, check_module

TARGETS = ("ascend310", "rk3588", "cpu")


def target(name: str) -> Target:
    return ReferenceTarget(name) if name == "reference" else OnnxTarget(name)


def toy() -> Module:
    from tests.targets.helpers import tensor
    from uair.ir.graph import Graph
    from uair.ir.location import Location
    from uair.ops import LRN, Conv2D, MaxPool2D, Relu
    from uair.text import parse_type

    graph = Graph("main")
    x = graph.add_input("x", parse_type("f32[1,3,8,8]"))
    conv = graph.append(Conv2D(pads=(1, 1, 1, 1)).node(x, tensor("=f32[4,3,3,3]")))
    conv.loc = Location.of("conv1", "Conv")
    norm = graph.append(LRN(size=3, beta=0.6).node(conv.output))
    relu = graph.append(Relu().node(norm.output))
    graph.add_output("y", graph.append(MaxPool2D(kernel=(2, 2), strides=(2, 2)).node(relu.output)).output)
    return Module("toy", {"main": graph})


def test_numbers_of_a_toy() -> None:
    report = check_module(toy(), target("rk3588"))
    assert report.counts == {
        Support.SUPPORTED: 3, Support.PARTIAL: 1, Support.UNKNOWN: 0, Support.UNSUPPORTED: 0,
    }  # fmt: skip
    conv, norm = report.rows[:2]
    assert (conv.node, conv.op_type, conv.flops) == ("conv1", "Conv2D", 2 * 4 * 64 * 27)
    assert (norm.level, norm.node) == (Support.PARTIAL, "%1")
    assert "(uncertain)" in norm.source
    assert norm.flops is not None
    assert report.device_flops == report.flops - norm.flops
    assert report.parameter_bytes == 4 * 3 * 9 * 4
    assert report.verdict is Support.PARTIAL
    assert not report.fits
    assert [row.op_type for row in report.problems()] == ["LRN"]
    # f16, channels in blocks of 8: 8*64*2 bytes for x, c, n and r; two of them at a time
    assert report.peak_bytes == 2 * 8 * 64 * 2
    assert check_module(toy(), target("cpu")).peak_bytes == 2 * 4 * 64 * 4


def test_json_is_plain_and_complete() -> None:
    report = check_module(toy(), target("ascend310"))
    data = json.loads(json.dumps(report.to_json()))
    assert data["target"] == "ascend310"
    assert len(data["nodes"]) == 4
    assert {"support", "confidence", "operator", "sources", "flops"} <= set(data["nodes"][0])
    assert "nodes" not in report.summary()
    assert report.summary()["supported"] == 4
    assert report.summary()["device_flops_share"] == 1.0


def test_open_shapes() -> None:
    from uair.ir.graph import Graph
    from uair.ops import Add, Relu, ShapeOf
    from uair.text import parse_type

    graph = Graph("main")
    x = graph.add_input("x", parse_type("f32[n,4]"))
    relu = graph.append(Relu().node(x))
    graph.add_output("y", graph.append(Add().node(relu.output, x)).output)
    graph.add_output("s", graph.append(ShapeOf().node(x)).output)
    report = check_module(Module("open", {"main": graph}), target("ascend310"))
    assert report.unbound == {"x": "f32[n,4]"}
    assert not report.fits
    assert (report.peak_bytes, report.device_share) == (None, None)
    assert check_module(Module("open", {"main": graph}), target("cpu")).unbound == {}


def test_constants_and_static_shapes_are_folded() -> None:
    from uair.ir.dtype import DType
    from uair.ir.graph import Graph, constant
    from uair.ops import Cast, Erf, Mul, ShapeOf
    from uair.text import parse_type

    graph = Graph("main")
    x = graph.add_input("x", parse_type("f32[3,4]"))
    shape = graph.append(ShapeOf().node(x))
    scale = graph.append(Cast(to=DType.F32).node(shape.output))
    first = graph.append(Erf().node(constant(2.0)))
    product = graph.append(Mul().node(scale.output, first.output))
    graph.add_output("y", product.output)
    report = check_module(Module("folded", {"main": graph}), target("rk3588"))
    assert [row.verdict.through for row in report.rows] == [("fold constants",)] * 4
    assert report.fits
    assert report.flops == 0


@pytest.mark.parametrize(
    ("model", "share"),
    [
        ("light_resnet50", {"ascend310": 1.0, "rk3588": 1.0, "cpu": 1.0}),
        ("light_squeezenet", {"ascend310": 1.0, "rk3588": 1.0, "cpu": 1.0}),
        ("light_inception_v1", {"ascend310": 1.0, "rk3588": 1.0, "cpu": 1.0}),  # LRN through a rewrite
    ],
)
def test_real_models(model: str, share: Mapping[str, float]) -> None:
    entry = zoo.models()[model]
    module = load(entry.path)
    PassManager([BindShapes(shapes=dict(entry.shapes)), *standard_passes()], []).run(module)
    reports: list[CheckReport] = []
    started = time.process_time()
    for name in (*TARGETS, "reference"):
        reports.append(check_module(module, target(name)))
    assert time.process_time() - started < 2.0, "a report is asked for interactively"
    for report in reports[:3]:
        assert report.device_share is not None
        assert report.device_share >= share[report.target] - 1e-9
        assert report.counts[Support.UNSUPPORTED] == 0
        assert report.unbound == {}
        assert report.peak_bytes is not None
        assert report.peak_bytes > 100_000
    assert reports[3].fits
    assert reports[1].fits == (share["rk3588"] == 1.0)
    assert all(row.sources for row in reports[0].rows if row.op_type == "Conv2D"), "original names"
