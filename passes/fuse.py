"""Fusion."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import attrs

from uair.collection import collection_paused
from uair.ir.module import Module
from uair.ops import Linear, Loop, MatMul, Transpose
from uair.ops.base import Operator
from uair.ops.recurrent import Recurrent
from uair.passes.canonicalise import Canonicalise
from uair.passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from uair.passes.fusion import (
    activation,
    attention,
    batch_norm,
    blocks,
    channel_layer_norm,
    channel_norms,
    exponentials,
    heads,
    linear,
    norm_parameters,
    normalization,
    operands,
    packed_heads,
    padding,
    piecewise,
    pooling,
    products,
    reduction,
    rotary,
    scale_motion,
)
from uair.pipeline import Pass, PassContext
from uair.rewrite import RuleSet


@attrs.frozen
class Fuse(Pass):
    """Make one operator of several: BatchNorm, scale, bias and padding into weights, and what exporters spelled out.

    Loops over the cell of a recurrent layer become the layer first. Transposes move when all that exporters spelled out
    around them is recognized. What stands in front of weights goes into them last. A round of canonicalisation follows
    when something was fused, for what the fusions left behind.
    """

    def rulesets(self) -> Sequence[RuleSet]:
        """The fusions; canonicalisation, which follows them, is a pass of its own."""
        return ruleset(), transposes_ruleset(), last_ruleset()

    @collection_paused()
    def run(self, module: Module, context: PassContext) -> bool:
        """Apply all fusion rules."""
        changed = _may_recur(module) and _recur(module, context)
        if changed:
            Canonicalise().run(module, context)
        changed |= _apply(module, context, ruleset())
        if _has(module, Transpose):
            if _apply(module, context, transposes_ruleset()):
                changed = True
                _apply(module, context, ruleset())  # products now stand next to what is fused to them
        return _apply(module, context, last_ruleset()) or changed


def _may_recur(module: Module) -> bool:
    """Whether steps of a recurrent layer may be spelled out: each has a product with its state, if not in a Loop."""
    return _has(module, Loop, Recurrent) or _has(module, Linear, MatMul, least=2)


def _recur(module: Module, context: PassContext) -> bool:
    """Make layers of loops and steps."""
    from uair.passes.counted_loops import CountedLoops  # here: nearly all networks do without these two
    from uair.passes.recurrent.recognize import RecognizeRecurrent

    changed = CountedLoops().run(module, context)
    return RecognizeRecurrent().run(module, context) or changed


def _has(module: Module, *kinds: type[Operator], least: int = 1) -> bool:
    """Whether the module has `least` nodes of these operators."""
    found = (node for graph in module.all_graphs() for node in graph if isinstance(node.op, kinds))
    return sum(1 for _ in itertools.islice(found, least)) == least


def _apply(module: Module, context: PassContext, rules: RuleSet) -> bool:
    """Apply rules, and bring what they leave to canonical form."""
    if not context.apply_rules(module, rules):
        return False
    EliminateCommonSubexpressions().run(module, context)  # layers that share a table then share its half
    Canonicalise().run(module, context)
    return True


@functools.cache
def ruleset() -> RuleSet:
    """The rules, in order of priority."""
    weights = (padding, blocks, products, linear, batch_norm, packed_heads, heads)
    families = (
        *weights,
        activation,
        exponentials,
        piecewise,
        reduction,
        normalization,
        norm_parameters,
        channel_layer_norm,
        channel_norms,
        pooling,
        rotary,
        scale_motion,
        attention,
    )
    return RuleSet([rule() for family in families for rule in family.RULES])


@functools.cache
def transposes_ruleset() -> RuleSet:
    """The rules that move Transposes, which others expect where exporters leave them."""
    from uair.passes.fusion import transposes  # here: with what moves them through a graph, which few models need

    return RuleSet([rule() for rule in transposes.RULES])


@functools.cache
def last_ruleset() -> RuleSet:
    """The rules for what nothing else has recognized, and for what the canonical form of the other ones' work shows."""
    return RuleSet([rule() for rule in (*operands.RULES, *heads.LAST_RULES)])
