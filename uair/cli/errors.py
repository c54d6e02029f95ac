"""Showing errors: one `UairError`, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback

import click

from uair.cli.output import printable
from uair.errors import InternalError, UairError

DEBUG = "UAIR_DEBUG"
"""Environment variable that shows the traceback of every error."""


_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
"""What a write says that is in no program's hands."""


class UsageError(UairError):
    """The command line is wrong: an unknown option, a missing argument, options that exclude each other."""

    code = "UAIR-E0900"
    title = "Wrong command line"


class FileAccessError(UairError):
    """The operating system refuses to read or write a file."""

    code = "UAIR-E0902"
    title = "File cannot be used"


class OutOfMemory(UairError):
    """The machine has too little memory for the model or its data."""

    code = "UAIR-E0903"
    title = "Not enough memory"


def report(error: Exception, *, as_json: bool = False) -> int:
    """Print an error to the standard error stream and, when the command was asked for JSON, as JSON.

    Args:
        error: a UairError, or what should have been one.
        as_json: whether to write JSON to the standard output too.

    Returns:
        the exit status.
    """
    shown = as_uair_error(error)
    if as_json:
        _print_json(shown)
    if os.environ.get(DEBUG):
        sys.stderr.write("".join(traceback.format_exception(error)))
    sys.stderr.write(printable(str(shown)) + "\n")
    return 1


def report_usage(error: click.ClickException, *, as_json: bool = False) -> int:
    """Print what is wrong with the command line; returns the exit status."""
    if as_json:
        context = error.ctx if isinstance(error, click.UsageError) else None
        _print_json(UsageError(error.format_message(), hint=f"{context.command_path} --help" if context else ""))
    error.show()
    return error.exit_code


def as_uair_error(error: Exception) -> UairError:
    """The error that is shown for an exception."""
    if isinstance(error, UairError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory(
            f"there is not enough memory: {error}".removesuffix(": "), hint="use a machine with more, or smaller shapes"
        )
    if isinstance(error, OSError) and error.filename:
        return FileAccessError(
            f"{error.filename} cannot be used: {error.strerror or error}",
            hint="is it there, and may it be read or written?",
        )
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        return FileAccessError(f"the output cannot be written: {error.strerror}", hint="is the disk full?")
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return InternalError(
        f"{type(error).__name__}: {error}",
        place=f"{os.path.basename(last.filename)}:{last.lineno} in {last.name}" if last else "",
        hint=f"this is a fault of UAIR; please report it with the model and the traceback that {DEBUG}=1 shows",
    )


def _print_json(error: UairError) -> None:
    fields = ("code", "message", "place", "hint", "pass_name", "rule_name", "window")
    sys.stdout.write(json.dumps({"error": {f: getattr(error, f) for f in fields}}, indent=2) + "\n")
