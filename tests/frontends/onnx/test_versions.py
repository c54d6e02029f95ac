"""Operators whose meaning changed with the operator set; judged by onnxruntime, or by hand below opset 7."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.frontends.onnx.models import check, floats, imported, interpreted, model, one, op_types
from uair.errors import UairError
from uair.frontends.onnx import table
from uair.frontends.onnx.errors import OnnxOperatorError

X = floats(2, 3, 4)
IMAGE = floats(1, 2, 4, 5)
ONNXRUNTIME_OWN = {("LayerNormalization", 1)}  # written by onnxruntime before opset 17 had it


def run(node: Any, feeds: dict[str, Any], opset: int, constants: dict[str, Any] | None = None, **more: Any) -> Any:
    """Import and compare with onnxruntime."""
    return check(model([node], feeds, list(node.output), constants=constants, opset=opset), feeds, **more)


@pytest.mark.parametrize("opset", [7, 9, 11, 12, 13, 17])
@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_softmax_flattens_before_13(name: str, opset: int, axis: int | None) -> None:
    attributes = {} if axis is None else {"axis": axis}
    run(one(name, "x", **attributes), {"x": X}, opset)


def test_softmax_of_one_wide_axis_needs_no_reshape() -> None:
    x = floats(1, 10, 1, 1)
    assert op_types(run(one("Softmax", "x"), {"x": x}, 9)) == ["Softmax"]
    assert op_types(run(one("Softmax", "x", axis=1), {"x": X}, 9)) == ["Reshape", "Softmax", "Reshape"]
    assert op_types(run(one("Softmax", "x", axis=2), {"x": X}, 9)) == ["Softmax"]


def test_batch_normalization() -> None:
    constants = {c: np.abs(floats(2, seed=i)) + 0.5 for i, c in enumerate("sbmv")}
    for opset in (7, 9, 14, 15):
        run(one("BatchNormalization", "x", *"sbmv", momentum=0.8), {"x": IMAGE}, opset, constants, rtol=1e-4)
    places = {c: np.abs(floats(2, 4, 5, seed=i)) + 0.5 for i, c in enumerate("sbmv")}
    run(one("BatchNormalization", "x", *"sbmv", spatial=0), {"x": IMAGE}, 7, places, rtol=1e-4)
    node = one("BatchNormalization", "x", *"sbmv", is_test=1)
    assert op_types(imported(model([node], {"x": IMAGE}, constants=constants, opset=6))) == ["BatchNorm"]


def test_batch_normalization_in_training_mode() -> None:
    """Version 6 trains unless told otherwise, 7 and 9 when more results are asked for, 14 and later on demand."""
    constants = {c: np.abs(floats(2, seed=i)) + 0.5 for i, c in enumerate("sbmv")}
    s, b, m, v = (constants[c].reshape(2, 1, 1) for c in "sbmv")
    mean, var = IMAGE.mean((0, 2, 3), keepdims=True), IMAGE.var((0, 2, 3), keepdims=True)
    want = [(IMAGE - mean) / np.sqrt(var + 1e-5) * s + b, m[:, 0, 0] * 0.8 + mean.ravel() * 0.2]
    want += [v[:, 0, 0] * 0.8 + var.ravel() * 0.2, mean.ravel(), var.ravel()]
    for opset in (6, 7, 9):
        names = ["y", "mean", "var", "saved_mean", "saved_var"]
        node = one("BatchNormalization", "x", *"sbmv", momentum=0.8, outputs=names)
        results = interpreted(
            imported(model([node], {"x": IMAGE}, names, constants=constants, opset=opset)), {"x": IMAGE}
        )
        for got, expected in zip(results, want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    for opset in (14, 15):
        node = one("BatchNormalization", "x", *"sbmv", momentum=0.8, training_mode=1, outputs=["y", "mean", "var"])
        run(node, {"x": IMAGE}, opset, constants, rtol=1e-4, atol=1e-5)


def test_batch_normalization_of_mixed_types() -> None:
    constants = {c: np.abs(floats(2, seed=i)) + 0.5 for i, c in enumerate("mv")}
    constants |= {c: floats(2, seed=i).astype(np.float16) for i, c in enumerate("sb")}
    node = one("BatchNormalization", "x", *"sbmv", training_mode=1, outputs=["y", "mean", "var"])
    x = IMAGE.astype(np.float16)
    y, mean, var = interpreted(
        imported(model([node], {"x": x}, ["y", "mean", "var"], constants=constants, opset=15)), {"x": x}
    )
    assert [t.dtype.name for t in (y, mean, var)] == ["float16", "float32", "float32"]
    np.testing.assert_allclose(mean, constants["m"] * 0.9 + x.astype(np.float32).mean((0, 2, 3)) * 0.1, rtol=1e-5)


def test_clip() -> None:
    assert op_types(run(one("Clip", "x", min=-0.5, max=0.5), {"x": X}, 7)) == ["Clip"]
    constants = {"lo": np.array(-0.5, np.float32), "hi": np.array(0.5, np.float32)}
    for opset in (11, 12, 13):
        assert op_types(run(one("Clip", "x", "lo", "hi"), {"x": X}, opset, constants)) == ["Clip"]


@pytest.mark.parametrize("opset", [7, 10, 12, 13])
def test_dropout_is_nothing(opset: int) -> None:
    ratio = {"ratio": 0.3} if opset < 12 else {}
    assert op_types(run(one("Dropout", "x", **ratio), {"x": X}, opset)) == []
    module = imported(model([one("Dropout", "x", outputs=["y", "m"], **ratio)], {"x": X}, ["y", "m"], opset=opset))
    _, mask = interpreted(module, {"x": X})
    assert mask.all()
    assert mask.dtype == (np.float32 if opset < 10 else np.bool_)


def test_pad() -> None:
    pads = [0, 1, 2, 0, 1, 0]
    run(one("Pad", "x", pads=pads, mode="constant", value=2.5), {"x": X}, 7)
    constants = {"p": np.array(pads), "v": np.array(2.5, np.float32)}
    for opset in (11, 13, 18):
        run(one("Pad", "x", "p", "v"), {"x": X}, opset, constants)


def test_slice() -> None:
    run(one("Slice", "x", starts=[1, -3], ends=[9, -1], axes=[1, 2]), {"x": X}, 7)
    run(one("Slice", "x", starts=[1], ends=[2]), {"x": X}, 7)
    constants = {"s": np.array([2, -1]), "e": np.array([0, -4]), "a": np.array([1, 2]), "t": np.array([-1, -2])}
    for opset in (10, 11, 13):
        run(one("Slice", "x", *"seat"), {"x": X}, opset, constants)


def test_split() -> None:
    parts = ["a", "b", "c"]
    run(one("Split", "x", outputs=parts, axis=1), {"x": X}, 7)
    run(one("Split", "x", outputs=parts[:2], axis=-1, split=[1, 3]), {"x": X}, 11)
    run(one("Split", "x", "s", outputs=parts[:2], axis=2), {"x": X}, 13, {"s": np.array([3, 1])})
    run(one("Split", "x", outputs=parts, axis=1, num_outputs=3), {"x": X}, 18)
    with pytest.raises(UairError, match="equal parts"):
        imported(model([one("Split", "x", outputs=parts, axis=2)], {"x": X}, parts, opset=13))


def test_split_of_an_uneven_extent() -> None:
    module = run(one("Split", "x", outputs=["a", "b", "c"], axis=1, num_outputs=3), {"x": floats(2, 8)}, 18)
    assert module.main.outputs[0].producer.attributes["sizes"] == (3, 3, 2)


@pytest.mark.parametrize("opset", [7, 11, 13])
def test_squeeze_and_unsqueeze(opset: int) -> None:
    x = floats(1, 3, 1)
    axes = [0, 2] if opset < 11 else [0, -1]
    if opset < 13:
        run(one("Squeeze", "x", axes=axes), {"x": x}, opset)
        run(one("Unsqueeze", "x", axes=[0, 3]), {"x": X}, opset)
    else:
        run(one("Squeeze", "x", "a"), {"x": x}, opset, {"a": np.array(axes)})
        run(one("Unsqueeze", "x", "a"), {"x": X}, opset, {"a": np.array([-1, 0])})
    run(one("Squeeze", "x"), {"x": x}, opset)


@pytest.mark.parametrize("opset", [7, 11, 12, 13, 18, 20])
@pytest.mark.parametrize("name", ["ReduceMax", "ReduceMean", "ReduceSum", "ReduceL2"])
def test_reductions(name: str, opset: int) -> None:
    if opset >= (13 if name == "ReduceSum" else 18):
        module = run(one(name, "x", "a", keepdims=0), {"x": X}, opset, {"a": np.array([1])}, rtol=1e-4)
    else:
        module = run(one(name, "x", axes=[1], keepdims=0), {"x": X}, opset, rtol=1e-4)
    (node,) = module.main
    assert node.attributes["axes"] == (1,)


def test_top_k() -> None:
    results = ["y", "i"]
    run(one("TopK", "x", "k", outputs=results, axis=1), {"x": X}, 10, {"k": np.array([2])})
    run(one("TopK", "x", "k", outputs=results, largest=0), {"x": X}, 11, {"k": np.array([2])})
    proto = model([one("TopK", "x", outputs=results, k=2, axis=1)], {"x": X}, results, opset=9)
    check(proto, {"x": X})


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_and_resize_10_are_asymmetric(mode: str) -> None:
    scales = np.array([1, 1, 2, 3], np.float32)
    run(one("Upsample", "x", mode=mode, scales=scales.tolist()), {"x": IMAGE}, 7)
    run(one("Upsample", "x", "s", mode=mode), {"x": IMAGE}, 9, {"s": scales})
    module = run(one("Resize", "x", "s", mode=mode), {"x": IMAGE}, 10, {"s": scales})
    assert module.main.outputs[0].producer.attributes["coordinate_mode"] == "asymmetric"


@pytest.mark.parametrize("scales", [(1, 1, 0.6, 0.6), (1, 1, 0.6, 1.7), (1, 1, 2, 0.45)])
def test_resize_10_takes_the_next_element_where_an_axis_shrinks(scales: tuple[float, ...]) -> None:
    node, given = one("Resize", "x", "s", mode="nearest"), np.array(scales, np.float32)
    run(node, {"x": IMAGE}, 10, {"s": given})
    run(node, {"x": IMAGE, "s": given}, 10)


def test_resize_10_as_onnx_tested_it() -> None:
    x = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4)
    proto = model(
        [one("Resize", "x", "s")], {"x": x}, constants={"s": np.array([1, 1, 0.6, 0.6], np.float32)}, opset=10
    )
    assert interpreted(imported(proto), {"x": x})[0].tolist() == [[[[1, 3]]]]


@pytest.mark.parametrize("opset", [11, 13, 18, 19])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
def test_resize(opset: int, mode: str, coordinates: str) -> None:
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    roi = {"r": np.zeros(0, np.float32)}
    by_scale = one("Resize", "x", "r", "s", **attributes)
    even = coordinates == "align_corners"  # an extent of 7.5 stands in the formula, where onnxruntime takes 7
    scales = np.array([1, 1, 2, 1.6 if even else 1.5], np.float32)
    run(by_scale, {"x": IMAGE}, opset, roi | {"s": scales}, rtol=1e-4, atol=1e-5)
    by_size = one("Resize", "x", "r", "", "n", **attributes)
    if opset < 13:  # scales could not be left out yet
        by_size = one("Resize", "x", "r", "e", "n", **attributes)
        roi["e"] = np.zeros(0, np.float32)
    run(by_size, {"x": IMAGE}, opset, roi | {"n": np.array([1, 2, 7, 3])}, rtol=1e-4, atol=1e-5)


def test_resize_at_run_time() -> None:
    node = one("Resize", "x", "", "s", mode="linear")
    run(node, {"x": IMAGE, "s": np.array([1, 1, 2, 1.5], np.float32)}, 13, rtol=1e-4, atol=1e-5)
    node = one("Resize", "x", "", "", "n")
    run(node, {"x": IMAGE, "n": np.array([1, 2, 7, 3])}, 13)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller", "stretch"])
def test_resize_18_axes_and_aspect_ratio(policy: str) -> None:
    node = one("Resize", "x", "", "", "n", axes=[3, 2], keep_aspect_ratio_policy=policy, mode="linear")
    run(node, {"x": IMAGE}, 18, {"n": np.array([9, 6])}, rtol=1e-4, atol=1e-5)
    if policy == "stretch":
        node = one("Resize", "x", "", "s", axes=[3], mode="linear", antialias=1)
        run(node, {"x": IMAGE}, 18, {"s": np.array([0.6], np.float32)}, rtol=1e-4, atol=1e-5)


def test_group_normalization_18_has_parameters_per_group() -> None:
    x = floats(2, 6, 3, 3)
    scale, bias = np.array([1, 2, 3], np.float32), np.array([0.5, 0, -1], np.float32)
    old = model(
        [one("GroupNormalization", "x", "s", "b", num_groups=3)], {"x": x}, constants={"s": scale, "b": bias}, opset=18
    )
    new = model(
        [one("GroupNormalization", "x", "s", "b", num_groups=3)], {"x": x},
        constants={"s": scale.repeat(2), "b": bias.repeat(2)}, opset=21,
    )  # fmt: skip
    grouped = x.reshape(2, 3, -1)
    normal = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + 1e-5)
    want = (normal * scale[:, None] + bias[:, None]).reshape(x.shape)
    for proto in (old, new):
        np.testing.assert_allclose(interpreted(imported(proto), {"x": x})[0], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [10, 13, 19])
def test_quantize_linear(opset: int) -> None:
    constants = {"s": np.array(0.1, np.float32), "z": np.array(5, np.uint8)}
    run(one("QuantizeLinear", "x", "s", "z"), {"x": X}, opset, constants)


def test_quantize_linear_21_names_its_type() -> None:
    node = one("QuantizeLinear", "x", "s", output_dtype=TensorProto.INT16)
    run(node, {"x": X}, 21, {"s": np.array(1e-3, np.float32)})
    scales = np.abs(floats(2, 3, 2, seed=3)) + 1e-3
    run(
        one("QuantizeLinear", "x", "s", block_size=2, axis=2, output_dtype=TensorProto.INT16),
        {"x": X},
        21,
        {"s": scales},
    )


@pytest.mark.parametrize("opset", [7, 8, 10, 12])
def test_max_pool(opset: int) -> None:
    run(one("MaxPool", "x", kernel_shape=[2, 3], pads=[0, 1, 1, 1]), {"x": IMAGE}, opset)


@pytest.mark.parametrize("opset", [7, 10, 11, 19, 22])
def test_average_pool(opset: int) -> None:
    run(one("AveragePool", "x", kernel_shape=[2, 3], pads=[0, 1, 1, 1]), {"x": IMAGE}, opset)


def test_scatter() -> None:
    feeds = {"x": X, "i": np.array([[[0, 2]]]), "u": floats(1, 1, 2, seed=1)}
    run(one("Scatter", "x", "i", "u", axis=2), feeds, 9)
    for opset in (11, 13, 16, 18):
        run(one("ScatterElements", "x", "i", "u", axis=-1), feeds, opset)


def test_constant_of_every_version() -> None:
    for opset in (7, 9, 11, 12, 13, 19, 21):
        value = onnx.numpy_helper.from_array(X)
        module = imported(model([one("Constant", value=value)], {}, opset=opset))
        np.testing.assert_array_equal(module.main.outputs[0].numpy(), X)


def test_cast_1_names_its_type() -> None:
    module = imported(model([one("Cast", "x", to="INT32")], {"x": X}, opset=1))
    assert interpreted(module, {"x": X})[0].dtype == np.int32
    with pytest.raises(UairError, match="no element type"):
        imported(model([one("Cast", "x", to="INT33")], {"x": X}, opset=1))


# ---------------------------------------------------------------------------- before 7
@pytest.mark.parametrize("opset", [1, 6])
def test_broadcasting_by_attributes(opset: int) -> None:
    x, b = floats(2, 3, 4, 5), floats(3, 4, seed=1)
    for name, function in (("Add", np.add), ("Mul", np.multiply), ("Div", np.divide)):
        node = one(name, "x", "b", broadcast=1, axis=1)
        module = imported(model([node], {"x": x, "b": b}, opset=opset))
        np.testing.assert_allclose(interpreted(module, {"x": x, "b": b})[0], function(x, b[..., None]), rtol=1e-6)
    b = floats(4, 5, seed=1)
    module = imported(model([one("Add", "x", "b", broadcast=1)], {"x": x, "b": b}, opset=opset))
    np.testing.assert_allclose(interpreted(module, {"x": x, "b": b})[0], x + b, rtol=1e-6)
    with pytest.raises(UairError, match="does not fit"):
        imported(model([one("Add", "x", "b", broadcast=1, axis=3)], {"x": x, "b": b}, opset=opset))


def test_old_forms_of_shape_operators() -> None:
    module = imported(model([one("Reshape", "x", shape=[0, -1])], {"x": X}, opset=1))
    assert interpreted(module, {"x": X})[0].shape == (2, 12)
    module = imported(model([one("Pad", "x", paddings=[0, 0, 1, 0, 0, 1])], {"x": X}, opset=1))
    assert interpreted(module, {"x": X})[0].shape == (2, 3, 6)
    module = imported(model([one("Concat", "x", "x")], {"x": X}, opset=1))
    assert interpreted(module, {"x": X})[0].shape == (2, 6, 4)


# ------------------------------------------------------------------------------- table
def test_every_handler_names_versions_that_exist() -> None:
    history: dict[str, set[int]] = {}
    for found in onnx.defs.get_all_schemas_with_history():
        if not found.domain:
            history.setdefault(found.name, set()).add(found.since_version)
    for domain, op_type, version in table.handlers():
        if not domain and op_type in history and (op_type, version) not in ONNXRUNTIME_OWN:
            assert version in history[op_type], (op_type, version)


def test_known_operators_are_known_in_every_version_since_7() -> None:
    """A gap would be an oversight: the exceptions are listed."""
    known: dict[str, set[int]] = {}
    for domain, op_type, version in table.handlers():
        if not domain:
            known.setdefault(op_type, set()).add(version)
    gaps = []
    for op_type, versions in known.items():
        for opset in range(7, onnx.defs.onnx_opset_version() + 1):
            found = table.schema("", op_type, opset)
            if found is not None and not found.deprecated and found.since_version not in versions:
                gaps.append((op_type, found.since_version))
    assert sorted(set(gaps)) == []


def test_a_version_nobody_has_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {k: v for k, v in table.handlers().items() if k != ("", "Abs", 13)}
    monkeypatch.setattr("uair.frontends.onnx.importer.handlers", lambda: without)
    with pytest.raises(OnnxOperatorError, match="Abs version 13 is not known"):
        imported(model([one("Abs", "x")], {"x": X}))
