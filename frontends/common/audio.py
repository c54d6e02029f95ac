"""Spectrograms and cepstral coefficients as TensorFlow and LiteRT define them: AudioSpectrogram and Mfcc.

Both are spelled out in Fourier transforms, matrix products and elementwise operators; windows, mel bands and cosines
are constants. Source: the operators' documentation in TensorFlow's api_def, and LiteRT's results.
"""

from __future__ import annotations

import numpy as np

from uair.frontends.common.node import Emitter
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ops import DFT, Add, Gather, Log, MatMul, Maximum, Mul, Slice, Sqrt, Squeeze, Unsqueeze

_MOST_PLACES = 1 << 24
_LEAST_ENERGY = 1e-12


def spectrogram(n: Emitter, samples: Tensor, *, window: int, stride: int, squared: bool) -> Tensor:
    """Magnitudes of the spectra of frames at equal steps, each weighted by a periodic Hann window.

    Args:
        n: what emits the nodes.
        samples: [length, channels], f32.
        window: samples of a frame; it is filled up with zeros to a power of two.
        stride: between frames.
        squared: whether the squares of the magnitudes are the result.

    Returns:
        [channels, frames, frequencies], f32.
    """
    if n.rank(samples) != 2:
        n.refuse(f"samples by channels are needed, the operand has {n.rank(samples)} axes")
    length = n.extent(samples, 0)
    if window < 2 or stride < 1:
        n.refuse(f"frames of {window} samples at steps of {stride} are none")
    if not isinstance(length, int):
        n.refuse("the number of samples must be known", "give the model's inputs fixed shapes")
    starts = np.arange(0, max(length - window + 1, 0), stride)
    if not 0 < starts.size * window <= _MOST_PLACES:
        n.refuse(f"{length} samples give {starts.size} frames of {window}")
    frames = n(Gather(axis=1), n.transposed(samples, (1, 0)), constant(starts[:, np.newaxis] + np.arange(window)))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    frames = n(Mul(), frames, constant(hann.astype(np.float32)))
    points = 1 << (window - 1).bit_length()
    pairs = n(DFT(axis=2, length=points, onesided=True), n(Unsqueeze(axes=(3,)), frames))
    squares = n(Mul(), pairs, pairs)
    real, imaginary = (n(Slice(axes=(3,), starts=(i,), ends=(i + 1,), steps=(1,)), squares) for i in (0, 1))
    power = n(Squeeze(axes=(3,)), n(Add(), real, imaginary))
    return power if squared else n(Sqrt(), power)


def cepstrum(
    n: Emitter, power: Tensor, *, rate: int, lower: float, upper: float, bands: int, coefficients: int
) -> Tensor:
    """Mel-frequency cepstral coefficients: a cosine transform of the logarithms of magnitudes summed up in bands.

    Args:
        n: what emits the nodes.
        power: squared magnitudes, [channels, frames, frequencies], f32.
        rate: samples per second.
        lower: lower end of the bands in hertz.
        upper: upper end of the bands in hertz.
        bands: number of bands.
        coefficients: number of coefficients that are kept.

    Returns:
        [channels, frames, coefficients], f32.
    """
    if n.rank(power) != 3:
        n.refuse(f"channels of frames of frequencies are needed, the operand has {n.rank(power)} axes")
    frequencies = n.extent(power, 2)
    if not isinstance(frequencies, int) or frequencies < 2 or rate < 1:
        n.refuse(f"{frequencies} frequencies at {rate} samples per second")
    if not 0 <= lower < upper or upper * 2 * (frequencies - 1) >= rate * frequencies:
        n.refuse(f"bands from {lower:g} to {upper:g} Hz of a spectrum that ends at {rate / 2:g} Hz")
    if not 0 < coefficients <= bands:
        n.refuse(f"{coefficients} coefficients of {bands} bands")
    weights = _mel(frequencies, rate, lower, upper, bands).astype(np.float32)
    energy = n(MatMul(), n(Sqrt(), power), constant(weights))
    logs = n(Log(), n(Maximum(), energy, constant(np.asarray(_LEAST_ENERGY, DType.F32.numpy))))
    steps = np.outer(np.arange(bands) + 0.5, np.arange(coefficients))
    cosines = np.sqrt(2 / bands) * np.cos(np.pi / bands * steps)
    return n(MatMul(), logs, constant(cosines.astype(np.float32)))


def _mel(frequencies: int, rate: int, lower: float, upper: float, bands: int) -> Array:
    """The weight of each frequency in each triangular band, [frequencies, bands].

    The bands' edges lie at equal distances on the mel scale 1127 ln(1 + f / 700). Frequencies are counted from one step
    above `lower`, rounded to the nearest, the constant part never, to `upper`, rounded down.
    """
    step = 0.5 * rate / (frequencies - 1)
    lowest, highest = (1127 * np.log1p(f / 700) for f in (lower, upper))
    edges = np.linspace(lowest, highest, bands + 2)
    first, last = int(1.5 + lower / step), int(upper / step)
    at = 1127 * np.log1p(np.arange(frequencies) * step / 700)[:, np.newaxis]
    rising = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    weights: Array = np.maximum(np.minimum(rising, falling), 0)
    weights[:first], weights[last + 1 :] = 0, 0
    return weights
