"""Attention against PyTorch: kept as one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attention

import uair
from tests.frameworks.torch.harness import WARNINGS, as_module, check, compare, relative_error
from uair.ir.module import Module
from uair.passes.canonicalise import Canonicalise
from uair.passes.recognize_attention import RecognizeAttention
from uair.pipeline import PassManager, Verify

pytestmark = WARNINGS
G = torch.Generator().manual_seed(1)


def _t(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=G)


Q, K, V = _t(2, 4, 5, 8), _t(2, 4, 6, 8), _t(2, 4, 6, 3)
CASES: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "plain": (attention, (Q, K, V)),
    "scale": (lambda q, k, v: attention(q, k, v, scale=0.2), (Q, K, V)),
    "causal": (lambda q, k, v: attention(q, k, v, is_causal=True), (Q, K, V)),
    "float mask": (attention, (Q, K, V, _t(2, 1, 5, 6))),
    "bool mask": (lambda q, k, v, m: attention(q, k, v, m > -1), (Q, K, V, _t(5, 6))),
    "three axes": (attention, (Q[0], K[0], V[0])),
    "three axes, mask": (attention, (Q[0], K[0], V[0], _t(4, 5, 6))),
    "two axes": (attention, (Q[0, 0], K[0, 0], V[0, 0])),
    "five axes": (lambda q, k, v: attention(q[None], k[None], v[None]), (Q, K, V)),
    "groups": (lambda q, k, v: attention(q, k, v, enable_gqa=True), (Q, K[:, :2], V[:, :2])),
}


@pytest.mark.parametrize("name", CASES)
def test_attention(name: str) -> None:
    function, inputs = CASES[name]
    module = check(function, *inputs)
    assert [n.op_type for n in module.main].count("Attention") == 1


def test_module() -> None:
    check(torch.nn.MultiheadAttention(8, 2, batch_first=True), _t(2, 5, 8), _t(2, 6, 8), _t(2, 6, 8))


def test_encoder_layer() -> None:
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    check(layer, _t(2, 5, 8))


class Packed(torch.nn.Module):
    """PyTorch's layer, whose projections of queries, keys and values are one product."""

    def __init__(self, batch_first: bool = True, **options: Any) -> None:
        super().__init__()
        self.layer = torch.nn.MultiheadAttention(8, 2, batch_first=batch_first)
        torch.nn.init.normal_(self.layer.in_proj_bias, generator=G)
        torch.nn.init.normal_(self.layer.out_proj.bias, generator=G)
        self.options = options

    def forward(self, q: torch.Tensor, k: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> Any:
        keys = q if k is None else k
        y, weights = self.layer(q, keys, keys, key_padding_mask=mask, **self.options)
        return (y, weights) if self.options.get("average_attn_weights") is False else y


LEAST = Counter(Linear=4, Reshape=4, Transpose=4, Attention=1)
"""Three projections and the last one, each of the first three shaped into heads, and the heads back."""
FUTURE = torch.ones(5, 5, dtype=torch.bool).triu(1)
X, Y = _t(3, 5, 8), _t(3, 6, 8)
LAYERS: dict[str, tuple[Packed, tuple[torch.Tensor, ...]]] = {
    "whole": (Packed(need_weights=False), (X,)),
    "weights not used": (Packed(), (X,)),
    "places first": (Packed(batch_first=False, need_weights=False), (X,)),
    "places first, weights not used": (Packed(batch_first=False), (X,)),
    "other keys": (Packed(need_weights=False), (X, Y)),
    "other keys, weights not used": (Packed(), (X, Y)),
    "causal": (Packed(need_weights=False, attn_mask=FUTURE, is_causal=True), (X,)),
    "causal, weights not used": (Packed(attn_mask=FUTURE), (X,)),
    "summands": (Packed(attn_mask=_t(5, 5)), (X,)),
}


def at_best(module: Module) -> Module:
    """A module as a target gets it that has Attention as an operator."""
    passes = (RecognizeAttention(), Canonicalise())
    return PassManager(passes, [Verify()]).run(uair.optimize(module.clone()))


@pytest.mark.parametrize("name", LAYERS)
def test_packed_projections_are_brought_to_the_least(name: str) -> None:
    layer, inputs = LAYERS[name]
    module = at_best(check(layer, *inputs))
    assert Counter(n.op_type for n in module.main) == LEAST
    compare(module, layer, inputs, None, 1e-5)


# All of TorchScript is deprecated, and the tracer warns of the layer's own tests of shapes.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_packed_projections_of_an_onnx_file(name: str, tmp_path: Path) -> None:
    """TorchScript's exporter; with gradients, without which the layer is one operator that it does not know."""
    layer, inputs = LAYERS[name]
    path = tmp_path / "layer.onnx"
    torch.onnx.export(layer.eval(), inputs, path, dynamo=False, opset_version=17)
    module = at_best(uair.load(path))
    assert Counter(n.op_type for n in module.main) == LEAST
    compare(module, layer, inputs, None, 1e-5)


def test_padded_keys_and_weights_of_each_head() -> None:
    padded = torch.arange(6)[None] >= torch.tensor([[6], [4], [2]])
    layer = Packed(average_attn_weights=False)
    module = at_best(check(layer, X, Y, padded))
    assert max(t.type.rank for n in module.main for t in n.outputs) == 4
    assert sum(n.op_type == "Transpose" for n in module.main) <= 5  # three heads, keys, and back
    compare(module, layer, (X, Y, padded), None, 1e-5)


def _heads(x: torch.Tensor, count: int = 2) -> torch.Tensor:
    return x.view(*x.shape[:2], count, -1)


def _in_batch(x: torch.Tensor) -> torch.Tensor:
    return _heads(x).transpose(1, 2).reshape(-1, x.shape[1], x.shape[2] // 2)


def _einsum(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("bqhd,bkhd->bhqk", _heads(q), _heads(k)) / 2
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), _heads(v)).reshape(q.shape)


def _einsum_in_batch(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("b i d, b j d -> b i j", _in_batch(q), _in_batch(k)) * 0.5
    y = torch.einsum("b i j, b j d -> b i d", scores.softmax(-1), _in_batch(v))
    return y.view(q.shape[0], 2, q.shape[1], -1).transpose(1, 2).reshape(q.shape)


def _in_sums(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """As diffusers and Bloom write it, the latter with a bias as the first operand."""
    bias = torch.linspace(0, 1, k.shape[1]).expand(2 * q.shape[0], 1, -1)
    scores = torch.baddbmm(bias, _in_batch(q), _in_batch(k).transpose(1, 2), beta=1, alpha=0.5)
    y = torch.bmm(scores.softmax(-1), _in_batch(v))
    return y.view(q.shape[0], 2, q.shape[1], -1).transpose(1, 2).reshape(q.shape)


def _of_images(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Places last, as of images: q [N, C, places]."""
    scores = torch.bmm(q.transpose(1, 2), k) * 0.5
    return torch.bmm(v, scores.softmax(2).transpose(1, 2))


FORMS = {"einsum": _einsum, "einsum, heads in the batch": _einsum_in_batch, "sums of products": _in_sums}


@pytest.mark.parametrize("name", FORMS)
def test_spelled_out_attention(name: str) -> None:
    operands = (_t(3, 5, 8), _t(3, 5, 8), _t(3, 5, 8))
    module = at_best(check(FORMS[name], *operands))
    assert Counter(n.op_type for n in module.main) == Counter(Reshape=4, Transpose=4, Attention=1)
    compare(module, as_module(FORMS[name]), operands, None, 1e-5)


def test_attention_over_the_places_of_images() -> None:
    operands = (_t(3, 4, 6), _t(3, 4, 6), _t(3, 5, 6))
    module = at_best(check(_of_images, *operands))
    kinds = Counter(n.op_type for n in module.main)
    assert kinds["Attention"] == 1 and not kinds["Softmax"]
    compare(module, as_module(_of_images), operands, None, 1e-5)


@pytest.mark.parametrize("options", [{"need_weights": False}, {}])
def test_open_sizes(options: dict[str, bool], tmp_path: Path) -> None:
    layer = Packed(**options).eval()
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("steps")}
    module = at_best(uair.load(torch.export.export(layer, (X,), dynamic_shapes={"q": sizes})))
    assert Counter(n.op_type for n in module.main) == LEAST
    uair.export_onnx(module, tmp_path / "layer.onnx")
    back = uair.load(tmp_path / "layer.onnx")
    for shape in ((2, 3, 8), (1, 7, 8)):
        x = _t(*shape)
        for one in (module, back):
            (ours,) = uair.run(one, {one.main.input_names[0]: x.numpy()}).values()
            assert relative_error(ours, layer(x).detach().numpy()) <= 1e-5
