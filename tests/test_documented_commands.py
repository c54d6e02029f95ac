"""Every command line of the documentation is one: the command, its options, targets, passes and preprocessing exist.

Nothing is run, as the models in the examples are the reader's own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from tests.cli.helpers import ROOT
from uair.builtin import TARGETS
from uair.cli import COMMANDS, group
from uair.context import Context
from uair.errors import UairError
from uair.passes.catalogue import find_rule
from uair.pipeline_syntax import parse_pipeline
from uair.preprocess import Preprocess

PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
INVENTED = re.compile(r"clamp-weights|-of-mine\b|--plugin")  # what the reader writes on these pages
PLACEHOLDER = re.compile(r"\[[^\]]*\]$|\.\.\.|…|^[A-Z_.]+$|^[A-Z]+=")


def lines_of(text: str) -> Iterator[str]:
    """Command lines in blocks, continued ones whole, and those in the text itself."""
    for block in re.findall(r"^```(?:console|sh|bash|text)?\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r" *(\$ )?uair [a-z]", line):
                yield line.strip().removeprefix("$ ")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    yield from re.findall(r"`(uair [a-z-]+ [^`\n]*)`", prose)


COMMAND_LINES = [
    pytest.param(line, id=f"{page.relative_to(ROOT).as_posix()}: {line[:60]}")
    for page in PAGES
    for line in lines_of(page.read_text("utf-8"))
]


def test_there_are_command_lines() -> None:
    assert len(COMMAND_LINES) > 60


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_documented_command(line: str) -> None:
    _, name, *words = shlex.split(line, comments=True)
    assert name in COMMANDS
    command = group.get_command(click.Context(group), name)
    assert command is not None
    options = {opt: p for p in command.params if isinstance(p, click.Option) for opt in (*p.opts, *p.secondary_opts)}
    options |= {opt: click.Option(["-h", "--help"], is_flag=True) for opt in ("-h", "--help")}
    at = 0
    while at < len(words):
        word, _, joined = words[at].partition("=") if words[at].startswith("--") else (words[at], "", "")
        at += 1
        if not word.startswith("-"):
            continue
        word = word.strip("[]")
        assert word in options, f"uair {name} has no {word}"
        if options[word].is_flag or options[word].count:
            continue
        value = joined or (words[at] if at < len(words) else "")
        at += not joined
        check_value(word, options[word], value, line)
    if name == "why-not" and not words[0].isupper() and words[0] != "--list-rules" and not INVENTED.search(line):
        find_rule(words[0])


def check_value(word: str, option: click.Option, value: str, line: str) -> None:
    """A value in an example that is no placeholder must be taken."""
    if not value or PLACEHOLDER.search(value):
        return
    if isinstance(option.type, click.Choice):
        assert value in option.type.choices, f"{word} {value}"
    elif word in ("-t", "--target"):
        assert value in {*TARGETS, "all"}, f"{word} {value}"
    elif word == "--preprocess":
        Preprocess.parse(value.split(":", 1)[-1])
    elif word in ("-p", "--passes"):
        if not INVENTED.search(line):
            parse_pipeline(value, Context.default())


def test_a_slip_is_found() -> None:
    for line in (
        "uair opt model.onnx -p canonicalize",
        "uair compile model.onnx --target rk35",
        "uair check model.onnx --targets all",
        "uair why-not fold-batchnorm model.onnx",
        "uair quantise model.onnx",
    ):
        with pytest.raises((AssertionError, UairError)):
            test_a_documented_command(line)
