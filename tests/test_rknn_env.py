"""The environment of rknn-toolkit2: where it is, with which Python, once among processes. Nothing is installed here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import rknn_env

IS_311 = sys.version_info[:2] == (3, 11)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("UAIR_VENDOR_HOME", "UAIR_CACHE", "XDG_CACHE_HOME", "UAIR_PYTHON311"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UAIR_VENDOR_HOME", os.fspath(tmp_path / "vendor"))
    return tmp_path / "vendor"


def fake_python(path: Path, prints: str, status: int = 0) -> str:
    """A program that answers the probe for version and modules."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = "" if status == 0 else " >&2"
    path.write_text(f"#!/bin/sh\necho '{prints}'{stream}\nexit {status}\n")
    path.chmod(0o755)
    return os.fspath(path)


def test_home(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    assert rknn_env.home() == home
    monkeypatch.delenv("UAIR_VENDOR_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert rknn_env.home() == Path("/xdg/uair/vendor")
    monkeypatch.setenv("UAIR_CACHE", "/cache")
    assert rknn_env.home() == Path("/cache/vendor")


def test_the_folder_depends_on_the_versions(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    before = rknn_env.folder()
    assert before.parent == home
    assert before == rknn_env.folder()
    monkeypatch.setattr(rknn_env, "PINS", (*rknn_env.PINS, "another==1.0"))
    assert rknn_env.folder() != before


def test_every_version_is_pinned() -> None:
    names = [pin.partition("==") for pin in (rknn_env.TOOLKIT, rknn_env.TORCH, *rknn_env.PINS)]
    assert all(sign == "==" and version for _, sign, version in names)
    assert len({name for name, _, _ in names}) == len(names)


@pytest.mark.parametrize(
    ("prints", "status", "reason"),
    [
        ("3 11 cpython", 0, ""),
        ("3 12 cpython", 0, "is cpython 3.12"),
        ("3 11 pypy", 0, "is pypy 3.11"),
        ("ModuleNotFoundError: No module named ensurepip", 1, "apt install python3.11-venv"),
        ("pyenv: python3.11: command not found", 127, "pyenv: python3.11: command not found"),
    ],
)
def test_why_an_interpreter_is_not_used(tmp_path: Path, prints: str, status: int, reason: str) -> None:
    found = rknn_env.why_not(fake_python(tmp_path / "python3.11", prints, status))
    assert (reason in found) if reason else (found == "")


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "python"
    path.write_text("text")
    assert rknn_env.why_not(os.fspath(path)) == "cannot be executed"
    path.chmod(0o755)
    path.write_bytes(b"\x7fELF")
    assert "does not start" in rknn_env.why_not(os.fspath(path))


def test_this_interpreter_is_judged_by_its_version() -> None:
    assert (rknn_env.why_not(sys.executable) == "") == IS_311


def test_the_first_that_fits_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim = fake_python(tmp_path / "shims" / "python3.11", "pyenv: python3.11: command not found", 127)
    real = fake_python(tmp_path / "bin" / "python3.11", "3 11 cpython")
    monkeypatch.setattr(sys, "executable", "/no/python")
    monkeypatch.setenv("PATH", os.pathsep.join(map(os.path.dirname, (shim, real))))
    assert rknn_env.find_python() == real
    given = fake_python(tmp_path / "given", "3 11 cpython")
    monkeypatch.setenv("UAIR_PYTHON311", given)
    assert rknn_env.find_python() == given


def test_none_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake_python(tmp_path / "python3.11", "3 9 cpython")
    monkeypatch.setattr(rknn_env, "candidates", lambda: iter([old, "/no/such/python"]))
    with pytest.raises(rknn_env.ToolkitEnvironmentError) as caught:
        rknn_env.find_python()
    assert f"{old}: is cpython 3.9" in str(caught.value)
    assert "/no/such/python" not in str(caught.value)
    assert "$UAIR_PYTHON311" in str(caught.value)


def test_the_given_one_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(rknn_env.ToolkitEnvironmentError, match="/no/such/python: cannot be executed"):
        rknn_env.find_python("/no/such/python")


def test_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[Path] = []

    def install(_: str, place: Path) -> None:
        assert not place.exists()
        place.mkdir()
        installed.append(place)

    monkeypatch.setattr(rknn_env, "install", install)
    monkeypatch.setattr(rknn_env, "find_python", lambda given: given)
    assert rknn_env.ensure("python") == rknn_env.interpreter()
    assert rknn_env.ensure("python") == rknn_env.interpreter()
    assert installed == [rknn_env.folder()]


def test_what_a_killed_process_left_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    (rknn_env.folder() / "lib").mkdir(parents=True)

    def install(_: str, place: Path) -> None:
        place.mkdir()

    monkeypatch.setattr(rknn_env, "install", install)
    monkeypatch.setattr(rknn_env, "find_python", lambda given: given)
    rknn_env.ensure("python")
    assert [p.name for p in rknn_env.folder().iterdir()] == [rknn_env.STAMP]


def test_a_failed_installation_is_not_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    def install(_: str, place: Path) -> None:
        place.mkdir()
        rknn_env.run(sys.executable, "-c", "print('no such version'); raise SystemExit(1)")

    monkeypatch.setattr(rknn_env, "install", install)
    monkeypatch.setattr(rknn_env, "find_python", lambda given: given)
    with pytest.raises(rknn_env.ToolkitEnvironmentError, match=r"failed with status 1:\nno such version"):
        rknn_env.ensure("python")
    assert not (rknn_env.folder() / rknn_env.STAMP).exists()


def test_processes_wait_for_each_other(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = (
        "import os, time\nfrom tools import rknn_env\n"
        "def install(_, place):\n"
        f"    os.mkdir(place); time.sleep(0.5); open({os.fspath(log)!r}, 'a').write('installed\\n')\n"
        "rknn_env.install = install\nrknn_env.find_python = str\nprint(rknn_env.ensure('python'))"
    )
    root = Path(__file__).resolve().parent.parent
    running = [
        subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = [process.communicate(timeout=60)[0].strip() for process in running]
    assert answers == [os.fspath(rknn_env.interpreter())] * 3
    assert log.read_text() == "installed\n"


def test_failure_on_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["rknn_env.py", "--python", "/no/such/python"])
    assert rknn_env.main() == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("rknn_env: rknn-toolkit2 needs CPython 3.11")
