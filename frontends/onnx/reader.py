"""From a file to a module."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto

from uair.collection import collection_paused
from uair.errors import UairError
from uair.frontends.onnx import wire
from uair.frontends.onnx.errors import OnnxModelError, OnnxVersionError
from uair.frontends.onnx.external import ExternalFiles
from uair.frontends.onnx.importer import Importer
from uair.frontends.onnx.tensors import TensorReader
from uair.frontends.onnx.text import check_model
from uair.ir.data import MappedFile
from uair.ir.module import Module, Origin

_HASH_STEP = 1 << 22

_HINT = "check that the file is complete; a model saved as text or by another framework needs a conversion first"


def load(
    path: str | Path,
    *,
    external_data_root: str | Path | None = None,
    shapes: Mapping[str, Sequence[int]] | Sequence[Mapping[str, Sequence[int]]] | None = None,
) -> Module:
    """Read an ONNX model.

    Args:
        path: the model file.
        external_data_root: a folder that the caller trusts: external data may lie anywhere in it, behind links too.
        shapes: those that inputs will be given, by name; a list of such where they will be given others in turn. Where
            they show that one name of the model stands for several sizes, each gets a symbol of its own, and a warning
            says so; open sizes stay open.

    Returns:
        The module; its constants view the mapped file, which must not be written to while the module is used.

    Raises:
        UairError: the file is no ONNX model, contradicts itself, or uses what is not supported (codes UAIR-E01xx).
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise OnnxModelError(
                f"{str(path)!r} is {'no regular file' if path.exists() else 'not there'}", hint="name an .onnx file"
            )
        if path.stat().st_size == 0:
            raise OnnxModelError("the file is empty", place=path.name, hint=_HINT)
        file = MappedFile(path)
    except (OSError, ValueError) as error:
        raise OnnxModelError(f"{str(path)!r} cannot be read: {error}", hint="name an .onnx file") from None
    external = ExternalFiles(path.parent, None if external_data_root is None else Path(external_data_root))
    given = [shapes] if isinstance(shapes, Mapping) else shapes or ()
    return _import(file.view(0, file.size), file, external, path.name, given)


def load_bytes(content: bytes, *, name: str = "", external_data_root: str | Path | None = None) -> Module:
    """Read an ONNX model from memory; constants view `content`.

    Args:
        content: the serialized model.
        name: of the model, for messages.
        external_data_root: a folder that the caller trusts; without it external data are refused.

    Raises:
        UairError: as `load`.
    """
    if not content:
        raise OnnxModelError("the model is empty", place=name, hint=_HINT)
    external = ExternalFiles(None, None if external_data_root is None else Path(external_data_root))
    return _import(memoryview(content), None, external, name)


@collection_paused()
def _import(
    buffer: memoryview,
    file: MappedFile | None,
    external: ExternalFiles,
    name: str,
    shapes: Sequence[Mapping[str, Sequence[int]]] = (),
) -> Module:
    try:
        skeleton = wire.split(buffer, None if file is None else file.release)
        model = _parse(skeleton)
        module = Importer(model, TensorReader(skeleton, buffer, file, external), shapes).run()
    except UairError as error:
        if name and name not in error.place:
            error.place = f"{error.place} of {name}" if error.place else name
        if isinstance(error, OnnxModelError):
            error.hint = error.hint or _HINT
        raise
    producer = " ".join(filter(None, (model.producer_name, model.producer_version)))
    module.origin = Origin(
        "onnx",
        name,
        functools.partial(_sha256, buffer, file),
        producer,
        (
            ("ir", str(model.ir_version)),
            *((entry.domain or "ai.onnx", str(entry.version)) for entry in model.opset_import),
        ),
    )
    module.metadata = {entry.key: entry.value for entry in model.metadata_props}
    return module


def _parse(skeleton: wire.Skeleton) -> ModelProto:
    """The model's message, checked for what every ONNX model has.

    Raises:
        OnnxModelError: it is none.
        OnnxVersionError: its versions are not known.
    """
    try:
        model: ModelProto = ModelProto.FromString(skeleton.data)
    except DecodeError as error:
        raise OnnxModelError(f"the file is not an ONNX model: {error}", hint=_HINT) from None
    if not model.HasField("graph") or not model.ir_version:
        raise OnnxModelError("the file is not an ONNX model: it has no graph or no IR version", hint=_HINT)
    if not 1 <= model.ir_version <= onnx.IR_VERSION:
        raise OnnxVersionError(
            f"the model has IR version {model.ir_version}; onnx {onnx.__version__} knows 1 to {onnx.IR_VERSION}",
            hint="upgrade onnx, or export the model with an older IR version",
        )
    check_model(model)
    return model


def _sha256(buffer: memoryview, file: MappedFile | None) -> str:
    """Hash of the model file, read in steps so that a mapped file need not be in memory whole."""
    digest = hashlib.sha256()
    for at in range(0, len(buffer), _HASH_STEP):
        digest.update(buffer[at : at + _HASH_STEP])
        if file is not None:
            file.release(at, min(_HASH_STEP, len(buffer) - at))
    return digest.hexdigest()
