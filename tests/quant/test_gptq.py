"""Rounding with feedback, against exhaustive search, least squares written out, and rounding to the nearest."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from uair.quant.gptq import DAMPING, Grid, round_with_feedback


def correlated(rng: Any, rows: int, extent: int, rank: int) -> Any:
    """Inputs [rows, extent] that mostly lie in a space of `rank` dimensions."""
    base = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, extent))
    return base + 0.1 * rng.normal(size=(rows, extent))


def loss(w: Any, q: Any, grid: Grid, x: Any) -> float:
    """Mean squared error of the results."""
    return float(np.square((w - (q - grid.zero_point) * grid.scale) @ x.T).mean())


def symmetric(w: Any, greatest: int) -> Grid:
    scale = np.abs(w).max(axis=-1, keepdims=True) / greatest
    return Grid(scale, np.zeros_like(scale), -greatest, greatest)


@pytest.mark.parametrize(("greatest", "extent"), [(127, 300), (7, 64)])
def test_results_lose_less_than_by_rounding_to_the_nearest(greatest: int, extent: int) -> None:
    rng = np.random.default_rng(0)
    both, w = correlated(rng, 3000, extent, 20), rng.normal(size=(16, extent))
    x, fresh = both[:2000], both[2000:]
    grid = symmetric(w, greatest)
    q = round_with_feedback(w, x.T @ x, grid)
    assert q.dtype == grid.holds
    assert np.abs(q).max() <= greatest
    for inputs in (x, fresh):
        assert loss(w, q, grid, inputs) < loss(w, grid.integers(w), grid, inputs) / 5


def test_near_the_best_of_all_roundings() -> None:
    """Each of the 6 weights up or down: the best of 64 is found by trying."""
    rng = np.random.default_rng(1)
    ratios: list[float] = []
    for _ in range(20):
        x, w = correlated(rng, 200, 6, 3), rng.normal(size=(1, 6))
        grid = symmetric(w, 7)
        floor = np.floor(w / grid.scale)
        every = (np.clip(floor + np.array(up), -7, 7) for up in itertools.product((0, 1), repeat=6))
        best = min(loss(w, q, grid, x) for q in every)
        nearest = loss(w, grid.integers(w), grid, x)
        found = loss(w, round_with_feedback(w, x.T @ x, grid), grid, x)
        ratios.append((found - best) / (nearest - best + 1e-12))
    assert np.median(ratios) < 0.35


def test_every_step_is_the_answer_of_least_squares() -> None:
    """Written out: after each column the rest is solved anew from the damped Hessian."""
    rng = np.random.default_rng(2)
    x, w = correlated(rng, 100, 9, 4), rng.normal(size=(3, 9))
    grid = symmetric(w, 7)
    h = x.T @ x
    damped = h + np.eye(9) * DAMPING * np.diag(h).mean()
    order = np.argsort(-np.diag(h), kind="stable")
    values, expected = w.copy(), np.zeros_like(w)
    for n, i in enumerate(order):
        expected[:, i] = grid.integers(values)[:, i]
        error = values[:, i] - (expected[:, i] * grid.scale[:, 0])
        rest = order[n + 1 :]
        if rest.size:
            values[:, rest] += error[:, None] * np.linalg.solve(damped[np.ix_(rest, rest)], damped[rest, i])[None, :]
    assert np.array_equal(round_with_feedback(w, h, grid), expected)


def test_groups_of_columns_have_scales_and_zero_points_of_their_own() -> None:
    rng = np.random.default_rng(3)
    x = correlated(rng, 1000, 64, 8)
    w = rng.normal(size=(8, 64)) * np.repeat([0.1, 3.0], 32) + 0.5
    groups = w.reshape(8, 2, 32)
    low, high = np.minimum(groups.min(axis=2), 0), np.maximum(groups.max(axis=2), 0)
    scale = (high - low) / 15
    zero = np.rint(-low / scale)
    grid = Grid(np.repeat(scale, 32, axis=1), np.repeat(zero, 32, axis=1), 0, 15)
    q = round_with_feedback(w, x.T @ x, grid)
    assert q.min() >= 0
    assert q.max() <= 15
    assert loss(w, q, grid, x) < loss(w, grid.integers(w), grid, x) / 4


def test_leading_axes_are_problems_of_their_own() -> None:
    rng = np.random.default_rng(4)
    w = rng.normal(size=(5, 2, 9))
    h = np.stack([(x := correlated(rng, 60, 9, 4)).T @ x for _ in range(5)])
    grid = symmetric(w, 127)
    together = round_with_feedback(w, h, grid)
    for i in range(5):
        alone = Grid(grid.scale[i], grid.zero_point[i], -127, 127)
        assert np.array_equal(together[i], round_with_feedback(w[i], h[i], alone))


@pytest.mark.parametrize("extent", [60, 700])
def test_the_hessian_is_worked_in_where_it_may_be_also_after_a_failed_attempt(extent: int) -> None:
    """One that has no Cholesky factor, which shows late, is there again for the next attempt, with more damping."""
    rng = np.random.default_rng(6)
    noise = rng.normal(size=(extent, extent)) * 1e-3
    h = 0.1 + noise + noise.T
    h[extent // 2 :, extent // 2 :] += 1.4
    np.fill_diagonal(h, np.linspace(1.1, 0.9, extent))  # what comes first has a factor
    h, w = h.astype(np.float32), rng.normal(size=(3, extent))
    grid, before = symmetric(w, 127), h.copy()
    found = round_with_feedback(w, h, grid, damping=0.0)
    assert np.array_equal(h, before)
    assert np.array_equal(round_with_feedback(w, h, grid, damping=0.0, overwrite=True), found)
    assert not np.array_equal(h, before)
    damping = 1e-5
    while np.linalg.eigvalsh(before + damping * np.eye(extent)).min() < 0:
        damping *= 10
    assert damping > 0.1
    assert np.array_equal(round_with_feedback(w, before, grid, damping=damping), found)


def test_inputs_that_are_always_zero_or_copies_of_each_other() -> None:
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(50, 12)), rng.normal(size=(4, 12))
    x[:, 3] = 0
    x[:, 7] = x[:, 2]
    grid = symmetric(w, 127)
    q = round_with_feedback(w, x.T @ x, grid, damping=0.0)
    assert np.array_equal(q[:, 3], grid.integers(w)[:, 3])
    assert loss(w, q, grid, x) < loss(w, grid.integers(w), grid, x)
    assert np.array_equal(round_with_feedback(w, np.zeros((12, 12)), grid), grid.integers(w))
