"""A case in files, with the command that replays it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uair.artifact import write_arrays
from uair.atomic import atomic_file, reported
from uair.context import Context
from uair.debugging.reduction import Case
from uair.errors import UairError
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.pipeline import Pass
from uair.pipeline_syntax import parse_pipeline
from uair.text import save

MODULE, AFTER, INPUTS, SCRIPT = "module.uair", "after.uair", "inputs.npz", "replay.sh"


def save_case(folder: str | os.PathLike[str], case: Case, after: Module | None, command: str) -> list[Path]:
    """Write a case: the module with its large constants, its inputs, the module afterwards, and a script.

    Args:
        folder: made when it is not there; files of these names in it are replaced.
        case: the module and its inputs; those that are no arrays are not written.
        after: the module behind the pass, for people; None when there is none.
        command: what replays it in the folder; "" when no command line can.

    Returns:
        the files.

    Raises:
        OutputError: a file cannot be written.
    """
    root = Path(folder)
    with reported(root):
        root.mkdir(parents=True, exist_ok=True)
    save(case.module, root / MODULE)
    with atomic_file(root / INPUTS) as file:
        write_arrays(file, {name: _storable(value) for name, value in case.feeds.items() if is_array(value)})
    written = [root / MODULE, root / INPUTS]
    if after is not None:
        save(after, root / AFTER)
        written.append(root / AFTER)
    if command:
        written.append(write_script(root, command))
    return written


def is_array(value: Any) -> bool:
    """Whether an input can be written: sequences, maps and what is not there cannot."""
    return isinstance(value, (np.ndarray, np.generic))


def _storable(value: Any) -> Array:
    """An array as .npz files take it; strings without pickling."""
    array = np.asarray(value)
    return array.astype(np.str_) if array.dtype == np.object_ else array


def write_script(folder: Path, command: str, where: str = '"$(dirname "$0")"') -> Path:
    """A shell script that runs a command in its own folder, or in another one, quoted for a shell."""
    path = folder / SCRIPT
    with atomic_file(path) as file:
        file.write(f"#!/bin/sh\ncd {where} || exit 1\nexec {command}\n".encode())
    return path


def replay_command(pass_: Pass, tolerance: float, plugins: Sequence[Path] = ()) -> str:
    """The command that bisects a saved case; "" when the pass cannot be written on a command line."""
    if not is_spoken(pass_):
        return ""
    words = [
        "uair",
        "bisect",
        MODULE,
        "-p",
        pass_.spec,
        "--input",
        INPUTS,
        "--tolerance",
        f"{tolerance:g}",
        "--no-reduce",
    ]
    return command_line(words, plugins)


def command_line(words: Sequence[str], plugins: Sequence[Path] = ()) -> str:
    """A command line, quoted for a shell, that finds its plug-ins from any folder."""
    return shlex.join([*words, *(word for file in plugins for word in ("--plugin", str(file.resolve())))])


def is_spoken(pass_: Pass) -> bool:
    """Whether a pipeline's text says all of a pass: some have settings that only the API gives."""
    try:
        return parse_pipeline(pass_.spec, Context.default()) == [pass_]
    except UairError:
        return False
