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
from tests.frameworks.torch.harness import WARNINGS, check, compare, relative_error
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
