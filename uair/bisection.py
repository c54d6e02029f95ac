"""Searching the change that made a module wrong: among the steps of a pipeline, then among the changes of one pass.

Every change that draws fuel has a number. A pass that is run again from the same module with less fuel does the same
changes and stops early, so that the first wrong change is found in log2(changes) runs; what "wrong" means says a judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import attrs

from uair.errors import UairError, raised_at
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.pipeline import Instrument, Pass, PassContext
from uair.rewrite.driver import Application, Fuel
from uair.rewrite.failures import RulesDoNotEnd


@attrs.frozen
class Fault:
    """What is wrong with a module.

    Attributes:
        text: in words.
        error: what a pass, the verifier or the interpreter raised; None when numbers differ.
        difference: by how much the worst output differs, relative to its greatest magnitude.
        output: the name of that output.
    """

    text: str
    error: Exception | None = attrs.field(default=None, eq=False)
    difference: float | None = None
    output: str = ""

    @staticmethod
    def of(error: Exception) -> Fault:
        """The fault that something was raised."""
        if isinstance(error, UairError):
            return Fault(error.message, error)
        return Fault(f"{type(error).__name__}: {error}, raised at {raised_at(error)}", error)

    def same_kind(self, other: Fault | None) -> bool:
        """Whether the other one is also a difference of numbers, or an error of the same class."""
        return other is not None and type(self.error) is type(other.error)


Judge: TypeAlias = Callable[[Module], Fault | None]
"""Says what is wrong with a module; None for nothing."""

Place: TypeAlias = tuple[int, int]
"""Number of a graph in `Module.all_graphs()` and of a node in it: the same in a module and in its clone."""


@attrs.frozen(eq=False)
class Step:
    """One pass of a pipeline as it ran.

    Attributes:
        pass_: the pass.
        before: a copy of the module in front of it.
        after: a copy of the module behind it; None when it raised.
        group: which module it was: the parts of a partitioned model are further modules.
        error: what it, or the verifier after it, raised.
    """

    pass_: Pass
    before: Module
    after: Module | None
    group: int
    error: Exception | None = None


@attrs.define(eq=False)
class Recorder(Instrument):
    """Keeps the module before and after every pass that changed it. Copies share the weights, so they are small.

    Attributes:
        steps: the passes that changed something, or raised, in order.
    """

    steps: list[Step] = attrs.Factory(list[Step])
    _groups: list[Module] = attrs.Factory(list[Module])
    _latest: dict[int, Module] = attrs.Factory(dict[int, Module])
    _running: int = 0

    def before(self, pass_: Pass, module: Module) -> None:
        """Remember the module; what the pass before left is known already."""
        group = self._group(module)
        if group not in self._latest:
            self._latest[group] = module.clone()
        self._running = group

    def after(self, pass_: Pass, module: Module, changed: bool) -> None:
        """Keep the step."""
        group = self._group(module)
        if changed:
            copy = module.clone()
            self.steps.append(Step(pass_, self._latest[group], copy, group))
            self._latest[group] = copy

    def failed(self, pass_: Pass, error: Exception) -> None:
        """Keep the step that raised."""
        if self.steps and self.steps[-1].pass_ is pass_:  # a watcher's complaint about what was kept already
            self.steps[-1] = attrs.evolve(self.steps[-1], after=None, error=error)
        elif self._latest:
            group = self._running
            self.steps.append(Step(pass_, self._latest[group], None, group, error))

    def _group(self, module: Module) -> int:
        for i, known in enumerate(self._groups):
            if known is module:
                return i
        self._groups.append(module)
        return len(self._groups) - 1


@attrs.frozen(eq=False)
class Culprit:
    """The change that made a module wrong.

    Attributes:
        pass_: the pass that made it.
        application: the change; None when the pass changed the module without drawing fuel, or raised between changes.
        number: of the change within the run of the pass, from 1 on; 0 without fuel.
        total: how many changes the whole run of the pass made, or made until it raised.
        before: the module that the change was made to.
        place: of the changed node in `before`; None where that is not known.
        fault: what is wrong afterwards.
        after: the module behind the pass when it stops at that change; None when it raised.
    """

    pass_: Pass
    application: Application | None
    number: int
    total: int
    before: Module
    place: Place | None
    fault: Fault
    after: Module | None

    @property
    def node(self) -> Node | None:
        """The changed node, in `before`."""
        return None if self.place is None else node_at(self.before, self.place)


def find_step(steps: Sequence[Step], judge: Judge) -> tuple[int, Fault] | None:
    """The first step whose module is wrong, by bisection: number and fault; None when the last one is right.

    Args:
        steps: of one module.
        judge: is asked about modules behind passes.
    """
    if not steps:
        return None
    fault = _judged(steps[-1], judge)
    if fault is None:
        return None
    low, high = -1, len(steps) - 1
    while high - low > 1:
        middle = (low + high) // 2
        found = _judged(steps[middle], judge)
        if found is None:
            low = middle
        else:
            high, fault = middle, found
    return high, fault


def _judged(step: Step, judge: Judge) -> Fault | None:
    if step.after is None:
        return Fault.of(step.error or RuntimeError())
    return judge(step.after)


def find_application(pass_: Pass, before: Module, judge: Judge) -> Culprit:
    """The first change of one pass after which the module is wrong.

    Args:
        pass_: a pass that makes the module wrong.
        before: the module, which is not changed.
        judge: says so.

    Raises:
        ValueError: the pass leaves a module that is right.
    """
    whole = _attempt(pass_, before, None, judge)
    if whole.fault is None:
        raise ValueError(f"{pass_.spec} leaves a module that is right")
    total = whole.fuel.used
    if isinstance(whole.fault.error, RulesDoNotEnd):  # which change is the one too many means nothing
        first = next(made for made in whole.fuel.log if made.rule == whole.fault.error.rule_name)
        return _located(pass_, before, whole, first.number, total)
    low, high, worst = -1, total + (whole.module is None), whole
    while high - low > 1:
        middle = (low + high) // 2 if low >= 0 else 0
        found = _attempt(pass_, before, middle, judge)
        if found.fault is None:
            low = middle
        else:
            high, worst = middle, found
    assert worst.fault is not None
    if high == 0:
        return Culprit(pass_, None, 0, total, before, None, worst.fault, worst.module)
    return _located(pass_, before, worst, high, total)


def _located(pass_: Pass, before: Module, found: _Attempt, number: int, total: int) -> Culprit:
    """The culprit that is a change of that number, with the module and the node that it was made to."""
    assert found.fault is not None
    probe = _Probe(limit=number, wanted=number)
    _run(pass_, before, probe)
    made = found.fuel.log[number - 1] if number <= len(found.fuel.log) else None
    return Culprit(pass_, made, number, total, probe.before or before, probe.place, found.fault, found.module)


@attrs.frozen(eq=False)
class _Attempt:
    module: Module | None
    fuel: Fuel
    fault: Fault | None


def _attempt(pass_: Pass, before: Module, limit: int | None, judge: Judge) -> _Attempt:
    """Run a pass with so much fuel."""
    fuel = Fuel(limit=limit, keep_log=True)
    module, error = _run(pass_, before, fuel)
    if error is not None:
        return _Attempt(None, fuel, Fault.of(error))
    return _Attempt(module, fuel, judge(module))


def _run(pass_: Pass, before: Module, fuel: Fuel) -> tuple[Module, Exception | None]:
    """The module behind a pass, and what the pass raised."""
    module = before.clone()
    if isinstance(fuel, _Probe):
        fuel.module = module
    try:
        pass_.run(module, PassContext(fuel=fuel))
    except Exception as error:  # noqa: BLE001  a pass that raises is what is looked for; the caller tells of it
        return module, error
    return module, None


@attrs.define(eq=False)
class _Probe(Fuel):
    """Fuel for `wanted` changes that keeps a copy of the module in front of the last of them."""

    wanted: int = 0
    module: Module | None = None
    before: Module | None = None
    place: Place | None = None

    def draw(self, rule: str, node: Node) -> bool:
        """As always; the copy is made before the change that this unit is for."""
        if self.used + 1 == self.wanted and self.module is not None:
            self.place = place_of(self.module, node)
            self.before = self.module.clone()
        return super().draw(rule, node)


def place_of(module: Module, node: Node) -> Place | None:
    """Where a node is; None when it is in none of the module's graphs."""
    for i, graph in enumerate(module.all_graphs()):
        if graph is node.graph:
            return i, next(j for j, each in enumerate(graph) if each is node)
    return None


def node_at(module: Module, place: Place) -> Node:
    """The node at a place."""
    graph = list(module.all_graphs())[place[0]]
    return list(graph)[place[1]]


def outermost(graph: Graph, node: Node) -> Node | None:
    """The node of `graph` that is, or holds in its graphs, `node`; None when there is none."""
    return next((each for each in graph if each is node or node in _inner(each)), None)


def _inner(node: Node) -> Iterator[Node]:
    for region in node.regions:
        for each in region:
            yield each
            yield from _inner(each)
