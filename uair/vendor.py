"""Running the tools of vendors: in a child process, with a clean environment, within limits, with a log.

Converters hang, eat all memory, crash by signal, leave children behind, and exit 0 without output. `run_tool` answers
for all but the last: it reports how the tool ended as a `ToolResult`, never as an exception. Whether the tool did its
work is for the caller to see: from the files that it was to write.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from uair.errors import UairError

PROC = Path("/proc")
SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
POLL_SECONDS = 0.05
DISK_SECONDS = 0.5
"""Between two looks at the files that a tool writes."""
DISK_RESERVE = 256 << 20
TAIL_BYTES = 16 << 10
KILL_SECONDS = 5.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class ToolNotFound(UairError):
    """A vendor's tool is not installed, or not where it was said to be."""

    code = "UAIR-E0803"
    title = "Vendor tool is not installed"


class ToolFailed(UairError):
    """A vendor's tool crashed, exceeded its limits, refused the model, or left no result."""

    code = "UAIR-E0804"
    title = "Vendor tool failed"


class Outcome(enum.Enum):
    """How a tool ended."""

    EXITED = "exited"
    SIGNALLED = "killed by a signal"
    TIMED_OUT = "stopped at the time limit"
    OUT_OF_MEMORY = "stopped at the memory limit"
    LOG_TOO_LARGE = "stopped at the size limit of its log"
    DISK_FULL = "stopped at the size limit of its files"


@attrs.frozen
class Limits:
    """What a tool may use before it and all processes it started are killed.

    Attributes:
        seconds: wall-clock time.
        memory: resident bytes, summed over its processes. Pages that they share count once for each, so the sum is an
            upper bound. Watched on Linux only. (A limit on address space would stop every tool that loads PyTorch.)
        log: bytes of output.
        disk: bytes by which its folder, HOME and TMPDIR may grow together. A tool is stopped, too, when the disk that
            its folder is on has less than `DISK_RESERVE` bytes left.
    """

    seconds: float = attrs.field(default=600.0, validator=attrs.validators.gt(0))
    memory: int = attrs.field(default=8 << 30, validator=attrs.validators.gt(0))
    log: int = attrs.field(default=64 << 20, validator=attrs.validators.gt(0))
    disk: int = attrs.field(default=64 << 30, validator=attrs.validators.gt(0))


@attrs.frozen
class ToolResult:
    """What is known of a finished tool.

    Attributes:
        command: the arguments, the program first.
        outcome: how it ended.
        status: exit status; None when it did not exit by itself.
        signal: name of the signal that ended it (`SIGSEGV`), also of the one sent at a limit; empty when it exited.
        seconds: wall-clock time.
        peak_memory: highest sum seen of the resident bytes of its processes; 0 where there is no /proc.
        log: file with its standard output and standard error in the order of writing.
        tail: the last lines of the log, for people: no colours, progress bars reduced to their last state.
    """

    command: tuple[str, ...]
    outcome: Outcome
    status: int | None
    signal: str
    seconds: float
    peak_memory: int
    log: Path
    tail: str

    @property
    def ok(self) -> bool:
        """Whether the tool exited with status 0. It may have written nothing all the same."""
        return self.status == 0

    def describe(self) -> str:
        """How it ended, in a phrase."""
        if self.outcome is Outcome.EXITED:
            return f"exited with status {self.status} after {self.seconds:.1f} s"
        detail = f" ({self.signal})" if self.outcome is Outcome.SIGNALLED else ""
        peak = f", {self.peak_memory / (1 << 20):.0f} MiB at most" if self.peak_memory else ""
        return f"{self.outcome.value}{detail} after {self.seconds:.1f} s{peak}"

    def require_success(self, tool: str, *, hint: str = "") -> ToolResult:
        """The result itself.

        Args:
            tool: name of the tool for people.
            hint: the next step; the place of the log is added.

        Raises:
            ToolFailed: the tool did not exit with status 0.
        """
        if self.ok:
            return self
        advice = f"{hint}; the whole log is {self.log}" if hint else f"the whole log is {self.log}"
        raise ToolFailed(f"{tool} {self.describe()}", window=self.tail, hint=advice)


def run_tool(
    command: Sequence[str | os.PathLike[str]],
    *,
    log: Path,
    limits: Limits | None = None,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> ToolResult:
    """Run a tool to its end, or to a limit.

    It gets no standard input, an environment of its own (a PATH of the system's folders and the tool's own, HOME and
    TMPDIR that are removed afterwards, a UTF-8 locale, and what `environment` adds) and a process group of its own. All
    processes that it started are gone when this returns, also when it raises.

    Args:
        command: the program (a path, or a name to be looked up in PATH) and its arguments.
        log: file for what it prints; its folder must exist.
        limits: the defaults of `Limits` when not given.
        folder: where it runs; an empty folder that is removed afterwards when not given.
        environment: further variables, e.g. LD_LIBRARY_PATH or the number of threads.

    Returns:
        how it ended.

    Raises:
        ToolNotFound: there is no such program, or it cannot be started.
    """
    arguments = (_program(os.fspath(command[0])), *(os.fspath(c) for c in command[1:]))
    with tempfile.TemporaryDirectory(prefix="uair-tool-", ignore_cleanup_errors=True) as scratch:
        home, work = Path(scratch) / "home", Path(scratch) / "work"
        home.mkdir()
        work.mkdir()
        variables = {**_clean_environment(arguments[0], home), **(environment or {})}
        with log.open("wb") as output:
            started = time.monotonic()
            try:
                process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=folder or work,
                    env=variables,
                    start_new_session=True,
                )
            except OSError as error:
                raise ToolNotFound(f"{arguments[0]} cannot be started: {error.strerror or error}") from error
        family = _Family(process)
        try:
            disk = _Disk((folder or work, home))
            limit = _watch(process, family, disk, log, limits or Limits(), started)
        finally:
            family.kill()
            process.wait()
        seconds = time.monotonic() - started
    code = process.returncode
    return ToolResult(
        command=arguments,
        outcome=limit or (Outcome.SIGNALLED if code < 0 else Outcome.EXITED),
        status=code if code >= 0 and limit is None else None,
        signal=_signal_name(-code) if code < 0 else "",
        seconds=seconds,
        peak_memory=family.peak,
        log=log,
        tail=_tail(log),
    )


def _program(name: str) -> str:
    """Absolute path of a program.

    Raises:
        ToolNotFound: there is none.
    """
    found = shutil.which(name)
    if found is None:
        raise ToolNotFound(f"{name} is not installed or cannot be executed", hint="install it, or give its full path")
    return os.path.abspath(found)


def _clean_environment(program: str, home: Path) -> dict[str, str]:
    """Nothing of the caller's environment but where to find programs."""
    folders = dict.fromkeys((os.path.dirname(program), *SYSTEM_PATH))
    return {
        "PATH": os.pathsep.join(folders),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
    }


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time signal has no name


def _watch(
    process: subprocess.Popen[bytes], family: _Family, disk: _Disk, log: Path, limits: Limits, started: float
) -> Outcome | None:
    """Wait for the end of a tool; kill it at a limit and say which."""
    while True:
        family.look()
        try:
            process.wait(timeout=min(POLL_SECONDS, max(0.0, started + limits.seconds - time.monotonic())))
            return None
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() - started >= limits.seconds:
            return Outcome.TIMED_OUT
        if family.resident > limits.memory:
            return Outcome.OUT_OF_MEMORY
        if log.stat().st_size > limits.log:
            return Outcome.LOG_TOO_LARGE
        if disk.is_over(limits.disk):
            return Outcome.DISK_FULL


@attrs.define(eq=False)
class _Disk:
    """The files that a tool may write, looked at now and then.

    Attributes:
        folders: where they are.
    """

    folders: tuple[Path, ...]
    _before: int = attrs.field(init=False)
    _next: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._before = self._used()
        self._next = time.monotonic() + DISK_SECONDS

    def is_over(self, most: int) -> bool:
        """Whether they have grown by more than `most` bytes, or leave too little for the rest of the machine."""
        now = time.monotonic()
        if now < self._next:
            return False
        started = now
        used = self._used()
        # A folder of many thousand files takes time to look at: at most a tenth of the watching is spent on it.
        self._next = time.monotonic() + max(DISK_SECONDS, 10 * (time.monotonic() - started))
        return used - self._before > most or shutil.disk_usage(self.folders[0]).free < DISK_RESERVE

    def _used(self) -> int:
        return sum(_tree_bytes(folder) for folder in self.folders)


def _tree_bytes(folder: Path) -> int:
    """Bytes that the files below a folder occupy; those that vanish meanwhile count nothing."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
    return total


@attrs.frozen
class _Process:
    """A line of /proc: `born` (clock ticks since boot) tells a process from a later one with the same number."""

    pid: int
    parent: int
    session: int
    born: int
    pages: int


@attrs.define(eq=False)
class _Family:
    """A process, its session, and all their descendants, also those that left the session after they were seen.

    Attributes:
        leader: the process that was started; its session and group have its number.
        resident: bytes they hold together, when last looked at.
        peak: highest `resident` so far.
    """

    leader: subprocess.Popen[bytes]
    resident: int = 0
    peak: int = 0
    _seen: dict[int, int] = attrs.field(factory=dict[int, int])

    def look(self) -> None:
        """Find the processes and add up their memory."""
        members = self._members()
        self._seen = {p.pid: p.born for p in members}
        self.resident = sum(p.pages for p in members) * os.sysconf("SC_PAGE_SIZE")
        self.peak = max(self.peak, self.resident)

    def _members(self) -> list[_Process]:
        running = _processes()
        known = {p.pid for p in running if p.session == self.leader.pid or self._seen.get(p.pid) == p.born}
        size = 0
        while size != len(known):
            size = len(known)
            known.update(p.pid for p in running if p.parent in known)
        return [p for p in running if p.pid in known]

    def kill(self) -> None:
        """End them all; a process that was just being started is caught by looking again."""
        if self.leader.returncode is None:  # otherwise its number may be another's by now
            _signal(os.killpg, self.leader.pid)
        deadline = time.monotonic() + KILL_SECONDS
        while members := self._members():
            for member in members:
                _signal(os.kill, member.pid)
            if time.monotonic() > deadline:
                return  # stuck in the kernel (device, network file system): the signal waits for them there
            time.sleep(0.005)


def _signal(send: Callable[[int, int], None], number: int) -> None:
    """Send SIGKILL to what may be gone already, or be privileged."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        send(number, signal.SIGKILL)


def _processes() -> list[_Process]:
    """All processes of the machine that are not dead; none where there is no /proc."""
    if not (PROC / "self" / "stat").exists():
        return []
    found: list[_Process] = []
    for name in os.listdir(PROC):
        if not name.isdigit():
            continue
        try:
            text = (PROC / name / "stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or another user's on a machine that hides them
        # The name, in parentheses, may hold blanks and parentheses; the fields after it are counted from state.
        fields = text[text.rindex(b")") + 2 :].split()
        if fields[0] not in (b"Z", b"X"):
            found.append(_Process(int(name), int(fields[1]), int(fields[3]), int(fields[19]), int(fields[21])))
    return found


def _tail(log: Path) -> str:
    """The last lines of a log as a terminal would show them."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    lines = (_ESCAPES.sub("", line.rstrip("\r").rpartition("\r")[2]).rstrip() for line in text.split("\n"))
    return "\n".join([line for line in lines if line][-20:])
