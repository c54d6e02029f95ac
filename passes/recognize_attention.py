"""Attention that a model spells out, as one operator.

Frontends whose models never have it whole apply the rule when they read one. It is no part of `fuse`: INT8 quantization
takes the two products of a model that has them, but leaves an Attention in floating point.
"""

from __future__ import annotations

import attrs

from uair.passes.fusion import attention, attention_sinks
from uair.passes.fusion.attention_products import RULES
from uair.pipeline import RulePass
from uair.rewrite import RuleSet


@attrs.frozen
class RecognizeAttention(RulePass):
    """Make one Attention of two products, scale, mask and Softmax."""

    def rules(self) -> RuleSet:
        """The forms of the products, and what fusion does with an Attention that was whole from the start."""
        repeated = (attention.TransposeBeforeRepetition, attention.RotaryBeforeRepetition, attention.GroupRepeatedHeads)
        return RuleSet([rule() for rule in (*RULES, *attention_sinks.RULES, *repeated)])
