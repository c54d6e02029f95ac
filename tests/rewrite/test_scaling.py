"""The number of matches tried follows the number of changes."""

from __future__ import annotations

from typing import Any

from uair.ir import DType, Graph, Node, Tensor, TensorType
from uair.ops import Relu, Sigmoid
from uair.rewrite import Match, NoMatch, Rule, RuleSet, apply_rules


class Counting(Rule):
    """Relu(Relu(x)) is Relu(x); counts how often it is asked."""

    tries = 0

    def pattern(self, x: Any) -> Any:
        return Relu()(Relu()(x))

    def match(self, node: Node) -> Match | NoMatch:
        type(self).tries += 1
        return super().match(node)

    def rewrite(self, x: Tensor) -> Tensor:
        return Relu()(x)


def tries(length: int) -> int:
    """Matches tried on a chain in which every second pair can be merged."""
    graph = Graph()
    tensor = graph.add_input("x", TensorType(DType.F32, (1,)))
    for i in range(length):
        tensor = graph.append((Sigmoid() if i % 3 == 2 else Relu()).node(tensor)).output
    graph.add_output("y", tensor)
    Counting.tries = 0
    apply_rules(graph, RuleSet([Counting()]))
    return Counting.tries


def test_twice_the_nodes_are_twice_the_tries() -> None:
    assert tries(3000) <= 2.05 * tries(1500)


def test_nodes_no_rule_starts_from_are_not_looked_at() -> None:
    graph = Graph()
    tensor = graph.add_input("x", TensorType(DType.F32, (1,)))
    for _ in range(10):
        tensor = graph.append(Sigmoid().node(tensor)).output
    Counting.tries = 0
    apply_rules(graph, RuleSet([Counting()]))
    assert Counting.tries == 0
