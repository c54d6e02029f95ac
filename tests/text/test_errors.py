"""Wrong and hostile texts: an error with a place, quickly, and nothing else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.text.toys import TOYS
from uair.errors import ArityError, UairError, UnknownNameError
from uair.text import (
    TextError,
    TextFileError,
    TextLimitError,
    TextNameError,
    TextSyntaxError,
    TextValueError,
    WeightsError,
    parse_module,
    parse_type,
)

X = "%x: f32[2]\n"
HASH = "a" * 64


def fails(text: str, error: type[UairError]) -> UairError:
    with pytest.raises(error) as caught:
        parse_module(text, context=TOYS, file="m.uair")
    assert type(caught.value) is error
    return caught.value


@pytest.mark.parametrize(
    ("text", "error", "place", "words"),
    [
        ("uair 2\nmodule @m {}", TextFileError, "1:6", "version 2"),
        (X + "%y = Twice(%x) : f32[2", TextSyntaxError, "2:18", "expected a type"),
        (X + "%y = Twice %x)", TextSyntaxError, "2:12", "expected '('"),
        (X + "%y = Twice(%x", TextSyntaxError, "2:14", "ends too early; expected"),
        (X + "$", TextSyntaxError, "2:1", "unexpected '$'"),
        (X + "%y = Twice(%x) : f32[1,,2]", TextSyntaxError, "2:24", "unexpected ','"),
        (X + "%y = Mix(%x) {axes = [1,}", TextSyntaxError, "2:25", "unexpected '}'"),
        (X + '%y = Mix(%x) {label = "\\q"}', TextValueError, "2:24", "unknown escape"),
        (X + '"\\q" = %z: f32[2]', TextValueError, "2:2", "unknown escape"),
        (X + '%"\\q" = Twice(%x)', TextSyntaxError, "2:3", "unknown escape"),
        (X + "%y = Twic(%x)", UnknownNameError, "2:6", "no operator called 'Twic'"),
        (X + '%y = "Twic"(%x) : f32[2]', UnknownNameError, "2:6", "no operator called 'Twic'"),
        (X + "%y = Twice(%x, %x)", ArityError, "2:6", "at most 1"),
        (X + "%y = Twice(%z) : f32[2]", TextNameError, "2:12", "%z is not defined"),
        (X + "%y = Twice(%z)\n%z = Twice(%x)", TextNameError, "2:12", "types of the results"),
        (X + "%y = Twice(@c)", TextNameError, "2:12", "constant @c is not defined"),
        (X + "%x = Twice(%x)", TextNameError, "2:1", "%x is defined twice"),
        ("constant @c = 1 : i8[]\nconstant @c = 2 : i8[]", TextNameError, "2:10", "defined twice"),
        ('module @m {\n metadata "a" = "1"\n metadata "a" = "2"\n}', TextNameError, "3:11", "written twice"),
        ("module @m {\n graph @g() -> () {}\n graph @g() -> () {}\n}", TextNameError, "3:8", "defined twice"),
        ('module @m {fil = "x"} {}', TextSyntaxError, "1:12", "the header takes"),
        (X + "%y, %z = Twice(%x)", TextSyntaxError, "2:10", "1 results, 2 are named"),
        (X + "Twice(%x)", TextSyntaxError, "2:1", "1 results, 0 are named"),
        (X + "%y = Twice(%x) : f32[2], f32[2]", TextSyntaxError, "2:6", "1 results, but 2 types"),
        (X + '%y = "Twice"(%x)', TextSyntaxError, "2:6", "needs the types"),
        (X + "return %x: f32[3]", TextValueError, "2:12", "stated as f32[3], the value is f32[2]"),
        (X + "%y = Mix(%x) {cont = 1}", TextValueError, "2:15", "no attribute 'cont'"),
        (X + "%y = Mix(%x) {count = 1, count = 2}", TextValueError, "2:26", "written twice"),
        (X + "%y = Mix(%x) {count = 1.5}", TextValueError, "2:23", "Mix.count: expected a whole number"),
        (X + "%y = Mix(%x) {axes = 3}", TextValueError, "2:22", "Mix.axes: expected ints"),
        (X + '%y = Mix(%x) {mode = "tan"}', TextValueError, "2:15", "expected one of none, tanh, half_pixel"),
        (X + "%y = Mix(%x) {count = none}", TextValueError, "2:23", "Mix.count"),
        (X + "%y = Mix(%x) {to = f33}", TextValueError, "2:20", "expected dtype"),
        (X + "%y = Mix(%x) {flag = 1}", TextValueError, "2:22", "expected bool"),
        (X + "%y = Mix(%x) {layout = NCHW}", TextValueError, "2:24", "expected layout"),
        (X + "%y = Mix(%x) {ratio = 1e999}", TextValueError, "2:23", "outside the range"),
        (X + "%y = Mix(%x) {target = [1/0]}", TextValueError, "2:27", "division by zero"),
        (X + "%y = Mix(%x) {target = [1/2]}", TextValueError, "2:25", "not a whole number"),
        (X + "%y = Mix(%x) {target = [exec(N)]}", TextValueError, "2:25", "no function 'exec'"),
        ("constant @c = 1 : f33[]", TextValueError, "1:19", "no element type 'f33'"),
        ("constant @c = [1] : f32[1; WEIRD]", TextValueError, "1:28", "no layout 'WEIRD'"),
        ("constant @c = [1] : f32[N]", TextValueError, "1:15", "static shape"),
        ("constant @c = [1,2] : f32[3]", TextValueError, "1:15", "3 elements; 2 are written"),
        ("constant @c = [1] : f32[]", TextValueError, "1:15", "1 elements, written without brackets"),
        ("constant @c = [1,300] : i8[2]", TextValueError, "1:18", "outside the range of i8"),
        ("constant @c = [1e40] : f32[1]", TextValueError, "1:16", "outside the range of f32"),
        ("constant @c = [0x1ffffffff] : f32[1]", TextValueError, "1:16", "is no f32"),
        ('constant @c = ["a"] : f32[1]', TextValueError, "1:16", "is no f32"),
        ("constant @c = [1] : string[1]", TextValueError, "1:16", "is no string"),
        ("constant @c = [true] : i8[1]", TextValueError, "1:16", "whole number"),
        ("constant @c = [2] : bool[1]", TextValueError, "1:16", "is no bool"),
        (f"constant @c = dense<sha256:{HASH}> : f32[3]", WeightsError, "1:15", "in a sidecar, and none was given"),
        (f"constant @c = dense<sha256:{HASH}> : string[3]", WeightsError, "1:15", "strings"),
        ("constant @c = dense<sha256:abc> : f32[3]", TextSyntaxError, "1:28", "64 hexadecimal digits"),
        ("constant @c = (1,x) : c64[]", TextValueError, "1:15", "is no c64"),
    ],
)
def test_wrong_texts(text: str, error: type[UairError], place: str, words: str) -> None:
    found = fails(text, error)
    assert words in found.message
    assert found.place == f"m.uair:{place}"
    line, column = (int(n) for n in place.split(":"))
    shown, caret = found.window.split("\n")
    whole = text.splitlines()[line - 1]
    assert shown == f"{line:5} | {whole[:100]}{'...' if len(whole) > 100 else ''}"
    assert caret.index("^") == 8 + column - 1


def test_near_matches() -> None:
    assert fails(X + "%y = Twic(%x)", UnknownNameError).hint == "did you mean Twice?"
    assert "%conv1" in fails("%conv1: f32[2]\n%y = Twice(%conv)  : f32[2]", TextNameError).hint
    assert "ratio" in fails(X + "%y = Mix(%x) {ration = 1.0}", TextValueError).hint


def test_a_long_line_is_shown_in_part() -> None:
    text = X + "%y = Pair(" + "%x, " * 500 + "%nope) : f32[2]"
    error = fails("%x: f32[2]\n%y, %z = Pair(" + "%x, " * 500 + "%nope) : f32[2], f32[2]", TextNameError)
    shown, caret = error.window.split("\n")
    assert len(shown) < 130
    assert shown[caret.index("^") :].startswith("%nope")
    assert len(text) > 1000


NESTED = 5_000


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("constant @c = [1,2] : f32[4611686018427387904]", TextLimitError),
        ("constant @c = splat<1> : f32[4611686018427387904]", TextLimitError),
        ("constant @c = splat<1> : f32[4294967296,4294967296,4294967296]", TextLimitError),
        (f"constant @c = dense<sha256:{HASH}> : f32[4611686018427387904]", TextLimitError),
        (f"constant @c = splat<1> : f32[{','.join('1' * 100)}]", TextLimitError),
        ("constant @c = [1] : f32[-1]", TextLimitError),
        (f"%x: f32[{'9' * 1_000_000}]", TextLimitError),
        ("%x: f32[9999999999999999999]", TextLimitError),
        (f"constant @c = [{'9' * 1_000_000}] : i64[1]", TextLimitError),
        (f"%x: f32[{'(' * NESTED}1{')' * NESTED}]", TextLimitError),
        (f"%x: f32[{'-' * NESTED}N]", TextLimitError),
        (f"%x: f32[{'floor(' * NESTED}N{')' * NESTED}]", TextLimitError),
        (f"%x: f32[{'(' * 20}{'2**16)**16)' * 5}]", TextSyntaxError),
        ("%x: f32[(((2*N)**16)**16)**16]", TextLimitError),
        ("%x: f32[2**64]", TextValueError),
        (f"%x: f32[Max({','.join(f'a{i}' for i in range(200))})]", TextValueError),
        (f"%x: f32[{'+'.join(f'floor(a{i}/2)' for i in range(200))}]", TextLimitError),
        (f"%x: f32[{'a' * 100_000}]", TextValueError),
        (f"%x: f32[u{'9' * 5000}]", TextValueError),
        (f"%x: f32[1; NC1HWC0<{'9' * 5000}>]", TextValueError),
        (f"%x: f32[1; plain(align={'9' * 5000})]", TextLimitError),
        (X + "%y = Choose(%x) (then_branch = @t() -> () {\n" * NESTED, TextSyntaxError),
        (
            X + "%y0 = Choose(%x) (then_branch = @t() -> () {\n" * NESTED + "}) : f32[2]\n" * NESTED,
            TextLimitError,
        ),
        ("{" * 100_000, TextSyntaxError),
        ("(" * 100_000, TextSyntaxError),
        ("[" * 100_000, TextSyntaxError),
        ('"' + "\\" * 100_001, TextSyntaxError),
        ("module @m {a = " + '"x' * 50_001, TextSyntaxError),
        ("\0" * 1000, TextSyntaxError),
        (f"uair {'9' * 100_000}", TextFileError),
        (f"%{'9' * 100_000}: f32[", TextSyntaxError),
        (X + f"%y = Mix(%x) {{ratio = 1e{'9' * 5000}}}", TextValueError),
        (X + f"%y = Mix(%x) {{ratio = 0x{'f' * 50_000}}}", TextValueError),
    ],
    ids=lambda v: "" if isinstance(v, type) else v[:40],
)
def test_hostile_texts(text: str, error: type[UairError]) -> None:
    start = time.process_time()
    fails(text, error)
    assert time.process_time() - start < 20


def test_the_largest_expression_is_quick() -> None:
    nested = "N"
    for _ in range(10):
        nested = f"floor(({nested}+1)/2)"
    start = time.process_time()
    parse_type(f"f32[{nested},Max({','.join(f'a{i}-{i}' for i in range(16))})]")
    assert time.process_time() - start < 2


ALPHABET = st.sampled_from(
    [
        "%x",
        "%y",
        "@c",
        "=",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "->",
        '"',
        '"a"',
        "f32[2]",
        "f32[",
        "N",
        "1",
        "-",
        "//",
        "*",
    ]
    + [
        "uair 1",
        "module",
        "graph",
        "constant",
        "return",
        "none",
        "outside",
        "loc",
        "name",
        "Twice",
        "Mix",
        "splat<",
        "dense<",
        ">",
    ]
    + [" ", "\n", "\\", "#1", "axes", "Max", "floor", "?", ";"]
)


@given(st.lists(ALPHABET, max_size=30).map("".join))
@settings(deadline=None, max_examples=300)
def test_any_text_gives_a_module_or_an_error(text: str) -> None:
    try:
        parse_module(text, context=TOYS)
    except UairError as error:
        assert error.code.startswith("UAIR-E")


@given(st.integers(0, 400), st.integers(1, 3), ALPHABET)
@settings(deadline=None, max_examples=300)
def test_a_damaged_text_gives_a_module_or_an_error(at: int, length: int, instead: str) -> None:
    text = """uair 1
module @m {producer = "p"} {
  constant @c = [1.0,2.0] : f32[2]
  graph @main(%x: f32[N,2]) -> (%y: f32[N,2]) {
    %z = Mix(%x, none, @c) {ratio = -0.5, axes = [1,2], target = [N,Max(1,N//2)]} : f32[N,2] loc("a" Conv by fold)
    %y = "Twice"(%z) : f32[N,2]
  }
}
"""
    try:
        parse_module(text[:at] + instead + text[at + length :], context=TOYS)
    except TextError as error:
        assert error.place
    except UairError as error:
        assert error.code.startswith("UAIR-E")
