"""One node per constraint of the device files that makes it fail: a module for each vendor, with a list `NEGATIVE`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TypeAlias

from uair.ir.graph import Node
from uair.targets import Support, Target

Case: TypeAlias = tuple[Target, Node, Support, str]
"""Target, node, its verdict, and text of the clause that fails."""


def all_cases() -> list[Case]:
    """The lists of all modules in this folder."""
    modules = (importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    return [case for module in modules for case in module.NEGATIVE]
