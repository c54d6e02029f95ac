"""Rewriting: patterns, rules, the worklist driver."""

from uair.rewrite.driver import (
    Application,
    Fuel,
    RuleSet,
    Statistics,
    apply_match,
    apply_rules,
    insert_detached,
    remove_dead,
)
from uair.rewrite.matcher import Match, NoMatch, no
from uair.rewrite.pattern import any_of, of, optional
from uair.rewrite.rule import Replacement, Rule, kebab

__all__ = [
    "Application",
    "Fuel",
    "Match",
    "NoMatch",
    "Replacement",
    "Rule",
    "RuleSet",
    "Statistics",
    "any_of",
    "apply_match",
    "apply_rules",
    "insert_detached",
    "kebab",
    "no",
    "of",
    "optional",
    "remove_dead",
]
