"""Strings: joining, splitting, cleaning, matching, and counting n-grams.

Elements are Python strings in arrays of objects; they are Unicode, and a character is a code point.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType, inferred
from uair.ops._compute import broadcast, require_dtype
from uair.ops.base import Ints, Operator, Sample, Strs, bad, case, operator, ranked, require

FAMILY = "text"
STRINGS = frozenset({DType.STRING})
_TURKIC = ("tr", "az")  # languages that have i with and without a dot


def strings(values: Iterable[str], shape: tuple[int, ...]) -> Array:
    """An array of strings."""
    listed = list(values)
    result = np.empty(len(listed), object)
    result[:] = listed
    return result.reshape(shape)


def _sample(*values: str) -> Array:
    return strings(values, (len(values),))


@operator(inputs="a b", family=FAMILY)
class StringConcat(Operator):
    """a followed by b, element by element, with broadcasting. Source: ONNX StringConcat."""

    elementwise = True

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        require_dtype(a, STRINGS, "a")
        require_dtype(b, STRINGS, "b")
        return broadcast(DType.STRING, a, b)

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.asarray(np.add(a.astype(object), b.astype(object)), object)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), _sample("ab", "", "ü"), _sample("c", "d", "\N{GREEK SMALL LETTER MU}"))
        yield case(cls(), "string[2,1]", "string[3]")
        yield case(cls(), "string[]", "string[]")
        yield case(cls(), "string[0]", "string[1]")
        yield bad(cls(), "string[2]", "f32[2]", because="b must be string")
        yield bad(cls(), "string[2]", "string[3]", because="do not broadcast")


@operator(inputs="x", outputs="y count", family=FAMILY)
class StringSplit(Operator):
    """The parts of every string between delimiters, and how many there are. Source: ONNX StringSplit.

    y: [*x.shape, most parts], filled up with empty strings; count: i64 of x's shape. At most `maxsplit` times a string
    is split, from the left; the last part is the rest. Delimiters beside each other have an empty string between them.
    An empty delimiter stands for any run of white space, and white space around the string is dropped first.
    """

    delimiter: str = ""
    maxsplit: int | None = None

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        require_dtype(x, STRINGS, "x")
        parts = TensorType(DType.STRING, None) if x.shape is None else inferred(DType.STRING, (*x.shape, None))
        return parts, TensorType(DType.I64, x.shape)

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        most = -1 if self.maxsplit is None else self.maxsplit
        if self.delimiter:
            split = [s.split(self.delimiter, most) for s in x.reshape(-1)]
        else:
            split = [s.strip().split(None, most) for s in x.reshape(-1)]
        count = np.array([len(parts) for parts in split], np.int64)
        longest = int(count.max(initial=0))
        padded = (part for parts in split for part in (*parts, *[""] * (longest - len(parts))))
        return strings(padded, (*x.shape, longest)), count.reshape(x.shape)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(delimiter="."), _sample("a.b.c", "d", "e.f"))
        yield case(cls(delimiter="--", maxsplit=1), strings(["a--b--c", "--", "x-y", "z--"], (2, 2)))
        yield case(cls(), _sample("  to  be ", "or", " "))
        yield case(cls(maxsplit=1), _sample(" to  be  or ", "not"))
        yield case(cls(delimiter=","), "string[0]")
        yield case(cls(delimiter=","), strings(["a,,b"], ()))
        yield bad(cls(), "i64[2]", because="x must be string")


@operator(inputs="x", family=FAMILY)
class StringNormalizer(Operator):
    """x without the strings that are stop words, in lower or upper case. x: [C] or [1, C]. Source: ONNX.

    The result is [C'] or [1, C']; one empty string when nothing is left. Unless `case_sensitive`, a string and a stop
    word are compared in one case. Characters change case one by one ("ß" stays), by the rules of Turkish where the
    language of `locale` is Turkish or Azerbaijani, else by those of Unicode, as every other locale has them.
    """

    case: Literal["none", "lower", "upper"] = "none"
    case_sensitive: bool = False
    stopwords: Strs = ()
    locale: str = ""

    def infer(self, x: TensorType) -> TensorType:
        require_dtype(x, STRINGS, "x")
        shape = ranked(x, "x", (1, 2))
        require(len(shape) == 1 or not isinstance(shape[0], int) or shape[0] == 1, "x has {} rows, not one", shape[0])
        return inferred(DType.STRING, (*shape[:-1], None if self.stopwords else shape[-1]))

    def evaluate(self, x: Array) -> Array:
        if x.ndim == 2 and x.shape[0] != 1:
            raise EvaluationError(f"StringNormalizer: x has {x.shape[0]} rows, not one")
        words = x.reshape(-1).tolist()
        turkic = self.locale[:2].lower() in _TURKIC
        if self.stopwords:
            fold = _changer("none" if self.case_sensitive else "lower" if self.case == "none" else self.case, turkic)
            stops = {fold(w) for w in self.stopwords}
            words = [w for w in words if fold(w) not in stops] or [""]
        change = _changer(self.case, turkic)
        return strings((change(w) for w in words), (*x.shape[:-1], len(words)))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        days = _sample("Monday", "tuesday", "WEDNESDAY", "Stra\N{LATIN SMALL LETTER SHARP S}e")
        yield case(cls(), days)
        c = "C.UTF-8"
        for change in ("none", "lower", "upper"):
            yield case(cls(case=change, locale=c), days)
            yield case(cls(case=change, locale=c, stopwords=("monday", "WEDNESDAY")), days)
            yield case(cls(case=change, locale=c, stopwords=("monday", "WEDNESDAY"), case_sensitive=True), days)
        yield case(cls(locale=c, stopwords=tuple(f"s{i}" for i in range(9))), "string[1,6]")
        yield bad(cls(), "string[2,3]", because="2 rows")
        yield bad(cls(), "string[]", because="rank")
        yield bad(cls(), "i64[2]", because="x must be string")


def _changer(case: str, turkic: bool) -> Callable[[str], str]:
    """The function that changes the case of a string, character by character."""
    if case == "none":
        return str
    change = functools.partial(_character, case == "upper", turkic)

    def changed(word: str) -> str:
        if word.isascii() and not turkic:
            return word.upper() if case == "upper" else word.lower()
        return "".join(map(change, word))

    return changed


@functools.lru_cache(maxsize=4096)
def _character(upper: bool, turkic: bool, c: str) -> str:
    """A character in upper or lower case, as Unicode's simple mapping has it: always one character."""
    if turkic and c in "iI\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}\N{LATIN SMALL LETTER DOTLESS I}":
        dotted = c in "i\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}"
        if upper:
            return "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}" if dotted else "I"
        return "i" if dotted else "\N{LATIN SMALL LETTER DOTLESS I}"
    if not upper:
        return c.lower()[0]
    return next((text for text in (c.upper(), c.title()) if len(text) == 1), c)


@operator(inputs="x", family=FAMILY)
class RegexFullMatch(Operator):
    """Whether the whole of a string matches the pattern; bool. Source: ONNX RegexFullMatch.

    The syntax and the meaning are RE2's, by that library: the time is linear in the string whatever the pattern, and
    there are no references to groups and no look-around.
    """

    elementwise = True
    pattern: str = ""

    def infer(self, x: TensorType) -> TensorType:
        require_dtype(x, STRINGS, "x")
        reason = _flaw(self.pattern)
        require(not reason, "pattern {!r} is not one of RE2: {}", self.pattern, reason)
        return x.with_dtype(DType.BOOL)

    def evaluate(self, x: Array) -> Array:
        match = _compiled(self.pattern).fullmatch
        return np.array([match(s.encode()) is not None for s in x.reshape(-1)], np.bool_).reshape(x.shape)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(pattern=r"www\.[\w.-]+\.\bcom\b"), _sample("www.google.com", "www.facebook.org", "x"))
        yield case(cls(pattern=r"(?i)s[0-3]|\pL+"), "string[2,4]")
        yield case(cls(pattern="."), _sample("\N{LATIN SMALL LETTER E WITH ACUTE}", "\n", ""))
        yield case(cls(), strings([""], ()))
        yield case(cls(pattern="(a+)+"), _sample("a" * 200 + "b"))
        yield bad(cls(pattern=r"(a)\1"), "string[2]", because="not one of RE2")
        yield bad(cls(pattern="a(?=b)"), "string[2]", because="not one of RE2")
        yield bad(cls(), "i64[2]", because="x must be string")


@operator(inputs="x", family=FAMILY)
class Tokenizer(Operator):
    """The tokens of every string, padded to the most of any: x [C] or [N, C] gives [.., C, D]. Source: com.microsoft.

    With `pattern`, its successive matches are the tokens; else what lies between the matches of the separators, all of
    them RE2 patterns, by one after the other; a match of nothing ends a token and takes the next character. An empty
    separator alone makes every character a token. Tokens of fewer than `least` characters are dropped. `mark` puts the
    characters U+0002 and U+0003 around the tokens of a string. D is 0 when there are no tokens at all.
    """

    separators: Strs = ()
    pattern: str | None = None
    mark: bool = False
    least: int = 1
    pad: str = ""

    def infer(self, x: TensorType) -> TensorType:
        require_dtype(x, STRINGS, "x")
        require((self.pattern is None) == bool(self.separators), "there must be separators or a pattern, not both")
        require(self.least >= 1, "least must be positive, is {}", self.least)
        for pattern in (self.pattern,) if self.pattern is not None else self.separators:
            reason = _flaw(pattern)
            require(not reason, "pattern {!r} is not one of RE2: {}", pattern, reason)
        return inferred(DType.STRING, (*ranked(x, "x", (1, 2)), None))

    def evaluate(self, x: Array) -> Array:
        found = [self._tokens(s) for s in x.reshape(-1)]
        most = max(map(len, found), default=0)
        if not most:
            return strings((), (*x.shape, 0))
        if self.mark:
            found, most = [["\x02", *tokens, "\x03"] for tokens in found], most + 2
        return strings((t for tokens in found for t in (*tokens, *[self.pad] * (most - len(tokens)))), (*x.shape, most))

    def _tokens(self, text: str) -> list[str]:
        if self.separators == ("",):
            return list(text) if self.least == 1 else []
        if self.pattern is not None:
            data = text.encode()
            parts = [data[start:end] for start, end in _spans(self.pattern, data)]
        else:
            parts = [text.encode()]
            for separator in self.separators:
                parts = [kept for part in parts for kept in _between(separator, part, self.least)]
        return [t for t in (part.decode() for part in parts) if len(t) >= self.least]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        x = _sample(
            "the cat sat", "", "a  b", "\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE} x"
        )
        yield case(cls(separators=(" ",), pad="#"), x)
        yield case(cls(separators=(" ", "a"), mark=True, least=2), x.reshape(2, 2))
        yield case(cls(separators=("",)), x)
        yield case(cls(pattern="[a-z]+"), x)
        yield case(cls(pattern="z+", mark=True), x)
        yield case(cls(pattern="[a-z]*"), "string[2,3]")
        yield bad(cls(), "string[2]", because="separators or a pattern")
        yield bad(cls(pattern="("), "string[2]", because="not one of RE2")
        yield bad(cls(pattern="a"), "string[2,2,2]", because="rank")


def _spans(pattern: str, data: bytes) -> Iterable[tuple[int, int]]:
    """Where the successive matches of a pattern in UTF-8 begin and end, empty ones included."""
    search, at = _compiled(pattern).search, 0
    while at <= len(data) and (match := search(data, at)) is not None:
        start, end = match.span()
        yield start, end
        at = end if end > start else _after(data, end)


def _after(data: bytes, at: int) -> int:
    """The place behind the character that begins at a place."""
    at += 1
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at += 1
    return at


def _between(separator: str, data: bytes, least: int) -> Iterable[bytes]:
    """What lies between the matches of a separator; a match of nothing takes the character behind it."""
    at = 0
    for start, end in _spans(separator, data):
        part = data[at:start]
        if len(part.decode()) >= least:
            yield part
        at = end if end > start else _after(data, end)
    if at < len(data) and len(data[at:].decode()) >= least:
        yield data[at:]


@functools.lru_cache(maxsize=64)
def _flaw(pattern: str) -> str:
    """What is wrong with a pattern; empty when nothing is, or when no RE2 is installed to tell."""
    try:
        _compiled(pattern)
    except _PatternError as error:
        return str(error)
    except EvaluationError:
        return ""
    return ""


class _PatternError(Exception):
    """A pattern that RE2 refuses, with its reason."""


@functools.lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    """A pattern, to be matched with text in UTF-8.

    Raises:
        _PatternError: it is not one of RE2.
        EvaluationError: RE2 is not installed.
    """
    try:
        import re2  # type: ignore[import-untyped]
    except ImportError:
        raise EvaluationError("patterns need the package google-re2", hint="pip install 'uair[text]'") from None
    module: Any = re2
    options = module.Options()
    options.log_errors = False
    try:
        return module.compile(pattern.encode(), options)
    except module.error as error:
        reason = error.args[0] if error.args else b""
        raise _PatternError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None


@operator(inputs="x pool indexes weights?", family=FAMILY)
class TfIdfVectorizer(Operator):
    """How often every n-gram of a pool occurs in a row of x, weighted. f32. Source: ONNX TfIdfVectorizer.

    x: [C] or [N, C] of strings or of i32 or i64; result [size] or [N, size]. pool: all 1-grams, then all 2-grams, ...,
    one after the other, those of n elements from `counts[n - 1]` on. The g-th n-gram of the pool counts at place
    indexes[g] of the result. Only n-grams of `min_length` to `max_length` elements take part; between two elements of
    one in x lie 0 to `max_skip` others, always the same number, and 1-grams count once.

    mode "tf": the number of occurrences; "idf": weights[g] if there is one; "tfidf": their number times weights[g].
    Where several n-grams have one place, "tf" and "tfidf" add up and for "idf" the last that occurs holds. Weights that
    are left out are 1.
    """

    mode: Literal["tf", "idf", "tfidf"] = "tf"
    counts: Ints = (0,)
    min_length: int = 1
    max_length: int = 1
    max_skip: int = 0
    size: int = 1

    def infer(
        self, x: TensorType, pool: TensorType, indexes: TensorType, weights: TensorType | None = None
    ) -> TensorType:
        require_dtype(x, frozenset({DType.STRING, DType.I32, DType.I64}), "x")
        wanted = DType.STRING if x.dtype is DType.STRING else DType.I64
        require(pool.dtype is wanted, "pool must be {}, is {}", wanted, pool.dtype)
        require_dtype(indexes, frozenset({DType.I64}), "indexes")
        require(
            1 <= self.min_length <= self.max_length <= len(self.counts), "lengths must be in 1 to {}", len(self.counts)
        )
        require(self.max_skip >= 0 and self.size >= 1, "max_skip must not be negative, and size must be positive")
        (length,), (grams,) = ranked(pool, "pool", 1), ranked(indexes, "indexes", 1)
        require(isinstance(length, int) and isinstance(grams, int), "extents of pool and indexes must be known")
        self._check_pool(int(str(length)), int(str(grams)))
        if weights is not None:
            require_dtype(weights, frozenset({DType.F32}), "weights")
            require(ranked(weights, "weights", 1) == (grams,), "there must be one weight per n-gram, {}", grams)
        return inferred(DType.F32, (*ranked(x, "x", (1, 2))[:-1], self.size))

    def _check_pool(self, length: int, grams: int) -> None:
        ends = (*self.counts[1:], length)
        found = 0
        for n, (start, end) in enumerate(zip(self.counts, ends, strict=True), 1):
            require(0 <= start <= end <= length, "counts {} do not divide a pool of {}", list(self.counts), length)
            require((end - start) % n == 0, "{} elements of the pool do not make whole {}-grams", end - start, n)
            found += (end - start) // n
        require(found == grams, "the pool has {} n-grams, indexes has {}", found, grams)

    def evaluate(self, x: Array, pool: Array, indexes: Array, weights: Array | None = None) -> Array:
        if indexes.size and not 0 <= int(indexes.min()) <= int(indexes.max()) < self.size:
            raise EvaluationError(f"TfIdfVectorizer: an index is outside of a result of {self.size}")
        tokens, known, vocabulary = _tokens(np.atleast_2d(x), pool)
        counts = np.zeros((tokens.shape[0], len(indexes)), np.int64)
        first = 0
        for n, start in enumerate(self.counts, 1):
            end = self.counts[n] if n < len(self.counts) else len(pool)
            grams = known[start:end].reshape(-1, n)
            if self.min_length <= n <= self.max_length and len(grams):
                farthest = 0 if n == 1 else min(self.max_skip, tokens.shape[1])
                for distance in range(1, 2 + farthest):
                    _count(counts[:, first : first + len(grams)], tokens, grams, distance, vocabulary)
            first += len(grams)
        return self._weighted(counts, indexes, weights).reshape(*x.shape[:-1], self.size)

    def _weighted(self, counts: Array, indexes: Array, weights: Array | None) -> Array:
        result = np.zeros((counts.shape[0], self.size), np.float32)
        w = np.ones(len(indexes), np.float32) if weights is None or self.mode == "tf" else weights
        if self.mode == "idf":
            rows, grams = np.nonzero(counts)
            result[rows, indexes[grams]] = w[grams]
            return result
        np.add.at(result.T, indexes, (counts.astype(np.float32) * w).T)
        return result

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        pool, places = np.array([2, 3, 5, 4, 5, 6, 7, 8, 6, 7]), np.arange(7)
        x = np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]], np.int32)
        grams = cls(counts=(0, 4), max_length=2, size=7)
        yield case(grams, x, pool, places)
        yield case(
            cls(counts=(0, 4), min_length=2, max_length=2, max_skip=5, size=7), x[1].astype(np.int64), pool, places
        )
        weights = np.array([1, 2, 3, 4, 5, 6, 7], np.float32) / 4
        for mode in ("idf", "tfidf"):
            weighted = cls(mode=mode, counts=(0, 4), max_length=2, max_skip=1, size=7)
            yield case(weighted, x, pool, np.array([6, 5, 4, 3, 2, 1, 0]), weights)
        yield case(cls(size=3), _sample("s1", "x", "s1", "s2"), _sample("s1", "s2"), np.array([2, 0]))
        yield case(cls(size=2), np.zeros((2, 0), np.int64), np.array([1, 2]), np.array([0, 1]))
        yield bad(cls(size=3), x, _sample("s1"), np.array([0]), because="pool must be i64")
        yield bad(grams, x, pool[:-1], places, because="whole 2-grams")
        yield bad(cls(size=3), x, pool[:3], places, because="indexes has 7")
        yield bad(cls(max_length=2), x, pool[:1], places[:1], because="lengths")
        yield bad(cls(), "f32[3]", pool[:1], places[:1], because="x must be")


def _tokens(x: Array, pool: Array) -> tuple[Array, Array, int]:
    """The elements of x and of the pool as numbers of distinct ones of the pool; -1 for those of x not among them."""
    if pool.dtype == object:
        numbers: dict[str, int] = {}
        known = np.array([numbers.setdefault(s, len(numbers)) for s in pool.tolist()], np.int64)
        found = np.array([numbers.get(s, -1) for s in x.reshape(-1).tolist()], np.int64)
        return found.reshape(x.shape), known, len(numbers)
    distinct, known = np.unique(pool, return_inverse=True)
    return _place(distinct, x.astype(np.int64)), known, len(distinct)


def _place(distinct: Array, values: Array) -> Array:
    """Where values stand in a sorted list; -1 for those that do not."""
    if not len(distinct):
        return np.full(values.shape, -1, np.int64)
    places = np.minimum(np.searchsorted(distinct, values), len(distinct) - 1)
    return np.where(distinct[places] == values, places, -1)


def _count(counts: Array, tokens: Array, grams: Array, distance: int, vocabulary: int) -> None:
    """Add to `counts` [N, G] how often each n-gram [G, n] occurs in the rows with elements `distance` apart.

    Prefixes of one element more at a time are numbered, those of the pool and with the same numbers those of the rows.
    """
    n = grams.shape[1]
    windows = tokens.shape[1] - distance * (n - 1)
    if windows <= 0:
        return
    mine, theirs = grams[:, 0], tokens[:, :windows]
    for k in range(1, n):
        longer = tokens[:, k * distance : k * distance + windows]
        distinct, numbers = np.unique(mine * vocabulary + grams[:, k], return_inverse=True)
        found = _place(distinct, theirs * vocabulary + longer)
        theirs, mine = np.where((theirs >= 0) & (longer >= 0), found, -1), numbers
    owner = np.full(max(vocabulary, len(grams)), -1, np.int64)
    owner[mine] = np.arange(len(grams))  # of equal n-grams the last one counts
    found = np.where(theirs >= 0, owner[theirs], -1)
    rows, places = np.nonzero(found >= 0)
    np.add.at(counts, (rows, found[rows, places]), 1)
