"""Maps: operators of ONNX's domain ai.onnx.ml."""

from __future__ import annotations

from uair.codegen.onnx.emitters.text import fixed
from uair.codegen.onnx.schema import ML_DOMAIN
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ops.maps import CastMap, DictVectorizer, ZipMap

EMITTERS = Emitters()
_CASTS = {"f32": "TO_FLOAT", "i64": "TO_INT64", "string": "TO_STRING"}


@EMITTERS.of(ZipMap)
def zip_map(e: Emission, op: ZipMap) -> None:
    """The keys are an attribute."""
    keys = fixed(e, 1, "the keys")
    name = "classlabels_strings" if keys.dtype == object else "classlabels_int64s"
    e.result(f"{ML_DOMAIN}::ZipMap", e.x(), **{name: keys.tolist()})


@EMITTERS.of(DictVectorizer)
def vectorizer(e: Emission, op: DictVectorizer) -> None:
    """The vocabulary is an attribute."""
    keys = fixed(e, 1, "the vocabulary")
    name = "string_vocabulary" if keys.dtype == object else "int64_vocabulary"
    e.result(f"{ML_DOMAIN}::DictVectorizer", e.x(), **{name: keys.tolist()})


@EMITTERS.of(CastMap)
def cast_map(e: Emission, op: CastMap) -> None:
    """`max_map` counts only for the sparse form."""
    form = "DENSE" if op.length is None else "SPARSE"
    e.result(f"{ML_DOMAIN}::CastMap", e.x(), cast_to=_CASTS[op.to], map_form=form, max_map=op.length)
