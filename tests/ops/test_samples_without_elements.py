"""Every operator's samples with axes emptied: it refuses them by name, or gives what it infers.

Operands of unknown rank are refused or decomposed, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.ops.drawing import assert_close, operands_of, type_of, types_of
from tests.ops.test_samples import EVALUATED, GOOD, assert_shape_fits, evaluated, names
from uair.errors import EvaluationError, TypeInferenceError
from uair.ir.dtype import Array
from uair.ir.graph import Tensor
from uair.ir.layout import Layout
from uair.ir.types import TensorType
from uair.ops.base import Sample

TENSORS = [s for s in EVALUATED if all(o is None or isinstance(o, np.ndarray) for o in operands_of(s))]


def emptied(operands: list[Array | None]) -> Iterator[list[Array | None]]:
    """The operands without elements along every axis of one extent, along one axis, and along one of all operands."""
    given = [o for o in operands if o is not None]
    for extent in sorted({d for o in given for d in o.shape} - {0}):
        yield [o if o is None else cut(o, [a for a, d in enumerate(o.shape) if d == extent]) for o in operands]
    for axis in range(max((o.ndim for o in given), default=0)):
        yield [o if o is None or axis >= o.ndim else cut(o, [axis]) for o in operands]
        for i, operand in enumerate(operands):
            if operand is not None and axis < operand.ndim:
                yield [*operands[:i], cut(operand, [axis]), *operands[i + 1 :]]


def cut(operand: Array, axes: list[int]) -> Array:
    kept = tuple(slice(0) if axis in axes else slice(None) for axis in range(operand.ndim))
    return np.asarray(operand[kept], operand.dtype)


@pytest.mark.parametrize("sample", TENSORS, ids=names(TENSORS))
def test_axes_without_elements(sample: Sample) -> None:
    for operands in emptied(operands_of(sample)):
        try:
            inferred = sample.op.infer_types([None if o is None else type_of(o) for o in operands])
        except TypeInferenceError as error:
            assert sample.op.op_type in str(error)
            continue
        try:
            with np.errstate(all="ignore"):  # as the interpreter does
                results = sample.op.evaluate_all(operands)
        except EvaluationError as error:
            assert error.message
            continue
        for result, want in zip(results, inferred, strict=True):
            if not want.containers and want.layout == Layout.ANY:
                assert result.dtype == want.dtype.numpy
                assert_shape_fits(result.shape, want.shape, {})
        tensors = [None if o is None else Tensor(type_of(o)) for o in operands]
        made = sample.op.decompose(*tensors)
        if made is not None:
            values = {t: o for t, o in zip(tensors, operands, strict=True) if t is not None and o is not None}
            got = [evaluated(t, values) for t in (made if isinstance(made, tuple) else (made,))]
            assert_close(got, list(results), 64)


@pytest.mark.parametrize("sample", GOOD, ids=names(GOOD))
def test_unknown_ranks_are_refused_or_decomposed(sample: Sample) -> None:
    """With one operand or all of unknown rank; a decomposition that needs the rank is None."""
    static = types_of(sample)
    for hidden in (*([i] for i in range(len(static))), range(len(static))):
        types = [
            TensorType(t.dtype, None, containers=t.containers) if t is not None and i in hidden else t
            for i, t in enumerate(static)
        ]
        try:
            sample.op.infer_types(types)
        except TypeInferenceError as error:
            assert sample.op.op_type in str(error)
            continue
        made = sample.op.decompose(*(None if t is None else Tensor(t) for t in types))
        assert made is None or made
