"""Matching: what matches, and what the refusal says when it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from uair.ir import DType, Graph, Location, Node, Tensor, TensorType, constant
from uair.ir.verify import verify_graph
from uair.ops import Add, Clip, LeakyRelu, Mul, Relu, Sigmoid, Split, Sub
from uair.rewrite import Fuel, Match, NoMatch, Rule, RuleSet, Statistics, any_of, apply_rules, no, of


class SigmoidOfRelu(Rule):
    """Sigmoid(Relu(x)) becomes Relu(x)."""

    def pattern(self, x: Any) -> Any:
        return Sigmoid()(Relu()(x))

    def rewrite(self, x: Tensor) -> Tensor:
        return Relu()(x)


class Scale(Rule):
    """(x + c) * c for one constant c."""

    def pattern(self, x: Any, c: Any) -> Any:
        return Mul()(Add()(x, c), c)

    def check(self, c: Tensor) -> bool | NoMatch:
        return c.is_constant or no("c is not a constant", c)

    def rewrite(self, x: Tensor, c: Tensor) -> Tensor:
        return Mul()(x, c)


def graph_with(width: int = 4) -> tuple[Graph, Tensor]:
    graph = Graph()
    return graph, graph.add_input("x", TensorType(DType.F32, (2, width)))


def result(rule: Rule, node: Node) -> NoMatch:
    found = rule.match(node)
    assert isinstance(found, NoMatch)
    return found


def test_operands_arrive_by_name_and_attributes_are_strict() -> None:
    class Half(Rule):
        """LeakyRelu(0.5)."""

        def pattern(self, x: Any) -> Any:
            return LeakyRelu(alpha=0.5)(x).named("leaky")

        def rewrite(self, leaky: Node, x: Tensor) -> Tensor:
            return Relu()(x)

    graph, x = graph_with()
    half = graph.append(LeakyRelu(alpha=0.5).node(x))
    tenth = graph.append(LeakyRelu(alpha=0.1).node(x))
    found = Half().match(half)
    assert isinstance(found, Match)
    assert found.bindings == {"x": x, "leaky": half}
    assert "attributes" in result(Half(), tenth).reason


def test_interior_values_are_private() -> None:
    graph, x = graph_with()
    relu = graph.append(Node(Relu(), (x,), name="relu"))
    sigmoid = graph.append(Node(Sigmoid(), (relu.output,), name="sigmoid"))
    graph.append(Node(Sigmoid(), (relu.output,), name="other"))
    refusal = result(SigmoidOfRelu(), sigmoid)
    assert refusal.matched == 2
    assert refusal.culprit is relu.output
    assert "other" in refusal.reason and "interior values are private" in refusal.reason


def test_a_graph_output_is_not_interior() -> None:
    graph, x = graph_with()
    relu = graph.append(Relu().node(x))
    sigmoid = graph.append(Sigmoid().node(relu.output))
    graph.add_output("r", relu.output)
    assert "output of the graph" in result(SigmoidOfRelu(), sigmoid).reason


def test_shared_interior_values_stay_for_their_other_users() -> None:
    class Shared(Rule):
        """Sigmoid(Relu(x)) with a Relu that others may use."""

        def pattern(self, x: Any) -> Any:
            return Sigmoid()(of(Relu)(x).shared())

        def rewrite(self, x: Tensor) -> Tensor:
            return Clip(min=0.0)(x)

    graph, x = graph_with()
    relu = graph.append(Relu().node(x))
    graph.add_output("a", graph.append(Sigmoid().node(relu.output)).output)
    graph.add_output("b", relu.output)
    assert apply_rules(graph, RuleSet([Shared()]))
    assert [n.op_type for n in graph] == ["Relu", "Clip"]


def test_commutative_operands_match_in_both_orders_and_others_do_not() -> None:
    graph, x = graph_with()
    c = constant(np.full(4, 2, np.float32))
    swapped = graph.append(Mul().node(c, graph.append(Add().node(c, x)).output))
    found = Scale().match(swapped)
    assert isinstance(found, Match)
    assert found.bindings["x"] is x

    class Difference(Rule):
        """x - Relu(x)."""

        def pattern(self, x: Any) -> Any:
            return Sub()(x, Relu()(x))

        def rewrite(self, x: Tensor) -> Tensor:
            return x

    relu = graph.append(Relu().node(x))
    wrong = graph.append(Sub().node(relu.output, x))
    assert not Difference().match(wrong)


def test_a_variable_twice_is_one_tensor_or_equal_constants() -> None:
    graph, x = graph_with()
    inner = graph.append(Add().node(x, constant(np.full(4, 2, np.float32))))
    same = graph.append(Mul().node(inner.output, constant(np.full(4, 2, np.float32))))
    assert Scale().match(same)
    other = graph.append(Mul().node(inner.output, constant(np.full(4, 3, np.float32))))
    assert "both" in result(Scale(), other).reason


def test_alternatives_and_their_reasons() -> None:
    class Either(Rule):
        """Sigmoid of Relu or LeakyRelu."""

        def pattern(self, x: Any) -> Any:
            return Sigmoid()(any_of(Relu()(x), of(LeakyRelu)(x)))

        def rewrite(self, x: Tensor) -> Tensor:
            return x

    graph, x = graph_with()
    leaky = graph.append(Sigmoid().node(graph.append(LeakyRelu().node(x)).output))
    assert Either().match(leaky)
    wrong = graph.append(Sigmoid().node(graph.append(Sigmoid().node(x)).output))
    reason = result(Either(), wrong).reason
    assert "Relu" in reason and "LeakyRelu" in reason and " or " in reason


@pytest.mark.parametrize("kind", ["input", "constant"])
def test_the_refusal_names_what_stands_in_place_of_a_result(kind: str) -> None:
    graph, x = graph_with()
    operand = x if kind == "input" else constant(np.ones((2, 4), np.float32))
    node = graph.append(Sigmoid().node(operand))
    assert kind in result(SigmoidOfRelu(), node).reason


def test_another_used_result_of_an_interior_node_is_a_refusal() -> None:
    class First(Rule):
        """Relu of a split's first part."""

        def pattern(self) -> Any:
            return Relu()(of(Split)(...))

        def rewrite(self) -> NoMatch:
            return no("never")

    graph, x = graph_with()
    split = graph.append(Split(axis=1, sizes=(1, 3)).node(x))
    relu = graph.append(Relu().node(split.outputs[0]))
    assert First().match(relu)
    graph.append(Relu().node(split.outputs[1]))
    assert "another result" in result(First(), relu).reason


def test_rewrites_merge_locations_and_keep_names() -> None:
    graph, x = graph_with()
    relu = graph.append(Node(Relu(), (x,), name="r", loc=Location.of("r", "Relu")))
    sigmoid = graph.append(
        Node(Sigmoid(), (relu.output,), name="s", loc=Location.of("s", "Sigmoid"), output_names=["out"])
    )
    graph.add_output("y", sigmoid.output)
    statistics = Statistics()
    assert apply_rules(graph, RuleSet([SigmoidOfRelu()]), statistics=statistics)
    (node,) = graph
    assert [s.name for s in node.loc.sources] == ["r", "s"]
    assert node.loc.by == ("sigmoid-of-relu",)
    assert node.output.name == "out"
    assert statistics.applied == {"sigmoid-of-relu": 1}
    verify_graph(graph)


def test_what_lives_on_keeps_its_name() -> None:
    graph, x = graph_with()
    relu = graph.append(Node(Relu(), (x,), name="conv1"))
    graph.add_output("y", graph.append(Node(Sigmoid(), (relu.output,), name="bn1")).output)
    apply_rules(graph, RuleSet([SigmoidOfRelu()]))
    assert [n.name for n in graph] == ["conv1"]


def test_a_rewrite_applies_again_where_it_made_a_new_match() -> None:
    graph, x = graph_with()
    tensor = graph.append(Relu().node(x)).output
    for _ in range(50):
        tensor = graph.append(Sigmoid().node(tensor)).output
    graph.add_output("y", tensor)
    assert apply_rules(graph, RuleSet([SigmoidOfRelu()]))
    assert [n.op_type for n in graph] == ["Relu"]


def test_fuel_limits_and_logs_applications() -> None:
    graph, x = graph_with()
    tensor = graph.append(Relu().node(x)).output
    for _ in range(5):
        tensor = graph.append(Sigmoid().node(tensor)).output
    graph.add_output("y", tensor)
    fuel = Fuel(limit=2, keep_log=True)
    apply_rules(graph, RuleSet([SigmoidOfRelu()]), fuel=fuel)
    assert len(graph) == 4
    assert [a.number for a in fuel.log] == [1, 2]
    verify_graph(graph)


def test_a_rewrite_of_another_type_is_an_error() -> None:
    class Wrong(Rule):
        """Relu becomes a constant of another shape."""

        def pattern(self, x: Any) -> Any:
            return Relu()(x)

        def rewrite(self, x: Tensor) -> Tensor:
            return constant(np.zeros(1, np.float32))

    graph, x = graph_with()
    graph.add_output("y", graph.append(Relu().node(x)).output)
    with pytest.raises(Exception, match="wrong replaces"):
        apply_rules(graph, RuleSet([Wrong()]))


def test_a_refused_rewrite_leaves_no_uses_behind() -> None:
    class Hesitant(Rule):
        """Builds, then refuses."""

        def pattern(self, x: Any) -> Any:
            return Relu()(x)

        def rewrite(self, x: Tensor) -> NoMatch:
            Sigmoid()(x)
            return no("changed my mind")

    graph, x = graph_with()
    graph.add_output("y", graph.append(Relu().node(x)).output)
    assert not apply_rules(graph, RuleSet([Hesitant()]))
    assert x.use_count == 1
