"""Is the device in this machine, and which driver has it?

Asked of the system's own tables (PCI, device tree, device files, /proc/cpuinfo) by what the description's `[detection]`
names; the vendor's driver is asked for its version only.
"""

from __future__ import annotations

import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from uair.targets.description import Detection, DeviceDescription, DriverQuery
from uair.vendor import Limits, ToolNotFound, run_tool

QUERY_LIMITS = Limits(seconds=20.0, memory=2 << 30, log=1 << 20)


@attrs.frozen
class Device:
    """What was seen of a device.

    Attributes:
        evidence: what tells that it is here, in words; empty when nothing does.
        driver: version of its driver; empty when it is not known.
        problem: what is wrong with the driver; empty when nothing is known to be.
    """

    evidence: tuple[str, ...]
    driver: str = ""
    problem: str = ""

    @property
    def is_present(self) -> bool:
        """Whether the device is here."""
        return bool(self.evidence)


def detect(description: DeviceDescription, root: Path = Path("/")) -> Device:
    """Look for a target's device.

    Args:
        description: of the target.
        root: folder that stands for the root of the file system.
    """
    evidence = tuple(_evidence(description.detection, root))
    if not evidence:
        return Device(())
    query = description.detection.driver
    driver = driver_version(query, root) if query is not None else ""
    least = description.toolchain.driver
    too_old = bool(driver and least) and _numbers(driver) < _numbers(least)
    return Device(evidence, driver, f"driver {driver} is older than {least}" if too_old else "")


def _evidence(detection: Detection, root: Path) -> Iterator[str]:
    present = list(_pci(root))
    for wanted in detection.pci:
        matches = [each for each in present if each == wanted or each.startswith(f"{wanted}:")]
        if matches:
            yield f"PCI {matches[0]}" + (f" ({len(matches)} times)" if len(matches) > 1 else "")
    tree = _text(root / "proc/device-tree/compatible").split("\0")
    yield from (f"device tree {name}" for name in detection.device_tree if name in tree)
    yield from (path for path in detection.device_files if _exists(root / path.lstrip("/")))
    if detection.cpuinfo:
        if detection.in_cpuinfo(_text(root / "proc/cpuinfo")):
            yield "/proc/cpuinfo"
    elif platform.machine() in detection.machine:
        yield f"{platform.machine()} processor"


def _pci(root: Path) -> Iterator[str]:
    """`vendor:device` of every PCI function that is no virtual one (those have a link `physfn`)."""
    for folder in sorted((root / "sys/bus/pci/devices").glob("*")):
        if not (folder / "physfn").exists():
            vendor, device = (_text(folder / name).strip().removeprefix("0x") for name in ("vendor", "device"))
            if vendor and device:
                yield f"{vendor}:{device}"


def driver_version(query: DriverQuery, root: Path = Path("/")) -> str:
    """The version that a query finds; empty when it finds none."""
    text = _text(root / query.file.lstrip("/")) if query.file else ""
    found = re.search(query.pattern, text)
    if found is None and query.command and shutil.which(query.command[0]) is not None:
        with tempfile.TemporaryDirectory(prefix="uair-driver-") as folder:
            log = Path(folder) / "log"
            try:
                run_tool(query.command, log=log, limits=QUERY_LIMITS)
            except ToolNotFound:
                return ""
            found = re.search(query.pattern, log.read_text("utf-8", "replace"))
    return found["version"] if found else ""


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder on the way that this user may not look into
        return False


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:  # not there, or not for this user
        return ""


def _numbers(version: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", version)]
