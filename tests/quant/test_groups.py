"""Grids of groups of weights, against trying many scales and against onnxruntime's DequantizeLinear."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from uair.ir.dtype import DType
from uair.quant.errors import QuantizationError
from uair.quant.groups import GroupGrid, choose_grid, stored_channels, stored_matrix, stored_table

WAYS = list(itertools.product((4, 8), (True, False)))


def error(w: Any, grid: GroupGrid) -> float:
    return float(np.square(grid.real(grid.nearest(w)) - w).sum())


@pytest.mark.parametrize(("bits", "symmetric"), WAYS)
@pytest.mark.parametrize("size", [0, 16, 32])
def test_no_worse_than_the_whole_range(bits: int, symmetric: bool, size: int) -> None:
    w = np.random.default_rng(0).standard_t(3, (20, 72)).astype(np.float32)
    grid = choose_grid(w, bits, size, symmetric=symmetric)
    groups = 1 if size == 0 else -(-72 // size)
    assert grid.scale.shape == grid.zero_point.shape == (20, groups)
    width = np.pad(w, ((0, 0), (0, groups * grid.size - 72))).reshape(20, groups, -1)
    least, greatest = grid.dtype.range
    if symmetric:
        assert not grid.zero_point.any()
        plain = GroupGrid(np.abs(width).max(axis=2) / greatest, grid.zero_point, grid.dtype, grid.size)
    else:
        low, high = np.minimum(width.min(axis=2), 0), np.maximum(width.max(axis=2), 0)
        scale = (high - low) / (greatest - least)
        plain = GroupGrid(scale, np.rint(-low / scale).astype(np.int32), grid.dtype, grid.size)
    assert error(w, grid) < error(w, plain) * (0.93 if bits == 4 else 1.0)


@pytest.mark.parametrize("symmetric", [True, False])
def test_close_to_the_best_of_many_scales(symmetric: bool) -> None:
    """Every scale of a fine raster, with every zero point: the best of them is hardly better."""
    w = np.random.default_rng(1).normal(size=(8, 32)).astype(np.float32)
    grid = choose_grid(w, 4, 32, symmetric=symmetric)
    zeros = [0] if symmetric else range(16)
    lost, least = 0.0, 0.0
    for row in range(8):
        peak = np.abs(w[row]).max()
        tried = (
            GroupGrid(np.array([[peak * f]], np.float32), np.array([[z]]), grid.dtype, 32)
            for f in np.linspace(0.05, 0.2, 300)
            for z in zeros
        )
        least += min(error(w[row : row + 1], each) for each in tried)
        own = GroupGrid(grid.scale[row : row + 1], grid.zero_point[row : row + 1], grid.dtype, 32)
        lost += error(w[row : row + 1], own)
    assert lost < least * 1.1


def test_important_weights_are_rounded_less() -> None:
    w = np.random.default_rng(2).normal(size=(64, 32)).astype(np.float32)
    importance = np.ones(32, np.float32)
    importance[:4] = 100.0
    plain, aware = (choose_grid(w, 4, 32, symmetric=True, importance=i) for i in (None, importance))
    lost = [float((np.square(g.real(g.nearest(w)) - w) * importance).sum()) for g in (plain, aware)]
    assert lost[1] < 0.8 * lost[0]


@pytest.mark.parametrize("symmetric", [True, False])
def test_groups_of_zeros_and_of_tiny_numbers(symmetric: bool) -> None:
    w = np.zeros((3, 32), np.float32)
    w[1] = 1e-41  # no scale of normal numbers is so small
    w[2, 0] = 1.0
    for scale_type in (DType.F32, DType.F16):
        grid = choose_grid(w, 4, 16, symmetric=symmetric, scale_type=scale_type)
        assert np.isfinite(grid.scale).all()
        assert (grid.scale > 0).all()
        assert (grid.scale.astype(scale_type.numpy) == grid.scale).all()  # stored as they were used
        real = grid.real(grid.nearest(w))
        assert not real[0].any()
        assert np.abs(real[1]).max() < 1e-38
        assert real[2, 0] == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    w = np.ones((4, 32), np.float32)
    w[3, 7] = bad
    with pytest.raises(QuantizationError, match="'head' has values that are not finite"):
        choose_grid(w, 4, 32, symmetric=True, name="head")


@pytest.mark.parametrize(("bits", "symmetric"), WAYS)
@pytest.mark.parametrize("size", [0, 16])
def test_a_matrix_lies_with_its_inputs_first(bits: int, symmetric: bool, size: int) -> None:
    w = np.random.default_rng(3).normal(size=(6, 40)).astype(np.float32)
    grid = choose_grid(w, bits, size, symmetric=symmetric)
    q = grid.nearest(w)
    stored = stored_matrix(q, grid, DType.F32)
    assert stored.integers.nbytes == 6 * 40 * bits // 8
    assert (stored.axis, stored.size) == ((0, 16) if size else (1, 0))
    assert stored.scale.shape == ((3, 6) if size else (6,))
    assert (stored.zero_point is None) == symmetric
    assert np.array_equal(stored.integers.array().astype(np.int32), q.T)
    assert (
        stored.integers.array().dtype
        == {
            (4, True): ml_dtypes.int4,
            (4, False): ml_dtypes.uint4,
            (8, True): np.int8,
            (8, False): np.uint8,
        }[bits, symmetric]
    )


def test_a_table_and_channels_lie_as_they_were() -> None:
    w = np.random.default_rng(4).normal(size=(5, 24)).astype(np.float32)
    grid = choose_grid(w, 8, 0, symmetric=True)
    q = grid.nearest(w)
    table = stored_table(q, grid, DType.F32)
    assert (table.scale.shape, table.axis, table.size) == ((5, 1), 1, 24)
    assert np.array_equal(table.integers.array(), q)
    channels = stored_channels(q, grid, (2, 5, 4, 3), 1, DType.F32)
    assert (channels.scale.shape, channels.axis, channels.size) == ((5,), 1, 0)
    assert np.array_equal(np.moveaxis(channels.integers.array(), 1, 0).reshape(5, 24), q)
