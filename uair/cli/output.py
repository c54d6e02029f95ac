"""Printing: tables and lines for people, JSON for programs.

A terminal gets tables of its own width. What is piped gets one row per line, however long, without colours and without
blanks at the line ends; prose is wrapped at 80 columns.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import attrs

if TYPE_CHECKING:
    from uair.ir.location import Location
    from uair.pipeline import Instrument

PROSE = 80
LONGEST_NAME = 64
UNLIMITED = 10_000


def width(stream: TextIO) -> int:
    """Columns for prose on a stream."""
    return shutil.get_terminal_size((PROSE, 24)).columns if stream.isatty() else PROSE


def printable(text: str) -> str:
    """Text whose control characters are written out: names in a model come from strangers, a terminal obeys them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def print_json(value: Any) -> None:
    """Write plain data."""
    from uair.artifact import to_json

    sys.stdout.write(to_json(value))


def print_text(text: str) -> None:
    """Write text as it is, but for control characters."""
    sys.stdout.write(printable(text if text.endswith("\n") else text + "\n"))


def print_prose(text: str, indent: str = "", more: str | None = None) -> None:
    """Write a sentence, wrapped; `more` is the indent of its further lines, the same when not given."""
    print_text(_wrapped(text, sys.stdout, indent, indent if more is None else more))


def warn(text: str) -> None:
    """Write a warning to the standard error stream."""
    sys.stderr.write(printable(_wrapped(f"warning: {text}", sys.stderr, "", "   ")) + "\n")


def _wrapped(text: str, stream: TextIO, indent: str, more: str) -> str:
    return textwrap.fill(
        text,
        width(stream),
        initial_indent=indent,
        subsequent_indent=more,
        break_long_words=False,
        break_on_hyphens=False,
    )


def print_facts(facts: Mapping[str, Any], indent: str = "") -> None:
    """Write `name  value` lines with the values below each other; empty values are left out, lists get a line each."""
    shown = {key: value for key, value in facts.items() if value not in ("", None, [], {})}
    column = max((len(key) for key in shown), default=0) + 2
    for key, value in shown.items():
        for i, line in enumerate(value if isinstance(value, list) else [value]):
            head = f"{indent}{key if i == 0 else '':<{column}}"
            print_prose(str(line), head, " " * len(head))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[int] = (), stream: TextIO | None = None
) -> None:
    """Print a table; the columns numbered in `right` are aligned right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    target = sys.stdout if stream is None else stream
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(columns):
        shown.add_column(column, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(printable(str(cell))) for cell in row))
    console = Console(file=target, width=None if target.isatty() else UNLIMITED, highlight=False, markup=False)
    with console.capture() as text:
        console.print(shown)
    target.write("\n".join(line.rstrip() for line in text.get().rstrip("\n").split("\n")) + "\n")


def size(nbytes: float) -> str:
    """Bytes for people: 98.0 MiB."""
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} GiB"


def listed(names: Sequence[str], most: int = 4) -> str:
    """A few of the names, long ones without their middle, and how many more there are."""
    more = len(names) - most
    return ", ".join(map(shortened, names[:most])) + (f" and {more} more" if more > 0 else "")


def shortened(name: str) -> str:
    """A name without its middle where it is longer than a line should be."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}...{name[-half:]}"


def location(found: Location) -> str:
    """Where a node comes from, as `str` has it, with long names without their middle."""
    sources = tuple(attrs.evolve(source, name=shortened(source.name)) for source in found.sources)
    return str(attrs.evolve(found, sources=sources))


@contextmanager
def progress(message: str, *, silent: bool = False) -> Generator[list[Instrument], None, None]:
    """A status line on the standard error stream while work goes on; instruments that keep it up to date.

    Nothing is shown when the stream is not a terminal, or silence is asked for.
    """
    if silent or not sys.stderr.isatty():
        yield []
        return
    from rich.console import Console

    from uair.cli.progress import PassProgress

    with Console(file=sys.stderr, highlight=False, markup=False).status(message) as status:
        yield [PassProgress(status.update)]
