"""Channels of an activation are brought to similar ranges where one scale serves them badly.

An activation has one scale for all its channels. A convolution reads channels of very different ranges (in PP-OCR's
recognizer from 1 to 20), and what rounding does to the small ones is not noise that averages out: a background has one
value, so the error is the same for half of an image. Dividing channel c by s[c] <= 1 and multiplying the weights that
read it by s[c] gives it 1 / s[c] times as many steps; the greatest channel keeps its range, so that no channel's step
grows. A depthwise filter with a scale of its own is rounded to the same integers. What other layers gain is a trade
with the rounding of their weights, whose columns get uneven, which `equalise` computes.

The change is made where the noise of both roundings is predicted to shrink: a little (`FOLDED_GAIN`) where it costs
nothing, since the layer in front takes the division into weights that have a scale for each channel (a bottleneck
without an activation function, which MobileNets end their blocks with), and much (`INSERTED_GAIN`) where it costs one
multiplication between layers that compute in float anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor
from uair.passes.quantization.equalise import (
    Equalisation,
    apply_equalisations,
    channel_axes,
    choose_equalisations,
)
from uair.passes.quantization.placement import Plan, plan_quantization
from uair.passes.quantization.statistics import display_name, watches
from uair.passes.quantization.trial import Study
from uair.quant.observers import RangeObserver
from uair.quant.scheme import Scheme

EXPONENTS = (0.5, 0.75)
"""Powers of the channels' ranges that are tried as factors: the whole range would leave no room for greater values of
small channels, of which few samples show few. Over four sets of 32 samples PP-OCR's text direction has 37.0 dB with
these, 34.3 dB with the whole range."""

EVENED = ("compute", "all")
"""Placements whose channels are evened. Between integers only the layer in front takes divisions: a multiplication
would round as coarsely as what it is to mend."""


def even_channels(
    study: Study, scheme: Scheme, skip: Sequence[str], draw: Callable[[Node], bool]
) -> tuple[Study, list[Equalisation]]:
    """The study of the model with evened channels, and what was changed; the study's module is changed.

    Ranges of what was divided are those of the kept samples, which the study has not seen yet, but that they reach as
    far as those of all samples; all others stay as they are.

    Args:
        study: of the model; nothing was learned about its weights yet.
        scheme: the target's, with the scales per channel that weights may have.
        skip: what the user keeps in float.
        draw: asks for each change, by the first node that reads the activation, whether it may be made.
    """
    if scheme.placement not in EVENED or not study.statistics.kept:
        return study, []
    plan = _evenable(study.plan, scheme)
    found = choose_equalisations(plan, scheme, study.statistics.channels, EXPONENTS)
    changes = [change for change in found if draw(change.readers[0])]
    if not changes:
        return study, []
    apply_equalisations(study.module.main, changes)
    return _evened(study, skip, changes), changes


def axes_to_watch(plan: Plan, scheme: Scheme) -> dict[Tensor, int]:
    """The tensors whose channels `even_channels` wants to know, with the axis of the channels."""
    return channel_axes(_evenable(plan, scheme)) if scheme.placement in EVENED else {}


def _evenable(plan: Plan, scheme: Scheme) -> Plan:
    """Of nodes whose weights have a scale per channel."""
    return attrs.evolve(plan, nodes=[item for item in plan.nodes if item.node.op_type in scheme.per_channel])


def _evened(study: Study, skip: Sequence[str], changes: Sequence[Equalisation]) -> Study:
    """The study of the changed module, which has only seen how far all samples reach in what was divided."""
    readers = {node: change for change in changes for node in change.readers}
    plan = plan_quantization(study.module.main, study.scheme, skip)
    divided = {item.operand(0): readers[item.node] for item in plan.nodes if item.node in readers}
    roots = {plan.groups[tensor] for tensor in divided}
    again = [watch for watch in watches(plan) if plan.groups[watch[0]] in roots]
    still = set(plan.groups.values()) - roots
    known = {root: observer for root, observer in study.statistics.observers.items() if root in still}
    for tensor, used in again:
        if tensor in divided:
            observer = known.setdefault(plan.groups[tensor], RangeObserver(display_name(tensor)))
            observer.observe(_ends(study, divided[tensor]), *used)
    statistics = attrs.evolve(study.statistics, observers=known, channels={})  # of the model as it was
    return attrs.evolve(study, plan=plan, statistics=statistics, unseen=again)


def _ends(study: Study, change: Equalisation) -> Array:
    """Least and greatest value of the divided activation over all samples."""
    seen = study.statistics.channels[change.tensor]
    return np.array([(seen.low / change.factor).min(), (seen.high / change.factor).max()], np.float32)
