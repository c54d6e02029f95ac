"""Constants that know what they were before they were rounded, so that foldings in a row round once, as one would.

The weights of a convolution that is followed by a product, a sum and BatchNorm are scaled three times. A weight that is
rounded each time is off by three roundings, which deep networks amplify.
"""

from __future__ import annotations

import attrs
import numpy as np

from uair.ir.data import ArrayData, ComputedData, Data, SplatData
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant


@attrs.frozen(eq=False)
class Scaled:
    """values * factor, in float64, rounded once to the type of the values; factor broadcasts to their shape."""

    factor: Array

    def __call__(self, values: Array) -> Array:
        """The scaled values; the product in float64 is never held as a whole."""
        result = np.empty(values.shape, values.dtype)
        np.multiply(values, self.factor, out=result, dtype=np.float64, casting="unsafe")
        return result


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
        factor, (data,) = data.compute.factor * factor, data.inputs
    return ComputedData(Scaled(factor), (data,), data.dtype, data.shape)


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
        values = data.inputs[0].array().astype(np.float64)
        return values * data.compute.factor if isinstance(data.compute, Scaled) else values
    return tensor.numpy().astype(np.float64)
