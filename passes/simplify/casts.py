"""Conversions of element type."""

from __future__ import annotations

from typing import Any

from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor
from uair.ops import Cast
from uair.rewrite import NoMatch, Rule, no, of

_FLOAT_BITS = {  # mantissa bits with the hidden one, exponent range rank
    DType.F16: (11, 5),
    DType.BF16: (8, 8),
    DType.F32: (24, 8),
    DType.F64: (53, 11),
    DType.F8E4M3: (4, 4),
    DType.F8E5M2: (3, 5),
}


def is_lossless(source: DType, target: DType) -> bool:
    """Whether every value of `source` is a value of `target`."""
    if source is target or source is DType.BOOL:
        return (target.is_integer or target.is_float or target is DType.BOOL) and target is not DType.F8E8M0
    if source.is_integer and target.is_integer:
        return source.range[0] >= target.range[0] and source.range[1] <= target.range[1]
    if source.is_integer and target in _FLOAT_BITS:
        digits, exponent = _FLOAT_BITS[target]
        return source.bits - source.is_signed <= digits and source.bits < 2 ** (exponent - 1)
    if source in _FLOAT_BITS and target in _FLOAT_BITS:
        return all(s <= t for s, t in zip(_FLOAT_BITS[source], _FLOAT_BITS[target], strict=True))
    return False


def _same_result(source: DType, between: DType, target: DType) -> bool:
    """Whether a conversion of numbers of `source` does the same from the wider type `between`.

    Text shows the type of a number (3 is "3", 3.0 is "3.0"), and whole numbers that do not fit wrap around by other
    rules when they come from a floating-point type.
    """
    if target is DType.STRING:
        return source is between or (source.is_integer and between.is_integer)
    from_real = source.is_integer and between.is_float and target.is_integer
    return not from_real or is_lossless(source, DType.I32) or is_lossless(source, target)


class MergeCasts(Rule):
    """Cast(Cast(x)) is one Cast when the first one loses nothing."""

    def pattern(self, x: Any) -> Any:
        """Two in a row; the first may have other users."""
        return of(Cast)(of(Cast)(x).named("inner").shared()).named("outer")

    def check(self, x: Tensor, inner: Node, outer: Node) -> bool | NoMatch:
        """The inner conversion keeps every value."""
        source, between, target = x.type.dtype, inner.output.type.dtype, outer.output.type.dtype
        if not is_lossless(source, between):
            return no(f"{source} to {between} loses values", inner)
        return _same_result(source, between, target) or no(
            f"{target} depends on whether it is made of {between}", outer
        )

    def rewrite(self, x: Tensor, outer: Node) -> Tensor:
        """Convert at once."""
        return outer.op(x) if outer.output.type.dtype is not x.type.dtype else x


RULES = (MergeCasts,)
