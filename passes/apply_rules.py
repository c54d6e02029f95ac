"""Applying chosen rules, and no others."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from uair.errors import UnknownNameError
from uair.ir.module import Module
from uair.passes.catalogue import find_rule
from uair.pipeline import Pass, PassContext
from uair.rewrite import RuleSet


@attrs.frozen
class ApplyRules(Pass):
    """Apply rules that are named, UAIR's own or those of a plug-in, and no others.

    Attributes:
        rules: their names, in order of priority.
    """

    rules: tuple[str, ...] = ()

    def rulesets(self) -> Sequence[RuleSet]:
        """The rules.

        Raises:
            UnknownNameError: there is no rule of that name.
        """
        return (RuleSet([find_rule(name).rule for name in self.rules]),)

    def run(self, module: Module, context: PassContext) -> bool:
        """Apply them until none fits.

        Raises:
            UnknownNameError: there is no rule of that name, or none is named.
        """
        if not self.rules:
            raise UnknownNameError("apply-rules needs rules", hint='write "apply-rules{rules=[fold-batch-norm]}"')
        return any([context.apply_rules(module, ruleset) for ruleset in self.rulesets()])
