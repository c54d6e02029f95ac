"""Matrix products."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from uair.ir.dims import Dim, InferredShape
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor
from uair.ir.types import TensorType, inferred
from uair.ops._compute import FLOATS, require_dtype
from uair.ops._forms import number, one_number
from uair.ops._precision import is_integral, matmul, rounded, widened
from uair.ops.base import (
    Operator,
    Sample,
    bad,
    broadcast_shapes,
    case,
    operator,
    ranked,
    require,
    same_dtype,
    unify_extents,
)


def _require_numeric(dtype: DType) -> None:
    require(dtype.is_float or dtype.is_integer, "element type {} has no products", dtype, hint="insert a Cast")


@operator(inputs="a b", family="linear")
class MatMul(Operator):
    """Matrix product over the last two axes. a: [..., m, k]; b: [..., k, n]; result: [..., m, n].

    Leading axes broadcast as in NumPy. trans_a and trans_b exchange the last two axes of an operand first. A 1-D
    operand is a row (a) or a column (b) whose axis the result lacks; then neither may be transposed. Integer sums are
    exact and wrap around. Source: numpy.matmul, ONNX MatMul.
    """

    trans_a: bool = False
    trans_b: bool = False

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        dtype = same_dtype(a=a, b=b)
        _require_numeric(dtype)
        if a.shape is None or b.shape is None:
            return TensorType(dtype, None)
        left, right = a.shape, b.shape
        require(left and right, "a scalar has no matrix product", hint="use Mul")
        require(
            min(len(left), len(right)) > 1 or not (self.trans_a or self.trans_b),
            "shapes {} and {}: a 1-D operand cannot be transposed",
            list(left),
            list(right),
        )
        rows = left[-2:][::-1] if self.trans_a else left[-2:]
        columns = right[-2:][::-1] if self.trans_b else right[-2:]
        require(
            unify_extents(rows[-1], columns[0]),
            "a of shape {} has rows of {}, b of shape {} has columns of {}",
            list(left),
            rows[-1],
            list(right),
            columns[0],
        )
        return inferred(dtype, (*broadcast_shapes(left[:-2], right[:-2]), *rows[:-1], *columns[1:]))

    def evaluate(self, a: Array, b: Array) -> Array:
        if self.trans_a:
            a = a.swapaxes(-1, -2)
        if self.trans_b:
            b = b.swapaxes(-1, -2)
        if b.ndim == 2 and a.ndim > 2:
            return matmul(a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
        return matmul(a, b)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        a = operands[0]
        assert a is not None
        depth = a.dims[-2] if self.trans_a else a.dims[-1]
        assert isinstance(depth, int)
        return 2 * depth * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[3,4]", "f32[4,5]")
        yield case(cls(), "f32[2,1,3,4]", "f32[5,4,2]")
        yield case(cls(trans_a=True, trans_b=True), "f32[2,4,3]", "f32[2,5,4]")
        yield case(cls(), "f32[2,3,4]", "f32[4]")
        yield case(cls(), "f32[4]", "f32[4]")
        yield case(cls(), "bf16[2,3,4]", "bf16[4,5]")
        yield case(cls(), "i32[3,4]", "i32[4,5]")
        yield case(cls(), "f32[2,3,0]", "f32[0,5]")
        yield bad(cls(), "f32[3,4]", "f32[3,5]", because="rows of 4")
        yield bad(cls(), "f32[3,4]", "f16[4,5]", because="element types must agree")
        yield bad(cls(trans_b=True), "f32[3,4]", "f32[4]", because="cannot be transposed")
        yield bad(cls(), "f32[]", "f32[4]", because="scalar")
        yield bad(cls(), "f32[2,3,4]", "f32[3,4,5]", because="do not broadcast")


@operator(inputs="x w bias?", family="linear")
class Linear(Operator):
    """Affine map of the last axis: y = x @ w^T + bias. x: [..., in]; bias: [out]; result: [..., out].

    w: [out, in] with transpose_w (torch.nn.Linear, TFLite FULLY_CONNECTED), else [in, out] (Keras Dense).
    """

    transpose_w: bool = True

    def infer(self, x: TensorType, w: TensorType, bias: TensorType | None = None) -> TensorType:
        dtype = same_dtype(x=x, w=w, bias=bias)
        _require_numeric(dtype)
        shape, weight = ranked(x), ranked(w, "w", 2)
        require(shape, "x must have at least one axis")
        out, depth = weight if self.transpose_w else weight[::-1]
        require(
            unify_extents(depth, shape[-1]),
            "weight expects {} input features, x has {}",
            depth,
            shape[-1],
            hint=f"w is {'[out, in]' if self.transpose_w else '[in, out]'} of shape {list(weight)}",
        )
        if bias is not None:
            (extent,) = ranked(bias, "bias", 1)
            require(unify_extents(extent, out), "bias has {} elements, w gives {} output features", extent, out)
        return inferred(dtype, (*shape[:-1], out))

    def evaluate(self, x: Array, w: Array, bias: Array | None = None) -> Array:
        matrix = w.T if self.transpose_w else w
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim != 2 else x
        result = matmul(widened(rows), widened(matrix))
        if bias is not None:
            result += widened(bias)
        return rounded(result, x.dtype).reshape(*x.shape[:-1], matrix.shape[1])

    def decompose(self, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor | None:
        from uair.ops.elementwise import Add

        if self.transpose_w and x.type.rank < 2:
            return None
        product = MatMul(trans_b=self.transpose_w)(x, w)
        return product if bias is None else Add()(product, bias)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        x = operands[0]
        assert x is not None and isinstance(x.dims[-1], int)
        return results[0].size * (2 * x.dims[-1] + (len(operands) > 2))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[3,4]", "f32[5,4]", "f32[5]")
        yield case(cls(transpose_w=False), "f32[2,3,4]", "f32[4,5]")
        yield case(cls(), "f32[4]", "f32[5,4]", "f32[5]")
        yield case(cls(), "f16[3,4]", "f16[5,4]", "f16[5]")
        yield case(cls(), "i32[3,4]", "i32[5,4]", "i32[5]")
        yield case(cls(), "f32[2,0,4]", "f32[5,4]", "f32[5]")
        yield bad(cls(), "f32[3,4]", "f32[4,5]", because="weight expects 5 input features, x has 4")
        yield bad(cls(), "f32[3,4]", "f32[5,4]", "f32[4]", because="bias has 4 elements")
        yield bad(cls(), "f32[3,4]", "f32[2,5,4]", because="w must have rank 2")


@operator(inputs="inputs*", family="linear")
class Einsum(Operator):
    """Sum of products named by an equation in Einstein's notation, e.g. "bij,bjk->bik".

    Every letter is an axis; "..." stands for leading axes that broadcast. Without "->" the result has the letters that
    occur once, in alphabetic order, behind the "..." axes. Source: numpy.einsum, ONNX Einsum.
    """

    equation: str = ""

    def infer(self, *inputs: TensorType) -> TensorType:
        dtype = same_dtype(**{f"inputs[{i}]": t for i, t in enumerate(inputs)}) if inputs else None
        require(dtype is not None, "there are no operands")
        assert dtype is not None
        _require_numeric(dtype)
        terms, result = self._terms()
        require(
            len(terms) == len(inputs),
            "equation {!r} has {} terms for {} operands",
            self.equation,
            len(terms),
            len(inputs),
        )
        extents: dict[str, Dim | None] = {}
        ellipses: list[InferredShape] = []
        for i, (term, t) in enumerate(zip(terms, inputs, strict=True)):
            ellipses.append(self._bind(term, ranked(t, f"inputs[{i}]"), extents, i))
        shape: list[Dim | None] = []
        for label in result:
            require(
                label == "." or label in extents, "result letter {!r} of {!r} is in no operand", label, self.equation
            )
            shape += broadcast_shapes(*ellipses) if label == "." else (extents[label],)
        return inferred(dtype, tuple(shape))

    def _terms(self) -> tuple[list[str], str]:
        """The operand terms and the result term, with "." for an ellipsis."""
        text = self.equation.replace(" ", "").replace("...", ".")
        left, arrow, right = text.partition("->")
        terms = left.split(",")
        for term in (*terms, right):
            letters = term.replace(".", "")
            require(
                (not letters or (letters.isalpha() and letters.isascii())) and term.count(".") <= 1,
                "equation {!r} is malformed near {!r}",
                self.equation,
                term,
                hint='terms hold letters and at most one "..."',
            )
        if not arrow:
            once = sorted(c for c in set(left) - {",", "."} if left.count(c) == 1)
            right = ("." if "." in left else "") + "".join(once)
        require(len(set(right)) == len(right), "a letter occurs twice in the result of {!r}", self.equation)
        return terms, right

    def _bind(self, term: str, shape: InferredShape, extents: dict[str, Dim | None], i: int) -> InferredShape:
        """Note the extents of the letters of an operand; gives the extents of its ellipsis."""
        letters = term.replace(".", "")
        hidden = len(shape) - len(letters)
        require(
            hidden == 0 or (hidden > 0 and "." in term),
            "term {!r} of {!r} names {} axes, operand {} has shape {}",
            term.replace(".", "..."),
            self.equation,
            len(letters),
            i,
            list(shape),
        )
        at = term.find(".") if "." in term else len(letters)
        own: dict[str, Dim | None] = {}
        for letter, extent in zip(letters, shape[:at] + shape[at + hidden :], strict=True):
            fits = unify_extents(own.setdefault(letter, extent), extent)
            require(fits, "letter {!r} of term {!r} names extents {} and {}", letter, term, own[letter], extent)
            known = extents.setdefault(letter, extent)
            if known == 1 or not isinstance(known, int):
                extents[letter] = extent if extent != 1 and extent is not None else known
            require(
                unify_extents(known, extent) or 1 in (known, extent),
                "letter {!r} of {!r} is {} in one place and {} in operand {}",
                letter,
                self.equation,
                known,
                extent,
                i,
            )
        return shape[at : at + hidden]

    def evaluate(self, *inputs: Array) -> Array:
        wide: list[Any] = [widened(x) for x in inputs]
        if is_integral(inputs[0]):
            wide = [x.astype(np.int64) for x in inputs]
        result = np.einsum(self.equation, *wide, optimize=len(inputs) > 1)
        return rounded(np.asarray(result), inputs[0].dtype)

    def decompose(self, *inputs: Tensor) -> Tensor | None:
        from uair.ops import _einsum

        return _einsum.decompose(*self._terms(), inputs)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        terms, result = self._terms()
        extents: dict[str, Dim | None] = {}
        for i, (term, t) in enumerate(zip(terms, operands, strict=True)):
            if t is not None:
                self._bind(term, t.dims, extents, i)
        summed = [d for letter, d in extents.items() if letter not in result and isinstance(d, int)]
        return len(operands) * results[0].size * math.prod(summed)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(equation="bij,bjk->bik"), "f32[2,3,4]", "f32[2,4,5]")
        yield case(cls(equation="bhqd, bhkd -> bhqk"), "f16[1,2,3,4]", "f16[1,2,5,4]")
        yield case(cls(equation="...ij,jk"), "f32[2,3,4]", "f32[4,5]")
        yield case(cls(equation="ii->i"), "f32[3,3]")
        yield case(cls(equation="i,i,i->"), "f32[3]", "f32[3]", "f32[3]")
        yield case(cls(equation="ij->ji"), "i32[3,4]")
        yield bad(cls(equation="ii->i"), "f32[1,3]", because="names extents 1 and 3")
        yield bad(cls(equation="ij,jk->ik"), "f32[3,4]", "f32[5,6]", because="letter 'j'")
        yield bad(cls(equation="ij->ik"), "f32[3,4]", because="is in no operand")
        yield bad(cls(equation="ij"), "f32[3,4,5]", because="names 2 axes")
        yield bad(cls(equation="i1->i"), "f32[3,4]", because="malformed")
        yield bad(cls(equation="ij,jk"), "f32[3,4]", because="2 terms for 1 operands")


@operator(inputs="x k?", family="linear")
class Trilu(Operator):
    """The upper (or lower) triangle of every matrix; zero elsewhere. x: [..., m, n]; any element type.

    Kept are the elements with column - row >= k (upper) or <= k (lower). Source: ONNX Trilu, numpy.triu.
    """

    k: int | None = 0
    upper: bool = True

    def infer(self, x: TensorType, k: TensorType | None = None) -> TensorType:
        one_number(self.k, k, "k")
        shape = ranked(x)
        require(len(shape) >= 2, "x must have at least two axes, has shape {}", list(shape))
        require(x.dtype is not DType.STRING, "strings have no zero")
        return inferred(x.dtype, shape)

    def evaluate(self, x: Array, k: Array | None = None) -> Array:
        diagonal = number(self, self.k, k)
        rows, columns = x.shape[-2:]
        distance = np.arange(columns) - np.arange(rows)[:, None]
        kept = distance >= diagonal if self.upper else distance <= diagonal
        return np.where(kept, x, np.zeros((), x.dtype))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[3,4]")
        yield case(cls(upper=False, k=-1), "i64[2,4,3]")
        yield case(cls(k=5), "bool[3,4]")
        yield case(cls(k=None), "f32[3,4]", np.array(1))
        yield case(cls(k=None, upper=False), "i32[3,4]", np.array([-1], np.int32))
        yield bad(cls(k=None), "f32[3,4]", because="k is neither")
        yield bad(cls(), "f32[3]", because="at least two axes")


def _square(x: TensorType) -> InferredShape:
    """The shape of an operand that holds square matrices."""
    require_dtype(x, FLOATS, "x")
    shape = ranked(x)
    require(len(shape) >= 2, "x must have at least two axes, has shape {}", list(shape))
    require(unify_extents(shape[-2], shape[-1]), "matrices must be square, x has shape {}", list(shape))
    return shape


@operator(inputs="x", family="linear")
class Det(Operator):
    """The determinant of every matrix. x: [..., n, n]; the result is [...]; computed in f64. Source: ONNX Det."""

    def infer(self, x: TensorType) -> TensorType:
        return inferred(x.dtype, _square(x)[:-2])

    def evaluate(self, x: Array) -> Array:
        with np.errstate(all="ignore"):
            return rounded(np.asarray(np.linalg.det(x.astype(np.float64))), x.dtype)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[3,3]")
        yield case(cls(), "f64[2,3,4,4]")
        yield case(cls(), "f16[2,2,2]")
        yield case(cls(), "bf16[2,2]")
        yield case(cls(), "f32[0,3,3]")
        yield bad(cls(), "f32[3]", because="two axes")
        yield bad(cls(), "f32[3,4]", because="square")
        yield bad(cls(), "i32[3,3]", because="floating-point")


@operator(inputs="x", family="linear")
class Inverse(Operator):
    """The inverse of every matrix; NaN everywhere for one that has none. x: [..., n, n]; computed in f64.

    Source: numpy.linalg.inv, torch.linalg.inv, onnxruntime's com.microsoft Inverse.
    """

    def infer(self, x: TensorType) -> TensorType:
        return inferred(x.dtype, _square(x))

    def evaluate(self, x: Array) -> Array:
        wide = x.astype(np.float64)
        with np.errstate(all="ignore"):
            singular = (np.linalg.slogdet(wide)[0] == 0)[..., np.newaxis, np.newaxis]  # exactly, by a pivot of 0
            inverses = np.linalg.inv(np.where(singular, np.eye(x.shape[-1]), wide))
            return rounded(np.where(singular, np.nan, inverses), x.dtype)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        extent = results[0].dims[-1]
        return 2 * results[0].size * (extent if isinstance(extent, int) else 1)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        near_identity = np.array([[2, 1, 0], [1, 3, 1], [0, 1, 4]])
        yield case(cls(), near_identity.astype(np.float32))
        yield case(cls(), np.stack([near_identity, near_identity + 1.0]))
        yield case(cls(), near_identity.astype(np.float16))
        yield bad(cls(), "f32[3]", because="two axes")
        yield bad(cls(), "f32[3,4]", because="square")
        yield bad(cls(), "i32[3,3]", because="floating-point")
