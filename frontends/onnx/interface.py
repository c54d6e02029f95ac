"""Declared types: names of dimensions, types of inputs and values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

import attrs
from onnx import TypeProto, ValueInfoProto

from uair.frontends.onnx.errors import OnnxShapeError, OnnxTypeError
from uair.frontends.onnx.tensors import dtype_of
from uair.ir.dims import COUNTED_NAME, Dim, Shape, symbol
from uair.ir.dtype import DType
from uair.ir.types import Container, TensorType

MAX_RANK = 64
"""Axes of a declared type; NumPy's own limit."""

MAX_NAME = 100
"""Characters of a size's name; longer ones are cut."""

_UNNAMED = {"", "?", "-1", "None", "unk__"}
_ILLEGAL = re.compile(r"[^A-Za-z0-9_.]+")


Sizes: TypeAlias = tuple["int | None", ...]
"""The sizes of one axis, one for each set of shapes that the inputs will have; None where that says nothing."""


def in_words(sizes: Sizes) -> str:
    """Sizes for a message."""
    return "/".join("?" if size is None else str(size) for size in sizes)


class SymbolNames:
    """Symbols for the model's named dimensions: one per name, all different, deterministic.

    A name that stands for several sizes has a symbol for each of them, and one for every other place that it is at.
    """

    def __init__(self, ambiguous: Iterable[str] = ()) -> None:
        """Take the names that stand for several sizes."""
        self._ambiguous = frozenset(ambiguous)
        self._known: dict[tuple[str, Sizes | None], Dim] = {}
        self._taken: set[str] = set()

    def named(self, name: str, sizes: Sizes | None = None) -> Dim:
        """The symbol of a dimension that the model calls `name`.

        Args:
            name: the model's.
            sizes: the numbers that it will get here; they count only for a name that stands for several.
        """
        if name not in self._ambiguous:
            sizes = None
        elif sizes is None or not any(size is not None for size in sizes):
            return self._new(name)
        if (name, sizes) not in self._known:
            self._known[name, sizes] = self._new(name)
        return self._known[name, sizes]

    def unnamed(self, value: str, axis: int) -> Dim:
        """A symbol for a dimension without a name, or that only the data decide: extent `axis` of a value."""
        return self._new(f"{value}.{axis}")

    def _new(self, wish: str) -> Dim:
        legal = _ILLEGAL.sub("_", wish[:MAX_NAME]).strip(".") or "d"
        if not legal[0].isalpha() and legal[0] != "_":
            legal = "_" + legal
        if COUNTED_NAME.fullmatch(legal):
            legal += "_"
        name, n = legal, 1
        while name in self._taken:
            n += 1
            name = f"{legal}_{n}"
        self._taken.add(name)
        return symbol(name)


def sizes_by_axis(
    inputs: Iterable[ValueInfoProto], shapes: Sequence[Mapping[str, Sequence[int | None]]]
) -> dict[str, tuple[Sizes, ...]]:
    """The sizes of every axis of the inputs.

    Args:
        inputs: as the model declares them.
        shapes: those that the inputs will have, by name; several of such where they will have others in turn. A shape
            of another rank than the declared one says nothing.
    """
    found: dict[str, tuple[Sizes, ...]] = {}
    for value in inputs:
        rank = len(value.type.tensor_type.shape.dim)
        given = [each.get(value.name, ()) for each in shapes]
        rows = [shape if len(shape) == rank else (None,) * rank for shape in given]
        found[value.name] = tuple(zip(*rows, strict=True))
    return found


def ambiguous_names(
    inputs: Iterable[ValueInfoProto], sizes: Mapping[str, Sequence[Sizes]]
) -> dict[str, dict[Sizes, list[str]]]:
    """The names of dimensions that stand for several sizes once the inputs have these shapes.

    Exporters write one name for the axes of all inputs, whatever their lengths; to onnxruntime such a name means
    nothing but that the size is open.

    Args:
        inputs: as the model declares them.
        sizes: of their axes, see `sizes_by_axis`.

    Returns:
        By name: the inputs that have it, by sizes. Names that stand for one size in all shapes are left out.
    """
    found: dict[str, dict[Sizes, list[str]]] = {}
    for value in inputs:
        for dim, here in zip(value.type.tensor_type.shape.dim, sizes[value.name], strict=False):
            if any(size is not None for size in here) and dim.dim_param not in _UNNAMED:
                holders = found.setdefault(dim.dim_param, {}).setdefault(here, [])
                if value.name not in holders:
                    holders.append(value.name)
    return {name: by_size for name, by_size in found.items() if _differ(by_size)}


def _differ(found: Iterable[Sizes]) -> bool:
    """Whether two axes have different sizes in one of the shapes."""
    return any(len({size for size in column if size is not None}) > 1 for column in zip(*found, strict=True))


def input_type(value: ValueInfoProto, names: SymbolNames, place: str, sizes: Sequence[Sizes]) -> TensorType | None:
    """The type that the model declares for an input whose axes will have these sizes; see `declared_type`.

    Raises:
        OnnxTypeError: see there.
    """
    proto = value.type
    if proto.WhichOneof("value") != "tensor_type" or not proto.tensor_type.elem_type:
        return declared_type(value, names, place)
    return tensor_type(proto.tensor_type, value.name, names, place, given=sizes)


def declared_type(
    value: ValueInfoProto, names: SymbolNames, place: str, known: TensorType | None = None
) -> TensorType | None:
    """The type that the model declares for a value; None when it declares none.

    Args:
        value: the declaration.
        names: the symbols of the model.
        place: of the node that computes it.
        known: its type where that is decided already: a dimension without a size or a name then needs no symbol (the
            first one of a process takes half a second).

    Raises:
        OnnxTypeError: the element type is not known, or it is a type that UAIR lacks.
    """
    return value_type(value.type, value.name, names, place, known)


def value_type(
    proto: TypeProto, name: str, names: SymbolNames, place: str, known: TensorType | None = None
) -> TensorType | None:
    """A declared type; None when there is none.

    Raises:
        OnnxTypeError: see `declared_type`.
    """
    kind = proto.WhichOneof("value")
    if kind is None or (kind == "tensor_type" and not proto.tensor_type.elem_type):
        return None
    if kind == "tensor_type":
        return tensor_type(proto.tensor_type, name, names, place, known)
    inner, container = _container(proto, kind, name, place)
    held = value_type(inner, name, names, place)
    if held is not None and not held.shape:
        held = attrs.evolve(held, shape=None)  # writers put the shape of a scalar where they know none
    return None if held is None else held.within(container)


def _container(proto: TypeProto, kind: str, name: str, place: str) -> tuple[TypeProto, Container]:
    """What a declared sequence, optional or map holds, and which it is."""
    if kind == "sequence_type":
        return proto.sequence_type.elem_type, Container.SEQUENCE
    if kind == "optional_type":
        return proto.optional_type.elem_type, Container.OPTIONAL
    if kind == "map_type":
        key = dtype_of(proto.map_type.key_type, place)
        return proto.map_type.value_type, Container.MAP_STRING if key is DType.STRING else Container.MAP_I64
    raise OnnxTypeError(
        f"{name!r} is a {kind.removesuffix('_type').replace('_', ' ')}, which is not supported",
        place=place,
        hint="export the model with dense tensors",
    )


def tensor_type(
    proto: TypeProto.Tensor,
    name: str,
    names: SymbolNames,
    place: str,
    known: TensorType | None = None,
    given: Sequence[Sizes] = (),
) -> TensorType:
    """A declared tensor type; dimensions without a size or a name are those of `known`, or get symbols of their own.

    Args:
        proto: the declaration.
        name: of the value.
        names: the symbols of the model.
        place: for messages.
        known: its type where that is decided already.
        given: the sizes that its axes will have; they tell apart what one name stands for.

    Raises:
        OnnxTypeError: the element type is not known, or there are too many axes.
    """
    dtype = dtype_of(proto.elem_type, place)
    if not proto.HasField("shape"):
        return TensorType(dtype, None)
    if len(proto.shape.dim) > MAX_RANK:
        raise OnnxTypeError(f"{name!r} has {len(proto.shape.dim)} axes, at most {MAX_RANK} are supported", place=place)
    shape: list[Dim] = []
    sizes = known.shape if known is not None and known.shape and len(known.shape) == len(proto.shape.dim) else None
    wanted: Sequence[Sizes] = given or [()] * len(proto.shape.dim)
    for axis, dim in enumerate(proto.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            shape.append(dim.dim_value)
        elif dim.dim_param not in _UNNAMED:
            shape.append(names.named(dim.dim_param, wanted[axis]))
        else:
            shape.append(sizes[axis] if sizes is not None else names.unnamed(name, axis))
    return TensorType(dtype, tuple(shape))


def reconcile(
    recorded: TensorType,
    declared: TensorType,
    undecided: AbstractSet[int],
    names: SymbolNames,
    value: str,
    place: str,
) -> TensorType:
    """The inferred type, with extents that only the data decide taken from the declared one.

    Where not even the rank follows from the operators, the names of the declared extents are not believed: exporters
    write that of an input's extent there although the axis is another. Nor is a declared shape that `contradicts`.

    Args:
        recorded: the type that follows from the operators.
        declared: the type that the model declares.
        undecided: axes whose extent the operator itself does not know.
        names: the symbols of the model.
        value: its name.
        place: of the node that computes it.

    Raises:
        OnnxShapeError: the two contradict each other in element type.
    """
    if recorded.dtype is not declared.dtype or recorded.containers != declared.containers:
        raise OnnxShapeError(
            f"the model declares {value!r} as {declared}; from its operators follows {recorded}",
            place=place,
            hint="remove the model's value_info, or export the model again",
        )
    if recorded.containers:
        return declared if recorded.shape is None else recorded
    if declared.shape is None or contradicts(recorded, declared):
        return recorded
    if recorded.shape is None:
        own = tuple(d if isinstance(d, int) else names.unnamed(value, axis) for axis, d in enumerate(declared.shape))
        return declared.with_shape(own)
    if not declared.shape:
        return recorded  # old exporters wrote an empty shape for one they did not know
    shape: Shape = tuple(
        said if axis in undecided else got
        for axis, (got, said) in enumerate(zip(recorded.shape, declared.shape, strict=True))
    )
    return recorded if shape == recorded.shape else TensorType(recorded.dtype, shape, recorded.layout)


def contradicts(recorded: TensorType, declared: TensorType) -> bool:
    """Whether a declared shape cannot be that which follows from the operators: another rank, or another number.

    Files are full of such shapes: of sizes that were edited at the inputs only, of exporters that guessed. onnxruntime
    warns of them and computes what the operators say.
    """
    if recorded.shape is None or not declared.shape or recorded.containers:
        return False
    if len(declared.shape) != len(recorded.shape):
        return True
    pairs = zip(recorded.shape, declared.shape, strict=True)
    return any(isinstance(got, int) and isinstance(said, int) and got != said for got, said in pairs)
