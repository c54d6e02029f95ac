"""Whole vision models against PyTorch, with a fixed and an open batch."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

import uair
from tests.frameworks.torch.harness import WARNINGS, check
from tests.frameworks.torch.models import TORCHVISION, Detector, UNet, randomized, spread, torchvision_model

pytestmark = WARNINGS

BATCH = torch.export.Dim("batch", min=2, max=64)
# Nodes of torch.onnx.export(dynamo=True) of PyTorch 2.13 with its own optimizer, for the same models.
EXPORTED = {"resnet18": 49, "mobilenet_v2": 100, "mobilenet_v3_small": 122, "densenet121": 368}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    model = torchvision_model(name)
    side = 224 if name.startswith("vit") else 64
    generator = torch.Generator().manual_seed(1)
    x, other = (torch.randn(n, 3, side, side, generator=generator) for n in (2, 3))
    module = check(model, x, dynamic_shapes=({0: BATCH},), others=[[other]])
    assert str(module.main.inputs[0].type).startswith("f32[batch,3,")
    fixed = check(model, x, optimize=False)
    if name in EXPORTED:
        assert len(uair.optimize(fixed).main) <= EXPORTED[name]


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_unet(mode: str) -> None:
    model = randomized(UNet(mode))
    check(model, torch.randn(2, 3, 24, 20))
    dynamic = ({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},)
    module = check(model, torch.randn(2, 3, 24, 20), dynamic_shapes=dynamic, others=[[torch.randn(3, 3, 17, 30)]])
    assert Counter(node.op_type for node in module.main)["Resize"] == 2


def test_detector() -> None:
    model = spread(Detector())
    x = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(5))
    check(model, x)
    check(model, x, dynamic_shapes=({0: BATCH},), others=[[torch.cat([x, x.flip(0) * 0.9])]])
