"""Every file in checks/ says by `// RUN:` lines what to run on it, and by `// CHECK` lines what must come out.

`%s` is the file, `%t` a temporary one. Commands are `uair ...` (run in this process, standard output passed on),
`not uair ...` (must fail; what it writes to standard error is passed on) and `filecheck ...`.
"""

from __future__ import annotations

import contextlib
import io
import shlex
from pathlib import Path

import pytest
from filecheck.matcher import Matcher
from filecheck.options import parse_argv_options

from uair.cli import main

FOLDER = Path(__file__).parent / "checks"
FILES = sorted(FOLDER.rglob("*.uair"))


def run_lines(path: Path) -> list[str]:
    """The RUN lines of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("RUN:", 1)[1].strip() for line in lines if line.lstrip().startswith("// RUN:")]


def run(line: str, path: Path, tmp_path: Path) -> None:
    """Run one line, its commands joined by pipes.

    Raises:
        AssertionError: a command failed; with what it wrote.
    """
    passed_on = ""
    for number, command in enumerate(line.split("|")):
        words = [w.replace("%s", str(path)).replace("%t", str(tmp_path / "t.uair")) for w in shlex.split(command)]
        if words[0] == "filecheck":
            text = tmp_path / f"input{number}"
            text.write_text(passed_on, encoding="utf-8")
            check(words, text)
        else:
            passed_on = run_uair(words)


def run_uair(words: list[str]) -> str:
    """Run a command of UAIR through its own entry point and return what it printed."""
    out, err = io.StringIO(), io.StringIO()
    refused = words[0] == "not"
    name, *arguments = words[1:] if refused else words
    assert name == "uair", f"unknown command {name!r}"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    assert (status != 0) == refused, f"{' '.join(words)}: exit status {status}\n{out.getvalue()}{err.getvalue()}"
    return err.getvalue() if refused else out.getvalue()


def check(words: list[str], text: Path) -> None:
    """Hold a text against the CHECK lines of a file."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = Matcher.from_opts(parse_argv_options([*words, "--input-file", str(text)])).run()
    assert status == 0, f"{said.getvalue()}\n--- input ---\n{text.read_text(encoding='utf-8')}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_file(path: Path, tmp_path: Path) -> None:
    lines = run_lines(path)
    assert lines, "the file has no // RUN: line"
    for line in lines:
        run(line, path, tmp_path)


def test_a_wrong_expectation_fails(tmp_path: Path) -> None:
    path = tmp_path / "wrong.uair"
    path.write_text("%x: f32[4]\n%y = Relu(%x)\n// CHECK: Sigmoid\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="Sigmoid"):
        run("uair dump %s | filecheck %s", path, tmp_path)


def test_a_command_that_should_fail_must(tmp_path: Path) -> None:
    path = tmp_path / "fine.uair"
    path.write_text("%x: f32[4]\n%y = Relu(%x)\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="exit status 0"):
        run("not uair dump %s", path, tmp_path)
