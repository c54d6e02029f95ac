"""Rules that make a graph smaller without changing what it computes; one family per file."""

from __future__ import annotations

import functools

import attrs

from uair.passes.simplify import (
    alike,
    arithmetic,
    assignments,
    axes,
    casts,
    identities,
    padding,
    parts,
    recurrent,
    reduced_axes,
    regroup,
    reshapes,
    slices,
    squeezes,
    transposes,
)
from uair.pipeline import RulePass
from uair.rewrite import RuleSet


@attrs.frozen
class Simplify(RulePass):
    """Remove operators that do nothing and merge neighbours that are one operator."""

    def rules(self) -> RuleSet:
        """All simplification rules."""
        return ruleset()


@functools.cache
def ruleset() -> RuleSet:
    """The rules, in order of priority. Rules hold no state, so one set serves every run."""
    families = (
        identities,
        arithmetic,
        casts,
        reduced_axes,
        reshapes,
        slices,
        squeezes,
        transposes,
        parts,
        regroup,
        padding,
        recurrent,
        axes,
        assignments,
        alike,
    )
    return RuleSet([rule() for family in families for rule in family.RULES])
