"""Nodes of ai.onnx.ml and of strings: read, evaluated, written at several opsets, each against onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from tests.codegen.onnx.running import check, run
from tests.frontends.onnx.models import imported, interpreted, model, one, onnxruntime_outputs
from uair.codegen.onnx import model_bytes
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.pipeline import PassManager

DOMAIN = "ai.onnx.ml"
OPSETS = (11, 17, 22)


def node_model(
    op_type: str, *operands: Any, outputs: Any = 1, domain: Any = DOMAIN, version: Any = 1, **attributes: Any
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A model of one node, and what to feed it."""
    feeds = {f"x{i}": x for i, x in enumerate(operands)}
    results = [f"y{i}" for i in range(outputs)]
    proto = model([one(op_type, *feeds, outputs=results, domain=domain, **attributes)], feeds, results, opset=20)
    for entry in proto.opset_import:
        if entry.domain == domain and domain:
            entry.version = version
    return proto, feeds


def judge(
    op_type: str,
    *operands: Any,
    want: Any = None,
    opsets: Any = OPSETS,
    rtol: Any = 2e-5,
    atol: Any = 2e-6,
    **more: Any,
) -> Module:
    """Interpreted and written results against onnxruntime's of the node itself, or against `want`."""
    proto, feeds = node_model(op_type, *operands, **more)
    expected = onnxruntime_outputs(proto, feeds) if want is None else [np.asarray(w) for w in want]
    module = imported(proto)
    compare(interpreted(module, feeds), expected, rtol, atol)
    for opset in opsets:
        compare(list(written(proto, feeds, opset).values()), expected, rtol, atol)
    return module


def written(proto: onnx.ModelProto, feeds: Mapping[str, Array], opset: int) -> dict[str, Array]:
    """What onnxruntime makes of the model after it was read and written at an opset."""
    module = imported(proto)
    PassManager([LegaliseOnnx(opset=opset)]).run(module)
    data = model_bytes(module, opset=opset)
    check(data)
    return run(data, feeds)


def compare(got: Sequence[Array], want: Sequence[Array], rtol: float, atol: float) -> None:
    """Types, shapes and values."""
    assert len(got) == len(want)
    for mine, theirs in zip(got, want, strict=True):
        assert mine.shape == theirs.shape
        if theirs.dtype.kind in "OU":
            assert mine.tolist() == theirs.tolist()
            continue
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=atol)
