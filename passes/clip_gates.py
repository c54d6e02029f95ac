"""HardSigmoid behind a convolution as a Clip.

    HardSigmoid(Conv2D(x, w, b)) = Clip(Conv2D(x, alpha * w, alpha * b + beta), 0, 1)

NPUs look functions up in tables; a Clip they compute. rknn-toolkit2 2.5.0 rounds a HardSigmoid down, and below 3/8 to
every second step: half of its results are a step off, on average by 0.4. Behind a convolution a Clip is exact.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Clip, Conv2D, HardSigmoid
from uair.pipeline import RulePass
from uair.rewrite import NoMatch, Rule, RuleSet, no, of, optional


@attrs.frozen
class ClipGates(RulePass):
    """Let convolutions scale and shift what a HardSigmoid behind them would."""

    def rules(self) -> RuleSet:
        """The one rule."""
        return RuleSet([HardSigmoidByClip()])


class HardSigmoidByClip(Rule):
    """HardSigmoid of a convolution's result is a Clip of another convolution's."""

    def pattern(self, x: Any, w: Any, b: Any) -> Any:
        """A HardSigmoid alone behind a convolution."""
        return of(HardSigmoid)(of(Conv2D)(x, w, optional(b)).named("conv")).named("gate")

    def check(self, w: Tensor, conv: Node, b: Tensor | None = None) -> bool | NoMatch:
        """Weight and bias are constants of f32."""
        known = all(t is None or (t.is_constant and t.type.dtype is DType.F32) for t in (w, b))
        return known or no("its weight or bias is no constant of f32", conv)

    def rewrite(self, x: Tensor, w: Tensor, conv: Node, gate: Node, b: Tensor | None = None) -> Tensor:
        """The convolution with other constants, and the Clip."""
        assert isinstance(gate.op, HardSigmoid)
        alpha, beta = gate.op.alpha, gate.op.beta
        weight = constant(np.asarray(w.numpy() * np.float32(alpha)), w.name)
        before = np.zeros(w.numpy().shape[0], np.float32) if b is None else b.numpy()
        bias = constant(np.asarray(before * alpha + beta, np.float32), "" if b is None else b.name)
        result: Tensor = Clip(min=0.0, max=1.0)(conv.op(x, weight, bias))
        return result
