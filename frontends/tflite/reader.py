"""From a file to a module."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError
from uair.frontends.common.layout import Channels, settle
from uair.frontends.tflite.importer import Arithmetic, Importer, Numbers
from uair.frontends.tflite.model import Model, read
from uair.ir.data import MappedFile
from uair.ir.module import Module, Origin
from uair.passes.counted_loops import CountedLoops
from uair.passes.recurrent.recognize import RecognizeRecurrent
from uair.pipeline import PassContext

_HASH_STEP = 1 << 22
_HINT = "name a .tflite file"


def load(
    path: str | Path,
    *,
    signature: str | None = None,
    channels: Channels = "last",
    numbers: Numbers = "stored",
    arithmetic: Arithmetic = "real",
) -> Module:
    """Read a TFLite model. Neither TensorFlow nor LiteRT is needed.

    Args:
        path: the file.
        signature: key of the signature to read; the first one when not given.
        numbers: "stored" keeps quantized inputs and outputs as the integers that they are; "real" gives them as f32,
            quantized and dequantized inside, for targets whose inputs are floats.
        arithmetic: "real" computes on the real numbers that integers stand for. "litert" rounds where LiteRT's kernels
            do otherwise: averages of integers to a whole number, halves away from 0, and the float operands of
            convolutions and matrix products with 8-bit weights to 8 bits, by their range in every run. To hold a module
            against LiteRT; for devices "real" is the better one.
        channels: "last" keeps the model's own interface, images as [N, H, W, C]; "first" gives [N, C, H, W].

    Returns:
        The module. Its constants view the mapped file, which must not be written to while the module is used. Its
        metadata tell the variables that became inputs and outputs ("states", JSON), the transposes left
        ("transposes"), and the keys of the file's signatures when there are several ("signatures").

    Raises:
        SourceFileError: the file is damaged, or no TFLite model.
        UnmappedOperatorError: it has operators without a counterpart; all of them are named.
        UairError: an operator cannot be expressed; the error names it.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise SourceFileError(f"{str(path)!r} is {'no regular file' if path.exists() else 'not there'}", hint=_HINT)
        if path.stat().st_size == 0:
            raise SourceFileError("the file is empty", place=path.name, hint=_HINT)
        file = MappedFile(path)
    except (OSError, ValueError) as error:
        raise SourceFileError(f"{str(path)!r} cannot be read: {error}", hint=_HINT) from None
    try:
        model = read(file.view(0, file.size))
        module = Importer(model, file, numbers, arithmetic).run(path.stem, signature)
    except UairError as error:
        if path.name not in error.place:
            error.place = f"{error.place} of {path.name}" if error.place else path.name
        raise
    if model.description:
        module.metadata["description"] = model.description
    CountedLoops().run(module, PassContext())
    RecognizeRecurrent().run(module, PassContext())
    settle(module, channels=channels)
    module.origin = Origin("tflite", path.name, functools.partial(_sha256, file), *_producer(model, file))
    return module


def _producer(model: Model, file: MappedFile) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The tool that wrote the file, and the versions of the schema and of the runtime that it asks for."""
    versions = [("schema", str(model.version))]
    for name, span in model.metadata:
        if name == "min_runtime_version" and span.nbytes <= 64:
            text = bytes(file.view(span.offset, span.nbytes)).split(b"\0")[0].decode("ascii", "replace")
            versions.append(("min_runtime", text))
    return model.description, tuple(versions)


def _sha256(file: MappedFile) -> str:
    """Hash of the file, read in steps so that it need not be in memory whole."""
    digest = hashlib.sha256()
    for at in range(0, file.size, _HASH_STEP):
        digest.update(file.view(at, min(_HASH_STEP, file.size - at)))
        file.release(at, min(_HASH_STEP, file.size - at))
    return digest.hexdigest()
