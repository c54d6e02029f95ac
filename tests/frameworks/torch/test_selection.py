"""Order statistics, running extremes, different elements, counts, and bags of embeddings, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import uair
from tests.frameworks.torch.harness import WARNINGS, Function, check
from tests.frameworks.torch.models import torchvision_model

pytestmark = WARNINGS
assert torchvision_model is not None  # the module declares the operators of torchvision
G = torch.Generator().manual_seed(21)
X = torch.randn(4, 9, generator=G)
HOLES = torch.where(X > 0.8, torch.nan, X)
N = torch.randint(0, 6, (4, 9), generator=G)
TABLE = torch.randn(6, 5, generator=G)
WEIGHTS = torch.rand(4, 9, generator=G)
STEPS = torch.tensor([0, 0, 1, 1, 1, 5, 2, 2, 0])

CASES: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "kthvalue": (lambda x: (x.kthvalue(3), x.kthvalue(1, 0, keepdim=True)), (X,)),
    "median": (lambda x: (x.median(), x.median(1), x.median(0, keepdim=True)), (X,)),
    "median with NaN": (lambda x: (x.median(), x.median(1)[0], x.nanmedian(), x.nanmedian(1)), (HOLES,)),
    "median of integers": (lambda i: (i.median(), i.nanmedian(1)[0]), (N,)),
    "no axes": (lambda x: (x.median(), x.median(0), x.kthvalue(1), x.cummax(0)), (X[0, 0],)),
    "mode": (lambda i: (i.mode(), i.mode(0, keepdim=True)), (N,)),
    "cummax": (lambda x, i: (x.cummax(1), x.cummin(0), i.cummax(1), i.cummin(-1)), (X, N)),
    "cummax with NaN": (lambda x: (x.cummax(1), x.cummin(1)), (HOLES,)),
    "logcumsumexp": (lambda x: (x.logcumsumexp(1), (x * 90).logcumsumexp(0)), (X,)),
    "unique": (lambda i: (torch.unique(i), torch.unique(i, return_inverse=True, return_counts=True)), (N,)),
    "unique slices": (lambda i: torch.unique(i % 2, dim=1, return_inverse=True, return_counts=True), (N,)),
    "unique neighbours": (
        lambda i, s: (
            torch.unique_consecutive(i, return_inverse=True, return_counts=True),
            torch.unique_consecutive(i[:, s] % 3, dim=1, return_counts=True),
        ),
        (N, STEPS),
    ),
    "bincount": (lambda s, w: (s.bincount(), s.bincount(w), s.bincount(minlength=9)), (STEPS, WEIGHTS[0])),
    "histc": (lambda x: (x.histc(5, -1, 1), x.histc(4)), (X,)),
    "repeat_interleave": (
        lambda x, r: (x.repeat_interleave(r, 0), torch.repeat_interleave(r), x[:, 0].repeat_interleave(r)),
        (X, torch.tensor([1, 0, 3, 2])),
    ),
    "quantile": (lambda x: (x.quantile(0.3), x.quantile(torch.tensor([0.25, 0.5]), dim=1)), (X,)),
    "pairs": (
        lambda x, s: (F.pdist(x), F.pdist(x, 1), torch.dist(x, x[:1] * 2), torch.cartesian_prod(s, s[:2] + 1, s[2:4])),
        (X, STEPS),
    ),
    "grids": (
        lambda x, s: (
            torch.meshgrid(x[0], s.float(), indexing="ij"),
            torch.meshgrid(x[:, 0], s * 0.5, x[0], indexing="xy"),
        ),
        (X, STEPS),
    ),
    "order of random numbers": (lambda x: x.sum() * torch.randperm(9).sort()[0], (X,)),
    "bags of one length": (lambda i, t: [F.embedding_bag(i, t, mode=m) for m in ("sum", "mean", "max")], (N, TABLE)),
    "bags": (
        lambda i, t, o: [F.embedding_bag(i, t, o, mode=m) for m in ("sum", "mean", "max")],
        (STEPS, TABLE, torch.tensor([0, 4, 4, 7])),
    ),
    "bags with an end": (
        lambda i, t, o: F.embedding_bag(i, t, o, mode="mean", include_last_offset=True),
        (STEPS, TABLE, torch.tensor([0, 4, 9])),
    ),
    "bags with padding": (
        lambda i, t: [F.embedding_bag(i, t, mode=m, padding_idx=1) for m in ("sum", "mean", "max")],
        (N, TABLE),
    ),
    "weighted bags": (
        lambda i, t, w: F.embedding_bag(i, t, mode="sum", per_sample_weights=w),
        (N, TABLE, WEIGHTS),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_selection(name: str) -> None:
    function, inputs = CASES[name]
    check(function, *inputs)


def test_open_sizes() -> None:
    def function(x: torch.Tensor, i: torch.Tensor, t: torch.Tensor) -> Any:
        return (
            x.median(1),
            x.nanmedian(0)[0],
            x.cummax(1),
            x.logcumsumexp(1),
            torch.unique_consecutive(i.flatten(), return_counts=True),
            F.embedding_bag(i, t, mode="mean"),
        )

    dim = torch.export.Dim
    rows, columns = dim("rows"), dim("columns", min=2)
    shapes = ({0: rows, 1: columns}, {0: rows, 1: columns}, None)
    others = [[X[:2].repeat(1, 2), N[:2].repeat(1, 2), TABLE], [X[:3, :4], N[:3, :4], TABLE]]
    check(function, X, N, TABLE, dynamic_shapes=(shapes,), others=others)


def test_exponential() -> None:
    module = uair.load(Function(lambda x: x.clone().exponential_(2.0)), torch.zeros(100, 100))
    (found,) = uair.run(module, {module.main.input_names[0]: np.zeros((100, 100), np.float32)}).values()
    assert (found >= 0).all()
    assert abs(found.mean() - 0.5) < 0.03 and abs(found.std() - 0.5) < 0.03


def _kept(boxes: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], threshold: float) -> list[int]:
    """What torchvision's documentation says that nms keeps, box by box."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        x1, y1, x2, y2 = boxes[i]
        for j in kept:
            width = min(x2, boxes[j][2]) - max(x1, boxes[j][0])
            height = min(y2, boxes[j][3]) - max(y1, boxes[j][1])
            both = max(width, 0) * max(height, 0)
            area = (x2 - x1) * (y2 - y1) + (boxes[j][2] - boxes[j][0]) * (boxes[j][3] - boxes[j][1])
            if both / (area - both) > threshold:
                break
        else:
            kept.append(int(i))
    return kept


# torchvision 0.28 calls what torch 2.13 deprecates.
@pytest.mark.filterwarnings("ignore:`create_unbacked_symint` is deprecated:FutureWarning")
def test_nms() -> None:
    """Torchvision's kernels are not there to run: the program is traced, and the numbers are held against the text."""
    corners = torch.rand(40, 2, generator=G) * 10
    boxes = torch.cat([corners, corners + torch.rand(40, 2, generator=G) * 6 + 1], 1)
    scores = torch.rand(40, generator=G)
    module = uair.load(Function(lambda b, s: torch.ops.torchvision.nms(b, s, 0.3)), boxes, scores)
    names = module.main.input_names
    (found,) = uair.run(module, dict(zip(names, (boxes.numpy(), scores.numpy()), strict=True))).values()
    want = _kept(boxes.numpy(), scores.numpy(), 0.3)
    assert 5 < len(want) < 40
    assert found.tolist() == want
