"""Ascend's own operators: where a quantized layer begins and ends.

    AscendQuant -> Conv, Gemm or MatMul on integers -> AscendDequant

The integer operator between them is UAIR's own (uair.ops.integer) with the zero point of AscendQuant as an operand. In
the ONNX file it is a plain Conv, Gemm or MatMul: ATC reads the zero point from the AscendQuant in front.

Sources: hicann/ops-nn, quant/ascend_*/framework/*_onnx_plugin.cpp (attributes, types); hicann/amct, documentation
"compression_concepts" (formulas). The formulas are computed in float32 here; with --precision_mode=force_fp16 the
Ascend 310 converts the real numbers, the 32-bit sums and the scales to float16 first, so that its results are these to
within float16 rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType, inferred
from uair.ops.base import Operator, Sample, bad, case, operator, ranked, require, unify_extents

FAMILY = "quantization"
FLOATS = (DType.F32, DType.F16)


def packed_scales(scales: Array) -> Array:
    """The u64 operand of AscendDequant: the bits of each float32 scale in bits 0 to 31, all other bits 0.

    Bits 32 and up would hold the weight's zero point (0 for INT8) and a shift that is no longer used. Source:
    hicann/amct, amct_pytorch/classic/graph_based, insert_dequant_pass.py.
    """
    bits: Array = np.ascontiguousarray(scales, np.float32).reshape(-1).view(np.uint32)
    return bits.astype(np.uint64)


def unpacked_scales(packed: Array) -> Array:
    """The float32 scales in bits 0 to 31."""
    bits: Array = (packed & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return bits.view(np.float32)


@operator(inputs="x", family=FAMILY)
class AscendQuant(Operator):
    """q = saturate(round(x * scale + offset)) as i8. x: f32 or f16; result: x's shape.

    scale: the reciprocal of the activation's scale; offset: its zero point, a whole number. x * scale + offset is
    computed in f32, one rounding an operation, and rounded half to even. A NaN gives -128. Source: CANN AscendQuant
    with dst_type "INT8", round_mode "Round", sqrt_mode false.
    """

    elementwise: ClassVar[bool] = True
    scale: float = 1.0
    offset: float = 0.0

    def infer(self, x: TensorType) -> TensorType:
        shape = ranked(x)
        require(x.dtype in FLOATS, f"x is {x.dtype}, it must be f32 or f16")
        require(np.isfinite(self.scale) and self.scale > 0, f"scale {self.scale} must be positive and finite")
        require(
            self.offset == int(self.offset) and -128 <= self.offset <= 127,
            f"offset {self.offset} must be a whole number in -128..127",
        )
        return inferred(DType.I8, shape)

    def evaluate(self, x: Array) -> Array:
        whole = np.asarray(x.astype(np.float32) * np.float32(self.scale))
        whole += np.float32(self.offset)
        np.rint(whole, out=whole)
        np.fmax(whole, np.float32(-128), out=whole)
        np.minimum(whole, np.float32(127), out=whole)
        return whole.astype(np.int8)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1e9, -1e9, np.nan], np.float32)
        yield case(cls(scale=20.0, offset=-3.0), "f32[2,3,4]")
        yield case(cls(), halves)
        yield case(cls(offset=10.0), halves)
        yield case(cls(scale=12.5, offset=-128.0), "f16[1,3,4,4]")
        yield bad(cls(), "i32[4]", because="it must be f32 or f16")
        yield bad(cls(scale=0.0), "f32[4]", because="must be positive")
        yield bad(cls(offset=0.5), "f32[4]", because="must be a whole number")
        yield bad(cls(offset=128.0), "f32[4]", because="must be a whole number in -128..127")


@operator(inputs="x deq_scale", family=FAMILY)
class AscendDequant(Operator):
    """y = x * scale. x: i32 sums [N, C, ...]; deq_scale: u64 [C] along axis 1, or [1]; result: x's shape, `dtype`.

    The scale is the f32 number in bits 0 to 31 of deq_scale, see `packed_scales`. x is converted to f32 (half to even
    beyond 2^24), the product is formed in f32 and rounded to `dtype`. Source: CANN AscendDequant with sqrt_mode false,
    relu_flag false.
    """

    dtype: DType = DType.F32

    def infer(self, x: TensorType, deq_scale: TensorType) -> TensorType:
        shape, given = ranked(x), ranked(deq_scale, "deq_scale", 1)
        require(x.dtype is DType.I32, f"x is {x.dtype}, it must be i32")
        require(deq_scale.dtype is DType.U64, f"deq_scale is {deq_scale.dtype}, it must be u64")
        require(self.dtype in FLOATS, f"the result cannot be {self.dtype}, only f32 or f16")
        if given[0] != 1:
            require(len(shape) > 1, f"{given[0]} scales need a channel axis, x has shape {list(shape)}")
            require(unify_extents(given[0], shape[1]), f"{given[0]} scales for {shape[1]} channels")
        return inferred(self.dtype, shape)

    def evaluate(self, x: Array, deq_scale: Array) -> Array:
        scales = unpacked_scales(deq_scale)
        if scales.size > 1:
            scales = scales.reshape(-1, *(1,) * (x.ndim - 2))
        else:
            scales = scales.reshape(())
        return np.asarray(x.astype(np.float32) * scales).astype(self.dtype.numpy)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        scales = packed_scales(np.array([0.5, 1e-3, 3e-5], np.float32))
        large = np.array([[2**24 + 1, -(2**31), 2**31 - 1]], np.int32)
        yield case(cls(), "i32[2,3,4,4]", scales)
        yield case(cls(), large, scales)
        yield case(cls(), "i32[2,5,4]", scales[:1])
        yield case(cls(), "i32[4]", scales[:1])
        yield case(cls(dtype=DType.F16), "i32[1,3,2]", scales)
        yield bad(cls(), "f32[2,3]", scales, because="it must be i32")
        yield bad(cls(), "i32[2,4]", scales, because="3 scales for 4 channels")
        yield bad(cls(), "i32[3]", scales, because="need a channel axis")
        yield bad(cls(), "i32[2,3]", "f32[3]", because="it must be u64")
        yield bad(cls(dtype=DType.I8), "i32[2,3]", scales, because="only f32 or f16")


@operator(inputs="x", family=FAMILY)
class AscendAntiQuant(Operator):
    """y = (x - offset) * scale. x: i8; result: x's shape, `dtype`.

    The inverse of AscendQuant, for integers that no integer operator takes. scale: the activation's scale; offset: its
    zero point. The difference is exact, the product is formed in f32 and rounded to `dtype`. Source: CANN
    AscendAntiQuant with sqrt_mode false; its ONNX plugin negates the offset.
    """

    elementwise: ClassVar[bool] = True
    scale: float = 1.0
    offset: float = 0.0
    dtype: DType = DType.F32

    def infer(self, x: TensorType) -> TensorType:
        require(x.dtype is DType.I8, f"x is {x.dtype}, it must be i8")
        require(self.dtype in FLOATS, f"the result cannot be {self.dtype}, only f32 or f16")
        require(np.isfinite(self.scale) and self.scale > 0, f"scale {self.scale} must be positive and finite")
        return inferred(self.dtype, ranked(x))

    def evaluate(self, x: Array) -> Array:
        difference = x.astype(np.float32) - np.float32(self.offset)
        return np.asarray(difference * np.float32(self.scale)).astype(self.dtype.numpy)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(scale=0.05, offset=-3.0), "i8[2,3,4]")
        yield case(cls(scale=0.05, dtype=DType.F16), "i8[8]")
        yield bad(cls(), "u8[4]", because="it must be i8")
        yield bad(cls(scale=-1.0), "i8[4]", because="must be positive")
        yield bad(cls(dtype=DType.F64), "i8[4]", because="only f32 or f16")
