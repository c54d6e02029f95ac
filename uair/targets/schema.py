"""Structuring of untyped tables (what a TOML file holds) into attrs classes, strictly.

Every key must be a field of the class and every value of the field's type; there is no conversion but int to float. The
fault is raised with the path of the key in the file's own words and the line it stands in.
"""

from __future__ import annotations

import difflib
import enum
import functools
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import attrs

from uair.errors import UairError
from uair.ir.dtype import DType
from uair.targets.errors import DescriptionError

T = TypeVar("T")

Path = tuple["str | int", ...]

NONE = "none"
"""How a file, which has no null, writes that an optional key has no value."""


@attrs.frozen
class Document:
    """A file's text, with which a key path is found again as a line.

    Attributes:
        file: path shown in messages.
        text: content.
    """

    file: str
    text: str

    def place(self, path: Path) -> str:
        """`file:line: key` of a key path."""
        line = self.line(path)
        return f"{self.file}{f':{line}' if line else ''}: {key_text(path)}"

    def line(self, path: Path) -> int:
        """The line of the key, or of the nearest table around it; 0 for the document itself."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 0

    @functools.cached_property
    def _lines(self) -> Mapping[Path, int]:
        """Lines of table headers and of keys that begin a line."""
        found: dict[Path, int] = {}
        counts: dict[str, int] = {}
        table: Path = ()
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = tuple(part.strip().strip("\"'") for part in header["name"].split("."))
                if header["open"] == "[[":
                    counts[header["name"]] = counts.get(header["name"], -1) + 1
                    table = (*table, counts[header["name"]])
                found.setdefault(table, number)
            elif key := _KEY.match(line):
                found.setdefault((*table, key["name"].strip("\"'")), number)
        return found


@attrs.frozen
class LayeredDocument(Document):
    """A file that extends another: a key that it does not give is found in the other one.

    Attributes:
        table: the file's own content.
        base: the file that it extends.
        rows: for each array of tables that was merged element by element, where each element stands: its document (None
            for this one) and its index there.
    """

    table: Mapping[str, Any]
    base: Document
    rows: Mapping[str, tuple[tuple[Document | None, int], ...]]

    def place(self, path: Path) -> str:
        """`file:line: key` of a key path, in the file that gives it."""
        if len(path) > 1 and path[0] in self.rows:
            document, index = self.rows[str(path[0])][int(path[1])]
            path = (path[0], index, *path[2:])
            return super().place(path) if document is None else document.place(path)
        return super().place(path) if self._gives(path) else self.base.place(path)

    def _gives(self, path: Path) -> bool:
        value: Any = self.table
        for part in path:
            if isinstance(value, Mapping) and part in value:
                value = cast("Mapping[str, Any]", value)[str(part)]
            else:
                return isinstance(value, list)
        return True


_HEADER = re.compile(r"\s*(?P<open>\[\[?)(?P<name>[^\[\]]+)\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*(?P<name>[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*=")


def key_text(path: Path) -> str:
    """A key path as people write it: `operator[3].constraints[0].require`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the document"


def structure(cls: type[T], value: Any, document: Document, path: Path = ()) -> T:
    """An instance of attrs class `cls` from a table.

    Raises:
        DescriptionError: an unknown or missing key, or a value of the wrong type; names file, line and key.
    """
    if not isinstance(value, dict):
        raise _wrong(document, path, "a table", value)
    table = cast("dict[str, Any]", value)
    fields = _fields(cast(Any, cls))
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.6)
            raise DescriptionError(
                f"unknown key {key!r}",
                place=document.place((*path, key)),
                hint=f"did you mean {near[0]!r}?" if near else f"keys here: {', '.join(fields)}",
            )
    arguments: dict[str, Any] = {}
    for key, (annotation, required) in fields.items():
        if key in table:
            arguments[key] = _value(annotation, table[key], document, (*path, key))
        elif required:
            raise DescriptionError(
                f"key {key!r} is missing",
                place=document.place(path),
                hint=f"add {key} = ... ({_type_text(annotation)})",
            )
    try:
        return cls(**arguments)
    except UairError as error:  # from a class that checks its own values
        error.place = error.place or document.place(path)
        raise


@functools.cache
def _fields(cls: type[Any]) -> Mapping[str, tuple[Any, bool]]:
    """(annotation, required) of each field that the file may give, by key."""
    hints = typing.get_type_hints(cls)
    return {
        f.name: (hints[f.name], f.default is attrs.NOTHING)
        for f in attrs.fields(cls)
        if f.init and not f.metadata.get("derived")
    }


def _value(annotation: Any, value: Any, document: Document, path: Path) -> Any:
    """A value of an annotated type."""
    if type(value) is annotation:
        return value
    origin, arguments = _form(annotation)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (a for a in arguments if a is not type(None))
        return None if value == NONE else _value(inner, value, document, path)
    if origin is typing.Literal:
        if not isinstance(value, str) or value not in arguments:
            raise _wrong(document, path, _type_text(annotation), value)
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(document, path, _type_text(annotation), value)
        return tuple(_value(arguments[0], v, document, (*path, i)) for i, v in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _wrong(document, path, _type_text(annotation), value)
        table = cast("dict[str, Any]", value)
        return {
            _value(arguments[0], k, document, (*path, k)): _value(arguments[1], v, document, (*path, k))
            for k, v in table.items()
            if v != NONE  # an entry that the file extended gives, and this one takes away
        }
    return _single(annotation, value, document, path)


def _single(annotation: Any, value: Any, document: Document, path: Path) -> Any:
    """A value of a type that is no container."""
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _member(annotation, value, document, path)
    if isinstance(annotation, type) and attrs.has(annotation):
        return structure(annotation, value, document, path)
    return _scalar(annotation, value, document, path)


@functools.cache
def _form(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Origin and arguments of an annotation: `typing` takes long to say."""
    return typing.get_origin(annotation), typing.get_args(annotation)


def _member(annotation: type[enum.Enum], value: Any, document: Document, path: Path) -> enum.Enum:
    for member in annotation:
        if type(value) is str and member.value == value:
            return member
    raise _wrong(document, path, _type_text(annotation), value)


def _scalar(annotation: Any, value: Any, document: Document, path: Path) -> Any:
    if annotation is float and type(value) is int:
        return float(value)
    if type(value) is not annotation:
        raise _wrong(document, path, _type_text(annotation), value)
    return value


def _wrong(document: Document, path: Path, wanted: str, value: Any) -> DescriptionError:
    shown = "a table" if isinstance(value, dict) else "an array" if isinstance(value, list) else repr(value)
    return DescriptionError(f"{key_text(path)} is {shown}", place=document.place(path), hint=f"it must be {wanted}")


_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def _type_text(annotation: Any) -> str:
    """An annotation in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _type_text(next(a for a in arguments if a is not type(None)))
    if origin is tuple:
        return f"an array, each element {_type_text(arguments[0])}"
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(a) for a in arguments)
    if annotation is DType:
        return "an element type (" + ", ".join(d.value for d in DType) + ")"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(repr(m.value) for m in annotation)
    if origin is not None or (isinstance(annotation, type) and attrs.has(annotation)):
        return "a table"
    return _NAMES.get(annotation, str(annotation))
