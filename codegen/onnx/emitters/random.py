"""Random numbers: ONNX draws f32 and f64; narrower types are rounded from f32."""

from __future__ import annotations

from typing import Any

from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import Shape, is_static
from uair.ir.dtype import DType
from uair.ops.random import RandomNormal, RandomUniform

EMITTERS = Emitters()


@EMITTERS.of(RandomUniform, RandomNormal)
def drawn(e: Emission, op: RandomUniform | RandomNormal) -> None:
    """A shape of numbers is an attribute; any other is that of a filled tensor."""
    attributes: dict[str, Any] = {"seed": None if op.seed is None else float(op.seed)}
    if isinstance(op, RandomUniform):
        attributes |= {"low": op.low, "high": op.high}
    else:
        attributes |= {"mean": op.mean, "scale": op.scale}
    dtype = op.dtype if op.dtype in (DType.F32, DType.F64) else DType.F32
    type = e.y.with_dtype(dtype)
    if op.shape is not None and is_static(op.shape):
        one = op.shape or (1,)  # a scalar is drawn as a vector of one
        name = e.op(op.op_type, type=type.with_shape(one), dtype=dtype, shape=one, **attributes)
        name = name if op.shape else e.reshape(name, ())
    else:
        name = e.op(f"{op.op_type}Like", filled(e, op.shape), type=type, dtype=dtype, **attributes)
    if dtype is op.dtype:
        e.result("Identity", name)
    else:
        e.result("Cast", name, to=op.dtype)


def filled(e: Emission, shape: Shape | None) -> str:
    """An f32 tensor of zeros of a shape that is symbolic or computed at run time."""
    extents = e.cast(e.x(), DType.I64) if shape is None else e.vector(shape)
    return e.op("ConstantOfShape", extents, type=e.y.with_dtype(DType.F32))
