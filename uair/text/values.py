"""Reading what stands inside a line: types, attributes, constants.

The same texts recur in thousands of lines, so each is read once.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs
import lark
import numpy as np

from uair.errors import AttributeTypeError
from uair.ir.data import ArrayData, Data, SplatData
from uair.ir.dtype import Array, DType
from uair.ir.layout import Layout
from uair.ir.types import Container, TensorType, inferred
from uair.ops.base import AttributeKind, Operator, attribute_kinds
from uair.text.errors import TextLimitError, TextSyntaxError, ValueFault, WeightsError
from uair.text.extents import Expression, extent, integer, joined
from uair.text.names import unquote
from uair.text.spelling import float_from_text, standard_layout

MAX_RANK = 64
"""Of a constant; NumPy's limit."""
MAX_BYTES = 1 << 46
"""Of a constant, written out or as a splat."""

FindWeights = Callable[[str, DType, "tuple[int, ...]"], Data]
"""From hash, element type and shape to the data; raises WeightsError."""


@attrs.frozen
class Element:
    """An element of a constant as written: its kind ("number", "name", "string", "complex") and spelling with sign."""

    kind: str
    text: str
    offset: int


@attrs.frozen
class Literal:
    """A constant as written.

    Attributes:
        form: "list", "scalar", "splat" or "reference".
        elements: of the first three.
        sha256: of a reference.
        type: when the data are of another type than the tensor.
    """

    form: str
    elements: tuple[Element, ...] = ()
    sha256: str = ""
    type: TensorType | None = None


def syntax_fault(error: lark.UnexpectedInput, grammar: lark.Lark, words: Mapping[str, str]) -> ValueFault:
    """What was found and what could have stood there: fixed terminals as they are, the others in words."""
    if isinstance(error, lark.UnexpectedCharacters):
        found, expected = f"unexpected {error.char!r}", error.allowed or set()
    elif isinstance(error, lark.UnexpectedToken):
        token = str(error.token)
        shown = token if len(token) <= 40 else token[:40] + "..."
        found = TOO_EARLY if error.token.type == "$END" else f"unexpected {shown!r}"
        expected = error.expected or set()
    else:
        found, expected = TOO_EARLY, set[str]()
    spelled = {t.name: repr(t.pattern.value) for t in grammar.terminals if t.pattern.type == "str"}
    choices = sorted({words.get(name) or spelled.get(name, name) for name in expected})
    message = found + (f"; expected {' or '.join(choices)}" if 0 < len(choices) <= 8 else "")
    position: int | None = getattr(error, "pos_in_stream", None)
    return ValueFault(message, position or 0, TextSyntaxError)


TOO_EARLY = "the text ends too early"
_WORDS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "a string",
    "BLOCKED": "a layout",
    "HASH": "64 hexadecimal digits",
    "$END": "the end",
}


@lark.v_args(inline=True)
class _Build(lark.Transformer[lark.Token, Any]):
    """Makes the values while the text is parsed."""

    # ------------------------------------------------------------- expressions
    def number(self, token: lark.Token) -> Expression:
        return Expression("number", token.start_pos or 0, str(token))

    def name(self, token: lark.Token) -> Expression:
        return Expression("name", token.start_pos or 0, str(token))

    def string(self, token: lark.Token) -> Any:
        return Expression("string", token.start_pos or 0, string(token))

    def add(self, left: Expression, right: Expression) -> Expression:
        return joined("sum", "+", left, right)

    def subtract(self, left: Expression, right: Expression) -> Expression:
        return joined("sum", "-", left, right)

    def multiply(self, left: Expression, right: Expression) -> Expression:
        return joined("product", "*", left, right)

    def divide(self, left: Expression, right: Expression) -> Expression:
        return joined("product", "/", left, right)

    def floor_divide(self, left: Expression, right: Expression) -> Expression:
        return Expression("floor_divide", left.offset, calls=1).add("", left).add("", right)

    def bracket(self, inner: Expression) -> Expression:
        return Expression("bracket", inner.offset).add("", inner)

    def negate(self, operand: Expression) -> Expression:
        return Expression("negate", operand.offset).add("", operand)

    def power(self, base: Expression, exponent: Expression) -> Expression:
        return Expression("power", base.offset).add("", base).add("", exponent)

    def call(self, function: lark.Token, *arguments: Expression) -> Expression:
        made = Expression("call", function.start_pos or 0, str(function), calls=1)
        for argument in arguments:
            made.add("", argument)
        return made

    # ------------------------------------------------------------------- types
    def unknown(self) -> None:
        return None

    def unknown_rank(self) -> None:
        return None

    def extents(self, *parts: Expression | None) -> tuple[Any, ...]:
        return tuple(None if p is None else extent(p) for p in parts)

    def container_type(self, name: lark.Token, inner: TensorType) -> TensorType:
        try:
            container = Container(str(name))
        except ValueError:
            raise ValueFault(
                f"there is no container {str(name)!r}",
                name.start_pos or 0,
                hint=near(name, [c.value for c in Container]),
            ) from None
        return attrs.evolve(inner, containers=(container, *inner.containers))

    def tensor_type(self, name: lark.Token, *rest: Any) -> TensorType:
        try:
            dtype = DType(str(name))
        except ValueError:
            raise ValueFault(
                f"there is no element type {str(name)!r}",
                name.start_pos or 0,
                hint=near(name, [d.value for d in DType]),
            ) from None
        layout = rest[-1] if rest and isinstance(rest[-1], Layout) else Layout.ANY
        shape = rest[0] if rest and not isinstance(rest[0], Layout) else ()
        return attrs.evolve(inferred(dtype, shape), layout=layout)

    def layout_name(self, name: lark.Token, align: int | None = None) -> Layout:
        found = standard_layout(str(name))
        if found is None:
            raise ValueFault(
                f"there is no layout {str(name)!r}",
                name.start_pos or 0,
                hint='write it in full: layout("name", blocks = (axis:block), order = (...), align = bytes)',
            )
        return found if align is None else attrs.evolve(found, row_alignment=align)

    def align(self, keyword: lark.Token, number: lark.Token) -> int:
        if keyword != "align":
            raise ValueFault(f"expected align, found {keyword}", keyword.start_pos or 0)
        return positive(number)

    def pair(self, axis: lark.Token, block: lark.Token) -> tuple[int, int]:
        return integer(axis, axis.start_pos or 0), positive(block)

    def pairs(self, keyword: lark.Token, *pairs: tuple[int, int]) -> tuple[lark.Token, Any]:
        return keyword, pairs

    def order(self, keyword: lark.Token, *axes: lark.Token) -> tuple[lark.Token, Any]:
        return keyword, tuple(integer(a, a.start_pos or 0) for a in axes)

    def alignment(self, keyword: lark.Token, number: lark.Token) -> tuple[lark.Token, Any]:
        return keyword, positive(number)

    def layout_generic(self, keyword: lark.Token, name: lark.Token, *parts: tuple[lark.Token, Any]) -> Layout:
        made = Layout(string(name))
        if keyword != "layout":
            raise ValueFault(f"expected layout, found {keyword}", keyword.start_pos or 0)
        for part, value in parts:
            field = {"blocks": "blocks", "order": "order", "align": "row_alignment"}.get(part)
            fits = field is not None and (
                isinstance(value, int)
                if field == "row_alignment"
                else isinstance(value, tuple) and all(isinstance(v, tuple) == (field == "blocks") for v in value)
            )
            if field is None or not fits:
                raise ValueFault(
                    f"a layout has no part {part} like this",
                    part.start_pos or 0,
                    hint="blocks = (axis:block,...), order = (axis,...), align = bytes",
                )
            made = attrs.evolve(made, **{field: value})
        return made

    # -------------------------------------------------------------- attributes
    def sequence(self, *values: Any) -> list[Any]:
        return list(values)

    def attribute(self, name: lark.Token, value: Any) -> tuple[lark.Token, Any]:
        return name, value

    def attributes(self, *pairs: tuple[lark.Token, Any]) -> tuple[tuple[lark.Token, Any], ...]:
        return pairs

    # --------------------------------------------------------------- constants
    def plain_element(self, token: lark.Token) -> Element:
        return Element(token.type.lower(), str(token), token.start_pos or 0)

    def negative_element(self, token: lark.Token) -> Element:
        return Element(token.type.lower(), f"-{token}", token.start_pos or 0)

    def part_of_complex(self, *tokens: lark.Token) -> str:
        return "".join(tokens)

    def complex_element(self, opening: lark.Token, real: str, imaginary: str) -> Element:
        return Element("complex", f"{real},{imaginary}", opening.start_pos or 0)

    def scalar(self, element: Any) -> Literal:
        return Literal("scalar", (as_element(element),))

    def elements(self, *elements: Any) -> Literal:
        return Literal("list", tuple(as_element(e) for e in elements))

    def splat(self, element: Any, own: TensorType | None = None) -> Literal:
        return Literal("splat", (as_element(element),), type=own)

    def reference(self, sha256: lark.Token, own: TensorType | None = None) -> Literal:
        return Literal("reference", sha256=str(sha256), type=own)

    def typed_literal(self, literal: Literal, own: TensorType) -> Literal:
        return attrs.evolve(literal, type=own)

    def constant(self, literal: Literal) -> Literal:
        return literal


def as_element(item: Any) -> Element:
    """A string among the elements of a constant is read as an expression elsewhere."""
    return item if isinstance(item, Element) else Element("string", item.text, item.offset)


def string(token: lark.Token) -> str:
    """The content of a string token.

    Raises:
        ValueFault: an escape is unknown.
    """
    try:
        return unquote(token)
    except ValueError as error:
        raise ValueFault(str(error.args[0]), (token.start_pos or 0) + 1 + int(error.args[1])) from None


def positive(token: lark.Token) -> int:
    """A number of at least 1.

    Raises:
        ValueFault: it is none.
    """
    number = integer(token, token.start_pos or 0)
    if number < 1:
        raise ValueFault("expected a number of at least 1", token.start_pos or 0)
    return number


def near(name: str, known: list[str]) -> str:
    """A hint with similar names."""
    found = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(found)}?" if found else f"known: {', '.join(known)}" if known else ""


@functools.cache
def _grammar() -> lark.Lark:
    return lark.Lark.open(
        "values.lark", rel_to=__file__, parser="lalr", start=["type", "attributes", "constant"],
        transformer=_Build(), maybe_placeholders=False,
    )  # fmt: skip


def parse_value(text: str, start: str) -> Any:
    """Parse one value.

    Raises:
        ValueFault: with the position in `text`.
    """
    try:
        return _grammar().parse(text, start=start)
    except lark.UnexpectedInput as error:
        raise syntax_fault(error, _grammar(), _WORDS) from None


# ------------------------------------------------------------------- attributes
def make_operator(
    cls: type[Operator], pairs: tuple[tuple[lark.Token, Any], ...], graphs: Mapping[str, Any]
) -> Operator:
    """An operator from its attributes as written and its graphs.

    Raises:
        ValueFault: an attribute is unknown, written twice, or has a value of the wrong kind.
    """
    kinds = attribute_kinds(cls)
    given: dict[str, Any] = dict(graphs)
    for name in graphs:
        if name not in kinds or kinds[name].base != "graph":
            wanted = [k for k, kind in kinds.items() if kind.base == "graph"]
            raise ValueFault(f"{cls.__name__} has no graph {name!r}", 0, hint=near(name, wanted))
    for token, value in pairs:
        name = str(token)
        offset = token.start_pos or 0
        if name not in kinds or kinds[name].base == "graph":
            raise ValueFault(f"{cls.__name__} has no attribute {name!r}", offset, hint=near(name, list(kinds)))
        if name in given:
            raise ValueFault(f"attribute {name!r} is written twice", offset)
        try:
            given[name] = attribute_value(value, kinds[name])
        except ValueFault as fault:
            raise ValueFault(
                f"{cls.__name__}.{name}: {fault.message}", fault.offset or offset, fault.kind, fault.hint
            ) from None
    try:
        return cls(**given)
    except AttributeTypeError as error:
        raise ValueFault(error.message, pairs[0][0].start_pos or 0 if pairs else 0, hint=error.hint) from None


def attribute_value(value: Any, kind: AttributeKind) -> Any:
    """The value of an attribute of the given kind.

    Raises:
        ValueFault: it is of another kind.
    """
    if kind.optional and isinstance(value, Expression) and value.kind == "name" and value.text == "none":
        return None
    read = _ATTRIBUTE_READERS[kind.base]
    try:
        return read(value)
    except (AttributeError, TypeError, ValueError):
        offset = value.offset if isinstance(value, Expression) else 0
        raise ValueFault(f"expected {kind}", offset) from None


def _items(value: Any, read: Callable[[Any], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise TypeError
    items: list[Any] = value
    return tuple(read(v) for v in items)


def _int(e: Expression) -> int:
    return integer(e.literal, e.offset)


def _float(e: Expression) -> float:
    if e.kind == "string" or not e.literal:
        raise TypeError
    try:
        return float(float_from_text(e.literal, DType.F64))
    except ValueError as error:
        raise ValueFault(str(error), e.offset) from None


def _str(e: Expression) -> str:
    if e.kind != "string":
        raise TypeError
    return e.text


def _bool(e: Expression) -> bool:
    return {"true": True, "false": False}[e.literal] if e.literal in ("true", "false") else _refuse()


def _refuse() -> Any:
    raise TypeError


def _type(value: Any) -> TensorType:
    return value if isinstance(value, TensorType) else _refuse()


def _layout(value: Any) -> Layout:
    if isinstance(value, Layout):
        return value
    return standard_layout(value.literal) or _refuse()


_ATTRIBUTE_READERS: dict[str, Callable[[Any], Any]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "str": _str,
    "choice": _str,
    "ints": lambda v: _items(v, _int),
    "floats": lambda v: _items(v, _float),
    "strs": lambda v: _items(v, _str),
    "shape": lambda v: _items(v, extent),
    "types": lambda v: _items(v, _type),
    "dtype": lambda v: DType(v.literal),
    "layout": _layout,
}


# -------------------------------------------------------------------- constants
def make_constant(literal: Literal, t: TensorType, find_weights: FindWeights) -> Data:
    """The data of a constant of type `t`.

    Raises:
        ValueFault: the elements do not fit the type, or it is too large.
        WeightsError: see `FindWeights`.
    """
    own = literal.type or t
    if not own.is_static or own.shape is None:
        raise ValueFault(f"a constant needs a static shape, {own} is none")
    shape = tuple(int(cast(int, d)) for d in own.shape)
    if len(shape) > MAX_RANK or any(d < 0 for d in shape):
        raise ValueFault(f"a constant cannot have shape {list(shape)}", 0, TextLimitError)
    size = math.prod(shape)
    if size * max(own.dtype.bits, 8) > MAX_BYTES * 8:
        raise ValueFault(f"a constant of {size} elements is larger than any memory", 0, TextLimitError)
    if literal.form == "reference":
        if own.dtype is DType.STRING:
            raise ValueFault("strings are written out, they cannot be in a sidecar", 0, WeightsError)
        return find_weights(literal.sha256, own.dtype, shape)
    if literal.form == "splat":
        return SplatData(element_value(literal.elements[0], own.dtype), own.dtype, shape)
    if (literal.form == "scalar") != (not shape) or len(literal.elements) != size:
        raise ValueFault(
            f"{own} has {size} elements{'' if shape else ', written without brackets'}; "
            f"{len(literal.elements)} {'is' if len(literal.elements) == 1 else 'are'} written"
        )
    array = np.empty(size, own.dtype.numpy)
    for i, element in enumerate(literal.elements):
        array[i] = element_value(element, own.dtype)
    return ArrayData(array.reshape(shape), own.dtype)


def element_value(element: Element, dtype: DType) -> Any:
    """One element.

    Raises:
        ValueFault: it is not of the element type.
    """
    text = element.text
    if element.kind == "string" or dtype is DType.STRING:
        if not (element.kind == "string" and dtype is DType.STRING):
            raise ValueFault(f"{text[:40]!r} is no {dtype}", element.offset)
        return text
    try:
        if dtype is DType.BOOL:
            return {"true": True, "false": False}[text]
        if dtype.is_integer:
            number = integer(text, element.offset)
            low, high = dtype.range
            if not low <= number <= high:
                raise ValueFault(f"{number} is outside the range of {dtype}, {low} to {high}", element.offset)
            return _cast(number, dtype)
        if dtype.is_float:
            return float_from_text(text, dtype)
        return _complex(text, dtype)
    except (KeyError, ValueError) as error:
        reason = (
            error.args[0]
            if isinstance(error, ValueError) and "outside" in str(error)
            else f"{text[:40]!r} is no {dtype}"
        )
        raise ValueFault(str(reason), element.offset) from None


def _cast(number: int, dtype: DType) -> Any:
    wide = np.uint64 if dtype is DType.U64 else np.int64
    return np.asarray(number, wide).astype(dtype.numpy)


def _complex(text: str, dtype: DType) -> Array:
    part = DType.F32 if dtype is DType.C64 else DType.F64
    real, imaginary = (float_from_text(t, part) for t in text.split(","))
    value = np.empty((), dtype.numpy)
    value.real, value.imag = real, imaginary
    return value
