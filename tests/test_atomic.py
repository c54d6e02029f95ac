from __future__ import annotations

import os
from pathlib import Path

import pytest

from uair.api import export_onnx
from uair.atomic import OutputError, atomic_file, atomic_folder
from uair.text import parse_module


class Stop(Exception):
    """What goes wrong in the middle."""


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with atomic_file(path) as file:
        file.write(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    assert listing(tmp_path) == ["model.onnx"]


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(Stop), atomic_file(path) as file:
        file.write(b"half")
        raise Stop
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["model.onnx"]
    with atomic_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_file(tmp_path / "atomic"):
        pass
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_needs_a_folder_and_must_not_be_one(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"), atomic_file(tmp_path):
        pass
    with pytest.raises(OutputError, match="No such file or directory") as caught, atomic_file(tmp_path / "no" / "x"):
        pass
    assert caught.value.code == "UAIR-E0601"
    assert "folder exist" in caught.value.hint
    assert listing(tmp_path) == []


def test_errors_about_other_files_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "x"):
        (tmp_path / "missing").read_bytes()
    assert listing(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no device that is always full")
def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space left"), atomic_file(tmp_path / "x") as file:
        descriptor = os.open("/dev/full", os.O_WRONLY)
        os.dup2(descriptor, file.fileno())
        os.close(descriptor)
        file.write(bytes(1 << 20))
        file.flush()
    assert listing(tmp_path) == []


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "artifact") as folder:
        (folder / "a").write_text("a")
        (folder / "sub").mkdir()
        assert not (tmp_path / "artifact").exists()
    assert listing(tmp_path) == ["artifact", "artifact/a", "artifact/sub"]


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Stop), atomic_folder(tmp_path / "artifact") as folder:
        (folder / "a").write_text("a")
        raise Stop
    assert listing(tmp_path) == []


def test_an_existing_folder_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "artifact"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(OutputError, match="exists"), atomic_folder(target):
        pass
    with pytest.raises(Stop), atomic_folder(target, overwrite=True):
        raise Stop
    assert listing(tmp_path) == ["artifact", "artifact/old"]
    with atomic_folder(target, overwrite=True) as folder:
        (folder / "new").touch()
    assert listing(tmp_path) == ["artifact", "artifact/new"]


def test_a_file_or_a_link_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(OutputError, match="is not a folder"), atomic_folder(tmp_path / name, overwrite=True):
            pass
    assert listing(tmp_path) == ["file", "link"]


def test_what_no_disk_holds_is_not_begun(tmp_path: Path) -> None:
    text = "uair 1\nmodule @m {\n  constant @w = splat<0.0> : f32[8796093022208]\n"
    text += (
        "  graph @main(%x: f32[1]) -> (%y: f32[8796093022208]) {\n    %y = Add(%x, @w) : f32[8796093022208]\n  }\n}\n"
    )
    with pytest.raises(OutputError, match="bytes, the disk has"):
        export_onnx(parse_module(text), tmp_path / "m.onnx")
    assert listing(tmp_path) == []
