"""Comparisons, logic, casts and created tensors against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.frameworks.torch.harness import WARNINGS, check, check_batches

pytestmark = WARNINGS
G = torch.Generator().manual_seed(7)
X = torch.randn(3, 4, generator=G).round(decimals=1)
Y = torch.where(torch.arange(4) % 2 == 0, X, -X)
K = torch.randint(-9, 9, (3, 4), dtype=torch.int32, generator=G)
B = K > 0
N = torch.tensor([[1.0, float("nan"), float("inf"), -0.0]] * 2)

CASES: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "compare": (lambda x, y: (x == y, x != y, x < y, x <= y, x > y, x >= y), (X, Y)),
    "with numbers": (lambda k, b: (k > 1.5, k == 2, k.eq(True), b < 1, b >= b[0]), (K, B)),
    "logic": (
        lambda b, k: (b.logical_and(k), b.logical_or(k), torch.logical_xor(b, k), k.logical_not(), ~b, ~k),
        (B, K),
    ),
    "bits": (lambda k, b: (k & 3, k | 4, k ^ 5, b & (k > 2), b | b[0], k << 2, k >> 1), (K, B)),
    "kinds": (lambda n: (n.isnan(), n.isinf(), n.isfinite(), n.isposinf(), n.signbit()), (N,)),
    "kinds of integers": (lambda k: (k.isnan(), k.isfinite(), k.signbit()), (K,)),
    "isclose": (lambda x, y: (torch.isclose(x, y), torch.isclose(x, x + 1e-7)), (X, Y)),
    "isclose of nan": (lambda n: (torch.isclose(n, n), torch.isclose(n, n, equal_nan=True)), (N,)),
    "isin": (lambda k: (torch.isin(k, torch.tensor([1, 2, -3])), torch.isin(k, k[0], invert=True)), (K,)),
    "where": (lambda b, x, k: (torch.where(b, x, k), torch.where(b, 1.5, x), torch.where(b, k, 2)), (B, X, K)),
    "casts": (lambda x, k: (x.half(), x.int(), k.float(), x.bool(), k.to(torch.int8), x.type_as(k)), (X, K)),
    "bits as another type": (lambda x: x.view(torch.int32), (X,)),
    "filled": (
        lambda x: (
            x.new_zeros(2, 3),
            torch.ones_like(x, dtype=torch.int32),
            torch.full((2, 2), 7),
            x.new_full((3,), True),
            torch.full_like(x, 2.5),
            x * 0 + torch.scalar_tensor(3.5),
        ),
        (X,),
    ),
    "series": (
        lambda x: (
            torch.arange(5),
            torch.arange(1, 9, 2, dtype=torch.float32),
            torch.arange(0.0, 1.0, 0.25),
            torch.linspace(-1, 1, 5),
            torch.logspace(0, 2, 3),
            torch.eye(3, 4),
            torch.tril_indices(3, 3),
            torch.hann_window(6),
            torch.hamming_window(5, periodic=False),
            x + 1,
        ),
        (X,),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_comparison(name: str) -> None:
    function, inputs = CASES[name]
    check(function, *inputs)


def test_sizes_of_series() -> None:
    def function(x: torch.Tensor) -> Any:
        n = x.shape[0]
        return torch.arange(n), torch.arange(1, 2 * n, 2), x.new_ones(n, 2), torch.eye(n), torch.arange(-n, n)

    check_batches(function, X)


def test_random() -> None:
    import uair

    class Noise(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return torch.rand_like(x), torch.randn(1000), torch.randint(2, 5, (1000,))

    module = uair.load(Noise(), X)
    uniform, normal, integers = uair.run(module, {module.main.input_names[0]: X.numpy()}).values()
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(normal.mean()) < 0.2 and 0.8 < normal.std() < 1.2
    assert set(integers.tolist()) == {2, 3, 4}
