"""Names of the sizes that nothing is known about."""

from __future__ import annotations

import attrs
from onnx import TensorProto, helper

import uair
from tests.text.toys import TOYS
from uair.frontends.onnx import load_bytes
from uair.ir.dims import symbol
from uair.ir.dtype import DType
from uair.ir.graph import Graph
from uair.ir.inference import number_unknowns
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import Concat, Neg, NonZero, Reshape
from uair.pipeline import Pass, PassContext, PassManager
from uair.text import parse_module, print_module


def sketch(inputs: str = "%x: f32[4]") -> Module:
    """Two sizes that only the data decide, and a formula of both."""
    return parse_module(
        f"{inputs}\n%a = NonZero(%x)\n%b = NonZero(%x)\n%c = Concat(%b, %a) {{axis = 1}}\nreturn %a, %b, %c"
    )


def output_types(module: Module) -> list[str]:
    return [str(t.type) for t in module.main.outputs]


def test_sizes_are_numbered_in_order_of_first_appearance() -> None:
    texts: list[str] = []
    for _ in range(12):  # on the way u9 and u10 meet in one formula
        module = sketch()
        c = module.main.outputs[2]
        flat = module.main.append(Reshape(shape=(2 * c.type.dims[1] - c.type.dims[1],)).node(c))
        module.main.add_output("flat", flat.output)
        number_unknowns(module)
        assert output_types(module) == ["i64[1,u1]", "i64[1,u2]", "i64[1,u1+u2]", "i64[u1+u2]"]
        texts.append(print_module(module))
    assert "{shape = [u1+u2]}" in texts[0]
    assert len(set(texts)) == 1


def test_names_of_inputs_are_kept_and_passed_over() -> None:
    module = sketch("%x: f32[u2]  %y: f32[u70]")
    number_unknowns(module)
    assert [str(t.type) for t in module.main.inputs] == ["f32[u2]", "f32[u70]"]
    assert output_types(module) == ["i64[1,u1]", "i64[1,u3]", "i64[1,u1+u3]"]


def test_other_names_are_kept() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (symbol("n"), symbol("u_"), symbol("u1x"), 3)))
    graph.add_output("y", graph.append(Neg().node(x)).output)
    number_unknowns(Module("m", {"main": graph}))
    assert str(graph.outputs[0].type) == "f32[n,u_,u1x,3]"


def test_nested_graphs_share_the_numbers() -> None:
    text = """
    %c: bool[]
    %x: f32[u3]
    %a = "Twice"(%x) : f32[u80]
    %y = Choose(%c) (then_branch = @then() -> (%t: f32[u90,u80]) {
      %t = "Twice"(%a) : f32[u90,u80]
    }) : f32[u100]
    return %y
    """
    module = parse_module(text, context=TOYS)
    number_unknowns(module)
    printed = print_module(module)
    assert "%a = Twice(%x) : f32[u1]" in printed
    assert "Twice(%a) : f32[u4,u1]" in printed
    assert output_types(module) == ["f32[u2]"]


@attrs.frozen
class AddNonZero(Pass):
    """Appends an operator whose result's size is unknown."""

    name = "add-nonzero"

    def run(self, module: Module, context: PassContext) -> bool:
        graph = module.main
        found = graph.append(NonZero().node(graph.inputs[0])).output
        graph.add_output(f"found{len(graph)}", graph.append(Concat(axis=1).node(found, found)).output)
        return True


def test_two_runs_in_one_process_give_one_text() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["n"]), helper.make_node("NonZero", ["n"], ["y"])]
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3]),
        helper.make_tensor_value_info("y", TensorProto.INT64, [2, None]),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    texts: list[str] = []
    for _ in range(11):
        module = load_bytes(content)
        PassManager([AddNonZero(), AddNonZero()]).run(uair.optimize(module))
        texts.append(print_module(module))
    assert "i64[1,2*u2]" in texts[0] or "i64[2,2*u2]" in texts[0]
    assert len(set(texts)) == 1
