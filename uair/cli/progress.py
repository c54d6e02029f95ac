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

    def end(self, module: Module) -> None:
        """What follows the last pass takes time too."""
        self.update(f"writing ({len(module.main)} nodes)")
