"""`uair doctor`: devices in a made-up /sys and /proc, drivers from recorded output, tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from uair.building import examine
from uair.cli import main
from uair.targets import DeviceDescription, load_description
from uair.targets.description import Detection, DriverQuery
from uair.targets.detect import detect, driver_version

CNMON = """\
| CNMON v5.10.13                                               Driver v5.10.13 |
| Card  VF  Name       Firmware |               Bus-Id | Util        Ecc-Error |
| 0     /   MLU370-X8    v1.1.6 |         0000:39:00.0 | 0%                N/A |
"""
XPU_SMI = "| XPU-SMI               Driver Version: 5.0.21.21    XPU-RT Version: 5.0.21   |\n"


def pci(root: Path, number: str, vendor: str, device: str, *, virtual: bool = False) -> None:
    folder = root / "sys/bus/pci/devices" / number
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"0x{vendor}\n")
    (folder / "device").write_text(f"0x{device}\n")
    if virtual:
        (folder / "physfn").mkdir()


def changed(name: str, **fields: tuple[str, ...]) -> DeviceDescription:
    description = load_description(name)
    return attrs.evolve(description, detection=attrs.evolve(description.detection, **cast(Any, fields)))


def test_a_card(tmp_path: Path) -> None:
    ascend = load_description("ascend310")
    assert not detect(ascend, tmp_path).is_present
    pci(tmp_path, "0000:00:01.0", "8086", "1234")
    pci(tmp_path, "0000:39:00.0", "19e5", "d100")
    pci(tmp_path, "0000:3a:00.0", "19e5", "d100")
    pci(tmp_path, "0000:3a:00.1", "19e5", "d100", virtual=True)
    assert detect(ascend, tmp_path).evidence == ("PCI 19e5:d100 (2 times)",)
    assert not detect(load_description("ascend310p"), tmp_path).is_present


def test_a_vendor_alone_is_enough_where_no_device_is_known(tmp_path: Path) -> None:
    pci(tmp_path, "0000:00:01.0", "1ee0", "0001")
    assert detect(changed("rk3588", pci=("1ee0",)), tmp_path).evidence == ("PCI 1ee0:0001",)
    assert not detect(changed("rk3588", pci=("1ee",)), tmp_path).is_present


def test_a_board(tmp_path: Path) -> None:
    tree = tmp_path / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "compatible").write_bytes(b"radxa,rock-5b\0rockchip,rk3588\0")
    assert detect(load_description("rk3588"), tmp_path).evidence == ("device tree rockchip,rk3588",)


def test_a_processor(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    cpuinfo = tmp_path / "proc/cpuinfo"
    hygon = changed("cpu", cpuinfo=("vendor_id: HygonGenuine",))
    cpuinfo.write_text("processor\t: 0\nvendor_id\t: HygonGenuine\nmodel name\t: Hygon C86 7185\n")
    assert detect(hygon, tmp_path).evidence == ("/proc/cpuinfo",)
    cpuinfo.write_text("processor\t: 0\nvendor_id\t: GenuineIntel\n")
    assert not detect(hygon, tmp_path).is_present


@pytest.mark.parametrize(
    ("text", "pattern", "version"),
    [
        (CNMON, r"Driver v(?P<version>[\d.]+)", "5.10.13"),
        (XPU_SMI, r"Driver Version: (?P<version>[\d.]+)", "5.0.21.21"),
        ("nothing", r"Driver v(?P<version>[\d.]+)", ""),
    ],
)
def test_the_driver_from_a_file(tmp_path: Path, text: str, pattern: str, version: str) -> None:
    (tmp_path / "version").write_text(text)
    assert driver_version(DriverQuery(pattern, file="/version"), tmp_path) == version


def test_the_driver_from_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "cnmon"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{CNMON}END\n")
    program.chmod(0o755)
    query = DriverQuery(r"Driver v(?P<version>[\d.]+)", command=("cnmon",))
    assert driver_version(query) == ""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert driver_version(query) == "5.10.13"


def test_a_driver_that_is_too_old(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("Driver v4.20.11")
    query = DriverQuery(r"Driver v(?P<version>[\d.]+)", file="version")
    description = load_description("rk3588")
    old = attrs.evolve(
        description,
        detection=Detection(device_files=("/version",), driver=query),
        toolchain=attrs.evolve(description.toolchain, driver="5.0"),
    )
    assert detect(old, tmp_path).problem == "driver 4.20.11 is older than 5.0"
    (tmp_path / "version").write_text("Driver v5.10.13")
    assert detect(old, tmp_path).problem == ""


def test_every_target_is_examined(tmp_path: Path) -> None:
    found = {health.target: health for health in examine(root=tmp_path)}
    assert {"ascend310", "cpu", "rk3588"} <= set(found)
    assert found["ascend310"].tool == "ATC"
    assert not found["ascend310"].can_build and "set_env.sh" in found["ascend310"].advice
    json.dumps([health.to_json() for health in found.values()])


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["target", "tool", "installed", "device", "driver"]
    assert main(["doctor", "--target", "ascend310"]) == 1
    assert "looked for $UAIR_ATC" in capsys.readouterr().out
    assert main(["doctor", "--target", "ascend301"]) == 1
    assert "did you mean ascend310" in capsys.readouterr().err
    main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["ascend310"]["can_build"] is False
