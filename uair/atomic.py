"""Writing files and folders whole or not at all.

What is written grows under a temporary name in the same folder and takes its final name in one step. A failure,
whatever it is, leaves nothing behind and leaves what was there before untouched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

from uair.errors import UairError

ATTEMPTS = 16


class OutputError(UairError):
    """A result cannot be written: its place exists already, cannot be written to, or the disk is full."""

    code = "UAIR-E0601"
    title = "Output cannot be written"


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Generator[BinaryIO, None, None]:
    """A file opened for writing that takes the place of `path` when the block ends without an exception.

    An existing file is replaced.

    Raises:
        OutputError: the folder does not exist or cannot be written to, `path` is a folder, or writing failed.
    """
    target = Path(os.path.abspath(path))
    if os.path.isdir(target):
        raise OutputError(f"{path} is a folder, a file is to be written", hint="give the name of a file")
    with reported(path):
        temporary, file = _new_file(target)
    try:
        with reported(path, temporary):
            with file:
                yield file
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Generator[Path, None, None]:
    """An empty folder that takes the place of `path` when the block ends without an exception.

    Args:
        path: the final place; its parent must exist.
        overwrite: whether a folder that is there may be replaced. It is removed only when the new one is complete.

    Raises:
        OutputError: `path` exists and may not be replaced, or its parent does not exist or cannot be written to.
    """
    target = Path(os.path.abspath(path))
    with reported(path):
        _check_free(target, path, overwrite)
        temporary = _new_folder(target)
    try:
        with reported(path, temporary):
            yield temporary
            _check_free(target, path, overwrite)
            _move_folder(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def require_writable(path: str | os.PathLike[str]) -> None:
    """Find out before long work whether a file or folder can be put at `path`: one beside it is made and removed.

    Raises:
        OutputError: its folder does not exist or cannot be written to.
    """
    with reported(path):
        temporary, file = _new_file(Path(os.path.abspath(path)))
        file.close()
        temporary.unlink()


def _check_free(target: Path, shown: str | os.PathLike[str], overwrite: bool) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise OutputError(f"{shown} exists and is not a folder", hint="give another name for the output folder")
    if target.exists() and not overwrite:
        raise OutputError(f"the folder {shown} exists", hint="remove it, choose another one, or ask to overwrite it")


def _move_folder(temporary: Path, target: Path) -> None:
    """Put `temporary` in the place of `target`, whose old content goes last."""
    if not target.exists():
        os.rename(temporary, target)
        return
    old = _temporary_name(target)
    os.rename(target, old)
    try:
        os.rename(temporary, target)
    except BaseException:
        os.rename(old, target)
        raise
    shutil.rmtree(old)


def require_space(path: Path, nbytes: int) -> None:
    """Refuse to begin a file that the disk cannot hold: a few bytes of a model can ask for a constant of terabytes.

    Raises:
        OutputError: naming `path`, whose folder exists.
    """
    free = shutil.disk_usage(path.parent).free
    if nbytes > free:
        raise OutputError(
            f"{path} needs {nbytes:,} bytes, the disk has {free:,} left",
            hint="write to another disk, or look for a constant of enormous shape in the model",
        )


@contextlib.contextmanager
def reported(path: str | os.PathLike[str], temporary: Path | None = None) -> Generator[None, None, None]:
    """Failures to write as `OutputError`s that name `path`; those about a file outside of `temporary` pass unchanged.

    An OutputError of the block that names the temporary place names the final one afterwards.
    """
    try:
        yield
    except OutputError as error:
        if temporary is not None and str(temporary) in error.message:
            error.message = error.message.replace(str(temporary), str(path))
        raise
    except OSError as error:
        if temporary is not None and error.filename and not str(error.filename).startswith(str(temporary)):
            raise
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            hint="does the folder exist, is it writable, is the disk full?",
        ) from error


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".{target.name[:200]}.{os.urandom(4).hex()}.part")


def _new_file(target: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `target`, with the permissions that new files get here (tempfile's are the owner's only)."""
    for _ in range(ATTEMPTS):
        temporary = _temporary_name(target)
        try:
            return temporary, open(temporary, "xb")
        except FileExistsError:
            continue
    raise OutputError(f"no temporary file can be made beside {target}")


def _new_folder(target: Path) -> Path:
    for _ in range(ATTEMPTS):
        temporary = _temporary_name(target)
        try:
            temporary.mkdir()
        except FileExistsError:
            continue
        return temporary
    raise OutputError(f"no temporary folder can be made beside {target}")
