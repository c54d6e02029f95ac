"""One broken graph for every rule that the verifier has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from uair.errors import ArityError, TypeInferenceError, TypeMismatch, VerificationError
from uair.ir import ArrayData, DType, Graph, Node, Tensor, TensorType, constant
from uair.ir.verify import verify_graph
from uair.ops import Add, MatMul, Relu

F32_2 = TensorType(DType.F32, (2,))


def good() -> Graph:
    graph = Graph()
    x = graph.add_input("x", F32_2)
    y = graph.append(Node(Relu(), (x,), name="first")).output
    z = graph.append(Node(Add(), (y, constant(np.ones(2, np.float32), "c")), name="second")).output
    graph.add_output("z", z)
    return graph


def test_a_good_graph_passes() -> None:
    verify_graph(good())


def operand_defined_later(graph: Graph) -> None:
    first, second = graph
    first.set_input(0, second.output)


def operand_of_another_graph(graph: Graph) -> None:
    first, _ = graph
    first.set_input(0, good().inputs[0])


def unregistered_use(graph: Graph) -> None:
    first, _ = graph
    first._inputs = (Tensor(F32_2),)  # pyright: ignore[reportPrivateUsage]


def wrong_type(graph: Graph) -> None:
    first, _ = graph
    first.output.type = TensorType(DType.F32, (3,))


def wrong_dtype(graph: Graph) -> None:
    _, second = graph
    second.output.type = TensorType(DType.F64, (2,))


def wrong_producer(graph: Graph) -> None:
    first, second = graph
    second.output.producer = first


def wrong_result_count(graph: Graph) -> None:
    first, _ = graph
    first.outputs = (*first.outputs, Tensor(F32_2, producer=first, index=1))


def constant_of_another_type(graph: Graph) -> None:
    _, second = graph
    c = second.inputs[1]
    assert c is not None
    c.data = ArrayData(np.ones(3, np.float32))


def input_with_data(graph: Graph) -> None:
    graph.inputs[0].data = ArrayData(np.ones(2, np.float32))


def two_outputs_of_one_name(graph: Graph) -> None:
    graph.add_output("z", graph.inputs[0])


def unnamed_input(graph: Graph) -> None:
    graph.input_names.pop()


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (operand_defined_later, VerificationError, "operand 0 of .*first.* is defined later"),
        (operand_of_another_graph, VerificationError, "defined in another graph"),
        (unregistered_use, VerificationError, "does not know"),
        (wrong_type, TypeMismatch, r"recorded as f32\[3\], inferred is f32\[2\]"),
        (wrong_dtype, TypeMismatch, r"recorded as f64"),
        (wrong_producer, VerificationError, "names another producer"),
        (wrong_result_count, TypeMismatch, "has 2 results"),
        (constant_of_another_type, TypeMismatch, "constant"),
        (input_with_data, VerificationError, "has a producer or data"),
        (two_outputs_of_one_name, VerificationError, "two outputs are called 'z'"),
        (unnamed_input, VerificationError, "needs one name"),
    ],
)
def test_broken_graphs_are_refused(
    damage: Callable[[Graph], None], error: type[VerificationError], message: str
) -> None:
    graph = good()
    damage(graph)
    with pytest.raises(error, match=message):
        verify_graph(graph)


def test_operands_that_do_not_fit_are_found_again() -> None:
    graph = Graph()
    a = graph.add_input("a", TensorType(DType.F32, (2, 3)))
    b = graph.add_input("b", TensorType(DType.F32, (3, 4)))
    product = graph.append(Node(MatMul(), (a, b), name="product"))
    graph.add_output("y", product.output)
    b.type = TensorType(DType.F32, (5, 4))
    with pytest.raises(TypeInferenceError, match="MatMul"):
        verify_graph(graph)


def test_a_missing_operand_is_found() -> None:
    graph = good()
    _, second = graph
    second.set_input(1, None)
    with pytest.raises(ArityError, match="'b'"):
        verify_graph(graph)
