"""Signal processing. The windows (Hann, Hamming, Blackman) are imported by onnx's own definitions."""

from __future__ import annotations

import numpy as np

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.frontends.onnx.tensors import dtype_of
from uair.ir.data import ArrayData
from uair.ir.dims import Dim
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import DFT, Add, Gather, MelWeights, Mul, Range, ShapeOf, Squeeze, Sub, Unsqueeze

FAMILY = Family()
_MICROSOFT = "com.microsoft"
MAX_FRAMES = 1 << 26
"""Elements of the table of frames."""


@FAMILY.op("DFT", 17)
def _dft_17(n: OnnxNode) -> Result:
    """The axis is an attribute."""
    return _dft(n, n.axis(n.attributes.integer("axis", 1), n.rank(n[0])), None)


@FAMILY.op("DFT", 20)
def _dft_20(n: OnnxNode) -> Result:
    """The axis is an operand."""
    if n.optional(2) is None:
        return _dft(n, n.rank(n[0]) - 2, None)
    known = n.scalar(2)
    return _dft(n, None, n[2]) if known is None else _dft(n, n.axis(int(known), n.rank(n[0])), None)


def _dft(n: OnnxNode, axis: int | None, axis_at_run_time: Tensor | None) -> Tensor:
    length, number = n.optional(1), None
    if length is not None:
        known = n.scalar(1)
        number, length = (None, length) if known is None else (int(known), None)
    inverse, onesided = n.attributes.flag("inverse"), n.attributes.flag("onesided")
    return n(DFT(axis=axis, length=number, inverse=inverse, onesided=onesided), n[0], length, axis_at_run_time)


@FAMILY.op("STFT", 17)
def _stft(n: OnnxNode) -> Result:
    """Transforms of frames of the signal [batch, length, parts] at equal steps, weighted by a window."""
    signal, window = n[0], n.optional(2)
    frames = n(Gather(axis=1), signal, _places(n, signal, window))
    if window is not None:
        frames = n(Mul(), frames, n(Unsqueeze(axes=(1,)), window))
    return n(DFT(axis=2, onesided=n.attributes.flag("onesided", True)), frames)


def _places(n: OnnxNode, signal: Tensor, window: Tensor | None) -> Tensor:
    """Positions of the elements of the frames, [frames, frame length]."""
    extent = n.extent(signal, 1)
    length: Dim | None = None if window is None else n.extent(window, 0)
    if n.optional(3) is not None and not isinstance(length, int):
        dims = n.dims(3)
        length = dims[0] if dims else None
    elif window is None and n.optional(3) is None:
        length = extent
    step = n.scalar(1)
    if isinstance(extent, int) and isinstance(length, int) and step is not None:
        if step < 1 or length < 1:
            n.refuse(f"frames of {length} at steps of {int(step)} are none")
        starts = np.arange(0, max(extent - length + 1, 0), int(step))
        if starts.size * length > MAX_FRAMES:
            n.refuse(f"{starts.size} frames of {length} are too many")
        return constant(starts[:, np.newaxis] + np.arange(length))
    return _computed_places(n, signal, window, length)


def _computed_places(n: OnnxNode, signal: Tensor, window: Tensor | None, length: Dim | None) -> Tensor:
    zero, one = constant(np.array(0)), constant(np.array(1))

    def scalar(t: Tensor) -> Tensor:
        return n.single(n.cast(t, DType.I64))

    whole = scalar(n(ShapeOf(start=1, end=2), signal))
    if isinstance(length, int):
        size = constant(np.array(length))
    elif n.optional(3) is not None:
        size = scalar(n[3])
    else:
        size = whole if window is None else scalar(n(ShapeOf(), window))
    starts = n(Range(), zero, n(Add(), n(Sub(), whole, size), one), scalar(n[1]))
    within = constant(np.arange(length)) if isinstance(length, int) else n(Range(), zero, size, one)
    return n(Add(), n(Unsqueeze(axes=(1,)), starts), within)


@FAMILY.op("MelWeightMatrix", 17)
def _mel_weight_matrix(n: OnnxNode) -> Result:
    """A constant when all operands are known."""
    op = MelWeights(dtype=dtype_of(n.attributes.integer("output_datatype", 1), n.place))
    numbers = [n.scalar(i) for i in range(5)]
    known = [np.array(v) for v in numbers if v is not None]
    if len(known) < 5:
        return n(op, *(n[i] for i in range(5)))
    return n.stored(ArrayData(op.evaluate(*known), op.dtype))


# ------------------------------------------------------------------------- onnxruntime's
@FAMILY.op("Rfft", 1, domain=_MICROSOFT)
def _rfft(n: OnnxNode) -> Result:
    """Of real signals over the last `signal_ndim` axes: one-sided along the last one, then along the others."""
    count = _signal_axes(n)
    y = n(DFT(axis=-2, onesided=True), n(Unsqueeze(axes=(n.rank(n[0]),)), n[0]))
    for i in range(1, count):
        y = n(DFT(axis=-2 - i), y)
    return y


@FAMILY.op("Irfft", 1, domain=_MICROSOFT)
def _irfft(n: OnnxNode) -> Result:
    """The inverse of Rfft, of an even length along the last axis."""
    y = n[0]
    for i in range(1, _signal_axes(n)):
        y = n(DFT(axis=-2 - i, inverse=True), y)
    return n(Squeeze(axes=(n.rank(y) - 1,)), n(DFT(axis=-2, inverse=True, onesided=True), y))


def _signal_axes(n: OnnxNode) -> int:
    """Number of transformed axes."""
    a = n.attributes
    if a.flag("normalized") or not a.flag("onesided", True):
        n.unsupported(f"{n.op_type} that is normalized or two-sided is not supported")
    count = a.integer("signal_ndim", 1)
    if not 1 <= count <= 3:
        n.refuse(f"signal_ndim is {count}, expected 1 to 3")
    return count
