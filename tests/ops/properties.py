"""Random applications of ONNX operators: what a property test draws, and the judge.

A maker draws one application of an operator (attributes, shapes, values) within what ONNX allows. `judge` builds the
model of that one node and holds UAIR's import and interpreter against onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from uair.codegen.reference import Interpreter
from uair.frontends.onnx import load_bytes
from uair.ir.dtype import Array

T = TypeVar("T")
F16, F32, F64 = np.float16, np.float32, np.float64
FLOATS = (F32, F32, F64)
INTS = (np.int32, np.int64)
NUMBERS = (*FLOATS, *INTS)


@attrs.frozen
class Draw:
    """Draws what a maker asks for; everything that decides a structure shrinks."""

    data: st.DataObject

    def number(self, low: int, high: int) -> int:
        """A number of [low, high]."""
        return self.data.draw(st.integers(low, high))

    def numbers(self, low: int, high: int, count: int) -> list[int]:
        """Several numbers."""
        return [self.number(low, high) for _ in range(count)]

    def choice(self, values: Sequence[T]) -> T:
        """One of some values; the first is the simplest."""
        return self.data.draw(st.sampled_from(values))

    def flag(self) -> bool:
        """Yes or no."""
        return self.data.draw(st.booleans())

    def some(self, values: Sequence[T], least: int = 0) -> list[T]:
        """Some of the values, each once, in any order."""
        kept = st.lists(st.sampled_from(values), unique=True, min_size=least) if values else st.just([])
        return self.data.draw(kept)

    def order(self, count: int) -> list[int]:
        """A permutation."""
        return list(self.data.draw(st.permutations(range(count))))

    def shape(self, low: int = 0, high: int = 4, least: int = 1, most: int = 5) -> tuple[int, ...]:
        """Extents of [least, most], between `low` and `high` of them."""
        return tuple(self.numbers(least, most, self.number(low, high)))

    def rng(self) -> np.random.Generator:
        """Values, which need not shrink."""
        return np.random.default_rng(self.number(0, 2**20))

    def array(self, dtype: Any, shape: Sequence[int], low: int = -9, high: int = 9) -> Array:
        """Values: integers of [low, high], floats from a normal distribution."""
        rng, kind = self.rng(), np.dtype(dtype)
        if kind == np.bool_:
            return np.asarray(rng.integers(0, 2, tuple(shape))).astype(np.bool_)
        if kind.kind in "iu":
            return np.asarray(rng.integers(max(low, int(np.iinfo(kind).min)), high + 1, tuple(shape))).astype(kind)
        return np.asarray(rng.standard_normal(tuple(shape)) * 2).astype(kind)

    def positive(self, dtype: Any, shape: Sequence[int]) -> Array:
        """Floats of [0.1, 3]."""
        return np.asarray(self.rng().uniform(0.1, 3, tuple(shape))).astype(dtype)

    def broadcast(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape that broadcasts with another one without making it larger."""
        kept = shape[self.number(0, len(shape)) :]
        return tuple(1 if self.number(0, 3) == 0 else d for d in kept)

    def axis(self, rank: int) -> int:
        """An axis, counted from either end."""
        return self.number(-rank, rank - 1)

    def axes(self, rank: int, least: int = 0) -> list[int]:
        """Some axes, each counted from either end."""
        return [a - rank if self.flag() else a for a in self.some(range(rank), least)]


@attrs.frozen
class Application:
    """One application of an operator.

    Attributes:
        operands: None for one that is left out.
        attributes: those of None are left out.
        constants: which operands are initializers.
        results: their number; a name of "" leaves one out.
        opset: of the model.
        tolerance: relative to the greatest magnitude; of the result's type when not given. 0: bit for bit.
        domain: of the operator.
    """

    operands: Sequence[Array | None]
    attributes: dict[str, Any] = attrs.Factory(dict[str, Any])
    constants: tuple[int, ...] = ()
    results: int = 1
    opset: int = 21
    tolerance: float | None = None
    domain: str = ""


Maker = Callable[[Draw], Application]

TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-11}


class Refused(Exception):
    """The judge does not run this model."""


def built(op_type: str, a: Application) -> tuple[bytes, dict[str, Array]]:
    """The model and its feeds."""
    names = ["" if x is None else f"i{i}" for i, x in enumerate(a.operands)]
    while names and not names[-1]:
        names.pop()
    arrays = {n: x for n, x in zip(names, a.operands, strict=False) if x is not None}
    stored = {f"i{i}" for i in a.constants} & set(arrays)
    given = {k: v for k, v in a.attributes.items() if v is not None}
    node = helper.make_node(op_type, names, [f"o{i}" for i in range(a.results)], domain=a.domain, **given)
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in arrays.items()
            if n not in stored
        ],
        [onnx.ValueInfoProto(name=f"o{i}") for i in range(a.results)],
        [numpy_helper.from_array(arrays[n], n) for n in sorted(stored)],
    )
    imports = [helper.make_opsetid("", a.opset)] + ([helper.make_opsetid(a.domain, 1)] if a.domain else [])
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return model.SerializeToString(), {n: x for n, x in arrays.items() if n not in stored}


def judged(model: bytes, feeds: dict[str, Array]) -> list[Array]:
    """What onnxruntime says.

    Raises:
        Refused: it says nothing.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return [np.asarray(y) for y in session.run(None, feeds)]
    except Exception as error:
        raise Refused(str(error)) from error


def judge(op_type: str, a: Application) -> None:
    """Hold UAIR against onnxruntime.

    Raises:
        Refused: onnxruntime does not run the model.
        AssertionError: they differ.
    """
    model, feeds = built(op_type, a)
    want = judged(model, feeds)
    module = load_bytes(model, name="property.onnx")
    results = Interpreter(module).run(feeds)
    got = [results[name] for name in module.main.output_names]
    for ours, theirs in zip(got, want, strict=True):
        same(ours, theirs, a.tolerance)


def same(ours: Array, theirs: Array, tolerance: float | None) -> None:
    """Equal types and shapes; equal values, but for rounding in floats."""
    assert ours.dtype == theirs.dtype, f"{ours.dtype} against {theirs.dtype}"
    assert ours.shape == theirs.shape, f"{ours.shape} against {theirs.shape}"
    if theirs.dtype.kind != "f" or tolerance == 0:
        np.testing.assert_array_equal(ours, theirs)
        return
    allowed = TOLERANCE[theirs.dtype.name] if tolerance is None else tolerance
    finite = theirs[np.isfinite(theirs)].astype(np.float64)
    scale = max(float(np.abs(finite).max(initial=0)), 0.1 if tolerance is None else 1.0)
    np.testing.assert_allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=allowed, atol=allowed * scale)
