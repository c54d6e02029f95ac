"""The text form: writing modules as text and reading them back, exactly.

`parse_module(print_module(m), weights=weights_of(m))` equals `m`. `save(m, "model.uair")` writes the text, and large
constants to model.uair.safetensors; `load` reads both. docs/text-form.md explains every construct.

What parses is imported when it is first used: compilations only write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uair.text.errors import (
    TextError,
    TextFileError,
    TextLimitError,
    TextNameError,
    TextSyntaxError,
    TextValueError,
    WeightsError,
)
from uair.text.files import load, save
from uair.text.printer import print_graph, print_module, print_node
from uair.text.spelling import type_text
from uair.text.weights import Weights, open_weights, weights_of, write_weights
from uair.text.window import print_window

if TYPE_CHECKING:
    from uair.text.parser import parse_module, parse_type

__all__ = [
    "TextError",
    "TextFileError",
    "TextLimitError",
    "TextNameError",
    "TextSyntaxError",
    "TextValueError",
    "Weights",
    "WeightsError",
    "load",
    "open_weights",
    "parse_module",
    "parse_type",
    "print_graph",
    "print_module",
    "print_node",
    "print_window",
    "save",
    "type_text",
    "weights_of",
    "write_weights",
]


def __getattr__(name: str) -> Any:
    if name not in ("parse_module", "parse_type"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from uair.text import parser

    return getattr(parser, name)
