"""Gradients against central differences, from every operator's own samples; PyTorch judges in tests/frameworks."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import uair.ops
import uair.ops.gradients
from tests.ops.drawing import type_of
from tests.ops.gradients import assert_gradients, is_float, wide_operands, widened
from uair.codegen.reference.errors import NoGradientError
from uair.errors import TypeInferenceError
from uair.ir.dtype import Array, DType
from uair.ops.base import Sample
from uair.ops.gradients import FAMILIES, part_of

NOT_TRIED = ("BitCast", "Opaque", "If", "Loop", "Scan")
"""Their samples need more than a graph of one node, or do not compute on numbers."""
NONE = ("LabelEncoder", "MaxRoiPool", "OptionalGetElement", "Pack", "TreeEnsemble", "Unique", "Unpack")
LONG = {"GRU": 17, "LSTM": 17, "LinearAttention": 9}
"""Sequences that become a Scan."""
INSIDE: Mapping[str, Callable[[Array], Array]] = {
    "Atanh": np.tanh,
    "Log": lambda x: np.abs(x) + 0.1,
    "Log1p": np.abs,
}
"""Functions that are not defined everywhere, with what brings random numbers to where they are."""


def refused(sample: Sample, operands: Sequence[Any]) -> bool:
    """Whether there is no gradient."""
    op: Any = sample.op
    if op.op_type in LONG:
        return bool(operands[0].shape[0 if op.op_type != "LinearAttention" else 2] == LONG[op.op_type])
    return bool(
        op.op_type in NONE
        or (op.op_type == "Fold" and op.extents is None)
        or (op.op_type == "RoiAlign" and op.sampling_ratio == 0)
        or (op.op_type == "DFT" and len(operands) > 1 and operands[1] is not None)
    )


def _has_floats(sample: Sample) -> bool:
    """Whether it computes f64 from f64."""
    operands = wide_operands(sample)
    arrays = [a for a in operands if isinstance(a, np.ndarray)]
    if not any(is_float(a) and a.size for a in arrays) or any(a.dtype.kind in "fV" and not is_float(a) for a in arrays):
        return False
    try:
        types = widened(sample.op).infer_types([None if a is None else type_of(a) for a in operands])
    except TypeInferenceError:  # it needs f32
        return False
    return any(t.is_tensor and t.dtype is DType.F64 for t in types)


CASES = [
    sample
    for name in uair.ops.OPERATORS
    for sample in getattr(uair.ops, name).samples()
    if not sample.because and name not in NOT_TRIED and _has_floats(sample)
]


@pytest.mark.parametrize("sample", CASES, ids=map(str, CASES))
def test_gradients_are_central_differences(sample: Sample) -> None:
    op, operands = widened(sample.op), wide_operands(sample)
    if refused(sample, operands):
        with pytest.raises(NoGradientError, match=f"no gradient through {op.op_type}"):
            assert_gradients(op, operands)
        return
    if op.op_type in INSIDE:
        operands = [np.asarray(INSIDE[op.op_type](a)) for a in operands]
    assert assert_gradients(op, operands)


def test_every_family_has_its_file() -> None:
    files = {info.name for info in pkgutil.iter_modules(uair.ops.gradients.__path__)} - {"base"}
    assert files == FAMILIES
    for family in files:
        module = importlib.import_module(f"uair.ops.gradients.{family}")
        for name in module.GRADIENTS:
            assert getattr(uair.ops, name).__module__ == f"uair.ops.{family}"


@pytest.mark.parametrize("name", ["Relu", "Clip", "LeakyRelu", "HardSwish", "HardSigmoid", "Abs", "Elu", "PRelu"])
def test_a_kink_gives_one_of_its_sides(name: str) -> None:
    cls: Any = getattr(uair.ops, name)
    op = cls(min=-1.0, max=0.0) if name == "Clip" else cls()
    x = np.zeros(1)
    others = (np.full(1, 0.25),) if name == "PRelu" else ()
    g = part_of(op, "x")
    assert g is not None
    at = float(g.apply(op, (np.ones(1),), (x, *others), op.evaluate_all((x, *others)))[0])
    slopes = [float((op.evaluate(np.array([h]), *others) - op.evaluate(x, *others))[0] / h) for h in (-1e-6, 1e-6)]
    assert min(slopes) - 1e-5 <= at <= max(slopes) + 1e-5


def test_equal_elements_of_a_window_give_all_to_the_first() -> None:
    op = uair.ops.MaxPool2D(kernel=(2, 2), strides=(2, 2))
    x = np.zeros((1, 1, 2, 2), np.float32)
    part = part_of(op, "x")
    assert part is not None
    g = part.apply(op, (np.full((1, 1, 1, 1), 3, np.float32),), (x,), op.evaluate_all((x,)))
    np.testing.assert_array_equal(g, [[[[3, 0], [0, 0]]]])


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_narrow_operands_get_wide_gradients(dtype: str) -> None:
    numpy = DType(dtype).numpy
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(numpy) for shape in ((2, 3, 5, 5), (4, 3, 3, 3)))
    op = uair.ops.Conv2D(pads=(1, 1, 1, 1))
    g = rng.standard_normal((2, 4, 5, 5)).astype(np.float32)
    wide = [a.astype(np.float32) for a in (x, w)]
    for name in ("x", "w"):
        part = part_of(op, name)
        assert part is not None
        got = part.apply(op, (g,), (x, w), op.evaluate_all((x, w)))
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, part.apply(op, (g,), wide, op.evaluate_all(wide)), rtol=1e-5, atol=1e-5)
