"""Operators on strings, against onnxruntime or, where it departs from the specification, against that."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import onnx
import pytest

from tests.frontends.onnx.classical import judge, node_model
from tests.frontends.onnx.models import imported, model, one
from uair.codegen.reference import Interpreter
from uair.errors import UairError
from uair.frontends.onnx.errors import OnnxAttributeError
from uair.ops import RegexFullMatch, StringNormalizer, StringSplit


def words(*values: str, shape: tuple[int, ...] | None = None) -> Any:
    result = np.empty(len(values), object)
    result[:] = values
    return result if shape is None else result.reshape(shape)


def text(op_type: str, *operands: Any, **more: Any) -> Any:
    return judge(op_type, *operands, domain="", opsets=(20, 28), **more)


# ---------------------------------------------------------------------------- splitting
def test_split_against_onnxruntime() -> None:
    text("StringSplit", words("a  b c", " a b ", ""), outputs=2)
    text("StringSplit", words("a  b  c ", " a b ", ""), outputs=2, maxsplit=1)
    text("StringSplit", words(" a b "), outputs=2, maxsplit=0)
    text("StringSplit", words("a,b,,c", ",", "x", shape=(3, 1)), outputs=2, delimiter=",")
    text("StringSplit", words("a--b--c", "--"), outputs=2, delimiter="--", maxsplit=1)
    text("StringSplit", words("a b", "c"), outputs=2, maxsplit=-1)
    text("StringSplit", words("", " "), outputs=2)


def test_split_where_onnxruntime_differs() -> None:
    """White space is more than blanks, and an empty string has one part between no delimiters."""
    parts, count = StringSplit().evaluate(words("a\tb\n", "\u00a0x\u2003y"))
    assert (parts.tolist(), count.tolist()) == ([["a", "b"], ["x", "y"]], [2, 2])
    parts, count = StringSplit(delimiter=",").evaluate(words("", "a,b"))
    assert (parts.tolist(), count.tolist()) == ([["", ""], ["a", "b"]], [1, 2])


# ------------------------------------------------------------------------- normalization
@pytest.mark.parametrize("change", ["NONE", "LOWER", "UPPER"])
@pytest.mark.parametrize("sensitive", [0, 1])
def test_normalizer_against_onnxruntime(change: str, sensitive: int) -> None:
    days = words("monday", "Tuesday", "WEDNESDAY", "\u00c9t\u00e9", "stra\u00dfe", "\u0130\u01c6")
    common: dict[str, Any] = {"case_change_action": change, "is_case_sensitive": sensitive, "locale": "C.UTF-8"}
    for x in (days, days.reshape(1, -1)):
        text("StringNormalizer", x, **common)
        text("StringNormalizer", x, stopwords=["tuesday", "WEDNESDAY", "\u00e9T\u00c9"], **common)
    text("StringNormalizer", days[:1], stopwords=["monday"], **common)


def test_every_character_changes_case_as_in_c() -> None:
    """All letters that Unicode's simple mapping changes, as far as C's library knows the same version of Unicode."""
    every = (
        [chr(i) for i in range(0x250)] + [chr(i) for i in range(0x370, 0x590)] + [chr(i) for i in range(0x1E00, 0x2000)]
    )
    x = words(*(c for c in every if c.strip() and c != "\0"))
    for change in ("LOWER", "UPPER"):
        text("StringNormalizer", x, case_change_action=change, is_case_sensitive=1, locale="C.UTF-8")


def test_turkish_has_two_letters_i() -> None:
    x = words("i\u0131I\u0130")
    assert StringNormalizer(case="upper", locale="tr_TR").evaluate(x).tolist() == ["\u0130II\u0130"]
    assert StringNormalizer(case="lower", locale="az_AZ.UTF-8").evaluate(x).tolist() == ["i\u0131\u0131i"]
    assert StringNormalizer(case="lower", locale="en_US").evaluate(x).tolist() == ["i\u0131ii"]


# ------------------------------------------------------------------------------ patterns
@pytest.mark.parametrize(
    "pattern",
    [r"www\.[\w.-]+\.\bcom\b", r"(\W|^)[\w.\-]{0,25}@(yahoo|gmail)\.com(\W|$)", "", "a.c", "(?s)a.c", "a|ab",
     r"\pL+\d*", r"\x{61}b?", r"[[:alpha:]]+", "(?i)ABC", r"\Aabc\z", r"(?P<x>a)bc", r"\Qa.c\E", "^abc$", "(?m)^abc$",
     r"[^\d]+"],
)  # fmt: skip
def test_patterns_against_onnxruntime(pattern: str) -> None:
    x = words(
        "www.google.com", "account@gmail.com", "", "abc", "a\nc", "\u00e9\u00df7", "ab", "ABC", "a.c", "abc\n", "\u0661"
    )
    text("RegexFullMatch", x, pattern=pattern)


@pytest.mark.parametrize(
    "pattern", [r"(a)\1", "a(?=b)", "a(?!b)", "(?<=a)b", "(?>a)", "a++", "(", "[b-a]", "a{1001}", r"\Z"]
)
def test_patterns_that_are_not_of_re2_are_refused(pattern: str) -> None:
    proto, _ = node_model("RegexFullMatch", words("a"), domain="", pattern=pattern)
    with pytest.raises(UairError, match=re.escape(f"pattern {pattern!r} is not one of RE2")) as caught:
        imported(proto)
    assert "RegexFullMatch" in caught.value.place


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)*b", "(a*)*b", "(x+x+)+y", "(.*)(.*)(.*)(.*)(.*)(.*)[^a]", "((a{0,100}){0,9})b"]
)
def test_hostile_patterns_take_linear_time(pattern: str) -> None:
    started = time.monotonic()
    assert RegexFullMatch(pattern=pattern).evaluate(words("a" * 100_000, "x" * 100_000)).tolist() == [
        False,
        "[^a]" in pattern,
    ]
    assert time.monotonic() - started < 5


# --------------------------------------------------------------------------------- tokens
@pytest.mark.parametrize(
    "attributes",
    [{"separators": [" "]}, {"separators": [" ", "a"], "mincharnum": 2}, {"separators": [""]}, {"tokenexp": "[a-z]+"},
     {"tokenexp": "[a-z]+", "mincharnum": 2}, {"tokenexp": "[a-z]*"}, {"tokenexp": "x|"}, {"tokenexp": "(?P<a>a)t"},
     {"separators": ["s+"]}, {"separators": [" ", "t$"]}, {"separators": ["^t"]}, {"separators": ["t", "", "c"]},
     {"separators": [" "], "tokenexp": "a"}, {"separators": ["zz"]}],
    ids=str,
)  # fmt: skip
def test_tokenizer_against_onnxruntime(attributes: dict[str, Any]) -> None:
    plain = words("the cat sat", "", "a  b", "tat x")
    for mark in (0, 1):
        more = {"mark": mark, "mincharnum": 1, "pad_value": "#", **attributes}
        for x in (plain, plain.reshape(2, 2), words("", ""), words("\u00e9t\u00e9 x")):
            if "" in attributes.get("separators", [])[1:] and not str(x[0]).isascii():
                continue  # onnxruntime cuts characters into bytes there
            judge("Tokenizer", x, domain="com.microsoft", opsets=(), **more)


def test_tokenizer_is_refused_or_cannot_be_written() -> None:
    more: dict[str, Any] = {"domain": "com.microsoft", "mark": 0, "mincharnum": 1, "pad_value": ""}
    with pytest.raises(UairError, match="not one of RE2"):
        imported(node_model("Tokenizer", words("a"), tokenexp="a(?=b)", **more)[0])
    with pytest.raises(UairError, match="least must be positive"):
        imported(node_model("Tokenizer", words("a"), separators=[" "], **{**more, "mincharnum": 0})[0])
    with pytest.raises(OnnxAttributeError, match="'tokenexp' is missing"):
        imported(node_model("Tokenizer", words("a"), **more)[0])


# -------------------------------------------------------------------------------- n-grams
POOL = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 1, 1, 3, 7, 6, 8]
GRAMS: dict[str, Any] = {"ngram_counts": [0, 4, 10], "ngram_indexes": [3, 0, 1, 2, 5, 4, 8, 7, 9]}


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("lengths", [(1, 1), (1, 2), (2, 2), (1, 3), (3, 3), (2, 3)])
@pytest.mark.parametrize("skip", [0, 1, 5])
def test_n_grams_against_onnxruntime(mode: str, lengths: tuple[int, int], skip: int) -> None:
    x = np.random.default_rng(skip).integers(1, 9, (4, 12)).astype(np.int32)
    common: dict[str, Any] = {"mode": mode, "min_gram_length": lengths[0], "max_gram_length": lengths[1], **GRAMS}
    weights = {"weights": [float(w) for w in range(1, 10)]}
    names = [f"w{i}" for i in POOL]
    for more in ({}, weights):
        common.update(max_skip_count=skip, **more)
        run = {"domain": "", "opsets": (11, 17, 28)}
        judge("TfIdfVectorizer", x, pool_int64s=POOL, **run, **common)
        judge("TfIdfVectorizer", x[0].astype(np.int64), pool_int64s=POOL, **run, **common)
        judge(
            "TfIdfVectorizer", words(*(f"w{i}" for i in x.ravel()), shape=x.shape), pool_strings=names, **run, **common
        )


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"ngram_counts": [0, 4, 9]}, "whole 2-grams"),
        ({"ngram_counts": [0, 10, 4]}, "do not divide"),
        ({"ngram_indexes": [0, 1]}, "indexes has 2"),
        ({"ngram_indexes": [-1] * 9}, "not negative"),
        ({"max_gram_length": 4}, "lengths must be"),
        ({"weights": [1.0]}, "one weight per n-gram"),
        ({"mode": "BM25"}, "BM25"),
        ({"pool_strings": ["a"]}, "only one of"),
    ],
)
def test_pools_that_contradict_themselves(more: dict[str, Any], reason: str) -> None:
    good = {"mode": "TF", "min_gram_length": 1, "max_gram_length": 2, "max_skip_count": 0, "pool_int64s": POOL, **GRAMS}
    proto, _ = node_model("TfIdfVectorizer", np.zeros(3, np.int64), domain="", **{**good, **more})
    with pytest.raises(UairError, match=reason):
        imported(proto)


def test_a_hostile_number_of_skips_ends() -> None:
    more = {**GRAMS, "max_skip_count": 1 << 60, "mode": "TF", "min_gram_length": 2, "max_gram_length": 3}
    x = np.ones((1, 5), np.int64)
    want = np.zeros((1, 10), np.float32)
    want[0, 7] = 0
    judge("TfIdfVectorizer", x, domain="", pool_int64s=POOL, want=[want], opsets=(), **more)


# ------------------------------------------------------------------------------ structure
def test_strings_pass_through_structure() -> None:
    """Constants, gathering, joining, choosing, comparing and reshaping of strings."""
    x, other = words("a", "b", "c", "d", shape=(2, 2)), words("x", "b")
    feeds: dict[str, Any] = {"x": x, "c": np.array([[True, False], [False, True]])}
    nodes = [
        one("Gather", "x", "i", outputs=["g"], axis=1),
        one("Where", "c", "x", "k", outputs=["w"]),
        one("Concat", "g", "w", outputs=["cat"], axis=0),
        one("Reshape", "cat", "s", outputs=["r"]),
        one("Transpose", "r", outputs=["t"], perm=[1, 0]),
        one("Unsqueeze", "t", "ax", outputs=["u"]),
        one("Expand", "u", "e", outputs=["ex"]),
        one("Slice", "ex", "b", "en", outputs=["sl"]),
        one("Tile", "sl", "rep", outputs=["y"]),
        one("Equal", "x", "k", outputs=["eq"]),
        one("Identity", "x", outputs=["id"]),
        one("Squeeze", "u", "ax", outputs=["sq"]),
    ]
    constants: dict[str, Any] = {
        "i": np.array([1, 0]), "s": np.array([4, 2]), "ax": np.array([0]), "e": np.array([2, 1, 1]),
        "b": np.array([0]), "en": np.array([1]), "rep": np.array([1, 1, 2]),
    }  # fmt: skip
    proto = model(nodes, feeds, ["y", "eq", "id", "sq"], constants=constants, opset=19)
    proto.graph.initializer.append(
        onnx.helper.make_tensor("k", onnx.TensorProto.STRING, [2], [s.encode() for s in other])
    )
    module = imported(proto)
    got = Interpreter(module).run(feeds)
    gathered, chosen = x[:, [1, 0]], np.where(feeds["c"], x, other)
    turned = np.concatenate([gathered, chosen]).reshape(4, 2).T
    assert got["y"].tolist() == np.tile(turned[None], (1, 1, 2)).tolist()
    assert got["eq"].tolist() == (x == other).tolist()
    assert got["id"].tolist() == x.tolist()
    assert got["sq"].tolist() == turned.tolist()


def test_a_required_attribute_is_missing() -> None:
    with pytest.raises(OnnxAttributeError, match="'pattern' is missing"):
        imported(node_model("RegexFullMatch", words("a"), domain="")[0])
