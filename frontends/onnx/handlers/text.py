"""Strings."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.data import ArrayData
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import RegexFullMatch, StringConcat, StringNormalizer, StringSplit, TfIdfVectorizer, Tokenizer
from uair.ops.text import strings

FAMILY = Family()
_CASES: dict[str, Any] = {"NONE": "none", "LOWER": "lower", "UPPER": "upper"}
_MODES: dict[str, Any] = {"TF": "tf", "IDF": "idf", "TFIDF": "tfidf"}


@FAMILY.op("StringConcat", 20)
def _concat(n: OnnxNode) -> Result:
    return n(StringConcat(), n[0], n[1])


@FAMILY.op("StringSplit", 20)
def _split(n: OnnxNode) -> Result:
    """A negative number of splits means all of them, as onnxruntime and NumPy have it."""
    most = n.attributes.integer("maxsplit", None)
    delimiter = n.attributes.text("delimiter", "")
    return n.all(StringSplit(delimiter=delimiter, maxsplit=None if most is None or most < 0 else most), n[0])


@FAMILY.op("StringNormalizer", 10)
def _normalize(n: OnnxNode) -> Result:
    a = n.attributes
    op = StringNormalizer(
        case=a.choice("case_change_action", "none", _CASES),
        case_sensitive=a.flag("is_case_sensitive"),
        stopwords=a.texts("stopwords") or (),
        locale=a.text("locale", ""),
    )
    return n(op, n[0])


@FAMILY.op("RegexFullMatch", 20)
def _regex(n: OnnxNode) -> Result:
    n.attributes.required("pattern")
    return n(RegexFullMatch(pattern=n.attributes.text("pattern", "")), n[0])


@FAMILY.op("TfIdfVectorizer", 9)
def _tfidf(n: OnnxNode) -> Result:
    a = n.attributes
    for name in ("mode", "min_gram_length", "max_gram_length", "max_skip_count", "ngram_counts", "ngram_indexes"):
        a.required(name)
    indexes = np.array(a.integers("ngram_indexes", ()), np.int64)
    weights = a.numbers("weights", None)
    if not indexes.size or int(indexes.min()) < 0:
        n.refuse("ngram_indexes must be a list of numbers that are not negative")
    op = TfIdfVectorizer(
        mode=a.choice("mode", "tf", _MODES),
        counts=a.integers("ngram_counts", ()),
        min_length=a.integer("min_gram_length", 1),
        max_length=a.integer("max_gram_length", 1),
        max_skip=a.integer("max_skip_count", 0),
        size=int(indexes.max()) + 1,
    )
    given = None if not weights else constant(np.array(weights, np.float32))
    return n(op, n[0], listed(n, ("pool_int64s", "pool_strings")), constant(indexes), given)


@FAMILY.op("Tokenizer", 1, domain="com.microsoft")
def _tokenize(n: OnnxNode) -> Result:
    """Separators go before a pattern where a node has both, as in onnxruntime."""
    a = n.attributes
    for name in ("mark", "mincharnum", "pad_value"):
        a.required(name)
    separators = a.texts("separators") or ()
    if not separators:
        a.required("tokenexp")
    op = Tokenizer(
        separators=separators,
        pattern=None if separators else a.text("tokenexp", ""),
        mark=a.flag("mark"),
        least=a.integer("mincharnum", 1),
        pad=a.text("pad_value", ""),
    )
    return n(op, n[0])


def listed(n: OnnxNode, names: tuple[str, ...]) -> Tensor:
    """The list in the one attribute of `names` that is given, as a constant.

    Raises:
        OnnxAttributeError: none is given, or several are.
    """
    found = optional_list(n, names)
    if found is None:
        n.refuse(f"one of {', '.join(names)} must be given")
    return found


def optional_list(n: OnnxNode, names: tuple[str, ...]) -> Tensor | None:
    """The list in the one attribute of `names` that is given and not empty; None when none is.

    Raises:
        OnnxAttributeError: several are given.
    """
    found = {name: values for name in names if (values := _values(n, name)) is not None}
    if len(found) > 1:
        n.refuse(f"only one of {', '.join(found)} can be given")
    return next((constant(values) for values in found.values()), None)


def _values(n: OnnxNode, name: str) -> Any:
    if name.endswith("_tensor"):
        proto = n.attributes.tensor(name)
        return None if proto is None else n.importer.reader.data(proto, n.place)
    if name.endswith(("int64s", "ints", "int64_vocabulary")):
        numbers = n.attributes.integers(name, ())
        return np.array(numbers, np.int64) if numbers else None
    if name.endswith("floats"):
        reals = n.attributes.numbers(name, ())
        return np.array(reals, np.float32) if reals else None
    words = n.attributes.texts(name)
    return ArrayData(strings(words, (len(words),)), DType.STRING) if words else None
