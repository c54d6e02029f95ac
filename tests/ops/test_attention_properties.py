"""Attention and recurrent layers: drawn forms of them mean the same whole and in parts, with sizes open or known."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from uair.codegen.reference import Interpreter
from uair.ir import dims
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import GRU, LSTM, RNN, Attention, LinearAttention, RotaryEmbedding
from uair.ops.base import Operator
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.pipeline import PassManager


def floats(draw: Any, *shape: int) -> Array:
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return rng.standard_normal(shape).astype(np.float32)


def opened(value: Array, names: dict[int, str]) -> TensorType:
    """The type of a value, with the extents that have a name open."""
    shape = tuple(dims.symbol(names[d]) if d in names else d for d in value.shape)
    return TensorType(DType.from_numpy(value.dtype), shape)


def check(op: Operator, operands: list[Array | None], names: dict[int, str]) -> None:
    """The decomposition computes what `evaluate` does, and inference tells the truth."""
    whole = op.evaluate_all(operands)
    for given_names in ({}, names) if names else ({},):
        graph, feeds = Graph(), dict[str, Array]()
        inputs: list[Tensor | None] = []
        for i, value in enumerate(operands):
            inputs.append(None if value is None else graph.add_input(f"x{i}", opened(value, given_names)))
            if value is not None:
                feeds[f"x{i}"] = value
        sizes: dict[str, dims.Dim] = {name: extent for extent, name in given_names.items()}
        for i, (t, want) in enumerate(zip(graph.append(Node(op, inputs)).outputs, whole, strict=True)):
            assert tuple(dims.substitute(d, sizes) for d in t.type.dims) == want.shape
            graph.add_output(f"y{i}", t)
        module = Module("whole", {"main": graph})
        taken_apart = LegaliseOnnx(opset=28, unsupported=lambda node, opset: "it is asked for" * (node.op is op))
        PassManager([taken_apart]).run(module)
        assert all(node.op is not op for node in graph)
        for got, want in zip(Interpreter(module).run(feeds).values(), whole, strict=True):
            np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)


@st.composite
def attentions(draw: Any) -> tuple[Operator, list[Array | None], dict[int, str]]:
    batch, groups, share = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    queries, new, past = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.sampled_from([0, 3]))
    keys, form = new + past, draw(st.sampled_from(["none", "bool", "numbers"]))
    q, k = floats(draw, batch, groups * share, queries, 4), floats(draw, batch, groups, new, 4)
    operands: list[Array | None] = [q, k, floats(draw, batch, groups, new, 6), None, None, None, None]
    if form != "none":
        numbers = floats(draw, *draw(st.sampled_from([(queries, keys), (batch, 1, queries, keys), (1, keys)])))
        operands[3] = numbers > 0 if form == "bool" else numbers
    if past:
        operands[4], operands[5] = floats(draw, batch, groups, past, 4), floats(draw, batch, groups, past, 6)
    elif draw(st.booleans()):
        operands[6] = np.array(draw(st.lists(st.integers(0, keys), min_size=batch, max_size=batch)), np.int64)
    bound = st.sampled_from([None, 0, 1, 2])
    op = Attention(
        causal=draw(st.booleans()), softcap=draw(st.sampled_from([0.0, 2.0])), cache=bool(past),
        left_window=draw(bound), right_window=draw(bound),
        scores=draw(st.sampled_from(["none", "raw", "capped", "probabilities"])),
    )  # fmt: skip
    return op, operands, {}


@settings(max_examples=40, deadline=None)
@given(attentions())
def test_attention(case: tuple[Operator, list[Array | None], dict[int, str]]) -> None:
    check(*case)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_attention_of_open_sizes(data: st.DataObject) -> None:
    """Every extent has a value of its own, so that each can have a name."""
    draw = data.draw
    q, k, v = floats(draw, 9, 4, 7, 8), floats(draw, 9, 2, 5, 8), floats(draw, 9, 2, 5, 8)
    lengths = np.array(draw(st.lists(st.integers(0, 5), min_size=9, max_size=9)), np.int64)
    window = draw(st.sampled_from([None, 1, 3]))
    op = Attention(causal=draw(st.booleans()), left_window=window, scores="probabilities")
    check(op, [q, k, v, None, None, None, lengths if draw(st.booleans()) else None], {9: "n", 7: "t", 5: "s"})


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_recurrent_layers(data: st.DataObject) -> None:
    draw = data.draw
    kind: Any = draw(st.sampled_from([RNN, GRU, LSTM]))
    direction: Any = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count, steps, batch, hidden = 2 if direction == "bidirectional" else 1, draw(st.sampled_from([11, 19])), 7, 3
    rows = kind.gates * hidden
    lengths = np.array(draw(st.lists(st.integers(0, steps), min_size=7, max_size=7)), np.int64)
    operands: list[Array | None] = [
        floats(draw, steps, batch, 4),
        floats(draw, count, rows, 4),
        floats(draw, count, rows, hidden),
        floats(draw, count, 2 * rows) if draw(st.booleans()) else None,
        lengths if draw(st.booleans()) else None,
    ]
    operands += [floats(draw, count, batch, hidden) if draw(st.booleans()) else None for _ in kind.state]
    more: dict[str, Any] = {"linear_before_reset": draw(st.booleans())} if kind is GRU else {}
    if kind is LSTM:
        operands.append(floats(draw, count, 3 * hidden) if draw(st.booleans()) else None)
        more = {"input_forget": draw(st.booleans())}
    op = kind(direction=direction, clip=draw(st.sampled_from([None, 0.7])), **more)
    check(op, operands, {steps: "t", 7: "n"})


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_linear_attention(data: st.DataObject) -> None:
    draw = data.draw
    places = draw(st.sampled_from([5, 11]))
    q, k, v = floats(draw, 7, 4, places, 3), floats(draw, 7, 2, places, 3), floats(draw, 7, 2, places, 6)
    state = floats(draw, 7, 2, 3, 6) if draw(st.booleans()) else None
    decay = -np.abs(floats(draw, 7, 2, places, draw(st.sampled_from([1, 3])))) if draw(st.booleans()) else None
    beta = floats(draw, 7, draw(st.sampled_from([1, 2])), places, 1) * 0.3 if draw(st.booleans()) else None
    check(LinearAttention(), [q, k, v, state, decay, beta], {places: "t", 7: "n"})


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_rotary_embedding(data: st.DataObject) -> None:
    draw = data.draw
    half = draw(st.sampled_from([2, 3, 4]))
    x = floats(draw, 7, 2, 5, 8)
    tables = [floats(draw, 9, half), floats(draw, 9, half)]
    places = np.array(draw(st.lists(st.integers(0, 8), min_size=35, max_size=35)), np.int64).reshape(7, 5)
    check(RotaryEmbedding(interleaved=draw(st.booleans())), [x, *tables, places], {7: "n", 5: "t"})
