"""Folding long convolutions into blocks of channels: the graph, and the numbers."""

from __future__ import annotations

import numpy as np
import pytest

from uair.codegen.reference import run
from uair.ir import DType, Graph, Module, Node, TensorType, constant
from uair.ir.verify import verify
from uair.ops import Conv1D, Conv2D
from uair.passes.fold_long_convolutions import FoldLongConvolutions
from uair.pipeline import PassContext
from uair.testing import assert_keeps, assert_rewrites

SMALL = FoldLongConvolutions(kernel=3, stride=2, channels=2)
"""Limits of a toy NPU."""


def test_a_step_gives_two_results_by_two_shifted_kernels() -> None:
    assert_rewrites(
        SMALL,
        before="""constant @w = [1.0,2.0,3.0,4.0] : f32[1,1,1,4]  constant @b = [5.0] : f32[1]
            %x: f32[1,1,1,9]  %y = Conv2D(%x, @w, @b)""",
        after="""constant @v = [1.0,3.0,0.0, 2.0,4.0,0.0, 0.0,2.0,4.0, 1.0,3.0,0.0] : f32[2,2,1,3]
            constant @c = [5.0,5.0] : f32[2]
            %x: f32[1,1,1,9]
            %p = Pad(%x) {pads = [0,0,0,0,0,0,0,1]}
            %r = Reshape(%p) {shape = [1,1,5,2]}
            %t = Transpose(%r) {perm = [0,3,1,2]}
            %f = Conv2D(%t, @v, @c)
            %g = Reshape(%f) {shape = [1,1,2,3]}
            %h = Transpose(%g) {perm = [0,1,3,2]}
            %y = Reshape(%h) {shape = [1,1,1,6]}""",
    )


def test_a_stride_as_long_as_the_kernel_needs_no_second_transposition() -> None:
    assert_rewrites(
        SMALL,
        before="""constant @w = [1.0,2.0,3.0,4.0] : f32[1,1,4]
            %x: f32[1,1,9]  %y = Conv1D(%x, @w) {strides = [4]}""",
        after="""constant @v = [1.0,2.0,3.0,4.0] : f32[1,4,1,1]
            %x: f32[1,1,9]
            %r = Reshape(%x) {shape = [1,1,1,9]}
            %s = Slice(%r) {axes = [3], starts = [0], ends = [8], steps = [1]}
            %q = Reshape(%s) {shape = [1,1,2,4]}
            %t = Transpose(%q) {perm = [0,3,1,2]}
            %f = Conv2D(%t, @v)
            %y = Reshape(%f) {shape = [1,1,2]}""",
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("constant @w = splat<1.0> : f32[1,1,3]  %x: f32[1,1,9]  %y = Conv1D(%x, @w)", id="short"),
        pytest.param("constant @w = splat<1.0> : f32[1,1,4,4]  %x: f32[1,1,9,9]  %y = Conv2D(%x, @w)", id="two-axes"),
        pytest.param("%w: f32[1,1,4]  %x: f32[1,1,9]  %y = Conv1D(%x, %w)", id="weight-of-run-time"),
        pytest.param(
            "constant @w = splat<1.0> : f32[1,1,4]  %b: f32[1]  %x: f32[1,1,9]  %y = Conv1D(%x, @w, %b)",
            id="bias-of-run-time",
        ),
        pytest.param(
            "constant @w = splat<1.0> : f32[2,1,4]  %x: f32[1,2,9]  %y = Conv1D(%x, @w) {groups = 2}", id="groups"
        ),
        pytest.param(
            "constant @w = splat<1.0> : f32[1,1,4]  %x: f32[1,1,9]  %y = Conv1D(%x, @w) {dilations = [2]}",
            id="dilation",
        ),
        pytest.param("constant @w = splat<1.0> : f32[1,1,4]  %x: f32[1,1,N]  %y = Conv1D(%x, @w)", id="open-length"),
        pytest.param("constant @w = splat<1.0> : f32[1,1,4]  %x: f32[1,1,4]  %y = Conv1D(%x, @w)", id="one-result"),
    ],
)
def test_keeps(text: str) -> None:
    assert_keeps(SMALL, text)


def test_a_weight_that_would_grow_without_bound_stays() -> None:
    text = "constant @w = splat<1.0> : f32[4096,64,1024]  %x: f32[1,64,4096]  %y = Conv1D(%x, @w)"
    assert_keeps(FoldLongConvolutions(), text)


@pytest.mark.parametrize("kernel", [32, 33, 100])
@pytest.mark.parametrize("stride", [1, 3, 8, 40])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", ["line", "row", "column"])
def test_the_numbers_stay(kernel: int, stride: int, channels: int, shape: str) -> None:
    """Batches of two, padding at both ends, a bias; along the only axis, the second, the first of two."""
    rng = np.random.default_rng(kernel + stride)
    length, pads = 211, (5, 9)
    axes = {"line": (0,), "row": (1, 0), "column": (0, 1)}[shape]
    at = axes[0] if len(axes) == 2 else 0
    extents, taps, strides = [1] * len(axes), [1] * len(axes), [1] * len(axes)
    extents[at], taps[at], strides[at] = length, kernel, stride
    padding = [0] * (2 * len(axes))
    padding[at], padding[at + len(axes)] = pads
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F32, (2, channels, *extents)))
    w = constant(rng.standard_normal((4, channels, *taps)).astype(np.float32))
    b = constant(rng.standard_normal(4).astype(np.float32))
    cls = Conv1D if len(axes) == 1 else Conv2D
    op = cls(strides=tuple(strides), pads=tuple(padding), dilations=(1,) * len(axes))
    graph.add_output("y", graph.append(Node(op, [x, w, b])).output)
    module = Module("m", {"main": graph})
    feeds = {"x": rng.standard_normal((2, channels, *extents)).astype(np.float32)}
    want = run(module, feeds)["y"]
    assert FoldLongConvolutions().run(module, PassContext())
    verify(module)
    convolution = next(n for n in module.main if n.op_type == "Conv2D")
    weight = convolution.inputs[1]
    assert weight is not None and weight.type.dims[-1] <= 31  # type: ignore[operator]
    np.testing.assert_allclose(run(module, feeds)["y"], want, rtol=1e-5, atol=1e-4)
