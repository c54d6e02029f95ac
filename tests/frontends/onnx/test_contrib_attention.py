"""Attention of com.microsoft against onnxruntime, which defines it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.models import check, floats, imported, interpreted, model, one, onnxruntime_outputs, op_types
from uair.errors import UairError
from uair.ir.dtype import Array
from uair.ir.module import Module

BATCH, PLACES, HEADS, SIZE = 2, 4, 2, 8
WIDTH = HEADS * SIZE


def run(op: str, feeds: dict[str, Any], outputs: Any = ("y",), inputs: Any = None, **attributes: Any) -> Module:
    """Check one node; `inputs` names its operands where some are left out."""
    names = list(feeds) if inputs is None else inputs
    node = one(op, *names, outputs=outputs, domain="com.microsoft", **attributes)
    return check(model([node], feeds, [o for o in outputs if o]), feeds, rtol=1e-4, atol=1e-5)


def names_of(feeds: dict[str, Any], order: str) -> list[str]:
    found = [name if name in feeds else "" for name in order.split()]
    while not found[-1]:
        found.pop()
    return found


def masks(places: int, past: int = 0) -> dict[str, Array | None]:
    draw = np.random.default_rng(0)
    total = places + past
    keys, every = draw.integers(0, 2, (BATCH, total)), draw.integers(0, 2, (BATCH, places, total))
    keys[:, 0], every[:, :, 0] = 1, 1  # where all places are masked, nothing but rounding of the great number is left
    return {
        "none": None,
        "ends": np.array([total, 2], np.int32),
        "ends and starts": np.array([total, 3, 1, 0], np.int32),
        "keys": keys.astype(np.int32),
        "all": every.astype(np.int32),
        "dummy": np.ones((BATCH, 1), np.int32),
    }


@pytest.mark.parametrize("mask", masks(1))
@pytest.mark.parametrize(("past", "bias"), [(0, False), (0, True), (3, False)])
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_attention(mask: str, past: int, unidirectional: int, bias: bool) -> None:
    feeds: dict[str, Any] = {"x": floats(BATCH, PLACES, 12), "w": floats(12, 3 * WIDTH, seed=1) * 0.3}
    feeds["b"] = floats(3 * WIDTH, seed=2)
    given = masks(PLACES, past)[mask]
    if given is not None:
        feeds["m"] = given
    if past:
        feeds["p"] = floats(2, BATCH, HEADS, past, SIZE, seed=3)
    if bias:
        feeds["a"] = floats(1, HEADS, PLACES, PLACES + past, seed=4)
    module = run(
        "Attention", feeds, ("y", "z"), names_of(feeds, "x w b m p a"), num_heads=HEADS, unidirectional=unidirectional
    )
    assert "Attention" in op_types(module)


def test_attention_with_its_own_numbers() -> None:
    """Values of another width than keys, a scale, and another value for masked places."""
    feeds: dict[str, Any] = {
        "x": floats(BATCH, PLACES, 12),
        "w": floats(12, 2 * WIDTH + 12, seed=1) * 0.3,
        "b": floats(2 * WIDTH + 12, seed=2),
        "m": masks(PLACES)["keys"],
    }  # fmt: skip
    run("Attention", feeds, num_heads=HEADS, qkv_hidden_sizes=[WIDTH, WIDTH, 12], scale=0.7, mask_filter_value=-2.0)


def test_attention_of_one_place_sees_all_that_came_before() -> None:
    feeds = {"x": floats(BATCH, 1, 12), "w": floats(12, 3 * WIDTH, seed=1), "b": floats(3 * WIDTH, seed=2)}
    feeds["p"] = floats(2, BATCH, HEADS, 3, SIZE, seed=3)
    run("Attention", feeds, ("y", "z"), names_of(feeds, "x w b m p"), num_heads=HEADS, unidirectional=1)


@pytest.mark.parametrize("mask", ["none", "ends", "keys", "all"])
@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("past", [0, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_multi_head_attention(mask: str, unidirectional: int, past: int, bias: bool) -> None:
    feeds: dict[str, Any] = {n: floats(BATCH, PLACES, WIDTH, seed=i) for i, n in enumerate("qkv")}
    given = masks(PLACES, past)[mask]
    if given is not None:
        feeds["m"] = given
    if past:
        feeds |= {n: floats(BATCH, HEADS, past, SIZE, seed=i) for i, n in enumerate(("pk", "pv"), 5)}
    if bias:
        feeds |= {"b": floats(3 * WIDTH, seed=8), "a": floats(BATCH, 1, PLACES, PLACES + past, seed=9)}
    run(
        "MultiHeadAttention", feeds, ("y", "k2", "v2"), names_of(feeds, "q k v b m a pk pv"),
        num_heads=HEADS, unidirectional=unidirectional,
    )  # fmt: skip


@pytest.mark.parametrize("bias", [False, True])
def test_multi_head_attention_over_other_places(bias: bool) -> None:
    """Keys and values of another length, values of another width, and already apart into heads."""
    feeds: dict[str, Any] = {"q": floats(BATCH, PLACES, WIDTH), "k": floats(BATCH, 6, WIDTH, seed=1)}
    feeds["v"] = floats(BATCH, 6, 12, seed=2)
    if bias:
        feeds["b"] = floats(2 * WIDTH + 12, seed=3)
    run("MultiHeadAttention", feeds, num_heads=HEADS, scale=0.4)
    apart = {"q": feeds["q"], "k": floats(BATCH, HEADS, 6, SIZE), "v": floats(BATCH, HEADS, 6, SIZE, seed=1)}
    run("MultiHeadAttention", apart, num_heads=HEADS)


def test_multi_head_attention_with_operands_in_one() -> None:
    """Onnxruntime's kernel for the CPU takes them apart only: the same attention of the parts is the judge."""
    three = floats(BATCH, PLACES, HEADS, 3, SIZE)
    parts = {n: np.ascontiguousarray(three[:, :, :, i]).reshape(BATCH, PLACES, WIDTH) for i, n in enumerate("qkv")}
    apart = model([one("MultiHeadAttention", *parts, domain="com.microsoft", num_heads=HEADS)], parts)
    (want,) = onnxruntime_outputs(apart, parts)
    for feeds in ({"q": three}, {"q": parts["q"], "k": np.ascontiguousarray(three[:, :, :, 1:])}):
        node = one("MultiHeadAttention", *feeds, domain="com.microsoft", num_heads=HEADS)
        (got,) = interpreted(imported(model([node], feeds)), feeds)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


GROUPS = 2
QUERY_HEADS = 4
WIDE = 16


def grouped(places: int, past: int, *, one_operand: bool = False, rotary: bool = False) -> dict[str, Any]:
    sizes = {"q": QUERY_HEADS * WIDE, "k": GROUPS * WIDE, "v": GROUPS * WIDE}
    if one_operand:
        feeds: dict[str, Any] = {"q": floats(BATCH, places, sum(sizes.values()))}
    else:
        feeds = {n: floats(BATCH, places, size, seed=i) for i, (n, size) in enumerate(sizes.items())}
    feeds |= {n: floats(BATCH, GROUPS, past, WIDE, seed=i) for i, n in enumerate(("pk", "pv"), 5)}
    if rotary:
        angles = floats(16, WIDE // 2, seed=9)
        feeds |= {"c": np.cos(angles), "s": np.sin(angles)}
    return feeds


def run_grouped(feeds: dict[str, Any], lengths: list[int], total: int, compared: int, **attributes: Any) -> None:
    """Compare; of the cache the first `compared` places, because the others are left open."""
    feeds = {**feeds, "l": np.array(lengths, np.int32) - 1, "t": np.array(total, np.int32)}
    constants = {"t": feeds.pop("t")}
    names = names_of({**feeds, **constants}, "q k v pk pv l t c s p a")
    node = one(
        "GroupQueryAttention", *names, outputs=["y", "k2", "v2"], domain="com.microsoft",
        num_heads=QUERY_HEADS, kv_num_heads=GROUPS, **attributes,
    )  # fmt: skip
    proto = model([node], feeds, ["y", "k2", "v2"], constants=constants)
    got, want = interpreted(imported(proto), feeds), onnxruntime_outputs(proto, feeds)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-4, atol=1e-5)
    for mine, theirs in zip(got[1:], want[1:], strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine[:, :, :compared], theirs[:, :, :compared], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("one_operand", [False, True])
@pytest.mark.parametrize("rotary", [0, 1])
@pytest.mark.parametrize("interleaved", [0, 1])
def test_group_query_attention(one_operand: bool, rotary: int, interleaved: int) -> None:
    more = {"do_rotary": rotary, "rotary_interleaved": interleaved}
    prompt = grouped(PLACES, 0, one_operand=one_operand, rotary=bool(rotary))
    run_grouped(prompt, [PLACES, PLACES], PLACES, PLACES, **more)
    step = grouped(1, 5, one_operand=one_operand, rotary=bool(rotary))
    run_grouped(step, [6, 6], 6, 6, **more)
    run_grouped(step, [6, 3], 6, 3, **more)


@pytest.mark.parametrize("more", [{"local_window_size": 2}, {"softcap": 1.5}, {"scale": 0.3}])
def test_group_query_attention_in_a_buffer(more: dict[str, Any]) -> None:
    """A cache that is longer than what it holds."""
    run_grouped(grouped(1, 8), [6, 4], 6, 4, **more)
    run_grouped(grouped(PLACES, 8), [PLACES, PLACES], PLACES, PLACES, **more)


def test_group_query_attention_with_a_bias_and_positions() -> None:
    feeds = grouped(1, 5, rotary=True)
    feeds["p"] = np.array([[3], [7]])
    feeds["a"] = floats(1, QUERY_HEADS, 1, 6, seed=10)
    run_grouped(feeds, [6, 6], 6, 6, do_rotary=1)


def test_group_query_attention_wants_a_known_length() -> None:
    feeds = {**grouped(1, 5), "l": np.array([5, 5], np.int32), "t": np.array(6, np.int32)}
    names = names_of(feeds, "q k v pk pv l t")
    node = one("GroupQueryAttention", *names, domain="com.microsoft", num_heads=4, kv_num_heads=2)
    module = imported_or_error(model([node], feeds))
    assert isinstance(module, UairError)
    assert "total_sequence_length" in str(module)


def imported_or_error(proto: Any) -> Module | UairError:
    try:
        return imported(proto)
    except UairError as error:
        return error


@pytest.mark.parametrize("form", [3, 4])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("start", [False, True])
def test_rotary_embedding(form: int, interleaved: int, start: bool) -> None:
    angles = floats(16, SIZE // 2, seed=1)
    x = floats(BATCH, PLACES, WIDTH) if form == 3 else floats(BATCH, HEADS, PLACES, SIZE)
    places = np.array([5]) if start else np.array([[0, 1, 2, 3], [4, 8, 9, 1]])
    feeds = {"x": x, "p": places, "c": np.cos(angles), "s": np.sin(angles)}
    run("RotaryEmbedding", feeds, interleaved=interleaved)


def test_rotary_embedding_of_a_part() -> None:
    angles = floats(16, 2, seed=1)
    feeds = {"x": floats(BATCH, PLACES, WIDTH), "p": np.array([0]), "c": np.cos(angles), "s": np.sin(angles)}
    run("RotaryEmbedding", feeds, num_heads=HEADS, rotary_embedding_dim=4)


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("placed", [False, True])
def test_embed_layer_normalization(segments: bool, masked: bool, placed: bool) -> None:
    draw = np.random.default_rng(0)
    feeds: dict[str, Any] = {"i": draw.integers(0, 9, (BATCH, PLACES)).astype(np.int32)}
    feeds |= {"w": floats(9, 12), "t": floats(6, 12, seed=1), "g": floats(12, seed=2), "b": floats(12, seed=3)}
    if segments:
        feeds |= {"s": draw.integers(0, 2, (BATCH, PLACES)).astype(np.int32), "u": floats(2, 12, seed=4)}
    if masked:
        feeds["m"] = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], np.int32)
    if placed:
        feeds["p"] = draw.integers(0, 6, (BATCH, PLACES)).astype(np.int32)
    run("EmbedLayerNormalization", feeds, ("y", "n", "e"), names_of(feeds, "i s w t u g b m p"))


def test_what_the_cpu_provider_lacks_follows_its_formula() -> None:
    x, bias = floats(BATCH, PLACES, 6), floats(6, seed=1)
    feeds = {"x": x, "b": bias, "s": floats(BATCH, PLACES, 6, seed=2)}
    node = one("BiasAdd", "x", "b", "s", domain="com.microsoft")
    (got,) = interpreted(imported(model([node], feeds)), feeds)
    np.testing.assert_allclose(got, x + bias + feeds["s"], rtol=1e-6)
    node = one("BiasSplitGelu", "x", "b", domain="com.microsoft")
    (got,) = interpreted(imported(model([node], feeds)), feeds)
    gelu = one("Gelu", "r", domain="com.microsoft")
    left, right = np.split(x + bias, 2, axis=2)
    (want,) = onnxruntime_outputs(model([gelu], {"r": right}), {"r": right})
    np.testing.assert_allclose(got, left * want, rtol=1e-4, atol=1e-6)
    data, mask = {"d": floats(2, 3, 4, 5)}, floats(2, 1, 1, 5, seed=1)
    node = one("BiasSoftmax", "d", "m", domain="com.microsoft", axis=3, is_inner_broadcast=1)
    (got,) = interpreted(imported(model([node], data, constants={"m": mask})), data)
    e = np.exp(data["d"] + mask)
    np.testing.assert_allclose(got, e / e.sum(-1, keepdims=True), rtol=1e-5)


def test_linear_attention_and_its_convolution() -> None:
    draw = {n: floats(BATCH, PLACES, WIDTH, seed=i) * 0.5 for i, n in enumerate("qkv")}
    feeds = {**draw, "g": -np.abs(floats(BATCH, PLACES, HEADS, seed=4)), "r": floats(BATCH, PLACES, HEADS, seed=5)}
    run(
        "LinearAttention", feeds, ("y", "z"), ["q", "k", "v", "", "g", "r"],
        q_num_heads=HEADS, kv_num_heads=HEADS, update_rule="gated_delta", scale=0.5,
    )  # fmt: skip
    feeds = {"x": floats(2, 3, 5), "w": floats(3, 1, 4, seed=1), "b": floats(3, seed=2), "p": floats(2, 3, 3, seed=3)}
    run("CausalConvWithState", feeds, ("y", "z"), activation="silu")
