"""Models with control flow and values that are no tensors through the passes, the targets and quantization."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import uair
from uair.api import standard_passes
from uair.codegen.reference import run
from uair.errors import TypeInferenceError
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.passes.bind_shapes import bind_shapes
from uair.passes.quantization.placement import plan_quantization
from uair.passes.quantize_int8 import QuantizeInt8
from uair.pipeline import PassContext, PassManager
from uair.rewrite import Fuel
from uair.targets import CheckReport, Support, load_description
from uair.text import parse_module

TEXT = """uair 1
module @m {
  constant @w1 = %s : f32[4,3,3,3]
  constant @w2 = %s : f32[4,4,3,3]
  constant @scale = [1.5,0.5,2.0,1.0] : f32[4]
  constant @shift = [0.5,-0.5,0.0,1.0] : f32[4]
  constant @mean = [0.1,0.2,0.0,0.3] : f32[4]
  constant @variance = [1.0,2.0,0.5,1.5] : f32[4]
  constant @zero = 0.0 : f32[]
  constant @three = 3 : i64[]
  graph @main(%%x: f32[1,3,8,8]) -> (%%y: %s) {
    %%a = Conv2D(%%x, @w1) {pads = [1,1,1,1]} : f32[1,4,8,8] loc("stem" Conv)
%s
  }
}
"""

BRANCHES = """
    %mean = ReduceMean(%x) {keepdims = false} : f32[]
    %c = Greater(%mean, @zero) : bool[]
    %r = If(%c) (
      then_branch = @then() -> (%t1: f32[1,4,8,8]) {
        %t0 = Conv2D(%a, @w2) {pads = [1,1,1,1]} : f32[1,4,8,8] loc("inner" Conv)
        %t1 = BatchNorm(%t0, @scale, @shift, @mean, @variance) : f32[1,4,8,8]
      },
      else_branch = @els() -> (%e1: f32[1,4,8,8]) {
        %e0 = Sigmoid(%a) : f32[1,4,8,8]
        %e1 = Mul(%a, %e0) : f32[1,4,8,8]
      }
    ) : f32[1,4,8,8] loc("branch" If)
    %y = Conv2D(%r, @w2) {pads = [1,1,1,1]} : f32[1,4,8,8] loc("head" Conv)
"""

LOOP = """
    %y = Loop(@three, none, %a) (
      body = @body(%i: i64[], %go: bool[], %s: f32[1,4,8,8]) -> (%go2: bool[], %s2: f32[1,4,8,8]) {
        %go2 = Identity(%go) : bool[]
        %n = Neg(%a) : f32[1,4,8,8]
        %m = Neg(%n) : f32[1,4,8,8]
        %t = Tanh(%s) : f32[1,4,8,8]
        %s2 = Add(%t, %m) : f32[1,4,8,8]
      }
    ) : f32[1,4,8,8]
"""

SEQUENCE = """
    %r = Relu(%a) : f32[1,4,8,8]
    %y = SequenceConstruct(%r, %a) : seq<f32[1,4,8,8]>
"""

FOUND = """
    %c = Greater(%a, @zero) : bool[1,4,8,8]
    %found = NonZero(%c) : i64[4,u1]
    %places = Transpose(%found) {perm = [1,0]} : i64[u1,4]
    %y = GatherND(%a, %places) : f32[u1]
"""


def weights(seed: int, *shape: int) -> str:
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32) * 0.3
    return str(array.reshape(-1).tolist()).replace(" ", "")


def model(body: str, result: str = "f32[1,4,8,8]") -> Module:
    module = parse_module(TEXT % (weights(1, 4, 3, 3, 3), weights(2, 4, 4, 3, 3), result, body))
    verify(module)
    return module


def images(count: int = 4) -> list[dict[str, Array]]:
    rng = np.random.default_rng(5)
    return [{"x": rng.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("body", [BRANCHES, LOOP])
def test_fuel_counts_inside_of_regions_and_every_prefix_computes_the_same(body: str) -> None:
    module, fuel = model(body), Fuel(keep_log=True)
    PassManager(standard_passes(), [], PassContext(fuel=fuel)).run(module.clone())
    assert {"fold-batch-norm", "drop-double-negation"} & {a.rule for a in fuel.log}
    for limit in range(fuel.used + 1):
        copy, spent = module.clone(), Fuel(limit)
        PassManager(standard_passes(), [], PassContext(fuel=spent)).run(copy)
        assert spent.used == limit
        for feeds in images():
            np.testing.assert_allclose(run(copy, feeds)["y"], run(module, feeds)["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("body", [BRANCHES, LOOP])
def test_what_is_compiled_for_the_cpu_computes_the_same(body: str, tmp_path: Path) -> None:
    """The graphs are legalised as the graph around them: opset 17 has no Swish."""
    module = model(body)
    artifact = uair.compile(module, target="cpu", output=tmp_path / "a")
    for feeds in images():
        np.testing.assert_allclose(uair.run(artifact, feeds)["y"], run(module, feeds)["y"], rtol=1e-4, atol=1e-5)


def test_layouts_reach_into_regions(tmp_path: Path) -> None:
    """What a branch sees of the graph around it is blocked there, and converted in the branch that needs it plain."""
    module = model(BRANCHES)
    uair.compile(module, target="ascend310", output=tmp_path / "a")
    compiled = uair.load(tmp_path / "a" / "model.uair")
    assert any(node.op_type == "Unpack" for graph in compiled.main.nested() for node in graph)
    for feeds in images():
        np.testing.assert_allclose(run(compiled, feeds)["y"], run(module, feeds)["y"], rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------------------- reports
def report(module: Module, target: str) -> CheckReport:
    return uair.check(module, target)[0]


def test_memory_of_control_flow_is_that_of_its_graphs_and_of_what_they_see() -> None:
    branches, loop = report(model(BRANCHES), "cpu").peak_bytes, report(model(LOOP), "cpu").peak_bytes
    size = 4 * 64 * 4
    assert branches == 3 * size + 1, "%a that both branches read, the result, the result of a branch, the condition"
    assert loop is not None
    assert 4 * size <= loop < 5 * size, "%a that the body reads, the result, and two values of the body"


def test_control_flow_with_constant_operands_is_not_folded() -> None:
    """Its body reads what is not constant."""
    body = """
    %y = Loop(@three, none, @scale) (
      body = @body(%i: i64[], %go: bool[], %s: f32[4]) -> (%go: bool[], %s2: f32[4]) {
        %m = ReduceMean(%a) {axes = [0,2,3], keepdims = false} : f32[4]
        %s2 = Add(%s, %m) : f32[4]
      }
    ) : f32[4]
    """
    module = model(body, "f32[4]")
    (row,) = [row for row in report(module, "rk3588").rows if row.op_type == "Loop"]
    assert "fold constants" not in row.verdict.through


def test_a_list_of_constants_is_not_folded() -> None:
    module = model(
        "    %s = SequenceConstruct(@scale, @shift) : seq<f32[4]>\n"
        "    %y = ConcatFromSequence(%s) {axis = 0} : f32[?]".replace("?", "u1"),
        "f32[u1]",
    )
    rows = {row.op_type: row for row in report(module, "ascend310").rows}
    assert rows["SequenceConstruct"].level is Support.UNSUPPORTED
    assert "takes tensors only" in rows["SequenceConstruct"].reason


# -------------------------------------------------------------------------------------------------------- quantization
def quantized(module: Module, **options: object) -> tuple[Module, dict[str, object]]:
    copy, context = module.clone(), PassContext()
    quantizer = QuantizeInt8(samples=images(), **options)  # type: ignore[arg-type]
    PassManager([*standard_passes(), quantizer], [], context).run(copy)
    verify(copy)
    return copy, context.reports["quantization"]


@pytest.mark.parametrize("placement", ["compute", "all"])
@pytest.mark.parametrize("body", [BRANCHES, LOOP])
def test_regions_stay_float_and_right(body: str, placement: str) -> None:
    module = model(body)
    copy, _ = quantized(module, placement=placement)
    assert any(node.op_type == "Quantize" for node in copy.main)
    assert not any(node.op_type in ("Quantize", "Dequantize") for graph in copy.main.nested() for node in graph)
    for feeds in images():
        want, got = run(module, feeds)["y"], run(copy, feeds)["y"]
        assert np.abs(got - want).max() < 0.05 * np.abs(want).max()


def test_the_report_names_what_stays_float_in_regions() -> None:
    _, found = quantized(model(BRANCHES))
    skipped = found["skipped"]
    assert isinstance(skipped, list)
    assert [(each["operator"], each["reason"]) for each in skipped] == [
        ("Conv2D", "it is in a graph that control flow runs")
    ]
    quantized(model(BRANCHES), skip=("inner",))  # a name in there is no name that fits nothing


@pytest.mark.parametrize(("body", "result"), [(SEQUENCE, "seq<f32[1,4,8,8]>"), (FOUND, "f32[u1]")])
@pytest.mark.parametrize("method", ["auto", "minmax"])
def test_outputs_that_cannot_be_compared_are_left_out(body: str, result: str, method: str) -> None:
    """Lists, and tensors whose size the data decides, which differs between the float and the quantized model."""
    copy, found = quantized(model(body, result), range=method)
    summary = found["summary"]
    assert isinstance(summary, dict)
    assert summary["quantized"] == 1
    assert summary["outputs"] == {}
    assert len(run(copy, images()[0])["y"]) > 0
    if method == "auto":
        assert all(loss > 0 for loss in summary["trials"].values()), "what the output is made of is compared"


def test_scales_that_two_resizes_share_do_not_make_them_share_parameters() -> None:
    text = """uair 1
module @m {
  constant @w = [1.0,0.5,0.25,2.0] : f32[2,2,1,1]
  graph @main(%x: f32[1,2,4,4], %z: f32[1,2,4,4], %s: f32[4]) -> (%a: f32[u1,2,u3,u4], %b: f32[u5,2,u7,u8]) {
    %x2 = Resize(%x, none, %s) : f32[u1,u2,u3,u4]
    %z2 = Resize(%z, none, %s) : f32[u5,u6,u7,u8]
    %a = Conv2D(%x2, @w) : f32[u1,2,u3,u4]
    %b = Conv2D(%z2, @w) : f32[u5,2,u7,u8]
  }
}
"""
    graph, described = parse_module(text).main, load_description("rk3588").quantization
    assert described is not None
    groups = plan_quantization(graph, described.scheme).groups
    x, z, scales = graph.inputs
    assert groups[x] is not groups[z]
    assert scales not in groups


def test_a_concat_outside_of_a_loop_is_not_joined_again_inside() -> None:
    body = """
    %b = Concat(%a, %a) {axis = 1} : f32[1,8,8,8]
    %y = Loop(@three, none, %a) (
      body = @body(%i: i64[], %go: bool[], %s: f32[1,4,8,8]) -> (%go: bool[], %s2: f32[1,4,8,8]) {
        %c = Concat(%b, %s) {axis = 1} : f32[1,12,8,8]
        %s2 = Slice(%c) {axes = [1], starts = [2], ends = [10], steps = [2]} : f32[1,4,8,8]
      }
    ) : f32[1,4,8,8]
    """
    module = uair.optimize(model(body))
    assert [node.op_type for node in module.main] == ["Conv2D", "Concat", "Loop"]
    (inner,) = module.main.nested()
    assert [node.op_type for node in inner] == ["Concat", "Slice"]


def test_samples_of_several_lengths_are_compared() -> None:
    """Axis 1 of the output is no channels when its extent differs from sample to sample."""
    text = """uair 1
module @m {
  constant @w = [1.0,0.5,0.25,2.0,-1.0,0.75] : f32[3,2]
  graph @main(%x: f32[1,n,3]) -> (%y: f32[1,n,2]) {
    %y = MatMul(%x, @w) : f32[1,n,2]
  }
}
"""
    rng, context = np.random.default_rng(1), PassContext()
    feeds = [{"x": rng.normal(size=(1, n, 3)).astype(np.float32)} for n in (3, 5, 2)]
    PassManager([QuantizeInt8(samples=feeds)], [], context).run(parse_module(text))
    summary = context.reports["quantization"]["summary"]
    assert summary["quantized"] == 1
    assert summary["outputs"]["y"]["sqnr_db"] > 30


ONLY_ONE_FITS = """
%c: bool[]
%x: f32[1,n]
%y = If(%c) (
  then_branch = @two() -> (%a: f32[2,2]) {
    %a = Reshape(%x) {shape = [2,2]} : f32[2,2]
  },
  else_branch = @three() -> (%b: f32[3,3]) {
    %b = Reshape(%x) {shape = [3,3]} : f32[3,3]
  }
) : f32[*] name("shapes")
"""


@pytest.mark.parametrize(("size", "taken", "shape"), [(4, "true", (2, 2)), (9, "false", (3, 3))])
def test_a_branch_that_the_bound_sizes_keep_from_running_is_dropped(
    size: int, taken: str, shape: tuple[int, ...]
) -> None:
    module = parse_module(ONLY_ONE_FITS.replace("f32[*]", "f32[u1,u1]"))
    notes: list[str] = []
    bind_shapes(module, {"x": (1, size)}, notes=notes)
    verify(module)
    assert [n.op_type for n in module.main] == ["Reshape"]
    assert module.main.outputs[0].type.shape == shape
    assert notes == [f"If 'shapes': with these sizes only the branch for {taken} can run"]


def test_no_branch_fits() -> None:
    with pytest.raises(TypeInferenceError, match="Reshape"):
        bind_shapes(parse_module(ONLY_ONE_FITS.replace("f32[*]", "f32[u1,u1]")), {"x": (1, 5)})


def test_a_size_that_only_an_attribute_still_names_is_bound_too() -> None:
    """The frontends put the size of a result into attributes elsewhere: no operand leads from one to the other."""
    text = """
%a: f32[n]
%b: f32[m]
%sum = Add(%a, %b) : f32[s]
%ones = Expand(@one) {shape = [s]} : f32[s]
%both = Concat(%sum, %ones) {axis = 0} : f32[2*s]
"""
    module = parse_module("constant @one = 1.0 : f32[]\n" + text)
    bind_shapes(module, {"a": (3,), "b": (1,)})
    verify(module)
    assert [t.type.shape for node in module.main for t in node.outputs] == [(3,), (3,), (6,)]
    got = run(module, {"a": np.arange(3, dtype=np.float32), "b": np.ones(1, np.float32)})
    assert got["both"].tolist() == [1, 2, 3, 1, 1, 1]


def test_a_condition_on_sizes_decides_before_the_branches_are_refined() -> None:
    text = """
%x: f32[n,2]
%size = ShapeOf(%x) {start = 0, end = 1} : i64[1]
%one = Equal(%size, @one) : bool[1]
%y = If(%one) (
  then_branch = @then() -> (%a: f32[2]) {
    %a = Squeeze(%x) {axes = [0]} : f32[2]
  },
  else_branch = @other() -> (%x: f32[n,2]) {
  }
) : f32[*]
"""
    module = parse_module("constant @one = [1] : i64[1]\n" + text)
    for size, kinds in ((1, ["ShapeOf", "Equal", "Squeeze"]), (3, ["ShapeOf", "Equal"])):
        copy = module.clone()
        notes: list[str] = []
        bind_shapes(copy, {"x": (size, 2)}, notes=notes)
        verify(copy)
        assert [n.op_type for n in copy.main] == kinds
        assert not notes
