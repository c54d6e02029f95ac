"""Plug-ins that are one file of Python: rules, passes, operators and targets that are tried before they are packaged.

uair opt model.onnx --plugin my_rules.py -p "canonicalise,apply-rules{rules=[merge-pads]},fuse"
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from uair.context import Context
from uair.errors import UairError, raised_at
from uair.ops.base import Operator
from uair.pipeline import Pass
from uair.rewrite import Rule
from uair.targets import Target


class PluginError(UairError):
    """A plug-in file cannot be loaded: it raises, brings nothing that UAIR knows, or brings a name that is taken."""

    code = "UAIR-E0005"
    title = "Plug-in file cannot be loaded"


def with_plugins(context: Context, files: Sequence[Path]) -> Context:
    """The context and what the files bring; a file is run, so it must be one that the user trusts.

    What counts are the classes that a file defines itself and whose names do not begin with `_`: passes, rules (which
    the pass `apply-rules` applies), and operators; and the targets that it makes.

    Raises:
        PluginError: see there.
    """
    for file in files:
        context = _extended(context, file)
    return context


def _extended(context: Context, file: Path) -> Context:
    module = _run(file)
    classes = list(_classes(module))
    passes: dict[str, Any] = {cls.name: cls for cls in classes if issubclass(cls, Pass)}
    rules: dict[str, Any] = {cls.name: cls for cls in classes if issubclass(cls, Rule)}
    operators = {cls.__name__: cls for cls in classes if issubclass(cls, Operator)}
    targets = {value.name: value for value in vars(module).values() if isinstance(value, Target)}
    if not (passes or rules or operators or targets):
        raise PluginError(
            f"{file} brings nothing",
            hint="define subclasses of uair.Rule, uair.Pass or uair.Operator in it, or make a Target",
        )
    brought: tuple[tuple[str, dict[str, Any]], ...] = (
        ("passes", passes), ("rules", rules), ("operators", operators), ("targets", targets),
    )  # fmt: skip
    for kind, added in brought:
        taken = next((name for name in added if name in getattr(context, kind)), "")
        if taken:
            raise PluginError(
                f"{file} brings {taken!r}, which is a name among the {kind} already", hint="give the class another name"
            )
    return attrs.evolve(context, **{kind: {**getattr(context, kind), **added} for kind, added in brought})


def _classes(module: ModuleType) -> Iterator[type[Any]]:
    """The classes that a file defines for others."""
    for name, value in vars(module).items():
        own = inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if own and not inspect.isabstract(value):
            yield value


def _run(file: Path) -> ModuleType:
    """The file as a module of a name of its own.

    Raises:
        PluginError: it cannot be read, or raises.
    """
    stem = "uair_plugin_" + re.sub(r"\W", "_", file.stem)
    name = next(n for n in (f"{stem}_{i}" for i in itertools.count()) if n not in sys.modules)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{file} is no Python file", hint="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # attrs and typing look up a class's module there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PluginError(
            f"{file} raises {type(error).__name__}: {error}", place=raised_at(error), hint="run it with Python alone"
        ) from error
    return module
