"""Which change of a pipeline changed the numbers, and the smallest module that shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from uair.bisection import Culprit, Fault, Recorder, Step, find_application, find_step, outermost
from uair.codegen.reference.numerics import NotComparable, SameNumbers, describe, drawn_feeds, value_error
from uair.debugging.reduction import Case, observed, reduce_case
from uair.debugging.saving import is_array, replay_command, save_case
from uair.driver.partitioned import observe
from uair.driver.transform import transform
from uair.errors import UairError, UnknownNameError
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.pipeline import Pass, PassContext, PassManager, RulePass, Verify
from uair.request import CompileRequest
from uair.rewrite import Rule, RuleSet
from uair.rewrite.driver import Fuel


@attrs.frozen(eq=False)
class Bisection:
    """What a bisection found.

    Attributes:
        tolerance: the error that was allowed.
        errors: by how much each output differs after all passes, relative to its greatest magnitude; empty when a pass
            raised.
        culprit: the change that made the model wrong; None when the numbers agree.
        step: its pass is the so-manieth (from 1 on) of those that changed something.
        steps: how many passes changed something.
        fault: what is wrong with the model's own outputs.
        smallest: the smallest module found that shows the fault, and its inputs; None when nothing is wrong, or the
            fault does not show on a module that is read back.
    """

    tolerance: float
    errors: Mapping[str, float]
    culprit: Culprit | None = None
    step: int = 0
    steps: int = 0
    fault: Fault | None = None
    smallest: Case | None = None

    @property
    def found(self) -> bool:
        """Whether something is wrong."""
        return self.culprit is not None

    def __str__(self) -> str:
        if self.culprit is None or self.fault is None:
            worst = max(self.errors.values(), default=0.0)
            return f"the numbers agree: the outputs differ by at most {worst:.3g}, {self.tolerance:g} is allowed"
        made = self.culprit.application
        where = f" ({made.location})" if made is not None else ""
        return f"{self.fault.text}: {describe(self.culprit)}{where} in pass {self.culprit.pass_.spec}"

    def replay(self, plugins: Sequence[Path] = ()) -> str:
        """The command that replays the smallest module; "" when no command line can say the pass.

        Args:
            plugins: the files that bring the passes and rules.
        """
        if self.culprit is None or self.smallest is None or not all(map(is_array, self.smallest.feeds.values())):
            return ""
        return replay_command(self.culprit.pass_, self.tolerance, plugins)

    def save(self, folder: str | os.PathLike[str], plugins: Sequence[Path] = ()) -> list[Path]:
        """Write the smallest module, its inputs, what the pass makes of it, and the script that replays it.

        Args:
            folder: made when it is not there; files of the same names in it are replaced.
            plugins: the files that bring the passes and rules.

        Returns:
            the files; none when there is no smallest module.

        Raises:
            OutputError: a file cannot be written.
        """
        if self.culprit is None or self.smallest is None:
            return []
        after = _run_alone(self.culprit.pass_, self.smallest.module)
        return save_case(folder, self.smallest, after, self.replay(plugins))


@attrs.frozen
class Rules(RulePass):
    """Some rules as a pass, for those who have rules and no pass. It has no name on the command line."""

    chosen: tuple[Rule, ...] = attrs.field(default=(), metadata={"option": False})

    def rules(self) -> RuleSet:
        """The rules."""
        return RuleSet(self.chosen)


def as_passes(given: Sequence[Pass | Rule]) -> list[Pass]:
    """Passes; rules that stand next to each other are one pass."""
    passes: list[Pass] = []
    for each in given:
        if isinstance(each, Pass):
            passes.append(each)
        elif passes and isinstance(passes[-1], Rules):
            passes[-1] = Rules((*passes[-1].chosen, each))
        else:
            passes.append(Rules((each,)))
    return passes


def bisect_passes(
    module: Module,
    passes: Sequence[Pass],
    feeds: Mapping[str, Any] | None = None,
    *,
    tolerance: float = 1e-4,
    reduce: bool = True,
) -> Bisection:
    """Find the change of some passes that changes what a module computes.

    Args:
        module: the module; it is not changed.
        passes: run in order on copies of it.
        feeds: inputs by name; random ones when not given.
        tolerance: greatest error allowed in an output, relative to its greatest magnitude.
        reduce: whether to cut out the smallest module that shows the fault.

    Raises:
        NotComparable: see there.
        UairError: the module itself cannot be run.
    """
    recorder = Recorder()
    copy = module.clone()
    judge = reference(copy, feeds, tolerance)
    try:
        PassManager(passes, [Verify(), recorder]).run(copy)
    except UnknownNameError:  # the pipeline is wrong, not the module
        raise
    except Exception:
        if not (recorder.steps and recorder.steps[-1].error is not None):
            raise
    return bisect_steps(recorder.steps, judge, {}, reduce=reduce)


def bisect_target(
    module: Module,
    request: CompileRequest,
    feeds: Mapping[str, Any] | None = None,
    *,
    tolerance: float = 1e-4,
    reduce: bool = True,
) -> Bisection:
    """Find the change of a target's whole pipeline, without quantization, that changes what a module computes.

    A model that the target takes in parts is searched up to the partition, then part by part, each on what it gets when
    the whole model runs on the inputs.

    Args:
        module: the module, its shapes bound; it is not changed.
        request: the target with its options.
        feeds: inputs by name; random ones when not given.
        tolerance: greatest error allowed in an output, relative to its greatest magnitude.
        reduce: whether to cut out the smallest module that shows the fault.

    Raises:
        NotComparable: see there.
        UairError: the module itself cannot be run, or the target does not take it.
    """
    recorder = Recorder()
    judge = reference(module, feeds, tolerance)
    refusal: UairError | None = None
    values: dict[str, Any] = {}
    try:
        parts = transform(module, request, [recorder]).partitioned
        if parts is not None:
            taken = [tensor for each in parts.parts for tensor in each.part.taken]
            values = observe(parts.source, judge.feeds, taken)
    except UnknownNameError:
        raise
    except UairError as error:
        refusal = error
    found = bisect_steps(recorder.steps, judge, values, reduce=reduce)
    if refusal is not None and not found.found:
        raise refusal
    return found


def reference(module: Module, feeds: Mapping[str, Any] | None, tolerance: float) -> SameNumbers:
    """The judge that holds everything against a module.

    Raises:
        NotComparable: inputs are needed, or the module does not compute the same twice.
        UairError: the module cannot be run.
    """
    feeds = drawn_feeds(module.main) if feeds is None else feeds
    judge = SameNumbers.of(module, feeds, tolerance)
    drawing = [node for graph in module.all_graphs() for node in graph if not node.op.deterministic]
    fault = judge(module) if drawing else None
    if fault is not None:
        node = drawing[0]
        raise NotComparable(
            f"the model does not compute the same twice: {fault.text}",
            place=f"{node!r}, from {node.loc}",
            hint="what is not repeatable cannot be compared: give the operator a seed, or leave it out of the model",
        )
    return judge


def bisect_steps(steps: Sequence[Step], judge: SameNumbers, values: Mapping[str, Any], *, reduce: bool) -> Bisection:
    """Find the culprit among passes that ran.

    Args:
        steps: as they were recorded. The first module among them is held against the judge's, further ones (the parts
            of a partitioned model) against what they were in front of their first pass.
        judge: holds modules against the original one.
        values: of the parts' inputs by name; random numbers where one is missing.
        reduce: see `bisect_passes`.
    """
    errors = dict.fromkeys(judge.expected, 0.0)
    for group in sorted({step.group for step in steps}):
        own = [step for step in steps if step.group == group]
        if group != 0:
            names = own[0].before.main.input_names
            feeds = {name: values[name] for name in names} if all(name in values for name in names) else None
            judge = reference(own[0].before, feeds, judge.tolerance)
        own_errors = _errors(judge, own[-1].after)
        errors = {} if own_errors is None else errors | own_errors
        agrees = own_errors is not None and judge.fault(own_errors) is None
        found = None if agrees else find_step(own, judge)
        if found is None:
            continue
        at, fault = found
        culprit = find_application(own[at].pass_, own[at].before, judge)
        smallest = _smallest(culprit, judge) if reduce else None
        return Bisection(judge.tolerance, errors, culprit, steps.index(own[at]) + 1, len(steps), fault, smallest)
    return Bisection(judge.tolerance, errors, steps=len(steps))


def _errors(judge: SameNumbers, module: Module | None) -> dict[str, float] | None:
    """The error of every output; None where there is no module, or it does not run."""
    try:
        return None if module is None else judge.errors(module)
    except Exception:  # noqa: BLE001  that it does not run is the fault that is looked for
        return None


def _smallest(culprit: Culprit, judge: SameNumbers) -> Case | None:
    """The smallest module in which the culprit's pass does the same harm."""
    case = Case(culprit.before, judge.feeds)
    seeds = _seeds(culprit, case)
    rule = None if culprit.application is None else culprit.application.rule

    def shows(module: Module, feeds: Mapping[str, Any]) -> bool:
        return shows_fault(culprit.pass_, module, feeds, judge.tolerance, culprit.fault, rule)

    return reduce_case(case, seeds, shows)


def shows_fault(
    pass_: Pass, module: Module, feeds: Mapping[str, Any], tolerance: float, fault: Fault, rule: str | None = None
) -> bool:
    """Whether a pass, run on a module, makes a fault of the same kind, and applies a rule on the way."""
    try:
        judge = SameNumbers.of(module, feeds, tolerance)
    except UairError:
        return False
    fuel = Fuel(keep_log=True)
    copy = module.clone()
    try:
        pass_.run(copy, PassContext(fuel=fuel))
    except Exception as error:  # noqa: BLE001  the fault that is looked for may be that the pass raises
        return fault.same_kind(Fault.of(error))
    return fault.same_kind(judge(copy)) and (rule is None or any(made.rule == rule for made in fuel.log))


def _run_alone(pass_: Pass, module: Module) -> Module | None:
    """What a pass makes of a copy of a module; None when it raises."""
    copy = module.clone()
    try:
        pass_.run(copy, PassContext())
    except Exception:  # noqa: BLE001  that it raises is the fault that was looked for
        return None
    return copy


def _seeds(culprit: Culprit, case: Case) -> list[Node]:
    """Nodes of the main graph where the fault begins."""
    graph = case.module.main
    node = culprit.node or _node_of(culprit.fault.error, graph)
    seed = None if node is None else outermost(graph, node)
    if seed is not None:
        return [seed]
    if culprit.after is None:
        return []
    return _first_difference(case, culprit.after)


def _node_of(error: Exception | None, graph: Graph) -> Node | None:
    """The node of a graph from the same source as the one that an error is about."""
    node = error.node if isinstance(error, UairError) else None
    sources = set(node.loc.sources) if isinstance(node, Node) else set[Any]()
    return next((each for each in graph if sources & set(each.loc.sources)), None)


def _first_difference(case: Case, after: Module) -> list[Node]:
    """The first node whose result has another value in a later module, where the result goes by the same name."""
    before = _by_name(case.module.main)
    later = {name: t for name, t in _by_name(after.main).items() if name in before}
    old = observed(case, {name: before[name] for name in later})
    new = observed(Case(after, case.feeds), later)
    if old is None or new is None:
        return []
    for node in case.module.main:
        for tensor in node.outputs:
            other = later.get(tensor.name)
            known = tensor in old and other in new
            if known and other is not None and before[tensor.name] is tensor:
                if value_error(old[tensor], new[other]) > 0:
                    return [node]
    return []


def _by_name(graph: Graph) -> dict[str, Any]:
    """The results of nodes by name, where the name is one result's only."""
    named: dict[str, list[Any]] = {}
    for node in graph:
        for tensor in node.outputs:
            named.setdefault(tensor.name, []).append(tensor)
    return {name: found[0] for name, found in named.items() if name and len(found) == 1}
