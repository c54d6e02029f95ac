"""The examples in docs/text-form.md are read and printed back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from uair.ir.compare import difference
from uair.text import parse_module, print_module, weights_of

PAGE = Path(__file__).parents[2] / "docs" / "text-form.md"
EXAMPLES = re.findall(r"```uair\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda t: t[:20])
def test_example(text: str) -> None:
    module = parse_module(text, file="text-form.md")
    again = parse_module(print_module(module), weights=weights_of(module))
    assert difference(module, again) == ""
    if text.startswith("uair 1"):
        assert print_module(module) == text
