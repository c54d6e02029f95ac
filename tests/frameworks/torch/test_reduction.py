"""Reductions and scans against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.frameworks.torch.harness import WARNINGS, check, check_batches

pytestmark = WARNINGS

X = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(4))
K = torch.randint(-5, 6, (3, 4, 5), dtype=torch.int32, generator=torch.Generator().manual_seed(5))
B = K > 0
N = torch.tensor([[1.0, float("nan"), 2.0], [3.0, 4.0, 3.0]])
S = torch.tensor(2.5)

FUNCTIONS: dict[str, tuple[Callable[..., Any], torch.Tensor]] = {
    "sum": (lambda x: (x.sum(), x.sum(1), x.sum((0, -1), keepdim=True), x.sum(-1, dtype=torch.float64)), X),
    "sum of ints": (
        lambda k: (k.sum(), k.sum(1), k.sum(0, dtype=torch.int32), (k > 0).sum(), k.sum(1, dtype=torch.float32)),
        K,
    ),
    "sum of no axes": (lambda x: (x.sum(()), x.mean(())), X),
    "mean": (lambda x: (x.mean(), x.mean(1), x.mean((1, 2), keepdim=True)), X),
    "mean of ints": (lambda k: k.mean(1, dtype=torch.float32), K),
    "prod": (lambda x: (x.prod(), x.prod(1), x.prod(0, keepdim=True)), X),
    "prod of ints": (lambda k: k.prod(1), K),
    "amax": (lambda x: (x.amax(), x.amax(1), x.amin((0, 2), keepdim=True), torch.aminmax(x, dim=1)), X),
    "max": (lambda x: (x.max(), x.min(), x.max(1), x.min(-1, keepdim=True), torch.max(x, 0).values), X),
    "max of ints": (lambda k: (k.max(), k.amin(1), k.max(2).values), K),
    "max of bools": (lambda b: (b.max(), b.amin(1), b.any(1)), B),
    "max of nan": (lambda n: (n.max(), n.amax(1), n.amin(0)), N),
    "argmax": (lambda x: (x.argmax(), x.argmax(1), x.argmin(2, keepdim=True), x.argmax(keepdim=True)), X),
    "argmax of ints": (lambda k: (k.argmax(), k.argmin(0)), torch.arange(60, dtype=torch.int32).reshape(3, 4, 5)),
    "any": (lambda b: (b.any(), b.all(), b.any(1), b.all((0, 2), keepdim=True), torch.any(b, dim=(1, 2))), B),
    "any of numbers": (lambda k: (k.any(1), k.all(), k.to(torch.uint8).any(1)), K),
    "count": (lambda k: (torch.count_nonzero(k), torch.count_nonzero(k, dim=1)), K),
    "nansum": (lambda n: (torch.nansum(n), torch.nansum(n, dim=1)), N),
    "var": (lambda x: (x.var(), x.var(1), x.var((0, 1), keepdim=True, unbiased=False), x.var(1, correction=2)), X),
    "std": (lambda x: (x.std(), x.std(1), x.std(1, correction=0), x.std(1, unbiased=False)), X),
    "var and mean": (
        lambda x: (torch.var_mean(x), torch.std_mean(x, dim=1), torch.var_mean(x, dim=(0, 2), keepdim=True)),
        X,
    ),
    "norm": (
        lambda x: (
            x.norm(),
            x.norm(dim=1),
            x.norm(p=1, dim=(0, 1)),
            torch.linalg.vector_norm(x, 3, dim=1),
            x.norm(float("inf"), 1),
        ),
        X,
    ),
    "norm orders": (
        lambda x: tuple(
            torch.linalg.vector_norm(x, p, dim=-1, keepdim=True) for p in (0, 0.5, 1, 2, float("inf"), -float("inf"))
        ),
        X,
    ),
    "matrix norm": (lambda x: (torch.linalg.matrix_norm(x), torch.norm(x, "fro", dim=(1, 2))), X),
    "logsumexp": (lambda x: (x.logsumexp(1), torch.logsumexp(x, (0, 1), keepdim=True)), X),
    "cumsum": (lambda x: (x.cumsum(1), x.cumsum(-1), x.cumsum(0, dtype=torch.float64)), X),
    "cumsum of ints": (lambda k: (k.cumsum(1), (k > 0).cumsum(0)), K),
    "cumprod": (lambda x: x.cumprod(1), X),
    "diff": (lambda x: (x.diff(), x.diff(n=2, dim=2), x.diff(dim=1, prepend=x[:, :1] - 1, append=x)), X),
    "diff of bools": (lambda b: b.diff(dim=1), B),
    "scalar": (lambda s: (s.sum(), s.mean(0), s.amax(-1), s.argmax(), s.cumsum(0), s.norm(), s.max(0)), S),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    function, x = FUNCTIONS[name]
    if x.ndim == 3:
        check_batches(function, x)
    else:
        check(function, x)


def test_half_precision() -> None:
    check(lambda x: (x.sum(1), x.mean(), x.softmax(1).sum(1)), X.half(), tolerance=2e-3)
