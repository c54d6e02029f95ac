"""Printing: tables and lines for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from uair.artifact import to_json
from uair.ir.module import Module
from uair.pipeline import Instrument, Pass


def console(*, stderr: bool = False) -> Any:
    """A rich console; as wide as it needs to be when the output is not a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Console(file=stream, width=width, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Write plain data."""
    sys.stdout.write(to_json(value))


def print_text(text: str) -> None:
    """Write text as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> None:
    """Print a table; the columns numbered in `right` are aligned right."""
    from rich import box
    from rich.table import Table

    shown = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for i, column in enumerate(columns):
        shown.add_column(column, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(str(cell) for cell in row))
    console().print(shown)


def size(nbytes: float) -> str:
    """Bytes for people: 98.0 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if nbytes < 1024 or unit == "GiB":
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    raise AssertionError


class PassProgress(Instrument):
    """Shows the running pass on a status line."""

    def __init__(self, status: Any) -> None:
        self.status = status

    def before(self, pass_: Pass, module: Module) -> None:
        """Name the pass."""
        self.status.update(f"{pass_.name} ({len(module.main)} nodes)")


@contextmanager
def progress(message: str) -> Iterator[list[Instrument]]:
    """A status line on the standard error stream while work goes on; instruments that keep it up to date.

    Nothing is shown when the stream is not a terminal.
    """
    if not sys.stderr.isatty():
        yield []
        return
    with console(stderr=True).status(message) as status:
        yield [PassProgress(status)]
