"""Command lines to show: the one that is running, and that of another command about the same model."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import click


def running() -> str:
    """The command line that is running, quoted for a shell; "" when a command was called by Python code."""
    words = _words()
    return shlex.join(["uair", *words]) if words else ""


def bisecting() -> str:
    """The running command as `uair bisect`, with those of its arguments and options that `uair bisect` takes too."""
    from uair.cli.bisect import command

    context = click.get_current_context()
    words = _words()
    return shlex.join(["uair", "bisect", *_shared(words[1:], context.command, command)]) if words else ""


def _words() -> Sequence[str]:
    """What `main` was given."""
    given: Sequence[str] | None = click.get_current_context().find_root().obj
    return given or ()


def _shared(words: Sequence[str], command: click.Command, other: click.Command) -> Iterator[str]:
    """The words of a command line without the options that another command lacks, or knows to mean something else."""
    flags = {name: bool(getattr(p, "is_flag", False)) for p in command.params for name in p.opts}
    known = {name for p in other.params for name in p.opts} - {"-o", "--output", "--json"}
    words_left = iter(words)
    for word in words_left:
        name, attached = _option(word, flags)
        rest = [] if attached or name not in flags or flags[name] else [next(words_left, "")]
        if name not in flags or name in known:
            yield word
            yield from rest


def _option(word: str, options: dict[str, bool]) -> tuple[str, bool]:
    """The option that a word is, or begins with: `--name=value`, `-nvalue`; and whether its value is in the word."""
    if word in options:
        return word, False
    name, separator, _ = word.partition("=")
    if separator and name.startswith("--") and name in options:
        return name, True
    return (word[:2], True) if word[:1] == "-" and word[:2] in options else (word, False)
