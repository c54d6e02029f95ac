"""An evaluator of what is written for ATC, apart from UAIR: onnx's reference evaluator with the device's operators.

In the models it runs, every convolution and every product is quantized.

The integer operators do what CANN's graph engine does: it finds the offset of the AscendQuant in front, pads with it,
and folds -offset * (sum of weights) into the bias.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUntypedBaseClass=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from uair import ops
from uair.ir import Array


class AscendQuant(OpRun):
    """clip(round(x * scale + offset))."""

    op_domain = ""

    def _run(self, x: Array, **a: Any) -> tuple[Array]:
        assert a["dst_type"] == "INT8" and a["round_mode"] == "Round" and not a["sqrt_mode"]
        assert isinstance(a["offset"], np.floating), "an offset that is an INT is ignored by the importer"
        value = np.float32(a["scale"]) * x + np.float32(a["offset"])
        return (np.clip(np.round(value), -128, 127).astype(np.int8),)


class AscendDequant(OpRun):
    """sums * scale, the scale in the low half of 64 bits, one a channel or one."""

    op_domain = ""

    def _run(self, x: Array, packed: Array, **a: Any) -> tuple[Array]:
        assert x.dtype == np.int32 and packed.dtype == np.uint64 and a["dtype"] == 0 and not a["sqrt_mode"]
        assert not (packed >> np.uint64(32)).any()
        scale = np.frombuffer(packed.astype("<u8").tobytes(), "<f4")[::2]
        shape = [1] * x.ndim
        if scale.size > 1:
            shape[1] = scale.size
        return (x.astype(np.float32) * scale.reshape(shape if x.ndim else []),)


def device_operators(model: onnx.ModelProto) -> list[type[OpRun]]:
    """The operators for one model: the integer ones know the offsets of its AscendQuant nodes."""
    offsets = {
        node.output[0]: int(attribute.f)
        for node in model.graph.node
        if node.op_type == "AscendQuant"
        for attribute in node.attribute
        if attribute.name == "offset"
    }

    class Conv(OpRun):
        op_domain = ""

        def _run(self, x: Array, w: Array, b: Array | None = None, **a: Any) -> tuple[Array]:
            offset = offsets[self.onnx_node.input[0]]
            return (integer_convolution(x, w, b, offset, a),)

    class ConvTranspose(OpRun):
        op_domain = ""

        def _run(self, x: Array, w: Array, b: Array | None = None, **a: Any) -> tuple[Array]:
            return (integer_transposed(x, w, b, offsets[self.onnx_node.input[0]], a),)

    class Gemm(OpRun):
        op_domain = ""

        def _run(self, x: Array, w: Array, b: Array | None = None, **a: Any) -> tuple[Array]:
            assert not a["transA"] and a["alpha"] == a["beta"] == 1
            return (integer_product(x, w.T if a["transB"] else w, b, offsets[self.onnx_node.input[0]]),)

    class MatMul(OpRun):
        op_domain = ""

        def _run(self, x: Array, w: Array) -> tuple[Array]:
            return (integer_product(x, w, None, offsets[self.onnx_node.input[0]]),)

    return [AscendQuant, AscendDequant, Conv, ConvTranspose, Gemm, MatMul, *rounding_operators()]


def integer_product(x: Array, w: Array, b: Array | None, offset: int) -> Array:
    """X @ w with -offset * (column sums of w) in the bias."""
    check(x, w, b)
    folded = -offset * w.astype(np.int64).sum(axis=0)
    bias = folded if b is None else folded + b
    sums: Array = x.astype(np.int64) @ w.astype(np.int64) + bias
    return sums.astype(np.int32)


def integer_convolution(x: Array, w: Array, b: Array | None, offset: int, a: Mapping[str, Any]) -> Array:
    """Convolution padded with the offset, -offset * (sum of the filter) in the bias."""
    check(x, w, b)
    top, left, bottom, right = a["pads"]
    padded = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=offset)
    (kh, kw), (dh, dw), (sh, sw), groups = a["kernel_shape"], a["dilations"], a["strides"], a["group"]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (dh * (kh - 1) + 1, dw * (kw - 1) + 1), (2, 3))
    windows = windows[:, :, ::sh, ::sw, ::dh, ::dw]
    inputs = np.split(windows, groups, axis=1)
    filters = np.split(w.astype(np.int64), groups, axis=0)
    sums = np.concatenate(
        [np.einsum("nchwij,mcij->nmhw", i, f, optimize=True) for i, f in zip(inputs, filters, strict=True)], axis=1
    )
    bias = -offset * w.astype(np.int64).sum(axis=(1, 2, 3)) + (0 if b is None else b)
    total: Array = sums + bias.reshape(1, -1, 1, 1)
    return total.astype(np.int32)


def integer_transposed(x: Array, w: Array, b: Array | None, offset: int, a: Mapping[str, Any]) -> Array:
    """Transposed convolution: every input pixel adds its multiple of the filter.

    Where filters do not reach nothing is added, so the offset is subtracted pixel by pixel instead of in the bias.
    """
    check(x, w, b)
    assert not any(a["pads"]) and not any(a["output_padding"]) and list(a["dilations"]) == [1, 1]
    (sh, sw), groups = a["strides"], a["group"]
    n, c, h, width = x.shape
    per_group, kh, kw = w.shape[1:]
    result = np.zeros((n, per_group * groups, (h - 1) * sh + kh, (width - 1) * sw + kw), np.int64)
    for g in range(groups):
        pixels = x[:, g * c // groups : (g + 1) * c // groups].astype(np.int64) - offset
        filters = w[g * c // groups : (g + 1) * c // groups].astype(np.int64)
        for row in range(h):
            for column in range(width):
                part = np.einsum("nc,cmij->nmij", pixels[:, :, row, column], filters)
                at = (slice(row * sh, row * sh + kh), slice(column * sw, column * sw + kw))
                result[:, g * per_group : (g + 1) * per_group, at[0], at[1]] += part
    return (result + (0 if b is None else b.reshape(1, -1, 1, 1))).astype(np.int32)


def check(x: Array, w: Array, b: Array | None) -> None:
    """The types of a quantized layer."""
    assert x.dtype == np.int8 and w.dtype == np.int8 and (b is None or b.dtype == np.int32)


def rounding_operators() -> list[type[OpRun]]:
    """Operators on real numbers whose last bit depends on the order of operations, as UAIR computes them.

    The test is about the integers, and one bit here may turn one of them.
    """

    class GlobalAveragePool(OpRun):
        op_domain = ""

        def _run(self, x: Array) -> tuple[Array]:
            return (ops.GlobalAvgPool().evaluate(x),)

    class HardSigmoid(OpRun):
        op_domain = ""

        def _run(self, x: Array, alpha: float, beta: float) -> tuple[Array]:
            return (np.asarray(ops.HardSigmoid(alpha=alpha, beta=beta).evaluate(x)),)

    class Softmax(OpRun):
        op_domain = ""

        def _run(self, x: Array, axis: int) -> tuple[Array]:
            return (np.asarray(ops.Softmax(axis=axis).evaluate(x)),)

    return [GlobalAveragePool, HardSigmoid, Softmax]


def run(path: Path, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name of a deploy model."""
    model = onnx.load(path)
    for value in (*model.graph.value_info, *model.graph.output):
        value.type.Clear()  # the evaluator needs no types, and onnx knows none for int8 Conv
    evaluator = ReferenceEvaluator(model, new_ops=device_operators(model))
    names = [o.name for o in model.graph.output]
    return dict(zip(names, cast("list[Array]", evaluator.run(None, dict(feeds))), strict=True))
