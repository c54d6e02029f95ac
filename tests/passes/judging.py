"""Modules before and after the optimizer, computed by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from uair.codegen.onnx import model_bytes
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.passes.canonicalise import Canonicalise
from uair.passes.fuse import Fuse
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.pipeline import PassContext


def computed(module: Module, feeds: Mapping[str, Any]) -> list[Any]:
    """What onnxruntime computes without its own optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    written = module.clone()
    LegaliseOnnx().run(written, PassContext())
    return list(onnxruntime.InferenceSession(model_bytes(written), options).run(None, dict(feeds)))


def optimized(module: Module, feeds: Mapping[str, Any], *, relative: float, absolute: float) -> Module:
    """The module after canonicalisation and fusion, which computes what onnxruntime does of it as it was."""
    verify(module)
    before = computed(module, feeds)
    Canonicalise().run(module, PassContext())
    Fuse().run(module, PassContext())
    verify(module)
    for want, got in zip(before, computed(module, feeds), strict=True):
        assert got.dtype == want.dtype and np.ptp(want.astype(np.float64)) > 0
        np.testing.assert_allclose(got, want, rtol=relative, atol=absolute * max(1.0, float(np.abs(want).max())))
    return module
