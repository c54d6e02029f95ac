"""Transposes around axes of extent 1 that come and go."""

from __future__ import annotations

import numpy as np
import pytest

import uair
from uair.ir.verify import verify
from uair.passes.simplify.squeezes import MergeTransposesAroundSqueeze
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
