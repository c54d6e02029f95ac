"""Attention and its companions against onnxruntime (which knows windows and short masks by the operators' bodies)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.codegen.onnx.running import run
from tests.frontends.onnx.models import F32, check, floats, imported, interpreted, model, one, op_types
from uair.codegen.onnx.model import model_bytes
from uair.codegen.onnx.schema import NotExpressible
from uair.frontends.onnx.errors import OnnxAttributeError
from uair.ir.dtype import Array
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.pipeline import PassManager

BATCH, HEADS, GROUPS, QUERIES, KEYS, SIZE, VALUES = 2, 4, 2, 3, 5, 8, 6
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def operands(form: int, past: int = 0) -> dict[str, Array]:
    """Queries, keys and values with four axes or three, and a past."""
    q, k, v = (BATCH, HEADS, QUERIES, SIZE), (BATCH, GROUPS, KEYS, SIZE), (BATCH, GROUPS, KEYS, VALUES)
    found = {name: floats(*shape, seed=i) for i, (name, shape) in enumerate(zip("qkv", (q, k, v), strict=True))}
    if form == 3:
        found = {n: x.transpose(0, 2, 1, 3).reshape(BATCH, x.shape[2], -1).copy() for n, x in found.items()}
    if past:
        found["pk"], found["pv"] = (
            floats(BATCH, GROUPS, past, SIZE, seed=5),
            floats(BATCH, GROUPS, past, VALUES, seed=6),
        )
    return found


def heads_of(form: int) -> dict[str, int]:
    return {"q_num_heads": HEADS, "kv_num_heads": GROUPS} if form == 3 else {}


def masks(keys: int) -> dict[str, Array | None]:
    draw = np.random.default_rng(7)
    some = draw.integers(0, 2, (BATCH, HEADS, QUERIES, keys)).astype(np.bool_)
    some[0, 0, 1] = False  # a query that no key is left for
    return {
        "none": None,
        "bool4": some,
        "bool2": some[1, 1] | np.eye(QUERIES, keys, dtype=np.bool_),
        "float4": floats(BATCH, 1, QUERIES, keys, seed=8),
        "float2": floats(QUERIES, keys, seed=9),
    }


def attention(
    given: dict[str, Any], mask: Array | None, opset: int, outputs: Any = ("y",), **attributes: Any
) -> tuple[Any, dict[str, Any]]:
    feeds = {**given, **({} if mask is None else {"m": mask})}
    names = [
        "q",
        "k",
        "v",
        "m" if mask is not None else "",
        "pk" if "pk" in given else "",
        "pv" if "pv" in given else "",
    ]
    names.append("n" if "n" in given else "")
    while not names[-1]:
        names.pop()
    node = one("Attention", *names, outputs=outputs, **attributes)
    return model([node], feeds, [o for o in outputs if o], opset=opset, ir_version=11), feeds


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("form", [3, 4])
@pytest.mark.parametrize("mask", masks(KEYS))
@pytest.mark.parametrize("causal", [0, 1])
def test_forms_and_masks(opset: int, form: int, mask: str, causal: int) -> None:
    proto, feeds = attention(operands(form), masks(KEYS)[mask], opset, is_causal=causal, **heads_of(form))
    module = check(proto, feeds, **TOLERANCE)
    assert op_types(module).count("Attention") == 1


@pytest.mark.parametrize("form", [3, 4])
@pytest.mark.parametrize("mask", ["none", "bool4", "float2"])
@pytest.mark.parametrize("causal", [0, 1])
def test_a_past_is_joined(form: int, mask: str, causal: int) -> None:
    past = 4
    proto, feeds = attention(
        operands(form, past), masks(KEYS + past)[mask], 23, ("y", "a", "b"), is_causal=causal, **heads_of(form)
    )
    check(proto, feeds, **TOLERANCE)


@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("softcap", [0.0, 1.5])
def test_scores(mode: int, softcap: float) -> None:
    """The scores are a result, at the stage that the mode names; older kernels have a great number for -inf."""
    mask = masks(KEYS)["bool4"]
    outputs = ("y", "", "", "s")
    proto, feeds = attention(
        operands(4), mask, 25, outputs, qk_matmul_output_mode=mode, softcap=softcap, scale=0.4, is_causal=1
    )
    check(proto, feeds, **TOLERANCE)


@pytest.mark.parametrize("form", [3, 4])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", ["none", "float4"])
def test_keys_in_use_are_counted(form: int, causal: int, mask: str) -> None:
    """With the number of valid keys, the last query stands at the last of them; the body of the operator judges."""
    given = {**operands(form), "n": np.array([5, 2], np.int64)}
    proto, feeds = attention(given, masks(KEYS)[mask], 25, is_causal=causal, **heads_of(form))
    check(proto, feeds, **TOLERANCE)


@pytest.mark.parametrize(("left", "right"), list(itertools.product([-1, 0, 1], [-1, 0, 2])))
@pytest.mark.parametrize("past", [0, 3])
def test_windows(left: int, right: int, past: int) -> None:
    for causal in (0, 1):
        proto, feeds = attention(
            operands(4, past), masks(KEYS + past)["bool4"], 25, ("y", "a", "b") if past else ("y",),
            left_window_size=left, right_window_size=right, is_causal=causal,
        )  # fmt: skip
        check(proto, feeds, **TOLERANCE)


@pytest.mark.parametrize("kind", ["bool4", "float4"])
@pytest.mark.parametrize("last", [1, 3])
def test_a_mask_may_be_shorter_than_the_keys(kind: str, last: int) -> None:
    mask = masks(KEYS)[kind]
    assert mask is not None
    proto, feeds = attention(operands(4), np.ascontiguousarray(mask[..., :last]), 25)
    check(proto, feeds, **TOLERANCE)


def test_a_mask_of_one_key_counts_for_all_in_version_23() -> None:
    wide = np.random.default_rng(3).integers(0, 2, (BATCH, 1, QUERIES, 1)).astype(np.bool_)
    proto, feeds = attention(operands(4), wide, 23)
    spread, _ = attention(operands(4), np.repeat(wide, KEYS, axis=3), 23)
    want = interpreted(imported(spread), {**feeds, "m": np.repeat(wide, KEYS, axis=3)})
    np.testing.assert_array_equal(interpreted(imported(proto), feeds)[0], want[0])


@pytest.mark.parametrize("opset", [13, 17, 23, 24, 25])
def test_written_back_or_in_parts(opset: int) -> None:
    """What an opset's operator does not say is written as its decomposition."""
    given = {**operands(4), "n": np.array([5, 3], np.int64)}
    proto, feeds = attention(given, masks(KEYS)["float4"], 25, is_causal=1, left_window_size=2)
    module = imported(proto)
    want = interpreted(module, feeds)
    if opset < 25:
        with pytest.raises(NotExpressible):
            model_bytes(module, opset=opset)
    PassManager([LegaliseOnnx(opset=opset)]).run(module)
    written = model_bytes(module, opset=opset)
    assert ("Attention" in {n.op_type for n in onnx.load_from_string(written).graph.node}) == (opset == 25)
    (got,) = run(written, feeds).values()
    np.testing.assert_allclose(got, want[0], rtol=1e-4, atol=1e-5)


def test_open_extents_pass_through() -> None:
    given = operands(3, 4)
    proto, feeds = attention(given, None, 23, ("y", "a", "b"), is_causal=1, **heads_of(3))
    for i, (shape) in enumerate([("n", "t", 32), ("n", "s", 16), ("n", "s", 12), ("n", 2, "p", 8), ("n", 2, "p", 6)]):
        name = proto.graph.input[i].name
        proto.graph.input[i].CopyFrom(onnx.helper.make_tensor_value_info(name, F32, shape))
    module = check(proto, feeds, **TOLERANCE)
    assert [str(t.type) for t in module.main.outputs] == ["f32[n,t,24]", "f32[n,2,p+s,8]", "f32[n,2,p+s,6]"]


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("form", [3, 4])
@pytest.mark.parametrize("rotated", [0, 4])
@pytest.mark.parametrize("placed", [False, True])
def test_rotary_positions(interleaved: int, form: int, rotated: int, placed: bool) -> None:
    half = (rotated or SIZE) // 2
    x = floats(BATCH, HEADS, QUERIES, SIZE)
    feeds: dict[str, Array] = {"x": x if form == 4 else x.transpose(0, 2, 1, 3).reshape(BATCH, QUERIES, -1).copy()}
    angles = floats(9, half, seed=1) if placed else floats(BATCH, QUERIES, half, seed=1)
    feeds |= {"c": np.cos(angles), "s": np.sin(angles)}
    if placed:
        feeds["p"] = np.random.default_rng(2).integers(0, 9, (BATCH, QUERIES))
    more = {"num_heads": HEADS} if form == 3 else {}
    node = one("RotaryEmbedding", *feeds, interleaved=interleaved, rotary_embedding_dim=rotated, **more)
    check(model([node], feeds, opset=23, ir_version=11), feeds, **TOLERANCE)


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_cache_updates(mode: str, axis: int) -> None:
    shape, new = [BATCH, 6, 6, 6], [BATCH, 6, 6, 6]
    new[axis] = 2
    feeds = {"c": floats(*shape), "u": floats(*new, seed=1), "i": np.array([3, 5 if mode == "circular" else 4])}
    node = one("TensorScatter", *feeds, mode=mode, axis=axis)
    check(model([node], feeds, opset=24, ir_version=11), feeds)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("activation", ["none", "silu", "swish"])
@pytest.mark.parametrize("past", [False, True])
def test_causal_convolution(kernel: int, activation: str, past: bool) -> None:
    feeds = {"x": floats(2, 3, 2), "w": floats(3, 1, kernel, seed=1), "b": floats(3, seed=2)}
    if past:
        feeds["p"] = floats(2, 3, kernel - 1, seed=3)
    node = one("CausalConvWithState", *feeds, outputs=["y", "s"], activation=activation)
    proto = model([node], feeds, ("y", "s"), opset=27, ir_version=13)
    got = interpreted(imported(proto), feeds)
    for mine, theirs in zip(got, ReferenceEvaluator(proto).run(None, feeds), strict=True):
        np.testing.assert_allclose(mine, np.asarray(theirs), rtol=1e-5, atol=1e-6)


def test_gated_linear_unit() -> None:
    feeds = {"a": floats(2, 3), "b": floats(2, 3, seed=1)}
    proto = model([one("SwiGLU", "a", "b", alpha=1.5)], feeds, opset=28, ir_version=14)
    want = feeds["a"] / (1 + np.exp(-1.5 * feeds["a"])) * feeds["b"]
    np.testing.assert_allclose(interpreted(imported(proto), feeds)[0], want, rtol=1e-5)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"q_num_heads": 5, "kv_num_heads": 2}, "divided among 5 heads"),
        ({"q_num_heads": 4}, "'kv_num_heads' is missing"),
        ({**heads_of(3), "qk_matmul_output_mode": 7}, "it must be 0, 1, 2 or 3"),
        ({**heads_of(3), "left_window_size": -2}, "-1 means no bound"),
    ],
)
def test_what_makes_no_sense_is_refused(attributes: dict[str, Any], words: str) -> None:
    proto, _ = attention(operands(3), None, 25, ("y", "", "", "s"), **attributes)
    with pytest.raises(OnnxAttributeError, match=words):
        imported(proto)


def subgraph(name: str, nodes: Any) -> Any:
    given = onnx.helper.make_tensor_value_info("s", F32, None)
    result = onnx.helper.make_tensor_value_info("t", F32, None)
    return onnx.helper.make_graph(nodes, name, [given], [result])


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_attention_with_subgraphs(groups: int) -> None:
    """The subgraphs may use values of the graph around them; the attention written out is the judge."""
    q, k, v = floats(2, 4, 3, 8), floats(2, groups, 5, 8, seed=1), floats(2, groups, 5, 6, seed=2)
    feeds = {"q": q, "k": k, "v": v, "outer": floats(3, 5, seed=3)}
    node = one("FlexAttention", "q", "k", "v", domain="ai.onnx.preview", scale=0.3)
    node.attribute.append(
        onnx.helper.make_attribute("score_mod", subgraph("a", [one("Add", "s", "outer", outputs=["t"])]))
    )
    node.attribute.append(onnx.helper.make_attribute("prob_mod", subgraph("b", [one("Mul", "s", "s", outputs=["t"])])))
    proto = model([node], feeds, opset=26, ir_version=13)
    k, v = (np.repeat(x, 4 // groups, axis=1) for x in (k, v))
    e = np.exp(0.3 * q @ k.swapaxes(-1, -2) + feeds["outer"])
    want = np.square(e / e.sum(-1, keepdims=True)) @ v
    np.testing.assert_allclose(interpreted(imported(proto), feeds)[0], want, rtol=1e-4, atol=1e-5)


def test_plain_attention_with_subgraphs_is_one_operator() -> None:
    feeds = {"q": floats(2, 4, 3, 8), "k": floats(2, 2, 5, 8, seed=1), "v": floats(2, 2, 5, 6, seed=2)}
    proto = model([one("FlexAttention", *feeds, domain="ai.onnx.preview")], feeds, opset=26, ir_version=13)
    assert op_types(imported(proto)) == ["Attention"]
