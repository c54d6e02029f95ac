"""Choosing how many channels of each group go: least predicted noise per saved operation, until the budget holds."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import attrs

from uair.passes.pruning.cost import Costs
from uair.passes.pruning.criteria import Ranking
from uair.passes.pruning.errors import PruningBudgetError

STEPS = 64
"""A group shrinks by at least its 64th part at a time."""


@attrs.frozen
class Budget:
    """What may be left.

    Attributes:
        flops: floating-point operations; None for any number.
        parameters: elements of constants; None for any number.
        multiple: of what the number of channels of a layer has to be.
        least: channels that a layer keeps at least.
    """

    flops: float | None
    parameters: float | None
    multiple: int = 1
    least: int = 1

    def excess(self, costs: Costs) -> float:
        """By how much the costs are above, each by its limit; 0 or less when they fit."""
        over = 0.0
        if self.flops is not None:
            over = max(over, costs.flops / max(self.flops, 1.0) - 1)
        if self.parameters is not None:
            over = max(over, costs.parameters / max(self.parameters, 1.0) - 1)
        return over

    def cost(self, costs: Costs) -> float:
        """What is to become less: each limited quantity by its limit; below the limit nothing is gained."""
        total = 0.0
        if self.flops is not None:
            total += max(costs.flops / max(self.flops, 1.0), 1.0)
        if self.parameters is not None:
            total += max(costs.parameters / max(self.parameters, 1.0), 1.0)
        return total


def choose_channels(rankings: Sequence[Ranking], costs: Costs, budget: Budget) -> list[int]:
    """How many atoms of each ranking go; `costs` has them removed afterwards.

    Savings only shrink while neighbours shrink, so that what was the best step when it was looked at and still is, is
    the best step: a heap with prices that are renewed when they come up.

    Raises:
        PruningBudgetError: everything that may go does not reach the budget.
    """
    allowed = [_thinned(r.group.allowed(budget.multiple, budget.least), len(r.order)) for r in rankings]
    taken = [0] * len(rankings)
    nexts = [0] * len(rankings)
    before = costs.flops, costs.parameters

    def price(i: int) -> float:
        ranking, k = rankings[i], allowed[i][nexts[i]]
        atoms = ranking.order[taken[i] : k].tolist()
        old = budget.cost(costs)
        costs.remove(atoms)
        saved = old - budget.cost(costs)
        costs.restore(atoms)
        lost = max(float(ranking.noise[k] - ranking.noise[taken[i]]), 0.0)
        return lost / saved if saved > 0 else float("inf")

    heap = [(price(i), i) for i in range(len(rankings)) if allowed[i]]
    heapq.heapify(heap)
    while budget.excess(costs) > 0:
        i = _cheapest(heap, price)
        if i is None:
            raise _unreachable(costs, budget, before)
        k = allowed[i][nexts[i]]
        costs.remove(rankings[i].order[taken[i] : k].tolist())
        taken[i] = k
        nexts[i] += 1
        if nexts[i] < len(allowed[i]):
            heapq.heappush(heap, (price(i), i))
    return taken


def _cheapest(heap: list[tuple[float, int]], price: Callable[[int], float]) -> int | None:
    """The ranking whose next step costs least; None when no step saves anything."""
    while heap:
        _, i = heapq.heappop(heap)
        now = price(i)
        if now == float("inf"):
            continue
        if not heap or now <= heap[0][0]:
            return i
        heapq.heappush(heap, (now, i))
    return None


def _thinned(allowed: list[int], count: int) -> list[int]:
    step = max(1, count // STEPS)
    found: list[int] = []
    for k in allowed:
        if not found or k - found[-1] >= step or k == allowed[-1]:
            found.append(k)
    return found


def _unreachable(costs: Costs, budget: Budget, before: tuple[int, int]) -> PruningBudgetError:
    left: list[str] = []
    for name, limit, now, whole in (
        ("operations", budget.flops, costs.flops, before[0]),
        ("parameters", budget.parameters, costs.parameters, before[1]),
    ):
        if limit is not None and now > limit:
            left.append(f"{now / whole:.1%} of the {name} are left, {limit / whole:.1%} are asked for")
    return PruningBudgetError(
        f"with every channel gone that may go, {' and '.join(left)}",
        hint="raise the budget, or lower `multiple` or `least`",
    )
