"""Convolution, pooling, products, indexing and movement on random shapes and attributes, against onnxruntime."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.settings import examples
from tests.ops.properties import F32, INTS, NUMBERS, Application, Draw, Maker, judge

ANYTHING = (*NUMBERS, np.uint8, np.bool_)


# -------------------------------------------------------------------------------------------- windows over an image
def window(d: Draw, rank: int, spatial: list[int], kernel: list[int], *, pads: bool = True) -> dict[str, Any]:
    """strides, dilations, and pads or auto_pad, so that at least one window fits.

    Where strides skip more than a kernel covers, onnxruntime's pools take a negative padding for SAME_UPPER and
    SAME_LOWER and crop (SAME_LOWER even fails); ONNX's text asks for padding until the output has ceil(x / stride)
    elements, which it has without, and onnxruntime's own Conv does not crop. Such strides are left out.
    """
    dilations = [d.number(1, max(1, min(2, (s - 1) // max(k - 1, 1)))) for s, k in zip(spatial, kernel, strict=True)]
    attributes: dict[str, Any] = {"strides": d.choice([None, d.numbers(1, 3, rank)]), "dilations": dilations}
    way = d.choice(["pads", "none", "VALID", "SAME_UPPER", "SAME_LOWER"])
    if way == "pads" and pads:
        attributes["pads"] = [d.number(0, (k - 1) * g) for k, g in zip(kernel * 2, dilations * 2, strict=True)]
    elif way != "none":
        attributes["auto_pad"] = way
        if way != "VALID":
            attributes["dilations"] = [1] * rank
            attributes["strides"] = [d.number(1, k) for k in kernel]
    return attributes


def image(d: Draw, rank: int, kernel: list[int]) -> list[int]:
    return [d.number(k, k + 4) for k in kernel]


def conv(d: Draw) -> Application:
    rank, groups = d.number(1, 3), d.number(1, 3)
    kernel = d.numbers(1, 3, rank)
    spatial = image(d, rank, kernel)
    per_group, filters = d.number(1, 3), groups * d.number(1, 2)
    x = d.array(F32, (d.number(1, 2), groups * per_group, *spatial))
    w = d.array(F32, (filters, per_group, *kernel))
    bias = d.array(F32, (filters,)) if d.flag() else None
    attributes = {**window(d, rank, spatial, kernel), "group": groups, "kernel_shape": d.choice([None, kernel])}
    return Application([x, w, bias], attributes, constants=(1, 2) if d.flag() else ())


def conv_transpose(d: Draw) -> Application:
    rank, groups = d.number(1, 3), d.number(1, 2)
    kernel, strides = d.numbers(1, 3, rank), d.numbers(1, 3, rank)
    per_group = d.number(1, 2)
    channels = groups * d.number(1, 2)
    x = d.array(F32, (d.number(1, 2), channels, *d.numbers(1, 4, rank)))
    w = d.array(F32, (channels, per_group, *kernel))
    bias = d.array(F32, (groups * per_group,)) if d.flag() else None
    attributes: dict[str, Any] = {"strides": strides, "group": groups, "dilations": d.numbers(1, 2, rank)}
    if d.flag():
        attributes["output_padding"] = [d.number(0, s - 1) for s in strides]
    if d.flag():
        reach = [(k - 1) * g for k, g in zip(kernel, attributes["dilations"], strict=True)]
        attributes["pads"] = [d.number(0, r // 2) for r in reach * 2]
    return Application([x, w, bias], attributes)


def max_pool(d: Draw) -> Application:
    rank = d.number(1, 3)
    kernel = d.numbers(1, 3, rank)
    spatial = image(d, rank, kernel)
    x = d.array(F32, (d.number(1, 2), d.number(1, 3), *spatial))
    attributes = {**window(d, rank, spatial, kernel), "kernel_shape": kernel}
    _keep_pads_small(attributes, kernel)
    if "auto_pad" not in attributes:
        attributes["ceil_mode"] = d.choice([None, 0, 1])
    return Application([x], attributes, results=d.number(1, 2))


def _keep_pads_small(attributes: dict[str, Any], kernel: list[int]) -> None:
    """A pooling window must meet the image."""
    if "pads" in attributes:
        attributes["pads"] = [min(p, k - 1) for p, k in zip(attributes["pads"], kernel * 2, strict=True)]


def average_pool(d: Draw) -> Application:
    rank = d.number(1, 3)
    kernel = d.numbers(1, 3, rank)
    spatial = image(d, rank, kernel)
    x = d.array(F32, (d.number(1, 2), d.number(1, 3), *spatial))
    attributes = {**window(d, rank, spatial, kernel), "kernel_shape": kernel}
    _keep_pads_small(attributes, kernel)
    attributes["count_include_pad"] = d.choice([None, 0, 1])
    if "auto_pad" not in attributes:
        attributes["ceil_mode"] = d.choice([None, 0, 1])
    return Application([x], attributes)


def lp_pool(d: Draw) -> Application:
    rank = d.number(1, 3)
    kernel = d.numbers(1, 3, rank)
    spatial = image(d, rank, kernel)
    attributes = {**window(d, rank, spatial, kernel), "kernel_shape": kernel, "p": d.choice([None, 1, 2, 3])}
    _keep_pads_small(attributes, kernel)
    return Application([d.array(F32, (1, d.number(1, 3), *spatial))], attributes)


def whole_pool(d: Draw) -> Application:
    return Application([d.array(F32, d.shape(3, 5))])


# -------------------------------------------------------------------------------------------------------- products
def gemm(d: Draw) -> Application:
    m, k, n = d.numbers(1, 5, 3)
    turned = d.choice([None, 0, 1]), d.choice([None, 0, 1])
    a = d.array(F32, (k, m) if turned[0] else (m, k))
    b = d.array(F32, (n, k) if turned[1] else (k, n))
    c = d.array(F32, d.broadcast((m, n))) if d.flag() else None
    factors = {"alpha": d.choice([None, 0.5, -2.0]), "beta": d.choice([None, 0.25, 3.0])}
    attributes = {"transA": turned[0], "transB": turned[1], **factors}
    return Application([a, b, c], attributes, constants=(1, 2) if d.flag() else ())


def matmul(d: Draw) -> Application:
    m, k, n = d.numbers(1, 5, 3)
    batch = d.shape(0, 2, most=3)
    kinds = d.choice(["both", "left", "right", "vectors"])
    a = (k,) if kinds in ("left", "vectors") else (*batch, m, k)
    b = (k,) if kinds in ("right", "vectors") else (*d.broadcast(batch), k, n)
    dtype = d.choice([F32, F32, np.float64, np.int32, np.int64])
    return Application([d.array(dtype, a), d.array(dtype, b)])


def matmul_integer(d: Draw) -> Application:
    """With values below 64: on CPUs without VNNI onnxruntime's products of u8 and i8 saturate at 16 bits."""
    m, k, n = d.numbers(1, 5, 3)
    a, b = d.choice([np.uint8, np.int8]), d.choice([np.uint8, np.int8])
    zeros = [d.array(a, (), 0, 9) if d.flag() else None, d.array(b, (), 0, 9) if d.flag() else None]
    return Application([d.array(a, (m, k), 0, 60), d.array(b, (k, n), 0, 60), *zeros])


EQUATIONS = ["ij,jk->ik", "bij,bjk->bik", "ij->ji", "ii->i", "ij->", "i,j->ij", "bij,bkj->bik", "...ij,...jk->...ik",
             "ij,ij->i", "abc,cd,de->abe", "ij,jk", "bhqd,bhkd->bhqk"]  # fmt: skip


def einsum(d: Draw) -> Application:
    equation = d.choice(EQUATIONS)
    extents = {letter: d.number(1, 4) for letter in "abcdehijkq"}
    more = d.shape(0, 2, most=3)
    shapes: list[tuple[int, ...]] = []
    for term in equation.split("->")[0].split(","):
        shape = tuple(extents[c] for c in term.replace("...", ""))
        shapes.append((*more, *shape) if "..." in term else shape)
    return Application([d.array(F32, s) for s in shapes], {"equation": equation})


# ------------------------------------------------------------------------------------------------- shape and order
def concat(d: Draw) -> Application:
    shape, dtype = d.shape(1, 4), d.choice(ANYTHING)
    axis = d.axis(len(shape))
    at = axis % len(shape)
    parts = [(*shape[:at], d.number(0, 4), *shape[at + 1 :]) for _ in range(d.number(1, 4))]
    return Application([d.array(dtype, s) for s in parts], {"axis": axis})


def split(d: Draw) -> Application:
    shape = d.shape(1, 3)
    axis = d.axis(len(shape))
    at = axis % len(shape)
    parts = d.number(1, 4)
    x = d.choice(ANYTHING)
    if d.flag():
        sizes = d.numbers(0, 3, parts)
        shape = (*shape[:at], sum(sizes), *shape[at + 1 :])
        return Application([d.array(x, shape), np.array(sizes)], {"axis": axis}, constants=(1,), results=parts)
    extent = d.number(parts, parts + 5)
    while math.ceil(extent / parts) * (parts - 1) > extent:
        extent += 1
    shape = (*shape[:at], extent, *shape[at + 1 :])
    return Application([d.array(x, shape)], {"axis": axis, "num_outputs": parts}, results=parts)


def transpose(d: Draw) -> Application:
    shape = d.shape()
    return Application(
        [d.array(d.choice(ANYTHING), shape)], {"perm": d.order(len(shape)) or None if d.flag() else None}
    )


def reshape(d: Draw) -> Application:
    shape = d.shape(0, 4)
    size = math.prod(shape)
    divisors = [n for n in range(1, size + 1) if size % n == 0]
    first = d.choice(divisors)
    wanted = d.choice([[size], [first, size // first], [1, first, -1], [-1, first], [size // first, 1, first]])
    if shape and d.flag():
        wanted = [0, -1]
    return Application([d.array(d.choice(ANYTHING), shape), np.array(wanted)], constants=(1,) if d.flag() else ())


def squeeze(d: Draw) -> Application:
    """An empty list of axes is left out: onnxruntime takes it as none given, onnx's evaluator and UAIR as it says."""
    shape = tuple(1 if d.flag() else n for n in d.shape())
    ones = [i for i, n in enumerate(shape) if n == 1]
    axes = d.some(ones) or None
    given = None if axes is None else np.array([a - len(shape) if d.flag() else a for a in axes], np.int64)
    return Application([d.array(d.choice(ANYTHING), shape), given], constants=(1,) if d.flag() else ())


def unsqueeze(d: Draw) -> Application:
    shape = d.shape(0, 3)
    axes = d.axes(len(shape) + d.number(1, 2), 1)
    axes = axes[: max(1, len(axes))]
    rank = len(shape) + len(axes)
    axes = [a for a in axes if -rank <= a < rank]
    if len({a % rank for a in axes}) < len(axes) or len(axes) + len(shape) != rank:
        axes = [0]
    return Application([d.array(d.choice(ANYTHING), shape), np.array(axes)], constants=(1,) if d.flag() else ())


def expand(d: Draw) -> Application:
    shape = d.shape(0, 4)
    return Application(
        [d.array(d.choice(ANYTHING), d.broadcast(shape)), np.array(shape, np.int64)], constants=(1,) if d.flag() else ()
    )


def tile(d: Draw) -> Application:
    shape = d.shape(1, 3)
    repeats = np.array(d.numbers(0, 3, len(shape)))
    return Application([d.array(d.choice(ANYTHING), shape), repeats], constants=(1,) if d.flag() else ())


def slice_(d: Draw) -> Application:
    """An end of INT_MAX with a negative step is left out: onnxruntime goes to the beginning, ONNX's text clamps it."""
    shape = d.shape(1, 4)
    axes = d.some(range(len(shape)), 1)
    bounds = [-(2**31), -7, -3, -1, 0, 1, 2, 3, 6, 2**31 - 1]
    steps = [d.choice([1, 2, 3, -1, -2, -5]) for _ in axes]
    starts = [d.choice(bounds) for _ in axes]
    ends = [d.choice(bounds if step > 0 else bounds[:-1]) for step in steps]
    counted = [a - len(shape) if d.flag() else a for a in axes]
    kind = d.choice(INTS)
    operands = [np.array(v, kind) for v in (starts, ends, counted, steps)]
    return Application([d.array(d.choice(ANYTHING), shape), *operands], constants=(1, 2, 3, 4) if d.flag() else ())


def pad(d: Draw) -> Application:
    """Reflection stays within what numpy and onnxruntime agree upon: less than the axis, and no cropping."""
    mode = d.choice(["constant", "edge", "reflect", "wrap"])
    shape = d.shape(1, 3, least=2)
    rank = len(shape)
    least = -1 if mode == "constant" else 0
    pads = [d.number(least, min(3, shape[i % rank] - 1)) for i in range(2 * rank)]
    dtype = d.choice([F32, np.int32, np.int64, np.uint8])
    value = d.array(dtype, ()) if mode == "constant" and d.flag() else None
    return Application(
        [d.array(dtype, shape), np.array(pads), value], {"mode": mode}, constants=(1,) if d.flag() else ()
    )


def flatten(d: Draw) -> Application:
    shape = d.shape(1, 4)
    return Application([d.array(F32, shape)], {"axis": d.choice([None, d.number(-len(shape), len(shape))])})


def blocks(d: Draw) -> Application:
    block, c = d.number(1, 3), d.number(1, 2)
    x = d.array(F32, (d.number(1, 2), c * block * block, *d.numbers(1, 3, 2)))
    return Application([x], {"blocksize": block, "mode": d.choice([None, "DCR", "CRD"])})


def unblocks(d: Draw) -> Application:
    block = d.number(1, 3)
    spatial = [block * n for n in d.numbers(1, 3, 2)]
    return Application([d.array(F32, (d.number(1, 2), d.number(1, 2), *spatial))], {"blocksize": block})


def trilu(d: Draw) -> Application:
    k = np.asarray(d.number(-4, 4)) if d.flag() else None
    x = d.array(d.choice([F32, np.int64]), d.shape(2, 4))
    return Application([x, k], {"upper": d.choice([None, 0, 1])}, constants=(1,))


# --------------------------------------------------------------------------------------------------------- indexing
def gather(d: Draw) -> Application:
    shape = d.shape(1, 4)
    axis = d.axis(len(shape))
    extent = shape[axis]
    indices = d.array(d.choice(INTS), d.shape(0, 2), -extent, extent - 1)
    return Application(
        [d.array(d.choice(ANYTHING), shape), indices], {"axis": axis}, constants=(1,) if d.flag() else ()
    )


def gather_elements(d: Draw) -> Application:
    shape = d.shape(1, 4)
    axis = d.axis(len(shape))
    places = tuple(d.number(1, n) if i != axis % len(shape) else d.number(1, 5) for i, n in enumerate(shape))
    indices = d.array(d.choice(INTS), places, -shape[axis], shape[axis] - 1)
    return Application([d.array(d.choice(ANYTHING), shape), indices], {"axis": axis})


def coordinates(d: Draw, shape: tuple[int, ...], count: tuple[int, ...], depth: int) -> Any:
    columns = [d.array(np.int64, count, -n, n - 1) for n in shape[:depth]]
    return np.stack(columns, axis=-1)


def gather_nd(d: Draw) -> Application:
    batch = d.shape(0, 1, most=3)
    shape = d.shape(1, 3)
    indices = coordinates(d, shape, (*batch, *d.shape(1, 2, most=3)), d.number(1, len(shape)))
    return Application([d.array(d.choice(ANYTHING), (*batch, *shape)), indices], {"batch_dims": len(batch)})


def _unequal(d: Draw, extent: int, count: int) -> list[int]:
    """Different places, so that the order of writing does not matter."""
    order = d.order(extent)
    return [p - extent if d.flag() else p for p in order[:count]]


def scatter_elements(d: Draw) -> Application:
    shape = d.shape(1, 3)
    axis = d.axis(len(shape))
    at = axis % len(shape)
    reduction = d.choice([None, "none", "add", "mul", "max", "min"])
    count = d.number(1, shape[at])
    row = np.array(_unequal(d, shape[at], count)).reshape([count if i == at else 1 for i in range(len(shape))])
    places = tuple(count if i == at else d.number(1, n) for i, n in enumerate(shape))
    indices = np.ascontiguousarray(np.broadcast_to(row, places))
    if reduction not in (None, "none"):
        indices = d.array(np.int64, places, -shape[at], shape[at] - 1)
    dtype = d.choice([F32, np.int32, np.int64])
    operands = [d.array(dtype, shape), indices, d.array(dtype, places)]
    return Application(operands, {"axis": axis, "reduction": reduction})


def scatter_nd(d: Draw) -> Application:
    shape = d.shape(1, 3)
    depth = d.number(1, len(shape))
    reduction = d.choice([None, "none", "add", "mul", "max", "min"])
    if reduction in (None, "none"):
        count = d.number(1, shape[0])
        rows = [
            np.array(_unequal(d, shape[0], count)),
            *(d.array(np.int64, (count,), -n, n - 1) for n in shape[1:depth]),
        ]
        indices = np.stack(rows, axis=-1)
    else:
        indices = coordinates(d, shape, (d.number(1, 4),), depth)
    dtype = d.choice([F32, np.int32, np.int64])
    updates = d.array(dtype, (len(indices), *shape[depth:]))
    return Application([d.array(dtype, shape), indices, updates], {"reduction": reduction})


def one_hot(d: Draw) -> Application:
    shape = d.shape(1, 3)
    depth = d.number(1, 5)
    indices = d.array(np.int64, shape, -depth - 2, depth + 2)
    values = d.array(F32, (2,))
    return Application([indices, np.array(depth), values], {"axis": d.axis(len(shape) + 1)}, constants=(1,))


def top_k(d: Draw) -> Application:
    shape = d.shape(1, 3)
    axis = d.axis(len(shape))
    attributes = {"axis": axis, "largest": d.choice([None, 0, 1]), "sorted": 1}
    x = d.array(d.choice([F32, np.int64, np.int32]), shape, -3, 3)
    return Application([x, np.array([d.number(0, shape[axis])])], attributes, constants=(1,), results=2)


def nonzero(d: Draw) -> Application:
    return Application([d.array(d.choice([F32, np.int64, np.bool_]), d.shape(1, 3, least=0), -1, 1)])


def compress(d: Draw) -> Application:
    shape = d.shape(1, 3)
    axis = d.choice([None, d.axis(len(shape))])
    extent = math.prod(shape) if axis is None else shape[axis]
    return Application([d.array(F32, shape), d.array(np.bool_, (d.number(1, extent),))], {"axis": axis})


def ranged(d: Draw) -> Application:
    dtype = d.choice([np.int32, np.int64, F32])
    start, step = d.number(-5, 5), d.choice([1, 2, -1, -3])
    end = start + d.number(-2, 6) * step
    return Application([np.asarray(v, dtype) for v in (start, end, step)], constants=(0, 1, 2) if d.flag() else ())


# ------------------------------------------------------------------------------------------------------------ image
def resize(d: Draw) -> Application:
    """In all modes.

    With align_corners, only scales that give whole numbers of pixels: else ONNX's text and suite
    (test_resize_downsample_scales_linear_align_corners) divide by scale * length - 1, onnxruntime by what is left of
    it when it is rounded down.
    """
    mode = d.choice(["nearest", "linear", "cubic"])
    transform = d.choice(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    shape = (1, d.number(1, 2), d.number(2, 6), d.number(2, 6))
    wanted = [d.number(1, 12) for _ in range(2)]
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": transform}
    if mode == "nearest":
        attributes["nearest_mode"] = d.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
    if mode == "cubic":
        attributes["cubic_coeff_a"] = d.choice([None, -0.5])
        attributes["exclude_outside"] = d.choice([None, 0, 1])
    if d.flag():
        fractions = [2.0, 3.0] if transform == "align_corners" else [2.0, 0.5, 1.5, 3.0]
        scales = np.array([1, 1, d.choice(fractions), d.choice(fractions)], F32)
        return Application([d.array(F32, shape), None, scales], attributes, constants=(2,), tolerance=1e-4)
    sizes = np.array([1, shape[1], *wanted])
    return Application([d.array(F32, shape), None, None, sizes], attributes, constants=(3,), tolerance=1e-4)


def grid_sample(d: Draw) -> Application:
    x = d.array(F32, (1, d.number(1, 2), *d.numbers(2, 5, 2)))
    grid = (d.rng().uniform(-1.3, 1.3, (1, *d.numbers(1, 4, 2), 2))).astype(F32)
    attributes = {
        "mode": d.choice([None, "linear", "nearest", "cubic"]),
        "padding_mode": d.choice([None, "zeros", "border", "reflection"]),
        "align_corners": d.choice([None, 0, 1]),
    }
    return Application([x, grid], attributes, tolerance=1e-4)


# ----------------------------------------------------------------------------------------------------- quantization
def quantize(d: Draw) -> Application:
    shape = d.shape(1, 4)
    axis = d.axis(len(shape)) if d.flag() else None
    inner = () if axis is None else (shape[axis],)
    dtype = d.choice([np.uint8, np.int8, np.uint16, np.int16])
    zero = d.array(dtype, inner, 0, 9) if d.flag() or dtype != np.uint8 else None
    return Application([d.array(F32, shape), d.positive(F32, inner), zero], {"axis": axis})


def dequantize(d: Draw) -> Application:
    shape = d.shape(1, 4)
    axis = d.axis(len(shape)) if d.flag() else None
    inner = () if axis is None else (shape[axis],)
    dtype = d.choice([np.uint8, np.int8, np.int32])
    zero = d.array(dtype, inner, 0, 9) if d.flag() and dtype != np.int32 else None
    return Application([d.array(dtype, shape, -100, 100), d.positive(F32, inner), zero], {"axis": axis})


def dynamic_quantize(d: Draw) -> Application:
    return Application([d.array(F32, d.shape(1, 3))], results=3)


# --------------------------------------------------------------------------------------------------------- recurrent
def recurrent(gates: int, states: int) -> Maker:
    def make(d: Draw) -> Application:
        direction = d.choice(["forward", "reverse", "bidirectional"])
        ways = 2 if direction == "bidirectional" else 1
        length, batch, inputs, hidden = d.number(1, 4), d.number(1, 3), d.number(1, 3), d.number(1, 4)
        operands: list[Any] = [
            d.array(F32, (length, batch, inputs)),
            d.array(F32, (ways, gates * hidden, inputs)),
            d.array(F32, (ways, gates * hidden, hidden)),
            d.array(F32, (ways, 2 * gates * hidden)) if d.flag() else None,
            d.array(np.int32, (batch,), 1, length) if d.flag() else None,
            *(d.array(F32, (ways, batch, hidden)) if d.flag() else None for _ in range(states)),
        ]
        attributes: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
        if gates == 3:
            attributes["linear_before_reset"] = d.choice([None, 0, 1])
        constants = (1, 2, 3) if d.flag() else ()
        return Application(operands, attributes, constants, results=1 + states, tolerance=1e-4)

    return make


MAKERS: dict[str, Maker] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "MaxPool": max_pool, "AveragePool": average_pool,
    "LpPool": lp_pool, "GlobalAveragePool": whole_pool, "GlobalMaxPool": whole_pool,
    "Gemm": gemm, "MatMul": matmul, "MatMulInteger": matmul_integer, "Einsum": einsum,
    "Concat": concat, "Split": split, "Transpose": transpose, "Reshape": reshape, "Squeeze": squeeze,
    "Unsqueeze": unsqueeze, "Expand": expand, "Tile": tile, "Slice": slice_, "Pad": pad, "Flatten": flatten,
    "DepthToSpace": blocks, "SpaceToDepth": unblocks, "Trilu": trilu,
    "Gather": gather, "GatherElements": gather_elements, "GatherND": gather_nd, "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd, "OneHot": one_hot, "TopK": top_k, "NonZero": nonzero, "Compress": compress,
    "Range": ranged, "Resize": resize, "GridSample": grid_sample,
    "QuantizeLinear": quantize, "DequantizeLinear": dequantize, "DynamicQuantizeLinear": dynamic_quantize,
    "LSTM": recurrent(4, 2), "GRU": recurrent(3, 1), "RNN": recurrent(1, 1),
}  # fmt: skip


@pytest.mark.parametrize("op_type", MAKERS)
@given(data=st.data())
@examples(60)
def test_against_onnxruntime(op_type: str, data: st.DataObject) -> None:
    judge(op_type, MAKERS[op_type](Draw(data)))
