"""Transposes around axes of extent 1 that come and go."""

from __future__ import annotations

import numpy as np
import pytest

import uair
from uair.ir.verify import verify
from uair.passes.simplify.squeezes import MergeTransposesAroundSqueeze
from uair.passes.simplify.transposes import TransposesAroundUnits
from uair.pipeline import PassContext
from uair.text import parse_module


@pytest.mark.parametrize(
    ("shape", "first", "middle", "second", "left"),
    [
        ("2,5,1,7", (0, 2, 3, 1), "Squeeze(%a) {axes = [1]}", (0, 2, 1), ["Squeeze"]),
        ("2,5,1,7", (0, 2, 3, 1), "Squeeze(%a) {axes = [-3]}", (1, 0, 2), ["Squeeze", "Transpose"]),
        ("2,1,5,1", (3, 0, 1, 2), "Squeeze(%a) {axes = [0,2]}", (1, 0), ["Squeeze", "Transpose"]),
        ("2,5,7", (0, 2, 1), "Unsqueeze(%a) {axes = [1]}", (0, 3, 1, 2), ["Unsqueeze"]),
        ("2,5,7", (0, 2, 1), "Unsqueeze(%a) {axes = [3]}", (3, 0, 1, 2), ["Transpose", "Unsqueeze"]),
        ("2,5,7", (2, 0, 1), "Unsqueeze(%a) {axes = [0,2]}", (3, 0, 4, 1, 2), ["Unsqueeze"]),
    ],
)
def test_one_transpose_is_enough(
    shape: str, first: tuple[int, ...], middle: str, second: tuple[int, ...], left: list[str]
) -> None:
    turned = [f"%{y} = Transpose(%{x}) {{perm = {list(p)}}}" for y, x, p in (("a", "x", first), ("y", "b", second))]
    nodes = "\n".join([turned[0], f"%b = {middle}", turned[1]])
    module = parse_module(f"uair 1\nmodule @m {{\ngraph @main(%x: f32[{shape}]) -> (%y) {{\n{nodes}\n}}\n}}")
    x = np.random.default_rng(0).normal(size=[int(d) for d in shape.split(",")]).astype(np.float32)
    (before,) = uair.run(module.clone(), x).values()
    assert PassContext().apply_rules(module, [MergeTransposesAroundSqueeze()])
    verify(module)
    (after,) = uair.run(module, x).values()
    np.testing.assert_array_equal(after, before)
    assert [node.op_type for node in module.main] == left


@pytest.mark.parametrize(
    ("shape", "first", "middle", "second", "undone"),
    [
        ("2,5,1,7", (0, 2, 3, 1), "2,7,5", (0, 2, 1), True),
        ("n,5,1,7", (0, 2, 3, 1), "n,7,5", (0, 2, 1), True),
        ("2,5,7", (0, 2, 1), "2,1,7,5", (0, 3, 1, 2), True),
        ("1,5,1,7", (3, 0, 1, 2), "7,5,1", (2, 1, 0), True),
        ("2,5,1,7", (0, 2, 3, 1), "2,7,5", (2, 0, 1), False),
        ("2,5,1,7", (0, 2, 3, 1), "2,5,7", (0, 2, 1), False),
        ("n,5,m,7", (0, 2, 3, 1), "n,1,m,7,5", (0, 1, 4, 2, 3), False),
    ],
)
def test_transposes_undo_each_other_around_a_reshape(
    shape: str, first: tuple[int, ...], middle: str, second: tuple[int, ...], undone: bool
) -> None:
    """A Reshape between them that only drops or adds axes of extent 1 does not keep them apart."""
    nodes = "\n".join(
        [
            f"%a = Transpose(%x) {{perm = {list(first)}}}",
            f"%b = Reshape(%a) {{shape = [{middle}]}}",
            f"%y = Transpose(%b) {{perm = {list(second)}}}",
        ]
    )
    module = parse_module(f"uair 1\nmodule @m {{\ngraph @main(%x: f32[{shape}]) -> (%y) {{\n{nodes}\n}}\n}}")
    extents = [{"n": 3, "m": 4}.get(d) or int(d) for d in shape.split(",")]
    x = np.random.default_rng(0).normal(size=extents).astype(np.float32)
    (before,) = uair.run(module.clone(), x).values()
    assert PassContext().apply_rules(module, [TransposesAroundUnits()]) is undone
    verify(module)
    (after,) = uair.run(module, x).values()
    np.testing.assert_array_equal(after, before)
    assert ("Transpose" in [node.op_type for node in module.main]) is not undone
