"""The window around a node in error messages."""

from __future__ import annotations

import attrs
import pytest

from tests.text.toys import Choose, Mix, Twice
from uair.errors import UairError, VerificationError
from uair.ir import DType, Graph, Location, Module, Tensor, TensorType
from uair.pipeline import Pass, PassContext, PassManager, Spec, SpecViolation
from uair.text import print_graph, print_window

F32 = TensorType(DType.F32, (2,))


def chain(length: int = 6) -> Graph:
    graph = Graph()
    x = graph.add_input("x", F32)
    for i in range(length):
        node = Twice().node(x)
        node.name, node.loc = f"layer{i}", Location.of(f"layer{i}", "Mul")
        node.output.name = f"t{i}"
        x = graph.append(node).output
    graph.add_output("y", x)
    return graph


def test_window() -> None:
    graph = chain()
    assert (
        print_window(graph, list(graph)[3], around=1)
        == """\
     4 |   %t2 = Twice(%t1) : f32[2] loc("layer2" Mul)
>    5 |   %t3 = Twice(%t2) : f32[2] loc("layer3" Mul)
      |         ^^^^^ from Mul 'layer3'
     6 |   %t4 = Twice(%t3) : f32[2] loc("layer4" Mul)"""
    )
    lines = print_graph(graph).splitlines()
    assert lines[4] == '  %t3 = Twice(%t2) : f32[2] loc("layer3" Mul)'


def test_first_and_last_node() -> None:
    graph = chain()
    assert print_window(graph, list(graph)[0]).startswith("     1 | graph @main(")
    assert print_window(graph, list(graph)[-1]).endswith("     8 | }")
    assert "> " not in print_window(graph, list(graph)[-1]).replace("\n>    7", "").split("->")[0]


def test_node_of_no_graph_and_of_a_nested_graph() -> None:
    loose = Twice().node(Tensor(F32, "x"), name="loose")
    assert print_window(Graph(), loose).startswith(">      | %0 = Twice(outside(%x: f32[2]))")
    graph = Graph()
    x = graph.add_input("x", F32)
    inner = Graph("then")
    node = inner.append(Mix().node(x))
    graph.append(Choose(then_branch=inner).node(x))
    assert ">    2 |   %0 = Mix(outside(%x: f32[2])) : f32[2]" in print_window(inner, node)


def test_long_lines_are_cut() -> None:
    graph = chain(1)
    node = graph.append(Mix(words=("word" * 100,)).node(graph.inputs[0]))
    assert max(len(line) for line in print_window(graph, node).splitlines()) < 130


@attrs.frozen
class Break(Pass):
    """Record a wrong type."""

    def run(self, module: Module, context: PassContext) -> bool:
        list(module.main)[2].outputs[0].type = F32.with_dtype(DType.I8)
        return True


@attrs.frozen
class Nothing(Pass):
    """Change nothing."""

    def run(self, module: Module, context: PassContext) -> bool:
        return False


def failure(module: Module, *passes: Pass) -> UairError:
    with pytest.raises(VerificationError) as caught:
        PassManager(passes).run(module)
    return caught.value


def test_the_pass_manager_adds_the_window() -> None:
    error = failure(Module("m", {"main": chain()}), Nothing(), Break())
    assert error.pass_name == "break"
    assert '>    4 |   %t2 = Twice(%t1) : i8[2] loc("layer2" Mul)' in str(error)
    assert "^^^^^ from Mul 'layer2'" in str(error)


def test_an_invalid_input_has_a_window_too() -> None:
    graph = chain()
    first, second, *_ = graph
    graph.move_before(first, second)
    error = failure(Module("m", {"main": graph}), Nothing())
    assert ">    2 |   %t1 = Twice(%t0)" in error.window


def test_a_broken_spec_has_a_window() -> None:
    spec = Spec("no-third", forbids_tensor=lambda t: "it is the third" if t.name == "t2" else "")

    @attrs.frozen
    class Promise(Nothing):
        ensures = (spec,)

    error = failure(Module("m", {"main": chain()}), Promise())
    assert isinstance(error, SpecViolation)
    assert ">    4 |   %t2" in error.window


def test_an_output_that_no_node_defines() -> None:
    graph = chain(2)
    graph.set_output(0, Tensor(F32, "stranger"))
    error = failure(Module("m", {"main": graph}), Nothing())
    assert ">    4 | }" in error.window
