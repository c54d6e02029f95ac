"""Attributes of a node, read with the type that the operator wants."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

import numpy as np
from onnx import AttributeProto, GraphProto, TensorProto, TypeProto

from uair.frontends.onnx import lists
from uair.frontends.onnx.errors import OnnxAttributeError
from uair.frontends.onnx.tensors import TensorReader
from uair.ir.dtype import Array

T = TypeVar("T")

_FIELDS: dict[int, str] = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}


def kind_of(attribute: AttributeProto) -> int:
    """The attribute's type; writers before IR 3 left it out, then the field that is set tells."""
    if attribute.type != AttributeProto.UNDEFINED:
        return attribute.type
    for number, field in _FIELDS.items():
        value = getattr(attribute, field)
        if attribute.HasField(field) if number <= AttributeProto.GRAPH or field in ("sparse_tensor", "tp") else value:
            return number
    return AttributeProto.INTS


class Attributes:
    """The attributes of one node or function call, by name, with references to a function's attributes replaced."""

    def __init__(
        self,
        attributes: Iterable[AttributeProto],
        place: Callable[[], str],
        reader: TensorReader,
        caller: Attributes | None = None,
    ) -> None:
        """Gather attributes.

        Args:
            attributes: of the node.
            place: describes the node, for messages.
            reader: finds the lists that were cut out of the messages.
            caller: attributes of the call, when the node stands in a function's body.

        Raises:
            OnnxAttributeError: two have one name, or a reference stands outside a function.
        """
        self.describe = place
        self.reader = reader
        self.caller = caller
        self._by_name: dict[str, AttributeProto] = {}
        for attribute in attributes:
            if attribute.name in self._by_name:
                raise OnnxAttributeError(f"attribute {attribute.name!r} is given twice", place=place())
            if attribute.ref_attr_name:
                if caller is None:
                    raise OnnxAttributeError(
                        f"attribute {attribute.name!r} refers to {attribute.ref_attr_name!r} of a function, "
                        "but the node is in none",
                        place=place(),
                    )
                referred = caller._by_name.get(attribute.ref_attr_name)
                if referred is None:
                    continue  # the call leaves it out, and so does the node
                self._by_name[attribute.name] = referred
            else:
                self._by_name[attribute.name] = attribute

    @property
    def place(self) -> str:
        """The node in words."""
        return self.describe()

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def names(self) -> Sequence[str]:
        """Names of the given attributes."""
        return tuple(self._by_name)

    def items(self) -> Iterable[tuple[str, AttributeProto]]:
        """The given attributes as they are stored, which is under another name where a function's is referred to."""
        return self._by_name.items()

    def with_defaults(self, defaults: Mapping[str, AttributeProto]) -> Attributes:
        """The same with values for what is left out."""
        result = Attributes((), self.describe, self.reader)
        result._by_name = {**defaults, **self._by_name}
        return result

    def check_names(self, allowed: Iterable[str], op_type: str) -> None:
        """Refuse attributes that the operator does not have: to ignore one could change the meaning.

        Raises:
            OnnxAttributeError: naming the first of them.
        """
        if not self._by_name:
            return
        known = set(allowed)
        for name in self._by_name:
            if name not in known:
                raise OnnxAttributeError(
                    f"{op_type} has no attribute {name!r}",
                    place=self.place,
                    hint=f"its attributes are {', '.join(sorted(known)) or 'none'}",
                )

    def _get(self, name: str, kind: int) -> Any:
        attribute = self._checked(name, kind)
        if attribute is None:
            return None
        field = _FIELDS[kind]
        stored = self.reader.decoded(attribute, functools.partial(lists.any_list, field=field))
        return getattr(attribute, field) if stored is None else stored

    def _checked(self, name: str, kind: int) -> AttributeProto | None:
        """The attribute, which is of the type `kind`; None when it is not given."""
        attribute = self._by_name.get(name)
        if attribute is None:
            return None
        got = kind_of(attribute)
        if got != kind:
            raise OnnxAttributeError(
                f"attribute {name!r} is {AttributeProto.AttributeType.Name(got)}, "
                f"expected {AttributeProto.AttributeType.Name(kind)}"
                if got in _FIELDS
                else f"attribute {name!r} has the unknown type {got}",
                place=self.place,
            )
        return attribute

    def required(self, name: str) -> None:
        """Refuse the node when an attribute is missing.

        Raises:
            OnnxAttributeError: it is.
        """
        if name not in self._by_name:
            raise OnnxAttributeError(f"required attribute {name!r} is missing", place=self.place)

    @overload
    def integer(self, name: str, default: int) -> int: ...
    @overload
    def integer(self, name: str, default: None) -> int | None: ...
    def integer(self, name: str, default: int | None) -> int | None:
        """An integer."""
        value = self._get(name, AttributeProto.INT)
        return default if value is None else int(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """An integer that means no (0) or yes."""
        value = self._get(name, AttributeProto.INT)
        return default if value is None else bool(value)

    @overload
    def number(self, name: str, default: float) -> float: ...
    @overload
    def number(self, name: str, default: None) -> float | None: ...
    def number(self, name: str, default: float | None) -> float | None:
        """A number."""
        value = self._get(name, AttributeProto.FLOAT)
        return default if value is None else float(value)

    @overload
    def integers(self, name: str, default: Sequence[int]) -> tuple[int, ...]: ...
    @overload
    def integers(self, name: str, default: None) -> tuple[int, ...] | None: ...
    def integers(self, name: str, default: Sequence[int] | None) -> tuple[int, ...] | None:
        """A list of integers."""
        value = self._get(name, AttributeProto.INTS)
        if value is None:
            return None if default is None else tuple(default)
        return tuple(value)

    @overload
    def numbers(self, name: str, default: Sequence[float]) -> tuple[float, ...]: ...
    @overload
    def numbers(self, name: str, default: None) -> tuple[float, ...] | None: ...
    def numbers(self, name: str, default: Sequence[float] | None) -> tuple[float, ...] | None:
        """A list of numbers."""
        value = self._get(name, AttributeProto.FLOATS)
        if value is None:
            return None if default is None else tuple(default)
        return tuple(value)

    def integer_array(self, name: str) -> Array:
        """A list of integers as i64; empty when not given."""
        attribute = self._checked(name, AttributeProto.INTS)
        if attribute is None:
            return np.zeros(0, np.int64)
        stored = self.reader.decoded(attribute, lists.integers)
        return np.asarray(attribute.ints, np.int64) if stored is None else stored

    def number_array(self, name: str) -> Array:
        """A list of numbers as f32; empty when not given."""
        attribute = self._checked(name, AttributeProto.FLOATS)
        if attribute is None:
            return np.zeros(0, np.float32)
        stored = self.reader.decoded(attribute, lists.floats)
        return np.asarray(attribute.floats, np.float32) if stored is None else stored

    def choice_array(self, name: str, choices: Sequence[str]) -> Array:
        """A list of strings as their places among `choices`, u8; empty when not given.

        Raises:
            OnnxAttributeError: a string is not among them.
        """
        attribute = self._checked(name, AttributeProto.STRINGS)
        if attribute is None:
            return np.zeros(0, np.uint8)
        encoded = [choice.encode() for choice in choices]
        stored = self.reader.decoded(attribute, functools.partial(lists.places, choices=encoded))
        if stored is not None:
            return stored
        value = self._get(name, AttributeProto.STRINGS)
        place = {choice: i for i, choice in enumerate(encoded)}
        try:
            return np.fromiter(map(place.__getitem__, value), np.uint8, len(value))
        except KeyError as error:
            raise OnnxAttributeError(
                f"attribute {name!r} has {self._text(name, error.args[0])!r}, expected one of {', '.join(choices)}",
                place=self.place,
            ) from None

    def text(self, name: str, default: str) -> str:
        """A string."""
        value = self._get(name, AttributeProto.STRING)
        return default if value is None else self._text(name, value)

    def choice(self, name: str, default: T, choices: Mapping[Any, T]) -> T:
        """What a string stands for.

        Raises:
            OnnxAttributeError: the string is not among `choices`.
        """
        value = self._get(name, AttributeProto.STRING)
        if value is None:
            return default
        text = self._text(name, value)
        if text not in choices:
            raise OnnxAttributeError(
                f"attribute {name!r} is {text!r}, expected {' or '.join(repr(c) for c in choices)}", place=self.place
            )
        return choices[text]

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings."""
        value = self._get(name, AttributeProto.STRINGS)
        return None if value is None else tuple(self._text(name, v) for v in value)

    def tensor(self, name: str) -> TensorProto | None:
        """A stored tensor."""
        found: TensorProto | None = self._get(name, AttributeProto.TENSOR)
        return found

    def graph(self, name: str) -> GraphProto | None:
        """A subgraph."""
        found: GraphProto | None = self._get(name, AttributeProto.GRAPH)
        return found

    def type(self, name: str) -> TypeProto:
        """A type; without a kind when not given."""
        found: TypeProto | None = self._get(name, AttributeProto.TYPE_PROTO)
        return TypeProto() if found is None else found

    def sparse(self, name: str) -> Any:
        """A stored sparse tensor (`SparseTensorProto`), None when not given."""
        return self._get(name, AttributeProto.SPARSE_TENSOR)

    def _text(self, name: str, value: bytes) -> str:
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise OnnxAttributeError(f"attribute {name!r} is not UTF-8 text", place=self.place) from None
