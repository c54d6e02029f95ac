"""The module after every pass, printed."""

from __future__ import annotations

from uair.cli import output
from uair.ir.module import Module
from uair.pipeline import Instrument, Pass
from uair.text import print_module


class PrintAfter(Instrument):
    """Prints the module after every pass that changed it."""

    def after(self, pass_: Pass, module: Module, changed: bool) -> None:
        """Print."""
        if changed:
            output.print_text(f"// after {pass_.spec}\n{print_module(module)}")
