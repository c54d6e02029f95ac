"""Wrong rules and passes, as users may write them, for the tests; also a plug-in file of the command line."""

from __future__ import annotations

from typing import Any

import attrs

import uair
from uair.ir import Module
from uair.ops import Abs, BatchNorm, Conv2D, Neg, Relu, Sigmoid, Tanh
from uair.passes.fusion import affine


class ForgetShift(uair.Rule):
    """Wrong in one place of ResNet-50: behind the convolution of 512 channels and stride 2 the shift is lost."""

    def pattern(self, x: Any, w: Any, scale: Any, shift: Any, mean: Any, var: Any) -> Any:
        conv = uair.of(Conv2D)(x, w).named("conv")
        return uair.of(BatchNorm)(conv, scale, shift, mean, var).named("bn")

    def rewrite(self, conv: Any, bn: Any) -> Any:
        factor, shift = affine.batch_norm_affine(bn)
        wrong = conv.op.strides == (2, 2) and conv.output.type.dims == (1, 512, 7, 7)
        return affine.apply_affine(conv, factor, shift * (not wrong), name="b")


class TanhIsSigmoid(uair.Rule):
    """Wrong everywhere."""

    def pattern(self, x: Any) -> Any:
        return Tanh()(x)

    def rewrite(self, x: Any) -> Any:
        return Sigmoid()(x)


class AbsOfRelu(uair.Rule):
    """Right: what Relu gives has no sign."""

    def pattern(self, x: Any) -> Any:
        return Abs()(uair.of(Relu)(x).named("relu"))

    def rewrite(self, relu: Any) -> Any:
        return relu.output


class Raises(uair.Rule):
    """Raises at every second Neg."""

    def pattern(self, x: Any) -> Any:
        return Neg()(uair.of(Neg)(x))

    def rewrite(self, x: Any) -> Any:
        raise KeyError("no such thing")


@attrs.frozen
class DropRelu(uair.Pass):
    """Take every Relu away, without drawing fuel."""

    def run(self, module: Module, context: uair.PassContext) -> bool:
        changed = False
        for node in module.main:
            if isinstance(node.op, Relu):
                source = node.inputs[0]
                assert source is not None
                module.main.replace(node, [source])
                changed = True
        return changed


class Forever(uair.Rule):
    """Makes what it matches."""

    def pattern(self, x: Any) -> Any:
        return Tanh()(x)

    def rewrite(self, x: Any) -> Any:
        return Tanh()(x)


@attrs.frozen
class Explode(uair.Pass):
    """Raise what is no UairError, or leave a node in front of what it uses."""

    how: str = "raise"

    def run(self, module: Module, context: uair.PassContext) -> bool:
        if self.how == "raise":
            raise KeyError("no such thing")
        last = list(module.main)[-1]
        module.main.move_before(next(iter(module.main)), last)
        return True
