"""Constants that know what they were before they were rounded, so that foldings in a row round once, as one would.

The weights of a convolution that is followed by a product, a sum and BatchNorm are scaled three times. A weight that is
rounded each time is off by three roundings, which deep networks amplify.
"""

from __future__ import annotations

import functools
import math

import attrs
import numpy as np

from uair.ir.data import ArrayData, ComputedData, Data, SplatData
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant

AT_ONCE = 1 << 16
"""Elements that are multiplied by several factors at a time: in float64 they fit into a cache."""


@attrs.frozen(eq=False)
class Scaled:
    """Values times factors, in float64, rounded once to the type of the values.

    Attributes:
        factors: broadcast to the values' shape. Those for rows and those for columns stay apart: their product would be
            twice as large as the values.
    """

    factors: tuple[Array, ...]

    def __call__(self, values: Array) -> Array:
        """The scaled values; the product in float64 is never held as a whole."""
        result = np.empty(values.shape, values.dtype)
        if len(self.factors) == 1 or not values.ndim:
            factor = functools.reduce(np.multiply, self.factors)
            np.multiply(values, factor, out=result, dtype=np.float64, casting="unsafe")
            return result
        rows = max(AT_ONCE * len(values) // max(values.size, 1), 1)
        factors = [np.broadcast_to(factor, values.shape) for factor in self.factors]
        for start in range(0, len(values), rows):
            part = values[start : start + rows].astype(np.float64)
            for factor in factors:
                part *= factor[start : start + rows]
            result[start : start + rows] = part
        return result

    def exact(self, values: Array) -> Array:
        """The scaled values in float64."""
        return functools.reduce(np.multiply, self.factors, values.astype(np.float64))

    def times(self, factor: Array) -> Scaled:
        """The same with a further factor."""
        *others, last = self.factors
        product = math.prod(np.broadcast_shapes(last.shape, factor.shape))
        if product <= max(last.size, factor.size):
            return Scaled((*others, last * factor))
        return Scaled((*self.factors, factor))


@attrs.frozen(eq=False)
class Rounded:
    """Values of float64 in another type."""

    dtype: DType

    def __call__(self, values: Array) -> Array:
        """The nearest numbers of the type."""
        return values.astype(self.dtype.numpy)


def scaled(data: Data, factor: Array) -> Data:
    """Data times a factor of float64 that broadcasts to its shape; computed when it is read."""
    if isinstance(data, SplatData) and factor.size and np.all(factor == factor.flat[0]):
        return SplatData(data.value * factor.flat[0], data.dtype, data.shape)
    if isinstance(data, ComputedData) and isinstance(data.compute, Scaled):
        return ComputedData(data.compute.times(factor), data.inputs, data.dtype, data.shape)
    return ComputedData(Scaled((factor,)), (data,), data.dtype, data.shape)


def rounded(values: Array, dtype: DType, name: str) -> Tensor:
    """A constant of a type from values of float64, which `exact` gives back."""
    near = values.astype(dtype.numpy)
    if np.array_equal(near, values):
        return constant(near, name)
    return constant(ComputedData(Rounded(dtype), (ArrayData(values),), dtype, values.shape), name)


def exact(tensor: Tensor) -> Array:
    """The values of a constant in float64, as they were before `scaled` or `rounded` rounded them."""
    data = tensor.data
    if isinstance(data, ComputedData) and isinstance(data.compute, (Scaled, Rounded)):
        values = data.inputs[0].array()
        return data.compute.exact(values) if isinstance(data.compute, Scaled) else values.astype(np.float64)
    return tensor.numpy().astype(np.float64)
