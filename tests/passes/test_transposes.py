"""Transposes moved to where fewer of them do: the counts, and the numbers, also of random graphs."""

from __future__ import annotations

import numpy as np
import pytest

import uair
from uair.codegen.reference import random_feeds, run
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ir.verify import verify
from uair.ops import (
    Add,
    ArgMax,
    Concat,
    Flip,
    Maximum,
    Mul,
    Pad,
    ReduceMean,
    ReduceSum,
    Relu,
    Slice,
    Softmax,
    Sub,
    Tanh,
    Transpose,
)
from uair.ops.base import Operator
from uair.passes.fuse import transposes_ruleset
from uair.rewrite import apply_rules
from uair.text import parse_module


def transposes(module: Module) -> int:
    return sum(isinstance(node.op, Transpose) for node in module.main)


def moved(text: str) -> Module:
    """The module with its Transposes moved, which computes the same."""
    module, before = parse_module(text), parse_module(text)
    apply_rules(module.main, transposes_ruleset())
    verify(module)
    same(before, module)
    return module


def same(before: Module, after: Module) -> None:
    feeds = random_feeds(before.main)
    for want, got in zip(run(before, feeds).values(), run(after, feeds).values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * max(1.0, float(np.abs(want).max(initial=0))))


CASES = {
    "a sum of squares in front of a Reshape": (
        """
        %a: f32[2,3,4]
        %b: f32[2,3,4]
        %s = Transpose(%a) {perm = [0,2,1]}
        %t = Transpose(%b) {perm = [0,2,1]}
        %c = Mul(%s, %s)
        %d = Mul(%t, %t)
        %e = Add(%c, %d)
        %y = Reshape(%e) {shape = [2,1,4,3]}
        """,
        1,
    ),
    "three operands of one Concat": (
        """
        %a: f32[2,3,4]
        %b: f32[2,5,4]
        %s = Transpose(%a) {perm = [2,0,1]}
        %t = Transpose(%b) {perm = [2,0,1]}
        %u = Relu(%t)
        %y = Concat(%s, %u, %u) {axis = 2}
        """,
        1,
    ),
    "the parts of a Split between two that cancel": (
        """
        %x: f32[2,6,4,5]
        %t = Transpose(%x) {perm = [0,2,3,1]}
        %a, %b = Split(%t) {axis = 3, sizes = [3,3]}
        %c = Tanh(%a)
        %d = Mul(%c, %b)
        %y = Transpose(%d) {perm = [0,3,1,2]}
        """,
        0,
    ),
    "two that do not cancel": (
        """
        %x: f32[2,3,4,5]
        %t = Transpose(%x) {perm = [0,2,1,3]}
        %a = Softmax(%t) {axis = 1}
        %y = Transpose(%a) {perm = [0,1,3,2]}
        """,
        1,
    ),
    "a mean that leaves the axes in order": (
        """
        %x: f32[2,3,4,5]
        %t = Transpose(%x) {perm = [0,2,3,1]}
        %y = ReduceMean(%t) {axes = [1,2], keepdims = false}
        """,
        0,
    ),
    "the position of an extreme": (
        """
        %x: f32[2,3,4,5]
        %t = Transpose(%x) {perm = [0,2,3,1]}
        %a = Tanh(%t)
        %y = ArgMax(%a) {axis = -1, keepdims = false}
        """,
        0,
    ),
    "a reduction of all axes": (
        """
        %x: f32[2,3,4,5]
        %t = Transpose(%x) {perm = [0,2,3,1]}
        %y = ReduceSum(%t) {keepdims = false}
        """,
        0,
    ),
    "one that the model returns, too": (
        """
        %x: f32[2,3,4]
        %t = Transpose(%x) {perm = [0,2,1]}
        %y = ReduceSum(%t) {axes = [1], keepdims = false}
        return %y, %t
        """,
        1,
    ),
    "no more of a larger result": (
        """
        %a: f32[2,1,4]
        %b: f32[2,3,1]
        %s = Transpose(%a) {perm = [0,2,1]}
        %t = Transpose(%b) {perm = [0,2,1]}
        %y = Add(%s, %t)
        """,
        2,
    ),
    "one operand alone": (
        """
        %a: f32[2,3,4]
        %b: f32[2,4,3]
        %s = Transpose(%a) {perm = [0,2,1]}
        %y = Add(%s, %b)
        """,
        1,
    ),
    "numbers of fewer axes": (
        """
        constant @w = [1.0,2.0,3.0] : f32[3]
        constant @n = [2.0] : f32[1]
        %a: f32[2,3,4]
        %t = Transpose(%a) {perm = [0,2,1]}
        %c = Mul(%t, @w)
        %d = Add(%c, @n)
        %y = Transpose(%d) {perm = [1,0,2]}
        """,
        1,
    ),
}


@pytest.mark.parametrize(("text", "left"), CASES.values(), ids=CASES)
def test_the_fewest_are_left(text: str, left: int) -> None:
    assert transposes(moved(text)) == left


def test_an_activation_stays_next_to_the_sum() -> None:
    module = moved(
        """
        %a: f32[2,3,4]
        %b: f32[2,3,4]
        %s = Transpose(%a) {perm = [0,2,1]}
        %t = Transpose(%b) {perm = [0,2,1]}
        %c = Add(%s, %t)
        %y = Relu(%c)
        """
    )
    assert [node.op_type for node in module.main] == ["Add", "Relu", "Transpose"]


def test_open_extents() -> None:
    text = """
    %a: f32[{n},3,{m}]
    %b: f32[{n},3,{m}]
    %s = Transpose(%a) {perm = [0,2,1]}
    %t = Transpose(%b) {perm = [0,2,1]}
    %c = Mul(%s, %t)
    %y = ReduceMean(%c) {axes = [2], keepdims = false}
    """
    module, given = (parse_module(text.replace("{n}", n).replace("{m}", m)) for n, m in (("N", "M"), ("2", "4")))
    apply_rules(module.main, transposes_ruleset())
    verify(module)
    assert [node.op_type for node in module.main] == ["Mul", "ReduceMean"]
    feeds = random_feeds(given.main)
    for want, got in zip(run(given, feeds).values(), run(module, feeds).values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def random_module(seed: int) -> Module:
    """Operators of all kinds that take axes in any order, with Transposes between them."""
    rng = np.random.default_rng(seed)
    graph = Graph("main")
    tensors = [graph.add_input(f"x{i}", TensorType(DType.F32, (2, 3, 2, 3))) for i in range(3)]

    def add(op: Operator, *operands: Tensor) -> Tensor:
        return graph.append(Node(op, operands)).output

    def unary(x: Tensor, rank: int) -> Operator:
        axis = int(rng.integers(rank))
        kinds: list[Operator] = [Relu(), Tanh(), Softmax(axis=axis), Flip(axes=(axis,))]
        kinds.append(Slice(axes=(axis,), starts=(1,), ends=(9,), steps=(1,)))
        kinds.append(Pad(pads=tuple(int(axis == i % rank) for i in range(2 * rank))))
        kinds.append(ReduceMean(axes=(axis,), keepdims=True))
        return kinds[int(rng.integers(len(kinds)))]

    perms = [tuple(int(p) for p in rng.permutation(4)) for _ in range(2)]
    perms.append(tuple(int(p) for p in np.argsort(perms[0])))
    for _ in range(14):
        x = tensors[int(rng.integers(max(0, len(tensors) - 5), len(tensors)))]
        twins = [t for t in tensors[-6:] if t.type.shape == x.type.shape]
        y = twins[int(rng.integers(len(twins)))]
        choice = rng.random()
        if choice < 0.45:
            tensors.append(add(Transpose(perm=perms[int(rng.integers(3))]), x))
        elif choice < 0.7:
            tensors.append(add((Add(), Sub(), Mul(), Maximum(), Concat(axis=1))[int(rng.integers(5))], x, y))
        elif choice < 0.8:
            last = x.type.dims[-1]
            assert isinstance(last, int)
            tensors.append(add(Mul(), x, constant(rng.standard_normal(last).astype(np.float32))))
        elif min(d for d in x.type.dims if isinstance(d, int)) > 1:
            tensors.append(add(unary(x, 4), x))
    ends = [t for t in tensors if not t.use_count and t.producer is not None]
    for i, t in enumerate(ends):
        op = (ReduceSum(axes=(1, 2), keepdims=False), ArgMax(axis=2, keepdims=False), Relu())[int(rng.integers(3))]
        graph.add_output(f"y{i}", add(op, t))
    return Module("m", {"main": graph})


def test_random_graphs_compute_the_same_with_no_more_transposes() -> None:
    saved = 0
    for seed in range(150):
        module, before = random_module(seed), random_module(seed)
        apply_rules(module.main, transposes_ruleset())
        verify(module)
        assert transposes(module) <= transposes(before), seed
        saved += transposes(before) - transposes(module)
        same(before, module)
    assert saved > 100


def test_reductions_of_models_with_channels_last() -> None:
    """A convolution of a converter, then the greatest place of each channel."""
    module = parse_module(
        """
        %x: f32[1,3,8,8]
        %w: f32[4,3,3,3]
        %c = Conv2D(%x, %w)
        %t = Transpose(%c) {perm = [0,2,3,1]}
        %r = Relu(%t)
        %y = ReduceMax(%r) {axes = [1,2], keepdims = false}
        """
    )
    found = uair.optimize(module)
    assert [node.op_type for node in found.main] == ["Conv2D", "Relu", "ReduceMax"]
