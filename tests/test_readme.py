"""The README's sessions and snippets are run; its links lead somewhere.

In a session every command is run, and what it prints must be what the README shows: word by word, but for numbers (they
depend on versions and machines), for the width of columns, and for the lines that `...` stands for.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.cli.helpers import EXAMPLE, IMAGES, ROOT, Shell

README = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS = sorted(p.relative_to(ROOT).as_posix() for p in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))


def blocks(mark: str, language: str) -> list[str]:
    """The code blocks behind a comment that begins with `mark`."""
    return re.findall(rf"<!-- {mark}[^>]*-->\n```{language}\n(.*?)```", README, re.DOTALL)


def comparable(line: str) -> str:
    return " ".join(re.sub(r"\d[\d.]*(e[-+]?\d+)?|─+", "#", line).split())


def lines_of(text: str) -> list[str]:
    """Lines to compare; a difference is one line, wherever the length of its numbers broke it."""
    return [comparable(line) for line in re.sub(r"(greatest difference .*)\n {4}", r"\1 ", text.strip()).splitlines()]


def require_shown(shown: str, printed: str) -> None:
    """Every line that is shown was printed, in that order; without `...` in between nothing else was."""
    lines = lines_of(printed)
    at, skip = 0, False
    for line in lines_of(shown):
        if line == "...":
            skip = True
            continue
        found = lines.index(line, at) if line in lines[at:] else -1
        assert found >= 0 and (skip or found == at), f"{line!r} was not printed there:\n{printed}"
        at, skip = found + 1, False
    assert skip or at == len(lines), f"more was printed than is shown:\n{printed}"


@pytest.fixture
def uair(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLE, "model.onnx")
    shutil.copy(IMAGES / "text_line.png", ".")
    return Shell(capsys)


def test_the_sessions(uair: Shell) -> None:
    sessions = blocks("session", "console")
    assert len(sessions) == 2
    commands = [part.split("\n", 1) for session in sessions for part in re.split(r"^\$ ", session, flags=re.M)[1:]]
    assert len(commands) >= 8
    for command, shown in commands:
        program, *arguments = shlex.split(command)
        if program == "cat":
            Path(arguments[0]).write_text(shown)
            continue
        assert program == "uair"
        result = uair(*arguments)
        assert result.status in (0, 3) and result.err == "", (command, result.err)
        require_shown(shown, result.out)


def test_the_snippets(uair: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    snippets = blocks("tested", "python")
    assert len(snippets) == 2
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})
    assert Path("optimised.onnx").is_file()
    assert capsys.readouterr().out.splitlines()[0].startswith("ascend310 True")


def test_the_targets_are_those_that_exist() -> None:
    from uair.builtin import TARGETS

    section = README.split("## Targets")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`\w+`(?: `\w+`)*) \|", section, re.M)
    assert sorted(name for row in rows for name in re.findall(r"\w+", row)) == sorted(TARGETS)


def test_the_manifests_fields_are_documented(uair: Shell) -> None:
    """Every field that is written is named in docs/artifact.md, and every field named there is written."""
    page = (ROOT / "docs" / "artifact.md").read_text("utf-8")
    section = page.split("## manifest.json")[1].split("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)}
    options = ["--shape", "x=1,3,48,192", "--preprocess", "mean=127.5,std=127.5"]
    calibration = ["--quantize", "int8", "--calib", str(IMAGES / "calibration"), "--calib-samples", "8"]
    manifest = uair("compile", "model.onnx", "-t", "cpu", *options, *calibration, "--json").require().json
    assert set(manifest) - {"artifact", "warnings", "cpu"} == named  # `cpu` is the target's own key
    for field in ("source", "toolchain", "quantization", "golden"):
        for name in manifest[field]:
            assert f"`{name}`" in section, f"{field}.{name} is not documented"
    for name in manifest["inputs"][0]["preprocess"]:
        assert f"\n| `{name}` |" in page


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), f"{document} links to {target}"
