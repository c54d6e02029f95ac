"""A module as the targets' rewrites leave it, for many targets at once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import attrs

from uair.driver.standard import preparation
from uair.ir.module import Module
from uair.pipeline import Pass, PassManager

if TYPE_CHECKING:
    from uair.targets.check import ModuleFacts
    from uair.targets.target import Target


@attrs.define(eq=False, slots=False)
class Prepared:
    """A module that some passes have left, and what further passes make of it.

    Targets whose preparation begins with the same passes share what these do, and most passes find nothing to do in
    most modules: 28 targets look at a few modules only.

    Attributes:
        module: the module, which nobody changes.
    """

    module: Module
    _following: list[tuple[Pass, Prepared]] = attrs.field(factory=list["tuple[Pass, Prepared]"], init=False)
    _copy: Module | None = attrs.field(default=None, init=False)

    def for_target(self, target: Target) -> Prepared:
        """The module after all passes of a target's preparation."""
        return functools.reduce(Prepared.after, preparation(target, self.module), self)

    def after(self, pass_: Pass) -> Prepared:
        """The module after a pass; this very object when the pass changes nothing."""
        known = next((prepared for each, prepared in self._following if each == pass_), None)
        if known is None:
            copy = self._copy or self.module.clone()
            PassManager([pass_], []).run(copy)
            changed = copy.applied[-1].changed
            known = Prepared(copy) if changed else self
            self._copy = None if changed else copy  # as good as new: the next pass takes it
            self._following.append((pass_, known))
        return known

    @functools.cached_property
    def facts(self) -> ModuleFacts:
        """What reports say about it whatever the target."""
        from uair.targets.check import ModuleFacts

        return ModuleFacts.of(self.module)
