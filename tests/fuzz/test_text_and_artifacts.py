"""The text parser and the artifact reader on damaged input: an error of UAIR, or what was meant."""

from __future__ import annotations

import copy
import functools
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import uair
from tests.cli.helpers import EXAMPLE, tiny_model
from tests.fuzz.corpus_control import STACKING, branching, looping
from tests.fuzz.corpus_graphs import leaf
from tests.fuzz.settings import examples
from uair.artifact import Artifact, ArtifactError
from uair.errors import InternalError, UairError
from uair.frontends.onnx import load, load_bytes
from uair.ir.compare import difference
from uair.text import parse_module, print_module, weights_of


@functools.cache
def texts() -> tuple[str, ...]:
    protos = (tiny_model(), looping(STACKING, outputs=("y", "z")), branching(leaf(0), leaf(1)))
    made = [print_module(load_bytes(p.SerializeToString(), name="m.onnx")) for p in protos]
    made.append(print_module(load(EXAMPLE))[:6000])
    sizes = "uair 1\nmodule @m {\n  graph @g(%x: f32[N, 2*M + 1, (N + 3)//2]) -> (%y: f32[N, 2*M + 1, (N + 3)//2]) {\n"
    made.append(sizes + "    %y = Relu(%x) : f32[N, 2*M + 1, (N + 3)//2]\n  }\n}\n")
    return tuple(made)


PIECES = st.sampled_from(
    ["{", "}", "(", ")", "[", "]", "<", ">", ",", ":", "=", "%x", "@w", "f32", "f32[2,3]", "none", "dense<sha256:00>",
     "splat<0.0>", "\"", "\\", "//", "\n", "-", "1e999", "9" * 50, "N**99", "N" * 300, "graph", "module", "constant",
     "Conv2D", "If", "inf", "nan", "0x", "(" * 50, "[" * 50, "\0", "\u2028", "->", "loc(\"a\")", "seq<", "floor(N/0)",
     "**"]
)  # fmt: skip


def reads(text: str) -> None:
    """Parse; what parses must print and parse to the same again."""
    try:
        module = parse_module(text)
    except UairError as error:
        assert not isinstance(error, InternalError), error
        return
    again = parse_module(print_module(module), weights=weights_of(module))
    assert difference(module, again) == ""


@given(st.integers(0, 4), st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 20), PIECES), max_size=4))
@examples(500)
def test_texts_with_pieces_exchanged(which: int, changes: list[tuple[int, int, str]]) -> None:
    text = texts()[which]
    for at, gone, piece in changes:
        at %= len(text)
        text = text[:at] + piece + text[at + gone :]
    reads(text)


@given(st.integers(0, 4), st.integers(0, 1 << 16), st.integers(0, 1 << 16))
@examples(150)
def test_texts_with_a_part_doubled_or_missing(which: int, first: int, second: int) -> None:
    text = texts()[which]
    a, b = sorted((first % len(text), second % len(text)))
    reads(text[:a] + text[b:])
    reads(text[:b] + text[a:])


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map(" ".join)))
@examples(300)
def test_any_text(text: str) -> None:
    reads(text)
    reads("uair 1\n" + text)


# ------------------------------------------------------------------------------------------------------------ artifacts
@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small artifact as a zip file."""
    folder = tmp_path_factory.mktemp("artifact")
    module = load_bytes(tiny_model().SerializeToString(), name="tiny.onnx")
    shapes = {"x": (1, 3, 8, 8)}
    uair.compile(module, target="cpu", shapes=shapes, output=folder / "a.zip")
    return (folder / "a.zip").read_bytes()


def opens(folder: Path, content: bytes) -> None:
    """Open; what opens has a manifest that can be used, and files inside its own folder."""
    path = folder / "fuzz.zip"
    path.write_bytes(content)
    before = sorted(p.name for p in folder.iterdir())
    try:
        opened = Artifact.open(path)
        assert opened.target
        for name in opened.manifest["files"]:
            assert opened.file(name).resolve().is_relative_to(opened.root.resolve())
    except ArtifactError:
        pass
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=5),
    tail=st.booleans(),
)
@examples(150)
def test_bytes_of_an_artifact_replaced(
    artifact: bytes, folder: Path, changes: list[tuple[int, int]], tail: bool
) -> None:
    """At any place, and in the directory at the end, which decides what is unpacked where."""
    damaged = bytearray(artifact)
    for at, value in changes:
        damaged[-1 - at % 1500 if tail else at % len(damaged)] = value
    opens(folder, bytes(damaged))


@given(cut=st.integers(0, 1 << 20), put=st.binary(max_size=30))
@examples(60)
def test_an_artifact_cut_short(artifact: bytes, folder: Path, cut: int, put: bytes) -> None:
    opens(folder, artifact[: cut % len(artifact)] + put)


def repacked(artifact: bytes, manifest: bytes, extra: tuple[str, bytes] | None = None) -> bytes:
    """The artifact with another manifest, and another file."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(artifact)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, manifest if entry.filename == "manifest.json" else old.read(entry))
        if extra is not None:
            new.writestr(*extra)
    return out.getvalue()


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


@given(data=st.data())
@examples(200)
def test_manifests_with_values_exchanged(artifact: bytes, folder: Path, data: st.DataObject) -> None:
    with zipfile.ZipFile(io.BytesIO(artifact)) as archive:
        manifest: Any = json.loads(archive.read("manifest.json"))
    changed = copy.deepcopy(manifest)
    at = changed
    for _ in range(data.draw(st.integers(0, 3))):
        keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(at[key], (dict, list)):
            at[key] = data.draw(VALUES)
            break
        at = at[key]
    opens(folder, repacked(artifact, json.dumps(changed).encode()))


@given(content=st.one_of(st.binary(max_size=60), st.just(b"[" * 100_000), st.just(b'{"schema": 1' + b" " * 10_000)))
@examples(40)
def test_any_manifest(artifact: bytes, folder: Path, content: bytes) -> None:
    opens(folder, repacked(artifact, content))


@pytest.mark.parametrize(
    "name",
    ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "C:evil", "a\0b", ".", "manifest.json/x", "x" * 5000],
)
def test_entries_that_leave_the_folder(artifact: bytes, folder: Path, name: str) -> None:
    with zipfile.ZipFile(io.BytesIO(artifact)) as archive:
        manifest = archive.read("manifest.json")
    opens(folder, repacked(artifact, manifest, (name, b"evil")))
    assert not (folder.parent / "evil").exists()
    assert not Path("/tmp/evil").exists()


def test_a_member_of_enormous_size(artifact: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(artifact)) as archive:
        manifest = archive.read("manifest.json")
    out = io.BytesIO(repacked(artifact, manifest))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", np.zeros(1 << 24, np.uint8).tobytes())
    path = folder / "bomb.zip"
    path.write_bytes(out.getvalue())
    with pytest.raises(ArtifactError, match="would unpack to"):
        Artifact.open(path)
    path.unlink()
