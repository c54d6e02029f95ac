"""Classical machine learning (ai.onnx.ml) in terms of the arithmetic operators, but for tables of labels.

Where the specification is silent, onnxruntime's results count: the other score of a binary classifier, and its label.
A transform of the scores is applied whenever it is asked for, also where onnxruntime passes over it (a single score).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from uair.frontends.onnx.handlers.text import listed, optional_list
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.data import ArrayData
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ops import (
    Abs,
    Add,
    ArgMax,
    Cast,
    Concat,
    Div,
    Equal,
    Exp,
    Gather,
    Greater,
    IsNaN,
    LabelEncoder,
    Linear,
    LinearClassifier,
    Log,
    LpNormalize,
    Mul,
    Neg,
    Pad,
    ReduceMax,
    ReduceSum,
    Reshape,
    Sigmoid,
    Slice,
    Softmax,
    Sqrt,
    Squeeze,
    Sub,
    Unsqueeze,
    Where,
)
from uair.ops.text import strings

FAMILY = Family("ai.onnx.ml")
TRANSFORMS = {name: name for name in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")}

CLASSIFIED: dict[str, Literal["none", "logistic", "softmax"]] = {
    "NONE": "none",
    "LOGISTIC": "logistic",
    "SOFTMAX": "softmax",
}
"""The transforms that LinearClassifier has."""


# ---------------------------------------------------------------------------- parts
def matrix(n: OnnxNode, x: Tensor) -> Tensor:
    """The operand with one row per sample; a vector is one row."""
    if n.rank(x) == 1:
        return n(Unsqueeze(axes=(0,)), x)
    if n.rank(x) != 2:
        n.refuse(f"the input must be a vector or a matrix, has {n.rank(x)} axes")
    return x


def features(n: OnnxNode, x: Tensor) -> int:
    """The number of columns, which must be known."""
    extent = n.extent(x, n.rank(x) - 1)
    if not isinstance(extent, int):
        n.unsupported(f"{n.op_type} needs to know the number of features, which is {extent}")
    return extent


def real(n: OnnxNode, name: str) -> Array | None:
    """A list of numbers as f32; None when it is not given or empty."""
    values = n.attributes.numbers(name, ())
    return np.array(values, np.float32) if values else None


def transform(n: OnnxNode) -> str:
    """The transform of the scores that is asked for."""
    return n.attributes.choice("post_transform", "NONE", TRANSFORMS)


def transformed(n: OnnxNode, scores: Tensor, kind: str) -> Tensor:
    """Scores [N, C] after a transform."""
    if kind == "SOFTMAX":
        return n(Softmax(axis=1), scores)
    if kind == "LOGISTIC":
        return n(Sigmoid(), scores)
    if kind == "SOFTMAX_ZERO":
        return _softmax_zero(n, scores)
    return _probit(n, scores) if kind == "PROBIT" else scores


def _softmax_zero(n: OnnxNode, scores: Tensor) -> Tensor:
    """Softmax in which scores of 0 take no part: they become 0 themselves, or 0.5 where all are."""
    zero, one = n.like(0, scores), n.like(1, scores)
    greatest = n(ReduceMax(axes=(1,)), scores)
    part = n(Greater(), n(Abs(), scores), n.like(1e-7, scores))
    small = n(Mul(), scores, n(Exp(), n(Neg(), greatest)))
    weights = n(Where(), part, n(Exp(), n(Sub(), scores, greatest)), small)
    total = n(ReduceSum(axes=(1,)), n(Where(), part, weights, zero))
    nothing = n(Equal(), total, zero)
    return n(Where(), nothing, n.like(0.5, scores), n(Div(), weights, n(Where(), nothing, one, total)))


def _probit(n: OnnxNode, scores: Tensor) -> Tensor:
    """The normal distribution's quantile, by Winitzki's approximation of the inverse error function."""
    one = n.like(1, scores)
    x = n(Sub(), n(Mul(), scores, n.like(2, scores)), one)
    log = n(Log(), n(Mul(), n(Sub(), one, x), n(Add(), one, x)))
    half = n(Add(), n(Mul(), log, n.like(0.5, x)), n.like(2 / (3.14159 * 0.147), x))
    square = n(Sub(), n(Mul(), half, half), n(Mul(), log, n.like(1 / 0.147, x)))
    root = n(Sqrt(), n(Sub(), n(Sqrt(), square), half))
    signed = n(Where(), n(Greater(), n.like(0, x), x), n(Neg(), root), root)
    return n(Mul(), signed, n.like(1.41421356, x))


def beside(n: OnnxNode, first: Tensor, second: Tensor) -> Tensor:
    """Columns beside each other."""
    return n(Concat(axis=1), first, second)


def labels_of(n: OnnxNode, *names: str) -> Tensor:
    """The class labels: a constant of i64 or strings.

    Raises:
        OnnxAttributeError: there are none, or both kinds.
    """
    return listed(n, names)


def pick(n: OnnxNode, labels: Tensor, index: Tensor) -> Tensor:
    """The label at each index, [N]; the index itself where the labels are 0, 1, ..."""
    values = labels.numpy()
    if values.dtype == np.int64 and np.array_equal(values, np.arange(len(values))):
        return index
    return n(Gather(axis=0), labels, index)


def best(n: OnnxNode, labels: Tensor, scores: Tensor) -> Tensor:
    """The label of the greatest score of each row."""
    return pick(n, labels, n(ArgMax(axis=1, keepdims=False), scores))


def decided(n: OnnxNode, labels: Tensor, score: Tensor, threshold: float = 0.0) -> Tensor:
    """The second of two labels where the one score [N, 1] exceeds the threshold, else the first."""
    above = n(Squeeze(axes=(1,)), n(Greater(), score, n.like(threshold, score)))
    return pick(n, labels, n(Cast(to=DType.I64), above))


def binary_scores(n: OnnxNode, score: Tensor, kind: str, *, opposite: bool) -> Tensor:
    """Scores of two classes from that of the second, [N, 1]: its complement to 1 before it, or its opposite.

    The logistic function and softmax take the opposite in any case.
    """
    if opposite or kind in ("LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        return transformed(n, beside(n, n(Neg(), score), score), kind)
    return transformed(n, beside(n, n(Sub(), n.like(1, score), score), score), kind)


# ------------------------------------------------------------------------- elements
@FAMILY.op("ArrayFeatureExtractor", 1)
def _extract(n: OnnxNode) -> Result:
    """Columns of x; those of a vector are a matrix of one row."""
    x, y = n[0], n[1]
    index = y if n.rank(y) == 1 else n(Reshape(shape=(-1,)), y)
    if n.rank(x) == 1:
        x = n(Unsqueeze(axes=(0,)), x)
    return n(Gather(axis=n.rank(x) - 1), x, index)


@FAMILY.op("Binarizer", 1)
def _binarize(n: OnnxNode) -> Result:
    x, threshold = n[0], n.attributes.number("threshold", 0.0)
    if x.type.dtype.is_integer:  # more than 0.5 is more than 0
        least, greatest = x.type.dtype.range
        if math.isnan(threshold) or threshold >= greatest:
            return n(Mul(), x, n.like(0, x))
        below = math.floor(max(threshold, least - 1))
        if below < least:
            return n(Add(), n(Mul(), x, n.like(0, x)), n.like(1, x))
        threshold = below
    return n.cast(n(Greater(), x, n.like(threshold, x)), x.type.dtype)


@FAMILY.op("Imputer", 1)
def _impute(n: OnnxNode) -> Result:
    """Values of f64 are those of f32, as the attributes have them."""
    x, a = n[0], n.attributes
    whole = x.type.dtype.is_integer
    values = a.integers("imputed_value_int64s", ()) if whole else a.numbers("imputed_value_floats", ())
    if not values:
        n.refuse(f"{'imputed_value_int64s' if whole else 'imputed_value_floats'} must be given for {x.type.dtype}")
    replaced = a.integer("replaced_value_int64", 0) if whole else a.number("replaced_value_float", 0.0)
    if whole and not all(x.type.dtype.range[0] <= v <= x.type.dtype.range[1] for v in (*values, replaced)):
        n.refuse(f"a value does not fit {x.type.dtype}")
    new = np.asarray(values[0] if len(values) == 1 else values, np.int64 if whole else np.float32)
    where = n(IsNaN(), x) if math.isnan(replaced) else n(Equal(), x, n.like(replaced, x))
    return n(Where(), where, constant(new.astype(x.type.dtype.numpy)), x)


@FAMILY.op("Scaler", 1)
def _scale(n: OnnxNode) -> Result:
    """The arithmetic is in f64 for x in f64; the result is f32."""
    x = n[0] if n[0].type.dtype is DType.F64 else n.cast(n[0], DType.F32)
    for op, name in ((Sub(), "offset"), (Mul(), "scale")):
        values = real(n, name)
        if values is not None:
            row = values.reshape(()) if len(values) == 1 else values
            x = n(op, x, constant(row.astype(x.type.dtype.numpy)))
    return n.cast(x, DType.F32)


@FAMILY.op("Normalizer", 1)
def _normalize(n: OnnxNode) -> Result:
    """The last axis divided by its greatest element, the sum of magnitudes, or the length; if that is 0, unchanged.

    What is below the least normal number counts as 0 for the sum and the length.
    """
    x = n[0] if n[0].type.dtype is DType.F64 else n.cast(n[0], DType.F32)
    kind = n.attributes.choice("norm", "MAX", {name: name for name in ("MAX", "L1", "L2")})
    axes = (n.rank(x) - 1,)
    if n.rank(x) not in (1, 2):
        n.refuse(f"the input must be a vector or a matrix, has {n.rank(x)} axes")
    if kind != "MAX":
        least = float(np.finfo(x.type.dtype.numpy).tiny)
        return n.cast(n(LpNormalize(axis=axes[0], p=1 if kind == "L1" else 2, epsilon=least), x), DType.F32)
    norm = n(ReduceMax(axes=axes), x)
    divisor = n(Where(), n(Equal(), norm, n.like(0, x)), n.like(1, x), norm)
    return n.cast(n(Div(), x, divisor), DType.F32)


@FAMILY.op("FeatureVectorizer", 1)
def _vectorize(n: OnnxNode) -> Result:
    """Columns beside each other; an operand is cut or filled with zeros to its length in `inputdimensions`."""
    operands = [n.cast(matrix(n, x), DType.F32) for x in n.present()]
    lengths = n.attributes.integers("inputdimensions", ())
    if not lengths:
        return n(Concat(axis=1), *operands)
    if len(lengths) != len(operands) or min(lengths) < 0:
        n.refuse(f"inputdimensions must have one length for each of {len(operands)} inputs, is {list(lengths)}")
    return n(Concat(axis=1), *(_of_length(n, x, d) for x, d in zip(operands, lengths, strict=True)))


def _of_length(n: OnnxNode, x: Tensor, length: int) -> Tensor:
    have = features(n, x)
    if have > length:
        return n(Slice(axes=(1,), starts=(0,), ends=(length,), steps=(1,)), x)
    return x if have == length else n(Pad(pads=(0, 0, 0, length - have)), x)


# --------------------------------------------------------------------------- tables
def table(n: OnnxNode, x: Tensor, keys: Tensor, values: Tensor, default: Any) -> Tensor:
    """The table's value for each element."""
    if keys.type.shape != values.type.shape:
        n.refuse(f"there are {keys.type.dims} keys and {values.type.dims} values")
    if x.type.dtype is not keys.type.dtype:
        n.refuse(f"the input is {x.type.dtype}, the keys are {keys.type.dtype}")
    other = default
    if not isinstance(default, Tensor):
        string = values.type.dtype is DType.STRING
        other = constant(strings([default], ()) if string else np.asarray(default, values.type.dtype.numpy))
    return n(LabelEncoder(), x, keys, values, other)


def words(values: Sequence[str]) -> Tensor:
    """A constant of strings."""
    return constant(ArrayData(strings(values, (len(values),)), DType.STRING))


@FAMILY.op("LabelEncoder", 1)
def _encode_classes(n: OnnxNode) -> Result:
    """Strings to their places in the list, or places to strings."""
    a = n.attributes
    classes = a.texts("classes_strings")
    if not classes:
        n.refuse("classes_strings must be given")
    names, places = words(classes), constant(np.arange(len(classes)))
    if n[0].type.dtype is DType.STRING:
        return table(n, n[0], names, places, a.integer("default_int64", -1))
    return table(n, n[0], places, names, a.text("default_string", "_Unused"))


@FAMILY.op("LabelEncoder", 2, 4)
def _encode(n: OnnxNode) -> Result:
    """Since version 4 keys and values may be tensors, and a key of NaN stands for every NaN; before it met nothing."""
    forms = ("strings", "int64s", "floats", *(("tensor",) if n.version >= 4 else ()))
    keys = listed(n, tuple(f"keys_{form}" for form in forms))
    values = listed(n, tuple(f"values_{form}" for form in forms))
    if n.version < 4 and keys.type.dtype is DType.F32:
        kept = ~np.isnan(keys.numpy())
        if not kept.all():
            if not kept.any() or len(kept) != len(values.numpy()):
                n.refuse("the keys must be numbers, as many as values")
            keys, values = constant(keys.numpy()[kept]), constant(values.numpy()[kept])
    if len(keys.type.dims) != 1 or len(values.type.dims) != 1:
        n.refuse("keys and values must be lists")
    return table(n, n[0], keys, values, _default(n, values.type.dtype))


def _default(n: OnnxNode, dtype: DType) -> Any:
    given = optional_list(n, ("default_tensor",)) if n.version >= 4 else None
    if given is not None:
        if given.type.dtype is not dtype or given.type.size != 1:
            n.refuse(f"default_tensor must hold one {dtype}, is {given.type}")
        return constant(given.numpy().reshape(()))
    if dtype is DType.STRING:
        return n.attributes.text("default_string", "_Unused")
    if dtype.is_float:
        return n.attributes.number("default_float", -0.0)
    return n.attributes.integer("default_int64", -1)


@FAMILY.op("CategoryMapper", 1)
def _map_categories(n: OnnxNode) -> Result:
    a = n.attributes
    names, numbers = a.texts("cats_strings") or (), a.integers("cats_int64s", ())
    if not names or len(names) != len(numbers):
        n.refuse(f"there are {len(names)} strings and {len(numbers)} numbers")
    pair = words(names), constant(np.array(numbers, np.int64))
    if n[0].type.dtype is DType.STRING:
        return table(n, n[0], pair[0], pair[1], a.integer("default_int64", -1))
    return table(n, n[0], pair[1], pair[0], a.text("default_string", "_Unused"))


@FAMILY.op("OneHotEncoder", 1)
def _one_hot(n: OnnxNode) -> Result:
    """1 at the place of the category. An unknown one has none; without `zeros`, to look it up fails when it runs."""
    cats = listed(n, ("cats_int64s", "cats_strings"))
    count = len(cats.numpy())
    x = n[0] if cats.type.dtype is DType.STRING else n.cast(n[0], DType.I64)
    places = constant(np.arange(count))
    index = table(n, x, cats, places, count)
    if not n.attributes.flag("zeros", True):
        index = n(Gather(axis=0), places, index)
    return n.cast(n(Equal(), n(Unsqueeze(axes=(n.rank(x),)), index), places), DType.F32)


# --------------------------------------------------------------------------- linear
def weights(
    n: OnnxNode, x: Tensor, coefficients: Array, intercepts: Array | None, rows: int
) -> tuple[Tensor, Tensor | None]:
    """Weights [rows, F] and bias [rows] of scores of x [N, F], in x's type."""
    if rows < 1 or len(coefficients) % rows or (intercepts is not None and len(intercepts) not in (1, rows)):
        n.refuse(f"{len(coefficients)} coefficients do not make {rows} rows with as many intercepts")
    if len(coefficients) != rows * features(n, x):
        n.refuse(f"{len(coefficients)} coefficients are not those of {rows} scores and {features(n, x)} features")
    w = coefficients.reshape(rows, -1).astype(x.type.dtype.numpy)
    bias = None if intercepts is None else np.broadcast_to(intercepts, (rows,)).astype(x.type.dtype.numpy)
    return constant(w), None if bias is None else constant(np.ascontiguousarray(bias))


def affine(n: OnnxNode, x: Tensor, coefficients: Array, intercepts: Array | None, rows: int) -> Tensor:
    """Scores [N, rows] of x [N, F], in x's type."""
    return n(Linear(), x, *weights(n, x, coefficients, intercepts, rows))


@FAMILY.op("LinearRegressor", 1)
def _linear_regressor(n: OnnxNode) -> Result:
    x = n[0] if n[0].type.dtype is DType.F64 else n.cast(n[0], DType.F32)
    coefficients = real(n, "coefficients")
    if coefficients is None:
        n.refuse("coefficients must be given")
    scores = affine(n, matrix(n, x), coefficients, real(n, "intercepts"), n.attributes.integer("targets", 1))
    return transformed(n, n.cast(scores, DType.F32), transform(n))


@FAMILY.op("LinearClassifier", 1)
def _linear_classifier(n: OnnxNode) -> Result:
    """One score of two classes is that of the second; the label is decided before the transform."""
    x, kind = matrix(n, n.cast(n[0], DType.F32)), transform(n)
    labels = labels_of(n, "classlabels_ints", "classlabels_strings")
    coefficients, intercepts = real(n, "coefficients"), real(n, "intercepts")
    if coefficients is None:
        n.refuse("coefficients must be given")
    rows, classes = len(coefficients) // max(1, features(n, x)), len(labels.numpy())
    if rows > classes:  # onnxruntime reads no further; its own sample model has more features than its input
        rows, coefficients = classes, coefficients[: classes * features(n, x)]
    w, bias = weights(n, x, coefficients, intercepts, rows)
    if 1 < rows == classes and kind in CLASSIFIED:
        return tuple(n.all(LinearClassifier(transform=CLASSIFIED[kind]), x, w, labels, bias))
    scores = n(Linear(), x, w, bias)
    if rows == 1 and classes == 2:
        return decided(n, labels, scores), binary_scores(n, scores, kind, opposite=False)
    if rows < 2 or rows != classes:
        n.refuse(f"there are {rows} rows of coefficients and {classes} class labels")
    return best(n, labels, scores), transformed(n, scores, kind)
