"""Interfaces, origins and comparisons as plain data, for manifests and people."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from uair.ir.dims import InferredShape
from uair.ir.dtype import Array
from uair.ir.graph import Tensor
from uair.ir.module import Origin
from uair.ir.types import contained
from uair.preprocess import Preprocess

AT_ONCE = 1 << 16
"""Elements that are compared at a time: in f64 they fit into a cache, and a large output is not there four times."""


def plain_value(_: Any, __: Any, value: Any) -> Any:
    """Enumerations as their text, for `attrs.asdict`."""
    return value.value if isinstance(value, enum.Enum) else value


def describe_origin(origin: Origin) -> dict[str, Any]:
    """Where a model came from, as plain data."""
    return {
        "format": origin.format,
        "file": origin.file,
        "sha256": origin.sha256,
        "producer": origin.producer,
        "versions": dict(origin.versions),
    }


def describe_interface(
    names: Sequence[str], tensors: Sequence[Tensor], preprocess: Mapping[str, Preprocess] | None = None
) -> list[dict[str, Any]]:
    """Inputs or outputs as plain data; a shape is None when the rank is unknown, and open sizes in it are text.

    What is no tensor has `containers`, outermost first, around tensors of that element type and shape.
    """
    chosen = preprocess or {}
    entries: list[dict[str, Any]] = []
    for name, tensor in zip(names, tensors, strict=True):
        extents = cast("InferredShape | None", tensor.type.shape)
        shape = (
            None if extents is None else [d if isinstance(d, int) else "?" if d is None else str(d) for d in extents]
        )
        entry: dict[str, Any] = {"name": name, "dtype": str(tensor.type.dtype), "shape": shape}
        if tensor.type.containers:
            entry["containers"] = [c.value for c in tensor.type.containers]
        if name in chosen:
            entry["preprocess"] = chosen[name].to_json()
        entries.append(entry)
    return entries


def interface_type(entry: Mapping[str, Any]) -> str:
    """The type of an entry of `describe_interface` in text form."""
    shape = "*" if entry["shape"] is None else ",".join(map(str, entry["shape"]))
    return contained(f"{entry['dtype']}[{shape}]", entry.get("containers", ()))


def compare(expected: Array, actual: Array) -> dict[str, float | None]:
    """How far two arrays are apart: greatest difference, that relative to the greatest magnitude, cosine similarity.

    None stands where there is no such number: the shapes differ (a size that random numbers or values near a limit
    decide), or one array is not finite where the other is.
    """
    if expected.shape != actual.shape:
        return {"max_abs": None, "relative": None, "cosine": None}
    if not np.issubdtype(expected.dtype, np.number) and expected.dtype.kind not in "fV":
        same = bool(np.array_equal(expected, actual))
        return {"max_abs": 0.0 if same else None, "relative": 0.0 if same else None, "cosine": 1.0 if same else None}
    if expected.size == 0:
        return {"max_abs": 0.0, "relative": 0.0, "cosine": 1.0}
    largest = magnitude = 0.0
    sums = np.zeros(3)  # of squares of both, and of products
    flat, other = expected.reshape(-1), actual.reshape(-1)
    for start in range(0, flat.size, AT_ONCE):
        a, b = (array[start : start + AT_ONCE].astype(np.float64) for array in (flat, other))
        both = np.isfinite(a) & np.isfinite(b)
        if not np.array_equal(a[~both], b[~both], equal_nan=True):
            return {"max_abs": None, "relative": None, "cosine": None}
        a, b = a[both], b[both]
        largest = max(largest, float(np.max(np.abs(a - b), initial=0.0)))
        magnitude = max(magnitude, float(np.max(np.abs(a), initial=0.0)))
        sums += (a @ a, b @ b, a @ b)
    norm = math.sqrt(sums[0]) * math.sqrt(sums[1])
    return {
        "max_abs": largest,
        "relative": largest / max(magnitude, 1e-30),
        "cosine": float(sums[2]) / norm if norm else float(not sums[0] and not sums[1]),
    }
