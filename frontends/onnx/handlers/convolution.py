"""Convolutions. `auto_pad` becomes numbers where the spatial extents are known."""

from __future__ import annotations

from typing import Any

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import is_static, static
from uair.ir.graph import Tensor
from uair.ops import Conv1D, Conv2D, Conv3D, ConvTranspose1D, ConvTranspose2D, ConvTranspose3D

FAMILY = Family()

_CONVOLUTIONS: dict[int, Any] = {1: Conv1D, 2: Conv2D, 3: Conv3D}
_TRANSPOSED: dict[int, Any] = {1: ConvTranspose1D, 2: ConvTranspose2D, 3: ConvTranspose3D}
AUTO_PADS = {"NOTSET": "notset", "VALID": "valid", "SAME_UPPER": "same_upper", "SAME_LOWER": "same_lower"}


def spatial_rank(n: OnnxNode, x: Tensor, w: Tensor | None = None) -> int:
    """Number of spatial axes: one, two or three."""
    known = w if w is not None and x.type.shape is None else x
    rank = n.rank(known) - 2
    if rank not in _CONVOLUTIONS:
        n.unsupported(f"{n.op_type} over {rank} spatial axes is not supported")
    return rank


def window(n: OnnxNode, rank: int) -> dict[str, Any]:
    """Strides, dilations, pads and auto_pad; a list of the wrong length is left to the operator to refuse."""
    a = n.attributes
    auto_pad = a.choice("auto_pad", "notset", AUTO_PADS)
    pads = a.integers("pads", (0,) * (2 * rank))
    if auto_pad == "notset" and pads and min(pads) < 0:
        n.unsupported(f"{n.op_type} with negative pads {list(pads)} is not supported")
    return {
        "strides": a.integers("strides", (1,) * rank),
        "dilations": a.integers("dilations", (1,) * rank),
        "pads": pads if auto_pad == "notset" else (0,) * (2 * rank),
        "auto_pad": "notset" if auto_pad == "valid" else auto_pad,
    }


def check_kernel(n: OnnxNode, w: Tensor) -> None:
    """Refuse a `kernel_shape` that is not the weight's."""
    kernel = n.attributes.integers("kernel_shape", None)
    shape = n.shape(w)[2:]
    if kernel is not None and is_static(shape) and kernel != shape:
        n.refuse(f"kernel_shape is {list(kernel)}, the weight has {list(shape)}")


@FAMILY.op("Conv", 1, 11, 22)
def _conv(n: OnnxNode) -> Result:
    x, w = n[0], n[1]
    rank = spatial_rank(n, x, w)
    check_kernel(n, w)
    op = _CONVOLUTIONS[rank](groups=n.attributes.integer("group", 1), **window(n, rank))
    if op.auto_pad != "notset" and len(n.shape(w)) == rank + 2 and len(op.strides) == len(op.dilations) == rank:
        op = op.with_explicit_pads(n.shape(x)[2:], static(n.shape(w)[2:]))
    return n(op, x, w, n.optional(2))


@FAMILY.op("ConvTranspose", 1, 11, 22)
def _conv_transpose(n: OnnxNode) -> Result:
    """`output_shape`, or auto_pad SAME (extent times stride), decides the padding."""
    x, w = n[0], n[1]
    rank = spatial_rank(n, x, w)
    check_kernel(n, w)
    attributes = window(n, rank)
    mode = attributes.pop("auto_pad")
    extra = n.attributes.integers("output_padding", (0,) * rank)
    target = n.attributes.integers("output_shape", None)
    if target is not None or mode != "notset":
        kernel = static(n.shape(w)[2:])
        strides, dilations = attributes["strides"], attributes["dilations"]
        if any(len(v) != rank for v in (kernel, strides, dilations, extra)):
            n.refuse(f"strides, dilations and output_padding need {rank} numbers each")
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        if target is None:
            totals = [span + e - s for span, e, s in zip(spans, extra, strides, strict=True)]
        else:
            extents = n.shape(x)[2:]
            if not is_static(extents):
                n.unsupported("ConvTranspose with output_shape needs known extents", "fix the model's input shapes")
            wanted = target[-rank:]  # some exporters write N and C too
            totals = [
                s * (d - 1) + e + span - t
                for s, d, e, span, t in zip(strides, static(extents), extra, spans, wanted, strict=True)
            ]
        extra = tuple(e + max(-total, 0) for e, total in zip(extra, totals, strict=True))
        totals = [max(total, 0) for total in totals]
        small = [total // 2 for total in totals]
        large = [total - half for total, half in zip(totals, small, strict=True)]
        attributes["pads"] = (*small, *large) if mode == "same_upper" else (*large, *small)
    op = _TRANSPOSED[rank](groups=n.attributes.integer("group", 1), output_padding=extra, **attributes)
    return n(op, x, w, n.optional(2))
