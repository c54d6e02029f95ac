"""Attention, rotary positions, and the caches of keys and values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Dim, InferredShape, floor_div, normal
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops._attention import (
    Window,
    extent_of,
    first_position,
    positions,
    visible,
    visible_tensor,
)
from uair.ops._compute import FLOATS, converted, require_dtype, scalar
from uair.ops._precision import rounded, widened
from uair.ops.base import (
    Operator,
    Sample,
    Types,
    bad,
    case,
    normalize_axis,
    operator,
    ranked,
    require,
    require_shape,
    same_dtype,
    unify_extents,
)

Scores = Literal["none", "raw", "capped", "biased", "probabilities"]
_INDICES = frozenset({DType.I32, DType.I64})


def _scale(given: float | None, size: int) -> float:
    """The factor of the products; those of vectors without elements are 0 whatever it is."""
    return 1 / math.sqrt(max(size, 1)) if given is None else given


def _is_above(bias: Tensor) -> bool:
    """Whether no number is seen to be minus infinity: constants, one of two, and functions that never give it.

    They may be in another shape. NaN is no minus infinity.
    """
    from uair.ops.activation import Relu, Sigmoid, Softmax, Softplus
    from uair.ops.elementwise import Abs, Exp, Sqrt, Where
    from uair.ops.shape import Expand, Reshape, Squeeze, Transpose, Unsqueeze

    source, node = bias, bias.producer
    while node is not None and isinstance(node.op, (Expand, Reshape, Squeeze, Transpose, Unsqueeze)):
        assert node.inputs[0] is not None
        source, node = node.inputs[0], node.inputs[0].producer
    if node is not None and isinstance(node.op, Where):
        return all(t is not None and _is_above(t) for t in node.inputs[1:])
    if node is not None:
        return isinstance(node.op, (Abs, Exp, Relu, Sigmoid, Softmax, Softplus, Sqrt))
    return source.data is not None and not bool(np.isneginf(widened(source.numpy())).any())


def _leaves_keys(bias: Tensor) -> bool:
    """Whether numbers are seen to have one above minus infinity in every row.

    None is minus infinity, or a constant has a number in every row, or at least 0 in every row where others are added
    none of which is minus infinity; or such ones are a part of every row.
    """
    from uair.ops.elementwise import Add
    from uair.ops.shape import Concat

    if _is_above(bias) or _row_maximum(bias) > -math.inf:
        return True
    node = bias.producer
    if node is not None and isinstance(node.op, Concat) and node.op.axis % bias.type.rank == bias.type.rank - 1:
        return any(t is not None and t.type.dims[-1] != 0 and _leaves_keys(t) for t in node.inputs)
    if node is None or not isinstance(node.op, Add):
        return False
    a, b = node.inputs
    assert a is not None and b is not None
    return any(_row_maximum(x) >= 0 and _is_above(y) for x, y in ((a, b), (b, a)))


def _row_maximum(numbers: Tensor) -> float:
    """The least of the greatest numbers of a constant's rows; minus infinity for others and where there is none."""
    if numbers.data is None or not numbers.type.is_static or not numbers.type.size:
        return -math.inf
    values = numbers.numpy()
    least = float(widened(values.max(axis=-1) if values.ndim else values).min())
    return -math.inf if math.isnan(least) else least


def _softmax(x: Array) -> Array:
    """Over the last axis; a row of -inf gives zeros."""
    top = x.max(axis=-1, keepdims=True, initial=-np.inf)
    result: Array = np.exp(x - np.where(np.isneginf(top), x.dtype.type(0), top))
    total = result.sum(axis=-1, keepdims=True)
    result /= np.where(total == 0, x.dtype.type(1), total)
    return result


@operator(
    inputs="q k v mask? past_k? past_v? lengths? offset?", outputs="y present_k present_v scores", family="attention"
)
class Attention(Operator):
    """Scaled dot-product attention: y = softmax(softcap(scale q k^T) + bias) v.

    q: [batch, heads, queries, size]; k: [batch, groups, keys, size]; v: [batch, groups, keys, value size]; result y:
    [batch, heads, queries, value size]. heads is a multiple of groups, and heads that follow each other share a
    group. With past_k and past_v, [batch, groups, past, ...], k and v are joined to them first, and with `cache` the
    joined ones are results too. scale is 1/sqrt(size) when None; softcap(s) = softcap * tanh(s / softcap), not done
    for 0.

    A key takes part in a query unless one of these forbids it: mask (bool, true where it takes part), broadcast to
    [batch, heads, queries, keys], where a last axis that is shorter forbids the keys behind it; lengths [batch],
    the number of valid keys; causal, keys behind the query's position; left_window and right_window, keys farther away
    from the position than that. The position of the first query is `offset` ([batch] or a scalar) when given, else the
    past's length, else lengths - queries, else 0. A mask of numbers is added to the scores. A query that no key is left
    for gives zeros. softmax_type is the type in which the softmax is computed when it is not the operands' (at least
    f32).

    scores, [batch, heads, queries, keys], is a result unless `scores` is "none": the product ("raw"), after softcap
    ("capped"), with the bias ("biased"), or after the softmax ("probabilities"). Source: ONNX Attention,
    torch.nn.functional.scaled_dot_product_attention.
    """

    scale: float | None = None
    softcap: float = 0.0
    causal: bool = False
    left_window: int | None = None
    right_window: int | None = None
    softmax_type: DType | None = None
    cache: bool = False
    scores: Scores = "none"

    def result_count(self) -> int:
        return 1 + 2 * self.cache + (self.scores != "none")

    @property
    def window(self) -> Window:
        """The bounds on the distance of a key from the query's position."""
        right = self.right_window
        if self.causal:
            right = 0 if right is None else min(right, 0)
        return Window(self.left_window, right)

    # ---------------------------------------------------------------- inference
    def infer(
        self,
        q: TensorType,
        k: TensorType,
        v: TensorType,
        mask: TensorType | None = None,
        past_k: TensorType | None = None,
        past_v: TensorType | None = None,
        lengths: TensorType | None = None,
        offset: TensorType | None = None,
    ) -> Types:
        dtype = same_dtype(q=q, k=k, v=v, past_k=past_k, past_v=past_v)
        require_dtype(q, FLOATS, "q")
        batch, heads, queries, size = ranked(q, "q", 4)
        _, groups, new, _ = ranked(k, "k", 4)
        value_size = ranked(v, "v", 4)[3]
        require_shape(k, "k", batch, groups, new, size)
        require_shape(v, "v", batch, groups, new, value_size)
        self._require_heads(heads, groups)
        require((past_k is None) == (past_v is None), "past_k and past_v must be given together")
        require(past_k is not None or not self.cache, "the cache is wanted, but there is no past to join")
        keys = new
        if past_k is not None:
            past = ranked(past_k, "past_k", 4)[2]
            require_shape(past_k, "past_k", batch, groups, past, size)
            require_shape(past_v, "past_v", batch, groups, past, value_size)
            keys = None if past is None or new is None else past + new
        self._require_visibility(mask, dtype, (batch, heads, queries, keys))
        for name, t in (("lengths", lengths), ("offset", offset)):
            if t is not None:
                require_dtype(t, _INDICES, name)
                if name == "lengths" or ranked(t, name, (0, 1)):
                    require_shape(t, name, batch)
        results = [inferred(dtype, (batch, heads, queries, value_size))]
        if self.cache:
            results += [
                inferred(dtype, (batch, groups, keys, size)),
                inferred(dtype, (batch, groups, keys, value_size)),
            ]
        if self.scores != "none":
            results.append(inferred(dtype, (batch, heads, queries, keys)))
        return tuple(results)

    def _require_heads(self, heads: Dim | None, groups: Dim | None) -> None:
        if isinstance(heads, int) and isinstance(groups, int):
            require(groups > 0 and heads % groups == 0, "{} heads cannot share {} groups of keys", heads, groups)
        require(self.softcap >= 0, "softcap must not be negative, is {}", self.softcap)
        for side, bound in (("left", self.left_window), ("right", self.right_window)):
            require(bound is None or bound >= 0, "{}_window must not be negative, is {}", side, bound)
        require(self.softmax_type is None or self.softmax_type.is_float, "softmax_type must be a floating-point type")

    def _require_visibility(self, mask: TensorType | None, dtype: DType, full: InferredShape) -> None:
        if mask is None:
            return
        require(mask.dtype in (DType.BOOL, dtype), "mask must be bool or {}, is {}", dtype, mask.dtype)
        shape = ranked(mask, "mask")
        require(1 <= len(shape) <= 4, "mask must have one to four axes, has shape {}", list(shape))
        good = all(
            have == 1 or unify_extents(have, want) for have, want in zip(shape[-2::-1], full[-2::-1], strict=False)
        )
        last, keys = shape[-1], full[-1]
        good = good and not (isinstance(last, int) and isinstance(keys, int) and last > keys)
        require(good, "mask of shape {} does not broadcast to {}", list(shape), list(full))

    # --------------------------------------------------------------- evaluation
    def evaluate(
        self,
        q: Array,
        k: Array,
        v: Array,
        mask: Array | None = None,
        past_k: Array | None = None,
        past_v: Array | None = None,
        lengths: Array | None = None,
        offset: Array | None = None,
    ) -> tuple[Array, ...]:
        first: Any = 0 if offset is None else offset
        if past_k is not None and past_v is not None:
            first = past_k.shape[2] if offset is None else offset
            k, v = np.concatenate((past_k, k), axis=2), np.concatenate((past_v, v), axis=2)
        elif lengths is not None and offset is None:
            first = lengths.astype(np.int64) - q.shape[2]
        with np.errstate(all="ignore"):
            raw = self._products(widened(q), widened(k))
            capped = raw
            if self.softcap:
                limit = raw.dtype.type(self.softcap)
                capped = np.tanh(raw / limit) * limit
            allowed = visible(self.window, q.shape[2], k.shape[2], first, lengths)
            bias = _bias(mask, allowed, k.shape[2], raw.dtype)
            biased = capped if bias is None else capped + bias
            probabilities = self._probabilities(biased, bias)
            y = _per_group(probabilities, k.shape[1]) @ widened(v)
        results = [rounded(y.reshape(*raw.shape[:3], v.shape[3]), q.dtype)]
        if self.cache:
            results += [k, v]
        if self.scores != "none":
            shown = {"raw": raw, "capped": capped, "biased": biased, "probabilities": probabilities}[self.scores]
            results.append(rounded(shown, q.dtype))
        return tuple(results)

    def _products(self, q: Array, k: Array) -> Array:
        """Scaled products of queries and keys, [batch, heads, queries, keys]."""
        scale = _scale(self.scale, q.shape[3])
        root = q.dtype.type(math.sqrt(abs(scale)))  # on both sides, so that the product cannot overflow early
        product: Array = _per_group(q * (root if scale >= 0 else -root), k.shape[1]) @ (k * root).swapaxes(-1, -2)
        return product.reshape(*q.shape[:3], k.shape[2])

    def _probabilities(self, biased: Array, bias: Array | None) -> Array:
        x = biased
        if self.softmax_type is not None:
            x = widened(x.astype(self.softmax_type.numpy))
        result = _softmax(x)
        if self.softmax_type is not None:
            result = result.astype(self.softmax_type.numpy).astype(biased.dtype)
        if bias is not None:
            dead = np.isneginf(bias.max(axis=-1, keepdims=True, initial=-np.inf))
            result = np.where(dead, result.dtype.type(0), result)
        return result

    # ------------------------------------------------------------ decomposition
    def decompose(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        past_k: Tensor | None = None,
        past_v: Tensor | None = None,
        lengths: Tensor | None = None,
        offset: Tensor | None = None,
    ) -> tuple[Tensor, ...] | None:
        from uair.ops.activation import Tanh
        from uair.ops.elementwise import Add, Div, Mul
        from uair.ops.shape import Concat

        if not isinstance(q.type.dims[3], int):
            return None  # the scale depends on it
        first = first_position(past_k, lengths, q, offset)
        if past_k is not None and past_v is not None:
            k, v = Concat(axis=2)(past_k, k), Concat(axis=2)(past_v, v)
        raw = capped = self._products_tensor(q, k, q.type.dims[3])
        if self.softcap:
            limit = scalar(self.softcap, raw)
            capped = Mul()(Tanh()(Div()(raw, limit)), limit)
        bias, dead = self._bias_tensor(mask, visible_tensor(self.window, q, k, first, lengths), q, k)
        biased = capped if bias is None else Add()(capped, bias)
        probabilities = self._probabilities_tensor(biased, dead)
        y = _grouped_product(probabilities, v, q.type.dims[1])
        shown = {"raw": raw, "capped": capped, "biased": biased, "probabilities": probabilities}
        more = (k, v) if self.cache else ()
        return (y, *more, *(() if self.scores == "none" else (shown[self.scores],)))

    def _products_tensor(self, q: Tensor, k: Tensor, size: int) -> Tensor:
        from uair.ops.elementwise import Mul

        scale = _scale(self.scale, size)
        right = _turned(k)
        if scale == 1:
            return _grouped_product(q, right, q.type.dims[1])
        if abs(scale) <= 1:  # on one side: the product cannot overflow earlier than scaled in both operands
            return _grouped_product(Mul()(q, scalar(scale, q)), right, q.type.dims[1])
        root = math.sqrt(abs(scale))
        left = Mul()(q, scalar(root if scale >= 0 else -root, q))
        return _grouped_product(left, Mul()(right, scalar(root, k)), q.type.dims[1])

    def _bias_tensor(
        self, mask: Tensor | None, allowed: Tensor | None, q: Tensor, k: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """What is added to the scores, and for every query whether no key is left for it (None: never)."""
        from uair.ops.comparison import Equal, LogicalAnd
        from uair.ops.elementwise import Where
        from uair.ops.reduction import ReduceMax

        minus = scalar(-np.inf, q)
        numbers: Tensor | None = None
        if mask is not None:
            mask = _padded_tensor(mask, k)
            if mask.type.dtype is not DType.BOOL:
                numbers = mask
            else:
                allowed = mask if allowed is None else LogicalAnd()(allowed, mask)
        if allowed is None:
            bias = numbers
        elif allowed.is_constant:
            known = allowed.numpy()
            values = constant(np.where(known, 0, -np.inf).astype(q.type.dtype.numpy))
            if numbers is None:
                return values, None if known.any(axis=-1).all() else constant(~known.any(axis=-1, keepdims=True))
            bias = Where()(allowed, numbers, minus)
        else:
            bias = Where()(allowed, scalar(0, q) if numbers is None else numbers, minus)
        if bias is None or _leaves_keys(bias):
            return bias, None
        return bias, Equal()(ReduceMax(axes=(bias.type.rank - 1,), keepdims=True)(bias), minus)

    def _probabilities_tensor(self, biased: Tensor, dead: Tensor | None) -> Tensor:
        from uair.ops.activation import Softmax
        from uair.ops.conversion import Cast
        from uair.ops.elementwise import Where

        x = biased
        if self.softmax_type is not None and self.softmax_type is not x.type.dtype:
            result = Cast(to=x.type.dtype)(Softmax(axis=3)(Cast(to=self.softmax_type)(x)))
        else:
            result = Softmax(axis=3)(x)
        return result if dead is None else Where()(dead, scalar(0, result), result)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        q, k, past = operands[0], operands[1], operands[4] if len(operands) > 4 else None
        assert q is not None and k is not None
        keys = k.dims[2] if past is None else k.dims[2] + past.dims[2]
        assert isinstance(keys, int)
        return 2 * keys * (q.size + results[0].size)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        q, k, v = "f32[2,4,3,8]", "f32[2,4,5,8]", "f32[2,4,5,6]"
        yield case(cls(), q, k, v)
        yield case(cls(causal=True, scores="biased"), q, k, v)
        yield case(cls(softcap=2.0, scale=0.3, scores="capped"), q, "f32[2,2,5,8]", "f32[2,2,5,8]", "bool[3,5]")
        yield case(cls(scores="probabilities"), q, k, v, "f32[2,1,3,5]")
        yield case(cls(scores="raw", scale=-0.5), "f64[1,2,3,4]", "f64[1,2,3,4]", "f64[1,2,3,4]", "bool[1,2,1,2]")
        past = ("f32[2,2,4,8]", "f32[2,2,4,6]")
        yield case(cls(cache=True, causal=True), q, "f32[2,2,3,8]", "f32[2,2,3,6]", "bool[2,1,1,7]", *past)
        yield case(cls(left_window=1, right_window=1), q, k, v, "f32[3,5]")
        lengths = np.array([4, 2], np.int64)
        yield case(cls(causal=True, left_window=2), q, k, v, None, None, None, lengths)
        yield case(cls(causal=True), q, k, v, "f32[5]", None, None, lengths, np.array([1, 0], np.int32))
        yield case(cls(causal=True), q, k, v, None, None, None, None, np.array(2, np.int64))
        yield case(cls(causal=True), "f16[1,2,3,4]", "f16[1,1,3,4]", "f16[1,1,3,4]")
        yield case(cls(softmax_type=DType.F64), "f32[1,1,2,4]", "f32[1,1,2,4]", "f32[1,1,2,4]")
        yield bad(cls(), q, "f32[2,3,5,8]", "f32[2,3,5,8]", because="4 heads cannot share 3 groups")
        yield bad(cls(), q, k, "f32[2,4,4,6]", because="v has shape [2, 4, 4, 6]")
        yield bad(cls(), q, k, v, "f32[2,5]", because="does not broadcast")
        yield bad(cls(), q, k, v, "i32[3,5]", because="mask must be bool or f32")
        yield bad(cls(cache=True), q, k, v, because="no past to join")
        yield bad(cls(left_window=-1), q, k, v, because="left_window must not be negative")
        yield bad(cls(), "f32[2,3,8]", k, v, because="q must have rank 4")


def _turned(k: Tensor) -> Tensor:
    """Keys with the last two axes in the other order, by one Transpose also where one is in front."""
    from uair.ops.shape import Transpose

    node, perm = k.producer, (0, 1, 3, 2)
    if node is not None and isinstance(node.op, Transpose) and node.inputs[0] is not None:
        return Transpose(perm=tuple(node.op.perm[p] for p in perm))(node.inputs[0])
    return Transpose(perm=perm)(k)


def _per_group(x: Array, groups: int) -> Array:
    """[batch, heads, n, m] with the heads of a group behind each other: [batch, groups, heads/groups * n, m]."""
    return x if x.shape[1] == groups else x.reshape(x.shape[0], groups, x.shape[1] // groups * x.shape[2], x.shape[3])


def _grouped_product(x: Tensor, y: Tensor, heads: Dim) -> Tensor:
    """x: [batch, heads, n, m] times y: [batch, groups, m, p], where heads share groups."""
    from uair.ops.linear import MatMul
    from uair.ops.shape import Reshape

    batch, _, n, m = x.type.dims
    groups, p = y.type.dims[1], y.type.dims[3]
    if groups == heads:
        return MatMul()(x, y)
    per_group = Reshape(shape=(batch, groups, floor_div(heads, groups) * n, m))(x)
    return Reshape(shape=(batch, heads, n, p))(MatMul()(per_group, y))


def _bias(mask: Array | None, allowed: Array | None, keys: int, dtype: np.dtype[Any]) -> Array | None:
    """What is added to the scores; None for nothing."""
    if mask is not None and mask.shape[-1] < keys:
        behind = np.full((*mask.shape[:-1], keys - mask.shape[-1]), mask.dtype == np.bool_, mask.dtype)
        behind = ~behind if mask.dtype == np.bool_ else np.full(behind.shape, -np.inf).astype(mask.dtype)
        mask = np.concatenate((mask, behind), axis=-1)
    numbers = np.zeros((), dtype)
    if mask is not None and mask.dtype != np.bool_:
        numbers = mask.astype(dtype)
    elif mask is not None:
        allowed = mask if allowed is None else allowed & mask
    if allowed is None:
        return None if mask is None else numbers
    return np.where(allowed, numbers, dtype.type(-np.inf))


def _padded_tensor(mask: Tensor, k: Tensor) -> Tensor:
    """A mask whose last axis is shorter than the keys, with what forbids the others behind it."""
    from uair.ops.padding import Pad

    last, keys = mask.type.dims[-1], k.type.dims[2]
    if last == keys or not isinstance(last, int) or not isinstance(keys, int):
        return mask
    pads = (0,) * (2 * mask.type.rank - 1) + (keys - last,)
    return Pad(pads=pads, value=0.0 if mask.type.dtype is DType.BOOL else -math.inf)(mask)


@operator(inputs="x cos sin positions?", family="attention")
class RotaryEmbedding(Operator):
    """Rotation of pairs of features by angles that grow with the position.

    x: [batch, heads, places, size]; cos, sin: [batch, places, half], or with positions ([batch, places], i32 or i64)
    tables [longest, half]. The first 2 * half features are rotated: a, b become a cos - b sin, a sin + b cos, where the
    pairs are features i and half + i, or with `interleaved` 2 i and 2 i + 1. Source: ONNX RotaryEmbedding.
    """

    interleaved: bool = False

    def infer(self, x: TensorType, cos: TensorType, sin: TensorType, positions: TensorType | None = None) -> TensorType:
        dtype = same_dtype(x=x, cos=cos, sin=sin)
        require_dtype(x, FLOATS, "x")
        batch, _, places, size = shape = ranked(x, "x", 4)
        table = ranked(cos, "cos", 3 if positions is None else 2)
        half = table[-1]
        require_shape(sin, "sin", *table)
        if positions is None:
            require_shape(cos, "cos", batch, places, half)
        else:
            require_dtype(positions, _INDICES, "positions")
            require_shape(positions, "positions", batch, places)
        if isinstance(half, int) and isinstance(size, int):
            require(2 * half <= size, "{} features cannot be rotated in {} pairs", size, half)
        return inferred(dtype, shape)

    def evaluate(self, x: Array, cos: Array, sin: Array, positions: Array | None = None) -> Array:
        if positions is not None:
            if positions.size and not (positions.min() >= -len(cos) and positions.max() < len(cos)):
                raise EvaluationError(f"RotaryEmbedding: a position is not in the table of {len(cos)}")
            cos, sin = cos[positions], sin[positions]
        c, s = widened(cos)[:, None], widened(sin)[:, None]
        half = c.shape[-1]
        result = np.array(widened(x))
        first, second = (
            (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if self.interleaved else (slice(half), slice(half, 2 * half))
        )
        a, b = result[..., first].copy(), result[..., second].copy()
        result[..., first] = a * c - b * s
        result[..., second] = a * s + b * c
        return rounded(result, x.dtype)

    def decompose(self, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor | None:
        """X cos + swapped sin, where the tables have every number twice and the first of two sines is negative.

        Four products of the halves would be as fast, but take three nodes more. The tables are folded or computed once
        for all nodes that share them.
        """
        from uair.ops.elementwise import Add, Mul, Neg
        from uair.ops.indexing import Gather
        from uair.ops.shape import Concat, Split, Unsqueeze

        size, half = x.type.dims[3], cos.type.dims[-1]
        if not isinstance(size, int) or not isinstance(half, int):
            return None
        if positions is not None:
            cos, sin = Gather(axis=0)(cos, positions), Gather(axis=0)(sin, positions)
        cos, sin = Unsqueeze(axes=(1,))(cos), Unsqueeze(axes=(1,))(sin)
        c, s = self._doubled(cos, cos), self._doubled(Neg()(sin), sin)
        turned, rest = x, None
        if 2 * half != size:
            turned, rest = Split(axis=3, sizes=(2 * half, size - 2 * half)).node(x).outputs
        result = Add()(Mul()(turned, c), Mul()(self._swapped(turned, half), s))
        return result if rest is None else Concat(axis=3)(result, rest)

    def _doubled(self, first: Tensor, second: Tensor) -> Tensor:
        """A table [batch, 1, places, 2 half] from those of the first and the second feature of every pair."""
        from uair.ops.shape import Concat, Reshape, Unsqueeze

        if not self.interleaved:
            return Concat(axis=3)(first, second)
        pairs = Concat(axis=4)(Unsqueeze(axes=(4,))(first), Unsqueeze(axes=(4,))(second))
        return Reshape(shape=(*first.type.dims[:-1], normal(2 * first.type.dims[-1])))(pairs)

    def _swapped(self, x: Tensor, half: int) -> Tensor:
        """X with the features of every pair in the other order."""
        from uair.ops.shape import Concat, Reshape, Split

        if not self.interleaved:
            return Concat(axis=3)(*Split(axis=3, sizes=(half, half)).node(x).outputs[::-1])
        pairs = Split(axis=4, sizes=(1, 1)).node(Reshape(shape=(*x.type.dims[:3], half, 2))(x)).outputs
        return Reshape(shape=x.type.dims)(Concat(axis=4)(*pairs[::-1]))

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 3 * results[0].size

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        places = np.array([[0, 2, 5], [1, 1, 4]], np.int64)
        yield case(cls(), "f32[2,3,4,8]", "f32[2,4,4]", "f32[2,4,4]")
        yield case(cls(interleaved=True), "f32[2,1,3,6]", "f32[6,3]", "f32[6,3]", places)
        yield case(cls(), "f16[2,1,3,10]", "f16[6,3]", "f16[6,3]", places)
        yield case(cls(interleaved=True), "f32[1,2,3,10]", "f32[1,3,2]", "f32[1,3,2]")
        yield bad(cls(), "f32[2,3,4,8]", "f32[2,4,5]", "f32[2,4,5]", because="8 features cannot be rotated in 5 pairs")
        yield bad(cls(), "f32[2,3,4,8]", "f32[2,4,4]", "f32[2,4,3]", because="sin has shape [2, 4, 3]")
        yield bad(cls(), "f32[2,3,4,8]", "f32[9,4]", "f32[9,4]", "f32[2,4]", because="positions must be i32 or i64")


@operator(inputs="cache update starts?", family="attention")
class CacheUpdate(Operator):
    """The cache with `update` written into it along `axis`, from place starts[b] on for batch element b (0 if omitted).

    cache: [batch, ..., places, ...]; update: the same but for its extent along `axis`; starts: [batch], i32 or i64. A
    place behind the last one is an error in mode "linear" and counts from the first again in mode "circular".
    Source: ONNX TensorScatter.
    """

    axis: int = -2
    mode: Literal["linear", "circular"] = "linear"

    def infer(self, cache: TensorType, update: TensorType, starts: TensorType | None = None) -> TensorType:
        dtype = same_dtype(cache=cache, update=update)
        shape = ranked(cache, "cache")
        axis = normalize_axis(self.axis, len(shape))
        require(axis > 0, "axis 0 is the batch: the cache is written along another one")
        new = ranked(update, "update", len(shape))
        require_shape(update, "update", *shape[:axis], new[axis], *shape[axis + 1 :])
        places, written = shape[axis], new[axis]
        if isinstance(places, int) and isinstance(written, int):
            require(written <= places, "{} places cannot hold {} new ones", places, written)
        if starts is not None:
            require_dtype(starts, _INDICES, "starts")
            require_shape(starts, "starts", shape[0])
        return inferred(dtype, shape)

    def evaluate(self, cache: Array, update: Array, starts: Array | None = None) -> Array:
        axis = self.axis % cache.ndim
        first = np.zeros(len(cache), np.int64) if starts is None else starts.astype(np.int64)
        index = first[:, None] + np.arange(update.shape[axis])
        places = cache.shape[axis]
        if self.mode == "circular":
            index %= max(places, 1)
        elif index.size and not (index.min() >= 0 and index.max() < places):
            raise EvaluationError(f"CacheUpdate: place {int(index.max())} is written, the cache has {places}")
        result = np.moveaxis(cache.copy(), axis, 1)
        result[np.arange(len(cache))[:, None], index] = np.moveaxis(update, axis, 1)
        return np.ascontiguousarray(np.moveaxis(result, 1, axis))

    def decompose(self, cache: Tensor, update: Tensor, starts: Tensor | None = None) -> Tensor | None:
        from uair.ops.elementwise import Add, Mod
        from uair.ops.indexing import ScatterElements
        from uair.ops.shape import Expand, Reshape

        rank = cache.type.rank
        axis = self.axis % rank
        shape = update.type.dims
        index = Reshape(shape=(*(1,) * axis, shape[axis], *(1,) * (rank - axis - 1)))(positions(update, axis))
        if starts is not None:
            place = Reshape(shape=(shape[0], *(1,) * (rank - 1)))(converted(starts, DType.I64))
            index = Add()(index, place)
            if self.mode == "circular":
                index = Mod()(index, extent_of(cache, axis))
        return ScatterElements(axis=axis)(cache, Expand(shape=shape)(index), update)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        starts = np.array([1, 3], np.int64)
        yield case(cls(), "f32[2,3,6,4]", "f32[2,3,2,4]", starts)
        yield case(cls(mode="circular"), "f32[2,4,3]", "f32[2,3,3]", starts)
        yield case(cls(axis=1), "f16[2,4,3]", "f16[2,2,3]")
        yield case(cls(axis=2), "i64[2,2,5]", "i64[2,2,1]", starts.astype(np.int32))
        yield bad(cls(axis=0), "f32[2,3,4]", "f32[2,3,4]", because="axis 0 is the batch")
        yield bad(cls(), "f32[2,3,4]", "f32[2,5,4]", because="3 places cannot hold 5")
        yield bad(cls(), "f32[2,3,4]", "f32[2,2,5]", because="update has shape [2, 2, 5]")


@operator(inputs="q k v state? decay? beta?", outputs="y next_state", family="attention")
class LinearAttention(Operator):
    """Attention without softmax, whose memory is a matrix that passes from place to place.

    q: [batch, heads, places, size]; k: [batch, groups, places, size]; v: [batch, groups, places, value size]; state:
    [batch, groups, size, value size] floats (zeros if omitted). For every place t: S = exp(decay_t) * S when decay is
    given, [batch, groups, places, 1 or size]; u = v_t, or beta_t * (v_t - S^T k_t) when beta is given, [batch, 1 or
    groups, places, 1]; S = S + k_t u^T; y_t = scale * S^T q_t. heads is a multiple of groups; scale is 1/sqrt(size)
    when None. Results: y, [batch, heads, places, value size], and the last S in the type of state (that of q if
    omitted). S is kept in f32. Source: ONNX LinearAttention (update rules linear, gated, delta and gated_delta).
    """

    scale: float | None = None

    def infer(
        self,
        q: TensorType,
        k: TensorType,
        v: TensorType,
        state: TensorType | None = None,
        decay: TensorType | None = None,
        beta: TensorType | None = None,
    ) -> Types:
        dtype = same_dtype(q=q, k=k, v=v, decay=decay, beta=beta)
        require_dtype(q, FLOATS, "q")
        batch, heads, places, size = ranked(q, "q", 4)
        groups, value_size = ranked(k, "k", 4)[1], ranked(v, "v", 4)[3]
        require_shape(k, "k", batch, groups, places, size)
        require_shape(v, "v", batch, groups, places, value_size)
        if isinstance(heads, int) and isinstance(groups, int):
            require(groups > 0 and heads % groups == 0, "{} heads cannot share {} groups of keys", heads, groups)
        kept = dtype
        if state is not None:
            require_dtype(state, FLOATS, "state")
            require_shape(state, "state", batch, groups, size, value_size)
            kept = state.dtype
        if decay is not None:
            last = ranked(decay, "decay", 4)[3]
            require_shape(decay, "decay", batch, groups, places, 1 if last == 1 else size)
        if beta is not None:
            shared = ranked(beta, "beta", 4)[1]
            require_shape(beta, "beta", batch, 1 if shared == 1 else groups, places, 1)
        return inferred(dtype, (batch, heads, places, value_size)), inferred(kept, (batch, groups, size, value_size))

    def evaluate(
        self,
        q: Array,
        k: Array,
        v: Array,
        state: Array | None = None,
        decay: Array | None = None,
        beta: Array | None = None,
    ) -> tuple[Array, ...]:
        wide_q, wide_k, wide_v = widened(q), widened(k), widened(v)
        batch, heads, places, size = q.shape
        groups = k.shape[1]
        number = wide_q.dtype.type
        kept = q.dtype if state is None else state.dtype
        memory = np.zeros((batch, groups, size, v.shape[3]), wide_q.dtype)
        if state is not None:
            memory += state.astype(wide_q.dtype)
        queries = wide_q.reshape(batch, groups, heads // groups, places, size)
        queries = queries * number(_scale(self.scale, size))
        factors = None if decay is None else np.exp(widened(decay))
        rates = None if beta is None else widened(beta)
        y = np.empty((batch, groups, heads // groups, places, v.shape[3]), wide_q.dtype)
        for t in range(places):
            key, value = wide_k[:, :, t, :, None], wide_v[:, :, t, None, :]
            if factors is not None:
                memory *= factors[:, :, t, :, None]
            if rates is not None:
                value = rates[:, :, t, None] * (value - key.swapaxes(-1, -2) @ memory)
            memory += key * value
            y[:, :, :, t] = queries[:, :, :, t] @ memory
        return rounded(y.reshape(batch, heads, places, v.shape[3]), q.dtype), rounded(memory, kept)

    def decompose(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        state: Tensor | None = None,
        decay: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> tuple[Tensor, ...] | None:
        from uair.ops import _linear_attention

        size = q.type.dims[3]
        if not isinstance(size, int):
            return None  # the scale depends on it
        scale = _scale(self.scale, size)
        return _linear_attention.decompose(scale, q, k, v, state, decay, beta)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        q, v = operands[0], operands[2]
        assert q is not None and v is not None and isinstance(v.dims[3], int)
        return 6 * q.size * v.dims[3]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        q, k, v = "f32[2,4,3,4]", "f32[2,2,3,4]", "f32[2,2,3,5]"
        decay = -np.abs(np.linspace(0.1, 1, 48, dtype=np.float32)).reshape(2, 2, 3, 4)
        yield case(cls(), q, k, v)
        yield case(cls(), q, k, v, "f32[2,2,4,5]", decay)
        yield case(cls(scale=0.5), q, k, v, None, None, "f32[2,1,3,1]")
        yield case(cls(), q, k, v, "f32[2,2,4,5]", decay[..., :1].copy(), "f32[2,2,3,1]")
        yield case(cls(), "f16[1,1,2,4]", "f16[1,1,2,4]", "f16[1,1,2,4]", "f32[1,1,4,4]")
        yield case(cls(), "f32[1,2,9,4]", "f32[1,1,9,4]", "f32[1,1,9,2]", None, None, "f32[1,1,9,1]")
        yield bad(cls(), q, k, "f32[2,2,4,5]", because="v has shape [2, 2, 4, 5]")
        yield bad(cls(), q, "f32[2,3,3,4]", "f32[2,3,3,5]", because="4 heads cannot share 3 groups")
        yield bad(cls(), q, k, v, "f32[2,2,5,4]", because="state has shape")
