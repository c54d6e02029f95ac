"""Files that PyTorch writes: what each is, told by its content, and the way forward for those that hold no program.

No pickle is ever read here: neither TorchScript archives nor files of weights are opened beyond their list of entries.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import attrs

from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError, UnmappedOperatorError
from uair.frontends.torch import archive
from uair.frontends.torch.errors import TorchScriptError, TorchWeightsError
from uair.frontends.torch.importer import Importer
from uair.frontends.torch.mutation import functionalised
from uair.ir.module import Module

_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
"""How a pickle begins: PROTO and the number of the protocol."""


def load_file(path: Path, name: str = "") -> Module:
    """Read a `.pt2` file, or say what the file is and how its model is given.

    Args:
        path: of the file; its suffix does not matter.
        name: of the module; the file's name when not given.

    Raises:
        TorchScriptError: it is a TorchScript archive.
        TorchWeightsError: it holds weights and no program.
        SourceFileError: it is damaged, or none of PyTorch's.
        UairError: the program cannot be read or imported.
    """
    _refuse_others(path)
    try:
        module = Importer(functionalised(archive.read(path))).run(name or path.stem)
    except UnmappedOperatorError as error:
        error.hint = "save it as core operators: `torch.export.save(ep.run_decompositions(), 'model.pt2')`"
        raise
    except UairError as error:
        error.place = error.place or str(path)
        raise
    module.origin = attrs.evolve(module.origin, file=path.name, sha256=lambda: _sha256(path))
    return module


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _refuse_others(path: Path) -> None:
    """Refuse a file that is no archive of exported programs, saying what it is."""
    try:
        with open(path, "rb") as file:
            head = file.read(2)
    except OSError as error:
        raise SourceFileError(f"{path} cannot be read: {error.strerror or error}") from None
    if head in _PICKLES:
        raise _weights(path)
    try:
        with zipfile.ZipFile(path) as container:
            entries = container.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError):
        return  # the reader of archives says what is wrong
    if min((entry.header_offset for entry in entries), default=0):
        return  # an archive in the archive, at the end of a file that was cut short
    inner = {entry.filename.partition("/")[2] for entry in entries}
    if "data.pkl" in inner and any(name.startswith("code/") for name in inner):
        raise TorchScriptError(
            f"{path.name} is a TorchScript archive (torch.jit.save), a format that PyTorch has deprecated",
            place=str(path),
            hint="export the module that it was made from: torch.export.save(torch.export.export(module, inputs), "
            "'model.pt2'). Without it: ep = torch._export.converter.TS2EPConverter(torch.jit.load(file), inputs)"
            ".convert(), then uair.load(ep), for files from a source that you trust",
        )
    if "data.pkl" in inner:
        raise _weights(path)


def _weights(path: Path) -> TorchWeightsError:
    return TorchWeightsError(
        f"{path.name} holds weights, or pickled objects, and no program: what is computed with them is Python code",
        place=str(path),
        hint=f"name the code too: uair compile package.module:factory --weights {path.name} "
        "--example 'x=f32[1,3,224,224]'; "
        "or in Python: module.load_state_dict(torch.load(file, weights_only=True)), uair.load(module.eval(), example)",
    )
