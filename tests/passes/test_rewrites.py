"""Rewrites by name: the same values, and reasons where they do not apply."""

from __future__ import annotations

import numpy as np
import pytest

from uair.codegen.reference import run as interpret
from uair.context import Context
from uair.errors import UnknownNameError
from uair.ir.dims import static
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.passes import rewrites
from uair.pipeline import PassContext
from uair.rewrite import NoMatch, RuleSet
from uair.text import parse_module

CASES: tuple[tuple[str, str, str], ...] = (
    ("minimum-by-maximum", "f32[2,3,4]", "%s = Sigmoid(%x)  %y = Minimum(%x, %s)"),
    ("minimum-by-maximum", "f16[2,3]", "%s = Sigmoid(%x)  %y = Minimum(%x, %s)"),
    ("reciprocal-by-power", "f32[2,3]", "%s = Sigmoid(%x)  %y = Reciprocal(%s)"),
    ("reciprocal-by-power", "f32[2,3]", "%m = Mul(%x, %x)  %n = Add(%m, @one)  %y = Reciprocal(%n)"),
    ("reciprocal-by-power", "f32[2,3]", "%s = Clip(%x) {min = 0.25}  %r = Sqrt(%s)  %y = Reciprocal(%r)"),
    ("reciprocal-by-power", "f32[2,3]", "%s = Exp(%x)  %t = ReduceSum(%s) {axes = [1]}  %y = Reciprocal(%t)"),
    ("rsqrt-by-power", "f32[2,3]", "%m = Abs(%x)  %y = Rsqrt(%m)"),
    ("tile-by-concat", "f32[1,3,2,4]", "%y = Tile(%x) {repeats = [1,1,3,2]}"),
    ("tile-by-concat", "f32[1,3,1,4]", "%y = Tile(%x) {repeats = [2,1,5,1]}"),
    ("tile-by-concat", "i64[2,1]", "%y = Tile(%x) {repeats = [3,4]}"),
    ("slice-by-convolution", "f32[1,3,8,9]",
     "%y = Slice(%x) {axes = [2,3], starts = [1,0], ends = [8,9], steps = [2,3]}"),
    ("slice-by-convolution", "f32[2,3,8,9]", "%y = Slice(%x) {axes = [1], starts = [0], ends = [3], steps = [2]}"),
    ("slice-by-convolution", "f32[5,9]", "%y = Slice(%x) {axes = [-1], starts = [1], ends = [8], steps = [2]}"),
    ("slice-by-convolution", "f32[2,5,4,3,6]",
     "%y = Slice(%x) {axes = [1,4], starts = [0,1], ends = [5,6], steps = [2,3]}"),
    ("flip-by-gather", "f32[1,3,5,4]", "%y = Flip(%x) {axes = [2,-1]}"),
    ("trilu-by-mask", "f32[2,4,5]", "%y = Trilu(%x) {k = 1}"),
    ("trilu-by-mask", "f32[4,4]", "%y = Trilu(%x) {upper = false}"),
    ("space-to-depth-by-convolution", "f32[1,3,4,6]", "%y = SpaceToDepth(%x) {block = 2}"),
    ("space-to-depth-by-convolution", "f32[1,3,4,6]", '%y = SpaceToDepth(%x) {block = 2, mode = "CRD"}'),
    ("space-to-depth-by-convolution", "f32[2,2,6,6]", "%y = SpaceToDepth(%x) {block = 3}"),
    ("transpose-of-few-axes", "f32[2,3,4,5,2,3]", "%y = Transpose(%x) {perm = [0,3,4,1,2,5]}"),
    ("transpose-of-few-axes", "f32[1,3,1,5,2,3]", "%y = Transpose(%x) {perm = [2,5,1,0,4,3]}"),
    ("transpose-of-few-axes", "i64[2,3,4,5,2,3]", "%y = Transpose(%x) {perm = [3,4,5,0,1,2]}"),
    ("transpose-of-few-axes", "f32[2,3,4,5,2,3]", "%y = Transpose(%x) {perm = [5,1,3,0,4,2]}"),
    ("transpose-of-few-axes", "f32[1,4,2,2,3,5]", "%y = Transpose(%x) {perm = [0,4,2,5,1,3]}"),
    ("transpose-of-few-axes", "f32[3,4,1,2,1]", "%y = Transpose(%x) {perm = [2,0,1,4,3]}"),
    ("reduce-max-by-pool", "f32[2,3,4,5]", "%y = ReduceMax(%x) {axes = [2,3]}"),
    ("reduce-max-by-pool", "f32[2,3,4,5]", "%y = ReduceMax(%x) {axes = [-1], keepdims = false}"),
    ("reduce-max-by-pool", "f32[3,7]", "%y = ReduceMin(%x) {axes = [1]}"),
    ("reduce-max-by-pool", "f32[2,3,4]", "%y = ReduceMin(%x) {axes = [1,2], keepdims = false}"),
    ("avg-pool-by-convolution", "f32[1,4,7,9]", "%y = AvgPool2D(%x) {kernel = [3,3], pads = [1,1,1,1]}"),
    ("avg-pool-by-convolution", "f32[2,3,8,8]",
     "%y = AvgPool2D(%x) {kernel = [3,2], strides = [2,2], pads = [1,0,0,1], ceil_mode = true}"),
    ("avg-pool-by-convolution", "f32[1,4,7,9]",
     "%y = AvgPool2D(%x) {kernel = [3,3], pads = [1,1,1,1], strides = [2,2], count_include_pad = true}"),
    ("avg-pool-by-convolution", "f32[1,2,9,9]", "%y = AvgPool2D(%x) {kernel = [2,2], dilations = [2,3]}"),
    ("lrn-by-convolution", "f32[1,8,3,3]", "%y = LRN(%x) {size = 5, alpha = 0.5, bias = 2.0}"),
    ("lrn-by-convolution", "f32[1,7,2,2]", "%y = LRN(%x) {size = 4, alpha = 0.1, beta = 0.5}"),
    ("flip-by-gather", "i64[2,3]", "%y = Flip(%x) {axes = [1]}"),
    ("lrn-by-convolution", "f32[2,6,2,2]", "%y = LRN(%x) {size = 3, alpha = 1.0, beta = 1.0}"),
    ("resize-by-products", "f32[1,2,4,6]", '%y = Resize(%x) {scales = [1.0,1.0,1.5,1.5], mode = "linear"}'),
    ("resize-by-products", "f32[1,2,4,6]",
     '%y = Resize(%x) {sizes = [1,2,7,11], mode = "linear", coordinate_mode = "align_corners"}'),
    ("resize-by-products", "f32[2,3,5,5]", '%y = Resize(%x) {scales = [1.0,1.0,2.0,2.0], mode = "cubic"}'),
    ("resize-by-products", "f32[1,2,9,6]", '%y = Resize(%x) {sizes = [1,2,4,6], mode = "linear", antialias = true}'),
    ("resize-by-products", "f32[1,2,4,6]",
     '%y = Resize(%x) {scales = [1.0,1.0,1.3,1.7], coordinate_mode = "asymmetric"}'),
)  # fmt: skip


def module_of(operand: str, text: str) -> Module:
    return parse_module(f"constant @one = 0.5 : f32[]  %x: {operand}  {text}")


@pytest.mark.parametrize(("name", "operand", "text"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
def test_gives_the_same_values(name: str, operand: str, text: str) -> None:
    module = module_of(operand, text)
    rng = np.random.default_rng(0)
    x = module.main.inputs[0].type
    shape = static(x.dims)
    feeds = {"x": (rng.standard_normal(shape) * 2).astype(x.dtype.numpy)}
    if x.dtype.is_integer:
        feeds = {"x": rng.integers(-9, 9, shape).astype(x.dtype.numpy)}
    expected = interpret(module, feeds)
    before = {node.op_type for node in module.main}
    assert PassContext().apply_rules(module, RuleSet([rewrites.rule(name)]))
    verify(module)
    assert any(name in node.loc.by for node in module.main)
    root = rewrites.rule(name).root_ops[0].__name__
    assert root in before or root == "ReduceMax"
    actual = interpret(module, feeds)
    for key, value in expected.items():
        assert actual[key].dtype == value.dtype and actual[key].shape == value.shape
        np.testing.assert_allclose(actual[key], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "operand", "text", "reason"),
    [
        ("minimum-by-maximum", "i64[2]", "%y = Minimum(%x, %x)", "integers"),
        ("reciprocal-by-power", "f32[2]", "%y = Reciprocal(%x)", "may be negative"),
        ("reciprocal-by-power", "f32[2]", "%m = Mul(%x, %x)  %y = Reciprocal(%m)", "may be negative or zero"),
        ("tile-by-concat", "f32[2,3]", "%y = Tile(%x) {repeats = [30,30]}", "900 copies"),
        ("slice-by-convolution", "f32[9]",
         "%y = Slice(%x) {axes = [0], starts = [0], ends = [9], steps = [1]}", "all steps are 1"),
        ("slice-by-convolution", "f32[9]",
         "%y = Slice(%x) {axes = [0], starts = [8], ends = [-100], steps = [-1]}", "not between"),
        ("slice-by-convolution", "i64[9]",
         "%y = Slice(%x) {axes = [0], starts = [0], ends = [9], steps = [2]}", "not f32"),
        ("space-to-depth-by-convolution", "f32[1,3,16,16]", "%y = SpaceToDepth(%x) {block = 8}", "longer than 7"),
        ("space-to-depth-by-convolution", "f32[1,1024,4,4]", "%y = SpaceToDepth(%x) {block = 2}", "bytes"),
        ("transpose-of-few-axes", "f32[2,3,4]", "%y = Transpose(%x) {perm = [2,1,0]}", "no more than 4"),
        ("transpose-of-few-axes", "f32[1,2,2,2,3,4]", "%y = Transpose(%x) {perm = [0,1,4,2,5,3]}", "DepthToSpace"),
        ("reduce-max-by-pool", "f32[2,3,4,5]", "%y = ReduceMax(%x) {axes = [1]}", "other axes"),
        ("reduce-max-by-pool", "f32[2,3]", "%y = ReduceMax(%x) {axes = [0,1]}", "nothing is left"),
        ("avg-pool-by-convolution", "f32[1,2,9,9]", "%y = AvgPool2D(%x) {kernel = [9,9]}", "larger than 8"),
        ("lrn-by-convolution", "f32[1,8,3,3]", "%y = LRN(%x) {size = 5, beta = 0.6}", "beta"),
        ("flip-by-gather", "f32[2,n]", "%y = Flip(%x) {axes = [0,1]}", "extent of an axis is not known"),
        ("resize-by-products", "f32[4,6]", "%y = Resize(%x) {scales = [1.5,1.5]}", "not 4"),
        ("resize-by-products", "f32[1,2,4,6]", "%y = Resize(%x) {scales = [1.0,2.0,1.0,1.0]}", "channels"),
    ],
)  # fmt: skip
def test_says_why_not(name: str, operand: str, text: str, reason: str) -> None:
    module = module_of(operand, text)
    node = next(n for n in reversed(module.main) if not n.is_return)
    found = rewrites.rule(name).match(node)
    assert isinstance(found, NoMatch) and reason in found.reason
    assert rewrites.replacement(node, name) is None


def test_unknown_rewrite() -> None:
    with pytest.raises(UnknownNameError, match="no rewrite called 'minimum-by-max'") as caught:
        rewrites.rule("minimum-by-max")
    assert "minimum-by-maximum" in caught.value.hint


def test_every_device_file_names_rewrites_that_exist() -> None:
    context = Context.default()
    for name in context.targets:
        for entry in context.target(name).description.operator:
            for rewrite in entry.rewrites:
                roots = {op.__name__ for op in rewrites.rule(rewrite).root_ops}
                assert roots & set(entry.names), f"{name}: {rewrite} is for {roots}, the entry for {entry.names}"
