"""A vendor's tool: where it is, its version, how it is given an artifact, what it says, whether its result is good.

    class Atc(VendorTool):
        name = "ATC"
        programs = ("atc",)
        rules = RULES                      # codegen/ascend/log.py
        def results(self, manifest): ...   # files it must have written

`codegen/<vendor>/tool.py` holds the class, `Target.tool` names it, `uair build` and `uair doctor` use it. The tool is
never imported: it runs in a child process (uair.vendor), whose exit status alone is believed for a failure, never for
success.
"""

from __future__ import annotations

import abc
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs

from uair.targets.logs import LogRule
from uair.vendor import Limits, ToolFailed, ToolNotFound, ToolResult, run_tool

VERSION_LIMITS = Limits(seconds=60.0, memory=4 << 30, log=1 << 20)
DOTTED = re.compile(r"\d+(?:\.\d+)+")


@attrs.frozen
class Installation:
    """A tool that was found on this machine.

    Attributes:
        program: what is run.
        environment: variables that it needs, beside the clean ones of `run_tool`.
        place: where it was found, in words.
    """

    program: Path
    environment: Mapping[str, str] = attrs.field(factory=dict[str, str])
    place: str = ""


@attrs.frozen
class Work:
    """One build.

    Attributes:
        folder: a copy of the artifact's files (of one part of it), in which the tool runs and writes.
        manifest: of the artifact; for a part, the part's entry over it.
        installation: the tool.
        limits: of each process.
        log: file for what the tool prints.
    """

    folder: Path
    manifest: Mapping[str, Any]
    installation: Installation
    limits: Limits
    log: Path

    def run(self, command: Sequence[str | os.PathLike[str]], log: Path | None = None) -> ToolResult:
        """Run a program in the folder, with the tool's environment."""
        return run_tool(
            command,
            log=log or self.log,
            limits=self.limits,
            folder=self.folder,
            environment=self.installation.environment,
        )


class VendorTool(abc.ABC):
    """How UAIR drives one tool.

    Class attributes:
        name: for people.
        programs: names under which it is looked for in PATH.
        variable: environment variable with which a user says where the program is.
        places: further paths, with `~` and `*`, in order.
        install: how one gets it, for the message when it is missing.
        success: a line that the log must have, as a regular expression; empty when there is none.
        logs: files of its own, below the folder, where it also says what happens.
        rules: what the lines of its logs mean.
        script: the artifact's file that runs it.
        version_flag: argument that makes the program print its version; empty when there is none.
    """

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]] = ()
    variable: ClassVar[str] = ""
    places: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = ""
    success: ClassVar[str] = ""
    logs: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[tuple[LogRule, ...]] = ()
    script: ClassVar[str] = "build.sh"
    version_flag: ClassVar[str] = "--version"

    def locate(self) -> Installation:
        """Find the tool.

        Raises:
            ToolNotFound: it is not installed; says where it was looked for and how to get it.
        """
        stated = os.environ.get(self.variable, "") if self.variable else ""
        if stated:
            path = shutil.which(stated)
            if path is None:
                raise ToolNotFound(f"${self.variable} is {stated!r}, which is no program", hint="correct or unset it")
            return self.installation(Path(path), f"${self.variable}")
        for program in self.programs:
            if (path := shutil.which(program)) is not None:
                return self.installation(Path(path), "PATH")
        for pattern in self.places:
            if (found := _first_program(pattern)) is not None:
                return self.installation(found, pattern)
        looked = ", ".join((*([f"${self.variable}"] if self.variable else []), *self.programs, *self.places))
        raise ToolNotFound(f"{self.name} is not installed (looked for {looked})", hint=self.install)

    def installation(self, program: Path, place: str) -> Installation:
        """The installation of a program that was found; override to add the environment that it needs."""
        return Installation(program, {}, place)

    def version(self, installation: Installation) -> str:
        """The tool's version; empty when it does not tell."""
        if not self.version_flag:
            return ""
        with tempfile.TemporaryDirectory(prefix="uair-version-") as folder:
            log = Path(folder) / "log"
            run_tool(
                [installation.program, self.version_flag],
                log=log,
                limits=VERSION_LIMITS,
                environment=installation.environment,
            )
            return self.read_version(log.read_text("utf-8", "replace"))

    def read_version(self, text: str) -> str:
        """The version in what the tool prints."""
        match = DOTTED.search(text)
        return match.group() if match else ""

    def command(self, work: Work) -> Sequence[str | os.PathLike[str]]:
        """What is run: the artifact's own script, so that `uair build` and a user by hand do the same."""
        return self.script_command(work)

    def script_command(self, work: Work, **variables: str) -> list[str]:
        """The artifact's script, with the program's folder in front of PATH, and further variables."""
        settings = {"PATH": f"{shlex.quote(str(work.installation.program.parent))}:$PATH"}
        settings |= {name: shlex.quote(value) for name, value in variables.items()}
        given = " ".join(f"{name}={value}" for name, value in settings.items())
        return ["/bin/bash", "-c", f"{given} exec bash {self.script}"]

    @abc.abstractmethod
    def results(self, manifest: Mapping[str, Any]) -> Sequence[str]:
        """Files that the tool must leave, as patterns below the folder; of each at least one that is not empty.

        The first is what the device loads.
        """

    def read_back(self, work: Work, results: Sequence[Path]) -> dict[str, Any]:
        """Load the result, with the vendor's own tool where it can; facts about it as plain data.

        Raises:
            ToolFailed: the result cannot be used.
        """
        return {}


class PythonTool(VendorTool):
    """A package of a Python of its own: the program is the interpreter that has it.

    Class attributes:
        distribution: name of the package as installed.
    """

    distribution: ClassVar[str] = ""
    programs: ClassVar[tuple[str, ...]] = ("python3",)
    version_flag: ClassVar[str] = ""
    script: ClassVar[str] = "build.py"

    def locate(self) -> Installation:
        """The first interpreter that has the package.

        Raises:
            ToolNotFound: none has it.
        """
        stated = os.environ.get(self.variable, "") if self.variable else ""
        patterns = (stated,) if stated else (*self.places, "$VIRTUAL_ENV/bin/python")
        found = [path for pattern in patterns if (path := _first_program(pattern)) is not None]
        if not stated:
            found += [Path(named) for program in self.programs if (named := shutil.which(program)) is not None]
        for path in found:
            installation = self.installation(path, str(path))
            if self.version(installation):
                return installation
        looked = ", ".join(map(str, found)) or "no interpreter"
        raise ToolNotFound(f"{self.name} is not installed (looked for it in {looked})", hint=self.install)

    def version(self, installation: Installation) -> str:
        """The version of the package in that interpreter; empty when it does not have it."""
        code = f"from importlib.metadata import version; print(version({self.distribution!r}))"
        with tempfile.TemporaryDirectory(prefix="uair-version-") as folder:
            log = Path(folder) / "log"
            done = run_tool([installation.program, "-c", code], log=log, limits=VERSION_LIMITS)
            return log.read_text("utf-8", "replace").strip() if done.ok else ""

    def command(self, work: Work) -> Sequence[str | os.PathLike[str]]:
        """The artifact's script, in that interpreter."""
        return [work.installation.program, self.script]


def require_magic(path: Path, magic: bytes, what: str) -> None:
    """Refuse a file that does not begin as its format does.

    Raises:
        ToolFailed: see there.
    """
    with path.open("rb") as file:
        head = file.read(len(magic))
    if head != magic:
        raise ToolFailed(f"{path.name} is no {what}: it begins with {head!r}, not {magic!r}", hint="see the log")


def _first_program(pattern: str) -> Path | None:
    """The newest executable file that a pattern with `*` names."""
    expanded = os.path.expandvars(os.path.expanduser(pattern))
    anchor = Path(expanded).anchor
    if not anchor:
        return None
    found = sorted(Path(anchor).glob(os.path.relpath(expanded, anchor)), reverse=True)
    return next((p for p in found if p.is_file() and os.access(p, os.X_OK)), None)
