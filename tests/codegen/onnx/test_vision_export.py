"""Operators on images of open shape, written at every opset: onnxruntime gives what the interpreter gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import onnx
import pytest
from onnx import helper

from tests.frontends.onnx.models import floats, imported, interpreted, model, one, onnxruntime_outputs
from uair.codegen.onnx import model_bytes
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.passes.legalise_onnx import LegaliseOnnx, NotLegalisable
from uair.pipeline import PassManager

OPSETS = (11, 13, 16, 18, 20)
IMAGE = floats(2, 3, 5, 6)
OPEN: tuple[Any, ...] = ("n", 3, "h", "w")
UNPOOLED: dict[str, Array] = {
    "x": floats(2, 1, 2, 2),
    "i": np.array([[5, 7, 13, 15], [16, 19, 24, 31]]).reshape(2, 1, 2, 2),
}


@attrs.frozen(eq=False)
class Case:
    """A node, its inputs with the shapes that the model declares, its constants, and the first opset that has it."""

    node: Any
    feeds: dict[str, Array]
    shapes: dict[str, Sequence[Any]] = attrs.Factory(dict[str, Sequence[Any]])
    constants: dict[str, Array] = attrs.Factory(dict[str, Array])
    since: int = 11
    opset: int = 20

    def module(self) -> Module:
        """The imported module."""
        inputs = {
            name: (helper.np_dtype_to_tensor_dtype(value.dtype), self.shapes.get(name, value.shape))
            for name, value in self.feeds.items()
        }
        outputs = list(self.node.output)
        return imported(model([self.node], inputs, outputs, constants=self.constants, opset=self.opset))


CASES = {
    "grid": Case(
        one("GridSample", "x", "g", mode="cubic", padding_mode="reflection"),
        {"x": IMAGE, "g": floats(2, 4, 3, 2)}, {"x": ("n", 3, 5, 6), "g": ("n", "p", "q", 2)},
    ),
    "grid of open images": Case(
        one("GridSample", "x", "g"), {"x": IMAGE, "g": floats(2, 4, 3, 2)},
        {"x": OPEN, "g": ("n", "p", "q", 2)}, since=16,
    ),
    "affine": Case(
        one("AffineGrid", "t", "s"), {"t": floats(2, 2, 3), "s": np.array([2, 1, 4, 5])}, {"t": ("n", 2, 3)}
    ),
    "affine 3": Case(
        one("AffineGrid", "t", "s", align_corners=1), {"t": floats(2, 3, 4), "s": np.array([2, 1, 3, 1, 5])}
    ),
    "crop or pad": Case(one("CenterCropPad", "x", "s", axes=[2, 3]), {"x": IMAGE, "s": np.array([3, 9])}, {"x": OPEN}),
    "crop or pad to": Case(
        one("CenterCropPad", "x", "s", axes=[2, 3]), {"x": IMAGE}, {"x": OPEN}, {"s": np.array([3, 9])}
    ),
    "aspect": Case(
        one("Resize", "x", "", "", "s", axes=[2, 3], keep_aspect_ratio_policy="not_larger"),
        {"x": IMAGE, "s": np.array([3, 9])}, {"x": OPEN}, since=18,
    ),
    "crop": Case(
        one("Resize", "x", "r", "", "s", mode="linear", coordinate_transformation_mode="tf_crop_and_resize"),
        {"x": IMAGE, "r": np.array([0, 0, 0.1, 0.2, 1, 1, 0.8, 1.1], np.float32), "s": np.array([2, 3, 4, 4])},
        {"x": OPEN},
    ),
    "unpool": Case(
        one("MaxUnpool", "x", "i", kernel_shape=[2, 2], strides=[2, 2]), UNPOOLED,
        {"x": ("n", 1, 2, 2), "i": ("n", 1, 2, 2)},
    ),
    "unpool into": Case(
        one("MaxUnpool", "x", "i", "s", kernel_shape=[2, 2], strides=[2, 2]),
        {**UNPOOLED, "s": np.array([2, 1, 5, 5])}, {"x": ("n", 1, 2, 2), "i": ("n", 1, 2, 2)},
    ),
    "fold": Case(
        one("Col2Im", "x", "s", "b"), {"x": floats(2, 12, 9)}, {"x": ("n", 12, 9)},
        {"s": np.array([4, 5]), "b": np.array([2, 3])},
    ),
    "regions": Case(
        one("RoiAlign", "x", "r", "b", output_height=2, output_width=2, sampling_ratio=2),
        {"x": IMAGE, "r": np.array([[-2, 0.5, 3, 7]], np.float32), "b": np.array([1])},
        {"x": ("n", 3, 5, 6), "r": ("k", 4), "b": ("k",)}, opset=16,
    ),
    "boxes": Case(
        one("NonMaxSuppression", "x", "s", "m", "t"),
        {"x": np.abs(floats(1, 10, 4)), "s": floats(1, 2, 10), "m": np.array([3]), "t": np.array([0.5], np.float32)},
        {"x": ("n", "b", 4), "s": ("n", "c", "b")},
    ),
    "indices": Case(
        one("MaxPool", "x", outputs=["y", "i"], kernel_shape=[3, 2], auto_pad="SAME_UPPER", storage_order=1),
        {"x": IMAGE}, {"x": OPEN},
    ),
    "powers": Case(one("LpPool", "x", kernel_shape=[2, 2], p=3), {"x": IMAGE}, {"x": OPEN}),
    "deformed": Case(
        one("DeformConv", "x", "w", "o", kernel_shape=[3, 3]), {"x": IMAGE, "o": floats(2, 18, 3, 4)},
        {"x": ("n", 3, 5, 6), "o": ("n", 18, 3, 4)}, {"w": floats(2, 3, 3, 3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_written_and_run(case: Case, opset: int) -> None:
    module = case.module()
    want = interpreted(module, case.feeds)
    if opset < case.since:
        with pytest.raises(NotLegalisable, match="later opset"):
            PassManager([LegaliseOnnx(opset=opset)]).run(module)
        return
    PassManager([LegaliseOnnx(opset=opset)]).run(module)
    got = onnxruntime_outputs(onnx.load_from_string(model_bytes(module, opset=opset)), case.feeds)
    assert len(got) == len(want)
    for theirs, mine in zip(got, want, strict=True):
        assert theirs.shape == mine.shape
        np.testing.assert_allclose(theirs, mine, rtol=1e-4, atol=1e-5)
