"""All rewrite rules by name: those of the passes that are known, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from uair.context import Context, lookup, resolve
from uair.rewrite import Rule


@attrs.frozen(eq=False)
class KnownRule:
    """A rule that can be asked for by name.

    Attributes:
        rule: the rule, with the settings that its passes have by default.
        passes: the names of the passes that apply it; none for a rule that a plug-in brings by itself.
    """

    rule: Rule
    passes: tuple[str, ...] = ()


def all_rules(context: Context | None = None) -> Mapping[str, KnownRule]:
    """The rules of every pass and plug-in by name, in order.

    Two passes may share a rule. Where two different rules have one name, the first pass's is taken; a test checks that
    UAIR's own names are unique.

    Args:
        context: whose; that in force when not given.
    """
    known = context or Context.default()
    found: dict[str, Rule] = {}
    passes: dict[str, list[str]] = {}
    for name in sorted(known.passes):
        for ruleset in known.pass_class(name)().rulesets():
            for rule in ruleset.rules:
                found.setdefault(rule.name, rule)
                passes.setdefault(rule.name, []).append(name)
    for name, reference in known.rules.items():
        found[name] = resolve(reference)()
        passes.setdefault(name, [])
    return {name: KnownRule(found[name], tuple(passes[name])) for name in sorted(found)}


def find_rule(name: str, context: Context | None = None) -> KnownRule:
    """The rule of that name.

    Raises:
        UnknownNameError: there is none; near names are suggested.
    """
    found: KnownRule = lookup(all_rules(context), name, "rule")
    return found
