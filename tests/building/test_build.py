"""`uair build`: a tool that works, and every way in which one does not."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import uair
from tests.building.tools import Toy, ToyTarget, artifact
from uair.atomic import OutputError
from uair.building import BUILT
from uair.cli import main
from uair.context import Context
from uair.targets.build import BuildFailed, NothingToBuild, is_checked
from uair.targets.tool import VendorTool
from uair.vendor import Limits, ToolFailed, ToolNotFound

GOOD = "open('model.toy', 'wb').write(b'TOY'); print('W: slow'); print('all done')"


@pytest.fixture
def made(tmp_path: Path) -> uair.Artifact:
    return artifact(tmp_path / "artifact")


def use(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let the target of the artifact have a tool that runs `text`."""
    target = ToyTarget(text)
    monkeypatch.setattr(Context, "target", lambda self, name: target)


def content(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_a_good_build(made: uair.Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, GOOD)
    before = content(made.root)
    (result,) = uair.build(made)
    folder = made.root / BUILT
    assert (result.folder, result.tool, result.version) == (folder, "toycc", "1.2.3")
    assert result.files == {"model.toy": {"bytes": 3, "sha256": hashlib.sha256(b"TOY").hexdigest()}}
    assert result.read_back == {"loaded": True}
    assert [f.meaning for f in result.findings] == ["slow"]
    assert (folder / "tool.log").read_text() == "W: slow\nall done\n"
    assert json.loads((folder / "result.json").read_text())["status"] == "built"
    assert {k: v for k, v in content(made.root).items() if not k.startswith(BUILT)} == before
    assert uair.Artifact.open(made.root).target == "reference"  # it still is what was compiled


def test_an_earlier_build_is_replaced_only_when_asked(made: uair.Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, GOOD)
    uair.build(made)
    with pytest.raises(OutputError, match="exists"):
        uair.build(made)
    uair.build(made, overwrite=True)
    assert not (made.root / BUILT / BUILT).exists()


def test_what_is_no_build_is_never_replaced(
    made: uair.Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use(monkeypatch, GOOD)
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is no build"):
        uair.build(made, output=home, overwrite=True)
    assert (home / "thesis.txt").read_text() == "years of work"


FAILURES = {
    "status": ("raise SystemExit(3)", "exited with status 3"),
    "crash": ("import os; os.kill(os.getpid(), 11)", "SIGSEGV"),
    "liar": ("open('model.toy', 'wb').write(b'TOY')", "did not report success"),
    "no output": ("print('all done')", r"wrote no \*\.toy"),
    "empty output": ("open('model.toy', 'w'); print('all done')", r"wrote no \*\.toy"),
    "broken output": ("open('model.toy', 'wb').write(b'TOX'); print('all done')", "is no toy"),
    "hang": ("import time; time.sleep(60)", "time limit"),
    "disk": ("f = open('x', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()", "size limit of its files"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_build(name: str, made: uair.Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    text, reason = FAILURES[name]
    use(monkeypatch, text)
    seconds = 2.0 if name == "hang" else 60.0
    with pytest.raises(ToolFailed, match=reason):
        uair.build(made, limits=Limits(seconds=seconds, disk=256 << 20))
    report = json.loads((made.root / BUILT / "result.json").read_text())
    assert report["status"] == "failed" and report["reason"]
    assert (made.root / BUILT / "tool.log").is_file()
    shutil.rmtree(made.root / BUILT)


def test_a_failure_names_the_node_in_the_users_model(
    made: uair.Artifact, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, "print('I: thinking\\nE1: no kernel for y'); raise SystemExit(1)")
    with pytest.raises(BuildFailed) as caught:
        uair.build(made)
    assert "E1: the chip has no kernel [y] (in your model: my/relu)" in caught.value.window
    assert "thinking" not in caught.value.window
    assert caught.value.hint.startswith("leave it to the CPU; the whole log is ")


def test_a_tools_own_log_is_read_too(made: uair.Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "logs", ("toy.log",))
    use(monkeypatch, "open('toy.log', 'w').write('E1: no kernel for y\\n'); raise SystemExit(1)")
    with pytest.raises(BuildFailed) as caught:
        uair.build(made)
    assert "E1: the chip has no kernel" in caught.value.window


def test_a_target_without_a_tool(made: uair.Artifact) -> None:
    with pytest.raises(NothingToBuild, match="reference"):
        uair.build(made)
    assert not (made.root / BUILT).exists()


def test_a_tool_that_is_missing(made: uair.Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "locate", VendorTool.locate)
    use(monkeypatch, GOOD)
    with pytest.raises(ToolNotFound, match=r"toycc is not installed \(looked for \$UAIR_TOYCC, toycc-that") as caught:
        uair.build(made)
    assert "toy shop" in caught.value.hint
    assert not (made.root / BUILT).exists()


def test_a_variable_that_names_no_program(made: uair.Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "locate", VendorTool.locate)
    monkeypatch.setenv("UAIR_TOYCC", "/nowhere/toycc")
    use(monkeypatch, GOOD)
    with pytest.raises(ToolNotFound, match="which is no program"):
        uair.build(made)


def test_the_command_line(
    made: uair.Artifact, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    use(monkeypatch, GOOD)
    assert main(["build", str(made.root), "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "model.toy" in out and "built by toycc 1.2.3" in out and "warning: slow" in out
    assert main(["build", str(made.root), "-o", str(tmp_path / "out2"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["status"], row["read_back"]) == ("built", {"loaded": True})
    assert main(["build", str(tmp_path / "nothing")]) == 1
    assert "UAIR-E0602" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "checked", "answer"),
    [
        ("2.5.0", ["2.5.0"], True),
        ("8.6.2", ["8.5", "8.6"], True),
        ("8.60", ["8.6"], False),
        ("10.3", ["1"], False),
        ("", ["1.0"], False),
        ("1.0", [], False),
    ],
)
def test_checked_versions(version: str, checked: list[str], answer: bool) -> None:
    assert is_checked(version, checked) is answer
