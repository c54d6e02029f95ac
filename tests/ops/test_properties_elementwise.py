"""Elementwise operators, reductions and normalization on random shapes and attributes, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.settings import examples
from tests.ops.properties import F32, FLOATS, INTS, NUMBERS, Application, Draw, Maker, judge

MAKERS: dict[str, Maker] = {}


def unary(*dtypes: Any, positive: bool = False, tolerance: float | None = None, **attributes: Any) -> Maker:
    def make(d: Draw) -> Application:
        dtype, shape = d.choice(dtypes), d.shape(least=0)
        x = d.positive(dtype, shape) if positive else d.array(dtype, shape)
        drawn = {k: v(d) for k, v in attributes.items()}
        return Application([x], drawn, tolerance=tolerance)

    return make


def real(low: float, high: float) -> Any:
    """A number for an attribute, or none."""
    return lambda d: None if d.flag() else low + (high - low) * d.number(0, 16) / 16


MAKERS.update(
    {
        "Abs": unary(*NUMBERS, np.int8, np.uint8),
        "Neg": unary(*NUMBERS, np.int8),
        "Sign": unary(*NUMBERS, np.uint8),
        "Ceil": unary(*FLOATS),
        "Floor": unary(*FLOATS),
        "Round": unary(*FLOATS),
        "Sqrt": unary(*FLOATS),
        "Reciprocal": unary(*FLOATS),
        "Exp": unary(*FLOATS),
        "Log": unary(*FLOATS),
        "Sin": unary(*FLOATS),
        "Cos": unary(*FLOATS),
        "Tanh": unary(*FLOATS),
        "Sigmoid": unary(*FLOATS),
        "Relu": unary(*FLOATS, np.int32, np.int8),
        "Erf": unary(F32),
        "Softplus": unary(F32),
        "Softsign": unary(F32),
        "HardSwish": unary(F32),
        "Mish": unary(F32),
        "Gelu": unary(F32, approximate=lambda d: d.choice([None, "none", "tanh"])),
        "HardSigmoid": unary(F32, alpha=real(0, 1), beta=real(-1, 1)),
        "LeakyRelu": unary(F32, alpha=real(-1, 1)),
        "Elu": unary(F32, alpha=real(-2, 2)),
        "Selu": unary(F32, alpha=real(0, 2), gamma=real(0, 2)),
        "Celu": unary(F32, alpha=real(0.25, 2)),
        "ThresholdedRelu": unary(F32, alpha=real(-1, 2)),
        "Shrink": unary(F32, lambd=real(0, 2), bias=real(-1, 1)),
        "Not": unary(np.bool_),
        "IsNaN": unary(*FLOATS),
        "BitwiseNot": unary(np.int32, np.uint8),
        "Identity": unary(*NUMBERS, np.bool_),
    }
)


def binary(*dtypes: Any, divides: bool = False, **fixed: Any) -> Maker:
    def make(d: Draw) -> Application:
        dtype, shape = d.choice(dtypes), d.shape(least=0)
        shapes = [shape, d.broadcast(shape)]
        if d.flag():
            shapes.reverse()
        a, b = (d.array(dtype, s) for s in shapes)
        if divides and a.dtype.kind in "iu":
            b = np.where(b == 0, 3, b).astype(b.dtype)
        return Application([a, b], fixed)

    return make


def prelu(d: Draw) -> Application:
    shape = d.shape(1, 4)
    return Application([d.array(F32, shape), d.array(F32, d.broadcast(shape))])


def modulo(d: Draw) -> Application:
    if d.flag():
        return attr_fmod(d)
    return binary(*INTS, np.int8, np.uint8, divides=True)(d)


def attr_fmod(d: Draw) -> Application:
    return binary(*NUMBERS, divides=True, fmod=1)(d)


def power(d: Draw) -> Application:
    shape = d.shape()
    dtype = d.choice([F32, np.float64, np.int32, np.int64])
    base = d.positive(dtype, shape) if np.dtype(dtype).kind == "f" else d.array(dtype, shape, -4, 4)
    kinds = [F32, np.float64] if np.dtype(dtype).kind == "f" else [np.int32, np.int64]
    exponent = d.array(d.choice(kinds), d.broadcast(shape), 0, 5)
    return Application([base, exponent], tolerance=1e-5 if dtype == F32 else None)


def clip(d: Draw) -> Application:
    dtype = d.choice([*NUMBERS, np.int8, np.uint8])
    low, high = sorted(d.array(dtype, (2,)).tolist())
    bounds = [np.asarray(v, dtype) if d.flag() else None for v in (low, high)]
    return Application([d.array(dtype, d.shape(least=0)), *bounds], constants=(1, 2) if d.flag() else ())


def where(d: Draw) -> Application:
    shape, dtype = d.shape(), d.choice([F32, np.int64, np.uint8, np.int32, np.float64])
    operands = [d.array(np.bool_, d.broadcast(shape)), d.array(dtype, shape), d.array(dtype, d.broadcast(shape))]
    return Application(operands)


def cast(d: Draw) -> Application:
    """Between the types in which values of -9 to 9 have a meaning."""
    kinds = [F32, np.float64, np.float16, np.int8, np.int16, np.int32, np.int64, np.bool_]
    x = d.array(d.choice(kinds), d.shape(least=0))
    from onnx import helper

    return Application([x], {"to": helper.np_dtype_to_tensor_dtype(np.dtype(d.choice(kinds)))})


def shift(d: Draw) -> Application:
    dtype, shape = d.choice([np.uint8, np.uint32, np.uint64]), d.shape()
    return Application(
        [d.array(dtype, shape, 0, 200), d.array(dtype, shape, 0, 7)], {"direction": d.choice(["LEFT", "RIGHT"])}
    )


MAKERS.update(
    {
        "Add": binary(*NUMBERS),
        "Sub": binary(*NUMBERS),
        "Mul": binary(*NUMBERS),
        "Div": binary(*NUMBERS, divides=True),
        "Equal": binary(*NUMBERS, np.bool_),
        "Less": binary(*NUMBERS),
        "LessOrEqual": binary(*NUMBERS),
        "Greater": binary(*NUMBERS),
        "GreaterOrEqual": binary(*NUMBERS),
        "And": binary(np.bool_),
        "Or": binary(np.bool_),
        "Xor": binary(np.bool_),
        "BitwiseAnd": binary(np.int32, np.uint8),
        "BitwiseOr": binary(np.int64, np.uint16),
        "PRelu": prelu,
        "Mod": modulo,
        "Pow": power,
        "Clip": clip,
        "Where": where,
        "Cast": cast,
        "BitShift": shift,
    }
)


def variadic(*dtypes: Any) -> Maker:
    def make(d: Draw) -> Application:
        dtype, shape = d.choice(dtypes), d.shape()
        return Application(
            [d.array(dtype, shape), *(d.array(dtype, d.broadcast(shape)) for _ in range(d.number(0, 3)))]
        )

    return make


MAKERS.update(
    {
        "Max": variadic(*NUMBERS),
        "Min": variadic(*NUMBERS),
        "Sum": variadic(*FLOATS),
        "Mean": variadic(F32),
    }
)


# ----------------------------------------------------------------------------------------------------- reductions
def reduction(*dtypes: Any, positive: bool = False, operand_from: int = 18) -> Maker:
    def make(d: Draw) -> Application:
        dtype, shape, opset = d.choice(dtypes), d.shape(1, 4), d.choice([21, 13])
        x = d.positive(dtype, shape) if positive else d.array(dtype, shape, -4, 4)
        axes = d.axes(len(shape), 1) if d.flag() else None
        attributes: dict[str, Any] = {"keepdims": d.choice([None, 0, 1])}
        if opset < operand_from:
            return Application([x], {**attributes, "axes": axes}, opset=opset)
        if axes is None and d.flag():
            attributes["noop_with_empty_axes"] = d.number(0, 1)
        given = None if axes is None else np.array(axes, np.int64)
        return Application([x, given], attributes, constants=(1,) if d.flag() else (), opset=opset)

    return make


MAKERS.update(
    {
        "ReduceSum": reduction(*NUMBERS, operand_from=13),
        "ReduceMean": reduction(*FLOATS, np.int32),
        "ReduceMax": reduction(*NUMBERS, np.int8),
        "ReduceMin": reduction(*NUMBERS, np.uint8),
        "ReduceProd": reduction(*NUMBERS),
        "ReduceL1": reduction(F32, np.int32),
        "ReduceL2": reduction(F32),
        "ReduceSumSquare": reduction(*NUMBERS),
        "ReduceLogSum": reduction(F32, positive=True),
        "ReduceLogSumExp": reduction(F32, np.float64),
    }
)


def extreme(d: Draw) -> Application:
    shape = d.shape(1, 4)
    attributes = {
        "axis": d.axis(len(shape)),
        "keepdims": d.choice([None, 0, 1]),
        "select_last_index": d.choice([None, 0, 1]),
    }
    return Application([d.array(d.choice([F32, np.int32, np.int8]), shape, -2, 2)], attributes)


def running(d: Draw) -> Application:
    shape = d.shape(1, 4)
    attributes = {"exclusive": d.choice([None, 0, 1]), "reverse": d.choice([None, 0, 1])}
    axis = np.asarray(d.axis(len(shape)), d.choice([np.int32, np.int64]))
    return Application([d.array(d.choice(NUMBERS), shape), axis], attributes, constants=(1,) if d.flag() else ())


def over_axis(*opsets: int) -> Maker:
    def make(d: Draw) -> Application:
        shape = d.shape(1, 4)
        axis = d.axis(len(shape)) if d.flag() else None
        opset = d.choice(opsets)
        if opset < 13 and axis is None and len(shape) < 2:
            axis = 0
        return Application([d.array(F32, shape)], {"axis": axis}, opset=opset)

    return make


MAKERS.update(
    {
        "ArgMax": extreme,
        "ArgMin": extreme,
        "CumSum": running,
        "Softmax": over_axis(21, 13, 11, 9),
        "LogSoftmax": over_axis(21, 13, 11),
        "Hardmax": over_axis(21, 11),
    }
)


# -------------------------------------------------------------------------------------------------- normalization
def layer_norm(d: Draw) -> Application:
    shape = d.shape(1, 4)
    axis = d.axis(len(shape))
    inner = shape[axis % len(shape) :]
    bias = d.array(F32, inner) if d.flag() else None
    return Application(
        [d.array(F32, shape), d.array(F32, inner), bias], {"axis": axis, "epsilon": real(1e-5, 1e-1)(d)}, tolerance=1e-4
    )


def batch_norm(d: Draw) -> Application:
    shape = d.shape(2, 5)
    c = shape[1:2]
    operands = [d.array(F32, shape), d.array(F32, c), d.array(F32, c), d.array(F32, c), d.positive(F32, c)]
    return Application(operands, {"epsilon": real(1e-5, 1e-1)(d)}, constants=(1, 2, 3, 4), opset=d.choice([21, 14, 9]))


def instance_norm(d: Draw) -> Application:
    shape = d.shape(3, 5, least=2)
    return Application(
        [d.array(F32, shape), d.array(F32, shape[1:2]), d.array(F32, shape[1:2])],
        {"epsilon": real(1e-4, 1e-1)(d)},
        tolerance=1e-4,
    )


def group_norm(d: Draw) -> Application:
    """Of whole numbers: where a variance is small but not 0, onnxruntime loses it (E[x^2] - E[x]^2), UAIR does not."""
    groups = d.number(1, 3)
    c = groups * d.number(1, 3)
    x = d.array(np.int32, (d.number(1, 2), c, *d.shape(1, 2, least=2))).astype(F32)
    operands = [x, d.array(F32, (c,)), d.array(F32, (c,))]
    return Application(operands, {"num_groups": groups}, tolerance=1e-4)


def local_response(d: Draw) -> Application:
    attributes = {
        "size": 2 * d.number(0, 2) + 1,
        "alpha": real(0.1, 1)(d),
        "beta": real(0.1, 1)(d),
        "bias": real(1, 2)(d),
    }
    return Application([d.array(F32, (d.number(1, 2), d.number(1, 6), d.number(1, 4), d.number(1, 4)))], attributes)


def lp_norm(d: Draw) -> Application:
    shape = d.shape(1, 3)
    return Application([d.array(F32, shape)], {"axis": d.axis(len(shape)), "p": d.choice([1, 2])})


MAKERS.update(
    {
        "LayerNormalization": layer_norm,
        "BatchNormalization": batch_norm,
        "InstanceNormalization": instance_norm,
        "GroupNormalization": group_norm,
        "LRN": local_response,
        "LpNormalization": lp_norm,
    }
)


@pytest.mark.parametrize("op_type", MAKERS)
@given(data=st.data())
@examples(60)
def test_against_onnxruntime(op_type: str, data: st.DataObject) -> None:
    judge(op_type, MAKERS[op_type](Draw(data)))
