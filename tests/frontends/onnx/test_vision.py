"""Operators on images, judged by onnxruntime, or by onnx's own evaluator where that has no kernel."""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.frontends.onnx.models import (
    check,
    floats,
    imported,
    interpreted,
    model,
    one,
    onnxruntime_outputs,
    op_types,
    rng,
)
from uair.codegen.onnx import model_bytes
from uair.errors import EvaluationError, UairError
from uair.frontends.onnx.errors import OnnxAttributeError, OnnxOperatorError
from uair.ir.dtype import Array
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.pipeline import PassManager

IMAGE = floats(2, 3, 5, 6)
REGIONS = np.array([[0.3, 0.6, 4.2, 3.1], [-3, -2, 9, 1.5], [2, 2, 2, 2], [3, 3, 1, 2]], np.float32)


def both_ways(node: Any, feeds: dict[str, Array], fixed: list[str], opset: int, **more: Any) -> None:
    """Check with the operands `fixed` computed at run time, then as constants."""
    check(model([node], feeds, list(node.output), opset=opset), feeds, **more)
    constants = {name: feeds[name] for name in fixed}
    rest = {name: value for name, value in feeds.items() if name not in fixed}
    check(model([node], rest, list(node.output), constants=constants, opset=opset), rest, **more)


# ------------------------------------------------------------------------ sampling
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize(("mode", "older"), [("linear", "bilinear"), ("nearest", "nearest"), ("cubic", "bicubic")])
def test_grid_sample(mode: str, older: str, align_corners: int, padding: str) -> None:
    grid = rng(1).uniform(-2.5, 2.5, (2, 7, 8, 2)).astype(np.float32)
    feeds = {"x": IMAGE, "grid": grid}
    attributes: dict[str, Any] = {"padding_mode": padding, "align_corners": align_corners}
    for opset, domain, name in ((20, "", mode), (16, "", older), (16, "com.microsoft", older)):
        node = one("GridSample", "x", "grid", domain=domain, mode=name, **attributes)
        check(model([node], feeds, opset=opset), feeds)
    if mode != "cubic":
        feeds = {"x": floats(1, 2, 3, 4, 5), "grid": rng(1).uniform(-2, 2, (1, 4, 3, 5, 3)).astype(np.float32)}
        check(model([one("GridSample", "x", "grid", mode=mode, **attributes)], feeds, opset=20), feeds)


def test_grid_sample_of_places_that_are_no_numbers() -> None:
    grid = np.array([np.nan, 0, np.inf, 0, -1e30, 1e30], np.float32).reshape(1, 1, 3, 2)
    feeds = {"x": IMAGE[:1], "grid": grid}
    for mode in ("linear", "nearest", "cubic"):
        for padding in ("zeros", "border", "reflection"):
            node = one("GridSample", "x", "grid", mode=mode, padding_mode=padding)
            (y,) = interpreted(imported(model([node], feeds, opset=20)), feeds)
            assert y.shape == (1, 3, 1, 3)
    (y,) = interpreted(imported(model([one("GridSample", "x", "grid", mode="nearest")], feeds, opset=20)), feeds)
    assert not y.any()


def test_grid_sample_of_integers_truncates() -> None:
    x = np.array([[[[0, 3, -7]]]], np.int32)
    grid = np.array([[[[-0.5, 0], [0.5, 0]]]], np.float32)
    feeds = {"x": x, "grid": grid}
    node = one("GridSample", "x", "grid", mode="linear", align_corners=1)
    (y,) = interpreted(imported(model([node], feeds, opset=20)), feeds)
    assert y.tolist() == [[[[1, -2]]]]
    assert y.dtype == np.int32


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("size", [[2, 3, 4, 5], [2, 1, 3, 4, 5], [2, 3, 1, 6]], ids=str)
def test_affine_grid(size: list[int], align_corners: int) -> None:
    """Against onnx's evaluator: onnxruntime puts an axis of extent 1 elsewhere."""
    axes = len(size) - 2
    feeds = {"theta": floats(2, axes, axes + 1), "size": np.array(size)}
    proto = model([one("AffineGrid", "theta", "size", align_corners=align_corners)], feeds, opset=20)
    fixed = model(
        [one("AffineGrid", "theta", "size", align_corners=align_corners)],
        {"theta": feeds["theta"]}, constants={"size": feeds["size"]}, opset=20,
    )  # fmt: skip
    with np.errstate(divide="ignore"):
        want = np.asarray(ReferenceEvaluator(proto).run(None, feeds)[0])  # type: ignore[index]
    for got in (interpreted(imported(proto), feeds), interpreted(imported(fixed), {"theta": feeds["theta"]})):
        np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-5)
    assert "If" not in op_types(imported(proto))
    assert op_types(imported(fixed)) == ["MatMul", "Reshape"]


def test_affine_grid_of_f16_is_computed_in_f32() -> None:
    theta = floats(1, 2, 3).astype(np.float16)
    node = one("AffineGrid", "theta", "size")
    module = imported(model([node], {"theta": theta}, constants={"size": np.array([1, 1, 7, 9])}, opset=20))
    wide = imported(
        model([node], {"theta": theta.astype(np.float32)}, constants={"size": np.array([1, 1, 7, 9])}, opset=20)
    )
    (narrow,) = interpreted(module, {"theta": theta})
    (exact,) = interpreted(wide, {"theta": theta.astype(np.float32)})
    assert narrow.dtype == np.float16
    np.testing.assert_array_equal(narrow, exact.astype(np.float16))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("groups", [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_deform_conv(groups: tuple[int, int], masked: bool) -> None:
    x, w = floats(2, 4, 7, 6), floats(6, 4 // groups[0], 3, 2, seed=1)
    offset = floats(2, groups[1] * 12, 4, 5, seed=2) * 2
    feeds = {"x": x, "w": w, "offset": offset, "bias": floats(6, seed=3)}
    names = ["x", "w", "offset", "bias"]
    if masked:
        feeds["mask"] = np.abs(floats(2, groups[1] * 6, 4, 5, seed=4))
        names.append("mask")
    node = one(
        "DeformConv", *names, strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2], kernel_shape=[3, 2],
        group=groups[0], offset_group=groups[1],
    )  # fmt: skip
    module = check(model([node], feeds, opset=19), feeds, rtol=1e-4, atol=1e-4)
    assert np.isfinite(interpreted(module, feeds)[0]).all()


# ------------------------------------------------------------------------ regions and boxes
@pytest.mark.parametrize("shift", ["half_pixel", "output_half_pixel", None])
@pytest.mark.parametrize("ratio", [0, 1, 3])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(mode: str, ratio: int, shift: str | None) -> None:
    feeds = {"x": IMAGE, "rois": REGIONS, "images": np.array([1, 0, 1, 0])}
    attributes = {} if shift is None else {"coordinate_transformation_mode": shift}
    node = one(
        "RoiAlign", "x", "rois", "images", mode=mode, output_height=3, output_width=2, sampling_ratio=ratio,
        spatial_scale=0.75, **attributes,
    )  # fmt: skip
    check(model([node], feeds, opset=10 if shift is None else 16), feeds)


def test_roi_align_refuses_what_is_no_region() -> None:
    node = one("RoiAlign", "x", "rois", "images")
    feeds = {"x": IMAGE, "rois": np.array([[0, 0, np.inf, 1]], np.float32), "images": np.array([0])}
    module = imported(model([node], feeds, opset=16))
    for far in (np.inf, np.nan, 1e9):
        with pytest.raises(EvaluationError, match="RoiAlign: a region"):
            interpreted(module, {**feeds, "rois": np.array([[0, 0, far, 1]], np.float32)})
    with pytest.raises(EvaluationError, match="of image 2, there are 2"):
        interpreted(module, {**feeds, "rois": REGIONS[:1], "images": np.array([2])})


@pytest.mark.parametrize("scale", [1.0, 0.5, 1.7])
@pytest.mark.parametrize("shape", [[2, 3], [1, 1], [5, 4]], ids=str)
def test_max_roi_pool(shape: list[int], scale: float) -> None:
    """Imported, and as it is written again."""
    rois = np.concatenate([np.array([[1], [0], [1], [0], [0]]), [*REGIONS, [8, 8, 9, 9]]], axis=1).astype(np.float32)
    feeds = {"x": IMAGE, "rois": rois}
    node = one("MaxRoiPool", "x", "rois", pooled_shape=shape, spatial_scale=scale)
    module = check(model([node], feeds, opset=13), feeds)
    PassManager([LegaliseOnnx(opset=13)]).run(module)
    written = onnx.load_from_string(model_bytes(module, opset=13))
    np.testing.assert_array_equal(onnxruntime_outputs(written, feeds)[0], interpreted(module, feeds)[0])


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_non_max_suppression(count: int, center: int) -> None:
    for seed in range(5):
        r = rng(seed)
        numbers = [np.array(r.integers(1, 20)), np.array([r.random()], np.float32), np.array(r.random(), np.float32)]
        boxes = r.random((2, 40, 4)).astype(np.float32)
        scores = np.round(r.random((2, 3, 40)), 2).astype(np.float32)  # rounded: some are equal
        feeds = dict(zip("abcde", [boxes, scores, *numbers][:count], strict=False))
        both_ways(one("NonMaxSuppression", *feeds, center_point_box=center), feeds, list("cde")[: count - 2], 11)


@pytest.mark.parametrize("limit", [7, 300, 5000])
def test_non_max_suppression_of_many_boxes(limit: int) -> None:
    corners = rng(0).random((1, 2000, 2)) * 30
    boxes = np.concatenate([corners, corners + rng(1).random((1, 2000, 2)) * 3], axis=2).astype(np.float32)
    feeds = {"b": boxes, "s": rng(2).random((1, 2, 2000)).astype(np.float32)}
    constants = {"m": np.array(limit), "t": np.array(0.3, np.float32)}
    check(model([one("NonMaxSuppression", *"bsmt")], feeds, constants=constants, opset=11), feeds)


# ------------------------------------------------------------------------ blocks and pooling
@pytest.mark.parametrize(
    ("image", "block", "attributes"),
    [
        ([5, 5], [1, 5], {}),
        ([5, 6], [2, 3], {"strides": [2, 1], "pads": [1, 0, 0, 2], "dilations": [1, 2]}),
        ([4, 5, 3], [1, 2, 3], {"strides": [1, 2, 1], "pads": [0, 1, 1, 0, 1, 1]}),
    ],
)  # fmt: skip
def test_col2im(image: list[int], block: list[int], attributes: dict[str, list[int]]) -> None:
    n = len(image)
    pads, strides = attributes.get("pads", [0] * 2 * n), attributes.get("strides", [1] * n)
    dilations = attributes.get("dilations", [1] * n)
    counts = [
        (d + pads[i] + pads[n + i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1 for i, d in enumerate(image)
    ]
    x = floats(2, 3 * int(np.prod(block)), int(np.prod(counts)))
    feeds = {"x": x, "image": np.array(image), "block": np.array(block)}
    both_ways(one("Col2Im", "x", "image", "block", **attributes), feeds, ["image", "block"], 18)


@pytest.mark.parametrize("opset", [8, 10, 11, 12])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((2, 3, 9, 11), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ((2, 3, 9, 11), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "ceil_mode": 1}),
        ((2, 3, 9, 11), {"kernel_shape": [2, 3], "dilations": [2, 1]}),
        ((2, 3, 9, 11), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ((2, 2, 7), {"kernel_shape": [3]}),
        ((2, 2, 5, 6, 4), {"kernel_shape": [2, 3, 2], "strides": [1, 2, 1]}),
    ],
    ids=str,
)  # fmt: skip
def test_max_pool_with_indices(shape: tuple[int, ...], attributes: dict[str, Any], order: int, opset: int) -> None:
    """Few different numbers: of equal ones the first counts."""
    if opset < 10 and {"ceil_mode", "dilations"} & attributes.keys():
        return
    x = rng(0).integers(-2, 3, shape).astype(np.float32)
    node = one("MaxPool", "x", outputs=["y", "i"], storage_order=order, **attributes)
    check(model([node], {"x": x}, ["y", "i"], opset=opset), {"x": x})


def test_max_pool_indices_of_nothing_but_the_least_number() -> None:
    x = np.full((1, 1, 2, 2), -np.inf, np.float32)
    x[0, 0, 1, 1] = np.nan
    node = one("MaxPool", "x", outputs=["y", "i"], kernel_shape=[2, 1], pads=[1, 0, 0, 0])
    y, i = interpreted(imported(model([node], {"x": x}, ["y", "i"], opset=12)), {"x": x})
    np.testing.assert_array_equal(y, [[[[-np.inf, -np.inf], [-np.inf, np.nan]]]])
    assert i.tolist() == [[[[0, 1], [0, 3]]]]


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3, 2]},
        {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "strides": [2, 3], "ceil_mode": 1},
        {"kernel_shape": [1, 2], "strides": [3, 3], "ceil_mode": 1},
        {"kernel_shape": [2, 3], "dilations": [2, 1], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 2], "auto_pad": "SAME_LOWER", "strides": [2, 2], "ceil_mode": 1},
    ],
    ids=str,
)
def test_lp_pool(attributes: dict[str, Any], p: int) -> None:
    x = floats(2, 3, 9, 8)
    check(model([one("LpPool", "x", p=p, **attributes)], {"x": x}, opset=18), {"x": x}, rtol=1e-4, atol=1e-5)
    if not {"ceil_mode", "dilations"} & attributes.keys():
        check(model([one("LpPool", "x", p=p, **attributes)], {"x": x}, opset=11), {"x": x}, rtol=1e-4, atol=1e-5)
    check(model([one("GlobalLpPool", "x", p=p)], {"x": x}, opset=2), {"x": x}, rtol=1e-4, atol=1e-5)


def test_lp_pool_1_has_a_float_and_f16_does_not_overflow() -> None:
    """Of numbers of 300 the squares are no f16 numbers."""
    x = np.full((1, 1, 2, 2), 300, np.float16)
    for kind, attributes in (("LpPool", {"kernel_shape": [2, 2]}), ("GlobalLpPool", {})):
        for opset in (1, 18):
            p: Any = 2.0 if opset == 1 else 2
            (y,) = interpreted(imported(model([one(kind, "x", p=p, **attributes)], {"x": x}, opset=opset)), {"x": x})
            assert y.dtype == np.float16
            assert y.tolist() == [[[[600]]]]
    (y,) = interpreted(imported(model([one("GlobalLpPool", "x", p=0.5)], {"x": x}, opset=1)), {"x": x})
    assert y.tolist() == [[[[4800]]]]
    with pytest.raises(OnnxAttributeError, match="p must be positive"):
        imported(model([one("GlobalLpPool", "x", p=0)], {"x": x}, opset=2))
    with pytest.raises(OnnxAttributeError, match="kernel_shape"):
        imported(model([one("LpPool", "x")], {"x": x}, opset=1))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_nhwc_max_pool(dtype: Any) -> None:
    x = rng(0).integers(0, 100, (2, 9, 8, 3)).astype(dtype)
    attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "dilations": [1, 2], "ceil_mode": 1}
    check(model([one("NhwcMaxPool", "x", domain="com.microsoft", **attributes)], {"x": x}), {"x": x})


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("opset", [10, 19])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 2, 1]], ids=str)
def test_average_pool_beyond_the_padding(pads: list[int], opset: int, include: int) -> None:
    x = floats(2, 3, 9, 8)
    node = one(
        "AveragePool", "x", kernel_shape=[3, 2], strides=[2, 3], pads=pads, ceil_mode=1, count_include_pad=include
    )
    check(model([node], {"x": x}, opset=opset), {"x": x})


@pytest.mark.parametrize("opset", [9, 11])
def test_max_unpool_puts_back_what_max_pool_took(opset: int) -> None:
    x = floats(2, 3, 6, 8)
    pool = one("MaxPool", "x", outputs=["m", "i"], kernel_shape=[2, 2], strides=[2, 2])
    check(
        model([pool, one("MaxUnpool", "m", "i", kernel_shape=[2, 2], strides=[2, 2])], {"x": x}, opset=opset), {"x": x}
    )


@pytest.mark.parametrize("shape", [[2, 1, 5, 6], [2, 1, 4, 4]], ids=str)
def test_max_unpool_into_another_shape(shape: list[int]) -> None:
    """Elements keep their coordinates, as in onnx's evaluator (onnxruntime counts in the shape that is asked for)."""
    feeds = {"x": floats(2, 1, 2, 2), "i": np.array([[5, 7, 13, 15], [16, 19, 24, 31]]).reshape(2, 1, 2, 2)}
    node = one("MaxUnpool", "x", "i", "shape", kernel_shape=[2, 2], strides=[2, 2])
    want = np.zeros(shape, np.float32)
    want[:, :, :4, :4] = np.zeros(32, np.float32).reshape(2, 1, 4, 4)
    inner = np.zeros(32, np.float32)
    inner[feeds["i"].reshape(-1)] = feeds["x"].reshape(-1)
    want[:, :, :4, :4] = inner.reshape(2, 1, 4, 4)
    run_time = {**feeds, "shape": np.array(shape)}
    (got,) = interpreted(imported(model([node], run_time, opset=11)), run_time)
    np.testing.assert_array_equal(got, want)
    (got,) = interpreted(imported(model([node], feeds, constants={"shape": np.array(shape)}, opset=11)), feeds)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("target", [[3, 8], [10, 10], [4, 3], [5, 6]], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.bool_])
def test_center_crop_pad(target: list[int], dtype: Any) -> None:
    feeds = {"x": (floats(5, 2, 6) * 9).astype(dtype), "shape": np.array(target)}
    both_ways(one("CenterCropPad", "x", "shape", axes=[0, -1]), feeds, ["shape"], 18)
    whole = {"x": feeds["x"][:, 0], "shape": np.array(target)}
    node = one("CenterCropPad", "x", "shape")
    both_ways(node, whole, ["shape"], 18)
    narrow = {**whole, "shape": np.array(target, np.int32)}  # onnxruntime cannot expand this one
    (got,), (want,) = (interpreted(imported(model([node], f, opset=18)), f) for f in (narrow, whole))
    np.testing.assert_array_equal(got, want)


def test_center_crop_pad_of_another_rank_is_refused() -> None:
    node = one("CenterCropPad", "x", "shape")
    with pytest.raises(OnnxAttributeError, match="2 numbers for 4 axes"):
        imported(model([node], {"x": IMAGE}, constants={"shape": np.array([2, 2])}, opset=18))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_space_to_depth_has_a_mode_since_28(mode: str) -> None:
    x = floats(2, 3, 4, 6)
    proto = model([one("SpaceToDepth", "x", blocksize=2, mode=mode)], {"x": x}, opset=28, ir_version=13)
    (got,) = interpreted(imported(proto), {"x": x})
    want = np.asarray(ReferenceEvaluator(proto).run(None, {"x": x})[0])  # type: ignore[index]
    np.testing.assert_array_equal(got, want)
    back = model([one("DepthToSpace", "y", blocksize=2, mode=mode)], {"y": got}, ["z"], opset=13)
    back.graph.node[0].output[0] = "z"
    np.testing.assert_array_equal(interpreted(imported(back), {"y": got})[0], x)


# ------------------------------------------------------------------------ resampling
@pytest.mark.parametrize("opset", [11, 13, 18, 19])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("height", [1, 3])
def test_crop_and_resize(height: int, mode: str, opset: int) -> None:
    x = floats(1, 2, 6, 6)
    roi = np.array([0, 0, 0.25, -0.25, 1, 1, 0.6, 1.2], np.float32)
    feeds = {"x": x, "roi": roi, "sizes": np.array([1, 2, height, 5])}
    constants = {"scales": np.zeros(0, np.float32)}
    node = one(
        "Resize", "x", "roi", "scales" if opset < 13 else "", "sizes", mode=mode,
        coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=9.0,
    )  # fmt: skip
    check(model([node], feeds, constants=constants, opset=opset), feeds)
    fixed = {"roi": roi, "sizes": feeds["sizes"], **constants}
    module = check(model([node], {"x": x}, constants=fixed, opset=opset), {"x": x})
    assert op_types(module) == ["Resize"]


def test_crop_and_resize_by_scales_and_named_axes() -> None:
    x, roi = floats(1, 6, 6, 2), np.array([0.2, 0.1, 0.7, 0.9], np.float32)
    feeds = {"x": x, "roi": roi, "scales": np.array([0.5, 1.5], np.float32)}
    node = one(
        "Resize", "x", "roi", "scales", mode="linear", axes=[2, 1], coordinate_transformation_mode="tf_crop_and_resize"
    )
    both_ways(node, feeds, ["roi", "scales"], 18)
    with pytest.raises(OnnxAttributeError, match="needs roi"):
        bare = one("Resize", "x", "", "scales", mode="linear", coordinate_transformation_mode="tf_crop_and_resize")
        imported(model([bare], {"x": x}, constants={"scales": np.ones(4, np.float32)}, opset=18))


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_that_keeps_the_aspect_ratio(mode: str, policy: str) -> None:
    feeds = {"x": floats(1, 2, 5, 7), "sizes": np.array([9, 8])}
    node = one("Resize", "x", "", "", "sizes", mode=mode, axes=[2, 3], keep_aspect_ratio_policy=policy)
    both_ways(node, feeds, ["sizes"], 18)


def test_aligned_corners_take_the_fractional_extent() -> None:
    """Suite case test_resize_downsample_scales_linear_align_corners: 4 * 0.6 = 2.4 stands in the formula, not 2."""
    x = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4)
    node = one("Resize", "x", "", "scales", mode="linear", coordinate_transformation_mode="align_corners")
    scales = {"scales": np.array([1, 1, 0.6, 0.6], np.float32)}
    module = imported(model([node], {"x": x}, constants=scales, opset=19))
    np.testing.assert_allclose(interpreted(module, {"x": x})[0], [[[[1, 3.142857]]]], rtol=1e-6)
    PassManager([LegaliseOnnx(opset=19)]).run(module)
    written = onnx.load_from_string(model_bytes(module, opset=19))  # spelled out: onnxruntime would take 2
    np.testing.assert_allclose(onnxruntime_outputs(written, {"x": x})[0], [[[[1, 3.142857]]]], rtol=1e-6)


@pytest.mark.parametrize(("mode", "name"), [("nearest", "nearest"), ("bilinear", "linear")])
def test_upsample_of_every_version(mode: str, name: str) -> None:
    """Version 1, which onnxruntime does not have, is version 7 with the two scales named."""
    x = floats(1, 2, 4, 5)
    first = one("Upsample", "x", mode=mode, height_scale=2.0, width_scale=1.5)
    second = one("Upsample", "x", mode=name, scales=[1.0, 1.0, 2.0, 1.5])
    (got,) = interpreted(imported(model([first], {"x": x}, opset=1)), {"x": x})
    (want,) = onnxruntime_outputs(model([second], {"x": x}, opset=7), {"x": x})
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    with pytest.raises(OnnxAttributeError, match="width_scale"):
        imported(model([one("Upsample", "x", height_scale=2.0)], {"x": x}, opset=1))


# ------------------------------------------------------------------------ files
def encoded(kind: str, pixels: Array) -> Array:
    """An image file's bytes."""
    pillow: Any = importlib.import_module("PIL.Image")
    with io.BytesIO() as file:
        pillow.fromarray(pixels).save(file, format=kind)
        return np.frombuffer(file.getvalue(), np.uint8)


def decoder(pixel_format: str) -> Any:
    return imported(
        model(
            [one("ImageDecoder", "x", pixel_format=pixel_format)],
            {"x": (TensorProto.UINT8, ["n"])},
            opset=20,
        )
    )


@pytest.mark.parametrize("kind", ["bmp", "png", "ppm", "tiff"])
def test_image_decoder(kind: str) -> None:
    pixels = rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    data = {"x": encoded(kind, pixels)}
    np.testing.assert_array_equal(interpreted(decoder("RGB"), data)[0], pixels)
    np.testing.assert_array_equal(interpreted(decoder("BGR"), data)[0], pixels[..., ::-1])
    (gray,) = interpreted(decoder("Grayscale"), data)
    assert gray.shape == (7, 5, 1)
    assert np.abs(gray[..., 0] - pixels @ [0.299, 0.587, 0.114]).max() <= 1


def test_image_decoder_of_an_image_without_colours() -> None:
    gray = rng(0).integers(0, 256, (3, 4)).astype(np.uint8)
    (got,) = interpreted(decoder("RGB"), {"x": encoded("png", gray)})
    np.testing.assert_array_equal(got, np.repeat(gray[..., None], 3, axis=2))


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_what_is_no_image_has_no_pixels(data: bytes) -> None:
    (got,) = interpreted(decoder("RGB"), {"x": np.frombuffer(data, np.uint8)})
    assert got.shape == (0, 0, 3)
    assert got.dtype == np.uint8


def test_image_decoder_names_pillow_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *rest)

    module = decoder("RGB")
    monkeypatch.setattr("uair.ops.image.importlib.import_module", missing)
    with pytest.raises(EvaluationError, match="needs Pillow") as caught:
        interpreted(module, {"x": np.zeros(3, np.uint8)})
    assert "uair[image]" in str(caught.value)


# ------------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("node", "feeds", "words"),
    [
        (one("GridSample", "x", "g", mode="bilinear"), {"g": floats(2, 2, 2, 2)}, "expected 'linear'"),
        (one("MaxRoiPool", "x", "g"), {"g": floats(1, 5)}, "'pooled_shape' is missing"),
        (one("MaxRoiPool", "x", "g", pooled_shape=[2]), {"g": floats(1, 5)}, "needs height and width"),
        (one("MaxUnpool", "x", "g", kernel_shape=[2]), {"g": np.zeros((2, 3, 5, 6), np.int64)}, "for 2 axes"),
        (one("ImageDecoder", "x", pixel_format="CMYK"), {}, "expected 'RGB'"),
    ],
    ids=lambda v: v.op_type if isinstance(v, onnx.NodeProto) else None,
)
def test_wrong_attributes_are_refused(node: Any, feeds: dict[str, Array], words: str) -> None:
    with pytest.raises(UairError, match=words) as caught:
        imported(model([node], {"x": IMAGE, **feeds}, opset=20))
    assert not isinstance(caught.value, OnnxOperatorError)
    assert node.op_type in str(caught.value)
    assert helper.printable_node(node)
