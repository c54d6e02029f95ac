"""Scripts that artifacts carry: one file each, which runs without UAIR.

In the source tree a script imports what it shares with others from `uair.codegen.standalone.parts`, so that it is
checked and tested like any module. In an artifact those definitions stand in the place of the import.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs

from uair.errors import InternalError

PARTS = "uair.codegen.standalone.parts"


def standalone(script: Path) -> str:
    """The text of a script with the shared definitions in it.

    Args:
        script: a Python file that imports from the standard library, from packages of the device's machine, and from
            `PARTS`.

    Raises:
        InternalError: the script imports something else of UAIR, or a name that there is not.
    """
    source = _Source(script.read_text(encoding="utf-8"))
    shared = [node for node in source.imports() if isinstance(node, ast.ImportFrom) and node.module == PARTS]
    other = [node for node in source.imports() if node not in shared and "uair" in _root(node)]
    if other:
        raise InternalError(f"{script.name} imports {_root(other[0])}, which an artifact does not hold")
    if not shared:
        return source.text
    parts = _Source(Path(__file__).with_name("parts.py").read_text(encoding="utf-8"))
    chosen = parts.needed({alias.name for node in shared for alias in node.names})
    bound = source.bound()
    used = {name for node in chosen for name in _names(node)}
    missing = [parts.lines(n) for n in parts.imports() if used & set(_binds(n)) - bound and _root(n) != ["__future__"]]
    lines = source.text.splitlines()
    for node in reversed(shared):
        del lines[node.lineno - 1 : node.end_lineno]
        if not lines[node.lineno - 2] and not lines[node.lineno - 1]:  # the import stood in a block of its own
            del lines[node.lineno - 1]
    text = "\n".join(lines) + "\n"
    return _with_definitions(_with_imports(text, missing), [parts.lines(node) for node in chosen])


@attrs.frozen
class _Source:
    """A Python file and its tree."""

    text: str
    tree: ast.Module = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "tree", ast.parse(self.text))

    def imports(self) -> list[ast.Import | ast.ImportFrom]:
        return [node for node in self.tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]

    def bound(self) -> set[str]:
        """The names that the imports give."""
        return {name for node in self.imports() for name in _binds(node)}

    def lines(self, node: ast.stmt) -> str:
        """The text of a statement."""
        return "\n".join(self.text.splitlines()[node.lineno - 1 : node.end_lineno])

    def needed(self, names: set[str]) -> list[ast.stmt]:
        """The definitions of names and of what they use, in order.

        Raises:
            InternalError: there is no such definition.
        """
        defined = {name: node for node in self.tree.body for name in _defines(node)}
        unknown = names - set(defined)
        if unknown:
            raise InternalError(f"{PARTS} has no {', '.join(sorted(unknown))}")
        found: set[str] = set()
        waiting = set(names)
        while waiting:
            name = waiting.pop()
            found.add(name)
            waiting |= {used for used in _names(defined[name]) if used in defined} - found
        return [node for node in self.tree.body if found & set(_defines(node))]


def _defines(node: ast.stmt) -> list[str]:
    return [node.name] if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []


def _binds(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [alias.asname or alias.name.partition(".")[0] for alias in node.names]


def _root(node: ast.Import | ast.ImportFrom) -> list[str]:
    modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return [module.partition(".")[0] for module in modules]


def _names(node: ast.AST) -> Iterator[str]:
    return (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _with_imports(text: str, missing: list[str]) -> str:
    """The text with further imports of the standard library, in order among those that it has."""
    if not missing:
        return text
    lines = text.splitlines()
    source = _Source(text)
    first = next(node.lineno - 1 for node in source.imports() if _root(node) != ["__future__"])
    last = next(i for i in range(first, len(lines)) if not lines[i].strip())
    block = sorted({*lines[first:last], *missing}, key=lambda line: (line.startswith("from "), line))
    return "\n".join([*lines[:first], *block, *lines[last:]]) + "\n"


def _with_definitions(text: str, definitions: list[str]) -> str:
    """The text with definitions in front of its own first one."""
    lines = text.splitlines()
    tree = ast.parse(text)
    own = next(node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
    above = "\n".join(lines[: own.lineno - 1]).rstrip("\n")
    below = "\n".join(lines[own.lineno - 1 :])
    return "\n\n\n".join([above, *definitions, below]) + "\n"
