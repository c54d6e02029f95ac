"""The arithmetic of scales and zero points.

A real number r is held as the integer q = saturate(round(r / scale) + zero_point). The real 0 is always exactly a q, so
that padding and ReLU stay exact. Scales are f32, positive and finite.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ops.quantization import Dequantize, Quantize, saturate
from uair.quant.errors import QuantizationError
from uair.quant.scheme import WEIGHT_LIMIT, Scheme

LEAST_STEPS = 16
"""An activation stays float when one step of the least scale is as many of the steps that it needs."""
WEIGHT_CANDIDATES = np.linspace(1.0, 0.78, 12)
"""Fractions of the greatest magnitude that are tried as a weight channel's limit."""
HALVED = (1.0, 0.5, 0.25)
"""The same where scales are powers of two."""
SEARCHED = 1 << 17
"""Weights that are looked at at a time: few enough to stay in a cache."""


@attrs.frozen(eq=False)
class Parameters:
    """Scale and zero point of a tensor.

    Attributes:
        scale: f32, a scalar or [C] along `axis`.
        zero_point: of type `dtype`, in scale's shape.
        dtype: the integer type.
        axis: None for one scale for the whole tensor.
        rounding: of x / scale.
    """

    scale: Array
    zero_point: Array
    dtype: DType
    axis: int | None = None
    rounding: Literal["half_even", "half_away"] = "half_even"

    def quantize(self, x: Array) -> Array:
        """The integers of x, exactly as the Quantize operator gives them."""
        return Quantize(axis=self.axis, dtype=self.dtype, rounding=self.rounding).evaluate(
            x, self.scale, self.zero_point
        )

    def dequantize(self, q: Array) -> Array:
        """The real numbers of integers, exactly as the Dequantize operator gives them."""
        return Dequantize(axis=self.axis).evaluate(q, self.scale, self.zero_point)

    def of_rows(self, rows: slice, rank: int) -> Parameters:
        """Those of some rows (the first axis) of a tensor of that rank."""
        if self.axis is None or self.axis % rank:
            return self
        return attrs.evolve(self, scale=self.scale[rows], zero_point=self.zero_point[rows])

    def rounded(self, x: Array) -> Array:
        """The tensor as it looks after quantization: `dequantize(quantize(x))`, bit for bit."""
        if x.dtype != np.float32 or self.axis is not None or self.dtype.bits > 16 or self.rounding != "half_even":
            return self.dequantize(self.quantize(x))
        least, greatest = self.dtype.range
        whole = np.asarray(x / self.scale)
        np.rint(whole, out=whole)
        whole += np.float32(self.zero_point)  # with the zero point, though it goes again: it makes -0 a 0
        saturate(whole, least, greatest)
        whole -= np.float32(self.zero_point)
        whole *= self.scale
        return whole

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest real number (one scale only)."""
        low, high = self.dtype.range
        scale, zero = float(self.scale), int(self.zero_point)
        return (low - zero) * scale, (high - zero) * scale

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "dtype": str(self.dtype),
            "axis": self.axis,
            "scale": np.asarray(self.scale, np.float64).tolist(),
            "zero_point": self.zero_point.tolist(),
        }


def activation_parameters(low: float, high: float, scheme: Scheme, *, name: str = "") -> Parameters:
    """Parameters of an activation that takes values from `low` to `high`.

    Asymmetric: the range, widened to hold 0, is spread over all integers. Symmetric: the greater magnitude becomes the
    greatest integer. A tensor that is always 0 gets scale 1.

    Args:
        low: least value.
        high: greatest value.
        scheme: the target's.
        name: the tensor, for messages.

    Raises:
        QuantizationError: the range is not finite, or needs a scale beyond the scheme's limits. A scale that is a
            little too small is made the least one.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise QuantizationError(
            f"tensor {name!r} takes values from {low} to {high}", hint="leave it in float with skip"
        )
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    least, greatest = scheme.activation.range
    if scheme.symmetric:
        zero = scheme.zero_point
        scale = max(-low, high) / (greatest - zero)
    else:
        scale = (high - low) / (greatest - least)
        zero = 0
    if low == high:
        scale = 1.0
    if scale * LEAST_STEPS * ((greatest - least + 1) // 256) < scheme.scale_min:
        raise QuantizationError(
            f"tensor {name!r} takes values from {low:g} to {high:g}, too small for the least scale that the target "
            f"allows, {scheme.scale_min:g}: fewer than {256 // LEAST_STEPS} integers would be used",
            hint="scale the model's input or weights up",
        )
    scale = float(np.float32(scheme.allowed(np.array(max(scale, scheme.scale_min)))))
    if scale > scheme.scale_max:
        raise QuantizationError(
            f"tensor {name!r} takes values from {low:g} to {high:g}, which needs scale {scale:g}; the target allows "
            f"{scheme.scale_max:g}",
            hint="leave it in float with skip",
        )
    if not scheme.symmetric:
        zero = int(np.clip(np.rint(least - low / scale), least, greatest)) if low != high else max(least, 0)
    return Parameters(
        np.array(scale, np.float32), np.array(zero, scheme.activation.numpy), scheme.activation, None, scheme.rounding
    )


def weight_parameters(
    w: Array, axis: int | None, scheme: Scheme, *, search: bool = True, importance: Array | None = None, name: str = ""
) -> Parameters:
    """Symmetric parameters of a weight, one scale per index of `axis` or one for all.

    Args:
        w: the weight.
        axis: the output channels; None for one scale.
        scheme: the target's.
        search: choose the limit with the least squared error among `WEIGHT_CANDIDATES` times the greatest magnitude.
        importance: multiplies the squared errors, broadcast against w.
        name: the tensor, for messages.

    A channel that is all 0 (or that the least scale rounds to 0) gets the median scale of the others, so that its bias,
    whose scale follows, keeps the same resolution. Other channels of small weights get the least scale.

    Raises:
        QuantizationError: w is not finite, needs a scale beyond the scheme's limits, or becomes 0 as a whole.
    """
    rows = w.reshape(1, -1) if axis is None else np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)
    rows = rows.astype(np.float32, copy=False)
    limit = np.maximum(rows.max(axis=1, initial=0.0), -rows.min(axis=1, initial=0.0))
    if not np.isfinite(limit).all():
        raise QuantizationError(f"weight {name!r} has values that are not finite")
    if search and rows.size:
        if importance is not None:
            spread = np.broadcast_to(importance, w.shape)
            importance = spread.reshape(1, -1) if axis is None else np.moveaxis(spread, axis, 0).reshape(rows.shape)
        limit = limit * _best_fraction(rows, limit, importance, scheme)
    scale = limit.astype(np.float64) / scheme.weight_limit
    lost = limit < scheme.scale_min / 2  # round(limit / scale_min) is 0
    if lost.all() and (limit > 0).any():
        raise QuantizationError(
            f"weight {name!r} is at most {limit.max():g}, which the least scale that the target allows, "
            f"{scheme.scale_min:g}, rounds to 0"
        )
    scale = np.maximum(scale, scheme.scale_min)
    if lost.any():
        scale[lost] = max(1.0 / scheme.weight_limit, scheme.scale_min) if lost.all() else _median(scale[~lost])
    scale = scheme.allowed(scale)
    if scale.max(initial=0.0) > scheme.scale_max:
        raise QuantizationError(f"weight {name!r} needs scale {scale.max():g}, the target allows {scheme.scale_max:g}")
    shaped = scale.astype(np.float32) if axis is not None else scale.astype(np.float32).reshape(())
    return Parameters(shaped, np.zeros(shaped.shape, np.int8), DType.I8, axis)


def _median(values: Array) -> float:
    """Of f64 numbers; NumPy's imports masked arrays to look for NaN."""
    ordered = np.sort(values)
    return float((ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2)


def _best_fraction(rows: Array, limit: Array, importance: Array | None, scheme: Scheme) -> Array:
    """Per row the fraction of its limit with the least squared error."""
    best = np.ones(len(rows))
    taken = max(SEARCHED // max(rows.shape[1], 1), 1)
    for start in range(0, len(rows), taken):
        some = slice(start, start + taken)
        best[some] = _best_of_rows(rows[some], limit[some], None if importance is None else importance[some], scheme)
    return best


def _best_of_rows(rows: Array, limit: Array, importance: Array | None, scheme: Scheme) -> Array:
    best = np.ones(len(rows))
    least = np.full(len(rows), np.inf)
    safe = np.where(limit > 0, limit, 1.0)
    error = np.empty_like(rows)
    for fraction in HALVED if scheme.power_of_two else WEIGHT_CANDIDATES:
        step = scheme.allowed(safe * np.float32(fraction / scheme.weight_limit)).astype(np.float32)[:, None]
        np.divide(rows, step, out=error)
        np.rint(error, out=error)
        np.clip(error, -scheme.weight_limit, scheme.weight_limit, out=error)
        error *= step
        error -= rows
        error *= error
        if importance is not None:
            error *= importance
        total = error.sum(axis=1, dtype=np.float64)
        better = total < least
        best[better], least[better] = fraction, total[better]
    return best


def quantize_weight(w: Array, parameters: Parameters, limit: int = WEIGHT_LIMIT) -> Array:
    """The i8 integers of a weight, in [-limit, limit]; some rows at a time, which leaves no second one in f32."""
    integers = np.empty(w.shape, np.int8)
    rows = max(SEARCHED * len(w) // max(w.size, 1), 1)
    for start in range(0, len(w), rows):
        some = slice(start, start + rows)
        integers[some] = parameters.of_rows(some, w.ndim).quantize(w[some].astype(np.float32, copy=False))
    return np.clip(integers, np.int8(-limit), np.int8(limit), out=integers)


def product_scale(x: Parameters, w: Parameters, repeat: int = 1) -> Array:
    """The scale of sums of products, s_x * s_w, rounded once to f32; a vector of scales is repeated `repeat` times.

    This one expression is the scale of i32 biases and of accumulators everywhere.
    """
    scale = np.asarray(x.scale, np.float32) * np.asarray(w.scale, np.float32)
    return np.tile(scale, repeat) if scale.ndim else np.asarray(scale)


def bias_room(depth: int, x: Parameters, scheme: Scheme) -> int:
    """The greatest magnitude of a quantized bias for which no sum over `depth` products can overflow.

    Products are at most (greatest - least of x) * weight_limit. Sums have 32 bits, with activations of 16 bits 64.
    """
    if x.dtype is DType.I16:
        return scheme.bias_limit
    least, greatest = x.dtype.range
    zero = int(x.zero_point)
    reach = max(greatest - zero, zero - least)
    room = 2**31 - 1 - depth * reach * scheme.weight_limit
    return max(min(room, scheme.bias_limit), 0)


def widen_for_bias(
    w: Parameters, bias: Array, x: Parameters, room: int, scheme: Scheme, *, name: str = ""
) -> tuple[Parameters, int]:
    """Weight parameters under which the bias fits, and how many scales had to grow.

    A bias b is the integer b / (s_x * s_w): where that exceeds `room`, the channel's weight scale is made larger.

    Raises:
        QuantizationError: there is no room at all (the sums themselves may overflow), or the bias is not finite.
    """
    if room < 1:
        raise QuantizationError(f"{name}: sums of its products may exceed 32 bits", hint="leave it in float with skip")
    if not np.isfinite(bias).all():
        raise QuantizationError(f"{name}: the bias has values that are not finite", hint="leave it in float with skip")
    magnitude = np.abs(bias.astype(np.float64)).reshape(-1)
    if w.scale.ndim == 0:
        magnitude = magnitude.max(initial=0.0).reshape(1)
    else:
        magnitude = magnitude.reshape(-1, w.scale.size).max(axis=0)
    needed = magnitude / (room * float(x.scale)) * (1 + 1e-6)
    scale = w.scale.reshape(-1).astype(np.float64)
    grown = needed > scale
    if not grown.any():
        return w, 0
    wider = np.where(grown, scheme.allowed(np.maximum(needed, scale)), scale).astype(np.float32).reshape(w.scale.shape)
    return attrs.evolve(w, scale=wider), int(grown.sum())


def quantize_bias(bias: Array, scale: Array) -> Array:
    """round(bias / scale) as i32, half to even, computed in f64.

    Raises:
        QuantizationError: a value does not fit i32 (`widen_for_bias` prevents that).
    """
    whole = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    if whole.size and np.abs(whole).max() > 2**31 - 1:
        raise QuantizationError(f"a quantized bias of {np.abs(whole).max():.4g} does not fit i32")
    return whole.astype(np.int32)


def sqnr(expected: Array, actual: Array) -> float:
    """Ratio of signal to quantization noise in decibels; infinite without noise."""
    signal = float(np.square(expected, dtype=np.float64).sum())
    noise = float(np.square(expected.astype(np.float64) - actual).sum())
    return decibels(signal, noise)


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise)."""
    if noise == 0:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal > 0 else float("-inf")
