"""Scripts of artifacts: the shared definitions stand in each, and nothing of UAIR is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import uair
from uair.codegen.standalone import standalone
from uair.codegen.standalone.parts import BuildFailed, Fault, compare, given, recorded
from uair.errors import InternalError

CODEGEN = Path(uair.__file__).parent / "codegen"
SCRIPTS = [path for path in sorted(CODEGEN.glob("*/*_script.py")) if "import" in path.read_text()]
HEAD = '"""A script."""\n\nfrom __future__ import annotations\n\nimport sys\n\n'


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 6


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.parent.name + p.stem)
def test_a_script_stands_alone_and_is_clean(path: Path, tmp_path: Path) -> None:
    text = standalone(path)
    assert "uair." not in "".join(line for line in text.splitlines() if "import" in line)
    tree = ast.parse(text, feature_version=(3, 8))
    names = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert len(names) == len(set(names)) and "main" in names
    (tmp_path / "script.py").write_text(text)
    select = ["--isolated", "--select", "F,I,E3", "--preview", "--line-length", "120"]
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", *select, str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_definitions_bring_what_they_use(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    use = "def main() -> None:\n    compare({}, {}, 1.0, exact=True)\n"
    script.write_text(f"{HEAD}from uair.codegen.standalone.parts import compare\n\n\n{use}")
    text = standalone(script)
    assert "def closeness" in text and "def say" in text and "class Fault" not in text
    assert "import numpy as np" in text and "import json" not in text


@pytest.mark.parametrize(
    ("line", "words"),
    [("from uair.codegen.standalone.parts import nothing", "has no nothing"), ("import uair.ir", "does not hold")],
)
def test_what_an_artifact_cannot_hold(line: str, words: str, tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text(f"{HEAD}{line}\n\n\ndef main() -> None:\n    pass\n")
    with pytest.raises(InternalError, match=words):
        standalone(script)


def test_a_run_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def failing(result: dict[str, object]) -> int:
        result["stage"] = "build"
        raise BuildFailed("no engine")

    assert recorded("b.py", tmp_path / "a", failing) == 1
    assert "b.py: build: BuildFailed: no engine" in capsys.readouterr().err
    assert '"status": "failed"' in (tmp_path / "a" / "result.json").read_text()
    assert recorded("b.py", tmp_path / "b", lambda result: 3) == 3
    assert '"status": "wrong"' in (tmp_path / "b" / "result.json").read_text()
    assert recorded("b.py", tmp_path / "c", lambda result: 0) == 0
    assert '"status": "ok"' in (tmp_path / "c" / "result.json").read_text()


def test_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    ones, indices = np.ones(4, np.float32), np.arange(4)
    assert compare({"y": ones}, {"y": ones}, 1.0, exact=True) == 0
    assert compare({"y": -ones}, {"y": ones}, 0.5, exact=True) == 3
    assert compare({"y": ones[:2]}, {"y": ones}, 0.5, exact=True) == 3
    assert compare({"y": indices + 1}, {"y": indices}, 0.5, exact=True) == 3
    assert compare({"y": indices + 1}, {"y": indices}, 0.5, exact=False) == 0
    assert "shape [2], the reference has [4]" in capsys.readouterr().out
    with pytest.raises(Fault, match="not of the form"):
        given(["x"])
