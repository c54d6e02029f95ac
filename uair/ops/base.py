"""What an operator is.

One class says everything about an operator: typed attributes, the meaning (docstring and NumPy `evaluate`), result
types (`infer`), simpler operators that it stands for (`decompose`), and the samples that its tests are generated from.

    @operator(inputs="x w bias?", family="convolution")
    class Conv2D(Operator):
        strides: Ints = (1, 1)
        def infer(self, x, w, bias=None): ...
        def evaluate(self, x, w, bias=None): ...

An instance is a value: `Conv2D(strides=(2, 2))` equals another one with the same attributes. Applied to tensors it
makes a node, `y = Conv2D(strides=(2, 2))(x, w)`; applied to pattern variables it makes a pattern (uair.rewrite).
"""

from __future__ import annotations

import builtins
import functools
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar, cast, overload

import attrs
import numpy as np
from typing_extensions import dataclass_transform

from uair.errors import ArityError, AttributeTypeError, TypeInferenceError
from uair.ir.dims import MAX_EXTENT, Dim, InferredShape, Shape, is_tractable, prevails, substitute, symbols_of
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.layout import Layout
from uair.ir.types import TensorType

Ints: TypeAlias = tuple[int, ...]
Floats: TypeAlias = tuple[float, ...]
Strs: TypeAlias = tuple[str, ...]
Types: TypeAlias = tuple[TensorType, ...]
Results: TypeAlias = "TensorType | tuple[TensorType, ...]"
Values: TypeAlias = "Array | tuple[Array, ...]"


MAX_RANK = 64
"""Axes of a tensor; NumPy's own limit."""
_SHOWN = 64
"""Numbers of an attribute that a message shows."""
_REMEMBERED = 1024
"""Combinations of operand types of which an operator keeps the result types."""
_KnownTypes: TypeAlias = "dict[tuple[TensorType | None, ...], tuple[TensorType, ...]]"


class InferenceFailure(TypeInferenceError):
    """Raised by `infer` through `require`; the caller adds the operator and the operand types."""


@attrs.frozen
class Param:
    """One operand of an operator: `name`, `name?` (may be omitted) or `name*` (any number, last)."""

    name: str
    optional: bool = False
    variadic: bool = False

    @staticmethod
    def parse(text: str) -> Param:
        """From the notation of `@operator(inputs=...)`."""
        return Param(text.rstrip("?*"), optional=text.endswith("?"), variadic=text.endswith("*"))


class Operand(Protocol):
    """What is not a tensor but takes part in applications: pattern variables and patterns."""

    def apply_operator(self, op: Operator, operands: Sequence[Any]) -> Any:
        """The result of applying `op` to `operands`, of which this is one."""

    def named(self, name: str) -> Operand:
        """The same, known by `name` to the rule."""
        ...


class _AttrsFields:
    """What `attrs.fields` and `attrs.evolve` read of an operator class, made when it is read for the first time.

    Operators behave as frozen attrs classes do, with methods that are written once in `Operator`: what attrs would
    generate for each of 200 classes takes longer than most commands.
    """

    def __get__(self, instance: Operator | None, cls: type[Operator]) -> Any:
        fields = {
            name: attrs.field(default=getattr(cls, name), kw_only=True, metadata={"kind": kind})
            for name, kind in attribute_kinds(cls).items()
        }
        made = attrs.fields(attrs.make_class(cls.__name__, fields, init=False, eq=False, repr=False, frozen=True))
        setattr(cls, "__attrs_attrs__", made)  # noqa: B010  hides this descriptor
        return made


class Operator:
    """Base of all operators. Subclasses are made with `@operator`.

    Class attributes:
        params: the operands. results: names of the results; a result count that depends on the attributes overrides
        `result_count`. family: the file and documentation section. commutative: whether the first two operands may be
        exchanged. elementwise: whether each result element depends only on the operand elements at the same
        (broadcast) place. shape_arithmetic: whether `evaluate` also works on object arrays that hold symbolic sizes.
        deterministic: whether equal operands give equal results (random operators say no: they are not folded or
        merged). takes_containers: whether operands may be sequences, optionals or maps; their values are lists, None
        or the value held, and dicts.
    """

    params: ClassVar[tuple[Param, ...]] = ()
    results: ClassVar[tuple[str, ...]] = ("y",)
    family: ClassVar[str] = ""
    commutative: ClassVar[bool] = False
    elementwise: ClassVar[bool] = False
    shape_arithmetic: ClassVar[bool] = False
    deterministic: ClassVar[bool] = True
    takes_containers: ClassVar[bool] = False
    is_terminator: ClassVar[bool] = False

    _kinds: ClassVar[Mapping[str, AttributeKind]] = {}
    _graphs: ClassVar[tuple[str, ...]] = ()  # the attributes that hold graphs
    _counts: ClassVar[range] = range(0)  # of operands, when none is left out
    _known_types: _KnownTypes | None = None  # of the class when it has no attributes, else of the instance
    __attrs_attrs__: ClassVar[Any] = _AttrsFields()

    def __init__(self, **attributes: Any) -> None:
        """An operator with these attributes; the others have their defaults.

        Raises:
            TypeError: there is no attribute of a name.
            AttributeTypeError: a value is not of the attribute's kind.
        """
        cls = type(self)
        for name, value in attributes.items():
            if name not in cls._kinds:
                raise TypeError(f"{cls.__name__} has no attribute {name!r}, it has {', '.join(cls._kinds) or 'none'}")
            self.__dict__[name] = _converted(cls, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise attrs.exceptions.FrozenInstanceError

    def __delattr__(self, name: str) -> None:
        raise attrs.exceptions.FrozenInstanceError

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Operator) and type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_short(value)}" for name, value in self.attributes.items())
        return f"{type(self).__name__}({shown})"

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in type(self)._kinds])

    # ------------------------------------------------------------- to override
    def infer(self, *operands: Any, **_: Any) -> Results:
        """Result types from operand types (None for an omitted operand). Use `require` for the conditions.

        Extents that only the data decides are None.
        """
        raise NotImplementedError

    def evaluate(self, *operands: Any, **_: Any) -> Values:
        """Results from NumPy operands (None for an omitted one), of exactly the inferred types."""
        raise NotImplementedError

    def decompose(self, *operands: Any, **_: Any) -> Tensor | tuple[Tensor, ...] | None:
        """The same meaning in simpler operators applied to the operand tensors; None when there is none."""
        return None

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        """Good and bad applications that the generated tests run. Every operator has some."""
        return ()

    def result_count(self) -> int:
        """Number of results."""
        return len(self.results)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        """Floating-point operations of one evaluation, a multiply-add counted as two (static shapes)."""
        return sum(t.size for t in results if t.is_tensor)

    # ------------------------------------------------------------- application
    @overload
    def __call__(self, first: Operand, /, *rest: Operand) -> Operand: ...
    @overload
    def __call__(self, *operands: Tensor | None) -> Tensor: ...
    def __call__(self, *operands: Any) -> Any:
        """Apply to tensors, giving the result of a new node; or to pattern variables, giving a pattern.

        Raises:
            ValueError: applied to tensors, the operator has several results (use `node`).
        """
        for operand in operands:
            if not isinstance(operand, Tensor) and hasattr(operand, "apply_operator"):  # an Operand
                return operand.apply_operator(self, operands)
        return Node(self, operands).output

    def node(self, *operands: Tensor | None, name: str = "") -> Node:
        """A new node that applies the operator to tensors."""
        return Node(self, operands, name=name)

    # -------------------------------------------------------------- description
    @property
    def op_type(self) -> str:
        """Name of the operator."""
        return type(self).__name__

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes by name."""
        return {name: getattr(self, name) for name in attribute_names(type(self))}

    @classmethod
    def operand_index(cls, name: str) -> int:
        """Position of the operand called `name`.

        Raises:
            KeyError: there is none.
        """
        for i, param in enumerate(cls.params):
            if param.name == name:
                return i
        raise KeyError(f"{cls.__name__} has no operand {name!r}")

    def normalize_operands(self, operands: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """The operands with trailing omitted ones dropped.

        Raises:
            ArityError: too many operands, or a required one is missing.
        """
        given = tuple(operands)
        if len(given) in self._counts and None not in given:  # nearly always, and asked for every node again and again
            return given
        while given and given[-1] is None:
            given = given[:-1]
        variadic = bool(self.params) and self.params[-1].variadic
        if len(given) > len(self.params) and not variadic:
            raise ArityError(f"{self.op_type} takes at most {len(self.params)} operands, got {len(given)}")
        for i, param in enumerate(self.params):
            if not param.optional and not param.variadic and (i >= len(given) or given[i] is None):
                raise ArityError(f"{self.op_type} needs operand {param.name!r}", hint=f"signature: {self.signature()}")
        if variadic and any(t is None for t in given[len(self.params) - 1 :]):
            raise ArityError(f"{self.op_type}: operands of {self.params[-1].name!r} cannot be omitted one by one")
        return given

    def infer_types(self, operands: Sequence[TensorType | None]) -> tuple[TensorType, ...]:
        """Result types, always as a tuple; operand layouts are ignored and results have none assigned.

        They follow from the attributes and the operand types alone and are remembered: they are asked for when a node
        is made and again by every verification.

        Raises:
            TypeInferenceError: the operands do not fit; names the operator, its attributes and the operand types.
        """
        given = tuple(operands)
        if self._graphs:  # which change
            return self._infer_types(given)
        known = self._known_types
        if known is None:
            known = self.__dict__["_known_types"] = {}
        types = known.get(given)
        if types is None:
            shared = {t: t for t in given if t is not None}  # one object for equal types: they are compared often
            types = tuple([shared.get(t, t) for t in self._infer_types(given)])
            if len(known) >= _REMEMBERED:
                known.clear()
            known[given] = types
        return types

    def _infer_types(self, operands: tuple[TensorType | None, ...]) -> tuple[TensorType, ...]:
        """Result types, inferred anew."""
        try:
            if not self.takes_containers:
                require_tensors(operands)
            inferred = self.infer(*operands)
        except InferenceFailure as failure:
            given = ", ".join("-" if t is None else str(t) for t in operands)
            raise TypeInferenceError(
                f"{self.op_type}: {failure.message}", place=f"{self!r} applied to ({given})", hint=failure.hint
            ) from None
        return (
            tuple([self._checked(t) for t in inferred]) if isinstance(inferred, tuple) else (self._checked(inferred),)
        )

    def _checked(self, result: TensorType) -> TensorType:
        """A result type whose extents can be counted, with extents left open where an expression grows too large."""
        shape = cast("InferredShape | None", result.shape)
        if shape is None or all([d is None or is_tractable(d) for d in shape]):
            if shape is not None and len(shape) > MAX_RANK:
                raise TypeInferenceError(f"{self.op_type} gives {len(shape)} axes; there are at most {MAX_RANK}")
            return result
        for axis, d in enumerate(shape):
            if isinstance(d, int) and d > MAX_EXTENT:
                raise TypeInferenceError(
                    f"{self.op_type} gives an extent of {d:.3e} along axis {axis}, more than 64 bits can count",
                    hint="check the sizes, pads, scales or repeats that reach this node",
                )
        kept = tuple(d if d is None or is_tractable(d) else None for d in shape)
        return attrs.evolve(result, shape=cast(Shape, kept))

    def evaluate_all(self, operands: Sequence[Any]) -> tuple[Array, ...]:
        """Results of `evaluate`, always as a tuple: arrays, and lists, dicts or None for what is no tensor."""
        values = self.evaluate(*operands)
        if type(values) is np.ndarray:  # nearly always
            return (values,)
        given: tuple[Any, ...] = values if isinstance(values, tuple) else (values,)
        made = (v if v is None or isinstance(v, (list, dict)) else np.asarray(v) for v in given)
        return cast("tuple[Array, ...]", tuple(made))

    @property
    def regions(self) -> tuple[Graph, ...]:
        """The graphs in the attributes, in order."""
        if not self._graphs:  # nearly always
            return ()
        return tuple(graph for graph in (getattr(self, name) for name in self._graphs) if graph is not None)

    def with_regions(self, regions: Sequence[Graph]) -> Operator:
        """The operator with other graphs in place of its `regions`."""
        names = [name for name in graph_attributes(type(self)) if getattr(self, name) is not None]
        return cast(Operator, attrs.evolve(cast(Any, self), **dict(zip(names, regions, strict=True))))

    @classmethod
    def signature(cls) -> str:
        """Operands and results, e.g. "Conv2D(x, w, bias?) -> y"."""
        operands = ", ".join(p.name + ("?" if p.optional else "") + ("*" if p.variadic else "") for p in cls.params)
        return f"{cls.__name__}({operands}) -> {', '.join(cls.results)}"

    # ---------------------------------------------------------- symbolic extents
    def symbols(self) -> list[str]:
        """Symbolic sizes that occur in the attributes."""
        sized = sized_attributes(type(self))
        return symbols_of(d for name in sized for d in _extents(getattr(self, name))) if sized else []

    def substitute(self, values: Mapping[str, Dim]) -> Operator:
        """The operator with symbolic sizes in its attributes replaced."""
        if not self.symbols():
            return self
        changes = {
            name: _substituted(getattr(self, name), values)
            for name in sized_attributes(type(self))
            if getattr(self, name) is not None
        }
        return cast(Operator, attrs.evolve(cast(Any, self), **changes))


class Return(Operator):
    """Terminator of every graph: its operands are the graph's outputs. It is never written or evaluated."""

    params = (Param("outputs", variadic=True),)
    results = ()
    is_terminator = True

    def infer(self, *operands: Any) -> Results:
        """No results."""
        return ()


OperatorT = TypeVar("OperatorT", bound=Operator)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def operator(*, inputs: str, outputs: str = "y", family: str) -> Callable[[type[OperatorT]], type[OperatorT]]:
    """Class decorator that makes an operator.

    Args:
        inputs: operands, separated by blanks; `?` marks one that may be omitted, `*` a variadic last one.
        outputs: names of the results.
        family: the documentation section.
    """

    def decorate(cls: type[OperatorT]) -> type[OperatorT]:
        cls.params = tuple(Param.parse(p) for p in inputs.split())
        cls.results = tuple(outputs.split())
        cls.family = family
        own = {name: text for name, text in vars(cls).get("__annotations__", {}).items() if "ClassVar" not in str(text)}
        kinds = {name: kind for name, kind in attribute_kinds(cls).items() if name not in own}
        kinds |= {name: _kind_of_attribute(cls, name, text) for name, text in own.items()}
        graphs = tuple(name for name, kind in kinds.items() if kind.base == "graph")
        cls._kinds, cls._graphs, cls._counts = kinds, graphs, _counts(cls.params)  # pyright: ignore[reportPrivateUsage]
        cls._known_types = None if kinds else {}  # pyright: ignore[reportPrivateUsage]
        for name in own:
            setattr(cls, name, _converted(cls, name, getattr(cls, name)))
        cls.__attrs_attrs__ = _AttrsFields()  # not what was made for a base
        return cls

    return decorate


def _counts(params: Sequence[Param]) -> range:
    """How many operands an operator with these parameters may have."""
    required = [i + 1 for i, param in enumerate(params) if not param.optional and not param.variadic]
    variadic = bool(params) and params[-1].variadic
    return range(max(required, default=0), sys.maxsize if variadic else len(params) + 1)


def _kind_of_attribute(cls: type[Operator], name: str, annotation: Any) -> AttributeKind:
    """The kind of an attribute that a class declares."""
    if name not in vars(cls):
        raise TypeError(
            f"attribute {name!r} of {cls.__name__} needs a default: operators are compared and matched with defaults"
        )
    return _kind_in(cls.__module__, annotation) if isinstance(annotation, str) else _kind_of(annotation)


def _converted(cls: type[Operator], name: str, value: Any) -> Any:
    """The value of an attribute in its canonical type.

    Raises:
        AttributeTypeError: it is none of the attribute's kind.
    """
    kind = attribute_kinds(cls)[name]
    try:
        return kind.convert(value)
    except (TypeError, ValueError) as error:
        raise AttributeTypeError(f"{cls.__name__}.{name}: {error}", hint=f"expected {kind}") from None


def _short(value: Any) -> str:
    """An attribute's value for messages: long lists and texts come from strangers."""
    if isinstance(value, tuple):
        items: tuple[Any, ...] = value
        if len(items) > _SHOWN:
            return f"({', '.join(map(repr, items[:_SHOWN]))}, ... {len(items)} in all)"
    text = repr(value)
    return text if len(text) <= 50 * _SHOWN else f"{text[: 50 * _SHOWN]}..."


def attribute_names(cls: type[Operator]) -> tuple[str, ...]:
    """Names of the operator's attributes in order of declaration."""
    return tuple(attribute_kinds(cls))


def sized_attributes(cls: type[Operator]) -> tuple[str, ...]:
    """Names of the attributes that may hold symbolic sizes: shapes and types."""
    found = cls.__dict__.get("_sized_attributes")
    if found is None:
        found = tuple(name for name, kind in attribute_kinds(cls).items() if kind.base in ("shape", "types"))
        cls._sized_attributes = found  # type: ignore[attr-defined]
    return cast("tuple[str, ...]", found)


def graph_attributes(cls: type[Operator]) -> tuple[str, ...]:
    """Names of the attributes that hold graphs."""
    return cls._graphs  # pyright: ignore[reportPrivateUsage]


def _extents(value: Shape | Types | None) -> Iterable[Dim]:
    """The extents in the value of a sized attribute that have a name or number."""
    for item in value or ():
        if not isinstance(item, TensorType):
            yield item
        else:
            yield from (d for d in cast(InferredShape, item.shape or ()) if d is not None)


def _substituted(value: Shape | Types, values: Mapping[str, Dim]) -> Shape | Types:
    """The value of a sized attribute with symbolic sizes replaced."""
    replaced = (d.substitute(values) if isinstance(d, TensorType) else substitute(d, values) for d in value)
    return cast("Shape | Types", tuple(replaced))


def attribute_kinds(cls: type[Operator]) -> Mapping[str, AttributeKind]:
    """What each attribute may hold, by name in order of declaration; `getattr(cls, name)` is its default."""
    return cls._kinds  # pyright: ignore[reportPrivateUsage]


# ------------------------------------------------------------------- attributes
@attrs.frozen
class AttributeKind:
    """What an attribute may hold.

    Attributes:
        base: "int", "float", "bool", "str", "ints", "floats", "strs", "shape", "types", "dtype", "layout",
            "choice" or "graph". Extents of "types" may be None: only the data decides them.
        optional: whether None is allowed.
        choices: the allowed strings of a "choice".
    """

    base: str
    optional: bool = False
    choices: tuple[str, ...] = ()

    def convert(self, value: Any) -> Any:
        """The value in its canonical Python type.

        Raises:
            TypeError, ValueError: it is none of this kind.
        """
        if value is None:
            if self.optional:
                return None
            raise TypeError("None is not allowed")
        return _CONVERTERS[self.base](value, self)

    def __str__(self) -> str:
        text = " | ".join(repr(c) for c in self.choices) if self.base == "choice" else self.base
        return text + (" | none" if self.optional else "")


def _integer(value: Any, _: AttributeKind | None = None) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"expected an integer, got {value!r}")
    return int(value)


def _real(value: Any, _: AttributeKind | None = None) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"expected a number, got {value!r}")
    return float(value)


def _boolean(value: Any, _: AttributeKind | None = None) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"expected true or false, got {value!r}")
    return bool(value)


def _string(value: Any, _: AttributeKind | None = None) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got {value!r}")
    return value


def _sequence(value: Any) -> Iterable[Any]:
    if isinstance(value, str) or not isinstance(value, (Iterable, np.ndarray)):
        raise TypeError(f"expected a sequence, got {value!r}")
    return value


def _extent(value: Any) -> Dim:
    if type(value) is int:
        return value
    if hasattr(value, "free_symbols"):
        return cast(Dim, value)
    return _integer(value)


def _instance(cls: type[Any]) -> Callable[[Any, AttributeKind], Any]:
    def check(value: Any, _: AttributeKind) -> Any:
        if not isinstance(value, cls):
            raise TypeError(f"expected a {cls.__name__}, got {value!r}")
        return value

    return check


_type = _instance(TensorType)


def _choice(value: Any, kind: AttributeKind) -> str:
    if value not in kind.choices:
        raise ValueError(f"expected one of {', '.join(kind.choices)}, got {value!r}")
    return cast(str, value)


_CONVERTERS: dict[str, Callable[[Any, AttributeKind], Any]] = {
    "int": _integer,
    "float": _real,
    "bool": _boolean,
    "str": _string,
    "ints": lambda v, _: tuple(_integer(x) for x in _sequence(v)),
    "floats": lambda v, _: tuple(_real(x) for x in _sequence(v)),
    "strs": lambda v, _: tuple(_string(x) for x in _sequence(v)),
    "shape": lambda v, _: tuple(_extent(x) for x in _sequence(v)),
    "types": lambda v, kind: tuple(_type(x, kind) for x in _sequence(v)),
    "dtype": _instance(DType),
    "layout": _instance(Layout),
    "choice": _choice,
    "graph": _instance(Graph),
}

_BASES: dict[Any, str] = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "str",
    DType: "dtype",
    Layout: "layout",
    tuple[int, ...]: "ints",
    tuple[float, ...]: "floats",
    tuple[str, ...]: "strs",
    tuple[TensorType, ...]: "types",
    Shape: "shape",
    Graph: "graph",
}


def _kind_of(annotation: Any) -> AttributeKind:
    """The kind of an attribute from its annotation."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (a for a in arguments if a is not type(None))
        return attrs.evolve(_kind_of(inner), optional=True)
    if origin is typing.Literal:
        return AttributeKind("choice", choices=tuple(arguments))
    if annotation in _BASES:
        return AttributeKind(_BASES[annotation])
    raise TypeError(f"operators cannot have attributes of type {annotation!r}")


@functools.cache
def _kind_in(module: str, annotation: str) -> AttributeKind:
    """The kind that an annotation in a module stands for; there are few different ones."""
    around = vars(sys.modules[module])
    name, _, rest = annotation.partition(" | ")
    if name.isidentifier() and rest in ("", "None"):  # a type's name: to evaluate it as Python takes ten times as long
        base = _BASES.get(around.get(name, getattr(builtins, name, None)))
        if base is not None:
            return AttributeKind(base, optional=bool(rest))
    hints = typing.get_type_hints(types.SimpleNamespace(__annotations__={"": annotation}), around)
    return _kind_of(hints[""])


# ---------------------------------------------------------------------- samples
@attrs.frozen(eq=False)
class Sample:
    """One application for the generated tests.

    Attributes:
        op: the operator.
        operands: a type in text form ("f32[1,3,8,8]": the test draws values), an array (taken as it is), or None.
        because: for a bad sample, words that the error message must contain; empty for a good one.
    """

    op: Operator
    operands: tuple[str | Array | None, ...]
    because: str = ""

    def __str__(self) -> str:
        arrays = ("-" if o is None else o if isinstance(o, str) else f"{o.dtype}{list(o.shape)}" for o in self.operands)
        shown = ",".join(arrays)
        return f"{self.op!r}({shown})" + (f" fails: {self.because}" if self.because else "")


def case(op: Operator, *operands: str | Array | None) -> Sample:
    """A good sample."""
    return Sample(op, operands)


def bad(op: Operator, *operands: str | Array | None, because: str) -> Sample:
    """An application that `infer` refuses with a message that contains `because`."""
    return Sample(op, operands, because)


# -------------------------------------------------------------- help for infer
def require(condition: Any, message: str, *values: object, hint: str = "") -> None:
    """Refuse the operands unless `condition` holds.

    Args:
        condition: what must hold.
        message: why not, with `{}` for each of `values`; they are put in only then, because to write a symbolic
            extent out takes longer than to infer a type.
        values: see there.
        hint: what to do about it.

    Raises:
        InferenceFailure: with the message.
    """
    if not condition:
        raise InferenceFailure(message.format(*values) if values else message, hint=hint)


def require_tensors(operands: Sequence[TensorType | None]) -> None:
    """Refuse sequences, optionals and maps.

    Raises:
        InferenceFailure: one of the operands is none or may be missing.
    """
    for i, t in enumerate(operands):
        if t is not None and t.containers:
            raise InferenceFailure(
                f"operand {i} must be a tensor, it is {t}",
                hint="take a tensor out of it first (SequenceAt, OptionalGetElement)",
            )


def ranked(t: TensorType, name: str = "x", ranks: int | tuple[int, ...] | None = None) -> InferredShape:
    """The shape of an operand, whose rank must be known and, when given, one of `ranks`."""
    if t.shape is None:
        raise InferenceFailure(f"the rank of {name} must be known")
    if ranks is not None:
        allowed = (ranks,) if isinstance(ranks, int) else ranks
        words = " or ".join(map(str, allowed))
        require(len(t.shape) in allowed, "{} must have rank {}, has shape {}", name, words, list(t.shape))
    return t.shape


def require_shape(t: TensorType | None, name: str, *expected: Dim | None) -> None:
    """Refuse an operand, when it is given, whose shape cannot be the expected one."""
    if t is not None:
        shape = ranked(t, name, len(expected))
        fits = all(unify_extents(have, want) for have, want in zip(shape, expected, strict=True))
        require(fits, "{} has shape {}, expected {}", name, list(shape), list(expected))


def same_dtype(**operands: TensorType | None) -> DType:
    """The element type that all given operands share."""
    given = {name: t.dtype for name, t in operands.items() if t is not None}
    first_name, first = next(iter(given.items()))
    for name, dtype in given.items():
        words = "{} is {}, {} is {}: element types must agree"
        require(dtype is first, words, name, dtype, first_name, first, hint="insert a Cast")
    return first


def normalize_axis(axis: int, rank: int) -> int:
    """A non-negative axis."""
    require(-rank <= axis < max(rank, 1), "axis {} is out of range for rank {}", axis, rank)
    return axis + rank if axis < 0 else axis


def broadcast_shapes(*shapes: InferredShape) -> InferredShape:
    """NumPy broadcasting, also over symbolic extents.

    Of two different symbolic extents the result is the one that is not 1 when the other is not; only the run tells
    (None) where either may be the 1.
    """
    rank = max((len(s) for s in shapes), default=0)
    result: list[Dim | None] = []
    for axis in range(rank):
        extents = [s[axis - rank + len(s)] for s in shapes if axis - rank + len(s) >= 0]
        result.append(_broadcast_extent([d for d in extents if d != 1], shapes))
    return tuple(result)


def _broadcast_extent(extents: list[Dim | None], shapes: Sequence[InferredShape]) -> Dim | None:
    numbers = {d for d in extents if isinstance(d, int)}
    if len(numbers) > 1:
        raise InferenceFailure(f"shapes {' and '.join(str(list(s)) for s in shapes)} do not broadcast")
    if numbers:
        return numbers.pop()  # a symbolic extent beside a number is that number or 1: the result has the number
    named = list(dict.fromkeys(extents))
    if len(named) < 2:
        return named[0] if named else 1
    return next((d for d in named if all(other is d or prevails(d, other) for other in named)), None)


def unify_extents(a: Dim | None, b: Dim | None) -> bool:
    """Whether two extents can be the same number (symbols and unknowns can be anything)."""
    return not (isinstance(a, int) and isinstance(b, int)) or a == b
