"""Attention of vision transformers whose product is packed, and that of Swin's shifted windows, against PyTorch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

import uair
from tests.frameworks.torch.harness import WARNINGS, check, compare
from tests.frameworks.torch.test_attention import at_best

pytestmark = WARNINGS
SIDE, WINDOW, HEADS, WIDTH = 8, 4, 3, 12


class ShiftedWindows(torch.nn.Module):
    """One layer: roll, windows, packed projections, a bias by head and a mask by window, and all of it back.

    Args:
        taken: how queries, keys and values are taken of the product: by `index` or by `unbind`.
        cosine: whether queries and keys are normalized and the scores scaled by head, as in the second version.
    """

    def __init__(self, taken: str, cosine: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.qkv, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        places = WINDOW * WINDOW
        self.bias = torch.nn.Parameter(torch.randn(HEADS, places, places, generator=generator))
        self.scale = torch.nn.Parameter(torch.rand(HEADS, 1, 1, generator=generator) + 0.5)
        self.taken, self.cosine = taken, cosine
        zones = torch.zeros(1, SIDE, SIDE, 1)
        cuts = (slice(0, -WINDOW), slice(-WINDOW, -2), slice(-2, None))
        for i, rows in enumerate(cuts):
            for j, columns in enumerate(cuts):
                zones[:, rows, columns] = 3 * i + j
        zones = self.windows(zones)[..., 0]
        self.register_buffer("mask", (zones[:, None] != zones[:, :, None]) * -100.0)

    @staticmethod
    def windows(x: torch.Tensor) -> torch.Tensor:
        count = SIDE // WINDOW
        cut = x.view(-1, count, WINDOW, count, WINDOW, x.shape[-1]).permute(0, 1, 3, 2, 4, 5)
        return cut.reshape(-1, WINDOW * WINDOW, x.shape[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        windows = self.windows(torch.roll(x, (-2, -2), (1, 2)))
        batch, places, _ = windows.shape
        packed = self.qkv(windows).reshape(batch, places, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        q, k, v = (packed[0], packed[1], packed[2]) if self.taken == "index" else packed.unbind(0)
        if self.cosine:
            q, k = torch.nn.functional.normalize(q, dim=-1), torch.nn.functional.normalize(k, dim=-1)
            scores = q @ k.transpose(-2, -1) * self.scale.clamp(max=4.6).exp()
        else:
            scores = (q * 0.5) @ k.transpose(-2, -1)
        scores = scores + self.bias[None]
        count = self.mask.shape[0]
        scores = scores.view(batch // count, count, HEADS, places, places) + self.mask[:, None][None]
        weights = scores.view(-1, HEADS, places, places).softmax(-1)
        y = self.out((weights @ v).transpose(1, 2).reshape(batch, places, -1))
        side = SIDE // WINDOW
        y = y.view(-1, side, side, WINDOW, WINDOW, WIDTH).permute(0, 1, 3, 2, 4, 5).reshape(-1, SIDE, SIDE, WIDTH)
        return torch.roll(y, (2, 2), (1, 2))


@pytest.mark.parametrize("cosine", [False, True], ids=["dot", "cosine"])
@pytest.mark.parametrize("taken", ["index", "unbind"])
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_shifted_windows(taken: str, cosine: bool, images: int, tmp_path: Path) -> None:
    layer = ShiftedWindows(taken, cosine).eval()
    x = torch.randn(images, SIDE, SIDE, WIDTH, generator=torch.Generator().manual_seed(4))
    path = tmp_path / "layer.onnx"
    torch.onnx.export(layer, (x,), path, dynamo=False, opset_version=17)
    for read in (check(layer, x), uair.load(path)):
        module = at_best(read)
        found = Counter(n.op_type for n in module.main)
        assert found["Attention"] == 1 and found["Linear"] == 4 and not found["Softmax"] + found["Gather"]
        compare(module, layer, (x,), None, 1e-5)
