"""A module in files: `model.uair`, and `model.uair.safetensors` when it has large constants."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from uair.atomic import atomic_file
from uair.context import Context
from uair.ir.module import Module
from uair.text.errors import TextFileError
from uair.text.printer import print_module
from uair.text.weights import SUFFIX, Weights, open_weights, weights_of, write_weights

MAX_TEXT_BYTES = 1 << 30


def save(module: Module, path: str | os.PathLike[str]) -> None:
    """Write a module's text to `path` and its large constants to the sidecar `path` + ".safetensors".

    Each is written beside what is there and put in its place when complete, so a module that was loaded from `path` may
    be saved to it. There is no sidecar when no constant is large.

    Raises:
        OutputError: a file cannot be written.
    """
    weights = weights_of(module)
    text = print_module(module).encode()
    with atomic_file(path) as file:
        file.write(text)
        if weights:
            write_weights(weights, os.fspath(path) + SUFFIX)


def load(path: str | os.PathLike[str], *, context: Context | None = None, check_weights: bool = True) -> Module:
    """Read a module and map its sidecar.

    Args:
        path: the text.
        context: where operators are looked up.
        check_weights: whether to compare every large constant with its hash, which reads the whole sidecar once.

    Raises:
        TextError: see `parse_module` and `open_weights`.
        TextFileError: the file is missing, too large, or not UTF-8.
    """
    shown = Path(path).name
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise TextFileError(f"{shown} is not a regular file")
        if status.st_size > MAX_TEXT_BYTES:
            raise TextFileError(
                f"{shown} has {status.st_size:,} bytes, a text has at most {MAX_TEXT_BYTES:,}",
                hint="large constants belong in the sidecar",
            )
        text = Path(path).read_bytes().decode()
    except OSError as error:
        raise TextFileError(f"{shown} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TextFileError(
            f"{shown} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
        ) from error
    if not text.strip():
        raise TextFileError(f"{shown} is empty")
    sidecar = os.fspath(path) + SUFFIX
    weights: Weights | None = None
    if os.path.lexists(sidecar):
        weights = open_weights(sidecar, check=check_weights)
    from uair.text.parser import parse_module  # here: compilations only write

    return parse_module(text, context=context, weights=weights, file=shown)
