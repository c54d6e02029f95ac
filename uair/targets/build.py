"""Building an artifact with its vendor's tool, under supervision.

The tool runs in a copy of the artifact, so an artifact is never changed. A build counts as good when the tool exited
with status 0, its log has the line that it prints on success, its files are there and not empty, and they could be read
back. Anything else is a `BuildFailed` that tells in UAIR's words what the log says; the log and the tool's files are
kept.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from uair.artifact import file_sha256, to_json
from uair.targets.logs import Finding, errors, read_log
from uair.targets.tool import VendorTool, Work
from uair.vendor import Limits, Outcome, ToolFailed, ToolResult

LOG, RESULT = "tool.log", "result.json"
SCHEMA = 1
NodeNames: TypeAlias = Mapping[str, Sequence[str]]


class BuildFailed(ToolFailed):
    """A vendor's tool did not build an artifact; the message says what its log means, the log is kept."""

    code = "UAIR-E0810"
    title = "Artifact was not built"


class NothingToBuild(ToolFailed):
    """A target has no vendor tool that UAIR knows how to run."""

    code = "UAIR-E0811"
    title = "Target has no build tool"


@attrs.frozen
class BuildResult:
    """A good build.

    Attributes:
        target: whose tool built it.
        tool: its name.
        version: of the tool; empty when it does not tell.
        checked: whether the description was checked with this version.
        seconds: wall-clock time of the tool.
        peak_memory: bytes, all its processes together.
        files: the results, with size and hash, by path below `folder`.
        read_back: what reading them back told.
        findings: warnings of the log.
        folder: where everything is.
        log: the tool's log.
    """

    target: str
    tool: str
    version: str
    checked: bool
    seconds: float
    peak_memory: int
    files: Mapping[str, Mapping[str, Any]]
    read_back: Mapping[str, Any]
    findings: tuple[Finding, ...]
    folder: Path
    log: Path

    def to_json(self) -> dict[str, Any]:
        """Plain data, for result.json."""
        return {
            "schema": SCHEMA,
            "status": "built",
            "target": self.target,
            "tool": self.tool,
            "version": self.version,
            "version_checked": self.checked,
            "seconds": round(self.seconds, 3),
            "peak_memory": self.peak_memory,
            "files": {name: dict(entry) for name, entry in self.files.items()},
            "read_back": dict(self.read_back),
            "findings": [finding.to_json() for finding in self.findings],
        }


def build_in(
    source: Path,
    manifest: Mapping[str, Any],
    tool: VendorTool,
    folder: Path,
    *,
    limits: Limits,
    checked_versions: Sequence[str] = (),
    names: NodeNames | None = None,
    skip: str = "",
) -> BuildResult:
    """Build the files of `source` with `tool`.

    Args:
        source: the artifact's folder, or the folder of one of its parts.
        manifest: the artifact's manifest.
        tool: the vendor's tool.
        folder: for the copy, the results, build.log and result.json; it must not exist.
        limits: of each process.
        checked_versions: versions of the tool with which the target's description was checked.
        names: names in the user's own model by name of a node in the vendor's file.
        skip: a folder of `source` that is not copied: where builds are kept.

    Raises:
        ToolNotFound: the tool is not installed; nothing was written.
        BuildFailed: it failed, or its result cannot be used; `folder` keeps its log.
    """
    installation = tool.locate()
    version = tool.version(installation)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(skip) if skip else None)
    work = Work(folder, manifest, installation, limits, folder / LOG)
    try:
        done = work.run(tool.command(work))
        findings = read_log(_log_lines(tool, work), tool.rules)
        _require_good(tool, done, findings, names or {})
        results = _results(tool, work, done)
        read_back = tool.read_back(work, results)
    except ToolFailed as error:
        _write_failure(folder, manifest, tool, version, error)
        raise
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in results
    }
    result = BuildResult(
        target=str(manifest["target"]),
        tool=tool.name,
        version=version,
        checked=is_checked(version, checked_versions),
        seconds=done.seconds,
        peak_memory=done.peak_memory,
        files=files,
        read_back=read_back,
        findings=tuple(findings),
        folder=folder,
        log=work.log,
    )
    (folder / RESULT).write_text(to_json(result.to_json()), encoding="utf-8")
    return result


def is_checked(version: str, checked: Sequence[str]) -> bool:
    """Whether a version is one that a description was checked with: equal as far as the shorter one goes.

    A description that names no versions, or a tool that does not tell its own, is not checked.
    """
    numbers = re.findall(r"\d+", version)
    known = [re.findall(r"\d+", each) for each in checked]
    return bool(numbers) and any(k and all(a == b for a, b in zip(k, numbers, strict=False)) for k in known)


# --------------------------------------------------------------------------------------------------------- was it good?
def _require_good(tool: VendorTool, done: ToolResult, findings: Sequence[Finding], names: NodeNames) -> None:
    """Refuse a run that failed, or that says so whatever its exit status."""
    log = done.log.read_text("utf-8", "replace")
    if not done.ok:
        raise _failure(f"{tool.name} {done.describe()}", done, findings, names)
    if tool.success and re.search(tool.success, log, re.MULTILINE) is None:
        raise _failure(f"{tool.name} exited with status 0, but did not report success", done, findings, names)


def _log_lines(tool: VendorTool, work: Work) -> Iterator[str]:
    """What the tool printed, then what it wrote into logs of its own."""
    own = (work.folder / name for name in tool.logs)
    for path in (work.log, *(path for path in own if path.is_file() and path != work.log)):
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file


def _results(tool: VendorTool, work: Work, done: ToolResult) -> list[Path]:
    """The files that the tool was to write.

    Raises:
        BuildFailed: one is missing or empty.
    """
    found: list[Path] = []
    for pattern in tool.results(work.manifest):
        matches = [p for p in sorted(work.folder.glob(pattern)) if p.is_file() and p.stat().st_size]
        if not matches:
            raise _failure(f"{tool.name} exited with status 0, but wrote no {pattern}", done, (), {})
        found += matches
    return found


def _failure(what: str, done: ToolResult, findings: Sequence[Finding], names: NodeNames) -> BuildFailed:
    causes = list(errors(findings))
    lines = [f"   {_in_own_names(cause, names)}" for cause in causes[:10]]
    shown = "\n".join(lines) if lines else "\n".join(f"   | {line}" for line in done.tail.splitlines()[-12:])
    advice = next((cause.advice for cause in causes if cause.advice), "") or _limit_advice(done)
    hint = f"{advice}; the whole log is {done.log}" if advice else f"the whole log is {done.log}"
    return BuildFailed(what, window=shown, hint=hint)


def _limit_advice(done: ToolResult) -> str:
    return {
        Outcome.TIMED_OUT: "give it more time with --timeout",
        Outcome.OUT_OF_MEMORY: "give it more memory with --memory, or use a machine that has more",
        Outcome.DISK_FULL: "give it more room with --disk",
        Outcome.LOG_TOO_LARGE: "it repeats itself; see the log's beginning",
    }.get(done.outcome, "")


def _in_own_names(finding: Finding, names: NodeNames) -> str:
    own = ", ".join(names.get(finding.node, ()))
    same = not own or own == finding.node
    return finding.describe() + ("" if same else f" (in your model: {own})")


def _write_failure(
    folder: Path, manifest: Mapping[str, Any], tool: VendorTool, version: str, error: ToolFailed
) -> None:
    content = {
        "schema": SCHEMA,
        "status": "failed",
        "target": manifest["target"],
        "tool": tool.name,
        "version": version,
        "reason": error.message,
        "details": error.window,
        "hint": error.hint,
    }
    (folder / RESULT).write_text(to_json(content), encoding="utf-8")


def node_names(report: Path) -> dict[str, list[str]]:
    """From an artifact's report.json: the source model's node names by name of a compiled node."""
    try:
        rows: Any = json.loads(report.read_text("utf-8"))["check"]["nodes"]
        return {row["name"]: list(row["sources"]) for row in rows if row["sources"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # an artifact of another version: the vendor's names are shown as they are
