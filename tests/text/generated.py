"""Modules drawn at random: any names, types, attributes and constants, over the operators of a context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

from uair.errors import UairError
from uair.ir import (
    AppliedPass,
    ArrayData,
    Data,
    DType,
    Graph,
    Layout,
    Location,
    Module,
    Node,
    Origin,
    Source,
    SplatData,
    Tensor,
    TensorType,
)
from uair.ir.data import unpack_bytes
from uair.ir.dims import Dim, ceil_div, floor_div, maximum, minimum, symbol
from uair.ir.layout import fractal_z, nc1hwc0, nhwc, plain
from uair.ops.base import AttributeKind, Operator, attribute_kinds

NAMES = st.one_of(
    st.sampled_from(
        ["", "x", "x", "conv1", "x#1", "0", "7", "none", "outside", "loc", "a/b:0", "a b", '"', "\\", "%x", "//"]
    ),
    st.text(max_size=6),
    st.text(st.characters(codec=None), max_size=4),  # lone surrogates too
)
FLOATS = st.floats(width=64)
LAYOUTS = st.one_of(
    st.sampled_from(
        [Layout.ANY, Layout.PLAIN, plain(32), nhwc(), nc1hwc0(16), nc1hwc0(32), fractal_z(16), fractal_z(32, 8)]
    ),
    st.builds(
        Layout,
        name=NAMES,
        blocks=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 64)), max_size=2).map(tuple),
        order=st.lists(st.integers(0, 5), max_size=4).map(tuple),
        row_alignment=st.integers(1, 64),
    ),
)


def _symbolic(parts: st.SearchStrategy[Dim]) -> st.SearchStrategy[Dim]:
    divisors = st.integers(1, 7)
    return st.one_of(
        st.builds(lambda a, b: a + b, parts, parts),
        st.builds(lambda a, b: a - b, parts, parts),
        st.builds(lambda a, b: a * b, parts, parts),
        st.builds(floor_div, parts, divisors),
        st.builds(ceil_div, parts, divisors),
        st.builds(maximum, parts, parts),
        st.builds(minimum, parts, parts),
        st.builds(lambda a, b: a % b, parts, divisors),
    )


EXTENTS: st.SearchStrategy[Dim] = st.one_of(
    st.integers(0, 300),
    st.recursive(
        st.one_of(st.integers(-3, 20), st.sampled_from(["N", "M", "batch_size", "x.y", "none", "floor"]).map(symbol)),
        _symbolic,
        max_leaves=5,
    ),
)
SHAPES = st.lists(EXTENTS, max_size=4).map(tuple)
TYPES = st.builds(TensorType, st.sampled_from(list(DType)), st.one_of(st.none(), SHAPES), LAYOUTS)
LOCATIONS = st.one_of(
    st.just(Location()),
    st.builds(
        Location,
        st.lists(st.builds(Source, NAMES, NAMES, NAMES), max_size=3).map(tuple),
        st.lists(st.one_of(NAMES, st.sampled_from(["fold-bn", "in", "by", "-", "a$b"])), max_size=2).map(tuple),
    ),
)
_VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**63), 2**64 - 1),
    "float": FLOATS,
    "bool": st.booleans(),
    "str": NAMES,
    "ints": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    "floats": st.lists(FLOATS, max_size=4),
    "strs": st.lists(NAMES, max_size=3),
    "shape": SHAPES,
    "types": st.lists(TYPES, max_size=2),
    "dtype": st.sampled_from(list(DType)),
    "layout": LAYOUTS,
}


@st.composite
def constants(draw: st.DrawFn) -> Tensor:
    """A constant of any element type, with any bits, below or above the limit for writing it out."""
    dtype = draw(st.sampled_from(list(DType)))
    shape = tuple(draw(st.sampled_from([(), (1,), (3,), (2, 3), (0, 2), (5,), (40,), (6, 7)])))
    size = int(np.prod(shape))
    data: Data
    if dtype is DType.STRING:
        words = np.empty(size, np.object_)
        words[:] = [draw(NAMES) for _ in range(size)] if size < 10 else [draw(NAMES)] * size
        data = ArrayData(words.reshape(shape), dtype)
    else:
        data = ArrayData(unpack_bytes(draw(raw_bytes((size * dtype.bits + 7) // 8, dtype)), dtype, shape), dtype)
    if size and draw(st.booleans()):
        data = SplatData(data.array().reshape(-1)[0], dtype, shape)
    return Tensor(TensorType(dtype, shape, draw(LAYOUTS)), draw(NAMES), data)


def raw_bytes(count: int, dtype: DType) -> st.SearchStrategy[bytes]:
    """Any bytes that are values of the type (a bool is 0 or 1)."""
    if dtype is DType.BOOL:
        return st.lists(st.integers(0, 1), min_size=count, max_size=count).map(bytes)
    return st.binary(min_size=count, max_size=count)


@st.composite
def operators(draw: st.DrawFn, classes: list[type[Operator]]) -> Operator:
    """An operator with some attributes set, without graphs."""
    cls = draw(st.sampled_from(classes))
    given: dict[str, Any] = {}
    for name, kind in attribute_kinds(cls).items():
        if kind.base != "graph" and draw(st.booleans()):
            given[name] = draw(attribute(kind))
    try:
        return cls(**given)
    except (UairError, ValueError):  # a validator refuses the combination
        return cls()


def attribute(kind: AttributeKind) -> st.SearchStrategy[Any]:
    """A value of that kind."""
    values = st.sampled_from(kind.choices) if kind.base == "choice" else _VALUES[kind.base]
    return st.one_of(st.none(), values) if kind.optional else values


@st.composite
def modules(draw: st.DrawFn, classes: list[type[Operator]]) -> Module:
    """A module whose types need not follow from its operators."""
    graphs: dict[str, Graph] = {}
    shared = draw(st.lists(constants(), max_size=3))
    for key in draw(st.lists(NAMES, max_size=2, unique=True)):
        graphs[key] = draw(graph_of(classes, shared, draw(st.sampled_from([key, "other"])), [], 0))
    return Module(
        draw(NAMES),
        graphs,
        Origin(
            draw(NAMES),
            draw(NAMES),
            draw(NAMES),
            draw(NAMES),
            tuple(draw(st.lists(st.tuples(NAMES, NAMES), max_size=2))),
        ),
        draw(st.lists(st.builds(AppliedPass, NAMES, st.booleans()), max_size=2)),
        draw(st.dictionaries(NAMES, NAMES, max_size=2)),
    )


def graph_of(
    classes: list[type[Operator]], shared: list[Tensor], name: str, outer: list[Tensor], depth: int
) -> st.SearchStrategy[Graph]:
    """A graph that may use the values of an enclosing one."""

    @st.composite
    def build(draw: st.DrawFn) -> Graph:
        graph = Graph(name)
        for interface in draw(st.lists(NAMES, max_size=3)):
            graph.add_input(interface, draw(TYPES)).name = draw(st.sampled_from([interface, "x", ""]))
        values = [*outer, *graph.inputs]
        for _ in range(draw(st.integers(0, 4))):
            op = with_graphs(draw, draw(operators(classes)), values, depth)
            node = Node(
                op,
                operands_of(draw, op, [*values, *shared]),
                output_types=[draw(TYPES) for _ in range(op.result_count())],
                output_names=[draw(NAMES) for _ in range(op.result_count())],
                loc=draw(LOCATIONS),
            )
            node.name = draw(st.sampled_from(["", "n", node.loc.sources[0].name if node.loc.sources else "m"]))
            graph.append(node)
            values.extend(node.outputs)
        if values or shared:
            for interface in draw(st.lists(NAMES, max_size=3)):
                graph.add_output(interface, draw(st.sampled_from([*values, *shared])))
        return graph

    def with_graphs(draw: Callable[..., Any], op: Operator, values: list[Tensor], level: int) -> Operator:
        inner = [n for n, kind in attribute_kinds(type(op)).items() if kind.base == "graph"]
        if not inner or level == 2:
            return op
        made = {n: draw(graph_of(classes, shared, n, values, level + 1)) for n in inner if draw(st.booleans())}
        return attrs.evolve(op, **made)  # type: ignore[misc]

    return build()


def operands_of(draw: Callable[..., Any], op: Operator, values: list[Tensor]) -> list[Tensor | None]:
    """Operands that the operator takes, of any type."""

    def pick() -> Tensor:
        return draw(st.sampled_from(values)) if values else Tensor(TensorType(DType.F32, ()), "free")

    operands: list[Tensor | None] = []
    for param in op.params:
        if param.variadic:
            operands += [pick() for _ in range(draw(st.integers(0, 3)))]
        else:
            operands.append(None if param.optional and draw(st.booleans()) else pick())
    return operands
