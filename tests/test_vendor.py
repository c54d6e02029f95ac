"""Running vendor tools: every way in which a converter goes wrong, with small tools that do it on purpose."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from uair.vendor import Limits, Outcome, ToolFailed, ToolNotFound, ToolResult, run_tool

MIB = 1 << 20


def run(tmp_path: Path, script: str, limits: Limits | None = None, **options: object) -> ToolResult:
    return run_tool([sys.executable, "-c", script], log=tmp_path / "tool.log", limits=limits, **options)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.01)
    return path.read_text()


def test_success(tmp_path: Path) -> None:
    result = run(tmp_path, "import sys; print('out', flush=True); print('err', file=sys.stderr)")
    assert result.ok
    assert (result.outcome, result.status, result.signal) == (Outcome.EXITED, 0, "")
    assert result.tail == "out\nerr"
    assert result.log.read_text() == "out\nerr\n"
    assert result.require_success("tool") is result


def test_exit_status(tmp_path: Path) -> None:
    result = run(tmp_path, "print('no operator Foo'); raise SystemExit(3)")
    assert not result.ok
    assert (result.outcome, result.status) == (Outcome.EXITED, 3)
    with pytest.raises(ToolFailed, match=r"UAIR-E0804 converter exited with status 3") as caught:
        result.require_success("converter", hint="try a newer one")
    assert "no operator Foo" in str(caught.value)
    assert "try a newer one; the whole log is" in str(caught.value)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGILL", "SIGKILL"])
def test_crash_by_signal(tmp_path: Path, name: str) -> None:
    no_core = "import os, signal, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
    script = f"{no_core}; os.kill(os.getpid(), signal.{name})"
    result = run(tmp_path, script)
    assert (result.outcome, result.status, result.signal) == (Outcome.SIGNALLED, None, name)
    assert not result.ok
    assert name in result.describe()


def test_hang_is_stopped(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    script = f"{deaf}; print('at work', flush=True); time.sleep(60)"
    result = run(tmp_path, script, Limits(seconds=1.0))
    assert (result.outcome, result.status, result.signal) == (Outcome.TIMED_OUT, None, "SIGKILL")
    assert 1.0 <= result.seconds < 10
    assert result.tail == "at work"


def test_the_disk_is_not_filled(tmp_path: Path) -> None:
    script = "import time\nf = open('big', 'wb')\nwhile True: f.write(bytes(8 << 20)); f.flush(); time.sleep(0.02)"
    result = run(tmp_path, script, Limits(seconds=60, disk=32 * MIB))
    assert (result.outcome, result.status) == (Outcome.DISK_FULL, None)
    assert "size limit of its files" in result.describe()


def test_files_that_were_there_before_do_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "weights").write_bytes(os.urandom(8 * MIB))
    result = run(tmp_path, "import time; time.sleep(1.2)", Limits(seconds=60, disk=4 * MIB), folder=folder)
    assert result.ok


def test_memory_is_limited(tmp_path: Path) -> None:
    script = "import time\nheld = []\nwhile True: held.append(bytearray(8 << 20)); time.sleep(0.01)"
    result = run(tmp_path, script, Limits(seconds=60, memory=200 * MIB))
    assert (result.outcome, result.status) == (Outcome.OUT_OF_MEMORY, None)
    assert 200 * MIB < result.peak_memory < 2000 * MIB
    assert "memory limit" in result.describe()


def test_memory_of_children_counts(tmp_path: Path) -> None:
    child = "import time; held = bytearray(150 << 20); held[::4096] = b'x' * len(held[::4096]); time.sleep(60)"
    script = (
        f"import subprocess, sys\n[subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in range(2)][0].wait()"
    )
    result = run(tmp_path, script, Limits(seconds=60, memory=250 * MIB))
    assert result.outcome is Outcome.OUT_OF_MEMORY


def test_unused_address_space_is_free(tmp_path: Path) -> None:
    script = "import mmap, time; held = mmap.mmap(-1, 4 << 30); time.sleep(0.2)"
    assert run(tmp_path, script, Limits(seconds=60, memory=200 * MIB)).ok


def test_endless_output_is_stopped(tmp_path: Path) -> None:
    result = run(tmp_path, "while True: print('x' * 1000)", Limits(seconds=60, log=MIB))
    assert result.outcome is Outcome.LOG_TOO_LARGE


@pytest.mark.parametrize("apart", [False, True], ids=["same session", "own session"])
@pytest.mark.parametrize("ending", ["time.sleep(60)", "time.sleep(0.3)"], ids=["at the limit", "after success"])
def test_no_process_is_left(tmp_path: Path, apart: bool, ending: str) -> None:
    note = tmp_path / "child"
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session={apart})\n"
        f"open({os.fspath(note)!r}, 'w').write(str(child.pid))\n{ending}"
    )
    run(tmp_path, script, Limits(seconds=2.0))
    assert not alive(int(wait_for(note)))


def test_interrupt_leaves_no_process(tmp_path: Path) -> None:
    note = tmp_path / "child"
    script = f"import os, time; open({os.fspath(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    def interrupt(_: int, __: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, script)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert not alive(int(wait_for(note)))


SHOW = "import json, os, sys; print(json.dumps([dict(os.environ), os.getcwd(), os.listdir('.'), sys.stdin.read()]))"


def test_environment_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    monkeypatch.setenv("LD_PRELOAD", "")
    result = run(tmp_path, SHOW, environment={"OMP_NUM_THREADS": "1"})
    variables, folder, content, stdin = json.loads(result.log.read_text())
    assert set(variables) - {"LC_CTYPE"} == {"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "OMP_NUM_THREADS"}
    assert variables["HOME"] != os.environ.get("HOME")
    assert variables["PATH"].split(os.pathsep)[0] == os.path.dirname(os.path.abspath(sys.executable))
    assert (content, stdin) == ([], "")
    assert not Path(folder).exists()
    assert not Path(variables["HOME"]).exists()


def test_runs_in_the_given_folder(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    assert run(tmp_path, "open('made', 'w').write('x')", folder=work).ok
    assert (work / "made").read_text() == "x"


def test_success_without_output_is_only_success_of_the_process(tmp_path: Path) -> None:
    result = run(tmp_path, "pass")
    assert result.ok
    assert result.tail == ""


def test_tail_reads_like_a_terminal(tmp_path: Path) -> None:
    script = (
        r"print('\x1b[31mred\x1b[0m'); print('  0%\r 50%\r100%'); print('\xff', end=''); [print(i) for i in range(40)]"
    )
    result = run(tmp_path, script)
    lines = result.tail.split("\n")
    assert len(lines) == 20
    assert lines[-1] == "39"
    script = r"print('\x1b[31mred\x1b[0m'); print('  0%\r 50%\r100%\r'); print(); print('end')"
    assert run(tmp_path, script).tail == "red\n100%\nend"


@pytest.mark.parametrize("program", ["uair-has-no-such-tool", "/no/such/tool"])
def test_missing_program(tmp_path: Path, program: str) -> None:
    with pytest.raises(ToolNotFound, match=r"UAIR-E0803 .* is not installed"):
        run_tool([program], log=tmp_path / "log")


def test_program_that_is_none(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_bytes(b"\x7fELF not at all")
    program.chmod(0o755)
    with pytest.raises(ToolNotFound, match="cannot be started"):
        run_tool([program], log=tmp_path / "log")


@pytest.mark.parametrize("field", ["seconds", "memory", "log"])
def test_limits_are_positive(field: str) -> None:
    with pytest.raises(ValueError, match="must be > 0"):
        Limits(**{field: 0})
