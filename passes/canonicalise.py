"""Bringing a module to the form that all later passes expect."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from uair.collection import collection_paused
from uair.ir.module import Module
from uair.passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from uair.passes.eliminate_dead_code import EliminateDeadCode
from uair.passes.fold_constants import FoldConstants
from uair.passes.fold_shapes import FoldShapes
from uair.passes.inline_branches import InlineBranches
from uair.passes.simplify import Simplify
from uair.pipeline import Pass, PassContext
from uair.rewrite import RuleSet


@attrs.frozen
class Canonicalise(Pass):
    """Fold shapes and constants, simplify, merge common subexpressions, drop dead code, until nothing changes.

    Attributes:
        max_rounds: bound on the repetitions; two rounds are the rule, a pattern uncovered by another needs a third.
    """

    max_rounds: int = 6

    def rulesets(self) -> Sequence[RuleSet]:
        """The simplifications."""
        return Simplify().rulesets()

    @collection_paused()
    def run(self, module: Module, context: PassContext) -> bool:
        """Run the steps in turn."""
        steps: tuple[Pass, ...] = (
            EliminateDeadCode(),
            FoldShapes(),
            FoldConstants(),
            Simplify(),
            InlineBranches(),
            EliminateCommonSubexpressions(),
        )
        changed = False
        for _ in range(self.max_rounds):
            results = [step.run(module, context) for step in steps]
            if not any(results):
                break
            changed = True
        EliminateDeadCode().run(module, context)
        return changed
