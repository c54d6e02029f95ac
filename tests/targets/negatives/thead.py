"""Nodes that the constraints of the T-Head device files refuse; the chips share most of them."""

from __future__ import annotations

from tests.targets.helpers import make
from uair.context import Context
from uair.ir.dtype import DType
from uair.ir.graph import Node
from uair.ops import (
    LRN,
    Add,
    AvgPool2D,
    Clip,
    Concat,
    Conv1D,
    Conv2D,
    Conv3D,
    ConvTranspose2D,
    CumSum,
    DepthToSpace,
    Dequantize,
    Elu,
    Expand,
    Flip,
    Gather,
    HardSigmoid,
    LayerNorm,
    Linear,
    LpNormalize,
    MatMul,
    MaxPool2D,
    Pad,
    PRelu,
    Quantize,
    ReduceMean,
    Relu,
    Reshape,
    Resize,
    RMSNorm,
    Slice,
    Softplus,
    Tile,
    Where,
)
from uair.targets import Support

X, HALF, W = "f32[1,4,16,16]", "f16[1,4,16,16]", "=f32[8,4,3,3]"
NO, UNKNOWN = Support.UNSUPPORTED, Support.UNKNOWN
BIG = (1, 4, 32, 32)


def nearest(sizes: tuple[int, ...], scales: tuple[float, ...] | None = None) -> Resize:
    """The nearest element below, from i / scale."""
    return Resize(sizes=sizes, scales=scales, coordinate_mode="asymmetric", nearest_mode="floor")


WEIGHTS: list[tuple[Node, Support, str]] = [
    (make(Conv2D(), X, "f32[8,4,3,3]"), NO, "w.is_constant or quantized"),
    (make(Conv2D(), X, W, "f32[8]"), NO, "bias == none or bias.is_constant or quantized"),
    (make(Conv2D(), HALF, "=f16[8,4,3,3]"), NO, "x.dtype == f32"),
    (make(ConvTranspose2D(), X, "f32[4,8,3,3]"), NO, "w.is_constant or quantized"),
    (make(Linear(), "f32[1,4]", "f32[8,4]"), NO, "w.is_constant or quantized"),
]
QUANTIZATION: list[tuple[Node, Support, str]] = [
    (make(Quantize(dtype=DType.U8), X, 0.1), NO, "dtype == i8"),
    (make(Quantize(axis=1), X, "=f32[4]"), NO, "axis == none"),
    (make(Dequantize(axis=0, block_size=2), "=i8[4]", "=f32[2]"), NO, "block_size == 0"),
    (make(Dequantize(), "u8[4]", 0.1), NO, "x.dtype in [i8, i32]"),
    (make(Dequantize(axis=0), "i8[4]", "=f32[4]"), NO, "axis == none or x.is_constant"),
]
COMMON: list[tuple[Node, Support, str]] = [
    (make(Relu(), HALF), NO, "x.dtype == f32"),
    (make(Add(), HALF, HALF), NO, "a.dtype == f32"),
    (make(PRelu(), "f32[4]", "=f32[1]"), NO, "x.rank >= 2"),
    (make(PRelu(), X, "f32[4,1,1]"), NO, "slope.is_constant or quantized"),
    (make(PRelu(), X, "=f32[1]"), NO, "slope.elements == x.shape[1]"),
    (make(PRelu(), "f32[4,4]", "=f32[4,1]"), NO, "slope.rank < x.rank or slope.shape[1] == x.shape[1]"),
    (make(PRelu(), "f32[1,4,4,4]", "=f32[4,1]"), NO, "slope.rank >= x.rank - 1 or slope.elements == 1"),
    (make(MatMul(), "f32[4]", "f32[4,2]"), NO, "a.rank >= 2"),
    (make(MaxPool2D(kernel=(3, 3), dilations=(2, 2)), X), NO, "all(dilations == 1)"),
    (make(AvgPool2D(kernel=(3, 3), pads=(1, 1, 1, 1), ceil_mode=True, count_include_pad=True), X), NO,
     "not count_include_pad or not ceil_mode"),
    (make(ReduceMean(), X, "i64[2]"), NO, "operand_count == 1"),
    (make(LRN(size=3), "f32[1,4,16]"), NO, "x.rank == 4"),
    (make(LRN(size=4), X), NO, "size % 2 == 1"),
    (make(LpNormalize(p=1), X), NO, "p == 2"),
    (make(Reshape(), X, "i64[2]"), NO, "shape != none"),
    (make(Concat(axis=1), HALF, HALF), NO, "inputs[0].dtype == f32"),
    (make(Slice(axes=(0,), starts=(0,), ends=(1,), steps=(1,)), "f32[2,2,2,2,2,2]"), NO, "x.rank <= 5"),
    (make(Slice(), X, "i64[1]", "i64[1]", "i64[1]", "i64[1]"), NO,
     "starts != none; ends != none"),
    (make(Slice(axes=(2,), starts=(9,), ends=(0,), steps=(-1,)), X), NO, "all(steps >= 1)"),
    (make(Pad(pads=(0,) * 9 + (1,)), "f32[1,1,4,4,4]"), NO, "x.rank <= 4"),
    (make(Pad(pads=(1, 1), mode="edge"), "f32[4]"), NO, 'mode == "constant"'),
    (make(Pad(), "f32[4]", "i64[2]"), NO, "pads != none"),
    (make(Pad(pads=(-1, 1)), "f32[4]"), NO, "all(pads >= 0)"),
    (make(nearest((1, 4, 32)), "f32[1,4,16]"), NO, "x.rank == 4"),
    (make(nearest((1, 8, 16, 16)), X), NO,
     "y.shape[1] == x.shape[1]"),
    (make(Resize(sizes=BIG, coordinate_mode="asymmetric"), X), NO,
     'mode == "linear" or (mode == "nearest" and nearest_mode == "floor")'),
    (make(Resize(sizes=BIG, mode="linear"), X), NO,
     'coordinate_mode == "asymmetric" or (coordinate_mode == "align_corners" and mode == "linear")'),
    (make(Resize(sizes=BIG, mode="linear", coordinate_mode="asymmetric", antialias=True), X), NO,
     "not antialias"),
    (make(nearest(BIG, (1.0, 1.0, 2.0, 2.0)), X), NO, "scales == none or sizes == none"),
    *WEIGHTS, *QUANTIZATION,
]  # fmt: skip
CPUS: list[tuple[Node, Support, str]] = [
    *COMMON,
    (make(LpNormalize(axis=1), X), NO, "axis == -1 or axis == x.rank - 1"),
    (make(DepthToSpace(block=2, mode="CRD"), X), NO, 'mode == "DCR"'),
    (make(Softplus(beta=2.0), X), NO, "beta == 1"),
    (make(Elu(alpha=0.5), X), NO, "alpha == 1"),
    (make(HardSigmoid(alpha=0.2), X), NO, "0.166666 <= alpha <= 0.166667"),
    (make(Conv1D(groups=2), "f32[1,4,16]", "=f32[8,2,3]"), NO, "groups == 1 or depthwise"),
    (make(Conv3D(groups=2), "f32[1,4,8,8,8]", "=f32[8,2,3,3,3]"), NO, "groups == 1"),
    (make(RMSNorm(), X, "f32[16]"), NO, "scale == none or scale.is_constant or quantized"),
    (make(LayerNorm(), X, "f32[16]"), NO,
     "scale == none or scale.is_constant or quantized"),
    (make(Resize(sizes=(1, 4, 1, 32), mode="linear", coordinate_mode="align_corners"), X), NO,
     'coordinate_mode != "align_corners" or (y.shape[2] > 1 and y.shape[3] > 1)'),
    (make(Gather(), "f32[4]", "i32[2]"), NO, "indices.dtype == i64"),
    (make(Flip(axes=(2, 3)), X), NO, "len(axes) == 1"),
    (make(CumSum(reverse=True), X), NO, "not reverse"),
    (make(Expand(), X, "i64[4]"), NO, "shape != none"),
    (make(Tile(repeats=()), "f32[]"), NO, "x.rank >= 1"),
    (make(Tile(), X, "i64[4]"), NO, "repeats != none"),
    (make(Where(), "bool[4]", "i64[4]", "i64[4]"), NO, "x.dtype == f32"),
]  # fmt: skip
X86: list[tuple[Node, Support, str]] = [
    (make(Conv2D(), "f32[2,4,16,16]", W), NO, "x.shape[0] == 1 or groups > 1"),
    (make(Conv1D(), "f32[2,4,16]", "=f32[8,4,3]"), NO, "x.shape[0] == 1"),
]
NPU: list[tuple[Node, Support, str]] = [
    *COMMON,
    (make(LpNormalize(axis=1), X), UNKNOWN, "axis == -1 or axis == x.rank - 1"),
    (make(DepthToSpace(block=2, mode="CRD"), X), UNKNOWN, 'mode == "DCR"'),
    (make(Clip(min=-2.0, max=2.0), X), NO, "min == 0 or (min == -1 and max == 1)"),
    (make(ConvTranspose2D(groups=2), X, "=f32[4,8,3,3]"), UNKNOWN, "groups == 1"),
    (make(MatMul(), "f32[5,3,4]", "f32[4,2]"), NO, "a.rank == b.rank"),
    (make(MatMul(), "f32[2,2,2,3,4]", "f32[2,2,2,4,2]"), UNKNOWN, "a.rank <= 4"),
]
CHIPS = {"x86_ref": [*CPUS, *X86], "c920": CPUS, "th1520": NPU}
NEGATIVE = [(Context.default().target(name), *case) for name, cases in CHIPS.items() for case in cases]
