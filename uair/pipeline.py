"""Passes, the manager that runs them, and the instruments that watch.

A pass is a frozen attrs class; its fields are its command-line options:

    @attrs.frozen
    class DropDropout(Pass):
        '''Remove dropout.'''
        keep: tuple[str, ...] = ()
        def run(self, module, context): ...

is `drop-dropout` on the command line, `-p "drop-dropout{keep=[head]}"` with an option.
"""

from __future__ import annotations

import abc
import functools
import inspect
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import attrs

from uair.atomic import reported
from uair.errors import UairError, VerificationError, raised_at
from uair.ir.graph import Node, Tensor
from uair.ir.inference import number_unknowns
from uair.ir.module import AppliedPass, Module
from uair.ir.verify import verify
from uair.rewrite.driver import Fuel, RuleSet, Statistics, apply_rules
from uair.rewrite.regions import inline_groups
from uair.rewrite.rule import Rule, kebab

INTERPRETER = "uair.codegen.reference:Interpreter"
"""What passes run modules with when a program gives no other; a name, so that no pass depends on a codegen."""
DIFFERENTIATOR = "uair.codegen.reference:Differentiator"
"""What passes find gradients with, likewise."""


def service(default: Any = None) -> Any:
    """A field of a pass that a program sets, and that is no option on the command line."""
    return attrs.field(default=default, metadata={"option": False}, repr=False, eq=False)


@attrs.frozen
class Spec:
    """What holds for a module at some stage, as data: checked by the manager, stated by passes and targets.

    Attributes:
        name: for messages, e.g. "after-layout".
        forbids_tensor: answers with a reason why a tensor must not be there, or an empty string.
        forbids_node: the same for a node.
    """

    name: str
    forbids_tensor: Callable[[Tensor], str] | None = None
    forbids_node: Callable[[Node], str] | None = None

    def check(self, module: Module) -> None:
        """Raise unless the spec holds.

        Raises:
            SpecViolation: naming the first tensor or node that breaks it.
        """
        for graph in module.all_graphs():
            if self.forbids_tensor is not None:
                for tensor in graph.tensors():
                    self._refuse(tensor, tensor.producer, self.forbids_tensor(tensor))
            if self.forbids_node is not None:
                for node in graph:
                    self._refuse(node, node, self.forbids_node(node))

    def _refuse(self, what: Tensor | Node, node: Node | None, reason: str) -> None:
        if reason:
            place = str(node.loc) if node is not None else ""
            error = SpecViolation(f"{self.name} does not hold: {what!r}: {reason}", place=place)
            error.node = node
            raise error


class SpecViolation(VerificationError):
    """A module does not have the form that a pass or target requires or promises."""

    code = "UAIR-E0313"
    title = "Module is not in the required form"


@attrs.define(eq=False)
class PassContext:
    """What a pass may use and report to, shared by the passes of one run.

    Attributes:
        fuel: budget of rule applications.
        statistics: applications by rule.
        reports: results of passes for people and files, by name (plain data that can be written as JSON).
        listener: is told how far the running pass is: a stage, and of that how much is done of how much in all.
    """

    fuel: Fuel = attrs.Factory(Fuel)
    statistics: Statistics = attrs.Factory(Statistics)
    reports: dict[str, Any] = attrs.Factory(dict[str, Any])
    listener: Callable[[str, int, int], None] | None = None

    def tell(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Say how far the running pass is; `total` is the most that there is to do, 0 when that is not known."""
        if self.listener is not None:
            self.listener(stage, done, total)

    def apply_rules(self, module: Module, rules: RuleSet | Sequence[Rule]) -> bool:
        """Apply rules to every graph of a module, with this run's fuel and statistics."""
        ruleset = rules if isinstance(rules, RuleSet) else RuleSet(rules)
        changed = False
        for graph in list(module.all_graphs()):
            changed |= apply_rules(graph, ruleset, fuel=self.fuel, statistics=self.statistics)
        return changed


class PassCrashed(UairError):
    """A pass raised an exception that is no UairError: the pass is wrong, not the model."""

    code = "UAIR-E0414"
    title = "A pass raised an exception"


class Pass(abc.ABC):
    """A transformation of modules. Subclasses are frozen attrs classes.

    Class attributes:
        name: on the command line; derived from the class name, `QuantizeInt8` is `quantize-int8`.
        requires: specs that must hold before.
        ensures: specs that hold afterwards.
        sees_groups: whether it takes modules with groups (Fused). For all others the manager puts the nodes of groups
            back into their graphs first, so that no pass and no rule has to know of them.
    """

    name: ClassVar[str]
    requires: ClassVar[tuple[Spec, ...]] = ()
    ensures: ClassVar[tuple[Spec, ...]] = ()
    sees_groups: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = kebab(cls.__name__)

    @abc.abstractmethod
    def run(self, module: Module, context: PassContext) -> bool:
        """Transform `module` in place; whether anything changed."""

    @property
    def spec(self) -> str:
        """The pass with its non-default options, as written in a pipeline."""
        options: list[str] = []
        for field in option_fields(type(self)):
            value = getattr(self, field.name)
            default: Any = field.default
            default = default.factory() if hasattr(default, "factory") else default
            if value != default:
                options.append(f"{field.name.replace('_', '-')}={option_text(value)}")
        return self.name + ("{" + " ".join(options) + "}" if options else "")

    def rulesets(self) -> Sequence[RuleSet]:
        """The rules that the pass applies, in its order: for `uair why-not` and `apply-rules`, which ask by name."""
        return ()

    @classmethod
    def description(cls) -> str:
        """First sentence of the documentation."""
        return (inspect.getdoc(cls) or "").split("\n", 1)[0]


class RulePass(Pass):
    """A pass that applies rules until none fits."""

    @abc.abstractmethod
    def rules(self) -> RuleSet:
        """The rules, in order of priority."""

    def rulesets(self) -> Sequence[RuleSet]:
        """These rules."""
        return (self.rules(),)

    def run(self, module: Module, context: PassContext) -> bool:
        """Apply the rules to every graph."""
        return context.apply_rules(module, self.rules())


def option_fields(cls: type[Pass]) -> list[attrs.Attribute[Any]]:
    """The fields of a pass that are options; fields with the metadata `option: False` are for the API only."""
    fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cast(Any, cls)) if attrs.has(cls) else ()
    return [field for field in fields if field.metadata.get("option", True)]


def option_text(value: Any) -> str:
    """An option's value as written in a pipeline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return "[" + ",".join(option_text(v) for v in cast("Sequence[Any]", value)) + "]"
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return "[" + ",".join(f"{option_text(k)}:{option_text(v)}" for k, v in pairs) + "]"
    text = str(value)
    if re.fullmatch(r'[^\s,{}\[\]=:"]+', text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Instrument:
    """Watches a run. Override what is of interest; passes themselves never print."""

    def begin(self, module: Module) -> None:
        """Before the first pass."""

    def before(self, pass_: Pass, module: Module) -> None:
        """Before each pass."""

    def after(self, pass_: Pass, module: Module, changed: bool) -> None:
        """After each pass, the module verified."""

    def end(self, module: Module) -> None:
        """After the last pass."""

    def progress(self, pass_: Pass, stage: str, done: int, total: int) -> None:
        """While a pass works that takes long, see `PassContext.tell`."""

    def failed(self, pass_: Pass, error: Exception) -> None:
        """When a pass, or a check before or after it, raised."""


@attrs.define(eq=False)
class Verify(Instrument):
    """Check the whole module after every pass that changed it; on by default."""

    def begin(self, module: Module) -> None:
        """Check the input."""
        verify(module)

    def after(self, pass_: Pass, module: Module, changed: bool) -> None:
        """Check the result."""
        if changed:
            verify(module)


@attrs.frozen
class Timing:
    """Time and memory of one pass.

    Attributes:
        name: the pass.
        seconds: wall time.
        cpu_seconds: CPU time of the process.
        peak_bytes: the process's peak memory after the pass.
        nodes: number of nodes afterwards.
        changed: whether the pass changed anything.
    """

    name: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    nodes: int
    changed: bool


@attrs.define(eq=False)
class Measure(Instrument):
    """Records time, peak memory and node count of each pass in `records`."""

    records: list[Timing] = attrs.Factory(list[Timing])
    _start: tuple[float, float] = (0.0, 0.0)

    def before(self, pass_: Pass, module: Module) -> None:
        """Start the clocks."""
        self._start = time.perf_counter(), time.process_time()

    def after(self, pass_: Pass, module: Module, changed: bool) -> None:
        """Record the pass."""
        import resource

        wall, cpu = self._start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        nodes = sum(len(g) for g in module.all_graphs())
        self.records.append(
            Timing(pass_.spec, time.perf_counter() - wall, time.process_time() - cpu, peak, nodes, changed)
        )


@attrs.define(eq=False)
class Dump(Instrument):
    """Writes the module's text after each pass that changed it: `00-input.uair`, `01-fuse.uair`, ...

    Raises (from its hooks):
        OutputError: the folder cannot be written to.
    """

    directory: Path
    to_text: Callable[[Module], str]
    _number: int = 0

    def begin(self, module: Module) -> None:
        """Write the input; of further runs only what the passes change."""
        if self._number == 0:
            self._write("input", module)

    def after(self, pass_: Pass, module: Module, changed: bool) -> None:
        """Write the result."""
        self._number += 1
        if changed:
            self._write(pass_.name, module)

    def _write(self, name: str, module: Module) -> None:
        with reported(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"{self._number:02}-{name}.uair"
            path.write_bytes(self.to_text(module).encode())


@attrs.define(eq=False)
class PassManager:
    """Runs passes in order over a module.

    Attributes:
        passes: the passes.
        instruments: the watchers; `Verify` is one of them unless the caller leaves it out.
        context: fuel, statistics and reports.
    """

    passes: Sequence[Pass]
    instruments: Sequence[Instrument] = attrs.field(factory=lambda: [Verify()])
    context: PassContext = attrs.Factory(PassContext)

    def run(self, module: Module) -> Module:
        """Run every pass on `module`, in place, and return it.

        Raises:
            UairError: from a pass or an instrument; `pass_name` tells which pass it was.
            PassCrashed: a pass raised something else, but for MemoryError and OSError, which are passed on.
        """
        try:
            for instrument in self.instruments:
                instrument.begin(module)
        except UairError as error:
            add_window(error)
            raise
        for pass_ in self.passes:
            self._run_one(pass_, module)
        for instrument in self.instruments:
            instrument.end(module)
        return module

    def _run_one(self, pass_: Pass, module: Module) -> None:
        try:
            for instrument in self.instruments:
                instrument.before(pass_, module)
            inlined = 0 if pass_.sees_groups else inline_groups(module)
            check_all(pass_.requires, module)
            self.context.fuel.pass_spec = pass_.spec
            self.context.listener = functools.partial(self._progress, pass_)
            changed = _run_guarded(pass_, module, self.context) or inlined > 0
            if changed:
                number_unknowns(module)
            module.applied.append(AppliedPass(pass_.spec, changed))
            for instrument in self.instruments:
                instrument.after(pass_, module, changed)
            check_all(pass_.ensures, module)
        except Exception as error:
            if isinstance(error, UairError):
                error.pass_name = error.pass_name or pass_.spec
                add_window(error)
            for instrument in self.instruments:
                instrument.failed(pass_, error)
            raise
        finally:
            self.context.listener = None

    def _progress(self, pass_: Pass, stage: str, done: int, total: int) -> None:
        for instrument in self.instruments:
            instrument.progress(pass_, stage, done, total)


def _run_guarded(pass_: Pass, module: Module, context: PassContext) -> bool:
    """Run a pass; what it raises is told as a UairError.

    Raises:
        PassCrashed: see there.
    """
    try:
        return pass_.run(module, context)
    except (UairError, MemoryError, OSError):
        raise
    except Exception as error:
        raise PassCrashed(
            f"pass {pass_.name} raises {type(error).__name__}: {error}",
            place=raised_at(error),
            hint="with `--reproducer FOLDER` the module before the pass is written, and the command that replays it",
        ) from error


def add_window(error: UairError) -> None:
    """Let an error that is about a node show the printed lines around it."""
    node = error.node
    if isinstance(node, Node) and node.graph is not None and not error.window:
        from uair.text.window import print_window

        error.window = print_window(node.graph, node)


def check_all(specs: Iterable[Spec], module: Module) -> None:
    """Check several specs."""
    for spec in specs:
        spec.check(module)
