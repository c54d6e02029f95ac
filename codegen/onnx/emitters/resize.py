"""Resize, whose operands, modes and axes changed at opsets 13, 18 and 19."""

from __future__ import annotations

from typing import Any, cast

import attrs
import numpy as np

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ir.types import TensorType
from uair.ops._resample import resized_length
from uair.ops.resize import Resize

EMITTERS = Emitters()


def has_form(op: Resize, opset: int) -> bool:
    """Whether ONNX has the modes of `op`."""
    if op.coordinate_mode == "half_pixel_symmetric":
        return opset >= 19
    if op.coordinate_mode == "tf_half_pixel_for_nn":
        return opset < 13
    return opset >= 18 or not (op.antialias or op.aspect != "stretch")


@EMITTERS.of(Resize)
def resize(e: Emission, op: Resize) -> None:
    """Resize with scales where they are known, since they decide the coordinates; otherwise with sizes."""
    op = with_known_aspect(e, op)
    if not has_form(op, e.opset) or not coordinates_kept(e, op):
        by_matrices(e, op)
        return
    sizes, scales = targets(e, op)
    roi = e.literal(op.roi, DType.F32) if op.roi is not None else e.optional(3)
    if e.opset < 13:  # neither operand can be left out there
        roi = roi or e.literal([], DType.F32)
        scales = scales or e.literal([], DType.F32)
    keeps = op.aspect != "stretch"
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
        extrapolation_value=op.extrapolation,
        keep_aspect_ratio_policy=op.aspect if e.opset >= 18 else None,
        axes=kept_axes(e, op) if keeps else None,
    )


def with_known_aspect(e: Emission, op: Resize) -> Resize:
    """Sizes and scales in the place of an aspect ratio to be kept, where all extents are known."""
    shape = e.type().shape
    if op.aspect == "stretch" or op.sizes is None or shape is None or not is_static((*shape, *op.sizes)):
        return op
    extents, scales = op.kept(static(shape), static(op.sizes))
    return cast(Resize, attrs.evolve(cast(Any, op), aspect="stretch", axes=None, sizes=extents, scales=scales))


def targets(e: Emission, op: Resize) -> tuple[str | None, str | None]:
    """Names of sizes and scales, one of them None.

    Raises:
        NotExpressible: sizes known only at run time stand beside scales.
    """
    if op.sizes is None and e.given(1) and (op.scales is not None or e.given(2)):
        raise NotExpressible("ONNX Resize takes either sizes or scales")
    if op.scales is None and e.given(2):
        return None, e.x(2)
    if op.sizes is None and op.scales is None:
        if op.axes is None:
            return e.x(1), None
        return e.op("Gather", e.x(1), e.ints(kept_axes(e, op) or ()), type=e.type(1).with_shape((len(op.axes),))), None
    if op.scales is not None:
        return None, e.literal(op.scales, DType.F32)
    sizes = op.sizes or ()
    return e.vector(sizes if op.axes is None else [sizes[a] for a in op.axes]), None


def kept_axes(e: Emission, op: Resize) -> list[int] | None:
    """The axes whose aspect ratio is kept, not negative: onnxruntime takes a negative one for another."""
    return None if op.axes is None else [a % len(e.shape()) for a in op.axes]


def coordinates_kept(e: Emission, op: Resize) -> bool:
    """Whether runtimes, given the scales alone, come to the extents that `sizes` names, and to the same coordinates.

    With corners aligned onnxruntime takes the whole extent of the result for scale * extent, which may be a fraction.
    """
    shape = e.type().shape
    if op.scales is None or shape is None or not is_static(shape):
        return True
    if op.coordinate_mode == "align_corners":
        each = zip(static(shape), op.targets(static(shape))[0], op.scales, strict=True)
        if any(resized_length(old, new, scale) != new for old, new, scale in each):
            return False
    if op.sizes is None:
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
    known = op.sizes is not None or op.scales is not None
    shape = e.type().shape
    if not known or shape is None or not is_static((*shape, *(op.sizes or ()))) or op.roi is not None:
        raise NotExpressible(
            f"Resize in this mode needs static shapes at opset {e.opset}",
            hint="bind the model's input shapes (--shape)",
        )
    old = e.static_shape()
    new, _ = op.targets(old)
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
