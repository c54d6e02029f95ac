"""Sampling at computed places, regions, boxes, blocks, and image files."""

from __future__ import annotations

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ops.detection import MaxRoiPool, NonMaxSuppression, RoiAlign
from uair.ops.folding import Fold
from uair.ops.image import DecodeImage
from uair.ops.sampling import DeformConv, GridSample

EMITTERS = Emitters()


@EMITTERS.of(GridSample, since=16)
def grid_sample(e: Emission, op: GridSample) -> None:
    """GridSample; at opset 20 its modes got other names, and other ranks than 4 came in."""
    if e.opset < 20 and len(e.shape()) != 4:
        raise NotExpressible("ONNX GridSample is over two spatial axes only before opset 20")
    mode: str = op.mode
    if e.opset < 20 and mode != "nearest":
        mode = f"bi{mode}"
    e.result("GridSample", e.x(0), e.x(1), mode=mode, padding_mode=op.padding, align_corners=int(op.align_corners))


@EMITTERS.of(DeformConv, since=19)
def deform_conv(e: Emission, op: DeformConv) -> None:
    """DeformConv."""
    strides, pads, dilations = op.window(len(e.shape()) - 2)
    e.result(
        "DeformConv",
        *e.operands,
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=op.groups,
        offset_group=op.offset_groups,
        kernel_shape=e.static_shape(1)[2:],
    )


@EMITTERS.of(RoiAlign)
def roi_align(e: Emission, op: RoiAlign) -> None:
    """RoiAlign; before opset 16 without the half-pixel shift."""
    if op.half_pixel and e.opset < 16:
        raise NotExpressible("ONNX RoiAlign has half_pixel from opset 16 on")
    e.result(
        "RoiAlign",
        *e.operands,
        mode=op.mode,
        output_height=op.height,
        output_width=op.width,
        sampling_ratio=op.sampling_ratio,
        spatial_scale=op.spatial_scale,
        coordinate_transformation_mode=("half_pixel" if op.half_pixel else "output_half_pixel")
        if e.opset >= 16
        else None,
    )


@EMITTERS.of(MaxRoiPool)
def max_roi_pool(e: Emission, op: MaxRoiPool) -> None:
    """MaxRoiPool."""
    e.result("MaxRoiPool", e.x(0), e.x(1), pooled_shape=(op.height, op.width), spatial_scale=op.spatial_scale)


@EMITTERS.of(NonMaxSuppression)
def non_max_suppression(e: Emission, op: NonMaxSuppression) -> None:
    """NonMaxSuppression."""
    e.result("NonMaxSuppression", *e.operands, center_point_box=int(op.center))


@EMITTERS.of(Fold, since=18)
def fold(e: Emission, op: Fold) -> None:
    """Col2Im, whose shapes are operands."""
    rank = len(e.y.dims) - 2
    strides, pads, dilations = op.window(rank)
    e.result(
        "Col2Im",
        e.x(0),
        e.x(1) if op.extents is None else e.vector(op.extents),
        e.x(2) if op.kernel is None else e.ints(op.kernel),
        strides=strides,
        pads=pads,
        dilations=dilations,
    )


@EMITTERS.of(DecodeImage, since=20)
def decode_image(e: Emission, op: DecodeImage) -> None:
    """ImageDecoder."""
    names = {"rgb": "RGB", "bgr": "BGR", "gray": "Grayscale"}
    e.result("ImageDecoder", e.x(0), pixel_format=names[op.pixel_format])
