"""Fusion."""

from __future__ import annotations

import functools

import attrs

from uair.ir.module import Module
from uair.passes.canonicalise import Canonicalise
from uair.passes.fusion import activation, batch_norm, linear, normalization, padding, reduction
from uair.pipeline import Pass, PassContext
from uair.rewrite import RuleSet


@attrs.frozen
class Fuse(Pass):
    """Make one operator of several: BatchNorm, scale, bias and padding into weights, and what exporters spelled out.

    Ends with a round of canonicalisation when something was fused, for what the fusions left behind.
    """

    def run(self, module: Module, context: PassContext) -> bool:
        """Apply all fusion rules."""
        changed = context.apply_rules(module, ruleset())
        if changed:
            Canonicalise().run(module, context)
        return changed


@functools.cache
def ruleset() -> RuleSet:
    """The rules, in order of priority."""
    families = (padding, linear, batch_norm, activation, reduction, normalization)
    return RuleSet([rule() for family in families for rule in family.RULES])
