"""A module that the user's own Python code makes: `package.module:factory`, with weights from a file.

The code is imported and run because the user names it. The file of weights is not trusted: `.safetensors` has no code,
and a pickle is read by PyTorch's reader that builds tensors and nothing else.
"""

from __future__ import annotations

import importlib
import pickle
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import attrs

from uair.frontends.common.errors import SourceFileError, UnsafeModelError
from uair.frontends.torch.errors import TorchModuleError
from uair.frontends.torch.frames import is_framework
from uair.frontends.torch.live import DTYPES, framework
from uair.ir.module import Module

EXAMPLE = re.compile(r"(?P<name>[A-Za-z_]\w*|\d+)=(?P<dtype>\w+)\[(?P<sizes>[^\]]*)\]")
SIZE = re.compile(r"(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)(=(?P<example>\d+))?")
OPEN_SIZE = 2
"""What an open size is in the example, unless it says otherwise; 1 would be taken for a size that is always 1."""


@attrs.frozen
class Example:
    """An example input: its name or position, its values, and its open sizes by axis."""

    key: str
    value: Any
    open: dict[int, Any]


def load_factory(spec: str, weights: Path | None = None, examples: Sequence[str] = ()) -> Module:
    """Import the module that the user's code makes.

    Args:
        spec: `package.module:factory`, where factory is a function or class that takes nothing, or a torch.nn.Module.
            Modules are looked for in the current folder first.
        weights: a `.safetensors` file, or one of torch.save that holds tensors; every weight must fit.
        examples: the inputs, by the names of forward's parameters or all by position: `x=f32[1,3,224,224]`; a size
            that is a name is open (`ids=i64[batch,seq=16]`, 16 in the example).

    Raises:
        TorchModuleError: the code cannot be imported or fails, or its weights or inputs do not fit.
        UnsafeModelError: the weights are a pickle that would run code.
        UairError: see `uair.load`.
    """
    from uair.frontends.torch import load

    given = _examples(examples)
    model = _made(spec)
    if weights is not None:
        _put_weights(model, weights)
    by_position = [e for e in given if e.key.isdigit()]
    if by_position and len(by_position) < len(given):
        raise TorchModuleError("--example names some inputs and numbers others", hint="name all of them, or number all")
    dims: Any = {e.key: e.open or None for e in given}
    inputs = [e.value for e in sorted(by_position, key=lambda e: int(e.key))]
    kwargs = {} if by_position else {e.key: e.value for e in given}
    if by_position:
        dims = tuple(e.open or None for e in sorted(by_position, key=lambda e: int(e.key)))
    name = spec.rpartition(":")[2].rpartition(".")[2].lower()
    dynamic = dims if any(e.open for e in given) else None
    return load(model.eval(), *inputs, kwargs=kwargs, dynamic_shapes=dynamic, name=name)


def _made(spec: str) -> Any:
    """The torch.nn.Module."""
    torch = framework()
    where, _, path = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(where)
        for part in path.split("."):
            found = getattr(found, part)
        if not isinstance(found, torch.nn.Module):
            found = found()
    except Exception as error:  # noqa: BLE001  the user's code may raise anything
        _fail(spec, error)
    finally:
        sys.path.remove(str(Path.cwd()))
    if not isinstance(found, torch.nn.Module):
        raise TorchModuleError(
            f"{spec} gives a {type(found).__name__}, no torch.nn.Module",
            hint="name a function or class without parameters that makes the module",
        )
    return found


def _fail(spec: str, error: Exception) -> NoReturn:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not is_framework(f.filename)]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else spec
    raise TorchModuleError(
        f"{spec} fails: {type(error).__name__}: {error}",
        place=place,
        hint="run it in Python first; it is imported from the current folder and called without arguments",
    ) from error


def _put_weights(model: Any, path: Path) -> None:
    """Load weights into a module; all of them, and no others."""
    torch = framework()
    try:
        if path.suffix.lower() == ".safetensors":
            found: Any = importlib.import_module("safetensors.torch").load_file(str(path))
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SourceFileError(f"{path} cannot be read: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        raise UnsafeModelError(
            f"{path.name} holds more than tensors, and reading it would run code: {str(error).splitlines()[0]}",
            place=str(path),
            hint="if you trust its source: torch.load(file, weights_only=False), then save model.state_dict() again",
        ) from None
    except Exception as error:  # noqa: BLE001  a damaged file shows in many ways
        raise SourceFileError(f"{path.name} cannot be read: {str(error)[:200]}", place=str(path)) from None
    weights = found.get("state_dict", found) if isinstance(found, dict) else found
    try:
        model.load_state_dict(weights, strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise TorchModuleError(
            f"the weights in {path.name} are not those of {type(model).__name__}: {' '.join(str(error).split())[:400]}",
            place=str(path),
            hint="the file belongs to another module, or the factory makes it with other sizes",
        ) from None


def _examples(texts: Sequence[str]) -> list[Example]:
    """The example inputs; values are random floats, and zeros of the integer types."""
    torch = framework()
    dims: dict[str, Any] = {}
    found: list[Example] = []
    generator = torch.Generator().manual_seed(0)
    types = {str(dtype): name for name, dtype in DTYPES.items()}
    for text in texts:
        parts = EXAMPLE.fullmatch(text.replace(" ", ""))
        if parts is None or parts["dtype"] not in types:
            raise TorchModuleError(
                f"--example {text} is not of the form x=f32[1,3,224,224]", hint=f"types: {', '.join(sorted(types))}"
            )
        shape: list[int] = []
        open_axes: dict[int, Any] = {}
        for axis, size in enumerate(filter(None, parts["sizes"].split(","))):
            size_parts = SIZE.fullmatch(size)
            if size_parts is None:
                raise TorchModuleError(f"--example {text}: {size!r} is no size", hint="x=f32[batch,3,224,224]")
            shape.append(int(size_parts["number"] or size_parts["example"] or OPEN_SIZE))
            if name := size_parts["name"]:
                open_axes[axis] = dims.setdefault(name, torch.export.Dim(name))
        dtype = getattr(torch, types[parts["dtype"]])
        value = torch.randn(shape, generator=generator) if dtype.is_floating_point else torch.zeros(shape)
        found.append(Example(parts["name"], value.to(dtype), open_axes))
    return found
