"""Groups of what a device computes as one: which nodes they have, and that they change nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import uair
from tests import zoo, zoo_onnx
from uair.codegen.reference import run
from uair.ir.compare import graph_difference
from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ir.verify import verify
from uair.ops import Add, Clip, Conv2D, Dequantize, LeakyRelu, Mul, Quantize, Relu, Reshape, Sigmoid
from uair.ops.base import Operator
from uair.passes.form_groups import FormGroups, InlineGroups
from uair.pipeline import Pass, PassContext, PassManager
from uair.rewrite import Fuel
from uair.targets import load_description
from uair.targets.steps import StepFinder
from uair.text import parse_module, print_module

HEAD = """uair 1
module @m {
  constant @w = splat<0.25> : f32[4,4,1,1]
  constant @v = splat<0.5> : f32[4,4]
  graph @main(%x: f32[1,4,6,6], %z: f32[2,4]) -> (%y: f32[?]) {
"""


def module_of(body: str, result: str = "f32[1,4,6,6]") -> Module:
    return parse_module(HEAD.replace("f32[?]", result) + body + "\n  }\n}\n")


def grouped(module: Module, target: str = "cpu") -> Module:
    return PassManager([FormGroups(target=target)]).run(module)


def inlined(module: Module) -> Module:
    return PassManager([InlineGroups()]).run(module)


def shape_of(graph: Graph) -> list[str]:
    """The operators of a graph; those of a group joined."""
    bodies = [getattr(node.op, "body", None) for node in graph]
    return [
        node.op_type if body is None else "+".join(inner.op_type for inner in body)
        for node, body in zip(graph, bodies, strict=True)
    ]


def drawn(module: Module) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    named = zip(module.main.input_names, module.main.inputs, strict=True)
    return {name: generator.standard_normal(static(t.type.dims)).astype(t.type.dtype.numpy) for name, t in named}


RESIDUAL = """
    %a = Conv2D(%x, @w) : f32[1,4,6,6] loc("first" Conv)
    %r = Relu(%a) : f32[1,4,6,6] loc("second" Relu)
    %b = Conv2D(%r, @w) : f32[1,4,6,6] loc("third" Conv)
    %s = Add(%b, %r) : f32[1,4,6,6] loc("fourth" Add)
    %y = Relu(%s) : f32[1,4,6,6] loc("fifth" Relu)
"""


def test_a_group_holds_the_nodes_as_they_were() -> None:
    module = module_of(RESIDUAL)
    before = module.clone()
    grouped(module)
    assert shape_of(module.main) == ["Conv2D+Relu", "Conv2D+Add+Relu"]
    first, second = module.main
    assert [s.name for s in second.loc.sources] == ["third", "fourth", "fifth"]
    assert second.inputs == (first.output,)  # the branch and what skips it are one operand
    assert second.op.flops([], []) == sum(
        n.op.flops([None if t is None else t.type for t in n.inputs], [t.type for t in n.outputs])
        for n in list(before.main)[2:]
    )
    text = print_module(module)
    assert print_module(parse_module(text)) == text
    assert not graph_difference(inlined(module).main, before.main)


@pytest.mark.parametrize(
    ("target", "body", "shape"),
    [
        # onnxruntime fuses a sum and then one activation; what follows stays
        ("cpu", "%a = Conv2D(%x, @w)\n%b = Relu(%a)\n%y = Sigmoid(%b)", ["Conv2D+Relu", "Sigmoid"]),
        ("cpu", "%a = Conv2D(%x, @w)\n%b = Relu(%a)\n%y = Add(%b, %x)", ["Conv2D+Relu", "Add"]),
        ("cpu", "%a = Conv2D(%x, @w)\n%y = Swish(%a)", ["Conv2D", "Swish"]),
        ("cpu", "%a = Conv2D(%x, @w)\n%y = Gelu(%a)", ["Conv2D", "Gelu"]),
        # Rockchip's compiler takes any number
        ("rk3588", "%a = Conv2D(%x, @w)\n%b = Relu(%a)\n%y = Add(%b, %x)", ["Conv2D+Relu+Add"]),
        ("rk3588", "%a = Conv2D(%x, @w)\n%s = Sigmoid(%a)\n%y = Mul(%a, %s)", ["Conv2D+Sigmoid+Mul"]),
        # the sum is the later convolution's, and the activation of one result is no other's
        ("rk3588", "%a = Conv2D(%x, @w)\n%b = Conv2D(%x, @w)\n%y = Add(%a, %b)", ["Conv2D", "Conv2D+Add"]),
        ("cpu", "%a = Conv2D(%x, @w)\n%b = Relu(%a)\n%y = Add(%a, %b)", ["Conv2D", "Relu", "Add"]),
        ("ascend310", "%a = Conv2D(%x, @w)\n%b = Relu(%a)\n%y = Sigmoid(%b)", ["Conv2D+Relu", "Sigmoid"]),
        ("reference", "%a = Conv2D(%x, @w)\n%y = Relu(%a)", ["Conv2D", "Relu"]),
    ],
)
def test_what_a_target_computes_as_one(target: str, body: str, shape: list[str]) -> None:
    lines = "\n".join(f"    {line} : f32[1,4,6,6]" for line in body.split("\n"))
    module = module_of(lines)
    before = module.clone()
    assert shape_of(grouped(module, target).main) == shape
    feeds = drawn(before)
    assert np.array_equal(run(before, feeds)["y"], run(module, feeds)["y"])
    assert not graph_difference(inlined(module).main, before.main)


@pytest.mark.parametrize(
    ("lines", "groups"),
    [
        (
            ["%a = Conv2D(%x, @w)", "%b = Conv2D(%x, @w)", "%p = Relu(%a)", "%q = Relu(%b)", "%y = Add(%p, %q)"],
            ["ap", "bqy"],
        ),
        (["%b = Conv2D(%x, @w)", "%a = Conv2D(%x, @w)", "%s = Add(%a, %x)", "%y = Add(%s, %b)"], ["as", "by"]),
    ],
)
def test_a_sum_of_two_products_is_part_of_one(lines: list[str], groups: list[str]) -> None:
    module = module_of("\n".join(f"    {line} : f32[1,4,6,6]" for line in lines))
    found = StepFinder(load_description("rk3588")).groups(module.main)
    assert sorted("".join(n.output.name for n in group) for group in found) == groups
    feeds, before = drawn(module), module.clone()
    assert np.array_equal(run(before, feeds)["y"], run(grouped(module, "rk3588"), feeds)["y"])


def test_matrix_products_of_the_cpu() -> None:
    flat = "%a = Linear(%z, @v) : f32[2,4]\n%y = Softplus(%a) : f32[2,4]"
    assert shape_of(grouped(module_of(flat, "f32[2,4]")).main) == ["Linear+Softplus"]
    deep = "    %a = Linear(%x, @q) : f32[1,4,6,3]\n    %y = Relu(%a) : f32[1,4,6,3]"
    text = HEAD.replace("f32[?]", "f32[1,4,6,3]").replace("@v = splat<0.5> : f32[4,4]", "@q = splat<0.5> : f32[3,6]")
    assert shape_of(grouped(parse_module(text + deep + "\n}\n}\n")).main) == ["Linear", "Relu"]


def test_a_reader_inside_of_control_flow_is_no_member() -> None:
    module = module_of(
        """
    %a = Conv2D(%x, @w) : f32[1,4,6,6]
    %m = ReduceMean(%z) {keepdims = false} : f32[]
    %c = IsNaN(%m) : bool[]
    %y = If(%c) (
      then_branch = @t() -> (%t1: f32[1,4,6,6]) {
        %t1 = Relu(%a) : f32[1,4,6,6]
      },
      else_branch = @e() -> (%e1: f32[1,4,6,6]) {
        %e0 = Conv2D(%x, @w) : f32[1,4,6,6]
        %e1 = Relu(%e0) : f32[1,4,6,6]
      }
    ) : f32[1,4,6,6]
"""
    )
    before = module.clone()
    grouped(module)
    assert shape_of(module.main) == ["Conv2D", "ReduceMean", "IsNaN", "If"]
    assert {tuple(shape_of(g)) for g in module.main.nested()} >= {("Relu",), ("Conv2D+Relu",)}
    feeds = drawn(before)
    assert np.array_equal(run(before, feeds)["y"], run(module, feeds)["y"])
    assert not graph_difference(inlined(module).main, before.main)


INTEGERS = """
    %q = Quantize(%x, @s) {dtype = i8} : i8[1,4,6,6]
    %d = Dequantize(%q, @s) : f32[1,4,6,6]
    %k = Dequantize(@i, @s) : f32[4,4,1,1]
    %a = Conv2D(%d, %k) : f32[1,4,6,6]
    %r = Relu(%a) : f32[1,4,6,6]
    %p = Quantize(%r, @s) {dtype = i8} : i8[1,4,6,6]
    %y = Dequantize(%p, @s) : f32[1,4,6,6]
"""


def test_a_step_on_integers_has_its_conversions() -> None:
    constants = "constant @s = 0.125 : f32[]\n  constant @i = splat<3> : i8[4,4,1,1]\n  constant @w"
    text = (HEAD.replace("f32[?]", "f32[1,4,6,6]").replace("constant @w", constants)) + INTEGERS + "  }\n}\n"
    module = grouped(parse_module(text), "rk3588")
    assert shape_of(module.main) == ["Quantize", "Dequantize+Dequantize+Conv2D+Relu+Quantize", "Dequantize"]
    assert [t.type.dtype.value for t in list(module.main)[1].inputs if t is not None] == ["i8"]
    feeds = drawn(module)
    assert np.array_equal(run(parse_module(text), feeds)["y"], run(module, feeds)["y"])
    halves = [run(each, feeds, rounding={"": DType.F16})["y"] for each in (parse_module(text), module)]
    assert np.array_equal(*halves)


def test_nodes_that_stand_apart_come_together() -> None:
    module = module_of(
        """
    %a = Conv2D(%x, @w) {name = "a"} : f32[1,4,6,6]
    %b = Sigmoid(%x) : f32[1,4,6,6]
    %r = Relu(%a) : f32[1,4,6,6]
    %y = Add(%r, %b) : f32[1,4,6,6]
""".replace(' {name = "a"}', "")
    )
    before = module.clone()
    grouped(module)
    assert shape_of(module.main) == ["Sigmoid", "Conv2D+Relu", "Add"]
    assert [n.op_type for n in inlined(module).main] == ["Sigmoid", "Conv2D", "Relu", "Add"]
    feeds = drawn(before)
    assert np.array_equal(run(before, feeds)["y"], run(module, feeds)["y"])


def test_forming_twice_changes_nothing_more_and_another_target_forms_anew() -> None:
    module = grouped(module_of(RESIDUAL))
    once = module.clone()
    assert not graph_difference(grouped(module).main, once.main)
    assert shape_of(grouped(module, "reference").main) == ["Conv2D", "Relu", "Conv2D", "Add", "Relu"]


def test_other_passes_see_no_groups() -> None:
    class Look(Pass):
        seen: ClassVar[list[str]] = []

        def run(self, module: Module, context: PassContext) -> bool:
            self.seen.extend(node.op_type for node in module.main)
            return False

    module = grouped(module_of(RESIDUAL))
    PassManager([Look()]).run(module)
    assert Look.seen == ["Conv2D", "Relu", "Conv2D", "Add", "Relu"]
    assert module.applied[-1].changed  # the groups are gone
    feeds = drawn(module)
    found = [
        uair.quantize(each, uair.Int8(calibration=[feeds]), "rk3588").module.main
        for each in (grouped(module_of(RESIDUAL)), module_of(RESIDUAL))
    ]
    assert not graph_difference(*found)


def test_layers_are_compared_inside_of_groups() -> None:
    module = module_of(RESIDUAL)
    report = uair.diff(module.clone(), grouped(module), samples=[drawn(module)])
    assert [layer.errors.max_abs for layer in report.layers] == [0.0] * 5


def test_fuel_stops_it_between_groups() -> None:
    module = module_of(RESIDUAL)
    PassManager([FormGroups()], context=PassContext(fuel=Fuel(1))).run(module)
    assert shape_of(module.main) == ["Conv2D+Relu", "Conv2D", "Add", "Relu"]
    verify(module)


KINDS = ("conv", "relu", "clip", "sigmoid", "add", "mul", "swish", "reshape", "quantize", "leaky")


@st.composite
def graphs(draw: st.DrawFn) -> Module:
    """Images through convolutions and what may follow them, wired and returned at random."""
    graph = Graph()
    weight = constant(np.full((4, 4, 1, 1), 0.25, np.float32), "w")
    scale = constant(np.float32(0.125), "s")
    values = [graph.add_input("x", TensorType(DType.F32, (1, 4, 2, 2)))]
    for i, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=14))):
        x, other = (values[-1 - min(draw(st.integers(0, 3)), len(values) - 1)] for _ in range(2))
        name = f"{kind}{i}"
        applied: dict[str, tuple[list[Operator], list[Tensor]]] = {
            "conv": ([Conv2D()], [weight]),
            "relu": ([Relu()], []),
            "clip": ([Clip(min=-1.0, max=1.0)], []),
            "leaky": ([LeakyRelu(alpha=0.5)], []),
            "sigmoid": ([Sigmoid()], []),
            "add": ([Add()], [other]),
            "mul": ([Mul()], [other]),
            "swish": ([Sigmoid()], []),
            "reshape": ([Reshape(shape=(4, 1, 2, 2)), Reshape(shape=(1, 4, 2, 2))], []),
            "quantize": ([Quantize(dtype=DType.I8), Dequantize()], [scale]),
        }
        operators, more = applied[kind]
        made = x
        for j, op in enumerate(operators):
            location = Location.of(f"{name}.{j}", op.op_type)
            names = [f"{name}_{j}"]
            made = graph.append(Node(op, [made, *more], name=names[0], loc=location, output_names=names)).output
        if kind == "swish":
            made = graph.append(Node(Mul(), [x, made], name=f"{name}_2", output_names=[f"{name}_2"])).output
        values.append(made)
    returned = draw(st.lists(st.integers(0, len(values) - 1), max_size=2))
    for i in dict.fromkeys([*returned, len(values) - 1]):
        graph.add_output(f"y{i}", values[i])
    return Module("m", {"main": graph})


@settings(max_examples=150, deadline=None)
@given(graphs(), st.sampled_from(["cpu", "rk3588", "ascend310"]))
def test_any_graph_means_the_same_in_groups(module: Module, target: str) -> None:
    before = module.clone()
    assert_closed(module, target)
    grouped(module, target)
    feeds = drawn(before)
    wants, gots = run(before, feeds), run(module, feeds)
    assert all(np.array_equal(wants[n], gots[n], equal_nan=True) for n in wants)
    text = print_module(module)
    assert print_module(parse_module(text)) == text
    again = inlined(module.clone())
    assert Counter(map(str, lines_of(again))) == Counter(map(str, lines_of(before)))
    side_by_side = grouped(again.clone(), target)
    assert not graph_difference(side_by_side.main, module.main)
    assert not graph_difference(inlined(side_by_side).main, again.main)


@pytest.mark.parametrize("name", list(zoo.models()))
def test_the_zoo(name: str, tmp_path: Path) -> None:
    model = zoo.models()[name]
    before = uair.optimize(uair.load(model.path))
    feeds = model.feeds()
    for target in ("cpu", "rk3588"):
        module = before.clone()
        assert_closed(module, target)
        grouped(module, target)
        if target == "rk3588":  # the one with more groups
            wants, gots = run(before, feeds), run(module, feeds)
            assert all(np.array_equal(wants[n], gots[n], equal_nan=True) for n in wants)
        again = inlined(module.clone())
        assert Counter(map(str, lines_of(again))) == Counter(map(str, lines_of(before)))
        assert_same_in_onnxruntime(before, module, feeds, tmp_path)


def assert_closed(module: Module, target: str) -> None:
    """Nothing but a group reads what it has inside."""
    finder = StepFinder(load_description(target))
    for graph in module.all_graphs():
        for members in finder.groups(graph):
            inside = {t for n in members[:-1] for t in n.outputs}
            assert all(user in members for t in inside for user in t.users)


def assert_same_in_onnxruntime(plain: Module, module: Module, feeds: dict[str, np.ndarray], folder: Path) -> None:
    """The files of both are the same, or compute the same."""
    paths = folder / "plain.onnx", folder / "grouped.onnx"
    for each, path in zip((plain, module), paths, strict=True):
        uair.export_onnx(each, path)
    if paths[0].read_bytes() != paths[1].read_bytes():
        wants, gots = (zoo_onnx.session(path).run(None, feeds) for path in paths)
        assert not any(map(zoo_onnx.error, wants, gots))


def lines_of(module: Module) -> list[tuple[object, ...]]:
    """What is said of each node but where it stands."""
    return [
        (
            n.op_type,
            n.name,
            n.loc,
            tuple(t and (t.name, t.type) for t in n.inputs),
            [(t.name, t.type) for t in n.outputs],
        )
        for graph in module.all_graphs()
        for n in graph
    ]
