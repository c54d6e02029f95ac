"""Every operator's own samples: what it infers is what it computes, it refuses what it says it refuses, and more.

A new operator with samples is tested by this file; an operator without samples fails it.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any, cast

import attrs
import numpy as np
import pytest

import uair.ops
from tests.ops.drawing import assert_close, draw, operands_of, type_of, types_of
from uair.codegen.reference.feeds import holds
from uair.errors import ArityError, AttributeTypeError, OpaqueError, UairError
from uair.ir import dims
from uair.ir.dims import Dim, InferredShape
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.layout import Layout
from uair.ir.types import TensorType
from uair.ops.base import Operator, Sample, attribute_kinds
from uair.ops.control import ControlFlow
from uair.text import parse_type

CLASSES: list[type[Operator]] = [getattr(uair.ops, name) for name in uair.ops.OPERATORS]
SAMPLES = [s for cls in CLASSES for s in cls.samples()]
GOOD = [s for s in SAMPLES if not s.because]
BAD = [s for s in SAMPLES if s.because]
EVALUATED = [s for s in GOOD if not isinstance(s.op, (uair.ops.Opaque, ControlFlow))]  # test_control.py has the latter
DECOMPOSITION_ULPS = {"Expm1": 32, "Log1p": 32, "Softplus": 32, "Mish": 64, "Atan2": 32}


def names(samples: list[Sample]) -> list[str]:
    return [str(s) for s in samples]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_operator_is_described(cls: type[Operator]) -> None:
    assert any(not s.because for s in cls.samples())
    assert any(s.because for s in cls.samples()), "a sample that is refused is missing"
    assert all(type(s.op) is cls for s in cls.samples())
    assert cls.__doc__
    assert cls.family
    assert repr(cls()).startswith(cls.__name__ + "(")
    assert cls() == cls()
    assert hash(cls()) == hash(cls())


def test_every_operator_is_listed_once_in_order() -> None:
    made: set[str] = set()
    for info in pkgutil.iter_modules(uair.ops.__path__, "uair.ops."):
        module = importlib.import_module(info.name)
        made |= {
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Operator) and value.family and not name.startswith("_")
        }
    assert list(uair.ops.OPERATORS) == sorted(made)
    assert set(uair.ops.__all__) == {"OPERATORS", *made}


@pytest.mark.parametrize("sample", EVALUATED, ids=names(EVALUATED))
def test_inferred_types_are_those_of_the_results(sample: Sample) -> None:
    operands = operands_of(sample)
    inferred = sample.op.infer_types([None if o is None else type_of(o) for o in operands])
    results = sample.op.evaluate_all(operands)
    assert len(results) == len(inferred) == sample.op.result_count()
    for result, want in zip(results, inferred, strict=True):
        if want.containers:
            assert holds(result, want)
            continue
        assert result.dtype == want.dtype.numpy
        if want.layout == Layout.ANY:
            assert_shape_fits(result.shape, want.shape, {})
        else:  # a packed tensor is evaluated as it lies in memory
            assert result.shape == want.layout.storage_shape(want.dims, result.itemsize)


@pytest.mark.parametrize("sample", EVALUATED, ids=names(EVALUATED))
def test_operands_stay_unchanged(sample: Sample) -> None:
    operands = operands_of(sample)
    frozen: list[Any] = []
    for o in operands:
        if isinstance(o, (list, dict)):
            frozen.append(o.copy())
            continue
        copy = None if o is None else np.array(o)
        if copy is not None:
            copy.flags.writeable = False
        frozen.append(copy)
    first = sample.op.evaluate_all(frozen)
    for a, b in zip(first, sample.op.evaluate_all(operands), strict=True):
        assert same(a, b)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal in type and every bit."""
    if a is None or isinstance(a, (list, dict)):
        return type(a) is type(b) and str(a) == str(b)
    return type_of(a) == type_of(b) and (a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes())


@pytest.mark.parametrize("sample", GOOD, ids=names(GOOD))
def test_inference_with_symbolic_extents_agrees(sample: Sample) -> None:
    """Sizes of the operands become symbols, all at once and one at a time; what is inferred fits the static types."""
    static = types_of(sample)
    want = sample.op.infer_types(static)
    for symbolic, values in symbolic_versions(static):
        try:
            inferred = sample.op.infer_types(symbolic)
        except UairError as error:
            assert re.search("must be known|must be numbers|symbolic", error.message), error
            continue
        for got, expected in zip(inferred, want, strict=True):
            assert got.dtype is expected.dtype
            if expected.shape is not None:
                assert_shape_fits(expected.shape, got.shape, values)


def symbolic_versions(
    types: list[TensorType | None],
) -> Iterator[tuple[list[TensorType | None], dict[str, Dim]]]:
    """Types with every extent, then with single extents of the first operand, replaced by symbols; and their values.

    Extents of equal size that are 2 or more get equal names, since sizes with different names count as different.
    """
    yield replaced(types, lambda operand, axis: True)
    first = types[0] if types else None
    if first is not None and first.shape is not None:
        for axis in range(len(first.shape)):
            yield replaced(types, lambda operand, a, axis=axis: operand == 0 and a == axis)


def replaced(types: list[TensorType | None], chosen: Any) -> tuple[list[TensorType | None], dict[str, Dim]]:
    values: dict[str, Dim] = {}
    result: list[TensorType | None] = []
    for operand, t in enumerate(types):
        if t is None or t.shape is None or t.containers:
            result.append(t)
            continue
        shape: list[Dim] = []
        for axis, d in enumerate(t.shape):
            if isinstance(d, int) and d > 1 and chosen(operand, axis):
                values[f"s{d}"] = d
                d = dims.symbol(f"s{d}")
            shape.append(d)
        result.append(TensorType(t.dtype, tuple(shape), t.layout))
    return result, values


def assert_shape_fits(actual: InferredShape, inferred: InferredShape | None, values: dict[str, Dim]) -> None:
    if inferred is None:
        return
    assert len(actual) == len(inferred)
    for have, want in zip(actual, inferred, strict=True):
        if want is not None and have is not None:
            number = dims.substitute(want, values)
            assert number == have or not isinstance(number, int) and not isinstance(have, int), (actual, inferred)


@pytest.mark.parametrize("sample", GOOD, ids=names(GOOD))
def test_operands_of_unknown_rank(sample: Sample) -> None:
    """Either inference says what it needs, or it does not contradict the types of known rank."""
    static = types_of(sample)
    want = sample.op.infer_types(static)
    unknown = [None if t is None else TensorType(t.dtype, None, containers=t.containers) for t in static]
    try:
        inferred = sample.op.infer_types(unknown)
    except UairError as error:
        assert "rank" in error.message, error
        return
    for got, expected in zip(inferred, want, strict=True):
        assert got.dtype is expected.dtype
        if expected.shape is not None:
            assert_shape_fits(expected.shape, got.shape, {})


@pytest.mark.parametrize("sample", BAD, ids=names(BAD))
def test_bad_operands_are_refused_with_the_reason(sample: Sample) -> None:
    operands = [None if t is None else Tensor(t) for t in types_of(sample)]
    with pytest.raises(UairError, match=re.escape(sample.because)) as caught:
        Node(sample.op, operands)
    assert caught.value.code in ("UAIR-E0301", "UAIR-E0302", "UAIR-E0303")
    assert sample.op.op_type in str(caught.value)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_wrong_number_of_operands(cls: type[Operator]) -> None:
    x = Tensor(TensorType(uair.ir.dtype.DType.F32, (2, 2)))
    if not (cls.params and cls.params[-1].variadic):
        with pytest.raises(ArityError, match=cls.__name__):
            Node(cls(), [x] * (len(cls.params) + 1))
    if any(not p.optional and not p.variadic for p in cls.params):
        with pytest.raises(ArityError, match="needs operand"):
            Node(cls(), [])


WRONG = {
    "int": "one", "float": "one", "bool": 1, "str": 3, "ints": ("a",), "floats": ("a",), "strs": (1,), "shape": (1.5,),
    "types": ("f32[2]",),
    "dtype": "f32", "layout": "NCHW", "choice": "no such choice", "graph": 1,
}  # fmt: skip
ATTRIBUTES = [(cls, name) for cls in CLASSES for name in attribute_kinds(cls)]


@pytest.mark.parametrize(("cls", "name"), ATTRIBUTES, ids=[f"{c.__name__}.{n}" for c, n in ATTRIBUTES])
def test_attributes_of_wrong_type_are_refused(cls: Any, name: str) -> None:
    kind = attribute_kinds(cls)[name]
    with pytest.raises(AttributeTypeError, match=f"{cls.__name__}.{name}"):
        cls(**{name: WRONG[kind.base]})
    if kind.optional:
        assert getattr(cls(**{name: None}), name) is None
    else:
        with pytest.raises(AttributeTypeError, match="None is not allowed"):
            cls(**{name: None})


def decomposed(sample: Sample) -> tuple[list[Array | None], tuple[Tensor, ...], dict[Tensor, Array]] | None:
    """Operands, the results' tensors in the decomposition, and the operands' tensors with their values."""
    operands = operands_of(sample)
    tensors = [None if o is None else Tensor(type_of(o)) for o in operands]
    made = sample.op.decompose(*tensors)
    if made is None:
        return None
    values = {t: o for t, o in zip(tensors, operands, strict=True) if t is not None and o is not None}
    return operands, made if isinstance(made, tuple) else (made,), values


def evaluated(tensor: Tensor, values: dict[Tensor, Array]) -> Array:
    """The value of a tensor from those of others."""
    if tensor not in values:
        if tensor.data is not None:
            values[tensor] = tensor.numpy()
        else:
            node = tensor.producer
            assert node is not None
            given = [None if t is None else evaluated(t, values) for t in node.inputs]
            results = results_of(node, given, values)
            for t, result in zip(node.outputs, results, strict=True):
                assert result.dtype == t.type.dtype.numpy, f"{node!r} gave {result.dtype} for {t.type}"
                values[t] = result
    return values[tensor]


def results_of(node: Node, operands: list[Array | None], values: dict[Tensor, Array]) -> tuple[Any, ...]:
    """Results of a node; graphs that it runs see the values around them."""
    if not isinstance(node.op, ControlFlow):
        return node.op.evaluate_all(operands)

    def call(graph: Graph, given: Any) -> tuple[Any, ...]:
        inside = {**values, **dict(zip(graph.inputs, given, strict=True))}
        return tuple(evaluated(t, inside) for t in graph.outputs)

    for tensor in (t for region in node.regions for t in region.captures()):
        evaluated(tensor, values)
    return node.op.execute(call, *operands)


DECOMPOSED = [s for s in EVALUATED if decomposed(s) is not None]


@pytest.mark.parametrize("sample", DECOMPOSED, ids=names(DECOMPOSED))
def test_decomposition_has_the_same_meaning(sample: Sample) -> None:
    found = decomposed(sample)
    assert found is not None
    operands, results, values = found
    got = [evaluated(t, values) for t in results]
    want = sample.op.evaluate_all(operands)
    given = [None if o is None else type_of(o) for o in operands]
    for tensor, t in zip(results, sample.op.infer_types(given), strict=True):
        assert_shape_fits(tensor.type.dims, t.shape, {})
    assert_close(finite_operands_only(got, operands), finite_operands_only(want, operands), ulps_of(sample))


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap", "symmetric"])
@pytest.mark.parametrize("extent", [1, 2, 5])
@pytest.mark.parametrize("pads", [(0, 3, 0, 4), (0, -1, 0, 3), (1, 2, -1, 0)], ids=str)
def test_padding_of_an_open_axis_is_decomposed(mode: Any, extent: int, pads: tuple[int, ...]) -> None:
    op = uair.ops.Pad(pads=pads, mode=mode)
    x = Tensor(parse_type("i32[2,n]"))
    value = np.arange(2 * extent + 2, dtype=np.int32).reshape(2, extent + 1)
    made = op.decompose(x)
    assert made is not None
    np.testing.assert_array_equal(evaluated(made, {x: value}), op.evaluate(value))


def test_grid_of_a_narrower_type_than_its_image_is_decomposed() -> None:
    """Weights are of the wider type, so that 1 - t loses nothing."""
    rng = np.random.default_rng(0)
    x, grid = rng.standard_normal((1, 2, 3, 4)), rng.uniform(-1, 1, (1, 2, 2, 2)).astype(np.float32)
    op = uair.ops.GridSample()
    tensors = Tensor(type_of(x)), Tensor(type_of(grid))
    made = op.decompose(*tensors)
    assert made is not None
    got = evaluated(made, dict(zip(tensors, (x, grid), strict=True)))
    assert_close([got], [op.evaluate(x, grid)])


def test_floor_division_is_decomposed_for_zero_divisors_too() -> None:
    a, b = np.array([-7, 7, 0, -7, 7, -8, -128], np.int8), np.array([0, 0, 0, 2, -2, 2, -1], np.int8)
    op = uair.ops.IntDiv(rounding="floor")
    tensors = Tensor(type_of(a)), Tensor(type_of(b))
    made = op.decompose(*tensors)
    assert made is not None
    got = evaluated(made, dict(zip(tensors, (a, b), strict=True)))
    assert got.tolist() == op.evaluate(a, b).tolist() == [0, 0, 0, -4, -4, -4, -128]


def ulps_of(sample: Sample) -> float:
    return DECOMPOSITION_ULPS.get(sample.op.op_type, 16)


def finite_operands_only(results: Any, operands: list[Array | None]) -> list[Array]:
    """Results where the operands are finite: a decomposition may differ at infinities and NaN (0 * inf)."""
    first = operands[0] if operands else None
    if not isinstance(first, np.ndarray) or first.dtype != np.float32 or np.isfinite(first).all():
        return list(results)
    finite = np.isfinite(first)
    return [r[finite] if r.shape == first.shape else r[finite.all(axis=-1)] if r.ndim else r for r in results]


def operand_type(node: Node) -> TensorType:
    """Of the first operand: an operator may stand for several of its kind on narrower numbers."""
    operand = node.inputs[0]
    assert operand is not None
    return operand.type


def test_decompositions_are_in_operators_that_are_known() -> None:
    assert len({s.op.op_type for s in DECOMPOSED}) >= 30
    for sample in DECOMPOSED:
        found = decomposed(sample)
        assert found is not None
        graph = Graph()
        for tensor in found[1]:
            for node in reachable(tensor):
                assert node.op_type in uair.ops.OPERATORS
                same = type(node.op) is type(sample.op) and node.op == sample.op
                first = found[0][0] if same else None
                alike = first is not None and type_of(first) == operand_type(node)
                assert not alike, f"{sample} stands for itself"
        assert len(graph) == 0


def reachable(tensor: Tensor) -> Iterator[Node]:
    stack, seen = [tensor], set[Node]()
    while stack:
        node = stack.pop().producer
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            stack.extend(t for t in node.inputs if t is not None)


@pytest.mark.parametrize("sample", EVALUATED, ids=names(EVALUATED))
def test_flops_are_counted(sample: Sample) -> None:
    operands = [None if o is None else type_of(o) for o in operands_of(sample)]
    values: Any = sample.op.evaluate_all(operands_of(sample))
    results = [type_of(r) for r in values if isinstance(r, np.ndarray)]
    assert sample.op.flops(operands, results) >= 0


def test_opaque_is_never_evaluated() -> None:
    with pytest.raises(OpaqueError, match="com.example::Sort3"):
        uair.ops.Opaque(domain="com.example", kind="Sort3").evaluate()


def test_symbols_in_shape_attributes_are_substituted() -> None:
    n = dims.symbol("n")
    op = uair.ops.Reshape(shape=(n, 2 * n))
    assert op.symbols() == ["n"]
    assert op.substitute({"n": 3}) == uair.ops.Reshape(shape=(3, 6))
    opaque = uair.ops.Opaque(kind="K", result_types=(parse_type("f32[n,2*n,?]"), parse_type("i8[*]")))
    assert opaque.symbols() == ["n"]
    assert opaque.substitute({"n": 3}) == uair.ops.Opaque(
        kind="K", result_types=(parse_type("f32[3,6,?]"), parse_type("i8[*]"))
    )


def test_attributes_evolve() -> None:
    clip = uair.ops.Clip(min=0.0)
    assert attrs.evolve(cast(Any, clip), max=6) == uair.ops.Clip(min=0.0, max=6.0)


def test_constants_take_part() -> None:
    y = uair.ops.Add()(constant(np.float32(1)), constant(np.ones(3, np.float32)))
    assert y.type == TensorType(uair.ir.dtype.DType.F32, (3,))
    assert draw(y.type, np.random.default_rng(0)).shape == (3,)
