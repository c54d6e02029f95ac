"""Symbolic extents: the inferred formula, with numbers put in, is the extent inferred from those numbers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from uair.errors import TypeInferenceError
from uair.ir import DType, TensorType
from uair.ir.dims import Dim, substitute_shape, symbol
from uair.ops.base import Operator
from uair.ops.convolution import Conv2D, ConvTranspose2D
from uair.ops.linear import Einsum, Linear, MatMul
from uair.ops.pooling import AvgPool2D, MaxPool2D
from uair.ops.resize import Resize

H, W, N = symbol("h"), symbol("w"), symbol("n")

WINDOWS: list[tuple[Operator, tuple[tuple[int, ...], ...]]] = [
    (Conv2D(strides=(2, 3), pads=(1, 0, 2, 1), dilations=(2, 1)), ((5, 4, 3, 2),)),
    (Conv2D(strides=(2, 2), auto_pad="same_upper"), ((5, 4, 3, 3),)),
    (ConvTranspose2D(strides=(2, 3), pads=(1, 0, 0, 1), output_padding=(1, 2)), ((4, 5, 3, 2),)),
    (MaxPool2D(kernel=(3, 2), strides=(2, 2), pads=(1, 0, 1, 1)), ()),
    (MaxPool2D(kernel=(3, 2), strides=(2, 3), pads=(1, 1, 1, 0), ceil_mode=True), ()),
    (AvgPool2D(kernel=(2, 2), strides=(3, 2), ceil_mode=True), ()),
    (Resize(scales=(1, 1, 2, 0.5)), ()),
]


def f32(*shape: Dim) -> TensorType:
    return TensorType(DType.F32, shape)


@pytest.mark.parametrize(("op", "others"), WINDOWS, ids=str)
def test_formula_with_numbers_put_in(op: Operator, others: tuple[tuple[int, ...], ...]) -> None:
    weights = [f32(*s) for s in others]
    (formula,) = op.infer_types([f32(N, 4, H, W), *weights])
    assert not formula.is_static
    for h in range(7, 14):
        values: dict[str, Dim] = {"n": 2, "h": h, "w": h + 3}
        (numbers,) = op.infer_types([f32(2, 4, h, h + 3), *weights])
        assert substitute_shape(formula.dims, values) == numbers.dims
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(s).astype(np.float32) for s in ((2, 4, h, h + 3), *others)]
        assert op.evaluate_all(arrays)[0].shape == numbers.dims


def test_symbolic_extents_of_products() -> None:
    k = symbol("k")
    assert MatMul().infer_types([f32(N, 1, H, k), f32(3, k, 5)])[0].dims == (N, 3, H, 5)
    assert Linear().infer_types([f32(N, H, 4), f32(6, 4)])[0].dims == (N, H, 6)
    assert Einsum(equation="bhqd,bhkd->bhqk").infer_types([f32(N, 2, H, 4), f32(N, 2, W, 4)])[0].dims == (N, 2, H, W)


def test_resize_by_an_uneven_scale_of_a_symbolic_extent_is_unknown_before_it_runs() -> None:
    (t,) = Resize(scales=(1.0, 0.3)).infer_types([f32(N, H)])
    assert t.dims[0] == N
    assert t.dims[1] is None


def test_auto_pad_is_resolved_when_the_extents_are_known() -> None:
    op = Conv2D(strides=(2, 2), auto_pad="same_upper")
    assert op.with_explicit_pads((H, W), (3, 3)) is op
    assert op.with_explicit_pads((7, 8), (3, 3)) == Conv2D(strides=(2, 2), pads=(1, 0, 1, 1))


def test_auto_pad_beside_pads_is_refused() -> None:
    with pytest.raises(TypeInferenceError, match="contradict auto_pad"):
        Conv2D(pads=(1, 1, 1, 1), auto_pad="same_upper").infer_types([f32(1, 4, 8, 8), f32(5, 4, 3, 3)])


def test_static_inference_needs_no_symbolic_algebra() -> None:
    """SymPy takes a second to import: a static model never pays for it."""
    program = """
import sys
from uair.ir import DType, TensorType
from uair.ops.convolution import Conv2D
from uair.ops.pooling import MaxPool2D
from uair.ops.resize import Resize
x = TensorType(DType.F32, (1, 4, 8, 8))
Conv2D(auto_pad="same_upper").infer_types([x, TensorType(DType.F32, (4, 4, 3, 3))])
MaxPool2D(kernel=(2, 2), ceil_mode=True).infer_types([x])
Resize(scales=(1, 1, 2, 0.7)).infer_types([x])
assert "sympy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
