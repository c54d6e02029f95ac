"""Artifacts: the same bytes again, whole or not at all, and what is not read back."""

from __future__ import annotations

import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.helpers import listing, run_uair, write_tiny
from uair.api import compile as compile_model
from uair.api import run
from uair.artifact import (
    MANIFEST,
    Artifact,
    ArtifactBuilder,
    ArtifactError,
    build_artifact,
    names_file,
    to_json,
)
from uair.atomic import OutputError
from uair.builtin import TARGETS
from uair.ir import DType, Graph, Module, Node, TensorType, constant
from uair.ops import LabelEncoder

INTERFACE: dict[str, Any] = {"target": "reference", "inputs": [], "outputs": []}


def make(path: Path, **manifest: Any) -> Path:
    """A small artifact."""
    with build_artifact(path) as builder:
        builder.manifest |= INTERFACE | manifest
        builder.add_text("build.sh", "#!/bin/sh\n", executable=True)
        builder.add_arrays("golden/inputs.npz", {"x": np.arange(6, dtype=np.float32).reshape(2, 3)})
    return path


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        p.relative_to(folder).as_posix(): (p.read_bytes(), stat.S_IMODE(p.stat().st_mode))
        for p in folder.rglob("*")
        if p.is_file()
    }


# --------------------------------------------------------------------------------------------------------- determinism
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_same_model_gives_the_same_bytes(tmp_path: Path, target: str) -> None:
    model = write_tiny(tmp_path)
    for name in ("first", "second"):
        compile_model(model, target, output=tmp_path / name, shapes={"x": (1, 3, 8, 8)})
        compile_model(model, target, output=tmp_path / f"{name}.zip", shapes={"x": (1, 3, 8, 8)})
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()


@pytest.mark.parametrize("target", ["ascend310", "cpu", "rk3588"])
def test_another_process_gives_the_same_bytes(tmp_path: Path, target: str) -> None:
    """With another order of hash tables, in another folder, with INT8."""
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        model = write_tiny(folder)
        np.save(folder / "calib.npy", np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32))
        quantize = ("--quantize", "int8", "--calib", "calib.npy")
        command = ("compile", model, "-t", target, "--shape", "x=1,3,8,8", *quantize, "-o", "out.zip")
        run_uair(*command, cwd=folder, PYTHONHASHSEED=seed).require()
    assert (tmp_path / "1" / "out.zip").read_bytes() == (tmp_path / "2" / "out.zip").read_bytes()


def test_nothing_depends_on_place_time_or_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path / "a")
    (tmp_path / "deep").mkdir()
    monkeypatch.setattr("time.time", lambda: 1e9)
    old = os.umask(0o077)
    try:
        second = make(tmp_path / "deep" / "b")
        make(tmp_path / "b.zip")
    finally:
        os.umask(old)
    make(tmp_path / "a.zip")
    assert {n: c for n, (c, _) in contents(first).items()} == {n: c for n, (c, _) in contents(second).items()}
    assert contents(first)["build.sh"][1] == 0o755 == contents(second)["build.sh"][1]


def test_a_zip_file_holds_what_the_folder_holds(tmp_path: Path) -> None:
    folder, file = make(tmp_path / "a"), make(tmp_path / "a.zip")
    opened = Artifact.open(file)
    assert {n: c for n, (c, _) in contents(opened.root).items()} == {n: c for n, (c, _) in contents(folder).items()}
    assert os.access(opened.root / "build.sh", os.X_OK)
    assert opened.path == file and opened.manifest == Artifact.open(folder).manifest
    root = opened.root
    del opened
    assert not root.exists()


def test_json_is_plain_sorted_and_ends_in_a_line_end() -> None:
    value = {"b": (1, np.float32(0.5)), "a": [np.int64(3), float("nan"), -float("inf")], "ü": None}
    assert json.loads(to_json(value)) == {"a": [3, "nan", "-inf"], "b": [1, 0.5], "ü": None}
    assert to_json({"b": 1, "a": 2}) == '{\n  "a": 2,\n  "b": 1\n}\n'


# -------------------------------------------------------------------------------------------------------------- writing
@pytest.mark.parametrize(
    ("name", "is_file"),
    [
        ("model", False), ("model.bin", True), ("model.zip", True), ("a/b.uairpkg", True), ("model/", False),
        ("model.bin/", False), ("net-v1.0", False), ("net.v2", False), ("ch_v2.0_cls-cpu", False), (".", False),
        ("..", False), ("model.onnx-cpu", False), (".hidden", False),
    ],
)  # fmt: skip
def test_which_outputs_are_files(name: str, is_file: bool) -> None:
    assert names_file(name) is is_file


@pytest.mark.parametrize("name", ["out", "out.bin"])
def test_a_failure_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuntimeError), build_artifact(tmp_path / name) as builder:
        builder.add_text("a.txt", "half")
        raise RuntimeError
    assert listing(tmp_path) == []


@pytest.mark.parametrize("name", ["out", "out.bin"])
def test_a_failure_keeps_what_was_there(tmp_path: Path, name: str) -> None:
    make(tmp_path / name)
    before = listing(tmp_path)
    with pytest.raises(RuntimeError), build_artifact(tmp_path / name, overwrite=True) as builder:
        builder.add_text("a.txt", "half")
        raise RuntimeError
    assert listing(tmp_path) == before
    Artifact.open(tmp_path / name)


@pytest.mark.parametrize("name", ["out", "out.bin"])
def test_a_full_disk_is_an_output_error(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArtifactBuilder, "finish", full)
    with pytest.raises(OutputError, match=f"{name} cannot be written: No space left"):
        make(tmp_path / name)
    assert listing(tmp_path) == []


def test_an_existing_output(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").touch()
    (tmp_path / "file.bin").write_text("mine")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("x", "mine")
    (tmp_path / "link").symlink_to(tmp_path / "full")
    for name in ("empty", "full", "file.bin", "other.zip", "link"):
        with pytest.raises(OutputError, match="exists"), build_artifact(tmp_path / name):
            pass
    for name in ("full", "file.bin", "other.zip", "link"):
        with pytest.raises(OutputError, match="not replaced|not a folder"):
            with build_artifact(tmp_path / name, overwrite=True):
                pass
    with build_artifact(tmp_path / "empty", overwrite=True) as builder:
        builder.manifest |= INTERFACE
    Artifact.open(tmp_path / "empty")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "a\\b", "c:x", "a\0b"])
def test_a_codegen_cannot_leave_the_artifact(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="not a file inside"), build_artifact(tmp_path / "out") as builder:
        builder.add_text(name, "x")


# -------------------------------------------------------------------------------------------------------------- reading
def test_what_is_read(tmp_path: Path) -> None:
    artifact = Artifact.open(make(tmp_path / "a"))
    assert artifact.target == "reference"
    np.testing.assert_array_equal(artifact.arrays("golden/inputs.npz")["x"], [[0, 1, 2], [3, 4, 5]])
    assert artifact.file("build.sh").read_text() == "#!/bin/sh\n"
    with pytest.raises(ArtifactError, match="no file 'other'") as caught:
        artifact.file("other")
    assert "build.sh" in caught.value.hint
    with pytest.raises(ArtifactError, match="build.sh cannot be read"):
        artifact.arrays("build.sh")


def test_texts_are_golden_values_too(tmp_path: Path) -> None:
    """What the file holds is what was computed with: the texts of the input, not numbers in their place."""
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.STRING, (2, 3)))
    tables = (np.array(each, object) for each in (["0", "1"], ["zero", "one"], "?"))
    graph.add_output("y", graph.append(Node(LabelEncoder(), [x, *map(constant, tables)])).output)
    artifact = compile_model(Module("words", {"main": graph}), "cpu", output=tmp_path / "out")
    given, wanted = artifact.arrays("golden/inputs.npz")["x"], artifact.arrays("golden/outputs.npz")["y"]
    assert [{"0": "zero", "1": "one"}[text] for text in given.ravel().tolist()] == wanted.ravel().tolist()
    assert run(artifact, {"x": given})["y"].tolist() == wanted.tolist()


def change(folder: Path) -> None:
    (folder / "build.sh").write_text("#!/bin/sh\nrm -rf /\n")


def same_size(folder: Path) -> None:
    (folder / "build.sh").write_text("#!/bin/ls\n")


def remove(folder: Path) -> None:
    (folder / "golden" / "inputs.npz").unlink()


def link(folder: Path) -> None:
    (folder / "build.sh").rename(folder / "real.sh")
    (folder / "build.sh").symlink_to("real.sh")


@pytest.mark.parametrize(
    ("harm", "words"),
    [(change, "not what was compiled"), (same_size, "not what was compiled"), (remove, "missing"), (link, "missing")],
)
def test_alterations_are_found(tmp_path: Path, harm: Callable[[Path], None], words: str) -> None:
    folder = make(tmp_path / "a")
    harm(folder)
    with pytest.raises(ArtifactError, match=words):
        Artifact.open(folder)


def rewrite(folder: Path, **fields: Any) -> None:
    path = folder / MANIFEST
    manifest = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v != "REMOVED"}))


PORT = {"name": "x", "dtype": "f32", "shape": [1]}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"schema": 2}, "schema 2, this UAIR reads 1"),
        ({"schema": "REMOVED"}, "schema None"),
        ({"target": "REMOVED"}, "has no 'target'"),
        ({"target": 3}, "has no str as 'target'"),
        ({"inputs": "REMOVED"}, "has no 'inputs'"),
        ({"inputs": {}}, "has no list as 'inputs'"),
        ({"inputs": [3]}, "among its inputs"),
        ({"outputs": [PORT | {"name": 3}]}, "among its outputs"),
        ({"outputs": [PORT | {"shape": "x"}]}, "among its outputs"),
        ({"outputs": [PORT | {"shape": [1.5]}]}, "among its outputs"),
        ({"inputs": [PORT | {"preprocess": []}]}, "among its inputs"),
        ({"files": []}, "has no dict as 'files'"),
        ({"files": {"build.sh": {}}}, "no size and hash for 'build.sh'"),
        ({"files": {"../x": {"sha256": "", "bytes": 0}}}, "'../x' is not a file inside an artifact"),
        ({"golden": {"inputs": "/etc/passwd"}}, "golden inputs that are not among its files"),
        ({"source": 1}, "has no dict as 'source'"),
    ],
)
def test_manifests_that_are_none(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    folder = make(tmp_path / "a")
    rewrite(folder, **fields)
    with pytest.raises(ArtifactError, match=words.replace("(", r"\(")):
        Artifact.open(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\udcff", "[" * 100_000, '{"schema": 1'])
def test_manifests_that_are_no_json(tmp_path: Path, text: str) -> None:
    folder = make(tmp_path / "a")
    (folder / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArtifactError):
        Artifact.open(folder)


def test_places_without_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path, words in (
        (tmp_path, "no manifest.json"),
        (tmp_path / "missing", "there is no artifact"),
        (tmp_path / "text", "not an artifact"),
    ):
        with pytest.raises(ArtifactError, match=words) as caught:
            Artifact.open(path)
        assert caught.value.hint


# ---------------------------------------------------------------------------------------------------- hostile zip files
def add(path: Path, name: str, content: bytes = b"x", compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "a", compression) as archive:
        archive.writestr(name, content)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil", "c:evil"])
def test_entries_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "a.zip")
    add(path, name)
    with pytest.raises(ArtifactError, match="not a file inside an artifact"):
        Artifact.open(path)
    assert listing(tmp_path) == ["a.zip"]


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    add(path, "zeros", bytes(8 << 20), zipfile.ZIP_DEFLATED)
    with pytest.raises(ArtifactError, match="would unpack to"):
        Artifact.open(path)


def test_a_link_in_a_zip_file_is_unpacked_as_text(tmp_path: Path) -> None:
    """The entry's mode says "symbolic link to /etc/passwd"; what comes out is an ordinary file."""
    path = make(tmp_path / "a.zip")
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    opened = Artifact.open(path)
    assert not (opened.root / "link").is_symlink()
    assert (opened.root / "link").read_text() == "/etc/passwd"


def test_a_name_twice(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    with pytest.warns(UserWarning, match="Duplicate name"):
        add(path, "build.sh", b"#!/bin/ls\n")
    with pytest.raises(ArtifactError, match="same name"):
        Artifact.open(path)


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    add(path, "build.sh/inner")
    with pytest.raises(ArtifactError, match="not an artifact"):
        Artifact.open(path)


@pytest.mark.parametrize("keep", [0, 1, 10, 50, 90, 99])
def test_truncated_zip_files(tmp_path: Path, keep: int) -> None:
    path = make(tmp_path / "a.zip")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * keep // 100])
    with pytest.raises(ArtifactError):
        Artifact.open(path)


def test_damaged_zip_files(tmp_path: Path) -> None:
    """Every byte in turn is damaged (a sample of them): an error of its own, or the very same artifact."""
    path = make(tmp_path / "a.zip")
    content = path.read_bytes()
    manifest = Artifact.open(path).manifest
    for position in range(0, len(content), max(len(content) // 150, 1)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x41]) + content[position + 1 :])
        try:
            assert Artifact.open(path).manifest == manifest
        except ArtifactError:
            continue


def test_an_encrypted_entry(tmp_path: Path) -> None:
    path = make(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    (flags,) = struct.unpack_from("<H", content, at + 8)
    struct.pack_into("<H", content, at + 8, flags | 1)
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="not an artifact"):
        Artifact.open(path)
