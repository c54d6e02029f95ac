"""Ascend's operators: their samples, known values, the text form."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.ops.drawing import operands_of, type_of
from uair.codegen.ascend.ops import AscendAntiQuant, AscendDequant, AscendQuant, packed_scales, unpacked_scales
from uair.context import Context
from uair.errors import UairError
from uair.ir import DType, Graph, Module, Node, TensorType, constant
from uair.ir.compare import difference
from uair.ops import Quantize
from uair.ops.base import Operator, Sample
from uair.text import parse_module, print_module

CLASSES: list[type[Operator]] = [AscendQuant, AscendDequant, AscendAntiQuant]
SAMPLES = [s for cls in CLASSES for s in cls.samples()]
GOOD = [s for s in SAMPLES if not s.because]
BAD = [s for s in SAMPLES if s.because]


@pytest.mark.parametrize("sample", GOOD, ids=str)
def test_what_is_inferred_is_what_is_computed(sample: Sample) -> None:
    operands = operands_of(sample)
    given = [None if o is None else type_of(o) for o in operands]
    (inferred,) = sample.op.infer_types(given)
    with np.errstate(all="ignore"):
        (value,) = sample.op.evaluate_all(operands)
    assert (value.dtype, value.shape) == (inferred.dtype.numpy, inferred.shape)


@pytest.mark.parametrize("sample", BAD, ids=str)
def test_what_is_refused_says_why(sample: Sample) -> None:
    with pytest.raises(UairError, match=re.escape(sample.because)):
        sample.op.infer_types([None if o is None else type_of(o) for o in operands_of(sample)])


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_the_text_form_knows_them(cls: type[Operator]) -> None:
    assert Context.default().operator(cls.__name__) is cls
    for sample in (s for s in GOOD if type(s.op) is cls):
        graph = Graph()
        x, *rest = (o for o in operands_of(sample) if o is not None)
        tensor = graph.add_input("x", type_of(x))
        node = graph.append(Node(sample.op, [tensor, *(constant(r) for r in rest)], name="n"))
        graph.add_output("y", node.output)
        module = Module("m", {"main": graph})
        assert difference(parse_module(print_module(module)), module) == ""


def test_quant_rounds_half_to_even_after_the_offset() -> None:
    x = np.array([0.5, 1.5, -0.5, 2.4, 1e9, -1e9, np.nan, np.inf], np.float32)
    assert AscendQuant().evaluate(x).tolist() == [0, 2, 0, 2, 127, -128, -128, 127]
    assert AscendQuant(offset=1.0).evaluate(x).tolist() == [2, 2, 0, 3, 127, -128, -128, 127]
    assert AscendQuant(scale=2.0, offset=-3.0).evaluate(x)[:4].tolist() == [-2, 0, -4, 2]


def test_quant_is_quantize_up_to_ties() -> None:
    x = np.random.default_rng(0).standard_normal(10000).astype(np.float32)
    scale, zero = np.float32(0.031), np.int8(-7)
    plain = Quantize().evaluate(x, np.asarray(scale), np.asarray(zero))
    own = AscendQuant(scale=float(np.float32(1 / np.float64(scale))), offset=-7.0).evaluate(x)
    assert np.abs(plain.astype(int) - own).max() <= 1
    assert (plain != own).mean() < 1e-3


def test_scales_travel_in_the_low_half_of_64_bits() -> None:
    scales = np.array([1.0, 1e-5, 3.4e38, 1e-42], np.float32)
    packed = packed_scales(scales)
    assert packed.dtype == np.uint64 and packed[0] == 0x3F800000
    np.testing.assert_array_equal(unpacked_scales(packed), scales)


def test_dequant_scales_channels() -> None:
    sums = np.array([[[1, 2], [3, 4]]], np.int32)
    value = AscendDequant().evaluate(sums, packed_scales(np.array([0.5, 10.0], np.float32)))
    assert value.tolist() == [[[0.5, 1.0], [30.0, 40.0]]]
    half = AscendDequant(dtype=DType.F16).evaluate(sums, packed_scales(np.array([0.1], np.float32)))
    assert half.dtype == np.float16 and half.ravel().tolist() == np.array([0.1, 0.2, 0.3, 0.4], np.float16).tolist()


def test_anti_quant_is_the_inverse() -> None:
    q = np.arange(-128, 128).astype(np.int8)
    x = AscendAntiQuant(scale=0.25, offset=-3.0).evaluate(q)
    np.testing.assert_array_equal(x, (q.astype(np.float32) + 3) / 4)
    np.testing.assert_array_equal(AscendQuant(scale=4.0, offset=-3.0).evaluate(x), q)


def test_symbolic_extents_pass_through() -> None:
    from uair.ir.dims import symbol

    n = symbol("n")
    assert AscendQuant().infer(TensorType(DType.F32, (n, 3))).shape == (n, 3)
    packed = TensorType(DType.U64, (3,))
    assert AscendDequant().infer(TensorType(DType.I32, (n, 3)), packed).shape == (n, 3)
