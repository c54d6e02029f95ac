"""Calibration samples that Python code gives: `file.py:function` or `package.module:function`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from uair.quant.errors import CalibrationSourceError

FUNCTION = re.compile(r"(?P<module>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def named_function(text: str) -> Callable[[], Any] | None:
    """What a text names, imported; None when it is the name of no function. It is called without arguments.

    Raises:
        CalibrationSourceError: the code cannot be imported, or holds no such function.
    """
    named = FUNCTION.fullmatch(text)
    if named is None or Path(text).exists():
        return None
    try:
        function: Any = getattr(_imported(named["module"]), named["name"])
    except Exception as error:
        raise failed(text, error) from error
    if not callable(function):
        raise CalibrationSourceError(
            f"{text} is a {type(function).__name__}, no function", hint="name a function without parameters"
        )
    return cast("Callable[[], Any]", function)


def failed(text: str, error: Exception) -> CalibrationSourceError:
    """The error for what the user's code raised, with the place in it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "uair" not in Path(frame.filename).parts and "<frozen" not in frame.filename]
    return CalibrationSourceError(
        f"{text} fails: {type(error).__name__}: {error}",
        place=f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else text,
        hint="name a function without parameters that returns or yields samples, as file.py:function",
    )


def _imported(name: str) -> ModuleType:
    """The module of a file, or of a name as seen from the current folder."""
    if name.endswith(".py"):
        path = Path(name)
        spec = importlib.util.spec_from_file_location(f"uair_calibration_{path.stem}", path)
        if spec is None or spec.loader is None or not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)
