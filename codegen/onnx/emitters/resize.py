"""Resize, whose operands, modes and axes changed at opsets 13, 18 and 19."""

from __future__ import annotations

from typing import Any, cast

import attrs
import numpy as np

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import is_static
from uair.ir.dtype import DType
from uair.ir.types import TensorType
from uair.ops.resize import Resize

EMITTERS = Emitters()


def has_form(op: Resize, opset: int) -> bool:
    """Whether ONNX has the modes of `op`."""
    if op.coordinate_mode == "half_pixel_symmetric":
        return opset >= 19
    if op.coordinate_mode == "tf_half_pixel_for_nn":
        return opset < 13
    return not op.antialias or opset >= 18


@EMITTERS.of(Resize)
def resize(e: Emission, op: Resize) -> None:
    """Resize with scales where they are known, since they decide the coordinates; otherwise with sizes."""
    if not has_form(op, e.opset) or not coordinates_kept(e, op):
        by_matrices(e, op)
        return
    sizes, scales = targets(e, op)
    if e.opset < 13:  # neither operand can be left out there
        roi: str | None = e.literal([], DType.F32)
        scales = scales or e.literal([], DType.F32)
    else:
        roi = None
    e.result(
        "Resize",
        e.x(),
        roi,
        scales,
        sizes,
        mode=op.mode,
        coordinate_transformation_mode=op.coordinate_mode,
        nearest_mode=op.nearest_mode,
        cubic_coeff_a=op.cubic_a,
        exclude_outside=int(op.exclude_outside),
        antialias=int(op.antialias) if e.opset >= 18 else None,
    )


def targets(e: Emission, op: Resize) -> tuple[str | None, str | None]:
    """Names of sizes and scales, one of them None."""
    if e.given(2):
        return None, e.x(2)
    if e.given(1):
        return e.x(1), None
    if op.scales is not None:
        return None, e.literal(op.scales, DType.F32)
    return e.vector(op.sizes or ()), None


def coordinates_kept(e: Emission, op: Resize) -> bool:
    """Whether ONNX, given the scales alone, comes to the extents that `sizes` names."""
    if e.given(1) or e.given(2) or op.sizes is None or op.scales is None:
        return True
    shape = e.type().shape
    if shape is None or not is_static(shape):
        return True
    extents = Resize(scales=op.scales).infer(e.type())
    assert isinstance(extents, TensorType)
    return extents.shape == op.sizes


def by_matrices(e: Emission, op: Resize) -> None:
    """Resampling of a static shape axis by axis as products with constant matrices.

    The matrix of an axis is what the operator makes of the unit matrix along that axis.

    Raises:
        NotExpressible: the shape or the target is known only at run time.
    """
    if e.given(1) or e.given(2) or not e.y.is_static:
        raise NotExpressible(
            f"Resize in this mode needs static shapes at opset {e.opset}",
            hint="bind the model's input shapes (--shape)",
        )
    old = e.static_shape()
    new = tuple(d for d in e.y.dims if isinstance(d, int))
    dtype = e.type().dtype
    if not dtype.is_float and op.mode != "nearest":
        raise NotExpressible(f"Resize of {dtype} in this mode has no ONNX form at opset {e.opset}")
    name = e.x()
    for axis, (source, target) in enumerate(zip(old, new, strict=True)):
        scale = op.scales[axis] if op.scales is not None else target / source
        if source == target and scale == 1:
            continue
        name = along_axis(e, attrs.evolve(cast(Any, op), sizes=(source, target), scales=(1.0, scale)), name, axis)
    e.result("Identity", name)


def along_axis(e: Emission, op: Resize, name: str, axis: int) -> str:
    """One axis, which `op` resizes as the columns of a matrix.

    A Gather for nearest, otherwise the axis is moved last and multiplied by its matrix.
    """
    type = e.graph.types[name]
    shape = list(type.dims)
    matrix = op.evaluate(np.eye(type.with_shape((shape[axis],)).size, dtype=np.float32))
    shape[axis] = matrix.shape[1]
    result = type.with_shape(tuple(shape))
    if op.mode == "nearest":
        return e.op("Gather", name, e.ints(int(i) for i in matrix.argmax(axis=0)), type=result, axis=axis)
    rank = len(shape)
    last = [*(i for i in range(rank) if i != axis), axis]
    moved = name if axis == rank - 1 else e.transpose(name, last)
    product_type = type.with_shape(tuple(shape[i] for i in last))
    weight = e.literal(matrix, type.dtype)
    product = e.op("MatMul", moved, weight, type=product_type)
    return product if axis == rank - 1 else e.transpose(product, [last.index(i) for i in range(rank)])
