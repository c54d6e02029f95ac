"""Merging equal nodes whose results have sizes that only the data decides."""

from __future__ import annotations

import numpy as np
import pytest

import uair
from uair.passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from uair.pipeline import PassContext
from uair.text import parse_module

TWO = """
uair 1
module @m {
  graph @main(%x: f32[4], %z: i64[1,n]) -> (%y: i64[<a>], %w: i64[<b>,1], %z: i64[1,n]) {
    %i = NonZero(%x) : i64[1,<a>]
    %y = Reshape(%i) {shape = [<a>]} : i64[<a>]
    %j = NonZero(%x) : i64[1,<b>]
    %w = Reshape(%j) {shape = [<b>,1]} : i64[<b>,1]
  }
}
"""


@pytest.mark.parametrize(("a", "b"), [("p", "q"), ("n", "q"), ("p", "n")])
def test_merged_nodes_share_the_names_of_their_sizes(a: str, b: str) -> None:
    """What names the size of the node that is gone names it by the one that stays, but for the name of an input's."""
    module = parse_module(TWO.replace("<a>", a).replace("<b>", b))
    assert EliminateCommonSubexpressions().run(module, PassContext())
    kept, flat, column = module.main
    (size,) = {node.output.type.dims[i] for node, i in ((kept, 1), (flat, 0), (column, 0))}
    assert str(size) == ("n" if "n" in (a, b) else a)
    feeds = {"x": np.array([0, 1, 0, 2], np.float32), "z": np.array([[5, 6]])}
    y, w, _ = uair.run(module, feeds).values()
    assert y.tolist() == [1, 3]
    assert w.tolist() == [[1], [3]]
