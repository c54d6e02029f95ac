"""Fourier transforms and complex numbers, which are pairs along a last axis."""

from __future__ import annotations

from uair.frontends.tflite.node import Complex, Family, Result, TfliteNode
from uair.ir.graph import Tensor
from uair.ops import DFT, Add, Mul, Slice, Sqrt, Squeeze, Unsqueeze

FAMILY = Family()


@FAMILY.op("RFFT2D")
def _rfft2d(n: TfliteNode) -> Result:
    """The transform of the last two axes, cut or filled up to the given lengths; half of the last axis is kept."""
    lengths = n.integers(n.raw(1), "the lengths")
    if len(lengths) != 2 or n.rank(n[0]) < 2:
        n.refuse(f"lengths {list(lengths)} for a tensor of {n.rank(n[0])} axes")
    pairs = n(Unsqueeze(axes=(-1,)), n[0])
    pairs = n(DFT(axis=-2, length=lengths[1], onesided=True), pairs)
    return Complex(n(DFT(axis=-3, length=lengths[0]), pairs))


def part(n: TfliteNode, which: int) -> Tensor:
    """The real (0) or imaginary (1) part of operand 0, which must be complex.

    Raises:
        SourceOperatorError: it is not.
    """
    value = n.value(0)
    if not isinstance(value, Complex):
        n.refuse("the operand is not complex")
    one = n(Slice(axes=(-1,), starts=(which,), ends=(which + 1,), steps=(1,)), value.pairs)
    return n(Squeeze(axes=(-1,)), one)


@FAMILY.op("REAL")
def _real(n: TfliteNode) -> Result:
    return part(n, 0)


@FAMILY.op("IMAG")
def _imag(n: TfliteNode) -> Result:
    return part(n, 1)


@FAMILY.op("COMPLEX_ABS")
def _abs(n: TfliteNode) -> Result:
    real, imaginary = part(n, 0), part(n, 1)
    return n(Sqrt(), n(Add(), n(Mul(), real, real), n(Mul(), imaginary, imaginary)))
