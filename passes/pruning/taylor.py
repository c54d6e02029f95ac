"""The Taylor criterion: what closing a channel's gate does to the outputs, from gradients.

Every channel gets a gate z, 1 as long as it is there, at each place where a layer reads it. The gradient of a loss L by z
is the sum over these places of (x - m) dL/dx, where m is what the channel becomes when it goes: its mean if that is made
up for, else 0. A channel's importance is the mean over the samples of (dL/dz)^2 (Molchanov et al., arXiv 1906.10771,
equation 8, with the gates of its section 3.2 behind everything that computes on single channels).

There are no labels, and a loss that compares the outputs with those of the whole model has no gradient at the whole
model: it is at its minimum there. Two losses stand in. "noise": L = u . y, with u of random signs by the root of each
output channel's mean square. The mean of (dL/dz)^2 over u is |dy/dz|^2 by the signal: the noise by signal at the outputs
that closing the gate makes, to first order in y, which is what pruned models are judged by. "class": L is the
cross-entropy with a class drawn from the model's own distribution, whose squared gradients are the diagonal of the Fisher
information, the curvature of the divergence between the distributions before and after (Theis et al., arXiv 1801.05787,
section 2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor
from uair.ir.module import Module
from uair.passes.pruning.criteria import Ranking
from uair.passes.pruning.groups import Group
from uair.passes.pruning.labels import Labelling
from uair.passes.quantization.trial import FLOOR, decisive_tensors, has_channels

DRAWS = 2
"""Random directions for each sample."""


class Differentiator(Protocol):
    """What runs a module backwards: `uair.codegen.reference.Differentiator`."""

    def run(
        self,
        feeds: Mapping[str, Any],
        seeds: Callable[[dict[str, Any]], Mapping[str, Array]],
        *,
        observe_use: Callable[[Node, int, Array, Array], None] | None = None,
    ) -> Any:
        """Forwards and backwards; `observe_use` sees values and gradients of the uses that were asked for."""
        ...
