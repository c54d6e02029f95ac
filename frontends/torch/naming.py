"""What the IR calls the inputs and outputs of a program: by their path in what forward takes and returns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, cast

Path: TypeAlias = "tuple[Any, ...]"
"""Keys of dicts and positions in sequences, from the outside to a leaf."""

MAX_DEPTH = 100


def input_names(paths: Sequence[Path], parameters: Sequence[str], placeholders: Sequence[str]) -> dict[str, str]:
    """Names of the user's inputs by their placeholders.

    Args:
        paths: of the inputs in (args, kwargs).
        parameters: of forward; a positional input is called after the one that takes it.
        placeholders: in order; they are the names where there are not as many paths.
    """
    names = list(placeholders)
    if len(paths) == len(placeholders):
        names = []
        for kind, first, *rest in paths:
            head = parameters[first] if kind == 0 and first < len(parameters) else first
            names.append(".".join(map(str, (head, *rest))))
    found: dict[str, str] = {}
    for placeholder, name in zip(placeholders, names, strict=True):
        found[placeholder] = name if name not in found.values() else placeholder
    return found


def output_names(paths: Sequence[Path], count: int) -> tuple[str, ...]:
    """Names of the user's outputs: `output` for a single one, `output.0` where there is no key."""
    if len(paths) != count:
        return tuple(f"output.{i}" for i in range(count))
    names = [".".join(map(str, path)) for path in paths]
    if names == [""]:
        return ("output",)
    return tuple(f"output.{name}" if name[:1].isdigit() else name for name in names)


def paths_of(text: str) -> list[Path]:
    """The path of every leaf of a structure as `torch.utils._pytree.treespec_dumps` writes it (protocol 1).

    Raises:
        ValueError: it is written in another way.
    """
    protocol, spec = json.loads(text)
    if protocol != 1:
        raise ValueError(f"structures of inputs are written by protocol {protocol}, known is 1")
    return list(_leaves(spec, ()))


def _leaves(spec: Any, path: Path) -> Iterator[Path]:
    if len(path) > MAX_DEPTH:
        raise ValueError("inputs are nested too deeply")
    if spec["type"] is None:
        yield path
        return
    children = spec["children_spec"]
    for key, child in zip(_keys(spec, len(children)), children, strict=True):
        yield from _leaves(child, (*path, key))


def _keys(spec: Any, count: int) -> Sequence[Any]:
    """The keys of a container; positions for one that has none."""
    context = spec["context"]
    found: Any = json.loads(context) if isinstance(context, str) else context
    if isinstance(found, dict):  # a named tuple
        found = cast(Any, found).get("fields", found)
    if isinstance(found, list) and len(cast(Any, found)) == count and all(isinstance(k, (str, int)) for k in found):
        return found
    return range(count)
