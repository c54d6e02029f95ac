"""What is known to a run: operators, passes, rules, targets, frontends; UAIR's own and those of plug-ins.

There is no registry filled by imports. `Context.default()` gathers the built-in names and the entry points
`uair.operators`, `uair.passes`, `uair.rules`, `uair.targets` and `uair.frontends` of installed packages; a test builds
a small one by hand, and `with context.in_force():` makes it the default of a block (the command line's `--plugin`).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import attrs

from uair.errors import UnavailableError, UnknownNameError
from uair.ops.base import Operator

if TYPE_CHECKING:
    from uair.pipeline import Pass


@attrs.frozen
class Context:
    """Names and what they stand for; values are objects or "module:attribute" strings that are imported when asked for.

    Attributes:
        operators: operator classes by name.
        passes: pass classes by name.
        targets: targets by name; a class is called with the name, so that one class serves a family of chips.
        frontends: loaders by format name.
        rules: rewrite rules of plug-ins by name; those of UAIR's own passes are in uair.passes.catalogue.
    """

    operators: Mapping[str, type[Operator]]
    passes: Mapping[str, Any] = attrs.field(factory=dict)
    targets: Mapping[str, Any] = attrs.field(factory=dict)
    frontends: Mapping[str, Any] = attrs.field(factory=dict)
    rules: Mapping[str, Any] = attrs.field(factory=dict)

    @staticmethod
    def default() -> Context:
        """The context in force: UAIR's own names and those of installed plug-ins, unless a block says otherwise."""
        return _in_force.get() or installed()

    @contextmanager
    def in_force(self) -> Generator[Context, None, None]:
        """Let this be `Context.default()` in a `with` block."""
        token = _in_force.set(self)
        try:
            yield self
        finally:
            _in_force.reset(token)

    def operator(self, name: str) -> type[Operator]:
        """The operator class called `name`.

        Raises:
            UnknownNameError: there is none; the hint lists near matches.
        """
        found: type[Operator] = lookup(self.operators, name, "operator")
        return found

    def pass_class(self, name: str) -> type[Pass]:
        """The pass called `name`.

        Raises:
            UnknownNameError: there is none.
        """
        if name in self.rules and name not in self.passes:
            raise UnknownNameError(f"{name!r} is a rule, not a pass", hint=f"write apply-rules{{rules=[{name}]}}")
        found: type[Pass] = resolve(lookup(self.passes, name, "pass"))
        return found

    def target(self, name: str) -> Any:
        """The target called `name` (a `uair.targets.Target`).

        Raises:
            UnknownNameError: there is none.
        """
        found = resolve(lookup(self.targets, name, "target"))
        return _made(found, name) if isinstance(found, type) else found

    def frontend(self, name: str) -> Any:
        """The loader of the format called `name`.

        Raises:
            UnknownNameError: there is none.
        """
        return resolve(lookup(self.frontends, name, "frontend"))


_in_force: ContextVar[Context | None] = ContextVar("uair.context", default=None)


@functools.cache
def installed() -> Context:
    """UAIR's own names and those of installed plug-ins."""
    import uair.ops
    from uair.builtin import FRONTENDS, OPERATORS, PASSES, TARGETS

    canonical = {name: getattr(uair.ops, name) for name in uair.ops.OPERATORS}
    found = entry_points()  # once for all groups: each call reads the metadata of all that is installed

    def plugins(group: str) -> dict[str, Any]:
        return {entry.name: entry.value for entry in found.select(group=group)}

    return Context(
        ResolvingMapping({**canonical, **OPERATORS, **plugins("uair.operators")}),
        PASSES | plugins("uair.passes"),
        TARGETS | plugins("uair.targets"),
        FRONTENDS | plugins("uair.frontends"),
        plugins("uair.rules"),
    )


class ResolvingMapping(Mapping[str, Any]):
    """Objects by name; what is given as a "module:attribute" string is imported when it is asked for."""

    __slots__ = ("_references",)

    def __init__(self, references: Mapping[str, Any]) -> None:
        self._references = dict(references)

    def __getitem__(self, name: str) -> Any:
        found = self._references[name] = resolve(self._references[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._references

    def __iter__(self) -> Iterator[str]:
        return iter(self._references)

    def __len__(self) -> int:
        return len(self._references)


@functools.cache
def _made(target: Callable[[str], Any], name: str) -> Any:
    """A target of a family; one of each name, so that its description is read once."""
    return target(name)


def lookup(known: Mapping[str, Any], name: str, kind: str) -> Any:
    """`known[name]`, or an error that lists near matches."""
    if name not in known:
        import difflib  # here: for mistakes only

        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
        raise UnknownNameError(f"there is no {kind} called {name!r}", hint=hint)
    return known[name]


def resolve(reference: Any) -> Any:
    """Import what a "module:attribute" string names; anything else is returned as it is.

    Raises:
        UnavailableError: there is no such module or attribute, or the module cannot be imported.
    """
    if not isinstance(reference, str):
        return reference
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UnavailableError(
            f"{reference!r} cannot be imported: {error}", hint="install, update or remove the package that brings it"
        ) from error
