"""Random operands for the samples of operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import ml_dtypes
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.types import Container, TensorType
from uair.ops.base import Sample
from uair.text import parse_type


def draw(t: TensorType, rng: np.random.Generator) -> Any:
    """Values of a static type: integers of both signs and small, floats from a normal distribution.

    A sequence has three elements, whose open extents are 2.
    """
    if t.containers:
        if t.containers[0] is Container.OPTIONAL:
            return draw(t.inner, rng)
        if t.containers[0] is not Container.SEQUENCE:
            names = [0, 2, 1] if t.containers[0] is Container.MAP_I64 else ["k0", "k2", "k1"]
            return {name: np.asarray(draw(t.inner, rng)) for name in names}
        return [draw(t.inner, rng) for _ in range(3)]
    shape = tuple(2 if d is None else d for d in cast("tuple[int | None, ...]", t.dims))
    if t.dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if t.dtype is DType.STRING:
        return np.array([f"s{i}" for i in rng.integers(0, 9, int(np.prod(shape)))], object).reshape(shape)
    if t.dtype.is_integer:
        low, high = t.dtype.range
        return rng.integers(max(low, -9), min(high, 9) + 1, shape).astype(t.dtype.numpy)
    values = rng.standard_normal(shape)
    if t.dtype in (DType.C64, DType.C128):
        values = values + 1j * rng.standard_normal(shape)
    return np.asarray(values).astype(t.dtype.numpy)


def type_of(value: Any) -> TensorType:
    """The type of a value."""
    if isinstance(value, list):
        return type_of(value[0]).within(Container.SEQUENCE)
    if isinstance(value, dict):
        named = isinstance(next(iter(value)), str)
        return type_of(next(iter(value.values()))).within(Container.MAP_STRING if named else Container.MAP_I64)
    return TensorType(DType.from_numpy(value.dtype), tuple(value.shape))


def operands_of(sample: Sample, seed: int = 0) -> list[Any]:
    """Values of a sample's operands."""
    rng = np.random.default_rng(seed)
    return [None if o is None else draw(parse_type(o), rng) if isinstance(o, str) else o for o in sample.operands]


def types_of(sample: Sample) -> list[TensorType | None]:
    """Types of a sample's operands, which need not have values."""
    return [None if o is None else parse_type(o) if isinstance(o, str) else type_of(o) for o in sample.operands]


def assert_close(got: Sequence[Array], want: Sequence[Array], ulps: float = 16) -> None:
    """Same types, and values that differ by a few units in the last place of the result type (at least of f32)."""
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert type_of(a) == type_of(b)
        dtype = DType.from_numpy(b.dtype)
        if not dtype.is_float:
            np.testing.assert_array_equal(a, b)
            continue
        eps = 2.0**-52 if dtype is DType.F64 else max(_epsilon(b), 2.0**-23)
        np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), rtol=ulps * eps, atol=ulps * eps)


def _epsilon(a: Array) -> float:
    limits: Any = ml_dtypes.finfo  # it has no annotations
    return float(limits(a.dtype).eps)
