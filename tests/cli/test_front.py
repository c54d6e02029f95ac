"""What all commands share: help, exit statuses, JSON errors, completion, start-up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import EXAMPLE, Shell, run_uair
from uair.cli import COMMANDS, main
from uair.cli.errors import as_uair_error


def test_help(uair: Shell) -> None:
    result = uair("--help").require()
    assert all(f"\n  {name}" in result.out for name in COMMANDS)
    assert uair("-h").out == result.out
    assert "0.1" in uair("--version").require().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(uair: Shell, command: str) -> None:
    out = uair(command, "--help").require().out
    assert out.startswith(f"Usage: uair {command} ")
    assert all(len(line) <= 80 for line in out.splitlines())
    options = out.split("Options:")[1]
    assert "\x08" not in out
    for line in options.splitlines():
        if line.startswith("  -"):
            name = line.split()[0]
            assert "  " in line.strip() or options.split(line)[1].startswith("\n     "), f"{name} has no help"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Usage: uair"),
        (["compil"], "did you mean 'compile'?"),
        (["compile"], "MODEL"),
        (["compile", "m.onnx"], "--target"),
        (["run", "m.onnx", "--toleranse", "1"], "--tolerance"),
    ],
)
def test_a_wrong_command_line_has_status_2(uair: Shell, arguments: list[str], words: str) -> None:
    assert words in uair(*arguments).require(2).err


def test_errors_as_json(uair: Shell, tiny: Path) -> None:
    missing = uair("inspect", "nothing.onnx", "--json").require(1)
    assert missing.json["error"]["code"].startswith("UAIR-E")
    assert "nothing.onnx" in missing.json["error"]["message"]
    assert missing.err.startswith(missing.json["error"]["code"])
    usage = uair("compile", tiny, "--json").require(2)
    assert usage.json["error"]["code"] == "UAIR-E0900"
    assert "--target" in usage.json["error"]["message"]
    assert set(usage.json["error"]) == {"code", "message", "place", "hint", "pass_name", "rule_name", "window"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "UAIR-E0903"),
        (PermissionError(13, "Permission denied", "/x"), "UAIR-E0902"),
        (KeyError("x"), "UAIR-E0002"),
        (RecursionError("too deep"), "UAIR-E0002"),
    ],
)
def test_every_exception_becomes_a_uair_error(error: Exception, code: str) -> None:
    assert as_uair_error(error).code == code


def test_an_interrupt_has_status_130(uair: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from uair.driver import loading

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "read_model", interrupted)
    result = uair("inspect", EXAMPLE)
    assert result.status == 130 and result.err.strip() == "interrupted"


def test_a_fault_of_uair_tells_where_and_how_to_report_it(uair: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from uair.driver import loading

    def broken(*_: object, **__: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr(loading, "read_model", broken)
    monkeypatch.delenv("UAIR_DEBUG", raising=False)
    result = uair("inspect", EXAMPLE, "--json").require(1)
    assert result.json["error"]["code"] == "UAIR-E0002"
    assert "test_front.py" in result.err and "Traceback" not in result.err and "UAIR_DEBUG=1" in result.err
    monkeypatch.setenv("UAIR_DEBUG", "1")
    assert "Traceback" in uair("inspect", EXAMPLE).require(1).err


def test_tables_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a long cell is folded, piped it is not."""
    import io

    from uair.cli.output import table

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    piped, shown = io.StringIO(), Terminal()
    for stream in (piped, shown):
        table(("node", "reason"), [("a" * 60, "b" * 60), ("c", "[red]x[/red]")], stream=stream)
    assert max(map(len, piped.getvalue().splitlines())) > 120
    assert max(map(len, shown.getvalue().splitlines())) <= 80
    assert "[red]x[/red]" in piped.getvalue()
    assert all(line == line.rstrip() for line in piped.getvalue().splitlines())


# ----------------------------------------------------------------------------------------------------------- completion
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(uair: Shell, shell: str) -> None:
    assert "_UAIR_COMPLETE" in uair("completion", shell).require().out


def test_the_bash_script_is_valid(uair: Shell, tmp_path: Path) -> None:
    script = tmp_path / "uair.bash"
    script.write_text(uair("completion", "bash").require().out)
    subprocess.run(["bash", "-n", script], check=True, timeout=20)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("uair comp", ["compile", "completion"]),
        ("uair compile --target asc", ["ascend310", "ascend310b", "ascend310p", "ascend910b"]),
        ("uair targets c", ["c920", "cpu"]),
        ("uair compile --ove", ["--overwrite"]),
    ],
)
def test_completions(words: str, found: list[str]) -> None:
    count = str(len(words.split()) - 1)
    result = run_uair(_UAIR_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
    assert [line.split(",")[1] for line in result.out.split()] == found


# ------------------------------------------------------------------------------------------------------------- start-up
HEAVY = {
    "numpy",
    "onnx",
    "rich",
    "sympy",
    "networkx",
    "lark",
    "attrs",
    "attr",
    "onnxruntime",
    "PIL",
    "ml_dtypes",
    "safetensors",
}


def imported(code: str) -> set[str]:
    """Top-level modules that are loaded after running `code` in a fresh interpreter."""
    return {name.partition(".")[0] for name in modules_after(code)}


def modules_after(code: str) -> list[str]:
    """Modules that are loaded after running `code` in a fresh interpreter."""
    script = f"{code}\nimport sys, json\nsys.__stdout__.write('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


def test_import_uair_imports_almost_nothing() -> None:
    loaded = imported("import uair; uair.__version__; dir(uair)")
    assert not loaded & (HEAVY | {"click"})


def test_help_imports_almost_nothing() -> None:
    assert not imported("from uair.cli import main; main(['--help'])") & HEAVY


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_no_framework(command: str) -> None:
    loaded = imported(f"from uair.cli import main; main([{command!r}, '--help'])")
    assert not loaded & {"onnx", "onnxruntime", "rich", "sympy", "networkx", "lark", "PIL", "safetensors"}


def test_the_api_loads_what_it_needs_when_it_needs_it() -> None:
    assert not imported("import uair; uair.load") & {"onnx", "onnxruntime", "rich", "sympy", "networkx", "lark", "PIL"}


def test_fusion_loads_no_graph_library() -> None:
    """What only the pass for layouts needs is large: 180 modules, and as much memory as a small model."""
    assert not imported("import uair.passes.canonicalise, uair.passes.fuse") & {"onnx", "networkx", "lark", "PIL"}


def test_a_convolutional_network_loads_what_it_needs(tiny: Path, tmp_path: Path) -> None:
    """From file to file: loops, layers of steps, Transposes and integers are not in it."""
    made = str(tmp_path / "made.onnx")
    code = f"import uair; m = uair.load({str(tiny)!r}); uair.optimize(m); uair.export_onnx(m, {made!r})"
    rare = ("difflib", "uair.passes.recurrent", "uair.passes.counted_loops", "uair.passes.propagate_layout")
    assert not [name for name in modules_after(code) if name.startswith((*rare, "uair.quant"))]


def test_python_m(tmp_path: Path) -> None:
    assert run_uair("--version", cwd=tmp_path).require().out == "uair, version 0.1.0\n"
    assert main(["--version"]) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without a device that is always full")
@pytest.mark.parametrize("arguments", [["targets"], ["targets", "--json"], ["--help"]])
def test_a_full_disk_behind_the_standard_output(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "uair", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("UAIR-E0902 the output cannot be written: ") and "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m uair targets {closed}'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert bool(done.stdout) == (closed == "2>&-")
