"""Pooling along one axis as pooling over images of one row, for devices whose pooling has two axes or more."""

from __future__ import annotations

from typing import Any, cast

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops import AvgPool1D, AvgPool2D, MaxPool1D, MaxPool2D, Squeeze, Unsqueeze
from uair.pipeline import RulePass
from uair.rewrite import NoMatch, Rule, RuleSet, of

ROWS = 2
"""The axis that is inserted: [N, C, L] becomes [N, C, 1, L]."""


@attrs.frozen
class PoolAsImage(RulePass):
    """Let every pooling along one axis work on images with one row."""

    def rules(self) -> RuleSet:
        """One rule for each kind of pooling."""
        return RuleSet([PoolAsImageMax(), PoolAsImageAverage()])


class _PoolAsImage(Rule):
    operator: type[MaxPool1D] | type[AvgPool1D]
    image: type[MaxPool2D] | type[AvgPool2D]

    def pattern(self) -> Any:
        """Any pooling along one axis."""
        return of(self.operator)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """Always: the inserted axis has extent 1, and its window too."""
        return True

    def rewrite(self, node: Node) -> Tensor:
        """Unsqueeze, pool, Squeeze."""
        op = cast("MaxPool1D | AvgPool1D", node.op)
        x = node.inputs[0]
        assert x is not None
        before, after = op.pads
        changed: dict[str, Any] = {
            "kernel": (1, *op.kernel),
            "strides": (1, *op.strides),
            "dilations": (1, *op.dilations),
            "pads": (0, before, 0, after),
        }
        pooled = self.image(**{**op.attributes, **changed})(Unsqueeze(axes=(ROWS,))(x))
        return Squeeze(axes=(ROWS,))(pooled)


class PoolAsImageMax(_PoolAsImage):
    """MaxPool1D is Unsqueeze, MaxPool2D, Squeeze."""

    operator = MaxPool1D
    image = MaxPool2D


class PoolAsImageAverage(_PoolAsImage):
    """AvgPool1D is Unsqueeze, AvgPool2D, Squeeze."""

    operator = AvgPool1D
    image = AvgPool2D
