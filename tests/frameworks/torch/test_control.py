"""torch.cond against PyTorch: both ways, nested, with what is around it."""

from __future__ import annotations

import torch

from tests.frameworks.torch.harness import WARNINGS, check

pytestmark = WARNINGS


class Branches(torch.nn.Module):
    """A condition inside of a condition; both use a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)

        def inner(x: torch.Tensor) -> torch.Tensor:
            return torch.cond(x.max() > 2, lambda x: x * y, lambda x: x - y, (x,))

        return torch.cond(x.sum() > 0, inner, lambda x: x + 1, (x,))


def test_cond() -> None:
    x = torch.tensor([[1.0, 0.5, 0.2], [0.1, 0.3, 0.4]])
    module = check(Branches(), x, others=[[-x], [3 * x]])
    assert [n.op_type for n in module.main].count("If") == 1
