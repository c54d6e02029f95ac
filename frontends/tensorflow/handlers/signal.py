"""Fourier transforms and what audio models make of them. Complex values are pairs along a last axis of their own."""

from __future__ import annotations

from uair.frontends.common.audio import cepstrum, spectrogram
from uair.frontends.tensorflow.handlers.elementwise import complex_operand
from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.frontends.tensorflow.values import Complex
from uair.ir.graph import Tensor
from uair.ops import DFT, Squeeze, Unsqueeze

FAMILY = Family()


def _over(n: TfNode, x: Tensor, axes: int, inverse: bool) -> Tensor:
    """Transform the innermost axes of complex pairs."""
    rank = n.rank(x)
    for i in range(axes):
        x = n(DFT(axis=rank - 2 - i, inverse=inverse), x)
    return x


@FAMILY.op("FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D")
def _fft(n: TfNode) -> Result:
    axes = int(n.op_type[-2]) if n.op_type.endswith("D") else 1
    return Complex(_over(n, complex_operand(n, 0).parts, axes, n.op_type.startswith("I")))


@FAMILY.op("RFFT")
def _rfft(n: TfNode) -> Result:
    (length,) = n.numbers(1, "the length")
    x = n(Unsqueeze(axes=(n.rank(n[0]),)), n[0])
    return Complex(n(DFT(axis=n.rank(x) - 2, length=length, onesided=True), x))


@FAMILY.op("IRFFT")
def _irfft(n: TfNode) -> Result:
    (length,) = n.numbers(1, "the length")
    x = complex_operand(n, 0).parts
    y = n(DFT(axis=n.rank(x) - 2, length=length, onesided=True, inverse=True), x)
    return n(Squeeze(axes=(n.rank(y) - 1,)), y)


@FAMILY.op("AudioSpectrogram")
def _spectrogram(n: TfNode) -> Result:
    window, stride = n.integer("window_size"), n.integer("stride")
    return spectrogram(n, n[0], window=window, stride=stride, squared=n.flag("magnitude_squared"))


@FAMILY.op("Mfcc")
def _mfcc(n: TfNode) -> Result:
    """The samples per second are an operand."""
    return cepstrum(
        n,
        n[0],
        rate=int(n.scalar(1, "the sample rate")),
        lower=n.number("lower_frequency_limit", 20.0),
        upper=n.number("upper_frequency_limit", 4000.0),
        bands=n.integer("filterbank_channel_count", 40),
        coefficients=n.integer("dct_coefficient_count", 13),
    )
