"""Jetson Orin: TensorRT's ONNX parser."""

from __future__ import annotations

import numpy as np

from tests.targets.helpers import make, tensor
from tests.targets.negatives import Case
from uair.codegen.tensorrt import TensorrtTarget
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import (
    GRU,
    LSTM,
    RNN,
    Add,
    Clip,
    Concat,
    Conv2D,
    CumSum,
    Dequantize,
    GridSample,
    MatMul,
    MaxPool2D,
    NonZero,
    OneHot,
    Quantize,
    ReduceMean,
    ReduceSum,
    Relu,
    Resize,
    ScatterND,
    Slice,
    Squeeze,
    TopK,
    Transpose,
)
from uair.targets import Support

ORIN = TensorrtTarget("jetson_orin")
X = "f32[1,4,16,16]"
NO = Support.UNSUPPORTED
BOTH = ("Tanh", "Relu", "Sigmoid", "Relu", "Tanh", "Relu")
"""Activation functions of which the first of each direction differ, however many a direction has."""


def symmetric(value: int) -> Tensor:
    return constant(np.full(4, value, np.int8))


NEGATIVE: list[Case] = [
    (ORIN, make(Add(), "i8[4]", "i8[4]"), NO, "a.dtype not in [bool, i8, u8]"),
    (ORIN, make(MatMul(), "i32[4,4]", "i32[4,4]"), NO, "a.dtype in [f16, bf16, f32]"),
    (ORIN, make(Clip(min=0.0), "i32[4]"), NO, "x.dtype in [f16, bf16, f32]"),
    (ORIN, make(Relu(), "i8[4]"), NO, "x.dtype not in [bool, i8, u8]"),
    (ORIN, make(Transpose(perm=(1, 0)), "u8[4,4]"), NO, "x.dtype not in [i8, u8]"),
    (ORIN, make(Concat(axis=0), "u8[4]", "u8[4]"), NO, "inputs[0].dtype not in [i8, u8]"),
    (ORIN, make(NonZero(), "i32[4]"), NO, "x.dtype in [f16, f32]"),
    (ORIN, make(Conv2D(), X, "=f32[8,4,3,3]", "f32[8]"), NO, "bias == none or bias.is_constant"),
    (ORIN, make(MaxPool2D(kernel=(3, 3), dilations=(2, 2)), X), NO, "all(dilations == 1)"),
    (ORIN, make(Quantize(dtype=DType.U8), X, 0.1), NO, "dtype == i8"),
    (ORIN, Quantize().node(tensor(X), constant(np.float32(0.1)), constant(np.int8(3))), NO,
     "zero_point == none or zero_point.is_zero"),
    (ORIN, make(Quantize(), X, "f32[]"), NO, "scale.is_constant"),
    (ORIN, make(Quantize(axis=1), X, "=f32[4]"), NO, "axis == none or x.is_constant"),
    (ORIN, make(Dequantize(), "i32[4]", 0.1), NO, "x.dtype in [i4, i8]"),
    (ORIN, make(Dequantize(axis=0, block_size=32), "=i4[64,2]", "=f32[2,2]"), NO, "block_size in [64, 128]"),
    (ORIN, Dequantize(axis=0).node(tensor("i8[4]"), constant(np.ones(4, np.float32)), symmetric(1)), NO,
     "zero_point == none or zero_point.is_zero"),
    (ORIN, make(Dequantize(), "i8[4]", "f32[]"), NO, "scale.is_constant"),
    (ORIN, make(CumSum(axis=None), "f32[4]", "i64[]"), NO, "axis != none"),
    (ORIN, make(CumSum(), "i32[4]"), NO, "x.dtype in [f16, bf16, f32]"),
    (ORIN, make(ReduceSum(axes=None), X, "i64[1]"), NO, "operand_count == 1"),
    (ORIN, make(ReduceSum(axes=(0,)), "u8[4]"), NO, "x.dtype not in [bool, i8, u8]"),
    (ORIN, make(ReduceMean(axes=(0,)), "u8[4]"), NO, "x.dtype not in [bool, i8, u8]"),
    (ORIN, make(Squeeze(axes=None), X, "i64[1]"), NO, "operand_count == 1"),
    (ORIN, make(Squeeze(axes=(0,)), "i8[1,4]"), NO, "x.dtype not in [i8, u8]"),
    (ORIN, make(Slice(starts=(0,), ends=(2,), axes=None, steps=(1,)), "f32[4]", None, None, "i64[1]"), NO,
     "axes != none"),
    (ORIN, make(Slice(starts=(0,), ends=(2,), axes=(0,), steps=(1,)), "u8[4]"), NO, "x.dtype not in [i8, u8]"),
    (ORIN, make(OneHot(depth=None), "i64[4]", "i64[]", "=f32[2]"), NO, "depth != none"),
    (ORIN, make(Resize(sizes=(1, 4, 32, 32), mode="cubic"), X), NO, 'mode != "cubic"'),
    (ORIN, make(Resize(sizes=(1, 4, 32, 32), mode="linear", coordinate_mode="tf_crop_and_resize",
                       roi=(0.0,) * 4 + (1.0,) * 4), X), NO, "coordinate_mode in"),
    (ORIN, make(Resize(sizes=(1, 4, 32, 32)), "i32[1,4,16,16]"), NO, "x.dtype in [f16, bf16, f32]"),
    (ORIN, make(TopK(k=4000), "f32[5000]"), NO, "k == none or k < 3840"),
    (ORIN, make(TopK(k=4, sorted=False), "f32[50]"), NO, "sorted"),
    (ORIN, make(TopK(k=4), "u8[50]"), NO, "x.dtype not in [bool, i8, u8]"),
    (ORIN, make(ScatterND(reduction="add"), "f32[4]", "=i64[2,1]", "f32[2]"), NO, 'reduction == "none"'),
    (ORIN, make(GridSample(), "bf16[1,1,4,4]", "bf16[1,4,4,2]"), NO, "x.dtype in [f16, f32]"),
    (ORIN, make(LSTM(input_forget=True), "f32[2,1,4]", "=f32[1,32,4]", "=f32[1,32,8]"), NO, "not input_forget"),
    (ORIN, make(LSTM(direction="bidirectional", activations=BOTH), "f32[2,1,4]", "=f32[2,32,4]", "=f32[2,32,8]"), NO,
     'direction != "bidirectional"'),
    (ORIN, make(GRU(direction="bidirectional", activations=("Sigmoid", "Tanh", "Relu", "Tanh")), "f32[2,1,4]",
                "=f32[2,24,4]", "=f32[2,24,8]"), NO, 'direction != "bidirectional"'),
    (ORIN, make(RNN(direction="bidirectional", activations=("Tanh", "Relu")), "f32[2,1,4]", "=f32[2,8,4]",
                "=f32[2,8,8]"), NO, 'direction != "bidirectional"'),
]  # fmt: skip
