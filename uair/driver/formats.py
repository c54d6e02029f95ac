"""Which frontend reads a model: by its type, its suffix, or what a folder holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from uair.errors import UairError

SUFFIXES = {
    ".h5": "keras",
    ".hdf5": "keras",
    ".keras": "keras",
    ".onnx": "onnx",
    ".pb": "tensorflow",
    ".tflite": "tflite",
    ".uair": "uair",
    **dict.fromkeys((".pt2", ".pt", ".pth", ".ckpt", ".bin"), "torch"),
}
"""Frontends by suffix of a file's name."""

FOLDERS: dict[str, str] = {
    "saved_model.pb": "tensorflow",
}
"""Frontends by the file that makes a folder a model."""

OBJECTS: dict[str, str] = {
    "keras.src.models.model.Model": "keras",
    "tensorflow.python.eager.polymorphic_function.concrete_function.ConcreteFunction": "tensorflow",
    "tensorflow.python.eager.polymorphic_function.polymorphic_function.Function": "tensorflow",
    "tensorflow.python.module.module.Module": "tensorflow",
    "tf_keras.src.engine.training.Model": "keras",
    "torch.export.exported_program.ExportedProgram": "torch",
    "torch.nn.modules.module.Module": "torch",
}
"""Frontends by full name of a class, for models in memory: one of the object's own class or its bases."""


class UnknownFormatError(UairError):
    """A model is of no format that a frontend reads."""

    code = "UAIR-E0100"
    title = "Unknown model format"


def frontend_of(source: Any) -> str:
    """The name of the frontend that reads a model.

    Args:
        source: a path, or a model object of a framework. No framework is imported to find out.

    Raises:
        UnknownFormatError: no frontend reads it.
    """
    if not isinstance(source, (str, os.PathLike)):
        for base in type(source).__mro__:
            if name := OBJECTS.get(f"{base.__module__}.{base.__qualname__}"):
                return name
        known = ", ".join(OBJECTS) or "none"
        raise UnknownFormatError(
            f"{type(source).__module__}.{type(source).__qualname__} is no model that can be read",
            hint=f"give a path, a uair.Module, or an object of one of: {known}",
        )
    path = Path(source)
    known = f"models end in {' or '.join(SUFFIXES)}"
    if path.is_dir():
        for file, name in FOLDERS.items():
            if (path / file).is_file():
                return name
        if path.suffix.lower() not in SUFFIXES:
            raise _no_model(path, known)
    found = SUFFIXES.get(path.suffix.lower())
    if found is None and not path.exists():
        raise UnknownFormatError(f"'{path}' is not there", hint=f"name a model or an artifact; {known}")
    if found is None:
        raise UnknownFormatError(f"{path} is of no known format", hint=known)
    return found


def _no_model(folder: Path, known: str) -> UnknownFormatError:
    """The error for a folder that no frontend reads."""
    compiled = folder / "model.uair"
    if (folder / "manifest.json").is_file() and compiled.is_file():
        return UnknownFormatError(
            f"{folder} is an artifact, a model that is compiled already",
            hint=f"give the model that it was made from, or {compiled}",
        )
    hint = f"{known}; a folder holds {' or '.join(FOLDERS)}, and that of an artifact manifest.json"
    return UnknownFormatError(f"{folder} is a folder, not a model", hint=hint)
