"""Sizes that values decide: numbers taken out of tensors, counts of what a mask holds, and numbers as inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import uair
from tests.frameworks.torch.harness import WARNINGS, check

pytestmark = WARNINGS
X = torch.arange(24.0).reshape(6, 4)
THREE = torch.tensor(3)


def _number(t: torch.Tensor) -> Any:
    """A number from 0 to 6 that a tensor holds."""
    number = t.item()
    torch._check(number >= 0)
    torch._check(number <= 6)
    return number


CASES: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "slice": lambda x, t: (x[: _number(t)] * 2, x[_number(t) :].sum(0)),
    "narrow": lambda x, t: x.narrow(0, _number(t), 2),
    "zeros": lambda x, t: torch.zeros(_number(t), 4) + x[0],
    "arange": lambda x, t: torch.arange(_number(t)) * 2,
    "expand": lambda x, t: x[0].expand(_number(t), 4) + 1,
    "select": lambda x, t: x[_number(t)],
    "number": lambda x, t: x * t.item() + t.item() / 2,
    "mask": lambda x, t: torch.arange(6) < _number(t),
    "repeat": lambda x, t: x.repeat(_number(t), 1),
    "flatten": lambda x, t: torch.cat([x[: _number(t)], x]).flatten(),
    "pad": lambda x, t: torch.nn.functional.pad(x, (0, 0, 0, _number(t))),
    "count": lambda x, t: x[x[:, 0] > t].sum(0) / x[x[:, 0] > t].shape[0],
    "rows that a mask holds": lambda x, t: x[x[:, 0] > t].reshape(-1, 2, 2).flatten(),
    "number beside a write in place": lambda x, t: torch.arange(x.clone().fill_(2).sum().long()) * t.clone().mul_(2),
    "places": lambda x, t: torch.arange((x > t).nonzero().shape[0]),
}


@pytest.mark.parametrize("name", CASES)
def test_decided_by_the_data(name: str) -> None:
    check(CASES[name], X, THREE, others=[[X, torch.tensor(2)], [X + 1, torch.tensor(4)]])


def test_number_as_input() -> None:
    """An open number among the inputs is an i64 scalar."""

    class Cut(torch.nn.Module):
        def forward(self, x: torch.Tensor, k: int) -> Any:
            return x[:k] * k, x.sum() + k, k + 1

    model = Cut().eval()
    module = uair.load(model, X, 3, dynamic_shapes=({0: torch.export.Dim("rows")}, torch.export.Dim.DYNAMIC))
    assert [str(t.type) for t in module.main.inputs] == ["f32[rows,4]", "i64[]"]
    for each in (module, uair.optimize(module.clone())):
        for x, k in ((X, 2), (X[:5], 4)):
            found = uair.run(each, {"x": x.numpy(), "k": np.asarray(k)})
            for ours, theirs in zip(found.values(), model(x, k), strict=True):
                np.testing.assert_allclose(ours, np.asarray(theirs))
