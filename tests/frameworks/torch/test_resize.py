"""Resampling against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.frameworks.torch.harness import WARNINGS, check, check_batches

pytestmark = WARNINGS

EXTENTS = {"linear": (9,), "bilinear": (6, 5), "bicubic": (6, 5), "trilinear": (4, 3, 5), "nearest": (6, 5)}
X = torch.randn(2, 3, 6, 5)

WAYS: list[dict[str, Any]] = [
    {"mode": "nearest", "size": (9, 4)},
    {"mode": "nearest", "scale_factor": 2},
    {"mode": "nearest", "scale_factor": (1.7, 0.6)},
    {"mode": "nearest-exact", "size": (9, 4)},
    {"mode": "nearest-exact", "scale_factor": 1.5},
    {"mode": "bilinear", "size": (9, 4)},
    {"mode": "bilinear", "scale_factor": 2},
    {"mode": "bilinear", "scale_factor": (1.7, 0.6)},
    {"mode": "bilinear", "scale_factor": 1.7, "recompute_scale_factor": True},
    {"mode": "bilinear", "size": (12, 10), "align_corners": True},
    {"mode": "bilinear", "size": (1, 1), "align_corners": True},
    {"mode": "bilinear", "size": (3, 2), "antialias": True},
    {"mode": "bilinear", "size": (12, 3), "antialias": True},
    {"mode": "bicubic", "size": (9, 4)},
    {"mode": "bicubic", "scale_factor": 2.5},
    {"mode": "bicubic", "size": (12, 10), "align_corners": True},
    {"mode": "bicubic", "size": (3, 2), "antialias": True},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way.values())))
def test_images(way: dict[str, Any]) -> None:
    check_batches(lambda x: F.interpolate(x, **way), X)


@pytest.mark.parametrize(
    ("mode", "extents"),
    [("linear", (9,)), ("nearest", (9,)), ("nearest-exact", (9,)), ("trilinear", (4, 3, 5)), ("nearest", (4, 3, 5))],
)
def test_other_ranks(mode: str, extents: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *extents)
    check(lambda x: F.interpolate(x, scale_factor=2, mode=mode), x)
    check(lambda x: F.interpolate(x, size=tuple(d - 1 for d in extents), mode=mode), x)


def test_open_extents() -> None:
    free = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    other = torch.randn(3, 3, 7, 9)
    for mode in ("nearest", "bilinear", "bicubic"):
        check(nn.Upsample(scale_factor=2, mode=mode), X, dynamic_shapes=(free,), others=[[other]])
    check(
        lambda x, y: F.interpolate(x, size=y.shape[2:], mode="bilinear"),
        X,
        torch.randn(2, 3, 12, 10),
        dynamic_shapes=(
            ({0: free[0], 2: free[2], 3: free[3]}, {0: free[0], 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}),
        ),
        others=[[other, torch.randn(3, 3, 5, 20)]],
    )


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample(mode: str, padding: str) -> None:
    grid = torch.rand(2, 4, 7, 2, generator=torch.Generator().manual_seed(1)) * 2.6 - 1.3
    check(
        lambda x, g: tuple(
            F.grid_sample(x, g, mode=mode, padding_mode=padding, align_corners=c) for c in (False, True)
        ),
        X,
        grid,
        tolerance=1e-3 if mode == "bicubic" else 1e-4,
    )


def test_affine_grid() -> None:
    check(
        lambda t, x: F.grid_sample(x, F.affine_grid(t, [2, 3, 4, 4], align_corners=False), align_corners=False),
        torch.randn(2, 2, 3) / 2,
        X,
    )


def test_resize_is_one_node() -> None:
    for way in WAYS:
        module = check(lambda x, way=way: F.interpolate(x, **way), X, optimize=False)
        assert [node.op_type for node in module.main] == ["Resize"]
