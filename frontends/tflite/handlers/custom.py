"""Custom operators that LiteRT's own interpreter knows, by the name in the file; all others are kept as they are.

Source of the options' forms: the kernels that LiteRT 2.3 registers beside the builtin ones.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from uair.frontends.common.audio import cepstrum, spectrogram
from uair.frontends.common.layout import channels_first, channels_last
from uair.frontends.tflite import flex
from uair.frontends.tflite.handlers.convolution import spread
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.dims import is_static, normal, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Add,
    ArgMax,
    Concat,
    ConvTranspose2D,
    DepthToSpace,
    Div,
    Equal,
    Exp,
    Expand,
    Gather,
    GatherND,
    Less,
    LogicalAnd,
    MaxPool2D,
    Minimum,
    Mul,
    NonMaxSuppression,
    Pad,
    ReduceMax,
    Reshape,
    ScatterElements,
    ShapeOf,
    Slice,
    Squeeze,
    Sub,
    TopK,
    Unsqueeze,
    Where,
)

FAMILY = Family()

_SAME, _VALID = 1, 2
_MOST_TAPS = 64
_MOST_ELEMENTS = 1 << 28


@FAMILY.op("Convolution2DTransposeBias")
def _transposed_conv(n: TfliteNode) -> Result:
    """A transposed convolution with a bias: image, filter [M, kH, kW, C], bias [M].

    Its options are three little-endian integers of 32 bits: padding, strides along width and height. Without a shape as
    an operand the padding alone says what is cut off.
    """
    payload = n.payload
    if len(payload) < 12:
        n.refuse(f"its options have {len(payload)} bytes, 12 are needed")
    padding, width, height = struct.unpack_from("<3i", payload)
    if padding not in (_SAME, _VALID) or min(width, height) < 1:
        n.refuse(f"its options name padding {padding} and strides {[height, width]}")
    w = n.weight(1, (3, 0, 1, 2))
    return spread(n, ConvTranspose2D, n[0], w, n.optional(2), (height, width), same=padding == _SAME)


@FAMILY.op("MaxPoolingWithArgmax2D")
def _pool_with_places(n: TfliteNode) -> Result:
    """Maxima of windows side by side, and where they are within the window, counted down its columns.

    What a last window lacks repeats the image's border where the options say SAME, and is left out otherwise. The
    places are numbers of f32, as the file declares them; of equal elements the first counts. Source: LiteRT's XNNPACK
    kernels, which write the bits of u32 instead, that no operator but MaxUnpooling2D reads.
    """
    x, (padding, kernel) = channels_first(n, n[0]), _windows(n)
    pool = MaxPool2D(kernel=kernel, strides=kernel, auto_pad="same_upper" if padding == _SAME else "notset")
    explicit = pool.with_explicit_pads(n.shape(x)[2:], kernel)
    best, taps = n(explicit, x), _taps(n, x, kernel, explicit.pads)
    place = n.like(len(taps) - 1, best)
    for i, tap in reversed(list(enumerate(taps[:-1]))):
        place = n(Where(), n(Equal(), tap, best), n.like(i, best), place)
    if len(taps) == 1:
        place = n(Sub(), best, best)
    return [channels_last(n, best), channels_last(n, place)]


@FAMILY.op("MaxUnpooling2D")
def _unpool(n: TfliteNode) -> Result:
    """The inverse of MaxPoolingWithArgmax2D: every element at its place in a window of zeros.

    Places of i32 count in a whole result [H, W, C] instead (TensorFlow Lite's operators for perception).
    """
    if n.info(1).dtype is DType.I32:
        return _scattered(n)
    padding, kernel = _windows(n)
    if padding != _VALID:
        n.refuse("windows that lie outside of the image")
    x, place = (channels_first(n, t) for t in (n[0], n[1]))
    zero = n.like(0, x)
    taps = [n(Where(), n(Equal(), place, n.like(i, place)), x, zero) for i in range(kernel[0] * kernel[1])]
    return channels_last(n, _interleaved(n, taps, kernel))


def _scattered(n: TfliteNode) -> Tensor:
    """The elements of an image [N, H, W, C] at their places in larger ones of zeros."""
    if len(n.payload) < 20:
        n.refuse(f"its options have {len(n.payload)} bytes, 20 are needed")
    padding, across, down, width, height = struct.unpack_from("<5i", n.payload)
    shape = n.shape(n[0])
    if padding not in (_SAME, _VALID) or min(across, down, width, height) < 1 or len(shape) != 4:
        n.refuse(f"its options name padding {padding}, windows {[height, width]} and strides {[down, across]}")
    if not is_static(shape):
        n.refuse("the image's size must be known", "give the model's inputs fixed shapes")
    images, rows, columns, channels = static(shape)
    if padding == _SAME:
        rows, columns = rows * down, columns * across
    else:
        rows, columns = (rows - 1) * down + height, (columns - 1) * across + width
    size = rows * columns * channels
    if images * size > _MOST_ELEMENTS:
        n.refuse(f"a result of {images * size} elements")
    first = n.stored(np.arange(images, dtype=np.int64).reshape(images, 1, 1, 1) * size)
    flat = Reshape(shape=(-1,))
    places = n(flat, n(Add(), n.i64(n.raw(1)), first))
    zeros = n.stored(np.zeros(images * size, np.float32))
    return n(Reshape(shape=(images, rows, columns, channels)), n(ScatterElements(axis=0), zeros, places, n(flat, n[0])))


def _windows(n: TfliteNode) -> tuple[int, tuple[int, int]]:
    """Padding, and extents of the windows, from options that are integers of 32 bits."""
    if len(n.payload) < 20:
        n.refuse(f"its options have {len(n.payload)} bytes, 20 are needed")
    padding, *strides, width, height = struct.unpack_from("<5i", n.payload)
    if padding not in (_SAME, _VALID) or not 0 < width * height <= _MOST_TAPS or min(width, height) < 1:
        n.refuse(f"its options name padding {padding} and windows {[height, width]}")
    if strides != [width, height]:
        n.refuse(f"windows {[height, width]} at strides {strides[::-1]} overlap or leave gaps")
    places = n.info(1) if n.has(1) else n.result_info(1)
    if places.dtype is not DType.F32 or n.rank(n[0]) != 4:
        n.refuse(f"places of {places.dtype} in an image of {n.rank(n[0])} axes")
    return padding, (height, width)


def _taps(n: TfliteNode, x: Tensor, kernel: tuple[int, int], pads: Sequence[int]) -> list[Tensor]:
    """The elements of all windows at one place each, down the columns: images of the windows' number."""
    if any(pads):
        x = n(Pad(pads=(0, 0, *pads[:2], 0, 0, *pads[2:]), mode="edge"), x)
    extents = n.shape(x)[2:]
    if not is_static(extents):
        n.refuse("the image's size must be known", "give the model's inputs fixed shapes")
    height, width = (d - d % k for d, k in zip(static(extents), kernel, strict=True))
    return [
        n(Slice(axes=(2, 3), starts=(row, column), ends=(height, width), steps=kernel), x)
        for column in range(kernel[1])
        for row in range(kernel[0])
    ]


def _interleaved(n: TfliteNode, taps: list[Tensor], kernel: tuple[int, int]) -> Tensor:
    """The image whose windows have the elements of `taps`, which go down the columns."""
    height, width = kernel
    rows = [taps[column * height + row] for row in range(height) for column in range(width)]
    merged = n(Concat(axis=1), *rows) if len(rows) > 1 else rows[0]
    if height == width:
        return n(DepthToSpace(block=height), merged)
    images, channels, rows_of, columns = n.shape(taps[0])
    apart = n(Reshape(shape=(images, height, width, channels, rows_of, columns)), merged)
    turned = n.transposed(apart, (0, 3, 4, 1, 5, 2))
    return n(Reshape(shape=(images, channels, normal(rows_of * height), normal(columns * width))), turned)


@FAMILY.op("AudioSpectrogram")
def _spectrogram(n: TfliteNode) -> Result:
    """Magnitudes [channels, frames, frequencies] of samples [length, channels]."""
    given = _options(n, "window_size", "stride")
    window, stride = int(given["window_size"]), int(given["stride"])
    return spectrogram(n, n[0], window=window, stride=stride, squared=bool(given.get("magnitude_squared", 0)))


@FAMILY.op("Mfcc")
def _mfcc(n: TfliteNode) -> Result:
    """Cepstral coefficients of squared magnitudes [channels, frames, frequencies]; operand 1: samples per second."""
    names = ("lower_frequency_limit", "upper_frequency_limit", "filterbank_channel_count", "dct_coefficient_count")
    given = _options(n, *names)
    lower, upper, bands, coefficients = (int(given[name]) for name in names)
    rate = n.integers(n.reshaped(n.raw(1), (1,)), "the sample rate")[0]
    return cepstrum(n, n[0], rate=rate, lower=lower, upper=upper, bands=bands, coefficients=coefficients)


def _options(n: TfliteNode, *names: str) -> Mapping[str, float]:
    """The options' numbers, among which these must be."""
    given = flex.numbers(n.payload)
    missing = [name for name in names if name not in given]
    if missing:
        n.refuse(f"its options lack {', '.join(missing)}")
    return given


@FAMILY.op("TFLite_Detection_PostProcess")
def _detections(n: TfliteNode) -> Result:
    """The best boxes of an SSD head: encoded boxes [1, B, 4 or more], scores [1, B, K] and anchors [B, 4].

    Results: boxes [1, M, 4] (y1, x1, y2, x2), classes [1, M], scores [1, M], how many there are [1], all f32; M is
    max_detections, and what is behind the last box is 0. Classes compete for a place with all others' boxes, unless
    use_regular_nms; in front of the num_classes that count, the scores may have one of a background. Where boxes
    compete by their best class, each gives its best max_classes_per_detection ones, in rows that follow each other (M
    is so many times as large), the number is that of the boxes, and what is behind the last class is 0.
    """
    given = _options(n, *_NEEDED)
    most, classes = int(given["max_detections"]), int(given["num_classes"])
    apart = bool(given.get("use_regular_nms", 0))
    if not 0 < most <= _MOST_DETECTIONS:
        n.refuse(f"{most} detections")
    per = 1 if apart else int(given.get("max_classes_per_detection", 1))
    if not 0 < per <= _MOST_DETECTIONS // most:
        n.refuse(f"{per} classes for each of {most} boxes")
    boxes, scores = _decoded(n, given), n[1]
    background = n.extent(scores, 2)
    if n.rank(scores) != 3 or not isinstance(background, int) or not 0 < classes <= background:
        n.refuse(f"{classes} classes in scores {list(n.shape(scores))}")
    counted = n(Slice(axes=(2,), starts=(background - classes,), ends=(background,), steps=(1,)), scores)
    each = n.transposed(counted, (0, 2, 1))
    rivals = each if apart else n(ReduceMax(axes=(1,), keepdims=True), each)
    limit = int(given.get("detections_per_class", 100)) if apart else most
    # NonMaxSuppression takes what exceeds the threshold, this operator also what equals it.
    least = np.nextafter(np.float32(given["nms_score_threshold"]), np.float32(-np.inf))
    found = n(
        NonMaxSuppression(), boxes, rivals, n.stored(np.asarray(limit, np.int64)),
        n.stored(np.asarray(given["nms_iou_threshold"], np.float32)), n.stored(np.asarray(least)),
    )  # fmt: skip
    rows, best, real, count = _most(n, rivals, found, most)
    place = n(Squeeze(axes=(1,)), n(Slice(axes=(1,), starts=(2,), ends=(3,), steps=(1,)), rows))
    shown = n(Gather(axis=0), n(Squeeze(axes=(0,)), boxes), place)
    if apart:
        kinds = n(Squeeze(axes=(1,)), n(Slice(axes=(1,), starts=(1,), ends=(2,), steps=(1,)), rows))
    elif per == 1:
        kinds = n(Gather(axis=0), n(Squeeze(axes=(0,)), n(ArgMax(axis=2, keepdims=False), counted)), place)
    else:
        values, order = n.all(TopK(k=min(per, classes), axis=2), counted)
        best, kinds = (n(Gather(axis=0), n(Squeeze(axes=(0,)), t), place) for t in (values, order))
        shown, best, kinds, real = _one_row_each(n, (shown, best, kinds, real), most, per, min(per, classes))
    zero = n.stored(np.zeros((), np.float32))
    results = (
        n(Where(), n(Unsqueeze(axes=(1,)), real), shown, zero),
        n(Where(), real, n.cast(kinds, DType.F32), zero),
        n(Where(), real, best, zero),
    )
    return [*(n(Unsqueeze(axes=(0,)), t) for t in results), n.cast(count, DType.F32)]


def _one_row_each(
    n: TfliteNode, found: tuple[Tensor, Tensor, Tensor, Tensor], most: int, per: int, known: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes [M, 4], scores and classes [M, known], which are real [M]: a row for each of `per` classes of each box."""
    boxes, scores, kinds, real = found
    spread = n(Expand(shape=(most, per, 4)), n(Unsqueeze(axes=(1,)), boxes))
    there = n.stored(np.arange(per) < known)
    taken = n(LogicalAnd(), n(Unsqueeze(axes=(1,)), real), there)
    rows = (n(Pad(pads=(0, 0, 0, per - known)), t) if per > known else t for t in (scores, kinds))
    scores, kinds, taken = (n(Reshape(shape=(most * per,)), t) for t in (*rows, taken))
    return n(Reshape(shape=(most * per, 4)), spread), scores, kinds, taken


_NEEDED = (
    "max_detections", "num_classes", "nms_score_threshold", "nms_iou_threshold",
    "y_scale", "x_scale", "h_scale", "w_scale",
)  # fmt: skip
_MOST_DETECTIONS = 1 << 20


def _decoded(n: TfliteNode, given: Mapping[str, float]) -> Tensor:
    """Corners (y1, x1, y2, x2) of the boxes, [1, B, 4], from centres and extents relative to their anchors."""
    if (n.rank(n[0]), n.rank(n[2])) != (3, 2):
        n.refuse(f"boxes {list(n.shape(n[0]))} and anchors {list(n.shape(n[2]))}")

    def pair(x: Tensor, start: int) -> Tensor:
        return n(Slice(axes=(-1,), starts=(start,), ends=(start + 2,), steps=(1,)), x)

    scale = [n.stored(np.asarray([given[f"{a}_scale"] for a in axes], np.float32)) for axes in ("yx", "hw")]
    extent = pair(n[2], 2)
    centre = n(Add(), n(Mul(), n(Div(), pair(n[0], 0), scale[0]), extent), pair(n[2], 0))
    size = n(Mul(), n(Exp(), n(Div(), pair(n[0], 2), scale[1])), extent)
    half = n(Mul(), size, n.like(0.5, size))
    return n(Concat(axis=-1), n(Sub(), centre, half), n(Add(), centre, half))


def _most(n: TfliteNode, scores: Tensor, found: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the boxes found, (image, class, box) each, the best: rows [M, 3], scores [M], which are real, how many [1]."""
    own = n(GatherND(), scores, found)
    nothing = n.stored(np.full(most, -np.inf, np.float32))
    best, order = n.all(TopK(k=most, axis=0), n(Concat(axis=0), own, nothing))
    padded = n(Concat(axis=0), found, n.stored(np.zeros((most, 3), np.int64)))
    rows = n(Gather(axis=0), padded, order)
    count = n(Minimum(), n(ShapeOf(start=0, end=1), found), n.stored(np.asarray([most], np.int64)))
    return rows, best, n(Less(), n.stored(np.arange(most, dtype=np.int64)), count), count
