"""Values of annotated types from the text of a command line: what targets and frontends may be told.

What an annotation may be: text, an int, a float, a bool, one of the words of a Literal, a sequence of these (separated
by commas), a mapping of text to text (`key:value`, separated by commas), a Path, or any of these or None.
"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_SCALARS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a file"}


def named_texts(given: Sequence[str]) -> dict[str, str]:
    """Values by name from a command line, each `name=value`; a dash in a name is an underscore.

    Raises:
        ValueError: one is not of that form, or is given twice; the message begins with what was given.
    """
    found: dict[str, str] = {}
    for each in given:
        name, separator, value = each.partition("=")
        name = name.strip().replace("-", "_")
        if not separator or not name:
            raise ValueError(f"{each!r} is not of the form name=value")
        if name in found:
            raise ValueError(f"{name} is given twice")
        found[name] = value
    return found


def near(name: str, known: Sequence[str]) -> str:
    """What somebody may have meant who wrote a name that is none, or all names."""
    import difflib  # here: for mistakes only

    found = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if found:
        return f"did you mean {' or '.join(found)}?"
    return f"its options are {', '.join(known)}" if known else "it has no options"


def can_be_told(annotation: Any) -> bool:
    """Whether text can give a value of this annotation."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(can_be_told(a) for a in arguments if a is not type(None))
    if origin is typing.Literal:
        return True
    if _is_sequence(origin):
        return arguments[0] in _SCALARS
    if _is_mapping(origin):
        return all(a in _SCALARS for a in arguments)
    return annotation in _SCALARS


def _is_sequence(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Sequence)


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def takes(annotation: Any) -> str:
    """What an option of this annotation takes, in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(takes(a) for a in arguments if can_be_told(a)))
    if origin is typing.Literal:
        return "one of " + ", ".join(str(a) for a in arguments)
    if _is_sequence(origin):
        return f"{takes(arguments[0])}, several separated by commas"
    if _is_mapping(origin):
        return "name:value, several separated by commas"
    return _SCALARS.get(annotation, str(annotation))


def value_of(annotation: Any, value: Any) -> Any:
    """A value of an annotated type.

    Raises:
        ValueError, TypeError: it is none.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else value_of(next(a for a in arguments if can_be_told(a)), value)
    if origin is typing.Literal:
        return _word(arguments, value)
    if _is_sequence(origin):
        parts: Any = [p.strip() for p in value.split(",") if p.strip()] if isinstance(value, str) else value
        return tuple(value_of(arguments[0], part) for part in cast("Sequence[Any]", parts))
    if _is_mapping(origin):
        return _mapping(arguments, value)
    return _scalar(annotation, value)


def _word(words: tuple[Any, ...], value: Any) -> Any:
    found = next((w for w in words if w == value or (isinstance(value, str) and str(w) == value.strip())), None)
    if found is None:
        raise ValueError
    return found


def _mapping(arguments: tuple[Any, ...], value: Any) -> dict[Any, Any]:
    if isinstance(value, str):
        pairs = [part.rpartition(":") for part in value.split(",") if part.strip()]
        if not all(separator and key.strip() for key, separator, _ in pairs):
            raise ValueError
        value = {key.strip(): text.strip() for key, _, text in pairs}
    table = cast("Mapping[Any, Any]", value)
    return {value_of(arguments[0], k): value_of(arguments[1], v) for k, v in table.items()}


def _scalar(annotation: Any, value: Any) -> Any:
    if annotation is bool:
        return value if isinstance(value, bool) else WORDS[value.strip().lower()] if _known(value) else _refuse()
    if annotation is Path:
        return Path(cast("str | os.PathLike[str]", value))
    if annotation is str:
        return value if isinstance(value, str) else _refuse()
    if isinstance(value, bool) or (annotation is int and isinstance(value, float)):
        return _refuse()
    return annotation(value)


def _known(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in WORDS


def _refuse() -> Any:
    raise ValueError
