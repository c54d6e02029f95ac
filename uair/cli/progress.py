"""The running pass as a status line."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from uair.ir.module import Module
from uair.pipeline import Instrument, Pass


@attrs.define(eq=False)
class PassProgress(Instrument):
    """Shows the running pass.

    Attributes:
        update: shows a text in the place of the one before.
    """

    update: Callable[[str], None]

    def before(self, pass_: Pass, module: Module) -> None:
        """Name the pass."""
        self.update(f"{pass_.name} ({len(module.main)} nodes)")

    def progress(self, pass_: Pass, stage: str, done: int, total: int) -> None:
        """Name the stage, and how much of it is done."""
        share = f", {done} of at most {total}" if total else f", {done}" if done else ""
        self.update(f"{pass_.name}: {stage}{share}")

    def end(self, module: Module) -> None:
        """What follows the last pass takes time too."""
        self.update(f"writing ({len(module.main)} nodes)")
