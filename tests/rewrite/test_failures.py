"""Rules of users that are wrong: each is stopped and named, with the node."""

from __future__ import annotations

from typing import Any

import pytest

from uair.errors import TypeMismatch, UairError
from uair.ir import Module
from uair.ops import Abs, Neg, ReduceMean, Relu, Sigmoid, Tanh
from uair.pipeline import PassContext
from uair.rewrite import Rule, RuleSet, of
from uair.rewrite.failures import RuleError, RulesDoNotEnd
from uair.text import parse_module

TEXT = """uair 1
module @m {
  graph @main(%x: f32[2,4]) -> (%y: f32[2,4]) {
    %a = Relu(%x) : f32[2,4] loc("first" Relu)
    %y = Tanh(%a) : f32[2,4] loc("second" Tanh)
  }
}
"""


def caught(error: type[UairError], *rules: Rule, module: Module | None = None) -> UairError:
    """What applying the rules raises."""
    with pytest.raises(error) as found:
        PassContext().apply_rules(module or parse_module(TEXT), RuleSet(rules))
    return found.value


class OnTanh(Rule):
    """Base: matches the Tanh."""

    def pattern(self, x: Any) -> Any:
        return Tanh()(x)

    def rewrite(self, x: Any) -> Any:
        return x


def test_a_rule_that_matches_its_own_result_is_stopped() -> None:
    class Again(OnTanh):
        def rewrite(self, x: Any) -> Any:
            return Tanh()(x)

    error = caught(RulesDoNotEnd, Again())
    assert error.message == "rule again goes on for ever: 1101 applications to a graph of 2 nodes"
    assert (error.rule_name, error.place) == ("again", "Tanh 'second' (by again)")
    assert "[rule: again]" in str(error) and error.hint


def test_rules_that_undo_each_other_are_both_named() -> None:
    class There(OnTanh):
        def rewrite(self, x: Any) -> Any:
            return Sigmoid()(x)

    class Back(Rule):
        def pattern(self, x: Any) -> Any:
            return Sigmoid()(x)

        def rewrite(self, x: Any) -> Any:
            return Tanh()(x)

    error = caught(RulesDoNotEnd, There(), Back())
    assert error.message.startswith("rules there, back go on for ever") or error.message.startswith("rules back, there")


def test_a_rule_that_grows_the_graph_is_stopped() -> None:
    class Grow(OnTanh):
        def rewrite(self, x: Any) -> Any:
            return Tanh()(Abs()(x))

    assert "grow" in caught(RulesDoNotEnd, Grow()).message


def test_many_applications_to_a_long_chain_are_no_loop() -> None:
    class Once(Rule):
        def pattern(self, x: Any) -> Any:
            return Neg()(x)

        def rewrite(self, x: Any) -> Any:
            return Abs()(x)

    lines = [f"    %n{i + 1} = Neg(%n{i}) : f32[2]" for i in range(3000)]
    head = "uair 1\nmodule @m {\n  graph @main(%n0: f32[2]) -> (%n3000: f32[2]) {"
    module = parse_module("\n".join([head, *lines, "  }\n}\n"]))
    context = PassContext()
    assert context.apply_rules(module, [Once()])
    assert context.statistics.applied == {"once": 3000}


def test_a_result_of_another_type_names_what_the_rule_built() -> None:
    class Mean(OnTanh):
        def rewrite(self, x: Any) -> Any:
            return ReduceMean(axes=(1,))(x)

    error = caught(TypeMismatch, Mean())
    assert "rule mean replaces <tensor %y: f32[2,4]> at <Tanh second>" in error.message
    assert "the result of ReduceMean(" in error.message and "of f32[2,4]" in error.message
    assert (error.rule_name, error.place) == ("mean", "Tanh 'second'")


@pytest.mark.parametrize("wrong", [None, 1.0, "%x"])
def test_a_result_that_is_no_tensor(wrong: Any) -> None:
    class Odd(OnTanh):
        def rewrite(self, x: Any) -> Any:
            return wrong

    error = caught(RuleError, Odd())
    assert f"rule odd returned {wrong!r} for" in error.message and error.place == "Tanh 'second'"


def test_too_many_results() -> None:
    class Two(OnTanh):
        def rewrite(self, x: Any) -> Any:
            return x, x

    assert "rule two returned 2 tensors for the 1 of <Tanh second>" in caught(RuleError, Two()).message


def test_a_rule_that_returns_what_it_is_to_replace() -> None:
    class Itself(Rule):
        def pattern(self, x: Any) -> Any:
            return of(Tanh)(x).named("t")

        def rewrite(self, t: Any) -> Any:
            return t.output

    error = caught(RuleError, Itself())
    assert "which it is to replace" in error.message and error.rule_name == "itself"


@pytest.mark.parametrize("where", ["check", "rewrite"])
def test_code_of_a_rule_that_raises(where: str) -> None:
    class Broken(OnTanh):
        def check(self, x: Any) -> Any:
            return x.no_such_attribute if where == "check" else True

        def rewrite(self, x: Any) -> Any:
            return x.no_such_attribute

    error = caught(RuleError, Broken())
    assert error.message.startswith("rule broken raises AttributeError at <Tanh second>: ")
    assert "test_failures.py" in error.hint and isinstance(error.__cause__, AttributeError)
    assert error.place == "Tanh 'second'"


def test_a_node_that_cannot_be_built_is_told_with_the_rule() -> None:
    class Bad(OnTanh):
        def rewrite(self, x: Any) -> Any:
            return ReduceMean(axes=(7,))(x)

    error = caught(UairError, Bad())
    assert error.rule_name == "bad" and error.place.endswith("; Tanh 'second'") and "ReduceMean" in error.place


def test_what_the_verifier_finds_names_the_rule_that_built_the_node() -> None:
    from uair.debugging.bisect import Rules
    from uair.pipeline import PassManager

    class Later(Rule):
        """Takes a value that is computed further on."""

        def pattern(self, x: Any) -> Any:
            return Relu()(x)

        def check(self, x: Any) -> Any:
            return next(iter(x.users)).op == Relu()

        def rewrite(self, x: Any) -> Any:
            (user,) = next(iter(x.users)).output.users
            return Sigmoid()(user.output)

    with pytest.raises(UairError) as found:
        PassManager([Rules((Later(),))]).run(parse_module(TEXT))
    assert found.value.code == "UAIR-E0310" and "by later" in found.value.place
    assert "Sigmoid" in found.value.message
