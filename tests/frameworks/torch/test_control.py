"""Control flow against PyTorch: conditions, loops, scans, nested, with what is around them, live and from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch._higher_order_ops.map import map as torch_map
from torch._higher_order_ops.scan import scan

import uair
from tests.frameworks.torch.harness import WARNINGS, Function, check, compare
from uair.ir.compare import graph_difference
from uair.ops import Loop

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


class Iterated(torch.nn.Module):
    """A loop that runs until the counter or the data end it; its body uses a parameter, a value around it, a size."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)
        torch.nn.init.eye_(self.linear.weight)

    def forward(self, n: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = x.mean()

        def goes_on(i: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return (i < 9) & (x.sum() < 100)

        def body(i: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return i + 1, self.linear(x) + mean * x.shape[0]

        result: tuple[torch.Tensor, torch.Tensor] = torch.while_loop(goes_on, body, (n, x))
        return result


X = torch.tensor([[0.1, 0.5, 0.2], [0.1, 0.3, 0.4]])


def test_while_loop() -> None:
    zero, four = torch.tensor(0), torch.tensor(4)
    shapes = (None, {0: torch.export.Dim("rows")})
    others = [[four, X], [zero, 30 * X], [torch.tensor(9), X], [zero, X.repeat(2, 1)]]
    module = check(Iterated(), zero, X, dynamic_shapes=shapes, others=others)
    (loop,) = (n for n in module.main if isinstance(n.op, Loop))
    assert len(loop.inputs) == 4
    (body,) = loop.regions
    assert [n.op_type for n in body].count("Linear") + [n.op_type for n in body].count("MatMul") == 1


def test_while_loop_without_runs_or_counter() -> None:
    def halved(x: torch.Tensor) -> Any:
        return torch.while_loop(lambda x: x.sum() > 1, lambda x: (x / 2,), (x,))

    check(halved, X, others=[[8 * X], [torch.zeros(2, 3)]])


def test_while_loop_that_carries_a_number() -> None:
    def summed(x: torch.Tensor) -> Any:
        count, total = torch.while_loop(lambda i, y: i < x.shape[0], lambda i, y: (i + 1, y + i * x), (0, x))
        return count + 1, total * count

    check(summed, X, dynamic_shapes=(({0: torch.export.Dim("rows")},),), others=[[X.repeat(3, 1)]])


def test_nested_loops() -> None:
    def steps(x: torch.Tensor) -> Any:
        def outer(i: torch.Tensor, x: torch.Tensor) -> Any:
            j, y = torch.while_loop(lambda j, y: j < i, lambda j, y: (j + 1, y * 1.5), (torch.zeros_like(i), x))
            z = torch.cond(y.max() > 3, lambda y: y / 4, lambda y: y + j, (y,))
            return i + 1, z

        return torch.while_loop(lambda i, x: i < 5, outer, (torch.tensor(0), x))

    check(steps, X, others=[[9 * X]])


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_and_map(reverse: bool) -> None:
    def sums(x: torch.Tensor, y: torch.Tensor) -> Any:
        total, products = scan(
            lambda carry, row: (carry + row, carry * row + y), torch.ones(3), x, dim=0, reverse=reverse
        )
        return total, products, torch_map(lambda row, y: row * y + 1, x, y)

    shapes = ({0: torch.export.Dim("rows", min=2)}, None)
    others = [[X.repeat(2, 1), torch.ones(3)]]
    module = check(sums, X, torch.tensor([0.5, -1.0, 2.0]), dynamic_shapes=(shapes,), others=others)
    assert [n.op_type for n in module.main].count("Scan") == 2


def test_from_a_file(tmp_path: Path) -> None:
    model = Iterated().eval()
    for name, traced, inputs in (
        ("loop", model, (torch.tensor(0), X)),
        ("scan", Function(lambda x: scan(lambda c, r: (c + r, c * r), torch.zeros(3), x, dim=0)), (X,)),
    ):
        program = torch.export.export(traced, inputs, strict=False)
        torch.export.save(program, tmp_path / f"{name}.pt2")
        module = uair.load(tmp_path / f"{name}.pt2", name="model")
        compare(module, traced, inputs, None, 1e-5)
        assert not graph_difference(module.main, uair.load(program).main)
