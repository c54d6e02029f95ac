"""What classical machine learning has beyond arithmetic: label tables, classifiers, trees, pairwise probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops._compute import FLOATS, INTEGERS, require_dtype, working_type
from uair.ops._trees import Trees
from uair.ops.base import Floats, Operator, Sample, bad, case, operator, ranked, require, same_dtype, unify_extents

FAMILY = "classical"
_KEYS = INTEGERS | FLOATS | {DType.STRING}
_ROUNDS = 100  # of the iteration for pairwise probabilities


@operator(inputs="x keys values default", family=FAMILY)
class LabelEncoder(Operator):
    """The value beside the key that equals x, element by element; `default` where no key does.

    x: any shape, of the type of keys; keys: [K]; values: [K]; default: [] of the type of values. Of equal keys the last
    one counts; NaN is a key that every NaN equals. Source: ONNX ai.onnx.ml LabelEncoder 4.
    """

    elementwise = True

    def infer(self, x: TensorType, keys: TensorType, values: TensorType, default: TensorType) -> TensorType:
        require_dtype(x, _KEYS, "x")
        same_dtype(keys=keys, x=x)
        (n,), (m,) = ranked(keys, "keys", 1), ranked(values, "values", 1)
        require(unify_extents(n, m), "there are {} keys and {} values", n, m)
        require(n != 0, "there is no key")
        ranked(default, "default", 0)
        return x.with_dtype(same_dtype(default=default, values=values))

    def evaluate(self, x: Array, keys: Array, values: Array, default: Array) -> Array:
        if keys.dtype == object:
            table = {key: place for place, key in enumerate(keys.tolist())}
            flat = np.array([table.get(s, -1) for s in x.reshape(-1).tolist()], np.int64)
            place = flat.reshape(x.shape)
        else:
            place = _places(x, keys)
        chosen = np.append(values, default.reshape(1)) if values.dtype != object else _with_last(values, default)
        return chosen[np.where(place < 0, len(values), place)].reshape(x.shape)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        x = np.array([3, 7, -1, 3], np.int64)
        words, three = np.array(["a", "b", "a"], object), np.array([1, 2, 3])
        yield case(cls(), x, np.array([3, 7]), np.array([10, 20]), np.array(-1))
        yield case(cls(), x.reshape(2, 2), np.array([3, 7]), np.array(["x", "y"], object), np.array("?", object))
        yield case(cls(), np.array(["b", "z", "a"], object), words, three, np.array(-1))
        yield case(
            cls(),
            "string[2,4]",
            np.array(["s1", "s2"], object),
            np.array([0.5, 1], np.float32),
            np.array(-0.0, np.float32),
        )
        yield case(cls(), np.array([0.0, -0.0, 2], np.float32), np.array([0, 2], np.float32), three[:2], np.array(9))
        yield case(cls(), np.array([1.5, 2]), np.array([1.5]), np.array([0.25]), np.array(0.5))
        narrow = np.array([3, 7], np.int32), np.array([5, 6], np.int16), np.array(1, np.int16)
        yield case(cls(), x.astype(np.int32), *narrow)
        yield case(cls(), "i64[0]", three, np.zeros(3, np.float32), np.array(1, np.float32))
        yield bad(cls(), "i64[3]", "i64[0]", "i64[0]", "i64[]", because="there is no key")
        yield bad(cls(), "i64[3]", "f32[2]", "i64[2]", "i64[]", because="x is i64")
        yield bad(cls(), "i64[3]", "i64[2]", "i64[3]", "i64[]", because="2 keys and 3 values")
        yield bad(cls(), "i64[3]", "i64[2]", "f32[2]", "i64[]", because="element types must agree")


def _with_last(values: Array, default: Array) -> Array:
    result = np.empty(len(values) + 1, object)
    result[:-1], result[-1] = values, default.item()
    return result


def _places(x: Array, keys: Array) -> Array:
    """Where the keys stand that equal the elements of x; -1 where none does."""
    wide, sought = keys.astype(working_type(keys)), x.astype(working_type(x))
    order = np.argsort(wide, kind="stable")
    ranked_keys = wide[order]  # NaN comes last
    last = np.maximum(np.searchsorted(ranked_keys, sought, side="right") - 1, 0)
    found = ranked_keys[last] == sought
    if wide.dtype.kind == "f":
        found |= np.isnan(ranked_keys[last]) & np.isnan(sought)
    return np.where(found, order[last], -1)


@operator(
    inputs="x features modes splits true_next false_next roots starts targets weights missing? members?", family=FAMILY
)
class TreeEnsemble(Operator):
    """Decision trees whose leaves vote for targets; the votes are combined. Source: ONNX ai.onnx.ml TreeEnsemble 5.

    x: [N, F] floating-point; result: [N, n_targets] of x's type. Node k asks whether x[:, features[k]] is <=, <, >=, >,
    = or != splits[k] (modes[k] 0 to 5) or in the node's set (6), and goes on to true_next[k] or false_next[k]: a node,
    or where negative the leaf ~true_next[k]. NaN is != to everything, and goes on to true_next where missing[k] says
    so. A node may stand below several others, never below itself. Tree t begins at roots[t], a node or a leaf.
    members: the sets of the nodes that have one, in the order of the nodes, NaN after each.
    Leaf l has the votes starts[l] to starts[l + 1] - 1, each for one target with a weight.

    aggregate: the "sum" of the weights, their "average" over the trees, or the least or greatest ("min", "max"); a
    target without votes gets 0. Sums are taken tree by tree in x's type, of narrow types in f32.
    """

    n_targets: int = 1
    aggregate: Literal["sum", "average", "min", "max"] = "sum"

    def infer(
        self,
        x: TensorType,
        features: TensorType,
        modes: TensorType,
        splits: TensorType,
        true_next: TensorType,
        false_next: TensorType,
        roots: TensorType,
        starts: TensorType,
        targets: TensorType,
        weights: TensorType,
        missing: TensorType | None = None,
        members: TensorType | None = None,
    ) -> TensorType:
        require_dtype(x, FLOATS, "x")
        same_dtype(x=x, splits=splits, weights=weights, members=members)
        require(self.n_targets >= 1, "n_targets must be positive, is {}", self.n_targets)
        shape = ranked(x, "x", 2)
        nodes = {"modes": modes, "features": features, "splits": splits, "true_next": true_next}
        nodes |= {"false_next": false_next} | ({} if missing is None else {"missing": missing})
        _parallel(nodes)
        _parallel({"targets": targets, "weights": weights})
        whole = {"features": features, "true_next": true_next, "false_next": false_next, "roots": roots}
        for name, t in {**whole, "starts": starts, "targets": targets}.items():
            require(t.dtype is DType.I64, "{} must be i64, is {}", name, t.dtype)
            ranked(t, name, 1)
        require(modes.dtype is DType.U8, "modes must be u8, is {}", modes.dtype)
        require(missing is None or missing.dtype is DType.BOOL, "missing must be bool")
        if members is not None:
            ranked(members, "members", 1)
        return inferred(x.dtype, (shape[0], self.n_targets))

    def evaluate(self, x: Array, *arrays: Any) -> Array:
        trees = self.trees(arrays)
        flaw = trees.flaw(self.n_targets, x.shape[1])
        if flaw:
            raise EvaluationError(f"TreeEnsemble: {flaw}")
        return trees.totals(x.astype(trees.splits.dtype, copy=False), self.n_targets, self.aggregate).astype(x.dtype)

    @staticmethod
    def trees(arrays: Any) -> Trees:
        """The operands behind x; reals in the type in which they are compared and added."""
        given: list[Any] = [*arrays, None, None][:11]
        places = (2, 8, 10)
        with np.errstate(all="ignore"):
            wide: list[Any] = [
                a.astype(working_type(a), copy=False) if i in places and a is not None else a
                for i, a in enumerate(given)
            ]
        return Trees(*wide)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        x = np.array([[0, 0.5], [1, -1], [0.5, 2], [np.nan, 0], [3, np.nan]], np.float32)
        two = _two_trees()
        yield case(cls(), x, *two)
        yield case(cls(n_targets=3), x, *_two_trees(targets=(0, 1, 2, 0)))
        for aggregate in ("average", "min", "max"):
            yield case(cls(n_targets=3, aggregate=aggregate), x, *_two_trees(targets=(0, 1, 2, 0)))
        several = _two_trees(starts=(0, 2, 3, 3, 4), targets=(0, 1, 1, 0))
        yield case(cls(n_targets=2), x, *several)
        yield case(cls(n_targets=2, aggregate="average"), x, *several)
        missing = np.array([True, False, True])
        yield case(cls(), x, *two, missing)
        yield case(cls(), x.astype(np.float64), *_two_trees(dtype=np.float64), missing)
        yield case(cls(), x.astype(np.float16), *_two_trees(dtype=np.float16))
        for modes in ((2, 3, 4), (5, 1, 5)):
            yield case(cls(), x, *_two_trees(modes=modes), missing)
        members = np.array([0.5, 3, np.nan, 0, np.nan], np.float32)
        yield case(cls(), x, *_two_trees(modes=(6, 0, 6)), None, members)
        yield case(cls(), x, *_two_trees(roots=(0, -1)))
        yield case(cls(), "f32[0,2]", *two)
        yield bad(cls(), "i64[2,2]", *two, because="x must be floating-point")
        yield bad(cls(), "f64[2,2]", *two, because="element types must agree")
        yield bad(cls(), "f32[2]", *two, because="rank 2")
        yield bad(cls(), x, *two[:3], two[3][:2], *two[4:], because="true_next has")
        yield bad(cls(n_targets=0), x, *two, because="n_targets must be positive")


def _parallel(lists: dict[str, TensorType]) -> None:
    """Refuse lists of different lengths."""
    first, *others = lists
    (length,) = ranked(lists[first], first, 1)
    for name in others:
        (extent,) = ranked(lists[name], name, 1)
        require(unify_extents(extent, length), "{} has {} elements, {} has {}", name, extent, first, length)


def _two_trees(
    modes: tuple[int, ...] = (0, 1, 0),
    roots: tuple[int, ...] = (0, 2),
    starts: tuple[int, ...] = (0, 1, 2, 3, 4),
    targets: tuple[int, ...] = (0, 0, 0, 0),
    dtype: Any = np.float32,
) -> tuple[Array, ...]:
    """Operands for the samples: a tree of two nodes over three leaves, and one of a node over two of them."""
    return (
        np.array([0, 1, 0]),
        np.array(modes, np.uint8),
        np.array([0.5, 0, 1], dtype),
        np.array([1, ~0, ~2]),
        np.array([~2, ~1, ~3]),
        np.array(roots),
        np.array(starts),
        np.array(targets),
        np.array([0.25, -1, 2, 0.5], dtype),
    )


@operator(inputs="x w labels bias?", outputs="label scores", family=FAMILY)
class LinearClassifier(Operator):
    """The label of the greatest of linear scores, and the scores behind a transform.

    x: [N, F], w: [C, F] and bias: [C], f32; labels: [C], i64 or string. scores = transform(x w^T + bias): [N, C], f32;
    label: [N] of the labels' type, that of the greatest score in front of the transform, of equal ones the first.
    Softmax is over the classes. Source: ONNX ai.onnx.ml LinearClassifier 1.
    """

    transform: Literal["none", "logistic", "softmax"] = "none"

    def infer(
        self, x: TensorType, w: TensorType, labels: TensorType, bias: TensorType | None = None
    ) -> tuple[TensorType, TensorType]:
        for name, t in {"x": x, "w": w, **({} if bias is None else {"bias": bias})}.items():
            require_dtype(t, frozenset({DType.F32}), name)
        require_dtype(labels, frozenset({DType.I64, DType.STRING}), "labels")
        (rows, features), (classes, columns) = ranked(x, "x", 2), ranked(w, "w", 2)
        require(unify_extents(features, columns), "x has {} features, w has {}", features, columns)
        for name, t in {"labels": labels, **({} if bias is None else {"bias": bias})}.items():
            (count,) = ranked(t, name, 1)
            require(unify_extents(count, classes), "{} has {} elements, w has {} classes", name, count, classes)
        require(classes != 0, "there is no class")
        return inferred(labels.dtype, (rows,)), inferred(DType.F32, (rows, classes))

    def evaluate(self, x: Array, w: Array, labels: Array, bias: Array | None = None) -> tuple[Array, Array]:
        from uair.ops.activation import Sigmoid, Softmax
        from uair.ops.linear import Linear

        scores = Linear().evaluate(x, w, bias)
        label = labels[np.argmax(scores, axis=1)]
        if self.transform == "none":
            return label, scores
        return label, Sigmoid().evaluate(scores) if self.transform == "logistic" else Softmax(axis=1).evaluate(scores)

    def decompose(self, x: Tensor, w: Tensor, labels: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        from uair.ops.activation import Sigmoid, Softmax
        from uair.ops.indexing import Gather
        from uair.ops.linear import Linear
        from uair.ops.reduction import ArgMax

        scores = Linear()(x, w, bias)
        label = ArgMax(axis=1, keepdims=False)(scores)
        if labels.data is None or not _counts(labels.numpy()):
            label = Gather(axis=0)(labels, label)
        if self.transform == "none":
            return label, scores
        return label, Sigmoid()(scores) if self.transform == "logistic" else Softmax(axis=1)(scores)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        assert operands[0] is not None
        return 2 * results[1].size * static(operands[0].dims)[1]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        w, bias = np.array([[0.5, -1], [2, 0.25], [-1, 1]], np.float32), np.array([0.25, -0.5, 1], np.float32)
        words, numbers = np.array(["a", "b", "c"], object), np.array([5, -2, 7])
        yield case(cls(), "f32[4,2]", w, numbers, bias)
        yield case(cls(), "f32[4,2]", w, np.arange(3))
        yield case(cls(transform="logistic"), "f32[4,2]", w, words, bias)
        yield case(cls(transform="softmax"), "f32[1,2]", w, numbers, bias)
        yield case(cls(transform="softmax"), "f32[0,2]", w, numbers, bias)
        yield bad(cls(), "f64[4,2]", w, numbers, bias, because="x must be f32")
        yield bad(cls(), "f32[4,3]", w, numbers, bias, because="x has 3 features, w has 2")
        yield bad(cls(), "f32[4,2]", w, numbers, bias[:2], because="bias has 2 elements")
        yield bad(cls(), "f32[4,2]", w, numbers[:2], bias, because="labels has 2 elements")
        yield bad(cls(), "f32[4,2]", w, bias, bias, because="labels must be")


def _counts(labels: Array) -> bool:
    """Whether labels are 0, 1, ..."""
    return labels.dtype == np.int64 and np.array_equal(labels, np.arange(len(labels)))


@operator(
    inputs="x features modes splits true_next false_next roots starts targets weights labels base? missing? members?",
    outputs="label scores",
    family=FAMILY,
)
class TreeClassifier(Operator):
    """The class that decision trees vote for, and the scores of the classes behind a transform.

    x: [N, F], f32 or f64; the trees are those of TreeEnsemble, their votes are added up; labels: [C], i64 or string;
    label: [N] of the labels' type; scores: [N, C], f32. `base` is added to the totals.

    form "each": targets are classes, base: [C]; the label is that of the greatest total, of equal ones the first.
    The others have two classes, and one total s that is the second one's; targets are 0, base: [1]. The label is the
    second one where s > 0.5 ("probability") or s > 0 ("margin"). With votes for the first class (`voted` 0) the scores
    are 1 - s ("probability", without a transform) or -s, and s; with votes for the second one (`voted` 1) 0 and s.
    Labels are decided in x's type; scores are f32 before the transform. Softmax is over the classes.
    Sources: ONNX ai.onnx.ml TreeEnsembleClassifier 3, and onnxruntime for what it leaves open.
    """

    form: Literal["each", "probability", "margin"] = "each"
    voted: int = 1
    transform: Literal["none", "logistic", "softmax"] = "none"

    def infer(
        self,
        x: TensorType,
        features: TensorType,
        modes: TensorType,
        splits: TensorType,
        true_next: TensorType,
        false_next: TensorType,
        roots: TensorType,
        starts: TensorType,
        targets: TensorType,
        weights: TensorType,
        labels: TensorType,
        base: TensorType | None = None,
        missing: TensorType | None = None,
        members: TensorType | None = None,
    ) -> tuple[TensorType, TensorType]:
        require_dtype(x, frozenset({DType.F32, DType.F64}), "x")
        require_dtype(labels, frozenset({DType.I64, DType.STRING}), "labels")
        (classes,) = ranked(labels, "labels", 1)
        require(isinstance(classes, int), "the number of classes must be known")
        assert isinstance(classes, int)
        require(classes >= 2, "there must be two classes at least, there are {}", classes)
        require(self.voted in (0, 1), "voted must be 0 or 1, is {}", self.voted)
        require(self.form == "each" or classes == 2, "a {} is of two classes, there are {}", self.form, classes)
        trees = (features, modes, splits, true_next, false_next, roots, starts, targets, weights, missing, members)
        totals = TreeEnsemble(n_targets=self._totals(classes)).infer(x, *trees)
        if base is not None:
            same_dtype(x=x, base=base)
            (count,) = ranked(base, "base", 1)
            wanted = self._totals(classes)
            require(unify_extents(count, wanted), "base has {} elements, there are {} totals", count, wanted)
        rows = totals.dims[0]
        return inferred(labels.dtype, (rows,)), inferred(DType.F32, (rows, classes))

    def _totals(self, classes: int) -> int:
        return classes if self.form == "each" else 1

    @property
    def threshold(self) -> float:
        """What the one total has to exceed for the second label."""
        return 0.5 if self.form == "probability" else 0.0

    def evaluate(self, x: Array, *arrays: Any) -> tuple[Array, Array]:
        from uair.ops.activation import Sigmoid, Softmax

        given: list[Any] = [*arrays, None, None, None][:13]
        *trees, labels, base, missing, members = given
        totals = TreeEnsemble(n_targets=self._totals(len(labels))).evaluate(x, *trees, missing, members)
        if base is not None:
            totals = totals + base
        above = totals[:, 0] > self.threshold
        label = labels[np.argmax(totals, axis=1) if self.form == "each" else above.astype(np.int64)]
        scores = totals.astype(np.float32)
        if self.form != "each":
            first = scores * 0 if self.voted else 1 - scores if self._is_complement else -scores
            scores = np.concatenate([first, scores], axis=1)
        if self.transform == "none":
            return label, scores
        return label, Sigmoid().evaluate(scores) if self.transform == "logistic" else Softmax(axis=1).evaluate(scores)

    @property
    def _is_complement(self) -> bool:
        """Whether the first one's score completes the second one's to 1; else it is its opposite."""
        return self.form == "probability" and self.transform == "none"

    def decompose(self, x: Tensor, *operands: Any) -> tuple[Tensor, Tensor]:
        from uair.ops.activation import Sigmoid, Softmax
        from uair.ops.comparison import Greater
        from uair.ops.elementwise import Add, Cast
        from uair.ops.indexing import Gather
        from uair.ops.reduction import ArgMax
        from uair.ops.shape import Squeeze

        given: list[Any] = [*operands, None, None, None][:13]
        *trees, labels, base, missing, members = given
        totals = TreeEnsemble(n_targets=self._totals(labels.type.dims[0]))(x, *trees, missing, members)
        if base is not None:
            totals = Add()(totals, base)
        if self.form == "each":
            label = ArgMax(axis=1, keepdims=False)(totals)
        else:
            threshold = constant(np.asarray(self.threshold, x.type.dtype.numpy))
            label = Cast(to=DType.I64)(Squeeze(axes=(1,))(Greater()(totals, threshold)))
        if labels.data is None or not _counts(labels.numpy()):
            label = Gather(axis=0)(labels, label)
        scores = totals if x.type.dtype is DType.F32 else Cast(to=DType.F32)(totals)
        if self.form != "each":
            scores = self._both(scores)
        if self.transform == "none":
            return label, scores
        return label, Sigmoid()(scores) if self.transform == "logistic" else Softmax(axis=1)(scores)

    def _both(self, score: Tensor) -> Tensor:
        """The scores of both classes from the one total."""
        from uair.ops.elementwise import Mul, Neg, Sub
        from uair.ops.shape import Concat

        if self.voted:
            first = Mul()(score, constant(np.zeros((), np.float32)))
        elif self._is_complement:
            first = Sub()(constant(np.ones((), np.float32)), score)
        else:
            first = Neg()(score)
        return Concat(axis=1)(first, score)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        x = np.array([[0, 0.5], [1, -1], [0.5, 2], [np.nan, 0], [3, np.nan]], np.float32)
        several, single = _two_trees(targets=(0, 1, 2, 0)), _two_trees()
        positive = (*single[:-1], np.array([0.25, 1, 0.125, 0.5], np.float32))
        words, numbers, two = np.array(["a", "b", "c"], object), np.array([5, -2, 7]), np.array([0, 1])
        base = np.array([0.25], np.float32)
        yield case(cls(), x, *several, numbers)
        yield case(cls(transform="softmax"), x, *several, words, np.array([0.5, 0, -1], np.float32))
        yield case(cls(transform="logistic"), x, *several, np.arange(3), None, np.array([True, False, True]))
        yield case(cls(form="margin", voted=0), x, *single, two)
        yield case(cls(form="margin", voted=0, transform="softmax"), x, *single, words[:2], base)
        yield case(cls(form="margin", voted=0, transform="logistic"), x, *single, two, base)
        yield case(cls(form="margin"), x, *single, two)
        yield case(cls(form="margin", transform="softmax"), x, *single, words[:2])
        both = _two_trees(targets=(0, 1, 1, 0))
        for labels in (two, numbers[:2], words[:2]):
            yield case(cls(), x, *both, labels)
        yield case(cls(form="probability", voted=0), x, *positive, numbers[:2])
        yield case(cls(form="probability", voted=0, transform="logistic"), x, *positive, two, base)
        yield case(cls(form="probability", transform="logistic"), x, *positive, two)
        double = _two_trees(targets=(0, 1, 2, 0), dtype=np.float64)
        yield case(cls(), x.astype(np.float64), *double, numbers, np.array([0.5, 0, -1]))
        yield case(cls(), "f32[0,2]", *several, numbers)
        yield bad(cls(), "f16[2,2]", *several, numbers, because="x must be f32 or f64")
        yield bad(cls(), x, *several, numbers[:1], because="two classes at least")
        yield bad(cls(form="margin", voted=2), x, *single, two, because="voted must be 0 or 1")
        yield bad(cls(form="margin"), x, *single, numbers, because="two classes, there are 3")
        yield bad(cls(), x, *several, numbers, base, because="base has 1 elements")
        yield bad(cls(), x, *several, base, because="labels must be")


@operator(inputs="x", family=FAMILY)
class PairwiseCoupling(Operator):
    """Probabilities of k classes from the scores of all pairs, as libsvm's. x: [N, k (k - 1) / 2]; result [N, k]; f32.

    Column p of x is for the p-th pair (i, j) of (0, 1), (0, 2), .., (1, 2), ..; 1 / (1 + exp(a[p] x + b[p])), held
    within 1e-7 of 0 and 1, is the probability of i against j. The result minimises the sum over pairs of
    (r_ji p_i - r_ij p_j)^2, by the iteration of the source, until the gradient is within 0.005 / k or for 100 rounds.
    Source: Wu, Lin, Weng, "Probability Estimates for Multi-class Classification by Pairwise Coupling", algorithm 2.
    """

    a: Floats = (-1.0,)
    b: Floats = (0.0,)

    def classes(self) -> int:
        """Number of classes."""
        return (1 + math.isqrt(1 + 8 * len(self.a))) // 2

    def infer(self, x: TensorType) -> TensorType:
        require_dtype(x, frozenset({DType.F32}), "x")
        k = self.classes()
        fits = len(self.a) == len(self.b) == k * (k - 1) // 2 >= 1
        require(fits, "a and b must have one element per pair of classes, have {} and {}", len(self.a), len(self.b))
        rows, pairs = ranked(x, "x", 2)
        require(unify_extents(pairs, len(self.a)), "x has {} columns, there are {} pairs", pairs, len(self.a))
        return inferred(DType.F32, (rows, k))

    def evaluate(self, x: Array) -> Array:
        k = self.classes()
        val = x * np.array(self.a, np.float32) + np.array(self.b, np.float32)
        half = 1 / (1 + np.exp(-np.abs(val)))
        won = np.clip(np.where(val < 0, half, 1 - half), np.float32(1e-7), np.float32(1) - np.float32(1e-7))
        i, j = np.triu_indices(k, 1)
        r = np.zeros((len(x), k, k), np.float32)
        r[:, i, j], r[:, j, i] = won, 1 - won
        q = -np.swapaxes(r, 1, 2) * r
        q[:, range(k), range(k)] = np.sum(r * r, axis=1)
        return _minimise(q)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[3,1]")
        yield case(cls(a=(-1.0, -2.0, -0.5), b=(0.25, 0.0, -1.0)), "f32[4,3]")
        yield case(cls(a=(-1.0,) * 6, b=(0.0,) * 6), "f32[2,6]")
        yield case(cls(), np.array([[1000.0], [-1000.0]], np.float32))
        yield bad(cls(a=(1.0, 2.0), b=(1.0, 2.0)), "f32[3,2]", because="per pair of classes")
        yield bad(cls(), "f32[3,2]", because="there are 1 pairs")
        yield bad(cls(), "f64[3,1]", because="x must be f32")


def _minimise(q: Array) -> Array:
    """The p of each matrix of q [N, k, k] that minimises p q p with sum 1; a row is left once it is good enough."""
    k = q.shape[-1]
    p = np.full(q.shape[:2], 1 / k, np.float32)
    rows = np.arange(len(q))
    for _ in range(_ROUNDS):
        qp = np.einsum("nij,nj->ni", q[rows], p[rows])
        total = np.sum(p[rows] * qp, axis=1, keepdims=True)
        unfinished = np.abs(qp - total).max(axis=1, initial=0) >= np.float32(0.005 / k)
        rows, qp, total = rows[unfinished], qp[unfinished], total[unfinished]
        if not rows.size:
            break
        matrix, own = q[rows], p[rows]
        for i in range(k):
            diagonal = matrix[:, i, i : i + 1]
            step = (total - qp[:, i : i + 1]) / diagonal
            own[:, i : i + 1] += step
            total = (total + step * (step * diagonal + 2 * qp[:, i : i + 1])) / (1 + step) / (1 + step)
            qp = (qp + step * matrix[:, i]) / (1 + step)
            own = own / (1 + step)
        p[rows] = own
    return p
