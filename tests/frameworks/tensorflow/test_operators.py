"""Every operator family against TensorFlow itself, eager, through a frozen graph read by our own reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import uair
from uair.frontends.tensorflow.handlers import handlers, result_names
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of

RNG = np.random.default_rng(0)


def f(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def i(high: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, high, shape).astype(np.int32)


W = f(3, 3, 4, 8)
D = f(3, 3, 4, 2)
raw = tf.raw_ops
BOXES = np.array([[0, 0, 1, 1], [0, 0, 0.9, 1], [0.5, 0.5, 1, 1], [0, 0, 0.4, 0.4]], np.float32)
SCORES = np.array([0.9, 0.8, 0.7, 0.6], np.float32)


def boxes_of(*lead: int) -> np.ndarray:
    """Boxes with their corners in order, some outside of the image."""
    corners = np.sort(RNG.random((*lead, 2, 2)) * 1.3 - 0.1, axis=-2)
    return corners.reshape(*lead, 4).astype(np.float32)


def grown(x: Any) -> Any:
    """A list that every run of a loop adds to."""

    def body(k: Any, rows: Any) -> Any:
        return k + 1, raw.TensorListPushBack(input_handle=rows, tensor=x[k] * tf.cast(k, tf.float32))

    first = raw.EmptyTensorList(element_shape=[4], max_num_elements=-1, element_dtype=tf.float32)
    _, rows = tf.while_loop(lambda k, _: k < 5, body, [0, first])
    return raw.TensorListStack(input_handle=rows, element_shape=[4], element_dtype=tf.float32)


def grown_by_itself(x: Any) -> list[Any]:
    """A list outside of a loop: two rows are added and one is taken off."""
    rows = raw.EmptyTensorList(element_shape=[4], max_num_elements=-1, element_dtype=tf.float32)
    for row in (x[0], x[1] * 2, x[2]):
        rows = raw.TensorListPushBack(input_handle=rows, tensor=row)
    rest, last = raw.TensorListPopBack(input_handle=rows, element_shape=[4], element_dtype=tf.float32)
    return [last, raw.TensorListStack(input_handle=rest, element_shape=[4], element_dtype=tf.float32)]


def written(x: Any) -> Any:
    """An array of no size at first, written in each run."""
    first = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[4])
    return tf.while_loop(lambda k, _: k < 5, lambda k, a: (k + 1, a.write(k, tf.sin(x[k]))), [0, first])[1]


CASES: dict[str, tuple[Callable[..., Any], list[np.ndarray]]] = {
    "audio": (
        lambda x: [
            raw.AudioSpectrogram(input=x, window_size=100, stride=40, magnitude_squared=False),
            raw.Mfcc(
                spectrogram=raw.AudioSpectrogram(input=x, window_size=256, stride=200, magnitude_squared=True),
                sample_rate=16000,
            ),
            raw.Mfcc(
                spectrogram=raw.AudioSpectrogram(input=x, window_size=100, stride=40, magnitude_squared=True),
                sample_rate=8000,
                upper_frequency_limit=3500.5,
                filterbank_channel_count=20,
                dct_coefficient_count=20,
            ),
        ],
        [f(600, 2)],
    ),
    "unary": (
        lambda x: [
            tf.exp(x),
            tf.abs(x),
            tf.sin(x),
            tf.math.rsqrt(x * x + 1),
            tf.math.erf(x),
            tf.math.erfc(x),
            tf.sign(x),
            tf.floor(x),
            tf.round(x),
            tf.math.log1p(x * x),
            tf.square(x),
            tf.math.reciprocal(x),
            tf.math.softplus(x),
            tf.nn.elu(x),
            tf.nn.selu(x),
            tf.nn.relu6(x),
            tf.nn.softsign(x),
            tf.nn.leaky_relu(x, 0.3),
            tf.nn.gelu(x),
            tf.nn.silu(x),
            tf.math.expm1(x),
        ],
        [f(3, 4)],
    ),
    "binary": (
        lambda a, b: [
            a + b,
            a - b,
            a * b,
            a / b,
            tf.maximum(a, b),
            tf.math.squared_difference(a, b),
            tf.pow(tf.abs(a), b),
            tf.math.floordiv(a, b),
            tf.math.floormod(a, b),
            tf.atan2(a, b),
        ],
        [f(3, 4), f(4)],
    ),
    "integers": (
        lambda a, b: [
            a // b,
            a % b,
            raw.TruncateDiv(x=a, y=b),
            raw.TruncateMod(x=a, y=b),
            tf.bitwise.bitwise_and(a, b),
            tf.bitwise.left_shift(a, b),
        ],
        [i(20, 6) - 10, i(3, 6) + 1],
    ),
    "no_nan": (
        lambda a, b: [
            tf.math.divide_no_nan(a, b),
            tf.math.xdivy(b, a),
            tf.math.xlogy(b, tf.abs(a)),
            tf.math.multiply_no_nan(a, b),
        ],
        [f(4), np.array([0, 1, 2, 0], np.float32)],
    ),
    "compare": (
        lambda a, b: [
            a < b,
            a >= b,
            tf.equal(a, b),
            tf.where(a < b, a, b),
            tf.logical_and(a < b, a > 0),
            tf.math.is_finite(a),
            tf.clip_by_value(a, -0.5, 0.5),
        ],
        [f(3, 4), f(3, 4)],
    ),
    "reduce": (
        lambda x: [
            tf.reduce_sum(x, 1),
            tf.reduce_mean(x, [0, 2], keepdims=True),
            tf.reduce_max(x),
            tf.reduce_prod(x, -1),
            tf.math.reduce_std(x, 1),
            tf.math.reduce_logsumexp(x, 2),
            tf.norm(x, axis=1),
            tf.argmax(x, 1),
            tf.argmin(x, 2, output_type=tf.int32),
        ],
        [f(2, 3, 4)],
    ),
    "scan": (lambda x: [tf.cumsum(x, 1, exclusive=True, reverse=True), tf.math.cumprod(x, 0)], [f(3, 4)]),
    "softmax": (lambda x: [tf.nn.softmax(x), tf.nn.log_softmax(x), tf.nn.softmax(x, 1)], [f(2, 3, 4)]),
    "conv": (
        lambda x: [
            tf.nn.conv2d(x, W, 1, "SAME"),
            tf.nn.conv2d(x, W, 2, "SAME"),
            tf.nn.conv2d(x, W, [1, 2], "VALID"),
            tf.nn.conv2d(x, W, 1, [[0, 0], [1, 2], [0, 1], [0, 0]]),
            tf.nn.conv2d(x, W, 1, "SAME", dilations=2),
        ],
        [f(2, 9, 8, 4)],
    ),
    "conv_grouped": (lambda x: tf.nn.conv2d(x, f(3, 3, 2, 8), 1, "SAME"), [f(2, 7, 8, 4)]),
    "conv1d": (lambda x: tf.nn.conv1d(x, f(3, 4, 5), 2, "SAME"), [f(2, 9, 4)]),
    "conv3d": (lambda x: tf.nn.conv3d(x, f(2, 3, 2, 2, 3), [1, 1, 2, 1, 1], "SAME"), [f(1, 4, 5, 6, 2)]),
    "depthwise": (
        lambda x: [
            tf.nn.depthwise_conv2d(x, D, [1, 2, 2, 1], "SAME"),
            tf.nn.depthwise_conv2d(x, D, [1, 1, 1, 1], "VALID", dilations=[2, 2]),
        ],
        [f(2, 9, 8, 4)],
    ),
    "conv_transpose": (
        lambda x: [
            tf.nn.conv2d_transpose(x, f(3, 3, 5, 4), [2, 10, 8, 5], 2, "SAME"),
            tf.nn.conv2d_transpose(x, f(3, 3, 5, 4), [2, 9, 8, 5], 2, "SAME"),
            tf.nn.conv2d_transpose(x, f(3, 2, 5, 4), [2, 11, 8, 5], 2, "VALID"),
        ],
        [f(2, 5, 4, 4)],
    ),
    "dilated_blocks": (
        lambda x: raw.BatchToSpaceND(
            input=tf.nn.conv2d(
                raw.SpaceToBatchND(input=x, block_shape=[2, 2], paddings=[[2, 3], [2, 2]]), W, 1, "VALID"
            ),
            block_shape=[2, 2],
            crops=[[0, 1], [0, 0]],
        ),
        [f(2, 9, 8, 4)],
    ),
    "pool": (
        lambda x: [
            tf.nn.max_pool2d(x, 3, 2, "SAME"),
            tf.nn.avg_pool2d(x, 3, 2, "SAME"),
            tf.nn.avg_pool2d(x, 2, 1, "VALID"),
            tf.nn.max_pool3d(x[:, None], [1, 2, 2], [1, 2, 2], "VALID"),
        ],
        [f(2, 9, 8, 4)],
    ),
    "pool_argmax": (lambda x: list(tf.nn.max_pool_with_argmax(x, 2, 2, "VALID")), [f(2, 6, 8, 3)]),
    "batch_norm": (
        lambda x: (
            raw.FusedBatchNormV3(
                x=x, scale=f(4) + 2, offset=f(4), mean=f(4), variance=f(4) ** 2 + 1, is_training=False
            ).y
        ),
        [f(2, 5, 6, 4)],
    ),
    "lrn": (lambda x: tf.nn.lrn(x, 2, 1.0, 0.5, 0.75), [f(2, 5, 6, 9)]),
    "matmul": (
        lambda a, b: [
            tf.matmul(a, b),
            tf.matmul(b, a, transpose_a=True, transpose_b=True),
            tf.einsum("bij,bjk->bik", a, b),
        ],
        [f(2, 3, 4), f(2, 4, 3)],
    ),
    "band": (
        lambda x: [
            tf.linalg.band_part(x, 1, 0),
            tf.linalg.band_part(x, -1, 2),
            tf.linalg.diag_part(x),
            tf.linalg.diag(x[0]),
        ],
        [f(4, 4)],
    ),
    "slices": (
        lambda x: [
            x[:, 1],
            x[..., -1],
            x[:, ::2],
            x[:, ::-1],
            x[:, None, 1:3],
            x[-1, ..., tf.newaxis],
            x[:, -2:],
            x[1:, :, 0],
            tf.slice(x, [0, 1, 1], [1, -1, 2]),
        ],
        [f(2, 4, 5)],
    ),
    "reshape": (
        lambda x: [
            tf.reshape(x, [-1, 4]),
            tf.transpose(x, [2, 0, 1]),
            tf.expand_dims(x, 1),
            tf.squeeze(x[:, :1]),
            tf.stack([x, x], 1),
            *tf.unstack(x, axis=1),
            *tf.split(x, 2, 2),
            *tf.split(x, [1, 2], 1),
            tf.concat([x, x], -1),
            tf.tile(x, [1, 2, 1]),
            tf.reverse(x, [1]),
            tf.roll(x, [1, -1], [0, 2]),
            tf.broadcast_to(x[:, :1], [2, 3, 4]),
            tf.zeros_like(x),
            tf.fill([2, 2], 3.0),
        ],
        [f(2, 3, 4)],
    ),
    "pads": (
        lambda x: [
            tf.pad(x, [[1, 0], [0, 2]]),
            tf.pad(x, [[1, 1], [1, 2]], "REFLECT"),
            tf.pad(x, [[1, 1], [1, 2]], "SYMMETRIC"),
            tf.pad(x, [[0, 1], [1, 0]], constant_values=2.0),
        ],
        [f(3, 4)],
    ),
    "blocks": (
        lambda x: [
            tf.nn.depth_to_space(x, 2),
            tf.nn.space_to_depth(x, 2),
            tf.space_to_batch(x, [2, 2], [[0, 0], [1, 1]]),
            tf.batch_to_space(tf.tile(x, [2, 1, 1, 1]), [2, 2], [[0, 1], [1, 0]]),
        ],
        [f(2, 4, 6, 4)],
    ),
    "gather": (
        lambda x, k: [
            tf.gather(x, k),
            tf.gather(x, k, axis=1),
            tf.gather(x, k[:2, None], axis=1, batch_dims=1),
            tf.gather_nd(x, k[:, None]),
        ],
        [f(2, 3, 4), i(2, 3)],
    ),
    "gather_batch": (lambda x, k: tf.gather(x, k, axis=2, batch_dims=1), [f(2, 3, 4), i(4, 2, 5)]),
    "scatter": (
        lambda u: [
            tf.scatter_nd([[1], [3], [1]], u, [5, 2]),
            tf.scatter_nd([[1], [3], [1]], u > 0, [5, 2]),
            tf.tensor_scatter_nd_update(tf.zeros([5, 2]), [[1], [3], [4]], u),
            tf.tensor_scatter_nd_add(tf.ones([5, 2]), [[1], [3], [1]], u),
            tf.math.unsorted_segment_sum(u, [0, 2, 0], 4),
            tf.math.unsorted_segment_max(u, [0, 1, 0], 2),
        ],
        [f(3, 2)],
    ),
    "one_hot": (lambda k: [tf.one_hot(k - 1, 4), tf.one_hot(k, 3, 5.0, -1.0, axis=1)], [i(5, 2, 3)]),
    "order": (lambda x: [*tf.math.top_k(x, 2), tf.where(x > 0), *tf.unique(tf.cast(x[0] * 2, tf.int32))], [f(3, 5)]),
    "reverse_sequence": (
        lambda x: [tf.reverse_sequence(x, [2, 4], 1, 0), tf.reverse_sequence(x, [1, 2, 2, 1], 0, 1)],
        [f(2, 4, 3)],
    ),
    "resize": (
        lambda x: [
            tf.image.resize(x, [7, 9]),
            tf.image.resize(x, [7, 9], "nearest"),
            tf.compat.v1.image.resize_bilinear(x, [7, 9], align_corners=True),
            tf.compat.v1.image.resize_bilinear(x, [7, 9]),
            tf.compat.v1.image.resize_nearest_neighbor(x, [7, 9]),
            tf.compat.v1.image.resize_nearest_neighbor(x, [7, 9], align_corners=True),
        ],
        [f(2, 5, 6, 3)],
    ),
    "bicubic": (
        lambda x: [tf.image.resize(x, [3, 9], "bicubic"), raw.ResizeBicubic(images=x, size=[7, 9])],
        [f(2, 5, 6, 3)],
    ),
    "crops": (
        lambda x: [
            tf.image.crop_and_resize(x, [[0.1, 0.2, 0.8, 0.9], [0.5, 0, 1, 1.2]], [0, 1], [3, 4]),
            tf.image.crop_and_resize(x, [[0, 0, 1, 1]], [1], [1, 5]),
        ],
        [f(2, 6, 7, 3)],
    ),
    "nms": (
        lambda b, s: [
            tf.image.non_max_suppression(b, s, 3, 0.5, 0.65),
            *raw.NonMaxSuppressionV4(
                boxes=b,
                scores=s,
                max_output_size=4,
                iou_threshold=0.5,
                score_threshold=0.1,
                pad_to_max_output_size=True,
            ),
            *raw.NonMaxSuppressionV5(
                boxes=b, scores=s, max_output_size=2, iou_threshold=0.5, score_threshold=0.1, soft_nms_sigma=0.0
            ),
        ],
        [BOXES, SCORES],
    ),
    "combined_nms": (
        lambda b, s, m: [
            *tf.image.combined_non_max_suppression(b, s, 3, 5, 0.5, 0.2),
            *tf.image.combined_non_max_suppression(b, s, 2, 9, 0.5, 0.2, pad_per_class=True),
            *tf.image.combined_non_max_suppression(m, s, 2, 20, 0.3, 0.1, clip_boxes=False),
        ],
        [boxes_of(2, 7, 1), RNG.random((2, 7, 3)).astype(np.float32), boxes_of(2, 7, 3)],
    ),
    "resize_area": (
        lambda x: [
            raw.ResizeArea(images=x, size=[2, 3]),
            raw.ResizeArea(images=x, size=[3, 5]),
            raw.ResizeArea(images=x, size=[7, 9]),
            raw.ResizeArea(images=x, size=[3, 4], align_corners=True),
        ],
        [f(2, 6, 8, 3)],
    ),
    "colours": (
        lambda x: [
            tf.image.rgb_to_hsv(x),
            tf.image.hsv_to_rgb(x),
            tf.image.adjust_contrast(x, 1.7),
            tf.image.adjust_saturation(x, 1.4),
            tf.image.adjust_hue(x, 0.2),
        ],
        [np.concatenate([RNG.random((1, 5, 4, 3)), np.full((1, 5, 4, 3), 0.5)]).astype(np.float32)],
    ),
    "patches": (
        lambda x: [
            tf.image.extract_patches(x, [1, 3, 2, 1], [1, 2, 1, 1], [1, 1, 1, 1], "VALID"),
            tf.image.extract_patches(x, [1, 3, 3, 1], [1, 2, 2, 1], [1, 1, 1, 1], "SAME"),
            tf.image.extract_patches(x, [1, 2, 2, 1], [1, 1, 1, 1], [1, 2, 2, 1], "VALID"),
        ],
        [f(2, 7, 8, 3)],
    ),
    "searching": (
        lambda x, s, v: [
            raw.Bucketize(input=x, boundaries=[-0.5, 0.0, 1.0]),
            tf.searchsorted(s, v),
            tf.searchsorted(s, v, side="right"),
        ],
        [f(3, 4), np.sort(i(9, 2, 6), axis=1), i(9, 2, 5)],
    ),
    "stitching": (
        lambda x: [
            tf.dynamic_stitch([[0, 2], [3, 1, 2]], [x[:2], x[2:5]]),
            tf.dynamic_stitch([[0, 4]], [x[:2]]),
            *tf.dynamic_partition(x, [0, 1, 0, 1, 1], 3),
        ],
        [f(5, 2)],
    ),
    "segments": (
        lambda x: [
            tf.math.segment_sum(x, [0, 0, 1, 1, 3]),
            tf.math.segment_mean(x, [0, 0, 1, 1, 3]),
            tf.math.segment_prod(x, [0, 0, 1, 1, 3]),
            tf.math.segment_max(x, [0, 0, 1, 1, 2]),
            tf.math.segment_min(x, [0, 0, 1, 1, 2]),
            tf.tensor_scatter_nd_sub(x, [[1], [3], [1]], x[:3]),
        ],
        [f(5, 2)],
    ),
    "fake_quant": (
        lambda x: [
            tf.quantization.fake_quant_with_min_max_args(x, -2, 3),
            tf.quantization.fake_quant_with_min_max_args(x, -2, 3, narrow_range=True),
            tf.quantization.fake_quant_with_min_max_vars_per_channel(x, [-1, -2, -3.0], [1, 2, 1.0]),
        ],
        [f(4, 3)],
    ),
    "quantize_and_dequantize": (
        lambda x: [
            tf.quantization.quantize_and_dequantize_v2(x, -1.5, 2.0, range_given=True),
            tf.quantization.quantize_and_dequantize_v2(x, -2.5, 2.0, range_given=True, narrow_range=True, num_bits=5),
            tf.quantization.quantize_and_dequantize_v2(x, 0.0, 2.0, range_given=True, signed_input=False),
            raw.QuantizeAndDequantizeV3(
                input=x, input_min=-1.5, input_max=2.0, num_bits=6, range_given=True, signed_input=True
            ),
        ],
        [f(4, 3)],
    ),
    "fourier": (
        lambda x: [
            tf.abs(tf.signal.rfft(x)),
            tf.signal.irfft(tf.signal.rfft(x)),
            tf.math.real(tf.signal.rfft(x)),
            tf.math.imag(tf.signal.fft(tf.complex(x, x))),
        ],
        [f(3, 8)],
    ),
    "casts": (
        lambda x: [
            tf.cast(x, tf.int32),
            tf.cast(x > 0, tf.float32),
            tf.cast(x, tf.float16),
            tf.shape(x),
            tf.size(x),
            tf.range(tf.shape(x)[0]),
        ],
        [f(3, 4)],
    ),
    "branch": (lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2, lambda: -x), [f(3, 4)]),
    "loop": (
        lambda x: tf.while_loop(lambda k, v: tf.reduce_sum(tf.abs(v)) < 50, lambda k, v: (k + 1, v * 2), [0, x]),
        [f(3, 4)],
    ),
    "counted_loop": (
        lambda x: tf.while_loop(lambda k, v: k < 4, lambda k, v: (k + 1, v + tf.cast(k, tf.float32)), [0, x])[1],
        [f(3, 4)],
    ),
    "array_loop": (lambda x: tf.map_fn(lambda row: tf.reduce_sum(row) * row, x), [f(5, 4)]),
    "growing_list": (lambda x: [grown(x), *grown_by_itself(x)], [f(5, 4)]),
    "growing_array": (lambda x: written(x).stack(), [f(5, 4)]),
    "scattered_array": (
        lambda x: [
            tf.TensorArray(tf.float32, 6).scatter([4, 0, 1], x).stack(),
            tf.TensorArray(tf.float32, 3).unstack(x).concat(),
        ],
        [f(3, 2)],
    ),
    "cross_entropy": (lambda a, b: tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(b), a), [f(3, 4), f(3, 4)]),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str, tmp_path: Path) -> None:
    compute, inputs = CASES[name]
    specs = [tf.TensorSpec(x.shape, x.dtype) for x in inputs]
    concrete = tf.function(lambda *xs: tf.nest.flatten(compute(*xs))).get_concrete_function(*specs)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    path = tmp_path / "model.pb"
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())
    wanted = [np.asarray(t) for t in concrete(*map(tf.constant, inputs))]
    outputs = [t.name for t in frozen.outputs]
    module = uair.load(path, inputs=[t.name for t in frozen.inputs], outputs=list(dict.fromkeys(outputs)))
    verify(module)
    given = dict(zip(module.main.input_names, inputs, strict=True))
    for each in (module, parse_module(print_module(module), weights=weights_of(module)), uair.optimize(module.clone())):
        results = uair.run(each, given)
        for k, (reference, output) in enumerate(zip(wanted, outputs, strict=True)):
            got = results[output.removesuffix(":0")]
            assert got.dtype == reference.dtype and got.shape == reference.shape, f"{name} {k}"
            scale = np.abs(reference.astype(np.float64)).max(initial=1e-6) if reference.dtype != bool else 1.0
            error = np.abs(got.astype(np.float64) - reference.astype(np.float64)).max(initial=0) / scale
            # TensorFlow reads the bicubic kernel from a table of 1024 places (resize_bicubic_op.cc)
            loose = reference.dtype == np.float16 or name == "bicubic"
            assert error < (1e-3 if loose else 1e-4), f"{name}, result {k}"


def test_names_of_results_are_tensorflows() -> None:
    for op in handlers():
        definition = op_def_registry.get(op)
        if definition is None:
            continue
        names = tuple(a.name for a in definition.output_arg)
        if len(names) > 1:
            assert result_names().get(op) == names, op


def test_live_function() -> None:
    kernel = tf.Variable(f(4, 3), name="kernel")

    @tf.function
    def double(x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, kernel) * 2.0

    x = f(5, 4)
    module = uair.load(double, tf.TensorSpec([None, 4]))
    results = uair.run(module, {module.main.input_names[0]: x})
    np.testing.assert_allclose(next(iter(results.values())), double(x).numpy(), rtol=1e-5)


def test_case() -> None:
    """A number selects one of several functions; the last one when it is out of range. Freezing would take it apart."""
    branches = [lambda x: x * 2, lambda x: x + 1, lambda x: -x, tf.sin]

    @tf.function(input_signature=[tf.TensorSpec([2, 3]), tf.TensorSpec([], tf.int32)])
    def choose(x: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
        return tf.switch_case(k, [lambda b=b: b(x) for b in branches])

    module = uair.load(choose)
    verify(module)
    x = f(2, 3)
    for k in (0, 1, 2, 3, 9, -1):
        (got,) = uair.run(module, {"x": x, "k": np.int32(k)}).values()
        np.testing.assert_allclose(got, choose(x, k), rtol=1e-5)
