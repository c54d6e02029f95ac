"""Heavy operators against onnxruntime on many small random configurations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from uair.ir import DType, TensorType
from uair.ops.base import Operator
from uair.ops.convolution import Conv1D, Conv2D, Conv3D, ConvTranspose1D, ConvTranspose2D, ConvTranspose3D
from uair.ops.linear import Einsum, Linear, MatMul, Trilu
from uair.ops.normalization import LRN, BatchNorm, InstanceNorm, LayerNorm, LpNormalize
from uair.ops.pooling import (
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
)
from uair.ops.quantization import Dequantize, Quantize
from uair.ops.resize import Resize

Array = npt.NDArray[Any]


def onnxruntime(kind: str, operands: Sequence[Array | None], *, opset: int = 19, **attributes: Any) -> Array:
    """The first result of one ONNX operator."""
    names = [f"i{i}" if a is not None else "" for i, a in enumerate(operands)]
    given = {n: a for n, a in zip(names, operands, strict=True) if a is not None}
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()
    ]
    node = helper.make_node(kind, names, ["y"], **attributes)
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, given)[0])


def evaluated(op: Operator, *operands: Array | None) -> Array:
    """The result of `evaluate`, held against the inferred type."""
    types = [None if a is None else TensorType(DType.from_numpy(a.dtype), a.shape) for a in operands]
    (t,) = op.infer_types(types)
    with np.errstate(all="ignore"):
        (y,) = op.evaluate_all(operands)
    assert y.dtype == t.dtype.numpy
    known = t.dims
    assert len(known) == y.ndim
    assert all(not isinstance(want, int) or want == got for want, got in zip(known, y.shape, strict=True))
    return y


def assert_close(ours: Array, theirs: Array, tolerance: float = 1e-5) -> None:
    """Relative to the greatest magnitude; NaN and infinities must agree."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    scale = max(float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)), 1e-6)
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale)


def normal(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)


def ints(rng: np.random.Generator, low: int, high: int, count: int) -> tuple[int, ...]:
    return tuple(int(v) for v in rng.integers(low, high + 1, count))


# ---------------------------------------------------------------------------------------------------------- convolution
CONVOLUTIONS = {1: Conv1D, 2: Conv2D, 3: Conv3D}
TRANSPOSED = {1: ConvTranspose1D, 2: ConvTranspose2D, 3: ConvTranspose3D}


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolution(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 4]))
    depthwise = groups > 1 and rng.random() < 0.5
    per_group = 1 if depthwise else int(rng.integers(1, 4))
    channels = groups * int(rng.integers(1, 3))
    kernel, strides, dilations = ints(rng, 1, 3, rank), ints(rng, 1, 3, rank), ints(rng, 1, 2, rank)
    pads = ints(rng, 0, 2, 2 * rank) if rng.random() < 0.7 else (0,) * (2 * rank)
    spatial = ints(rng, 5, 9, rank)
    x = normal(rng, int(rng.integers(1, 3)), groups * per_group, *spatial)
    w = normal(rng, channels, per_group, *kernel)
    bias = normal(rng, channels) if rng.random() < 0.5 else None
    op = CONVOLUTIONS[rank](strides=strides, pads=pads, dilations=dilations, groups=groups)
    want = onnxruntime("Conv", [x, w, bias], strides=strides, pads=pads, dilations=dilations, group=groups)
    assert_close(evaluated(op, x, w, bias), want)


@pytest.mark.parametrize(("channels", "kernel", "strides"), [(64, 3, 1), (32, 5, 2), (8, 7, 2), (64, 1, 2)])
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolution_of_an_image_in_tiles(channels: int, kernel: int, strides: int, depthwise: bool) -> None:
    """Large enough that windows are gathered tile by tile: some rows of a group, or some groups."""
    rng = np.random.default_rng(channels)
    x = normal(rng, 2, channels, 70, 65)
    w = normal(rng, channels, 1 if depthwise else channels, kernel, kernel)
    pads, groups = (kernel // 2,) * 4, channels if depthwise else 1
    op = Conv2D(strides=(strides, strides), pads=pads, groups=groups)
    assert_close(evaluated(op, x, w), onnxruntime("Conv", [x, w], strides=[strides] * 2, pads=pads, group=groups))


@pytest.mark.parametrize("mode", ["same_upper", "same_lower"])
@pytest.mark.parametrize("seed", range(8))
def test_auto_pad(mode: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel, strides = ints(rng, 1, 4, 2), ints(rng, 1, 3, 2)
    x, w = normal(rng, 1, 2, *ints(rng, 6, 9, 2)), normal(rng, 3, 2, *kernel)
    op = Conv2D(strides=strides, auto_pad=mode)
    want = onnxruntime("Conv", [x, w], strides=strides, auto_pad=mode.upper())
    assert_close(evaluated(op, x, w), want)
    explicit = op.with_explicit_pads(x.shape[2:], kernel)
    assert explicit.auto_pad == "notset"
    assert_close(evaluated(explicit, x, w), want)


def test_one_repeated_filter_gives_equal_channels() -> None:
    """Bit for bit: a softmax over large numbers would show the least difference."""
    x = np.random.default_rng(0).random((1, 27, 33, 37)).astype(np.float32)
    for kernel in (1, 3):
        w = np.broadcast_to(np.float32(0.02), (64, 27, kernel, kernel))
        got = Conv2D().evaluate(x, w)
        assert (got == got[:, :1]).all()
        np.testing.assert_allclose(got, Conv2D().evaluate(x, np.array(w)), rtol=1e-5)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolution(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2]))
    inputs, per_group = groups * int(rng.integers(1, 3)), int(rng.integers(1, 4))
    kernel, strides, dilations = ints(rng, 1, 3, rank), ints(rng, 1, 3, rank), ints(rng, 1, 2, rank)
    extra = tuple(int(rng.integers(0, s)) for s in strides)
    pads = ints(rng, 0, 1, 2 * rank)
    x, w = normal(rng, int(rng.integers(1, 3)), inputs, *ints(rng, 3, 6, rank)), normal(rng, inputs, per_group, *kernel)
    bias = normal(rng, per_group * groups) if rng.random() < 0.5 else None
    attributes: dict[str, Any] = {"strides": strides, "pads": pads, "dilations": dilations, "output_padding": extra}
    op = TRANSPOSED[rank](**attributes, groups=groups)
    assert_close(evaluated(op, x, w, bias), onnxruntime("ConvTranspose", [x, w, bias], group=groups, **attributes))


def exact_convolution(x: Array, w: Array) -> list[int]:
    """Stride 1, no padding, in Python's own integers."""
    n, m, c = len(x), len(w), x.shape[1]
    kh, kw = w.shape[2:]
    rows, columns = x.shape[2] - kh + 1, x.shape[3] - kw + 1
    return [
        sum(
            int(x[b, k, i + p, j + q]) * int(w[o, k, p, q])
            for k, p, q in itertools.product(range(c), range(kh), range(kw))
        )
        for b, o, i, j in itertools.product(range(n), range(m), range(rows), range(columns))
    ]


@pytest.mark.parametrize("greatest", [127, 2**15, 2**23, 2**30])
def test_integer_convolution_is_exact(greatest: int) -> None:
    """In every type that sums are formed in: f32, f64, and i64 with wrap-around to i32."""
    rng = np.random.default_rng(greatest)
    x = rng.integers(-greatest, greatest, (1, 3, 5, 5)).astype(np.int32)
    w = rng.integers(-greatest, greatest, (2, 3, 3, 3)).astype(np.int32)
    wrapped = [(v + 2**31) % 2**32 - 2**31 for v in exact_convolution(x, w)]
    assert evaluated(Conv2D(), x, w).reshape(-1).tolist() == wrapped


def test_integer_matmul_at_the_edge_of_exactness() -> None:
    """2^24 + 1 has no f32, 2^53 + 1 no f64."""
    for exponent, dtype in ((24, np.int64), (53, np.int64)):
        a = np.array([[2 ** (exponent - 1), 1, 2 ** (exponent - 1)]], dtype)
        assert evaluated(MatMul(), a, np.ones((3, 1), dtype)).item() == 2**exponent + 1


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_floats_are_rounded_once(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, w, b = (normal(rng, *s).astype(dtype) for s in ((1, 8, 9, 9), (4, 8, 3, 3), (4,)))
    wide = evaluated(Conv2D(), *(a.astype(np.float32) for a in (x, w, b)))
    assert np.array_equal(evaluated(Conv2D(), x, w, b), wide.astype(dtype))


# -------------------------------------------------------------------------------------------------------------- pooling
MAX_POOLS = {1: MaxPool1D, 2: MaxPool2D, 3: MaxPool3D}
AVG_POOLS = {1: AvgPool1D, 2: AvgPool2D, 3: AvgPool3D}


def pool_configuration(rng: np.random.Generator, rank: int) -> dict[str, Any]:
    kernel, dilations = ints(rng, 1, 3, rank), ints(rng, 1, 2, rank)
    pads = tuple(int(rng.integers(0, kernel[i % rank])) for i in range(2 * rank))
    return {
        "kernel": kernel,
        "strides": ints(rng, 1, 3, rank),
        "pads": pads,
        "dilations": dilations,
        "ceil_mode": bool(rng.random() < 0.5),
    }


def onnx_pool(configuration: dict[str, Any]) -> dict[str, Any]:
    given = dict(configuration, kernel_shape=configuration["kernel"], ceil_mode=int(configuration["ceil_mode"]))
    del given["kernel"]
    return given


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool(rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    configuration = pool_configuration(rng, rank)
    x = normal(rng, 2, 3, *ints(rng, 6, 10, rank))
    want = onnxruntime("MaxPool", [x], **onnx_pool(configuration))
    assert_close(evaluated(MAX_POOLS[rank](**configuration), x), want, 0)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("include", [False, True])
def test_avg_pool(rank: int, seed: int, include: bool) -> None:
    rng = np.random.default_rng(seed)
    configuration = pool_configuration(rng, rank)
    x = normal(rng, 2, 3, *ints(rng, 6, 10, rank))
    op = AVG_POOLS[rank](**configuration, count_include_pad=include)
    want = onnxruntime("AveragePool", [x], count_include_pad=int(include), **onnx_pool(configuration))
    assert_close(evaluated(op, x), want)


@pytest.mark.parametrize("mode", ["same_upper", "same_lower"])
def test_pool_auto_pad(mode: Any) -> None:
    rng = np.random.default_rng(3)
    x = normal(rng, 1, 2, 7, 8)
    given: dict[str, Any] = {"strides": (2, 3), "auto_pad": mode.upper(), "kernel_shape": (3, 4)}
    want = onnxruntime("MaxPool", [x], **given)
    assert_close(evaluated(MaxPool2D(kernel=(3, 4), strides=(2, 3), auto_pad=mode), x), want)
    want = onnxruntime("AveragePool", [x], **given)
    assert_close(evaluated(AvgPool2D(kernel=(3, 4), strides=(2, 3), auto_pad=mode), x), want)


def test_global_pools() -> None:
    x = normal(np.random.default_rng(0), 2, 3, 5, 7)
    assert_close(evaluated(GlobalAvgPool(), x), onnxruntime("GlobalAveragePool", [x]))
    assert_close(evaluated(GlobalMaxPool(), x), onnxruntime("GlobalMaxPool", [x]), 0)


# -------------------------------------------------------------------------------------------------------- normalization
def test_batch_norm() -> None:
    rng = np.random.default_rng(0)
    for shape in ((2, 3), (2, 3, 5), (2, 3, 4, 5), (1, 3, 2, 3, 4)):
        x, scale, bias, mean = normal(rng, *shape), normal(rng, 3), normal(rng, 3), normal(rng, 3)
        var = np.abs(normal(rng, 3))
        want = onnxruntime("BatchNormalization", [x, scale, bias, mean, var], epsilon=1e-3)
        assert_close(evaluated(BatchNorm(epsilon=1e-3), x, scale, bias, mean, var), want)


@pytest.mark.parametrize("axis", [-1, 1, -2])
def test_layer_norm(axis: int) -> None:
    rng = np.random.default_rng(0)
    x = normal(rng, 2, 3, 8)
    scale, bias = normal(rng, *x.shape[axis:]), normal(rng, *x.shape[axis:])
    want = onnxruntime("LayerNormalization", [x, scale, bias], axis=axis, epsilon=1e-3)
    assert_close(evaluated(LayerNorm(axis=axis, epsilon=1e-3), x, scale, bias), want)


def test_instance_norm() -> None:
    rng = np.random.default_rng(0)
    x, scale, bias = normal(rng, 2, 3, 8, 5), normal(rng, 3), normal(rng, 3)
    want = onnxruntime("InstanceNormalization", [x, scale, bias], epsilon=1e-3)
    assert_close(evaluated(InstanceNorm(epsilon=1e-3), x, scale, bias), want)


@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_lrn(size: int) -> None:
    x = normal(np.random.default_rng(0), 2, 6, 4, 5)
    want = onnxruntime("LRN", [x], size=size, alpha=0.3, beta=0.6, bias=1.5)
    assert_close(evaluated(LRN(size=size, alpha=0.3, beta=0.6, bias=1.5), x), want)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_lp_normalize(p: int, axis: int) -> None:
    x = normal(np.random.default_rng(0), 3, 4, 5)
    x[1] = 0
    x[:, 2] = 0
    want = onnxruntime("LpNormalization", [x], axis=axis, p=p)
    assert_close(evaluated(LpNormalize(axis=axis, p=p), x), want)


# --------------------------------------------------------------------------------------------------------------- linear
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((4,), (2, 4, 5)),
        ((2, 3, 4), (4,)),
        ((4,), (4,)),
    ],
)
def test_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = normal(rng, *a), normal(rng, *b)
    assert_close(evaluated(MatMul(), x, y), onnxruntime("MatMul", [x, y]))
    if min(len(a), len(b)) > 1:
        op = MatMul(trans_a=True, trans_b=True)
        got = evaluated(op, x.swapaxes(-1, -2).copy(), y.swapaxes(-1, -2).copy())
        assert_close(got, onnxruntime("MatMul", [x, y]))


@pytest.mark.parametrize("transpose_w", [False, True])
def test_linear(transpose_w: bool) -> None:
    rng = np.random.default_rng(0)
    x, w, b = normal(rng, 3, 4), normal(rng, 4, 5), normal(rng, 5)
    given = np.ascontiguousarray(w.T) if transpose_w else w
    want = onnxruntime("Gemm", [x, given, b], transB=int(transpose_w))
    assert_close(evaluated(Linear(transpose_w=transpose_w), x, given, b), want)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))),
        ("...ij,...jk", ((2, 1, 3, 4), (1, 5, 4, 2))),
        ("bhwc,hkc->bhwk", ((2, 3, 4, 5), (3, 6, 5))),
        ("ij->ji", ((3, 4),)),
        ("ij->", ((3, 4),)),
        ("i,j->ij", ((3,), (4,))),
    ],
)
def test_einsum(equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    rng = np.random.default_rng(0)
    operands = [normal(rng, *s) for s in shapes]
    assert_close(evaluated(Einsum(equation=equation), *operands), onnxruntime("Einsum", operands, equation=equation))


@pytest.mark.parametrize("k", [-6, -1, 0, 2, 7])
@pytest.mark.parametrize("upper", [False, True])
def test_trilu(k: int, upper: bool) -> None:
    x = normal(np.random.default_rng(0), 2, 4, 5)
    want = onnxruntime("Trilu", [x, np.array(k, np.int64)], upper=int(upper))
    assert_close(evaluated(Trilu(k=k, upper=upper), x), want, 0)


# --------------------------------------------------------------------------------------------------------------- resize
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
FACTORS = ((2.0, 2.0), (0.5, 0.5), (1.5, 0.6), (0.7, 3.0), (1 / 3, 1.0), (2.3, 1.9), (0.8, 0.8))


RESIZES = [*itertools.product(COORDINATES, FACTORS)]


def resized(op: Resize, x: Array, **attributes: Any) -> tuple[Array, Array]:
    """Ours and onnxruntime's. A Resize with scales and sizes at once has no ONNX twin.

    Where corners are aligned and a scaled extent is a fraction onnx's own evaluator is the judge: onnxruntime takes its
    whole part in the formula of the coordinates.
    """
    f32 = None if op.scales is None else np.array(op.scales, np.float32)
    i64 = None if op.sizes is None else np.array(op.sizes, np.int64)
    kind = dict(attributes, mode=op.mode, coordinate_transformation_mode=op.coordinate_mode)
    lengths = None if f32 is None else f32 * np.array(x.shape, np.float32)
    if op.coordinate_mode == "align_corners" and lengths is not None and (lengths != np.floor(lengths)).any():
        return evaluated(op, x), reference_resize(x, np.array(op.scales), **kind)
    return evaluated(op, x), onnxruntime("Resize", [x, None, f32, i64], **kind)


def reference_resize(x: Array, scales: Any, **attributes: Any) -> Array:
    """The result of onnx's own evaluator."""
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], **attributes)],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape),
            helper.make_tensor_value_info("scales", TensorProto.DOUBLE, scales.shape),
        ],
        [onnx.ValueInfoProto(name="y")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": x, "scales": scales})[0])  # type: ignore[index]


@pytest.mark.parametrize(("coordinates", "factors"), RESIZES)
@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resize_nearest(coordinates: Any, factors: tuple[float, float], nearest: Any) -> None:
    x = normal(np.random.default_rng(0), 2, 3, 10, 7)
    op = Resize(scales=(1, 1, *factors), coordinate_mode=coordinates, nearest_mode=nearest)
    assert_close(*resized(op, x, nearest_mode=nearest), 0)
    by_size = Resize(sizes=(2, 3, *evaluated(op, x).shape[2:]), coordinate_mode=coordinates, nearest_mode=nearest)
    assert_close(*resized(by_size, x, nearest_mode=nearest), 0)


def test_resize_tf_half_pixel_for_nn() -> None:
    """The mode that ONNX dropped after opset 12."""
    x = normal(np.random.default_rng(0), 1, 2, 9, 8)
    for factors in FACTORS:
        op = Resize(scales=(1, 1, *factors), coordinate_mode="tf_half_pixel_for_nn", nearest_mode="floor")
        scales = np.array(op.scales, np.float32)
        want = onnxruntime(
            "Resize", [x, np.zeros(0, np.float32), scales], opset=12, mode="nearest",
            coordinate_transformation_mode="tf_half_pixel_for_nn", nearest_mode="floor",
        )  # fmt: skip
        assert_close(evaluated(op, x), want, 0)


@pytest.mark.parametrize(("coordinates", "factors"), RESIZES)
def test_resize_linear(coordinates: Any, factors: tuple[float, float]) -> None:
    x = normal(np.random.default_rng(0), 2, 3, 10, 7)
    op = Resize(scales=(1, 1, *factors), mode="linear", coordinate_mode=coordinates)
    assert_close(*resized(op, x))
    by_size = Resize(sizes=(2, 3, *evaluated(op, x).shape[2:]), mode="linear", coordinate_mode=coordinates)
    assert_close(*resized(by_size, x))


@pytest.mark.parametrize(("coordinates", "factors"), RESIZES)
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("a", [-0.75, -0.5])
def test_resize_cubic(coordinates: Any, factors: tuple[float, float], exclude: bool, a: float) -> None:
    x = normal(np.random.default_rng(0), 2, 3, 10, 7)
    op = Resize(scales=(1, 1, *factors), mode="cubic", coordinate_mode=coordinates, exclude_outside=exclude, cubic_a=a)
    assert_close(*resized(op, x, exclude_outside=int(exclude), cubic_coeff_a=a))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("exclude", [False, True])
def test_resize_antialias(mode: Any, factors: tuple[float, float], exclude: bool) -> None:
    x = normal(np.random.default_rng(0), 2, 3, 12, 9)
    op = Resize(scales=(1, 1, *factors), mode=mode, antialias=True, exclude_outside=exclude)
    assert_close(*resized(op, x, antialias=1, exclude_outside=int(exclude)))


def test_resize_scales_decide_coordinates_beside_sizes() -> None:
    """4 * 0.8 gives 3 elements: with the scale they lie 1.25 apart, without it 4/3."""
    x = np.arange(4, dtype=np.float32)
    both = evaluated(Resize(sizes=(3,), scales=(0.8,), mode="linear"), x)
    np.testing.assert_allclose(both, [0.125, 1.375, 2.625], rtol=1e-6)
    np.testing.assert_allclose(evaluated(Resize(sizes=(3,), mode="linear"), x), [1 / 6, 1.5, 17 / 6], rtol=1e-6)


def test_resize_operands_are_as_good_as_attributes() -> None:
    x = normal(np.random.default_rng(0), 1, 2, 5, 6)
    sizes, scales = np.array([1, 2, 7, 4], np.int64), np.array([1, 1, 1.5, 0.7], np.float32)
    assert_close(evaluated(Resize(mode="linear"), x, sizes), evaluated(Resize(mode="linear", sizes=(1, 2, 7, 4)), x), 0)
    by_scale = evaluated(Resize(scales=tuple(scales.tolist())), x)
    assert_close(evaluated(Resize(), x, None, scales), by_scale, 0)


# --------------------------------------------------------------------------------------------------------- quantization
QUANTIZED = (np.int8, np.uint8, np.int16, np.uint16)


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("seed", range(3))
def test_quantize_and_back(dtype: Any, axis: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = normal(rng, 3, 4, 5) * 20
    shape = () if axis is None else (x.shape[axis],)
    info = np.iinfo(dtype)
    scale = rng.uniform(0.01, 0.5, shape).astype(np.float32)
    zero = rng.integers(info.min, info.max, shape, endpoint=True).astype(dtype)
    attributes = {} if axis is None else {"axis": axis}
    op = Quantize(axis=axis, dtype=DType.from_numpy(dtype))
    q = evaluated(op, x, scale, zero)
    assert np.array_equal(q, onnxruntime("QuantizeLinear", [x, scale, zero], opset=21, **attributes))
    want = onnxruntime("DequantizeLinear", [q, scale, zero], opset=21, **attributes)
    assert_close(evaluated(Dequantize(axis=axis), q, scale, zero), want, 0)


def test_quantize_rounds_ties_as_named() -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.49999997, 0.5, 1.5, 2.5, np.nan, np.inf, -np.inf], np.float32)
    one = np.array(1, np.float32)
    even = [-2, -2, 0, 0, 0, 2, 2, -128, 127, -128]
    away = [-3, -2, -1, 0, 1, 2, 3, -128, 127, -128]
    assert evaluated(Quantize(), x, one).tolist() == even
    assert evaluated(Quantize(rounding="half_away"), x, one).tolist() == away
    assert np.array_equal(onnxruntime("QuantizeLinear", [x, one, np.array(0, np.int8)])[:-3], even[:-3])


@pytest.mark.parametrize("dtype", [DType.F8E4M3, DType.F8E5M2])
def test_quantize_to_float8(dtype: DType) -> None:
    x = np.concatenate([normal(np.random.default_rng(0), 64) * 50, np.array([1e6, -1e6], np.float32)])
    scale = np.array(0.5, np.float32)
    q = evaluated(Quantize(dtype=dtype), x, scale)
    kind = {DType.F8E4M3: TensorProto.FLOAT8E4M3FN, DType.F8E5M2: TensorProto.FLOAT8E5M2}[dtype]
    nodes = [
        helper.make_node("Cast", ["z"], ["zero"], to=kind),
        helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["q"]),
        helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT),
    ]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [66]), ("s", []), ("z", []))]
    graph = helper.make_graph(nodes, "g", infos, [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    want = np.asarray(session.run(None, {"x": x, "s": scale, "z": np.zeros((), np.float32)})[0])
    assert np.array_equal(q.astype(np.float32), want)
    assert_close(evaluated(Dequantize(), q, scale), want * scale, 0)


def test_four_bit_integers() -> None:
    x = np.array([-100, -8.5, -7.5, 0.4, 6.6, 7.5, 100], np.float32)
    one = np.array(1, np.float32)
    q = evaluated(Quantize(dtype=DType.I4), x, one)
    assert q.astype(np.int32).tolist() == [-8, -8, -8, 0, 7, 7, 7]
    u = evaluated(Quantize(dtype=DType.U4), x, one, np.array(8, ml_dtypes.uint4))
    assert u.astype(np.int32).tolist() == [0, 0, 0, 8, 15, 15, 15]
    assert evaluated(Dequantize(), u, one, np.array(8, ml_dtypes.uint4)).tolist() == [-8, -8, -8, 0, 7, 7, 7]


def test_dequantize_of_i32_is_exact_before_the_product() -> None:
    q = np.array([2**31 - 1, -(2**31)], np.int32)
    zero = np.array(-(2**31), np.int32)
    got = evaluated(Dequantize(), q, np.array(1, np.float32), zero)
    assert got.tolist() == [float(np.float32(2**32 - 1)), 0.0]
