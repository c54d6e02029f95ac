"""Classifiers as what they are made of, for devices that have products or trees but no classifiers."""

from __future__ import annotations

from typing import Any

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops import LinearClassifier, TreeClassifier
from uair.pipeline import RulePass
from uair.rewrite import Rule, RuleSet, of


@attrs.frozen
class SpellOutClassifiers(RulePass):
    """Take classifiers apart, so that the products of linear ones are quantized and run on the device."""

    def rules(self) -> RuleSet:
        """The one rule."""
        return RuleSet([SpellOutClassifier()])


class SpellOutClassifier(Rule):
    """A classifier is Linear or TreeEnsemble, ArgMax with the labels by place, and the transform of the scores."""

    def pattern(self) -> Any:
        """Any classifier."""
        return of(LinearClassifier, TreeClassifier)(...).named("node")

    def rewrite(self, node: Node) -> tuple[Tensor, ...]:
        """Its decomposition."""
        made = node.op.decompose(*node.inputs)
        assert isinstance(made, tuple)
        return made
