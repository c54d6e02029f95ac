"""Strings."""

from __future__ import annotations

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dtype import Array
from uair.ops.text import RegexFullMatch, StringConcat, StringNormalizer, StringSplit, TfIdfVectorizer

EMITTERS = Emitters()
EMITTERS.direct({StringConcat: "StringConcat"}, since=20)


def fixed(e: Emission, i: int, name: str) -> Array:
    """The values of an operand that ONNX wants as an attribute.

    Raises:
        NotExpressible: they are not known.
    """
    values = e.constant(i)
    if values is None:
        raise NotExpressible(f"{name} of {e.node.op_type} must be constant: ONNX has an attribute for it")
    return values


@EMITTERS.of(StringSplit, since=20)
def split(e: Emission, op: StringSplit) -> None:
    """The number of splits is left out when there is no limit."""
    e.result("StringSplit", e.x(), delimiter=op.delimiter, maxsplit=op.maxsplit)


@EMITTERS.of(RegexFullMatch, since=20)
def regex(e: Emission, op: RegexFullMatch) -> None:
    """RegexFullMatch."""
    e.result("RegexFullMatch", e.x(), pattern=op.pattern)


@EMITTERS.of(StringNormalizer)
def normalizer(e: Emission, op: StringNormalizer) -> None:
    """The locale is left to the runtime's default when it is not given."""
    e.result(
        "StringNormalizer",
        e.x(),
        case_change_action=op.case.upper(),
        is_case_sensitive=int(op.case_sensitive),
        stopwords=op.stopwords or None,
        locale=op.locale or None,
    )


@EMITTERS.of(TfIdfVectorizer)
def tf_idf(e: Emission, op: TfIdfVectorizer) -> None:
    """The pool and what belongs to it are attributes."""
    pool, indexes = fixed(e, 1, "the pool"), fixed(e, 2, "indexes")
    if int(indexes.max(initial=-1)) + 1 != op.size:
        raise NotExpressible(f"ONNX's TfIdfVectorizer has as many results as indexes say, not {op.size}")
    e.result(
        "TfIdfVectorizer",
        e.x(),
        mode=op.mode.upper(),
        ngram_counts=op.counts,
        min_gram_length=op.min_length,
        max_gram_length=op.max_length,
        max_skip_count=op.max_skip,
        ngram_indexes=indexes.tolist(),
        weights=fixed(e, 3, "weights").tolist() if e.given(3) else None,
        **{"pool_strings" if pool.dtype == object else "pool_int64s": pool.tolist()},
    )
