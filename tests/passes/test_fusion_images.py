"""Fusion of what models spell out over images: normalizations of channels, blocks as channels, poolings in a row."""

from __future__ import annotations

import pytest

from tests.passes.test_fusion import fused, ops, vector
from uair.ops import DepthToSpace, InstanceNorm, MaxPool2D, SpaceToDepth
from uair.passes.fusion.blocks import FoldBlocksIntoConvolution, RecognizeBlocks
from uair.passes.fusion.channel_norms import RecognizeGroupNorm
from uair.passes.fusion.pooling import ChainMaxPools
from uair.passes.simplify import Simplify
from uair.testing import assert_keeps, assert_rewrites

SCALE = "constant @s = [1.5,-0.5,2.0,0.25] : f32[4,1,1]  "
SHIFT = "constant @b = [0.5,1.0,-2.0,0.125] : f32[1,4,1,1]  "


# ------------------------------------------------------------------------------------------------------ normalizations
@pytest.mark.parametrize("norm", ["InstanceNorm(%a)", "LayerNorm(%a) {axis = 2}", "InstanceNorm(%a, @g, @h)"])
@pytest.mark.parametrize("shape", ["2,4,3,3", "2,4,5"])
def test_group_norm_is_recognized_with_its_parameters(norm: str, shape: str) -> None:
    text = (
        vector("g", 1.0, 3.0) + vector("h", 0.5, -0.25) + SCALE.replace("4,1,1", "1,4,1" if len(shape) < 6 else "4,1,1")
    )
    length = 18 if len(shape) > 6 else 10
    text += f"%x: f32[{shape}]  %a = Reshape(%x) {{shape = [2,2,{length}]}}  %n = {norm}  "
    module = fused(text + f"%r = Reshape(%n) {{shape = [{shape}]}}  %m = Mul(%r, @s)  %y = Sub(%m, @s)", 1e-5)
    (node,) = module.main
    assert node.op_type == "GroupNorm" and node.attributes["groups"] == 2 and len(node.inputs) == 3


def test_groups_of_one_channel_are_instance_norm() -> None:
    text = "%x: f32[2,3,4,4]  %a = Reshape(%x) {shape = [2,3,16]}  %n = LayerNorm(%a) {axis = 2, epsilon = 0.01}  "
    (node,) = fused(text + "%y = Reshape(%n) {shape = [2,3,4,4]}").main
    assert node.op == InstanceNorm(epsilon=0.01) and len(node.inputs) == 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("%a = Reshape(%x) {shape = [2,3,12]}  %n = InstanceNorm(%a)  "
                     "%y = Reshape(%n) {shape = [2,4,3,3]}", id="three-groups-of-four-channels"),
        pytest.param("%a = Reshape(%x) {shape = [4,2,9]}  %n = InstanceNorm(%a)  "
                     "%y = Reshape(%n) {shape = [2,4,3,3]}", id="the-batch-is-divided"),
        pytest.param("%a = Reshape(%x) {shape = [2,2,18]}  %n = InstanceNorm(%a)  "
                     "%y = Reshape(%n) {shape = [2,4,9]}", id="another-shape-behind"),
        pytest.param("%a = Reshape(%x) {shape = [2,2,2,9]}  %n = LayerNorm(%a) {axis = 3}  "
                     "%y = Reshape(%n) {shape = [2,4,3,3]}", id="every-channel-by-itself"),
    ],
)  # fmt: skip
def test_other_normalizations_between_reshapes_stay(text: str) -> None:
    assert_keeps([RecognizeGroupNorm()], "%x: f32[2,4,3,3]  " + text)


def test_group_norm_of_an_open_batch() -> None:
    assert_rewrites(
        [RecognizeGroupNorm()],
        before="%x: f32[n,4,3,3]  %a = Reshape(%x) {shape = [n,2,18]}  %b = InstanceNorm(%a)"
        "  %y = Reshape(%b) {shape = [n,4,3,3]}",
        after="%x: f32[n,4,3,3]  %y = GroupNorm(%x) {groups = 2}",
    )


def test_instance_norm_is_recognized_where_the_scale_is_by_channel() -> None:
    text = SCALE + SHIFT + "%x: f32[2,4,3,3]  %n = LayerNorm(%x) {axis = 2}  %m = Mul(@s, %n)  %y = Add(%m, @b)"
    (node,) = fused(text).main
    assert node.op_type == "InstanceNorm" and len(node.inputs) == 3
    by_place = "constant @p = [1.0,2.0,3.0] : f32[3]  %x: f32[2,4,3,3]  %n = LayerNorm(%x) {axis = 2}  %y = Mul(%n, @p)"
    assert ops(fused(by_place)) == ["LayerNorm", "Mul"]
    number = "constant @p = 2.0 : f32[]  %x: f32[2,4,3,3]  %n = LayerNorm(%x) {axis = 2}  %y = Mul(%n, @p)"
    assert ops(fused(number)) == ["LayerNorm", "Mul"]


@pytest.mark.parametrize("back", ["Reshape(%m) {shape = [2,1,3,1]}", "Unsqueeze(%m) {axes = [1,3]}"])
def test_reduced_axes_that_come_back_are_kept(back: str) -> None:
    text = f"%x: f32[2,5,3,4]  %m = ReduceMean(%x) {{axes = [1,3], keepdims = false}}  %y = {back}"
    assert_rewrites(Simplify(), before=text, after="%x: f32[2,5,3,4]  %y = ReduceMean(%x) {axes = [1,3]}")


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceL2"])
def test_only_means_keep_their_axes(op: str) -> None:
    module = fused(
        f"%x: f32[2,5,3,4]  %m = {op}(%x) {{axes = [1,3], keepdims = false}}  %y = Unsqueeze(%m) {{axes = [1,3]}}"
    )
    assert ops(module) == [op, "Unsqueeze"]


@pytest.mark.parametrize("back", ["Reshape(%m) {shape = [2,3,1,1]}", "Unsqueeze(%m) {axes = [0]}"])
def test_reduced_axes_that_come_back_elsewhere_are_not_kept(back: str) -> None:
    module = fused(f"%x: f32[2,5,3,4]  %m = ReduceMean(%x) {{axes = [1,3], keepdims = false}}  %y = {back}")
    assert ops(module)[0] == "ReduceMean" and len(ops(module)) == 2


# -------------------------------------------------------------------------------------------------------------- blocks
def weight(*shape: int) -> str:
    size = 1
    for extent in shape:
        size *= extent
    values = ",".join(str((i * 7 % 11 - 5) / 4) for i in range(size))
    return f"constant @w = [{values}] : f32[{','.join(map(str, shape))}]  "


def piece(name: str, row: int, column: int, rows: int = 4, columns: int = 6, step: int = 2) -> str:
    return (
        f"%{name} = Slice(%x) {{axes = [2,3], starts = [{row},{column}], ends = [{rows},{columns}], "
        f"steps = [{step},{step}]}}  "
    )


FOCUS = piece("a", 0, 0) + piece("b", 1, 0) + piece("c", 0, 1) + piece("d", 1, 1)
JOINED = "%e = Concat({}) {{axis = 1}}  "


@pytest.mark.parametrize("order", ["%a, %b, %c, %d", "%d, %a, %c, %b"])
@pytest.mark.parametrize("bias", ["", ", @b"])
def test_the_focus_layer_goes_into_its_convolution(order: str, bias: str) -> None:
    text = weight(2, 8, 3, 3) + vector("b", 0.5, -1.0) + "%x: f32[2,2,4,6]  " + FOCUS + JOINED.format(order)
    module = fused(text + f"%y = Conv2D(%e, @w{bias}) {{pads = [1,1,1,1]}}")
    (node,) = module.main
    assert node.op_type == "Conv2D" and node.attributes["strides"] == (2, 2)
    assert node.attributes["pads"] == (2, 2, 2, 2)


BLOCKS = {
    "space to depth": "%e = SpaceToDepth(%x) {block = 2}  ",
    "space to depth, channels first": '%e = SpaceToDepth(%x) {block = 2, mode = "CRD"}  ',
    "pixel unshuffle": "%p = Reshape(%x) {shape = [2,2,2,2,3,2]}  %q = Transpose(%p) {perm = [0,1,3,5,2,4]}  "
    "%e = Reshape(%q) {shape = [2,8,2,3]}  ",
}


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("convolution", ["{strides = [2,1], pads = [0,1,1,0]}", ""])
def test_other_blocks_go_into_their_convolution(kind: str, convolution: str) -> None:
    module = fused(weight(3, 8, 2, 3) + "%x: f32[2,2,4,6]  " + BLOCKS[kind] + f"%y = Conv2D(%e, @w) {convolution}")
    assert ops(module) == ["Conv2D"]


@pytest.mark.parametrize(
    ("pieces", "conv", "shape"),
    [
        pytest.param(FOCUS + JOINED.format("%a, %b, %c, %c"), "", (2, 8, 1, 1), id="a-piece-twice"),
        pytest.param(FOCUS + JOINED.format("%a, %b"), "", (2, 4, 1, 1), id="half-of-the-pixels"),
        pytest.param(FOCUS + JOINED.format("%a, %b, %c, %d"), "{groups = 2}", (2, 4, 1, 1), id="groups"),
        pytest.param(FOCUS + JOINED.format("%a, %b, %c, %d"), "{dilations = [2,2]}", (2, 8, 1, 1), id="dilations"),
        pytest.param(FOCUS + "%e = Concat(%a, %b, %c, %d) {axis = 0}  ", "", (2, 2, 1, 1), id="another-axis"),
        pytest.param(piece("a", 0, 0, 2) + piece("b", 1, 0, 2) + piece("c", 0, 1, 2) + piece("d", 1, 1, 2)
                     + JOINED.format("%a, %b, %c, %d"), "", (2, 8, 1, 1), id="only-the-upper-rows"),
    ],
)  # fmt: skip
def test_other_pieces_do_not_go_into_a_convolution(pieces: str, conv: str, shape: tuple[int, ...]) -> None:
    text = weight(*shape) + "%x: f32[2,2,4,6]  " + pieces + f"%y = Conv2D(%e, @w) {conv}"
    assert_keeps([FoldBlocksIntoConvolution()], text)


def test_a_long_kernel_is_not_made_longer() -> None:
    text = weight(1, 4, 4, 1) + "%x: f32[1,1,12,4]  %e = SpaceToDepth(%x) {block = 2}  %y = Conv2D(%e, @w)"
    assert_keeps([FoldBlocksIntoConvolution()], text)


@pytest.mark.parametrize(
    ("operand", "apart", "perm", "result", "op"),
    [
        ("1,8,2,3", "1,2,2,2,2,3", "0,1,4,2,5,3", "1,2,4,6", DepthToSpace(block=2, mode="CRD")),
        ("1,8,2,3", "1,2,2,2,2,3", "0,3,4,1,5,2", "1,2,4,6", DepthToSpace(block=2)),
        ("1,2,4,6", "1,2,2,2,3,2", "0,3,5,1,2,4", "1,8,2,3", SpaceToDepth(block=2)),
        ("1,2,4,6", "1,2,2,2,3,2", "0,1,3,5,2,4", "1,8,2,3", SpaceToDepth(block=2, mode="CRD")),
    ],
)
def test_blocks_between_reshapes_are_one_operator(
    operand: str, apart: str, perm: str, result: str, op: DepthToSpace | SpaceToDepth
) -> None:
    text = f"%x: f32[{operand}]  %a = Reshape(%x) {{shape = [{apart}]}}  %b = Transpose(%a) {{perm = [{perm}]}}  "
    (node,) = fused(text + f"%y = Reshape(%b) {{shape = [{result}]}}").main
    assert node.op == op


@pytest.mark.parametrize(
    ("apart", "perm", "result"),
    [
        ("1,4,2,1,2,3", "0,1,3,2,4,5", "1,8,2,3"),
        ("1,2,2,2,2,3", "0,1,4,3,5,2", "1,2,4,6"),
        ("1,2,4,2,3", "0,2,1,3,4", "1,8,2,3"),
    ],
)
def test_other_transposes_between_reshapes_stay(apart: str, perm: str, result: str) -> None:
    text = f"%x: f32[1,8,2,3]  %a = Reshape(%x) {{shape = [{apart}]}}  %b = Transpose(%a) {{perm = [{perm}]}}  "
    assert_keeps([RecognizeBlocks()], text + f"%y = Reshape(%b) {{shape = [{result}]}}")


# ------------------------------------------------------------------------------------------------------------ poolings
def pooled(name: str, kernel: int, more: str = "") -> str:
    return f"%{name} = MaxPool2D(%x) {{kernel = [{kernel},{kernel}], pads = {[kernel // 2] * 4}{more}}}  "


@pytest.mark.parametrize("order", ["%x, %a, %b, %c", "%c, %x, %b, %a", "%b, %a, %c, %b"])
def test_poolings_side_by_side_become_a_chain(order: str) -> None:
    text = "%x: f32[1,2,6,7]  " + pooled("a", 5) + pooled("b", 9) + pooled("c", 13)
    module = fused(text + f"%y = Concat({order}) {{axis = 1}}", tolerance=0)
    kernels = [node.op.kernel for node in module.main if isinstance(node.op, MaxPool2D)]
    assert kernels == [(5, 5)] * 3


@pytest.mark.parametrize(
    "text",
    [
        pooled("a", 5) + pooled("b", 5).replace("MaxPool2D", "AvgPool2D"),
        pooled("a", 3) + pooled("b", 5, ", dilations = [1,2]").replace("pads = [2, 2, 2, 2]", "pads = [2,4,2,4]"),
        pooled("a", 3) + "%b = MaxPool2D(%x) {kernel = [5,4], pads = [2,1,2,2]}  ",
        pooled("a", 3) + "%b = MaxPool2D(%x) {kernel = [5,3], pads = [2,1,2,1]}  ",
        pooled("a", 3) + "%b = MaxPool2D(%a) {kernel = [5,5], pads = [2,2,2,2]}  ",
    ],
    ids=["average", "dilated", "even", "longer-in-one-axis-only", "a-chain-already"],
)
def test_other_poolings_side_by_side_stay(text: str) -> None:
    assert_keeps([ChainMaxPools()], "%x: f32[1,2,6,7]  " + text + "%y = Concat(%a, %b) {axis = 1}")
