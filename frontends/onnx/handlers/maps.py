"""Maps (ai.onnx.ml)."""

from __future__ import annotations

from typing import Any

from uair.frontends.onnx.handlers.text import listed
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ops import CastMap, DictVectorizer, ZipMap

FAMILY = Family("ai.onnx.ml")


@FAMILY.op("ZipMap", 1)
def _zip(n: OnnxNode) -> Result:
    return n(ZipMap(), n[0], listed(n, ("classlabels_int64s", "classlabels_strings")))


@FAMILY.op("DictVectorizer", 1)
def _vectorize(n: OnnxNode) -> Result:
    return n(DictVectorizer(), n[0], listed(n, ("int64_vocabulary", "string_vocabulary")))


@FAMILY.op("CastMap", 1)
def _cast(n: OnnxNode) -> Result:
    a = n.attributes
    kinds: dict[str, Any] = {"TO_FLOAT": "f32", "TO_INT64": "i64", "TO_STRING": "string"}
    sparse = a.choice("map_form", False, {"DENSE": False, "SPARSE": True})
    return n(CastMap(to=a.choice("cast_to", "f32", kinds), length=a.integer("max_map", 1) if sparse else None), n[0])
