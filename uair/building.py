"""`uair.build`: the vendor's tools over an artifact, part by part; and what `uair doctor` finds on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from uair.artifact import Artifact
from uair.atomic import OutputError, reported
from uair.context import Context
from uair.targets.build import BuildResult, NothingToBuild, build_in, is_checked, node_names
from uair.targets.detect import Device, detect
from uair.vendor import Limits, ToolNotFound

if TYPE_CHECKING:
    from uair.targets.target import Target

BUILT = "build"
"""Folder of the results, in the artifact's own folder."""


def build(
    artifact: Artifact | str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    limits: Limits | None = None,
    overwrite: bool = False,
) -> list[BuildResult]:
    """Run the vendor's tool over an artifact, read its result back, and keep its log.

    Args:
        artifact: the artifact or its path. It is not changed.
        output: folder to make; when not given, `build` in the artifact's folder (a zip file's name with `-build`).
        limits: of time, memory and disk, for each process.
        overwrite: replace an earlier build.

    Returns:
        one result for each part of the artifact that has something to build.

    Raises:
        ToolNotFound: the tool is not installed; says how to get it.
        BuildFailed: it failed, or left nothing usable; names the nodes in the user's own model where the log does.
        NothingToBuild: no part of the artifact has a tool.
        OutputError: `output` exists or cannot be written.
    """
    made = artifact if isinstance(artifact, Artifact) else Artifact.open(artifact)
    folder = Path(output) if output is not None else default_output(made)
    parts = [(part, target) for part, target in _parts(made) if target.tool() is not None]
    if not parts:
        raise NothingToBuild(
            f"nothing of an artifact for {made.target} is built by a tool that UAIR runs",
            hint=f"`uair run {made.path}` runs it; docs/targets tells what else can be done with it",
        )
    _make_room(folder, overwrite=overwrite)
    return [_build_part(made, part, target, folder, limits or Limits()) for part, target in parts]


def default_output(artifact: Artifact) -> Path:
    """Where a build goes when the user names no folder."""
    if artifact.path.is_dir():
        return artifact.path / BUILT
    return artifact.path.with_name(f"{artifact.path.stem}-{BUILT}")


def _parts(artifact: Artifact) -> list[tuple[Artifact, Target]]:
    """Every part, an artifact of its own, and its target; the artifact itself when it is in one piece."""
    context = Context.default()
    partitions: Sequence[Mapping[str, Any]] = artifact.manifest.get("partitions") or ()
    folders = [str(entry["folder"]) for entry in partitions if entry["folder"]]
    parts = [Artifact.open(artifact.root / folder, verify=False) for folder in folders] or [artifact]
    return [(part, context.target(part.target)) for part in parts]


def _build_part(artifact: Artifact, part: Artifact, target: Target, folder: Path, limits: Limits) -> BuildResult:
    tool = target.tool()
    assert tool is not None
    below = part.root.relative_to(artifact.root)
    with reported(folder):
        (folder / below).parent.mkdir(parents=True, exist_ok=True)
        return build_in(
            part.root,
            part.manifest,
            tool,
            folder / below,
            limits=limits,
            checked_versions=target.description.toolchain.checked,
            names=node_names(part.root / "report.json"),
            skip=BUILT if part is artifact else "",
        )


def _make_room(folder: Path, *, overwrite: bool) -> None:
    """Remove an earlier build.

    Raises:
        OutputError: something is there that is none, or that is not to be replaced.
    """
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise OutputError(f"{folder} exists", hint="choose another name with -o, remove it, or pass --overwrite")
    if not folder.is_dir() or not any(folder.rglob("result.json")):
        raise OutputError(f"{folder} exists and is no build: it is not replaced", hint="choose another name with -o")
    with reported(folder):
        shutil.rmtree(folder)


# ----------------------------------------------------------------------------------------------------------------
# doctor
@attrs.frozen
class Health:
    """What this machine has for a target.

    Attributes:
        target: its name.
        title: for people.
        tool: the vendor's tool; empty when UAIR runs none for the target.
        place: where the tool was found; empty when it was not.
        version: of the tool; empty when it does not tell.
        checked: whether the target's description was checked with that version.
        known_versions: those it was checked with.
        device: what was seen of the device.
        problem: what is missing or wrong; empty when the target can be built for here.
        advice: what to do about it.
    """

    target: str
    title: str
    tool: str
    place: str
    version: str
    checked: bool
    known_versions: tuple[str, ...]
    device: Device
    problem: str
    advice: str

    @property
    def can_build(self) -> bool:
        """Whether `uair build` can be expected to work."""
        return bool(self.place)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **attrs.asdict(self, recurse=False, filter=attrs.filters.exclude("device")),
            "known_versions": list(self.known_versions),
            "device": {"present": self.device.is_present, **attrs.asdict(self.device)},
            "can_build": self.can_build,
        }


def examine(targets: Iterable[str] | None = None, *, root: Path = Path("/")) -> list[Health]:
    """Look for the tools and devices of targets; nothing is built.

    Args:
        targets: names; all targets when not given.
        root: folder that stands for the root of the file system, where devices are looked for.
    """
    context = Context.default()
    names = sorted(context.targets) if targets is None else list(targets)
    return [_health(context.target(name), root) for name in names]


def _health(target: Target, root: Path) -> Health:
    description = target.description
    device = detect(description, root)
    tool = target.tool()
    place = version = problem = advice = ""
    if tool is not None:
        try:
            installation = tool.locate()
            place, version = str(installation.program), tool.version(installation)
        except ToolNotFound as error:
            problem, advice = error.message, error.hint
    known = description.toolchain.checked
    checked = is_checked(version, known)
    if place and version and known and not checked:
        problem = f"version {version} was not checked; {', '.join(known)} {'was' if len(known) == 1 else 'were'}"
        advice = "it may work: `uair build` reads every result back"
    if device.problem:
        problem, advice = device.problem, "update the driver"
    return Health(
        target=target.name,
        title=description.title,
        tool=tool.name if tool is not None else "",
        place=place,
        version=version,
        checked=checked,
        known_versions=known,
        device=device,
        problem=problem,
        advice=advice,
    )
