"""Fourier transforms and spectrograms. A transform of the IR takes and gives pairs of numbers along a last axis."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
import numpy as np

from uair import ops
from uair.frontends.torch.handlers.complex import from_pairs, is_complex, pairs
from uair.frontends.torch.node import Family, TorchNode
from uair.frontends.torch.promotion import as_float
from uair.frontends.torch.sizes import as_tensor
from uair.ir.dims import Dim, floor_div, normal
from uair.ir.graph import Tensor
from uair.ops.padding import PadMode

FAMILY = Family()
Norm: TypeAlias = Literal["backward", "ortho", "forward"]
"""Where the factor 1 / n is: in the transform back, its root in both, or in the transform forth."""


@attrs.frozen
class Plan:
    """One transform along several axes.

    Attributes:
        axes: in the order of the axes' operand; the last one is that of a real transform.
        lengths: for each the length that the signal is cut or filled up to; None for its own.
        inverse: whether it is the transform back.
        factor: of the result: 1 / n to this power, n the number of elements transformed.
    """

    axes: tuple[int, ...]
    lengths: tuple[Dim | None, ...]
    inverse: bool
    factor: float


def _transformed(node: TorchNode, x: Tensor, plan: Plan, onesided: bool = False) -> Tensor:
    """The transform of pairs along the plan's axes, as pairs; `onesided`: half of the last axis is given or wanted."""
    steps = list(zip(plan.axes, plan.lengths, [*[False] * (len(plan.axes) - 1), onesided], strict=True))
    size: Dim = 1
    for axis, length, half in steps if plan.inverse else reversed(steps):
        own = node.extent(x, axis)
        whole = length if length is not None else normal(2 * (own - 1)) if half and plan.inverse else own
        size = normal(size * whole)
        fixed = whole if isinstance(whole, int) and whole != own else None
        op = ops.DFT(axis=axis, length=fixed, inverse=plan.inverse, onesided=half)
        x = node(op, x, None if length is None or isinstance(whole, int) else as_tensor(node, whole))
    power = plan.factor - (1.0 if plan.inverse else 0.0)  # the IR's transform back divides by n
    return _scaled(node, x, size, power) if power else x


def _scaled(node: TorchNode, x: Tensor, size: Dim, power: float) -> Tensor:
    """The tensor times 1 / size to a power."""
    if isinstance(size, int):
        return node(ops.Mul(), x, node.like(float(size) ** -power, x))
    number = node.cast(as_tensor(node, size), x.type.dtype)
    return node(ops.Mul(), x, node(ops.Pow(), number, node.like(-power, number)))


def _as_pairs(node: TorchNode, x: Tensor) -> Tensor:
    """A tensor as pairs, a real one as [..., 1]."""
    if is_complex(x):
        return pairs(node, x)
    return node(ops.Unsqueeze(axes=(node.rank(x),)), node.cast(x, as_float(x.type.dtype)))


def _factor(node: TorchNode, inverse: bool) -> float:
    norm = node.get("norm") or "backward"
    if norm not in ("backward", "ortho", "forward"):
        node.refuse(f"norm {norm!r} is not known")
    return 0.5 if norm == "ortho" else float(inverse is (norm == "backward"))


# ------------------------------------------------------------------------------------------------ as decomposed
_POWERS = (0.0, 0.5, 1.0)
"""The power of 1 / n by the number of the normalization: none, by the root of n, by n."""


def _own_plan(node: TorchNode, x: Tensor, inverse: bool, last: Dim | None = None) -> Plan:
    axes = node.axes([int(a) for a in node.get("dim")], node.rank(x))
    lengths = (*[None] * (len(axes) - 1), last)
    return Plan(axes, lengths, inverse, _POWERS[int(node.get("normalization", 0))])


@FAMILY.op("aten._fft_r2c")
def _real_to_complex(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    made = _transformed(node, _as_pairs(node, x), _own_plan(node, x, False), bool(node.get("onesided")))
    return from_pairs(node, made)


@FAMILY.op("aten._fft_c2c")
def _complex_to_complex(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    plan = _own_plan(node, x, not node.get("forward"))
    return from_pairs(node, _transformed(node, _as_pairs(node, x), plan))


@FAMILY.op("aten._fft_c2r")
def _complex_to_real(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    plan = _own_plan(node, x, True, node.get("last_dim_size"))
    made = _transformed(node, _as_pairs(node, x), plan, onesided=True)
    return node(ops.Squeeze(axes=(node.rank(made) - 1,)), made)


# ------------------------------------------------------------------------------------------------ as torch.fft has them
def _asked_plan(node: TorchNode, x: Tensor, inverse: bool) -> Plan:
    """The axes and lengths of torch.fft's functions: of one axis n and dim, of two or all s and dim."""
    rank = node.rank(x)
    axes: tuple[int, ...]
    lengths: tuple[Dim | None, ...]
    if "n" in node.values or not node.op_type.split(".")[1].endswith(("2", "n")):
        axes, lengths = (node.axis(node.get("dim", -1), rank),), (node.get("n"),)
    else:
        sizes = node.get("s")
        default = (-2, -1) if node.op_type.split(".")[1].endswith("2") else None
        given = node.get("dim", default)
        count = rank if sizes is None else len(sizes)
        axes = node.axes(range(rank - count, rank) if given is None else [int(a) for a in given], rank)
        lengths = tuple(sizes) if sizes is not None else (None,) * len(axes)
    return Plan(axes, tuple(None if n == -1 else n for n in lengths), inverse, _factor(node, inverse))


@FAMILY.op("aten.fft_fft", "aten.fft_ifft", "aten.fft_fft2", "aten.fft_ifft2", "aten.fft_fftn", "aten.fft_ifftn")
def _fft(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    plan = _asked_plan(node, x, "fft_ifft" in node.op_type)
    return from_pairs(node, _transformed(node, _as_pairs(node, x), plan))


@FAMILY.op("aten.fft_rfft", "aten.fft_rfft2", "aten.fft_rfftn")
def _rfft(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return from_pairs(node, _transformed(node, _as_pairs(node, x), _asked_plan(node, x, False), onesided=True))


@FAMILY.op("aten.fft_irfft", "aten.fft_irfft2", "aten.fft_irfftn")
def _irfft(node: TorchNode) -> Tensor:
    """Of a spectrum that is cut or filled up to what the length asks for."""
    x = node.tensor("self")
    plan = _asked_plan(node, x, True)
    made = _transformed(node, pairs(node, x), plan, onesided=True)
    return node(ops.Squeeze(axes=(node.rank(made) - 1,)), made)


@FAMILY.op("aten.fft_fftfreq", "aten.fft_rfftfreq")
def _frequencies(node: TorchNode) -> Tensor:
    """Those of a transform of n samples, d apart: k / (n * d), the negative ones behind."""
    n, d = node.get("n"), float(node.get("d", 1.0))
    if not isinstance(n, int):
        node.refuse("the number of samples must be known", "export the model with that size fixed")
    found = np.fft.rfftfreq(n, d) if "rfftfreq" in node.op_type else np.fft.fftfreq(n, d)
    return node.stored(found.astype(node.result.dtype.numpy))


# ------------------------------------------------------------------------------------------------ spectrograms
@attrs.frozen
class Frames:
    """How a signal is cut into frames.

    Attributes:
        length: of a frame, and of its transform.
        hop: from the beginning of a frame to that of the next.
        window: of a frame's length; None for ones.
        center: whether the signal is padded so that frame t is centered at t * hop.
        power: of 1 / length in the result.
    """

    length: int
    hop: int
    window: Tensor | None
    center: bool
    power: float


def _frames(node: TorchNode) -> Frames:
    length = node.get("n_fft")
    hop = node.get("hop_length")
    if not isinstance(length, int) or not isinstance(hop, (int, type(None))):
        node.refuse("the length of the frames and the hop must be known", "export the model with them fixed")
    window, width = node.optional("window"), node.get("win_length")
    width = length if width is None else int(width)
    if window is None and width < length:
        window = node.stored(np.ones(width, np.float32))
    if window is not None and width < length:
        left = (length - width) // 2
        window = node(ops.Pad(pads=(left, length - width - left)), window)
    center = bool(node.get("center", "istft" in node.op_type or ".center" in node.op_type))
    return Frames(length, length // 4 if hop is None else hop, window, center, 0.5 if node.get("normalized") else 0.0)


@FAMILY.op("aten.stft")
def _stft(node: TorchNode) -> Tensor:
    """Frames of the signal times the window, transformed: [..., frequencies, frames]."""
    frames, x = _frames(node), node.tensor("self")
    if is_complex(x):
        node.refuse("a spectrogram of a complex signal", "transform its frames with torch.fft.fft")
    batched = node.rank(x) == 2
    x = x if batched else node(ops.Unsqueeze(axes=(0,)), x)
    if frames.center:
        half = frames.length // 2
        modes: dict[str, PadMode] = {
            "constant": "constant",
            "reflect": "reflect",
            "replicate": "edge",
            "circular": "wrap",
        }
        x = node(ops.Pad(pads=(0, half, 0, half), mode=modes[node.get("pad_mode", "reflect")]), x)
    count = normal(floor_div(normal(node.extent(x, 1) - frames.length), frames.hop) + 1)
    cut = node(ops.Gather(axis=1), x, _places(node, count, frames))
    if frames.window is not None:
        cut = node(ops.Mul(), cut, node.cast(frames.window, cut.type.dtype))
    onesided = node.get("onesided")
    made = node(ops.DFT(axis=2, onesided=onesided is None or bool(onesided)), node(ops.Unsqueeze(axes=(3,)), cut))
    made = _scaled(node, made, frames.length, frames.power) if frames.power else made
    made = node.transposed(made, (0, 2, 1, 3))
    made = made if batched else node(ops.Squeeze(axes=(0,)), made)
    return made if not node.get("return_complex", True) else from_pairs(node, made)


def _places(node: TorchNode, count: Dim, frames: Frames) -> Tensor:
    """Where the elements of every frame stand in the signal: [count, length]."""
    inside = np.arange(frames.length)
    if isinstance(count, int):
        return node.stored(np.arange(count)[:, np.newaxis] * frames.hop + inside)
    starts = node(ops.Range(), *(as_tensor(node, v) for v in (0, normal(count * frames.hop), frames.hop)))
    starts = node.reshaped(starts, (count, 1))
    return node(ops.Add(), starts, node.stored(inside))


@FAMILY.op("aten.istft")
def _istft(node: TorchNode) -> Tensor:
    """The frames' signals times the window, added where they overlap, over the sum of the windows' squares."""
    frames, x = _frames(node), node.tensor("self")
    if node.get("return_complex"):
        node.refuse("a complex signal of a spectrogram", "transform its frames with torch.fft.ifft")
    given = pairs(node, x)
    batched = node.rank(given) == 4
    given = given if batched else node(ops.Unsqueeze(axes=(0,)), given)
    onesided = node.get("onesided")
    half = node.extent(given, 1) != frames.length if onesided is None else bool(onesided)
    op = ops.DFT(axis=1, length=frames.length if half else None, inverse=True, onesided=half)
    signal = node(ops.Gather(axis=3), node(op, given), node.stored(np.asarray(0)))
    signal = _scaled(node, signal, frames.length, -frames.power) if frames.power else signal
    window = node.stored(np.ones(frames.length, np.float32)) if frames.window is None else frames.window
    window = node.reshaped(node.cast(window, signal.type.dtype), (1, frames.length, 1))
    total = _overlapped(node, node(ops.Mul(), signal, window), frames)
    squares = node(ops.Expand(shape=(1, frames.length, node.extent(signal, 2))), node(ops.Mul(), window, window))
    made = node(ops.Div(), *_middle(node, frames, total, _overlapped(node, squares, frames)))
    return made if batched else node(ops.Squeeze(axes=(0,)), made)


def _overlapped(node: TorchNode, x: Tensor, frames: Frames) -> Tensor:
    """The columns of [N, length, frames] added where they overlap: [N, (frames - 1) * hop + length]."""
    kernel = node.stored(np.eye(frames.length, dtype=x.type.dtype.numpy)[:, np.newaxis])
    return node(ops.Squeeze(axes=(1,)), node(ops.ConvTranspose1D(strides=(frames.hop,)), x, kernel))


def _middle(node: TorchNode, frames: Frames, *signals: Tensor) -> list[Tensor]:
    """The signals without what padding has added, of the length asked for; behind their end there is nothing."""
    start = frames.length // 2 if frames.center else 0
    whole, length = node.extent(signals[0], 1), node.get("length")
    end: Dim = normal(whole - start) if length is None else normal(start + length)
    if isinstance(end, int) and isinstance(whole, int) and end > whole:
        node.refuse(f"a length of {length}, where the frames have {normal(whole - start)}")
    return [node(ops.Slice(axes=(1,), starts=(start,), ends=(end,), steps=(1,)), s) for s in signals]
