"""The helpers for before/after tests tell apart what differs and say how."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from uair.errors import TypeMismatch
from uair.ir.module import Module
from uair.ops.activation import Relu, Sigmoid
from uair.ops.elementwise import Identity
from uair.pipeline import Pass, PassContext
from uair.rewrite import Rule, of
from uair.testing import assert_keeps, assert_rewrites

BEFORE = '%x: f32[4]\n%a = Identity(%x)\n%y = Relu(%a)\nreturn "y" = %y'
AFTER = '%x: f32[4]\n%other = Relu(%x) loc("anything")\nreturn "y" = %other'


class DropIdentity(Rule):
    """Identity does nothing."""

    def pattern(self, x: Any) -> Any:
        return of(Identity)(x)

    def rewrite(self, x: Any) -> Any:
        return x


class ReluToSigmoid(Rule):
    """Wrong on purpose."""

    def pattern(self, x: Any) -> Any:
        return of(Relu)(x)

    def rewrite(self, x: Any) -> Any:
        return Sigmoid()(x)


@attrs.frozen
class Liar(Pass):
    """Says it changed something."""

    says: bool = True

    def run(self, module: Module, context: PassContext) -> bool:
        if not self.says:
            context.apply_rules(module, [DropIdentity()])
        return self.says


def test_names_and_locations_do_not_matter() -> None:
    result = assert_rewrites([DropIdentity()], before=BEFORE, after=AFTER)
    assert len(result.main) == 1


def test_the_difference_is_shown() -> None:
    with pytest.raises(AssertionError, match="Relu and Sigmoid") as caught:
        assert_rewrites([DropIdentity(), ReluToSigmoid()], before=BEFORE, after=AFTER)
    lines = str(caught.value).split("\n")
    assert "-     %1 = Relu(%0) : f32[4]" in lines
    assert "+     %1 = Sigmoid(%0) : f32[4]" in lines
    assert sum(line.startswith("  ") for line in lines) >= 4


def test_interface_names_matter() -> None:
    with pytest.raises(AssertionError, match="output_names"):
        assert_rewrites([DropIdentity()], before=BEFORE, after=AFTER.replace('"y"', '"z"'))


def test_keeps() -> None:
    assert_keeps([DropIdentity()], AFTER)
    with pytest.raises(AssertionError, match="was changed"):
        assert_keeps([DropIdentity()], BEFORE)
    with pytest.raises(AssertionError, match="so says the pass"):
        assert_keeps(Liar(), AFTER)


def test_a_pass_must_say_that_it_changed_something() -> None:
    with pytest.raises(AssertionError, match="says that it changed nothing"):
        assert_rewrites(Liar(says=False), before=BEFORE, after=AFTER)


def test_texts_must_verify() -> None:
    with pytest.raises(TypeMismatch):
        assert_rewrites([DropIdentity()], before=BEFORE, after="%x: f32[4]\n%y = Relu(%x) : f32[5]")
