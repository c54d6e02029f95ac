"""Which nodes become kernels, and that a program computes what its nodes do."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.codegen.ascend.kernels.cases import error, inputs_of, kernels_of, legalised, reference
from tests.codegen.ascend.models import Builder
from uair import ops
from uair.codegen.ascend.kernels.group import Group, groups
from uair.codegen.ascend.kernels.program import Verb
from uair.ir import DType, Graph, Module
from uair.ops.base import Operator

FLOAT_MODELS = ["bert", "resnet50_real", "yolo", "ppocr_det", "basic_pitch"]


def types(group: Group) -> list[str]:
    return [node.op_type for node in group.nodes]


@pytest.mark.parametrize("interface", [DType.F16, DType.F32])
@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_kernels_compute_what_their_nodes_do(name: str, interface: DType) -> None:
    found = kernels_of(legalised(name), interface=interface, least=1)
    assert found
    limit = 1e-3 if interface is DType.F16 else 1e-5
    for named in found:
        kernel, nodes = named.uses[-1]
        inputs = inputs_of(kernel)
        got = kernel.program.evaluate(inputs)
        for value, ours, theirs in zip(kernel.program.outputs, got, reference(kernel, nodes, inputs), strict=True):
            assert value.dtype is interface
            assert error(ours, theirs) <= limit, named.name


def test_int8_kernels_compute_what_their_nodes_do() -> None:
    found = kernels_of(legalised("bert", int8=True), least=1)
    units = Counter(Verb.MATMUL in named.program.verbs for named in found)
    assert units[True] and units[False]
    for named in found:
        kernel, nodes = named.uses[0]
        if Verb.MATMUL in kernel.program.verbs:
            continue  # an IntegerLinear also adds its bias: the next test
        inputs = inputs_of(kernel)
        got = kernel.program.evaluate(inputs)
        for value, ours, theirs in zip(kernel.program.outputs, got, reference(kernel, nodes, inputs), strict=True):
            if value.dtype is DType.I8:  # a float that lies between two steps may be rounded either way
                assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
                assert (ours != theirs).mean() < 1e-3
            else:
                assert error(ours, theirs) <= 1e-3, named.name


def test_a_product_and_the_kernel_behind_it_are_the_integer_layer() -> None:
    module = legalised("bert", int8=True)
    found = kernels_of(module, least=1)
    (cube, node) = next(
        (kernel, nodes[0]) for n in found for kernel, nodes in n.uses if Verb.MATMUL in kernel.program.verbs
    )
    x, w = inputs_of(cube)
    (sums,) = cube.program.evaluate([x, w])
    (vector,) = (
        kernel for n in found for kernel, _ in n.uses if any(a.tensor is node.outputs[0] for a in kernel.arguments)
    )
    bias = next(a.values for a in vector.arguments if a.use == "bias")
    assert bias is not None
    tensors = [None if t is None else t.numpy() for t in node.inputs[1:]]
    shape = node.inputs[0].type.dims if node.inputs[0] is not None else ()
    (want,) = node.op.evaluate_all([x.reshape(shape), *tensors])
    np.testing.assert_array_equal(sums + bias, want.reshape(sums.shape))


def test_bert() -> None:
    found = kernels_of(legalised("bert"))
    uses = Counter(tuple(node.op_type for node in nodes) for each in found for _, nodes in each.uses)
    normalization = ("Add", "ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add")
    assert uses == {
        normalization: 8,
        ("Add", *normalization): 1,
        ("Mul", "Add", "Softmax"): 4,
        ("Div", "Erf", "Add", "Mul", "Mul"): 4,
        ("Sub", "Mul"): 1,  # the mask, which all layers read
    }


def test_resnet() -> None:
    found = kernels_of(legalised("resnet50_real"))
    uses = Counter(tuple(node.op_type for node in nodes) for each in found for _, nodes in each.uses)
    assert uses == {("Add", "Relu"): 16, ("Softmax",): 1}
    assert [each.program.sizes for each in found] == [(802816,), (401408,), (200704,), (100352,), (1000,)]


def test_a_path_out_of_a_kernel_and_back_divides_it() -> None:
    b = Builder()
    x = b.input("x", 4, 8)
    a = b.add("a", ops.Relu(), x)
    product = b.add("product", ops.Linear(), a, b.weight("w", 8, 8))
    y = b.add("y", ops.Add(), b.add("e", ops.Exp(), a), product)
    found = groups(b.module("diamond", y=y).main, least=1)
    assert [types(group) for group in found] == [["Relu", "Exp"], ["Add"]]
    assert_schedulable(b.graph, found)


@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_kernels_can_run_one_after_the_other(name: str) -> None:
    module = legalised(name)
    assert_schedulable(module.main, groups(module.main, least=1))


def assert_schedulable(graph: Graph, found: list[Group]) -> None:
    """Nodes and kernels as units have an order in which every operand is made before it is read."""
    unit = {node: i for i, group in enumerate(found) for node in group.nodes}
    assert len(unit) == sum(len(group.nodes) for group in found), "a node is in two kernels"
    waiting = {id(node): node for node in graph}
    done: set[object] = set()
    while waiting:
        ready = [
            node
            for node in waiting.values()
            if all(
                t is None
                or t.producer is None
                or t.producer in done
                or (node in unit and unit.get(t.producer) == unit[node])
                for member in ([n for n in graph if unit.get(n) == unit[node]] if node in unit else [node])
                for t in member.inputs
                if t is None or t.producer is None or unit.get(t.producer, -1) != unit.get(node, -2)
            )
        ]
        assert ready, "the kernels wait for each other"
        for node in ready:
            done.add(node)
            del waiting[id(node)]


def test_a_result_that_others_need_is_an_output() -> None:
    b = Builder()
    x = b.input("x", 4, 8)
    s = b.add("s", ops.Add(), x, b.weight("c", 8))
    r = b.add("r", ops.Relu(), s)
    (group,) = groups(b.module("two", s=s, r=r).main)
    assert group.outputs == [s, r] and [t.name for t in group.inputs] == ["x", "c"]
    assert group.space.sizes == (4, 8)


def test_axes_that_nothing_tells_apart_are_one() -> None:
    b = Builder()
    x, scale = b.input("x", 2, 3, 4, 5), b.weight("scale", 3, 1, 1)
    y = b.add("r", ops.Relu(), b.add("m", ops.Mul(), x, scale))
    (group,) = groups(b.module("channels", y=y).main)
    assert group.space.sizes == (2, 3, 20)
    (kernel,) = [group.program(DType.F16)]
    assert [kernel.program.shape(v) for v in kernel.program.inputs] == [(2, 3, 20), (3,)]


def test_one_rounding_is_done_in_f16_and_more_in_f32() -> None:
    b = Builder()
    x = b.input("x", 64)
    one = b.add("r", ops.Relu(), b.add("a", ops.Add(), x, b.weight("w", 64)))
    module = b.module("one", y=one)
    (group,) = groups(module.main)
    assert {step.result.dtype for step in group.program(DType.F16).program.steps} == {DType.F16}
    c = Builder()
    x = c.input("x", 64)
    two = c.add("m", ops.Mul(), c.add("a", ops.Add(), x, c.weight("w", 64)), c.weight("v", 64))
    (group,) = groups(c.module("two", y=two).main)
    verbs = [(step.verb, step.result.dtype) for step in group.program(DType.F16).program.steps]
    assert (Verb.ADD, DType.F32) in verbs and verbs[-1] == (Verb.CAST, DType.F16)


@pytest.mark.parametrize(
    "op",
    [
        *(ops.Sigmoid(), ops.Swish(), ops.Swish(alpha=1.5), ops.HardSigmoid(), ops.HardSwish(), ops.LeakyRelu()),
        *(ops.Gelu(), ops.Gelu(approximate="tanh"), ops.Gelu(approximate="quick"), ops.Softplus(), ops.Softsign()),
        *(ops.Clip(min=0.0, max=6.0), ops.Clip(min=-0.5), ops.Softplus(beta=2.0), ops.Tanh(), ops.Erf(), ops.Abs()),
        *(ops.Softmax(axis=1), ops.Softmax(axis=-1), ops.LogSoftmax(axis=2), ops.ReduceMax(axes=(1,))),
        *(ops.ReduceMean(axes=(0, 2), keepdims=False), ops.ReduceSumSquare(axes=(2,)), ops.ReduceL2(axes=(1,))),
        *(ops.LayerNorm(), ops.LayerNorm(axis=1), ops.RMSNorm(), ops.ReduceMin(axes=None), ops.ReduceSum(axes=(1, 2))),
        *(ops.Exp(), ops.Neg(), ops.Sin(), ops.Cos(), ops.Ceil(), ops.Floor(), ops.Reciprocal()),
    ],
    ids=str,
)
def test_every_operator_is_lowered_to_what_it_means(op: Operator) -> None:
    b = Builder()
    module = single(b, op)
    (group,) = groups(module.main, least=1)
    kernel = group.program(DType.F32)
    inputs = inputs_of(kernel)
    for ours, theirs in zip(kernel.program.evaluate(inputs), reference(kernel, group.nodes, inputs), strict=True):
        assert error(ours, theirs) < 3e-6


def single(b: Builder, op: Operator) -> Module:
    x = b.input("x", 2, 5, 6)
    return b.module("single", y=b.add("node", op, x))


def test_what_cannot_be_a_kernel_is_left_alone() -> None:
    b = Builder()
    x = b.input("x", 4, 4)
    turned = b.add("turned", ops.Transpose(perm=(1, 0)), x)
    y = b.add("y", ops.Add(), turned, x)
    z = b.add("z", ops.Relu(), b.add("flat", ops.Reshape(shape=(16,)), y))
    module = b.module("shapes", z=z)
    assert [types(group) for group in groups(module.main, least=1)] == [["Add"], ["Relu"]]
    assert groups(module.main) == []
