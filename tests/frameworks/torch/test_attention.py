"""Attention against PyTorch: kept as one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attention

from tests.frameworks.torch.harness import WARNINGS, check

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
