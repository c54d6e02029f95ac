"""The public API is a file: tests/golden/test_public_api/ holds every public name with its signature.

A change of the API is a change of that file, which is reviewed like code: `pytest --update-golden` writes it.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import uair
from tests.golden import Golden


def parameters(function: Any) -> str:
    """Names, kinds, annotations as written and defaults of a function."""
    shown: list[str] = []
    if isinstance(function, type) and issubclass(function, Warning):
        return "(*args)"  # Python's own, which has no signature to ask for
    signature = inspect.signature(function)
    seen_keyword = False
    for parameter in signature.parameters.values():
        star = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (parameter.kind is parameter.VAR_KEYWORD)
        if parameter.kind is parameter.KEYWORD_ONLY and not seen_keyword:
            shown.append("*")
        seen_keyword |= parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        text = star + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {default(parameter.default)}"
        shown.append(text)
    result = "" if signature.return_annotation is signature.empty else f" -> {annotation(signature.return_annotation)}"
    return f"({', '.join(shown)}){result}"


def annotation(value: Any) -> str:
    return value if isinstance(value, str) else inspect.formatannotation(value)


def default(value: Any) -> str:
    text = repr(value)
    return "..." if " at 0x" in text or text == "NOTHING" else text


def members(cls: type[Any]) -> Iterator[str]:
    """Public attributes and methods that the class itself defines."""
    for name, value in sorted(vars(cls).items()):
        if name.startswith("_"):
            continue
        target = inspect.unwrap(value.__func__ if isinstance(value, (staticmethod, classmethod)) else value)
        if isinstance(value, (staticmethod, classmethod)):
            yield f"  {type(value).__name__} {name}{parameters(target)}"
        elif inspect.isfunction(target):
            yield f"  {name}{parameters(target)}"
        elif inspect.isdatadescriptor(value):
            yield f"  {name}"
        elif not isinstance(value, enum.Enum):
            yield f"  {name} = ..."


def describe(name: str, value: Any) -> Iterator[str]:
    """Lines about one public object."""
    if isinstance(value, type) and issubclass(value, enum.Enum):
        yield f"enum {name}: {', '.join(value.__members__)}"
        yield from members(value)
    elif isinstance(value, type):
        bases = ", ".join(b.__name__ for b in value.__bases__ if b is not object)
        constructor = "" if inspect.isabstract(value) else parameters(value)
        yield f"class {name}{constructor}{f' of {bases}' if bases else ''}"
        yield from members(value)
    elif callable(value):
        yield f"{name}{parameters(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


@pytest.mark.parametrize("module", ["uair", "uair.testing"])
def test_names_and_signatures(module: str, golden: Golden) -> None:
    public = importlib.import_module(module)
    names = getattr(public, "__all__", None) or [
        n for n, v in vars(public).items() if not n.startswith("_") and getattr(v, "__module__", "") == module
    ]
    lines = [line for name in sorted(names) for line in describe(name, getattr(public, name))]
    golden.check(f"{module}.txt", "\n".join(lines) + "\n")


def test_every_name_is_there_and_documented() -> None:
    assert sorted(uair.__all__) == uair.__all__ == dir(uair)
    for name in uair.__all__:
        value = getattr(uair, name)
        assert name == "__version__" or inspect.getdoc(value), f"uair.{name} has no documentation"


def test_the_names_for_type_checkers_are_those_at_run_time() -> None:
    """The lazy table and the imports under TYPE_CHECKING are two lists: they must not drift apart."""
    import ast
    from pathlib import Path

    tree = ast.parse(Path(uair.__file__ or "").read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        (node.module, alias.name) for block in blocks for node in ast.walk(block) if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    homes: dict[str, tuple[str, ...]] = vars(uair)["_HOMES"]
    lazy = {(home, name) for home, names in homes.items() for name in names}
    assert imported == lazy
    assert {name for _, name in lazy} | {"__version__"} == set(uair.__all__)


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="module 'uair' has no attribute 'complie'"):
        getattr(uair, "complie")  # noqa: B009  a type checker would refuse the attribute


def test_star_import_works_in_a_fresh_interpreter() -> None:
    code = "from uair import *; print(compile.__module__, Int8.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["uair.api", "Int8"]
