"""Maps between numbers or strings and scalars, as classical models take and give them.

A map's value is a Python dict of scalar arrays by int or str.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dtype import Array, DType
from uair.ir.types import Container, TensorType, inferred
from uair.ops._compute import require_dtype
from uair.ops.base import (
    Operator,
    Results,
    Sample,
    bad,
    case,
    operator,
    ranked,
    require,
    require_tensors,
    unify_extents,
)
from uair.ops.text import strings

FAMILY = "map"
_KEYS = {Container.MAP_I64: DType.I64, Container.MAP_STRING: DType.STRING}
_LARGEST = 1 << 24  # elements that keys may spread a map over


class Mapped(Operator):
    """An operator whose operand or result is a map."""

    takes_containers = True


def _value(t: TensorType, name: str = "map") -> TensorType:
    """The type of a map's values."""
    require(t.containers[:1] in ((Container.MAP_I64,), (Container.MAP_STRING,)), "{} must be a map, it is {}", name, t)
    return t.inner


@operator(inputs="x keys", family=FAMILY)
class ZipMap(Mapped):
    """A sequence with one map per row of x [N, C], or one map of a vector [C]: keys[c] to x[.., c].

    keys: [C] of i64 or strings. Source: ONNX ai.onnx.ml ZipMap.
    """

    def infer(self, x: TensorType, keys: TensorType) -> Results:
        require_tensors([x, keys])
        require_dtype(x, frozenset({DType.F32}), "x")
        require_dtype(keys, frozenset(_KEYS.values()), "keys")
        shape, (count,) = ranked(x, "x", (1, 2)), ranked(keys, "keys", 1)
        require(unify_extents(shape[-1], count), "x has {} columns, there are {} keys", shape[-1], count)
        container = Container.MAP_STRING if keys.dtype is DType.STRING else Container.MAP_I64
        return TensorType(x.dtype, ()).within(container).within(Container.SEQUENCE)

    def evaluate(self, x: Array, keys: Array) -> Any:
        names = keys.tolist()
        return [dict(zip(names, map(np.asarray, row), strict=True)) for row in np.atleast_2d(x)]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        words = np.array(["a", "b", "c"], object)
        yield case(cls(), "f32[2,3]", words)
        yield case(cls(), "f32[2,3]", np.array([3, -1, 0]))
        yield case(cls(), "f32[3]", words)
        yield bad(cls(), "f32[2,2]", words, because="there are 3 keys")
        yield bad(cls(), "f64[2,3]", words, because="x must be f32")
        yield bad(cls(), "seq<f32[3]>", words, because="must be a tensor")


@operator(inputs="map vocabulary", family=FAMILY)
class DictVectorizer(Mapped):
    """The values of a map at the keys in vocabulary [C], [1, C]; 0 or "" where the map lacks the key.

    Keys of the map that are not in the vocabulary are passed over, as in onnxruntime. Source: ONNX ai.onnx.ml.
    """

    def infer(self, map: TensorType, vocabulary: TensorType) -> TensorType:
        value = _value(map)
        require_tensors([vocabulary])
        key = _KEYS[map.containers[0]]
        require(vocabulary.dtype is key, "vocabulary must be {}, is {}", key, vocabulary.dtype)
        return inferred(value.dtype, (1, *ranked(vocabulary, "vocabulary", 1)))

    def evaluate(self, map: Mapping[Any, Any], vocabulary: Array) -> Array:
        sample = next(iter(map.values()), None)
        if sample is None:
            raise EvaluationError("DictVectorizer: an empty map does not say what its values are")
        dtype = np.asarray(sample).dtype
        values = [_item(map[k]) if k in map else None for k in vocabulary.tolist()]
        if dtype.kind in "OUST":
            return strings(["" if v is None else v for v in values], (1, len(values)))
        return np.array([[0 if v is None else v for v in values]], dtype)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        for dtype in ("f32", "i64", "f64"):
            yield case(cls(), f"map_string<{dtype}[]>", np.array(["k1", "zz", "k0"], object))
        yield case(cls(), "map_i64<f32[]>", np.array([2, 7, 0, 2]))
        yield case(cls(), "map_i64<string[]>", np.array([7, 1]))
        yield bad(cls(), "map_i64<f32[]>", np.array(["a"], object), because="vocabulary must be i64")
        yield bad(cls(), "f32[2]", np.array([1]), because="must be a map")


@operator(inputs="map", family=FAMILY)
class CastMap(Mapped):
    """The values of a map with integer keys in ascending order of the keys, converted: [1, n].

    With `length`, [1, length]: the value of key k at place k, and 0 (as a string "0.f", as in onnxruntime) between; no
    key is negative or `length` or more. f32 becomes a whole number towards 0, and a string with six decimals.
    Source: ONNX ai.onnx.ml CastMap.
    """

    to: Literal["f32", "i64", "string"] = "f32"
    length: int | None = None

    def infer(self, map: TensorType) -> TensorType:
        value = _value(map)
        require(map.containers[0] is Container.MAP_I64, "the keys must be integers")
        require_dtype(value, frozenset({DType.F32, DType.STRING}), "the values")
        fits = self.length is None or 1 <= self.length <= _LARGEST
        require(fits, "length must be 1 to {}, is {}", _LARGEST, self.length)
        return inferred(DType(self.to), (1, self.length))

    def evaluate(self, map: Mapping[int, Any]) -> Array:
        keys = sorted(map)
        if self.length is not None and keys and not 0 <= keys[0] <= keys[-1] < self.length:
            raise EvaluationError(f"CastMap: keys {keys[0]} to {keys[-1]} are not places of {self.length}")
        values = [self._convert(_item(map[k])) for k in keys]
        empty = self._convert(None)
        if self.length is not None:
            at = dict(zip(keys, values, strict=True))
            values = [at.get(place, empty) for place in range(self.length)]
        if self.to == "string":
            return strings(values, (1, len(values)))
        return np.array([values], DType(self.to).numpy).reshape(1, len(values))

    def _convert(self, value: Any) -> Any:
        if value is None:
            return "0.f" if self.to == "string" else 0
        if self.to == "string":
            return value if isinstance(value, str) else f"{value:f}"
        try:
            number = float(value)
        except ValueError:
            raise EvaluationError(f"CastMap: {value!r} does not spell a number") from None
        if self.to == "f32":
            return np.float32(number)
        return int(number) if abs(number) < 2.0**63 else -(1 << 63)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        for to in ("f32", "i64", "string"):
            yield case(cls(to=to), "map_i64<f32[]>")
            yield case(cls(to=to, length=5), "map_i64<f32[]>")
        yield case(cls(to="string"), "map_i64<string[]>")
        yield bad(cls(), "map_string<f32[]>", because="keys must be integers")
        yield bad(cls(), "map_i64<f64[]>", because="the values must be")
        yield bad(cls(length=0), "map_i64<f32[]>", because="length must be")


def _item(value: Any) -> Any:
    """A scalar as Python's own."""
    return np.asarray(value).item()
