"""Parts of tensors that are assigned; onnxruntime computes both forms."""

# ruff: noqa: E501  a line of IR text is one line

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.passes.judging import computed
from uair.codegen.reference import random_feeds
from uair.ir.verify import verify
from uair.passes.simplify.assignments import ConcatFromAssignments, DropAssignmentToItself
from uair.pipeline import PassContext
from uair.testing import assert_keeps
from uair.text import parse_module

RULES = (DropAssignmentToItself(), ConcatFromAssignments())


def places(name: str, shape: tuple[int, ...], start: tuple[int, ...]) -> str:
    """A constant with the coordinates of a box, as TorchScript's exporter writes them."""
    grid = np.moveaxis(np.indices(shape), 0, -1) + np.array(start)
    numbers = ",".join(str(n) for n in grid.reshape(-1))
    return f"constant @{name} = [{numbers}] : i64[{','.join(map(str, grid.shape))}]  "


def after(text: str) -> Counter[str]:
    """Operators that the rules leave; the numbers are the same ones."""
    module = parse_module(text)
    feeds = random_feeds(module.main)
    before = computed(module, feeds)
    PassContext().apply_rules(module, RULES)
    verify(module)
    for want, got in zip(before, computed(module, feeds), strict=True):
        assert np.ptp(want) > 0
        np.testing.assert_array_equal(got, want)
    return Counter(node.op_type for node in module.main)


def test_features_by_coordinates_of_every_number() -> None:
    """As TorchScript's exporter writes DeepSeek-V3's keys, the range at the end counted from there."""
    text = (
        "constant @z = splat<0.0> : f32[2,3,6]  %a: f32[2,3,4]  %b: f32[2,3,2]  "
        + places("i", (2, 3, 4), (0, 0, 0))
        + places("j", (2, 3, 2), (0, 0, -2))
        + "%c = ScatterND(@z, @i, %a)  %d = ScatterND(%c, @j, %b)  %y = Tanh(%d)"
    )
    assert after(text) == Counter(["Concat", "Tanh"])


def test_rows_of_a_tensor_that_was_joined() -> None:
    """What is left of the tensor is one of the parts that it was made of."""
    text = (
        "constant @i = [2,3] : i64[2,1]  %a: f32[2,3]  %b: f32[2,3]  %c: f32[2,3]  %j = Concat(%a, %b)  "
        "%y = ScatterND(%j, @i, %c)"
    )
    assert after(text) == Counter(["Slice", "Concat", "Concat"])  # the Slice of the first Concat is its first part


def test_all_of_a_tensor() -> None:
    """In another shape."""
    text = "constant @i = [0,1] : i64[2,1,1]  %x: f32[2,3]  %a: f32[2,1,3]  %y = ScatterND(%x, @i, %a)"
    assert after(text) == Counter(["Reshape"])


def test_steps_of_a_loop_with_scatter_elements() -> None:
    """As torch.export writes select_scatter."""
    text = "constant @z = splat<0.0> : f32[2,3,2]  %a: f32[2,1,2]  %b: f32[2,1,2]  %c: f32[2,1,2]  "
    text += "".join(f"constant @i{n} = splat<{n}> : i64[2,1,2]  " for n in range(3))
    text += "%d = ScatterElements(@z, @i1, %a) {axis = 1}  %e = ScatterElements(%d, @i0, %b) {axis = 1}  "
    assert after(text + "%y = ScatterElements(%e, @i2, %c) {axis = 1}") == Counter(["Concat"])


def test_what_torch_export_leaves_of_a_sum_in_place() -> None:
    """y[1:] += a: the part is written, cut again and written to where it was."""
    text = (
        "constant @i = [1,2] : i64[2,1]  %x: f32[3,4]  %a: f32[2,4]  %b = ScatterND(%x, @i, %a)  "
        "%c = Slice(%b) {axes = [0], starts = [1], ends = [9223372036854775807], steps = [1]}  %y = ScatterND(%b, @i, %c)"
    )
    assert after(text) == Counter(["ScatterND"])


@pytest.mark.parametrize(
    "text",
    [
        "constant @i = [0,1] : i64[2,1]  %y = ScatterND(%x, @i, %a)",  # more would be cut than is assigned
        "constant @i = [1,0] : i64[2,1]  %y = ScatterND(@z, @i, %a)",  # in another order
        "constant @i = [0,2] : i64[2,1]  %y = ScatterND(@z, @i, %a)",  # not side by side
        "constant @i = [0,1] : i64[2,1]  %y = ScatterND(@z, @i, %a) {reduction = \"add\"}",
        "constant @i = [0,0,0,1,1,0,1,1] : i64[2,2,2]  %y = ScatterND(@z, @i, %s)",  # ranges of two axes
        "%i: i64[2,1]  %y = ScatterND(@z, %i, %a)",
        "constant @i = [0,1,0,1,0,1,0,1] : i64[2,4]  %y = ScatterElements(@z, @i, %a)",  # other places in every column
        "constant @i = [0,1] : i64[2,1]  %c = Slice(%x) {axes = [0], starts = [1], ends = [3], steps = [1]}  %y = ScatterND(%x, @i, %c)",  # from another place
    ],
)  # fmt: skip
def test_other_scatters_stay(text: str) -> None:
    inputs = "constant @z = splat<0.0> : f32[3,4]  %x: f32[3,4]  %a: f32[2,4]  %s: f32[2,2]  "
    assert_keeps(RULES, inputs + text)
