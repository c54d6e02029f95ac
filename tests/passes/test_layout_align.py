"""Layout alignment: the same values, conversions where they must be, a report that counts right."""

from __future__ import annotations

import functools
from collections import Counter

import numpy as np
import pytest

import uair
from tests import zoo
from tests.codegen.ascend import models
from uair.codegen.ascend.lower import LowerToAscend
from uair.ir import DType, Module, Node, Tensor, TensorType
from uair.ir.layout import Layout
from uair.ops import (
    Add,
    AvgPool2D,
    Concat,
    Conv2D,
    MaxPool2D,
    Pack,
    Pad,
    Relu,
    Reshape,
    Sigmoid,
    Split,
    Transpose,
    Unpack,
)
from uair.passes.layout_align import LayoutAlign
from uair.passes.plan import device_layout
from uair.passes.quantize_int8 import QuantizeInt8
from uair.pipeline import PassContext, PassManager, SpecViolation
from uair.rewrite import Fuel
from uair.targets import description_names, load_description


def align(module: Module, **options: object) -> tuple[Module, PassContext]:
    """An aligned copy, verified; the original stays."""
    copy, context = module.clone(), PassContext()
    PassManager([LayoutAlign(**options)], context=context).run(copy)  # type: ignore[arg-type]
    return copy, context


def kinds(module: Module) -> list[str]:
    return [n.op_type for n in module.main]


def conversions(module: Module) -> int:
    return sum(isinstance(n.op, (Pack, Unpack)) for n in module.main)


def layouts(module: Module) -> dict[str, str]:
    return {n.name: str(n.outputs[0].type.layout) for n in module.main if n.name}


def conv(b: models.Builder, name: str, x: Tensor, out: int, kernel: int = 1) -> Tensor:
    channels = x.type.dims[1]
    assert isinstance(channels, int)
    pads = (kernel // 2,) * 4
    return b.add(name, Conv2D(pads=pads), x, b.weight(f"{name}.w", out, channels, kernel, kernel))


def assert_same(module: Module, aligned: Module, *, exact: bool = True) -> None:
    for feeds in models.samples(module, 2):
        want, got = uair.run(module, feeds), uair.run(aligned, feeds)
        for name, expected in want.items():
            if exact:
                np.testing.assert_array_equal(got[name], expected)
            else:
                np.testing.assert_allclose(got[name], expected, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- real models
@functools.cache
def prepared(name: str) -> tuple[Module, dict[str, uair.Array]]:
    """A model of the zoo, bound and optimised, and one input."""
    model = zoo.models()[name]
    module = uair.load(model.path)
    from uair.passes.bind_shapes import BindShapes

    PassManager([BindShapes(shapes=dict(model.shapes), static=True)], []).run(module)
    return uair.optimize(module), dict(model.feeds())


@pytest.mark.parametrize("name", ["ppocr_cls", "yolo", "shufflenet_real", "inception_v1_real", "basic_pitch", "bert"])
def test_real_models_compute_the_same(name: str) -> None:
    module, feeds = prepared(name)
    aligned, _ = align(module)
    want, got = uair.run(module, feeds), uair.run(aligned, feeds)
    for key, expected in want.items():
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(got[key], expected, rtol=0, atol=1e-5 * scale)


def test_a_detector_is_converted_at_its_borders_only() -> None:
    aligned, _ = align(prepared("yolo")[0])
    counts = Counter(kinds(aligned))
    assert counts["Split"] > 5 and counts["Concat"] > 5
    assert counts["Pack"] <= 2 and counts["Unpack"] <= 4


@pytest.mark.parametrize("name", ["ppocr_cls", "yolo"])
def test_quantized_models_compute_the_same(name: str) -> None:
    module = prepared(name)[0].clone()
    data = zoo.models()[name].calibration(2)
    scheme = load_description("ascend310").quantization
    assert scheme is not None
    quantize = QuantizeInt8(scheme=scheme.scheme, samples=data, range="minmax", quality=False, weight_search=False)
    PassManager([quantize, LowerToAscend()]).run(module)
    aligned, context = align(module)
    want, got = uair.run(module, data[0]), uair.run(aligned, data[0])
    for key, expected in want.items():
        scale = float(np.abs(expected).max())
        assert np.abs(got[key] - expected).max() <= 0.02 * scale, "a last bit may turn an integer, no more"
    maps = [n.output for n in aligned.main if n.op_type == "AscendQuant" and n.output.type.rank == 4]
    plain = [t for t in maps if not t.type.layout.is_blocked]
    assert {str(t.type.layout) for t in maps if t not in plain} == {"NC1HWC0<32>"}
    assert len(plain) <= 2, "only what reads plain tensors: the model's input"
    readers = [user for t in plain for user in t.users]
    assert all(isinstance(user.op, Pack) for user in readers), "integers are packed, not what they come from"
    assert len(context.reports["layout"]["lanes"]) == sum(n.op_type == "IntegerConv2D" for n in aligned.main)


# ------------------------------------------------------------------------------------------------------ where blocks go
def test_convolutions_are_blocked_and_what_follows_keeps_it() -> None:
    b = models.Builder()
    t = conv(b, "first", b.input("x", 1, 16, 8, 8), 32, 3)
    t = b.add("relu", Relu(), t)
    t = b.add("pool", MaxPool2D(kernel=(2, 2), strides=(2, 2)), t)
    t = b.add("mean", AvgPool2D(kernel=(2, 2)), t)
    t = conv(b, "second", t, 16)
    module = b.module("m", y=t)
    aligned, _ = align(module)
    assert kinds(aligned) == ["Pack", "Conv2D", "Relu", "MaxPool2D", "AvgPool2D", "Conv2D", "Unpack"]
    assert_same(module, aligned)


def test_blocks_are_those_of_the_element_type() -> None:
    pass_ = LayoutAlign()
    assert [pass_.block(t) for t in (DType.F32, DType.F16, DType.I8, DType.U8)] == [16, 16, 32, 32]
    assert pass_.block(DType.I32) == 8, "not listed: as many bytes as the blocks of float16"
    assert [LayoutAlign("rk3588").block(t) for t in (DType.F32, DType.I8)] == [8, 16]
    assert [LayoutAlign("c920").block(t) for t in (DType.F32, DType.I8)] == [8, 8]
    assert LayoutAlign("cpu").block(DType.F32) == 1


def test_other_operators_get_plain_tensors() -> None:
    b = models.Builder()
    t = conv(b, "first", b.input("x", 1, 16, 8, 8), 16)
    t = b.add("turn", Transpose(perm=(0, 1, 3, 2)), t)
    t = conv(b, "second", t, 16)
    module = b.module("m", y=t)
    aligned, _ = align(module)
    assert kinds(aligned) == ["Pack", "Conv2D", "Unpack", "Transpose", "Pack", "Conv2D", "Unpack"]
    assert_same(module, aligned)


def test_a_tensor_is_converted_once_for_all_its_users() -> None:
    b = models.Builder()
    x = b.input("x", 1, 16, 8, 8)
    t = b.add("sum", Add(), conv(b, "a", x, 16), conv(b, "c", x, 16))
    module = b.module("m", y=t, z=b.add("pad", Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1)), t))
    aligned, _ = align(module)
    assert Counter(kinds(aligned))["Pack"] == 1
    assert Counter(kinds(aligned))["Unpack"] == 1
    assert_same(module, aligned)


def test_outputs_are_dense_whatever_their_rows() -> None:
    b = models.Builder()
    x = b.input("x", 3, 5)
    t = b.add("relu", Relu(), x)
    module = b.module("m", first=t, second=b.add("sigmoid", Sigmoid(), t))
    aligned, _ = align(module)
    assert all(t.type.layout == Layout.PLAIN for t in aligned.main.outputs)
    assert_same(module, aligned)


def test_rows_in_between_are_padded() -> None:
    b = models.Builder()
    t = b.add("relu", Relu(), b.input("x", 3, 5))
    module = b.module("m", y=b.add("sigmoid", Sigmoid(), t))
    aligned, context = align(module)
    inner = next(iter(aligned.main)).output
    assert inner.type.layout.storage_shape((3, 5), 4) == (3, 16), "16 numbers of float16 are 32 bytes"
    row = context.reports["layout"]["tensors"][0]
    assert (row["bytes"], row["stored_bytes"]) == (30, 96)
    assert_same(module, aligned)


@pytest.mark.parametrize("axis", [1, -3])
def test_whole_blocks_are_split_and_joined_as_they_are(axis: int) -> None:
    b = models.Builder()
    t = conv(b, "first", b.input("x", 1, 16, 4, 4), 64)
    split = Node(Split(axis=axis, sizes=(32, 32)), [t], name="split")
    b.graph.append(split)
    left, right = split.outputs
    t = b.add("join", Concat(axis=axis), b.add("relu", Relu(), left), right)
    module = b.module("m", y=conv(b, "second", t, 16))
    aligned, _ = align(module)
    assert kinds(aligned) == ["Pack", "Conv2D", "Split", "Relu", "Concat", "Conv2D", "Unpack"]
    assert_same(module, aligned)


def test_broken_blocks_are_split_plain() -> None:
    b = models.Builder()
    t = conv(b, "first", b.input("x", 1, 16, 4, 4), 32)
    split = Node(Split(axis=1, sizes=(8, 24)), [t], name="split")
    b.graph.append(split)
    module = b.module("m", y=conv(b, "second", split.outputs[0], 16), z=split.outputs[1])
    aligned, _ = align(module)
    assert kinds(aligned) == ["Pack", "Conv2D", "Unpack", "Split", "Pack", "Conv2D", "Unpack"]
    assert_same(module, aligned)


def test_blocks_are_joined_along_rows_whatever_their_channels() -> None:
    b = models.Builder()
    x = b.input("x", 1, 16, 4, 4)
    t = b.add("join", Concat(axis=2), conv(b, "a", x, 20), conv(b, "c", x, 20))
    module = b.module("m", y=conv(b, "second", t, 16))
    aligned, _ = align(module)
    assert conversions(aligned) == 2
    assert_same(module, aligned)


def test_broadcasting_a_channel_is_not_elementwise_on_blocks() -> None:
    b = models.Builder()
    x = b.input("x", 1, 16, 4, 4)
    t = b.add("sum", Add(), conv(b, "wide", x, 32), conv(b, "narrow", x, 1))
    module = b.module("m", y=t)
    aligned, _ = align(module)
    assert layouts(aligned)["sum"] == "plain"
    assert_same(module, aligned)


# ------------------------------------------------------------------------------------------------ padded concatenations
def test_pieces_of_a_concatenation_are_padded_to_whole_blocks() -> None:
    module = models.concat_net()
    aligned, context = align(module)
    (row,) = context.reports["layout"]["padded_channels"]
    assert row == {"node": "joined", "channels": [24, 24], "padded": [32, 32]}
    assert conversions(aligned) == 2
    shapes = {n.name: n.outputs[0].type.dims[1] for n in aligned.main if n.name}
    assert (shapes["left"], shapes["joined"], shapes["read"]) == (32, 64, 16)
    assert_same(module, aligned, exact=False)
    unpadded, _ = align(module, pad_channels=False)
    assert conversions(unpadded) == 5
    assert_same(module, unpadded)


def test_padding_draws_fuel() -> None:
    context = PassContext(fuel=Fuel(limit=0))
    module = models.concat_net()
    LayoutAlign().run(module, context)
    assert context.reports["layout"]["padded_channels"] == []


def unpaddable(kind: str) -> Module:
    b = models.Builder()
    x = b.input("x", 1, 16, 6, 6)
    left, right = conv(b, "left", x, 24), conv(b, "right", x, 24)
    if kind == "made by no convolution":
        split = Node(Split(axis=1, sizes=(24, 24)), [conv(b, "both", x, 48)], name="split")
        b.graph.append(split)
        left, right = split.outputs
    joined = b.add("joined", Concat(axis=1), left, right)
    outputs = {"y": conv(b, "read", joined, 16)}
    if kind == "a piece is an output":
        outputs["left"] = left
    if kind == "the whole is an output":
        outputs["joined"] = joined
    if kind == "read by a reshape":
        outputs["flat"] = b.add("flat", Reshape(shape=(1, -1)), joined)
    if kind == "read in groups":
        grouped = b.add("grouped", Conv2D(groups=2), joined, b.weight("g", 4, 24, 1, 1))
        outputs["grouped"] = grouped
    return b.module("m", **outputs)


@pytest.mark.parametrize(
    "kind",
    [
        "made by no convolution",
        "a piece is an output",
        "the whole is an output",
        "read by a reshape",
        "read in groups",
    ],
)
def test_what_others_see_is_not_padded(kind: str) -> None:
    module = unpaddable(kind)
    aligned, context = align(module)
    assert context.reports["layout"]["padded_channels"] == []
    assert_same(module, aligned)


def test_padding_that_moves_more_than_it_saves_is_left() -> None:
    b = models.Builder()
    x = b.input("x", 1, 16, 6, 6)
    joined = b.add("joined", Concat(axis=1), conv(b, "left", x, 1), conv(b, "right", x, 1))
    _, context = align(b.module("m", y=conv(b, "read", joined, 16)))
    assert context.reports["layout"]["padded_channels"] == []


# --------------------------------------------------------------------------------------------------------------- report
def test_the_report_counts_bytes_units_and_lanes() -> None:
    b = models.Builder()
    t = conv(b, "only", b.input("x", 1, 3, 4, 5), 20)
    _, context = align(b.module("m", y=t))
    report = context.reports["layout"]
    pack, result, unpacked = report["tensors"]
    assert (pack["bytes"], pack["stored_bytes"]) == (3 * 20 * 2, 16 * 20 * 2)
    assert (result["bytes"], result["stored_bytes"]) == (20 * 20 * 2, 32 * 20 * 2)
    assert (unpacked["bytes"], unpacked["stored_bytes"]) == (800, 800)
    assert report["wasted_bytes"] == report["stored_bytes"] - report["bytes"] == 520 + 480
    assert (result["units_dense"], result["units_aligned"]) == (20 * 4 * 2, 40), "rows of 10 bytes straddle units"
    assert report["conversions"] == 2
    assert report["lanes"] == [{"node": "only", "channels": 3, "padded": 16, "used": 3 / 16}]


def test_symbolic_shapes_are_refused() -> None:
    module = uair.load(zoo.models()["ppocr_cls"].path)
    with pytest.raises(SpecViolation, match="static-shapes"):
        PassManager([LayoutAlign()]).run(module)


@pytest.mark.parametrize(
    ("target", "layout"),
    [
        ("ascend310", "NC1HWC0<16>"),
        ("ascend910b", "NC1HWC0<16>"),
        ("rk3588", "NC1HWC2<8>"),
        ("c920", "NC1HWC0<8>"),
        ("horizon_x3", "8W4C"),
    ],
)
def test_layouts_are_those_of_the_device_file(target: str, layout: str) -> None:
    b = models.Builder()
    t = conv(b, "first", b.input("x", 1, 3, 9, 11), 20)
    t = b.add("relu", Relu(), t)
    t = b.add("pool", MaxPool2D(kernel=(2, 2), strides=(2, 2)), t)
    module = b.module("m", y=conv(b, "second", t, 6))
    aligned, _ = align(module, target=target)
    assert layouts(aligned)["relu"] == layout
    assert kinds(aligned) == ["Pack", "Conv2D", "Relu", "MaxPool2D", "Conv2D", "Unpack"]
    assert_same(module, aligned)


@pytest.mark.parametrize("target", ["cpu", "mlu370", "br100", "th1520"])
def test_devices_without_blocks_only_have_rows(target: str) -> None:
    b = models.Builder()
    module = b.module("m", y=b.add("relu", Relu(), conv(b, "first", b.input("x", 1, 3, 9, 11), 20)))
    aligned, context = align(module, target=target)
    assert kinds(aligned) == ["Conv2D", "Relu"]
    assert context.reports["layout"]["conversions"] == 0
    assert context.reports["layout"]["alignment"] == load_description(target).alignment.bytes
    assert_same(module, aligned)


@pytest.mark.parametrize("name", [d for d in description_names() if load_description(d).layouts])
def test_the_plan_and_the_pass_agree(name: str) -> None:
    """Whatever a device file states is what both give a feature map."""
    description = load_description(name)
    for dtype in (DType.F32, DType.F16, DType.I8):
        held = description.device_type(dtype)
        stated = description.image_layout(held)
        tensor = Tensor(TensorType(dtype, (1, 20, 9, 11)))
        if stated is not None and stated.is_blocked:
            assert LayoutAlign(name).blocked_layout(tensor) == stated
        if dtype.is_float:  # what integers are in memory depends on who reads them
            assert device_layout(tensor, description) == stated
