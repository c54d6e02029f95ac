"""Artifacts: what a compilation leaves, as a folder or as one zip file.

    manifest.json          what it is, every file with its hash, and where it came from
    model.uair (+ .safetensors)   the final IR
    report.json            verdicts per node, passes with time, sizes
    golden/                inputs.npz and the reference's outputs.npz
    ...                    the vendor's files, build.sh

The same input gives the same bytes: nothing in an artifact depends on time, machine or path.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import Any, BinaryIO, cast

import attrs
import numpy as np

from uair._version import __version__
from uair.atomic import OutputError, atomic_file, atomic_folder, reported, require_writable
from uair.errors import UairError
from uair.ir.dtype import Array

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 64 << 20
EPOCH = (1980, 1, 1, 0, 0, 0)
PIECES = 4096
"""Pieces of JSON that are joined at a time: a list of all of them is some times as large as the text."""


class ArtifactError(UairError):
    """An artifact is missing, incomplete, altered, or written by another version's schema."""

    code = "UAIR-E0602"
    title = "Artifact is not usable"


class ArtifactBuilder:
    """Collects the files of an artifact in a folder that becomes visible when everything is written.

    Attributes:
        manifest: fields of manifest.json beside `files`; codegens add their own under the key "target_files" or others.
        report: content of report.json.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest: dict[str, Any] = {}
        self.report: dict[str, Any] = {}

    def path_for(self, name: str) -> Path:
        """Where to write a file of the artifact; folders on the way are made.

        Raises:
            ArtifactError: the name leaves the artifact.
        """
        path = self.root / _checked(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def golden_files(self) -> dict[str, str] | None:
        """Names of the golden "inputs" and "outputs", for scripts that compare with them; None when there are none."""
        golden = self.manifest.get("golden")
        return None if golden is None else {key: str(golden[key]) for key in ("inputs", "outputs")}

    def add_text(self, name: str, text: str, *, executable: bool = False) -> Path:
        """Write a text file (UTF-8, Unix line ends)."""
        path = self.path_for(name)
        path.write_bytes(text.encode())
        path.chmod(0o755 if executable else 0o644)
        return path

    def add_json(self, name: str, value: Any) -> Path:
        """Write plain data as JSON: sorted keys, indented."""
        return self.add_text(name, to_json(value))

    def add_arrays(self, name: str, arrays: Mapping[str, Array]) -> Path:
        """Write an .npz file (uncompressed; its bytes depend on the arrays only)."""
        path = self.path_for(name)
        with path.open("wb") as file:
            write_arrays(file, arrays)
        return path

    def finish(self) -> None:
        """Write report.json and manifest.json with the hashes of all files."""
        self.add_json("report.json", self.report)
        files = {
            path.relative_to(self.root).as_posix(): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }
        self.add_json(MANIFEST, {"schema": SCHEMA_VERSION, "uair": __version__, **self.manifest, "files": files})


def names_file(output: str | os.PathLike[str]) -> bool:
    """Whether an output is one zip file: its name has a suffix, such as `model.bin` or `model.zip`.

    `model-v1.0`, `model.v2` and `model.bin/` are folders: a suffix is a letter and up to seven letters and digits, and
    no version.
    """
    text = os.fspath(output)
    return not text.endswith(("/", os.sep)) and re.fullmatch(r"\.(?!v\d)[A-Za-z]\w{0,7}", Path(text).suffix) is not None


@contextmanager
def build_artifact(
    output: str | os.PathLike[str], *, overwrite: bool = False
) -> Generator[ArtifactBuilder, None, None]:
    """An artifact that appears at `output` when the block ends without an exception, and leaves nothing otherwise.

    Args:
        output: a folder, or the name of one zip file, see `names_file`.
        overwrite: replace what is there, when it is an artifact or an empty folder.

    Raises:
        OutputError: `output` exists (and is not to be overwritten) or cannot be written.
    """
    require_place(output, overwrite=overwrite)
    path = Path(output)
    if os.path.isdir(path) or not names_file(output):
        with atomic_folder(path, overwrite=overwrite) as root:
            builder = ArtifactBuilder(root)
            yield builder
            builder.finish()
        return
    with atomic_file(path) as file, reported(path), tempfile.TemporaryDirectory(prefix="uair-") as temporary:
        with reported(path, Path(temporary)):
            builder = ArtifactBuilder(Path(temporary))
            yield builder
            builder.finish()
            _write_zip(builder.root, file)


def require_place(output: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Find out before long work whether an artifact can be written to `output`.

    Raises:
        OutputError: see `build_artifact`.
    """
    path = Path(output)
    with reported(path):
        _require_free(path, overwrite=overwrite)
    require_writable(path)


def _require_free(path: Path, *, overwrite: bool) -> None:
    """Refuse to replace anything that is no artifact: a typing mistake must not cost a model or a home folder.

    Raises:
        OutputError: see there.
    """
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise OutputError(f"{path} exists", hint="choose another name, remove it, or pass --overwrite")
    if path.is_dir():
        mine = (path / MANIFEST).is_file() or not any(path.iterdir())
    else:
        mine = _is_zipped_artifact(path)
    if not mine:
        raise OutputError(f"{path} exists and is no artifact: it is not replaced", hint="choose another name")


def _is_zipped_artifact(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def write_arrays(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write an .npz file, uncompressed, whose bytes depend on the arrays only; texts as NumPy's texts of one length."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for key, array in arrays.items():
            entry = zipfile.ZipInfo(f"{key}.npy", EPOCH)
            with archive.open(entry, "w", force_zip64=True) as member:
                plain = np.asarray(array, np.str_ if array.dtype.kind == "O" else None, order="C")
                np.lib.format.write_array(member, plain, allow_pickle=False)


def _write_zip(root: Path, file: BinaryIO) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), EPOCH)
                entry.external_attr = (path.stat().st_mode & 0o777) << 16
                with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)


@attrs.define(eq=False, repr=False)
class Artifact:
    """A compiled model on disk.

    Attributes:
        root: the folder (a temporary one for an artifact that is a zip file, removed with the object).
        manifest: content of manifest.json.
        path: the folder or file the user named.
    """

    root: Path
    manifest: Mapping[str, Any]
    path: Path

    def __repr__(self) -> str:
        return f"<artifact {str(self.path)!r} for {self.manifest['target']}: {len(self.manifest['files'])} files>"

    @staticmethod
    def open(path: str | os.PathLike[str], *, verify: bool = True) -> Artifact:
        """Read an artifact.

        Args:
            path: folder or zip file.
            verify: compare every file with its recorded hash.

        Raises:
            ArtifactError: it is none, incomplete, altered, or of an unknown schema.
        """
        given = Path(path)
        if given.is_dir():
            return _opened(given, given, verify=verify)
        if not given.is_file():
            raise ArtifactError(f"there is no artifact {given}", hint="`uair compile MODEL --target T` makes one")
        temporary = tempfile.TemporaryDirectory(prefix="uair-artifact-")
        try:
            _extract(given, Path(temporary.name))
            artifact = _opened(Path(temporary.name), given, verify=verify)
        except BaseException:
            temporary.cleanup()
            raise
        weakref.finalize(artifact, temporary.cleanup)
        return artifact

    @property
    def target(self) -> str:
        """Name of the target it is for."""
        return str(self.manifest["target"])

    def file(self, name: str) -> Path:
        """Path of one of its files.

        Raises:
            ArtifactError: the manifest lists no such file.
        """
        if name not in self.manifest["files"]:
            raise ArtifactError(f"{self.path} has no file {name!r}", hint=f"it has {', '.join(self.manifest['files'])}")
        return self.root / _checked(name)

    def part(self, folder: str) -> Artifact:
        """The artifact of one part of a model that runs on several devices, which lives as long as this one.

        Raises:
            ArtifactError: there is none in that folder.
        """
        self.file(f"{folder}/{MANIFEST}")
        root = self.root / _checked(folder)
        return Artifact(root, _read_manifest(root, self.path / folder), self.path / folder)

    def arrays(self, name: str) -> dict[str, Array]:
        """Content of one of its .npz files.

        Raises:
            ArtifactError: the file cannot be read.
        """
        try:
            with np.load(self.file(name), allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ArtifactError(f"{self.path}: {name} cannot be read: {error}") from error

    def verify_files(self) -> None:
        """Compare every file with its recorded size and hash.

        Raises:
            ArtifactError: naming the first file that is missing or differs.
        """
        for name, recorded in self.manifest["files"].items():
            path = self.root / _checked(name)
            if not path.is_file() or path.is_symlink():
                raise ArtifactError(f"{self.path}: {name} is missing", hint="compile the model again")
            if path.stat().st_size != recorded["bytes"] or file_sha256(path) != recorded["sha256"]:
                raise ArtifactError(f"{self.path}: {name} is not what was compiled", hint="compile the model again")


def _opened(root: Path, path: Path, *, verify: bool) -> Artifact:
    artifact = Artifact(root, _read_manifest(root, path), path)
    if verify:
        artifact.verify_files()
    return artifact


def _extract(source: Path, root: Path) -> None:
    """Unpack a zip file; entries that leave the folder, links, repeated names and compressed bombs are refused."""
    hint = "compile the model again, or copy the file again"
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            total = sum(entry.file_size for entry in entries)
            if total > source.stat().st_size:
                raise ArtifactError(f"{source} would unpack to {total} bytes: artifacts are not compressed", hint=hint)
            if len({entry.filename for entry in entries}) != len(entries):
                raise ArtifactError(f"{source} holds two files of the same name", hint=hint)
            for entry in entries:
                path = root / _checked(entry.filename)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as packed, path.open("xb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
                path.chmod(0o755 if (entry.external_attr >> 16) & 0o100 else 0o644)
    except (OSError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise ArtifactError(f"{source} is not an artifact: {error}", hint=hint) from error


def _read_manifest(root: Path, shown: Path) -> Mapping[str, Any]:
    path = root / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{shown}: {MANIFEST} is too large to be one")
        manifest = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{shown} has no {MANIFEST}", hint="`uair compile` writes artifacts") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{shown}: {MANIFEST} cannot be read: {error}") from error
    problem = _manifest_problem(manifest)
    if problem:
        raise ArtifactError(f"{shown}: {MANIFEST} {problem}", hint="compile the model again with this version")
    return cast("Mapping[str, Any]", manifest)


_FIELDS: Mapping[str, type] = {
    "inputs": list,
    "outputs": list,
    "partitions": list,
    "files": dict,
    "golden": dict,
    "name": str,
    "pipeline": list,
    "source": dict,
    "target": str,
    "toolchain": dict,
    "uair": str,
    "verdicts": dict,
}
_REQUIRED = ("target", "inputs", "outputs", "files")


def _manifest_problem(manifest: Any) -> str:
    """What is wrong with a manifest's content; empty when it can be used."""
    if not isinstance(manifest, dict):
        return "is not a JSON object"
    known = cast("dict[str, Any]", manifest)
    if known.get("schema") != SCHEMA_VERSION:
        return f"has schema {known.get('schema')!r}, this UAIR reads {SCHEMA_VERSION}"
    missing = [name for name in _REQUIRED if name not in known]
    if missing:
        return f"has no {missing[0]!r}"
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(known.get(name, kind()), kind)]
    if wrong:
        return f"has no {_FIELDS[wrong[0]].__name__} as {wrong[0]!r}"
    bad = [name for name in ("inputs", "outputs") for entry in known[name] if not _is_port(entry)]
    if bad:
        return f"has an entry among its {bad[0]} without name, dtype and shape"
    for which, name in known.get("golden", {}).items():
        if which in ("inputs", "outputs") and (not isinstance(name, str) or name not in known["files"]):
            return f"names golden {which} that are not among its files"
    return _files_problem(known["files"])


def _is_port(entry: Any) -> bool:
    """Whether an entry describes an input or output."""
    if not isinstance(entry, dict):
        return False
    port = cast("dict[str, Any]", entry)
    shape = port.get("shape", 0)
    sizes: list[Any] = shape if isinstance(shape, list) else []
    return (
        isinstance(port.get("name"), str)
        and isinstance(port.get("dtype"), str)
        and (shape is None or isinstance(shape, list))
        and all(isinstance(size, (int, str)) for size in sizes)
        and isinstance(port.get("preprocess", {}), dict)
    )


def _files_problem(files: Mapping[str, Any]) -> str:
    for name, entry in files.items():
        record = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        if not isinstance(record.get("sha256"), str) or not isinstance(record.get("bytes"), int):
            return f"has no size and hash for {name!r}"
        _checked(name)
    return ""


def _checked(name: str) -> str:
    """A file name inside an artifact.

    Raises:
        ArtifactError: it is absolute or leaves the folder.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in name:
        raise ArtifactError(f"{name!r} is not a file inside an artifact")
    return name


def file_sha256(path: Path) -> str:
    """Hash of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def to_json(value: Any) -> str:
    """Plain data as text: sorted keys, two blanks of indent, a final line end; NaN and infinities as strings."""
    encoder = json.JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    pieces, parts = encoder.iterencode(_plain(value)), list[str]()
    while part := "".join(itertools.islice(pieces, PIECES)):
        parts.append(part)
    return "".join((*parts, "\n"))


def _plain(value: Any) -> Any:
    if type(value) in (str, int, bool, NoneType):  # nearly all, and asking for a Mapping takes long
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
