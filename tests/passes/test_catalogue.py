"""Rules by name, and the pass that applies those that are named."""

from __future__ import annotations

import pytest

from uair.context import Context
from uair.errors import UnknownNameError
from uair.passes.apply_rules import ApplyRules
from uair.passes.catalogue import all_rules, find_rule
from uair.testing import assert_keeps, assert_rewrites


def test_a_name_is_one_rules_and_its_passes_are_known() -> None:
    context = Context.default()
    classes: dict[str, set[type[object]]] = {}
    for name in context.passes:
        for ruleset in context.pass_class(name)().rulesets():
            for rule in ruleset.rules:
                classes.setdefault(rule.name, set()).add(type(rule))
    assert {name: found for name, found in classes.items() if len(found) > 1} == {}
    known = all_rules()
    assert list(known) == sorted(classes) and len(known) > 80
    assert known["fold-batch-norm"].passes == ("fuse",)
    assert known["merge-transposes"].passes == ("canonicalise", "simplify")
    assert all(each.rule.description.endswith(".") for each in known.values())


def test_unknown_rules_have_near_names() -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_rule("fold-batchnorm")
    assert "fold-batch-norm" in caught.value.hint


def test_only_the_named_rules_are_applied() -> None:
    before = "%x: f32[4]  %a = Neg(%x)  %b = Neg(%a)  %c = Identity(%b)  %y = Relu(%c)"
    after = "%x: f32[4]  %a = Neg(%x)  %b = Neg(%a)  %y = Relu(%b)"
    assert_keeps(ApplyRules(("merge-transposes",)), before)
    assert_rewrites(ApplyRules(("drop-identity",)), before=before, after=after)
    with pytest.raises(UnknownNameError):
        assert_keeps(ApplyRules(), before)
