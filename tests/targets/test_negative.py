"""Every constraint of every device file refuses a node, alone, and the verdict says so with its source.

A constraint nobody has seen fail may be one that cannot. The nodes come from tests/targets/negatives (a list for each
vendor), and are searched for where there is none (tests/targets/search.py).
"""

from __future__ import annotations

import functools

import pytest

from tests.targets.search import find, refused
from tests.targets.test_verdict import NEGATIVE
from uair.context import Context
from uair.ir.graph import Node
from uair.targets import Support, Target, description_names, load_description
from uair.targets.description import DeviceDescription, OperatorConstraint
from uair.targets.target import constraint_verdict

ENTRIES = [
    (name, i)
    for name in description_names()
    for i, entry in enumerate(load_description(name).operator)
    if entry.constraints
]
GENERAL = [name for name in description_names() if load_description(name).general]


@functools.cache
def listed() -> dict[tuple[str, str], list[Node]]:
    """The nodes of the lists, by target and operator."""
    found: dict[tuple[str, str], list[Node]] = {}
    for target, node, _, _ in NEGATIVE:
        found.setdefault((target.name, node.op_type), []).append(node)
    return found


def known_cases(name: str, op_type: str) -> list[Node]:
    """The nodes of the lists for a file, and for the one that it extends."""
    names = (name, load(name).extends)
    return [node for each in names for node in listed().get((each, op_type), ())]


@functools.cache
def searched(op_type: str, texts: tuple[str, ...], wanted: frozenset[int]) -> dict[int, Node]:
    """A search, done once for all files with the same constraints."""
    from uair.targets.constraint import parse_constraint

    cls = Context.default().operators[op_type]
    return find(cls, [parse_constraint(text).check(cls) for text in texts], wanted)


def refused_nodes(name: str, op_type: str, wanted: frozenset[int]) -> dict[int, Node]:
    """For constraints of an operator, by index, a node that this one refuses: alone where one is known or found."""
    constraints = load(name).operators[op_type].constraints
    checked = [c.constraint for c in constraints]
    found: dict[int, Node] = {}
    for node in known_cases(name, op_type):
        i = refused(node, checked)
        if i is not None:
            found.setdefault(i, node)
    left = wanted - set(found)
    texts = tuple(c.entry.require for c in constraints)
    found |= {i: node for i, node in (searched(op_type, texts, left) if left else {}).items() if i not in found}
    for i in wanted - set(found):
        for node in known_cases(name, op_type):
            if checked[i].evaluate(node).truth is False:
                found.setdefault(i, node)
    return found


@functools.cache
def load(name: str) -> DeviceDescription:
    """A description, read once."""
    return load_description(name)


def check_verdict(name: str, node: Node, each: OperatorConstraint) -> None:
    """The verdict of the operator table is that of the constraint, with clause, values, reason and source."""
    target: Target = Context.default().target(name)
    entry = target.description.operators[node.op_type]
    own = constraint_verdict(node, each)
    assert own is not None
    assert own.support is each.entry.otherwise and own.support is not Support.SUPPORTED
    assert own.clause and all(part in each.entry.require for part in own.clause.split("; "))
    assert own.source is not None and own.source == each.source
    assert own.confidence is each.confidence
    assert own.reason.startswith("needs ") and (not each.entry.reason or each.entry.reason in own.reason)
    verdict = target.direct_verdict(node)
    assert verdict.support.rank >= own.support.rank
    base = Support.SUPPORTED if entry.entry.support is None else entry.entry.support
    alone = refused(node, [c.constraint for c in entry.constraints]) is not None
    if alone and verdict.clause and own.support.rank > base.rank:
        assert (verdict.clause, verdict.source, verdict.reason) == (own.clause, own.source, own.reason)


@pytest.mark.parametrize(("name", "i"), ENTRIES, ids=[f"{n}-{i}" for n, i in ENTRIES])
def test_every_constraint_refuses_a_node(name: str, i: int) -> None:
    entry = load(name).operator[i]
    left = set(range(len(entry.constraints)))
    for op_type in entry.names:
        for j, node in refused_nodes(name, op_type, frozenset(left)).items():
            if j in left:
                check_verdict(name, node, load(name).operators[op_type].constraints[j])
                left.discard(j)
        if not left:
            return
    missing = [entry.constraints[j].require for j in sorted(left)]
    pytest.fail(f"{entry.names}: no node is refused by {missing} alone; add one to tests/targets/negatives")


@pytest.mark.parametrize("name", GENERAL)
def test_every_general_condition_refuses_a_node(name: str) -> None:
    description = load(name)
    constraints = description.operators["Relu"].constraints
    own = len(constraints) - len(description.general)
    wanted = frozenset(range(own, len(constraints)))
    nodes = refused_nodes(name, "Relu", wanted)
    assert wanted <= set(nodes)
    for i in wanted:
        check_verdict(name, nodes[i], constraints[i])
