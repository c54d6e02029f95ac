"""Every rule on the example that docs/rules.md shows: the texts, and the numbers on the same random inputs."""

from __future__ import annotations

import numpy as np
import pytest

from tools import rule_pairs
from uair.codegen.reference import random_feeds, run
from uair.ir.graph import Node
from uair.ir.verify import verify
from uair.ops import RandomNormal
from uair.pipeline import PassContext
from uair.rewrite import Rule
from uair.testing import assert_rewrites
from uair.text import parse_module

FAMILIES = tuple(rule_pairs.families())
CASES = [(family, rule) for family in FAMILIES for rule in family.rules]
EXACT = 1e-5
"""Of the greatest number of a result: float32 sums in another order."""
TOLERANCES = {
    "narrow-rmsnorm": 2**-10,  # rounded to f16 once instead of twice
    "drop-dynamic-pair": 1 / 255,  # integers of 8 bits are what is removed
    "float-of-integer-product": 3 / 255,
    "float-of-quantized-lstm": 3 / 255,
    "drop-pair": 0.25,
}


@pytest.mark.parametrize(("family", "rule"), CASES, ids=[rule.name for _, rule in CASES])
def test_before_becomes_after(family: rule_pairs.Family, rule: Rule) -> None:
    pair = rule_pairs.pairs(family)[rule.name]
    assert_rewrites([rule], before=pair.before, after=pair.after)
    before, after = parse_module(pair.before), parse_module(pair.after)
    feeds = random_feeds(before.main)
    tolerance = TOLERANCES.get(rule.name, EXACT)
    wanted = list(run(before, feeds).values())
    given = list(run(after, feeds).values())
    for want, got in zip(wanted, given, strict=True):
        assert got.dtype == want.dtype and np.ptp(want) > 0
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1.0, float(np.abs(want).max())))


@pytest.mark.parametrize(("family", "rule"), CASES, ids=[rule.name for _, rule in CASES])
def test_operands_may_come_of_nodes_without_operands(family: rule_pairs.Family, rule: Rule) -> None:
    """A rule that looks behind its operands finds random numbers there, which come of nothing."""
    module = parse_module(rule_pairs.pairs(family)[rule.name].before)
    graph = module.main
    for x in graph.inputs:
        if x.type.dtype.is_float and x.type.is_static:
            node = Node(RandomNormal(shape=x.type.dims, dtype=x.type.dtype, seed=1), ())
            graph.insert_before(next(iter(graph)), node)
            x.replace_all_uses_with(node.output)
    verify(module)
    PassContext().apply_rules(module, [rule])
    verify(module)


def test_every_rule_has_a_pair() -> None:
    assert rule_pairs.unlisted() == []
    assert all(list(rule_pairs.pairs(family)) == [rule.name for rule in family.rules] for family in FAMILIES)


def test_a_rule_without_a_pair_is_refused() -> None:
    family = FAMILIES[0]

    class Nameless(Rule):
        """Does nothing."""

        pattern = family.rules[0].pattern

        def rewrite(self) -> None:
            """Nothing."""

    with pytest.raises(rule_pairs.PairError, match="nameless"):
        rule_pairs.pairs(rule_pairs.Family(family.name, "", (*family.rules, Nameless())))
    with pytest.raises(rule_pairs.PairError, match="pairs of no rule: .'drop-identity'"):
        rule_pairs.pairs(rule_pairs.Family(family.name, "", family.rules[1:]))


def test_a_picture_names_inputs_operators_and_constants() -> None:
    graph = parse_module("constant @c = 2.0 : f32[]  %x: f32[3]  %y = Mul(%x, @c)").main
    assert rule_pairs.picture(graph, "b") == [
        'bi0(["x: f32[3]"])',
        'b0["Mul"]',
        "bi0 --> b0",
        'bc1[/"@c"/]',
        "bc1 --> b0",
        'b0 --> bo0(["y"])',
    ]
