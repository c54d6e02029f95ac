"""Shape, order and extent: operators that move elements and compute nothing.

Target shapes are attributes that may hold symbolic sizes. Where the value is known only at run time, the attribute is
None and an integer vector is given as operand instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from uair.errors import EvaluationError
from uair.ir import dims
from uair.ir.dims import Dim, InferredShape, Shape, may_be_one, product
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor
from uair.ir.types import TensorType, inferred
from uair.ops import _run_time, _symbolic
from uair.ops._cast import cast
from uair.ops._compute import REALS, require_dtype
from uair.ops._forms import numbers, one_form, run_time_axes, unique_axes, vector_length
from uair.ops._precision import compute_type
from uair.ops._slices import python_slice, slice_extent
from uair.ops.base import (
    MAX_RANK,
    Ints,
    Operator,
    Results,
    Sample,
    bad,
    broadcast_shapes,
    case,
    normalize_axis,
    operator,
    ranked,
    require,
    same_dtype,
)

FAMILY = "shape"
_LONGEST_SHAPE = 1024  # elements of a Range in a shape computation; it comes from a stranger's numbers


# -------------------------------------------------------------------------- reshape
@operator(inputs="x shape?", family=FAMILY)
class Reshape(Operator):
    """x's elements in row-major order under another shape.

    One extent may be -1: what remains. 0 is an extent of zero, never "copy" (frontends resolve ONNX's allowzero=0).
    """

    shape_arithmetic = True
    shape: Shape | None = None

    def infer(self, x: TensorType, shape: TensorType | None = None) -> TensorType:
        one_form(self.shape, shape, "shape")
        if self.shape is None:
            rank = vector_length(shape)
            return inferred(x.dtype, None if rank is None else (None,) * rank)
        return inferred(x.dtype, self._resolve(self.shape, x))

    def _resolve(self, target: Shape, x: TensorType) -> InferredShape:
        open_axes = [i for i, d in enumerate(target) if isinstance(d, int) and d < 0]
        require(all(target[i] == -1 for i in open_axes), "shape {} holds a negative extent other than -1", list(target))
        require(len(open_axes) <= 1, "shape {} holds more than one -1", list(target))
        if x.shape is None:
            return tuple(None if i in open_axes else d for i, d in enumerate(target))
        total = product(x.shape)
        rest = product(d for i, d in enumerate(target) if i not in open_axes)
        if not open_axes:
            difference = 0 if total == rest else dims.normal(total - rest)
            fits = not isinstance(difference, int) or difference == 0
            misfit = "x of shape {} has {} elements, shape {} has {}"
            require(fits, misfit, list(x.shape), total, list(target), rest)
            return target
        require(rest != 0, "shape {} has no elements besides its -1", list(target))
        if isinstance(total, int) and isinstance(rest, int):
            multiple = "x of shape {} has {} elements, shape {} asks for a multiple of {}"
            require(total % rest == 0, multiple, list(x.shape), total, list(target), rest)
        remaining = dims.floor_div(total, rest)
        return tuple(remaining if i in open_axes else d for i, d in enumerate(target))

    def evaluate(self, x: Array, shape: Array | None = None) -> Array:
        target = numbers(self, self.shape, shape)
        try:
            return x.reshape(target)
        except ValueError:
            raise EvaluationError(f"Reshape: x of shape {list(x.shape)} does not fit shape {list(target)}") from None

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(shape=(3, 2)), "f32[2,3]")
        yield case(cls(shape=(2, -1, 2)), "f32[2,3,4]")
        yield case(cls(shape=()), "i64[1]")
        yield case(cls(shape=(0, 5)), "f32[3,0]")
        yield case(cls(shape=(-1,)), "bf16[0,3]")
        yield case(cls(), "f32[2,3]", np.array([3, 2]))
        yield case(cls(), "f32[0,3]", np.array([3, -1, 4]))
        yield case(cls(), "f32[0,3]", np.array([3, 0, 4]))
        yield bad(cls(shape=(4,)), "f32[2,3]", because="has 6 elements")
        yield bad(cls(shape=(4, -1)), "f32[2,3]", because="multiple of 4")
        yield bad(cls(shape=(-1, -1)), "f32[2,3]", because="more than one -1")
        yield bad(cls(), "f32[2,3]", because="shape is neither")
        yield bad(cls(shape=(6,)), "f32[2,3]", "i64[1]", because="shape is both")
        yield bad(cls(), "f32[2,3]", "f32[1]", because="shape must be integer")


@operator(inputs="x shape?", family=FAMILY)
class Expand(Operator):
    """x broadcast with `shape`: the result has NumPy's broadcast of both, so 1 in `shape` keeps x's extent.

    Expand of a scalar fills a tensor (ONNX ConstantOfShape, tf.fill). Evaluation gives a view without copies.
    """

    shape_arithmetic = True
    shape: Shape | None = None

    def infer(self, x: TensorType, shape: TensorType | None = None) -> TensorType:
        one_form(self.shape, shape, "shape")
        if self.shape is not None:
            require(all(not isinstance(d, int) or d >= 0 for d in self.shape), "shape {} is negative", list(self.shape))
            return inferred(x.dtype, None if x.shape is None else broadcast_shapes(x.shape, self.shape))
        rank = vector_length(shape)
        if rank is None or x.shape is None:
            return TensorType(x.dtype, None)
        known = tuple(d if isinstance(d, int) and d > 1 else None for d in x.shape)
        return inferred(x.dtype, (None,) * (rank - len(known)) + known)

    def evaluate(self, x: Array, shape: Array | None = None) -> Array:
        target = numbers(self, self.shape, shape)
        try:
            return np.broadcast_to(x, np.broadcast_shapes(x.shape, target))
        except ValueError:
            raise EvaluationError(f"Expand: x of shape {list(x.shape)} does not broadcast to {list(target)}") from None

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(shape=(2, 3)), "f32[]")
        yield case(cls(shape=(4, 1, 3)), "f32[2,1]")
        yield case(cls(shape=(1,)), "i64[2,3]")
        yield case(cls(shape=(0, 3)), "f32[3]")
        yield case(cls(), "f32[3,1]", np.array([2, 1, 4]))
        yield bad(cls(shape=(2, 3)), "f32[4]", because="do not broadcast")
        yield bad(cls(), "f32[4]", because="shape is neither")


@operator(inputs="x", family=FAMILY)
class Transpose(Operator):
    """Axis i of the result is axis perm[i] of x. NCHW to NHWC is perm [0, 2, 3, 1]."""

    shape_arithmetic = True
    perm: Ints = ()

    def infer(self, x: TensorType) -> TensorType:
        shape = ranked(x, "x", len(self.perm)) if x.shape is not None else None
        require(sorted(self.perm) == list(range(len(self.perm))), "perm {} is not a permutation", list(self.perm))
        return inferred(x.dtype, (None,) * len(self.perm) if shape is None else tuple(shape[p] for p in self.perm))

    def evaluate(self, x: Array) -> Array:
        return np.transpose(x, self.perm)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(perm=(1, 0)), "f32[2,3]")
        yield case(cls(perm=(0, 2, 3, 1)), "i8[1,3,2,4]")
        yield case(cls(), "f32[]")
        yield bad(cls(perm=(0, 0)), "f32[2,3]", because="not a permutation")
        yield bad(cls(perm=(0, 1)), "f32[2,3,4]", because="x must have rank 2")


@operator(inputs="x axes?", family=FAMILY)
class Squeeze(Operator):
    """x without the axes `axes`, which must have extent 1; when none are given, without every axis of extent 1.

    In the latter case the result's rank is known only where no open extent can be 1.
    """

    shape_arithmetic = True
    axes: Ints | None = None

    def infer(self, x: TensorType, axes: TensorType | None = None) -> TensorType:
        one_form(self.axes, axes, "axes", optional=True)
        if x.shape is None:
            return TensorType(x.dtype, None)
        if self.axes is None:
            return inferred(x.dtype, self._open(x.shape, axes))
        gone = unique_axes(self.axes, len(x.shape))
        for a in gone:
            d = x.shape[a]
            require(not isinstance(d, int) or d == 1, "axis {} of x has extent {}, not 1", a, d)
        return inferred(x.dtype, tuple(d for i, d in enumerate(x.shape) if i not in gone))

    @staticmethod
    def _open(shape: Shape, axes: TensorType | None) -> InferredShape | None:
        """The shape without axes that an operand names, or without all of extent 1."""
        others = tuple(d for d in shape if not may_be_one(d))
        if axes is None:
            return others if all(d == 1 or not may_be_one(d) for d in shape) else None
        count, possible = vector_length(axes), len(shape) - len(others)
        if count is None:
            return None
        require(count <= possible, "axes name {} axes, x of shape {} has {} of extent 1", count, list(shape), possible)
        if count == possible:
            return others
        return shape if count == 0 else (None,) * (len(shape) - count)

    def evaluate(self, x: Array, axes: Array | None = None) -> Array:
        if self.axes is None and axes is None:
            return x.reshape([d for d in x.shape if d != 1])
        gone = run_time_axes(self, self.axes, axes, x.ndim)
        if any(x.shape[a] != 1 for a in gone):
            raise EvaluationError(f"Squeeze: axes {list(gone)} of x of shape {list(x.shape)} have not extent 1")
        return np.squeeze(x, gone)

    def decompose(self, x: Tensor, axes: Tensor | None = None) -> Tensor | None:
        return _run_time.squeezed(self, x, axes)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(axes=(0, -1)), "f32[1,3,1]")
        yield case(cls(axes=(0,)), "i64[1]")
        yield case(cls(axes=()), "f32[1,2]")
        yield case(cls(), "f32[1,2,1,3]")
        yield case(cls(), "f32[2,3]")
        yield case(cls(), "f32[1,3,1]", np.array([-1, 0]))
        yield case(cls(), "f32[1,3,1]", np.array([-1]))
        yield case(cls(), "f32[1,3]", np.array([], np.int64))
        yield bad(cls(axes=(1,)), "f32[1,3]", because="axis 1 of x has extent 3")
        yield bad(cls(axes=(2,)), "f32[1,3]", because="axis 2 is out of range")
        yield bad(cls(axes=(0,)), "f32[1,3]", "i64[1]", because="axes is both")
        yield bad(cls(), "f32[1,3]", "i64[2]", because="has 1 of extent 1")


@operator(inputs="x axes?", family=FAMILY)
class Unsqueeze(Operator):
    """x with axes of extent 1 inserted; `axes` count in the result, from its end where they are negative."""

    shape_arithmetic = True
    axes: Ints | None = None

    def infer(self, x: TensorType, axes: TensorType | None = None) -> TensorType:
        one_form(self.axes, axes, "axes")
        count = len(self.axes) if self.axes is not None else vector_length(axes)
        if x.shape is None or count is None:
            return TensorType(x.dtype, None)
        rank = len(x.shape) + count
        require(rank <= MAX_RANK, "x with {} more axes has {}, at most {} are possible", count, rank, MAX_RANK)
        if self.axes is None:
            return inferred(x.dtype, (1,) * rank if all(d == 1 for d in x.shape) else (None,) * rank)
        new = unique_axes(self.axes, rank)
        old = iter(x.shape)
        return inferred(x.dtype, tuple(1 if i in new else next(old) for i in range(rank)))

    def evaluate(self, x: Array, axes: Array | None = None) -> Array:
        count = len(numbers(self, self.axes, axes))
        return np.expand_dims(x, run_time_axes(self, self.axes, axes, x.ndim + count))

    def decompose(self, x: Tensor, axes: Tensor | None = None) -> Tensor | None:
        return _run_time.unsqueezed(x, axes)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(axes=(0, 3)), "f32[2,3]")
        yield case(cls(axes=(0,)), "i64[]")
        yield case(cls(axes=(-1, 0)), "f32[2,3]")
        yield case(cls(), "f32[2,3]", np.array([-1, 0]))
        yield case(cls(), "i64[]", np.array([0]))
        yield bad(cls(axes=(3,)), "f32[2,3]", because="axis 3 is out of range")
        yield bad(cls(axes=(0, 0)), "f32[2,3]", because="name an axis twice")
        yield bad(cls(), "f32[2,3]", because="axes is neither")


# ---------------------------------------------------------------- joining and parting
@operator(inputs="inputs*", family=FAMILY)
class Concat(Operator):
    """The operands one behind the other along `axis`; all other extents agree."""

    shape_arithmetic = True
    axis: int = 0

    def infer(self, *inputs: TensorType) -> TensorType:
        require(inputs, "inputs: at least one operand is needed")
        first = inputs[0]
        for i, t in enumerate(inputs):
            require(
                t.dtype is first.dtype,
                "inputs[{}] is {}, inputs[0] is {}",
                i,
                t.dtype,
                first.dtype,
                hint="insert a Cast",
            )
        shapes = [t.shape for t in inputs if t.shape is not None]
        if not shapes:
            return TensorType(first.dtype, None)
        rank = len(shapes[0])
        require(rank > 0, "inputs: scalars cannot be joined", hint="insert an Unsqueeze")
        axis = normalize_axis(self.axis, rank)
        result: list[Dim | None] = list(shapes[0])
        for i, s in enumerate(shapes[1:], 1):
            require(len(s) == rank, "inputs[{}] has shape {}, inputs[0] has shape {}", i, list(s), list(shapes[0]))
            for a, d in enumerate(s):
                if a == axis:
                    continue
                have = result[a]
                fits = d == have or not (isinstance(d, int) and isinstance(have, int))
                require(fits, "inputs[{}] has extent {} along axis {}, inputs[0] has {}", i, d, a, have)
                if isinstance(d, int):
                    result[a] = d
        if len(shapes) < len(inputs):
            result[axis] = None
        else:
            total: Dim = 0
            for s in shapes:
                total = total + s[axis]
            result[axis] = dims.normal(total)
        return inferred(first.dtype, tuple(result))

    def evaluate(self, *inputs: Array) -> Array:
        if _symbolic.is_symbolic(*inputs):
            return np.concatenate([x.astype(object) for x in inputs], axis=self.axis)
        return np.concatenate(inputs, axis=self.axis)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(axis=1), "f32[2,3]", "f32[2,1]", "f32[2,0]")
        yield case(cls(axis=-2), "i64[2,3]", "i64[1,3]")
        yield case(cls(), "bool[3]")
        yield case(cls(), "bf16[3]", "bf16[2]")
        yield bad(cls(), "f32[2,3]", "f32[2,4]", because="inputs[1] has extent 4")
        yield bad(cls(), "f32[2]", "i32[2]", because="inputs[1] is i32")
        yield bad(cls(), "f32[2]", "f32[2,1]", because="inputs[1] has shape")
        yield bad(cls(axis=2), "f32[2,3]", because="axis 2 is out of range")
        yield bad(cls(), "f32[]", because="scalars")
        yield bad(cls(), because="at least one")


@operator(inputs="x sizes?", family=FAMILY)
class Split(Operator):
    """x cut along `axis` into parts of the extents `sizes`, which add up to x's extent. As many results as sizes.

    parts: the number of results where the sizes are an operand (None otherwise).
    """

    shape_arithmetic = True
    axis: int = 0
    sizes: Shape | None = None
    parts: int | None = None

    def result_count(self) -> int:
        return len(self.sizes) if self.sizes is not None else self.parts or 0

    def infer(self, x: TensorType, sizes: TensorType | None = None) -> Results:
        one_form(self.sizes, sizes, "sizes")
        count, length = self.result_count(), vector_length(sizes)
        require(count > 0, "sizes: at least one part is needed")
        require(length in (None, count), "sizes has {} values for {} results", length, count)
        require(self.sizes is None or self.parts is None, "parts is for sizes that are an operand")
        if x.shape is not None:
            require(x.shape, "x has no axis: its rank is 0")
            self._fit(x.shape)
        parts: InferredShape = (None,) * count if self.sizes is None else self.sizes
        return tuple(self._part(x, d) for d in parts)

    def _fit(self, shape: Shape) -> None:
        """Refuse sizes that do not add up to x's extent."""
        axis = normalize_axis(self.axis, len(shape))
        if self.sizes is None:
            return
        require(all(not isinstance(s, int) or s >= 0 for s in self.sizes), "sizes {} are negative", list(self.sizes))
        total: Dim = 0
        for s in self.sizes:
            total = total + s
        rest = dims.normal(shape[axis] - total)
        require(
            not isinstance(rest, int) or rest == 0,
            "sizes {} add up to {}, x has extent {} along axis {}",
            list(self.sizes),
            total,
            shape[axis],
            axis,
        )

    def _part(self, x: TensorType, size: Dim | None) -> TensorType:
        if x.shape is None:
            return TensorType(x.dtype, None)
        axis = normalize_axis(self.axis, len(x.shape))
        return inferred(x.dtype, (*x.shape[:axis], size, *x.shape[axis + 1 :]))

    def evaluate(self, x: Array, sizes: Array | None = None) -> tuple[Array, ...]:
        parts = numbers(self, self.sizes, sizes)
        places = np.cumsum(parts)
        if len(parts) != self.result_count() or min(parts) < 0 or places[-1] != x.shape[self.axis]:
            raise EvaluationError(
                f"Split: sizes {list(parts)} do not cut {x.shape[self.axis]} into {self.result_count()} parts"
            )
        return tuple(np.split(x, places[:-1], axis=self.axis))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(axis=1, sizes=(1, 2, 0)), "f32[2,3]")
        yield case(cls(axis=-1, sizes=(3,)), "i64[2,3]")
        yield case(cls(axis=-1, parts=2), "i64[2,3]", np.array([1, 2]))
        yield bad(cls(axis=1, sizes=(1, 1)), "f32[2,3]", because="add up to 2")
        yield bad(cls(axis=2, sizes=(1, 1)), "f32[2,3]", because="axis 2 is out of range")
        yield bad(cls(sizes=()), "f32[2]", because="at least one part")
        yield bad(cls(), "f32[2]", because="sizes is neither")
        yield bad(cls(parts=3), "f32[2]", "i64[2]", because="2 values for 3 results")
        yield bad(cls(sizes=(2,), parts=1), "f32[2]", because="parts is for sizes")


@operator(inputs="x starts? ends? axes? steps?", family=FAMILY)
class Slice(Operator):
    """x[starts[i] : ends[i] : steps[i]] along each axes[i].

    Bounds below 0 count from the end; then they are clamped, so that no bound is out of range (ONNX, Python). With a
    negative step an element before the first is reached by an end below minus the extent. Bounds of magnitude 2^31 - 1
    and more mean the very end.
    """

    shape_arithmetic = True
    axes: Ints | None = None
    starts: Shape | None = None
    ends: Shape | None = None
    steps: Ints | None = None

    def infer(
        self,
        x: TensorType,
        starts: TensorType | None = None,
        ends: TensorType | None = None,
        axes: TensorType | None = None,
        steps: TensorType | None = None,
    ) -> TensorType:
        count = len(self.axes) if self.axes is not None else vector_length(axes)
        for name, attribute, operand in (
            ("axes", self.axes, axes),
            ("starts", self.starts, starts),
            ("ends", self.ends, ends),
            ("steps", self.steps, steps),
        ):
            one_form(attribute, operand, name)
            length = len(attribute) if attribute is not None else vector_length(operand)
            count = length if count is None else count
            require(length in (None, count), "{} has {} values for {} axes", name, length, count)
        require(self.steps is None or 0 not in self.steps, "steps {}: a step cannot be 0", list(self.steps or ()))
        if x.shape is None:
            return TensorType(x.dtype, None)
        require(count is None or count <= len(x.shape), "axes name {} axes, x has rank {}", count, len(x.shape))
        return inferred(x.dtype, x.shape if count == 0 else self._extents(x.shape))

    def _extents(self, shape: Shape) -> InferredShape:
        """What is left of each axis."""
        if self.axes is None:
            return tuple(0 if isinstance(d, int) and d == 0 else None for d in shape)
        result: list[Dim | None] = list(shape)
        for i, a in enumerate(unique_axes(self.axes, len(shape))):
            if self.starts is None or self.ends is None or self.steps is None:
                result[a] = None
            else:
                result[a] = slice_extent(shape[a], self.starts[i], self.ends[i], self.steps[i])
        return tuple(result)

    def evaluate(
        self,
        x: Array,
        starts: Array | None = None,
        ends: Array | None = None,
        axes: Array | None = None,
        steps: Array | None = None,
    ) -> Array:
        along = run_time_axes(self, self.axes, axes, x.ndim)
        strides = numbers(self, self.steps, steps)
        if 0 in strides:
            raise EvaluationError("Slice: a step cannot be 0")
        bounds = (along, numbers(self, self.starts, starts), numbers(self, self.ends, ends), strides)
        if len({len(values) for values in bounds}) > 1:
            raise EvaluationError(f"Slice: axes, starts, ends, steps {bounds} have different lengths")
        index: list[Any] = [slice(None)] * x.ndim
        for a, start, end, step in zip(*bounds, strict=True):
            index[a] = python_slice(x.shape[a], start, end, step)
        taken: Array = x[tuple(index)]
        return taken

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        far = 2**63 - 1

        def cut(*bounds: tuple[int, int, int, int]) -> Slice:
            axes, starts, ends, steps = zip(*bounds, strict=True)
            return Slice(axes=axes, starts=starts, ends=ends, steps=steps)

        yield case(cut((0, 1, 3, 1)), "f32[5,4]")
        yield case(cut((0, -3, far, 2), (1, 0, -1, 1)), "f32[5,4]")
        yield case(cut((-1, far, -far, -1)), "i64[5]")
        yield case(cut((0, -1, -far, -2)), "i64[6]")
        yield case(cut((0, 3, 0, -1)), "i64[6]")
        yield case(cut((0, 4, 2, 1)), "f32[5]")
        yield case(cut((0, -100, 100, 3)), "f32[5]")
        yield case(cut((0, 0, far, 1)), "f32[0]")
        yield case(cut((0, -2, -100, -3)), "f32[5]")
        yield case(cut((0, -7, -100, -2)), "f32[5]")
        yield case(cut((0, -7, -100, -2)), "f32[0]")
        yield case(cls(axes=(1,), steps=(1,)), "f32[5,4]", np.array([1]), np.array([3]))
        yield case(cls(axes=(1,), steps=(-1,), starts=(far,)), "f32[5,4]", None, np.array([0]))
        yield case(cls(), "f32[5,4]", *(np.array([v], np.int32) for v in (4, 0, -2, -2)))
        yield case(cls(steps=(1, 2)), "f32[5,4]", np.array([1, 0]), np.array([-1, 9]), np.array([1, 0]))
        yield case(cls(), "f32[5]", *(np.array([], np.int64),) * 4)
        yield bad(cut((2, 0, 1, 1)), "f32[5,4]", because="axis 2 is out of range")
        yield bad(cut((0, 0, 1, 0)), "f32[5,4]", because="cannot be 0")
        yield bad(cls(axes=(0,), starts=(0, 1), ends=(1,), steps=(1,)), "f32[5]", because="starts has 2 values")
        yield bad(cls(axes=(0,), starts=(0,), steps=(1,)), "f32[5]", because="ends is neither")
        yield bad(cls(starts=(0,), ends=(1,)), "f32[5]", because="axes is neither")
        yield bad(cls(), "f32[5]", *("i64[2]",) * 4, because="axes name 2 axes")


@operator(inputs="x repeats?", family=FAMILY)
class Tile(Operator):
    """x repeated repeats[i] times along each axis i."""

    repeats: Shape | None = None

    def infer(self, x: TensorType, repeats: TensorType | None = None) -> TensorType:
        one_form(self.repeats, repeats, "repeats")
        length = len(self.repeats) if self.repeats is not None else vector_length(repeats)
        if x.shape is None:
            return inferred(x.dtype, None if length is None else (None,) * length)
        rank = len(x.shape)
        require(length is None or length == rank, "repeats has {} values, x has rank {}", length, rank)
        if self.repeats is None:
            return inferred(x.dtype, (None,) * rank)
        negative = any(isinstance(r, int) and r < 0 for r in self.repeats)
        require(not negative, "repeats {} are negative", list(self.repeats))
        return inferred(x.dtype, tuple(dims.normal(d * r) for d, r in zip(x.shape, self.repeats, strict=True)))

    def evaluate(self, x: Array, repeats: Array | None = None) -> Array:
        return np.tile(x, numbers(self, self.repeats, repeats))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(repeats=(2, 3)), "f32[2,1]")
        yield case(cls(repeats=(0, 1)), "i64[2,2]")
        yield case(cls(repeats=()), "f32[]")
        yield case(cls(), "f32[2]", np.array([3]))
        yield bad(cls(repeats=(2,)), "f32[2,1]", because="repeats has 1 values")
        yield bad(cls(repeats=(-1,)), "f32[2]", because="are negative")
        yield bad(cls(), "f32[2]", because="repeats is neither")


@operator(inputs="x", family=FAMILY)
class Flip(Operator):
    """x in the opposite order along `axes`."""

    axes: Ints = ()

    def infer(self, x: TensorType) -> TensorType:
        if x.shape is not None:
            unique_axes(self.axes, len(x.shape))
        return TensorType(x.dtype, x.shape)

    def evaluate(self, x: Array) -> Array:
        return np.flip(x, tuple(self.axes))

    def decompose(self, x: Tensor) -> Tensor:
        n = len(self.axes)
        return Slice(axes=self.axes, starts=(2**63 - 1,) * n, ends=(-(2**63) + 1,) * n, steps=(-1,) * n)(x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(axes=(0, -1)), "f32[2,3,4]")
        yield case(cls(), "f32[2]")
        yield case(cls(axes=(0,)), "bool[0]")
        yield bad(cls(axes=(1,)), "f32[2]", because="axis 1 is out of range")
        yield bad(cls(axes=(0, -1)), "f32[2]", because="name an axis twice")


# -------------------------------------------------------------------- blocks of space
class _Rearrangement(Operator):
    """Base of the operators that are a transposition between two reshapes."""

    def plan(self, shape: Sequence[Dim]) -> tuple[Shape, Ints, Shape]:
        """For an operand of `shape`: that shape with its axes taken apart, the permutation, and the result's shape."""
        raise NotImplementedError

    def evaluate(self, x: Array) -> Array:
        apart, perm, result = self.plan(x.shape)
        return np.transpose(x.reshape(dims.static(apart)), perm).reshape(dims.static(result))

    def decompose(self, x: Tensor) -> Tensor | None:
        if x.type.shape is None:
            return None
        apart, perm, result = self.plan(x.type.dims)
        return Reshape(shape=result)(Transpose(perm=perm)(Reshape(shape=apart)(x)))


@operator(inputs="x", family=FAMILY)
class DepthToSpace(_Rearrangement):
    """[N, C, H, W] to [N, C / b^2, H b, W b], b = `block`.

    mode "DCR": a channel's index is (row in block, column in block, channel) (TensorFlow, ONNX's default); "CRD":
    (channel, row, column) (torch's pixel_shuffle).
    """

    block: int = 1
    mode: Literal["DCR", "CRD"] = "DCR"

    def infer(self, x: TensorType) -> TensorType:
        require(self.block >= 1, "block must be at least 1, is {}", self.block)
        if x.shape is None:
            return inferred(x.dtype, (None,) * 4)
        n, c, h, w = ranked(x, "x", 4)
        area = self.block**2
        require(not isinstance(c, int) or c % area == 0, "x has {} channels, not a multiple of {}", c, area)
        channels = None if c is None else dims.floor_div(c, area)
        return inferred(x.dtype, (n, channels, _scaled(h, self.block), _scaled(w, self.block)))

    def plan(self, shape: Sequence[Dim]) -> tuple[Shape, Ints, Shape]:
        n, c, h, w = shape
        b = self.block
        depth = dims.floor_div(c, b * b)
        result = (n, depth, dims.normal(h * b), dims.normal(w * b))
        if self.mode == "DCR":
            return (n, b, b, depth, h, w), (0, 3, 4, 1, 5, 2), result
        return (n, depth, b, b, h, w), (0, 1, 4, 2, 5, 3), result

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(block=2), "f32[1,8,2,3]")
        yield case(cls(block=2, mode="CRD"), "f32[2,8,2,3]")
        yield case(cls(), "i8[1,3,2,2]")
        yield bad(cls(block=2), "f32[1,6,2,3]", because="not a multiple of 4")
        yield bad(cls(block=2), "f32[4,2,3]", because="x must have rank 4")
        yield bad(cls(block=0), "f32[1,4,2,3]", because="at least 1")


@operator(inputs="x", family=FAMILY)
class SpaceToDepth(_Rearrangement):
    """[N, C, H, W] to [N, C b^2, H / b, W / b], b = `block`; the inverse of DepthToSpace with the same mode.

    mode "DCR": a channel's index is (row in block, column in block, channel) (TensorFlow, ONNX's default); "CRD":
    (channel, row, column) (torch's pixel_unshuffle, ONNX from opset 28 on).
    """

    block: int = 1
    mode: Literal["DCR", "CRD"] = "DCR"

    def infer(self, x: TensorType) -> TensorType:
        require(self.block >= 1, "block must be at least 1, is {}", self.block)
        if x.shape is None:
            return inferred(x.dtype, (None,) * 4)
        n, c, h, w = ranked(x, "x", 4)
        for name, d in (("height", h), ("width", w)):
            require(
                not isinstance(d, int) or d % self.block == 0, "x has {} {}, not a multiple of {}", name, d, self.block
            )
        rows, columns = (None if d is None else dims.floor_div(d, self.block) for d in (h, w))
        return inferred(x.dtype, (n, _scaled(c, self.block**2), rows, columns))

    def plan(self, shape: Sequence[Dim]) -> tuple[Shape, Ints, Shape]:
        n, c, h, w = shape
        b = self.block
        rows, columns = dims.floor_div(h, b), dims.floor_div(w, b)
        perm = (0, 3, 5, 1, 2, 4) if self.mode == "DCR" else (0, 1, 3, 5, 2, 4)
        return (n, c, rows, b, columns, b), perm, (n, dims.normal(c * b * b), rows, columns)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(block=2), "f32[1,3,4,6]")
        yield case(cls(block=2, mode="CRD"), "f32[2,3,4,6]")
        yield case(cls(), "i8[1,3,2,2]")
        yield bad(cls(block=2), "f32[1,3,4,5]", because="width 5")
        yield bad(cls(block=2), "f32[3,4,4]", because="x must have rank 4")


def _scaled(d: Dim | None, factor: int) -> Dim | None:
    return None if d is None else dims.normal(d * factor)


# ---------------------------------------------------------------------------- sizes
@operator(inputs="x", family=FAMILY)
class ShapeOf(Operator):
    """x's extents from axis `start` to (not including) `end`, i64 [n]; both may count from the end and are clamped."""

    shape_arithmetic = True
    start: int = 0
    end: int | None = None

    def infer(self, x: TensorType) -> TensorType:
        if x.shape is None:
            return inferred(DType.I64, (None,))
        return TensorType(DType.I64, (len(x.shape[self.start : self.end]),))

    def evaluate(self, x: Array) -> Array:
        return np.array(x.shape[self.start : self.end], np.int64)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3,4]")
        yield case(cls(start=1), "f32[2,3,4]")
        yield case(cls(start=-2, end=-1), "bool[2,3,4]")
        yield case(cls(start=5), "f32[2]")
        yield case(cls(), "f32[]")
        yield bad(cls(), because="needs operand 'x'")


@operator(inputs="x", family=FAMILY)
class SizeOf(Operator):
    """Number of x's elements, a scalar i64."""

    shape_arithmetic = True

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(DType.I64, ())

    def evaluate(self, x: Array) -> Array:
        return np.array(x.size, np.int64)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from (case(cls(), t) for t in ("f32[2,3]", "i8[]", "f32[0]"))
        yield bad(cls(), because="needs operand 'x'")


@operator(inputs="start limit delta", family=FAMILY)
class Range(Operator):
    """The vector start, start + delta, ... up to, not including, limit; empty when it never gets nearer.

    The operands are scalars of one type.
    """

    shape_arithmetic = True

    def infer(self, start: TensorType, limit: TensorType, delta: TensorType) -> TensorType:
        require_dtype(start, REALS, "start")
        dtype = same_dtype(start=start, limit=limit, delta=delta)
        for name, t in (("start", start), ("limit", limit), ("delta", delta)):
            require(t.shape is None or t.shape == (), "{} must be a scalar, is {}", name, t)
        return inferred(dtype, (None,))

    def evaluate(self, start: Array, limit: Array, delta: Array) -> Array:
        symbolic = _symbolic.is_symbolic(start, limit, delta)
        if symbolic:
            start, limit, delta = (_symbolic.integers(v) for v in (start, limit, delta))
        step = delta.item()
        if step == 0:
            raise EvaluationError("Range: delta is 0")
        dtype = DType.from_numpy(start.dtype)
        span = limit.item() - start.item()
        if not dtype.is_integer and not math.isfinite(span / step):
            raise EvaluationError(f"Range from {start} to {limit} by {delta} has no end")
        count = max(-(-span // step) if dtype.is_integer else math.ceil(span / step), 0)
        if symbolic and count > _LONGEST_SHAPE:
            raise EvaluationError(f"Range: {count} values are no shape")
        if dtype.is_integer:
            return cast(np.add(start.astype(np.int64), np.arange(count, dtype=np.int64) * step), dtype)
        wide = compute_type(start)
        return cast(np.add(start.astype(wide), np.arange(count).astype(wide) * delta.astype(wide)), dtype)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        def scalars(dtype: Any, *values: float) -> list[Array]:
            return [np.array(v, dtype) for v in values]

        yield case(cls(), *scalars(np.int64, 2, 11, 3))
        yield case(cls(), *scalars(np.int32, 10, 0, -4))
        yield case(cls(), *scalars(np.float32, 0, 1, 0.25))
        yield case(cls(), *scalars(np.int64, 3, 3, 1))
        yield case(cls(), *scalars(np.int64, 3, 9, -1))
        yield bad(cls(), "i64[1]", "i64[]", "i64[]", because="start must be a scalar")
        yield bad(cls(), "i64[]", "i32[]", "i64[]", because="limit is i32")
