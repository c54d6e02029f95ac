"""Random numbers.

Numbers are drawn in f64 and rounded once. With a seed they are those of numpy.random.RandomState(seed), the Mersenne
Twister that onnx's reference evaluator uses, from its beginning at every evaluation. Without one they come from one
generator of the process, which the operating system seeds; `reseed` starts it anew. The operators are not
deterministic either way: they are neither folded nor merged, for a device draws other numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import numpy as np

from uair.ir.dims import Shape
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType, inferred
from uair.ops._cast import cast
from uair.ops._forms import numbers, one_form, vector_length
from uair.ops.base import Operator, Sample, bad, case, operator, require

FAMILY = "random"


@functools.cache
def _process() -> np.random.RandomState:
    """The process's generator. It is made when it is first asked for: numpy.random is imported then."""
    return np.random.RandomState()


def reseed(seed: int) -> None:
    """Start the generator of operators without a seed anew."""
    _process().seed(seed)


@contextmanager
def repeated(seed: int = 0) -> Generator[None, None, None]:
    """In the block, operators without a seed draw the same numbers as in every other block of that seed.

    The process's generator goes on afterwards as if the block had not been.
    """
    state = _process().get_state()
    _process().seed(seed)
    try:
        yield
    finally:
        _process().set_state(state)


def generator(seed: int | None) -> np.random.RandomState:
    """The generator of an operator with this seed."""
    return _process() if seed is None else np.random.RandomState(seed % 2**32)


class Drawing(Operator):
    """Base of the random operators: a result of a shape given as attribute or as operand."""

    deterministic = False
    shape: Shape | None = None
    dtype: DType = DType.F32
    seed: int | None = None

    def infer(self, shape: TensorType | None = None) -> TensorType:
        one_form(self.shape, shape, "shape")
        require(self.dtype.is_float, "random numbers are floating-point, not {}", self.dtype, hint="insert a Cast")
        if self.shape is not None:
            require(all(not isinstance(d, int) or d >= 0 for d in self.shape), "shape {} is negative", list(self.shape))
            return inferred(self.dtype, self.shape)
        rank = vector_length(shape)
        return inferred(self.dtype, None if rank is None else (None,) * rank)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        make: Any = cls  # its attributes are those of the subclasses
        yield case(make(shape=(2, 3), seed=1))
        yield case(make(shape=(), seed=2, dtype=DType.F64))
        yield case(make(shape=(4,), seed=3, dtype=DType.F16))
        yield case(make(shape=(0, 3), seed=3, dtype=DType.BF16))
        yield case(make(seed=4), np.array([3, 2]))
        yield bad(make(), because="shape is neither")
        yield bad(make(shape=(2,), dtype=DType.I32), because="floating-point")
        yield bad(make(shape=(-2,)), because="negative")


@operator(inputs="shape?", family=FAMILY)
class RandomUniform(Drawing):
    """Numbers from the uniform distribution over [low, high). Source: ONNX RandomUniform, numpy.random.uniform.

    The result has the `shape` of the attribute or of the operand (an integer vector) and the floating-point type
    `dtype`. The seed, when there is one, counts modulo 2^32. Rounding to a narrow element type may give `high` itself.
    """

    low: float = 0.0
    high: float = 1.0
    shape: Shape | None = None
    dtype: DType = DType.F32
    seed: int | None = None

    def evaluate(self, shape: Array | None = None) -> Array:
        drawn = generator(self.seed).random_sample(numbers(self, self.shape, shape))
        return cast(np.asarray(drawn * (self.high - self.low) + self.low), self.dtype)


@operator(inputs="shape?", family=FAMILY)
class RandomNormal(Drawing):
    """Numbers from the normal distribution: `mean` + `scale` * z. Source: ONNX RandomNormal, numpy.random.normal.

    The result has the `shape` of the attribute or of the operand (an integer vector) and the floating-point type
    `dtype`. The seed, when there is one, counts modulo 2^32.
    """

    mean: float = 0.0
    scale: float = 1.0
    shape: Shape | None = None
    dtype: DType = DType.F32
    seed: int | None = None

    def evaluate(self, shape: Array | None = None) -> Array:
        drawn = generator(self.seed).standard_normal(numbers(self, self.shape, shape))
        return cast(np.asarray(drawn * self.scale + self.mean), self.dtype)
