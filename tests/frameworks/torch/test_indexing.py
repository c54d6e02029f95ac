"""Reading and writing by index, ordering, and searching, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.frameworks.torch.harness import WARNINGS, check

pytestmark = [
    WARNINGS,
    pytest.mark.filterwarnings("ignore:index_reduce.. is in beta:UserWarning"),  # torch 2.13, at its first call
]
G = torch.Generator().manual_seed(6)
X = torch.randn(4, 5, 6, generator=G)
PLACES = torch.tensor([[0, 3], [2, 1]])
J = torch.tensor([4, 0])
W = torch.randn(4, 2, 6, generator=G)
N = torch.randint(0, 4, (3, 5, 6), generator=G)
Y = torch.randn(3, 5, 6, generator=G)
B = X > 0


def _assigned(x: torch.Tensor, value: Any, *at: Any) -> torch.Tensor:
    y = x.clone()
    y[at] = value
    return y


CASES: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "embedding": (lambda w, i: torch.nn.functional.embedding(i, w), (X[0], PLACES)),
    "index_select": (lambda x, j: (x.index_select(1, j), x.index_select(-1, j)), (X, J)),
    "gather": (lambda x, n: x.gather(0, n), (X, N)),
    "take_along_dim": (lambda x, n: torch.take_along_dim(x, n, 0), (X, N)),
    "take": (torch.take, (X, PLACES)),
    "one axis": (lambda x, i: (x[i], x[:, i], x[..., i]), (X, PLACES)),
    "neighbours": (lambda x, i, j: (x[i, j], x[:, i, j]), (X, PLACES, J)),
    "not neighbours": (lambda x, i, j: (x[i, :, j], x[j, :, 2]), (X, PLACES, J % 4)),
    "all axes": (lambda x, i, j: x[i, j, 1], (X, PLACES, J)),
    "index_put": (lambda x, w, j: _assigned(x, w, slice(None), j), (X, W, J)),
    "index_put apart": (lambda x, i, j: _assigned(x, 2.0, i, slice(None), j), (X, PLACES, J)),
    "index_put accumulate": (lambda x, j: x.index_put((j, j), torch.ones(2, 6), accumulate=True), (X[:, :4], J % 2)),
    "index_put mask": (lambda x, b: _assigned(x, -1.0, b), (X, B)),
    "scatter": (lambda x, n, y: (x.scatter(0, n[:1], y), x.scatter(0, n[:1], 2.5)), (X, N, Y)),
    "scatter_add": (lambda x, n, y: (x.scatter_add(0, n, y), x.scatter_reduce(0, n, y, "amax")), (X, N, Y)),
    "scatter_reduce": (
        lambda x, n, y: [
            x.scatter_reduce(0, n, y, how, include_self=kept)
            for how in ("sum", "mean", "prod", "amax", "amin")
            for kept in (True, False)
        ],
        (X, N, Y),
    ),
    "index_reduce": (
        lambda x, w, j: [
            x.index_reduce(1, j % 2, w, how, include_self=kept)
            for how in ("mean", "prod", "amax", "amin")
            for kept in (True, False)
        ],
        (X, W, J),
    ),
    "searchsorted by row": (
        lambda x, y: (
            torch.searchsorted(x.sort()[0], x),
            torch.searchsorted(x, torch.cat([y, y[:1]]), right=True, sorter=x.argsort()),
        ),
        (X, Y),
    ),
    "index_add": (lambda x, w, j: (x.index_add(1, j, w, alpha=2), x.index_fill(2, j, 3.0)), (X, W, J)),
    "index_copy": (lambda x, w, j: x.index_copy(1, j, w), (X, W, J)),
    "slice_scatter": (
        lambda x, w: (
            x.slice_scatter(w, 1, 0, 2),
            x.slice_scatter(w, 1, 3),
            x.slice_scatter(w, 1, -4, -2),
            x.slice_scatter(w, 1, 1, 5, 2),
        ),
        (X, W),
    ),
    "select_scatter": (lambda x, w: (x.select_scatter(w[:, 0], 1, 2), x.select_scatter(w[:, 0], 1, -1)), (X, W)),
    "masked_scatter": (lambda x, b, y: x.masked_scatter(b, y.flatten()), (X[:3], B[:3], Y)),
    "masked_fill": (lambda x, b: (x.masked_fill(b, 7), x.masked_fill(b[0], float("-inf"))), (X, B)),
    "topk": (lambda x: (x.topk(3), x.topk(2, 1, largest=False)), (X,)),
    "sort": (lambda x: (x.sort(), x.sort(0, descending=True), x.argsort(1)), (X,)),
    "bucketize": (
        lambda x, e: (torch.bucketize(x, e), torch.searchsorted(e, x, right=True)),
        (X, torch.tensor([-1.0, 0.0, 0.5])),
    ),
    "one_hot": (lambda i: torch.nn.functional.one_hot(i, 4), (PLACES,)),
}


@pytest.mark.parametrize("name", CASES)
def test_indexing(name: str) -> None:
    function, inputs = CASES[name]
    check(function, *inputs)


def test_sizes_that_the_data_decide() -> None:
    check(lambda x, b: (x[b], x.nonzero(), torch.masked_select(x, b)), X, B)
    check(torch.where, B)
