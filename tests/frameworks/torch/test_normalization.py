"""Normalizations against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import uair
from tests.frameworks.torch.harness import WARNINGS, check, check_batches
from uair.frontends.common.errors import SourceOperatorError

pytestmark = WARNINGS

IMAGE, SIGNAL, ROWS = torch.randn(2, 6, 5, 4), torch.randn(2, 6, 7), torch.randn(3, 6)


def filled(layer: nn.Module) -> nn.Module:
    """A layer whose parameters and statistics are random."""
    generator = torch.Generator().manual_seed(0)
    for tensor in (*layer.parameters(), *layer.buffers()):
        if tensor.is_floating_point():
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return layer


LAYERS: dict[str, tuple[nn.Module, torch.Tensor]] = {
    "batch 1d": (nn.BatchNorm1d(6), SIGNAL),
    "batch of rows": (nn.BatchNorm1d(6), ROWS),
    "batch 2d": (nn.BatchNorm2d(6, eps=1e-3), IMAGE),
    "batch without affine": (nn.BatchNorm2d(6, affine=False), IMAGE),
    "batch 3d": (nn.BatchNorm3d(6), torch.randn(2, 6, 2, 3, 4)),
    "batch of its own statistics": (nn.BatchNorm2d(6, track_running_stats=False), IMAGE),
    "instance": (nn.InstanceNorm2d(6, affine=True), IMAGE),
    "instance plain": (nn.InstanceNorm1d(6), SIGNAL),
    "instance tracked": (nn.InstanceNorm2d(6, affine=True, track_running_stats=True), IMAGE),
    "layer": (nn.LayerNorm(4), IMAGE),
    "layer over axes": (nn.LayerNorm((5, 4), eps=1e-3), IMAGE),
    "layer plain": (nn.LayerNorm(4, elementwise_affine=False), IMAGE),
    "layer without bias": (nn.LayerNorm(4, bias=False), IMAGE),
    "group": (nn.GroupNorm(3, 6), IMAGE),
    "group plain": (nn.GroupNorm(2, 6, affine=False), SIGNAL),
    "rms": (nn.RMSNorm(4, eps=1e-6), IMAGE),
    "rms default eps": (nn.RMSNorm((5, 4)), IMAGE),
    "local response": (nn.LocalResponseNorm(3), IMAGE),
    "weight": (parametrizations.weight_norm(nn.Linear(6, 4)), ROWS),
    "spectral": (parametrizations.spectral_norm(nn.Linear(6, 4)).eval(), ROWS),
}
WHOLE = {
    "batch 2d": "BatchNorm",
    "instance": "InstanceNorm",
    "layer": "LayerNorm",
    "group": "GroupNorm",
    "rms": "RMSNorm",
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "normalize": lambda x: (F.normalize(x), F.normalize(x, p=1, dim=-1)),
    "cosine similarity": lambda x: F.cosine_similarity(x, x.flip(1) + 1, dim=1),
    "pairwise distance": lambda x: (F.pairwise_distance(x, x + 1), F.pairwise_distance(x, x * 2, p=1, keepdim=True)),
    "cdist": lambda x: torch.cdist(x, x * 2 + 1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str) -> None:
    layer, x = LAYERS[name]
    check_batches(filled(layer) if name not in ("weight", "spectral") else layer, x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    check(FUNCTIONS[name], ROWS)


@pytest.mark.parametrize("name", WHOLE)
def test_stays_whole(name: str) -> None:
    layer, x = LAYERS[name]
    assert [node.op_type for node in check(filled(layer), x).main] == [WHOLE[name]]


def test_half_precision_keeps_its_type() -> None:
    check(nn.LayerNorm(4).half(), IMAGE.half(), tolerance=2e-3)
    check(nn.BatchNorm2d(6).half().eval(), IMAGE.half(), tolerance=2e-3)


def test_training_mode_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)).train()
    with pytest.raises(SourceOperatorError, match=r"training mode") as caught:
        uair.load(model, IMAGE)
    assert "module.eval()" in caught.value.hint
    assert "'1'" in caught.value.place
