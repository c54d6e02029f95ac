"""Pipelines as text: what is read, what is written, and where a mark shows the fault."""

from __future__ import annotations

from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uair.context import Context
from uair.errors import UairError, UnknownNameError
from uair.ir.module import Module
from uair.pipeline import Pass, PassContext
from uair.pipeline_syntax import PipelineSyntaxError, parse_pipeline


@attrs.frozen
class Sample(Pass):
    """A pass with options of every kind."""

    flag: bool = False
    count: int = 1
    ratio: float = 0.5
    word: str = ""
    mode: Literal["fast", "exact"] = "fast"
    limit: int | None = None
    names: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    shapes: dict[str, tuple[int, ...]] = attrs.field(factory=dict)
    hidden: Any = attrs.field(default=None, metadata={"option": False})

    def run(self, module: Module, context: PassContext) -> bool:
        return False


@attrs.frozen
class Plain(Pass):
    """A pass without options."""

    def run(self, module: Module, context: PassContext) -> bool:
        return False


CONTEXT = Context({}, {"sample": Sample, "plain": Plain})


def read(text: str) -> list[Pass]:
    return parse_pipeline(text, CONTEXT)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", []),
        ("  ", []),
        ("plain", [Plain()]),
        ("plain,plain", [Plain(), Plain()]),
        (" plain , sample ", [Plain(), Sample()]),
        ("plain{}", [Plain()]),
        ("sample{count=3 flag=true}", [Sample(count=3, flag=True)]),
        ("sample{count=3, flag=true}", [Sample(count=3, flag=True)]),
        ("sample{count=-3 ratio=1e-3}", [Sample(count=-3, ratio=1e-3)]),
        ('sample{word="a, b}"}', [Sample(word="a, b}")]),
        (r'sample{word="say \"x\" \\"}', [Sample(word='say "x" \\')]),
        ("sample{mode=exact limit=4}", [Sample(mode="exact", limit=4)]),
        ("sample{limit=none}", [Sample()]),
        ("sample{names=[a,b]}", [Sample(names=("a", "b"))]),
        ("sample{names=a}", [Sample(names=("a",))]),
        ("sample{names=[]}", [Sample()]),
        ("sample{sizes=[1,2,3]}", [Sample(sizes=(1, 2, 3))]),
        ("sample{shapes=[x:[1,3],y:[2]]}", [Sample(shapes={"x": (1, 3), "y": (2,)})]),
        ("sample{shapes=[]}", [Sample()]),
        ("sample{count=1},plain", [Sample(count=1), Plain()]),
    ],
)
def test_what_is_read(text: str, passes: list[Pass]) -> None:
    assert read(text) == passes


@pytest.mark.parametrize(
    ("text", "mark", "words"),
    [
        ("plain,,plain", 6, "expected the name of a pass, found ','"),
        (",plain", 0, "expected the name of a pass"),
        ("plain plain", 6, "expected ',', found 'plain'"),
        ("plain}", 5, "expected ',', found '}'"),
        ("sample{", 7, "expected an option of sample, found 'the end'"),
        ("sample{count}", 12, "expected '=', found '}'"),
        ("sample{count=}", 13, "expected a value, found '}'"),
        ("sample{ count = , }", 16, "expected a value, found ','"),
        ("sample{=1}", 7, "expected an option of sample, found '='"),
        ('sample{word="abc}', 12, "the quotation mark is not closed"),
        ("sample{names=[a,b}", 17, "expected a value, found '}'"),
        ("sample{shapes=[x:[1],y]}", 22, "cannot mix"),
        ("sample{count=1 count=2}", 21, "option count is given twice"),
        ("sample{names=[[[[[[[[[[[a]]]]]]]]]]]}", None, "nested too deeply"),
        ("plain,sample{count=x}", 6, "sample{count}: "),
        ("plain,sample{flag=yes}", 6, "neither true nor false"),
        ("sample{mode=slow}", 0, "'slow' is not one of fast, exact"),
        ("sample{count=[1]}", 0, "is a list, one value is expected"),
        ("sample{shapes=[1]}", 0, "is not a list of key:value pairs"),
        ("plain{x=1}", 0, "plain has no option 'x'"),
        ("sample{hidden=1}", 0, "sample has no option 'hidden'"),
    ],
)
def test_a_mark_shows_the_fault(text: str, mark: int | None, words: str) -> None:
    with pytest.raises(PipelineSyntaxError) as caught:
        read(text)
    assert words in caught.value.message
    line, below = caught.value.window.splitlines()
    assert line == f"   {text}"
    assert mark is None or below == " " * (3 + mark) + "^"
    assert caught.value.hint


def test_near_names_are_suggested() -> None:
    with pytest.raises(UnknownNameError) as caught:
        read("plain,samples")
    assert caught.value.hint == "did you mean sample?"
    assert caught.value.window == "   plain,samples\n         ^"
    with pytest.raises(PipelineSyntaxError) as wrong:
        read("sample{cuont=1}")
    assert wrong.value.hint == "did you mean count?"


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
sizes = st.lists(st.integers(-9, 999), max_size=4).map(tuple)


@given(
    st.builds(
        Sample,
        flag=st.booleans(),
        count=st.integers(),
        ratio=st.floats(allow_nan=False),
        word=words,
        mode=st.sampled_from(["fast", "exact"]),
        limit=st.none() | st.integers(),
        names=st.lists(words, max_size=3).map(tuple),
        sizes=sizes,
        shapes=st.dictionaries(words, sizes, max_size=2),
    )
)
def test_what_a_pass_writes_is_read_back(sample: Sample) -> None:
    assert read(sample.spec) == [sample]


@given(st.text(st.sampled_from('samplein,{}[]=: "\\1'), max_size=24))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except UairError as error:
        assert error.window.splitlines()[0] == f"   {text}"
