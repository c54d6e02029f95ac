"""The example of a target in a package of its own: installed by pip, and used by its name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import ROOT
from uair.targets import Support, load_description

EXAMPLE = ROOT / "examples" / "toy-target"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, as pip installs it."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, folder / "source")
    site = folder / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "--target", site, source], check=True, timeout=300)
    return site


def uair(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, "-m", "uair", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
        cwd=site,
    )


def model(folder: Path, kernel: int) -> Path:
    size = 17 - kernel
    path = folder / "m.uair"
    path.write_text(
        f"""uair 1
module @m {{
  constant @weight = splat<1.0> : f32[4,3,{kernel},{kernel}]
  graph @main(%x: f32[1,3,16,16]) -> ("y" = %y: f32[1,4,{size},{size}]) {{
    %c = Conv2D(%x, @weight) : f32[1,4,{size},{size}]
    %y = Relu(%c) : f32[1,4,{size},{size}]
  }}
}}
"""
    )
    return path


def test_the_installed_target_compiles(installed: Path, tmp_path: Path) -> None:
    assert "toynpu" in uair(installed, "targets").stdout
    path = model(tmp_path, 3)
    done = uair(
        installed, "compile", str(path), "--target", "toynpu", "--option", "effort=fast", "-o", str(tmp_path / "out")
    )
    assert done.returncode == 0, done.stderr
    assert "toycc --chip t1 --effort fast model.onnx" in (tmp_path / "out" / "build.sh").read_text()
    assert (tmp_path / "out" / "model.onnx").is_file()


def test_the_installed_target_answers(installed: Path, tmp_path: Path) -> None:
    done = uair(installed, "check", str(model(tmp_path, 9)), "--target", "toynpu", "--json")
    assert done.returncode == 3, done.stderr
    (conv, relu) = json.loads(done.stdout)["toynpu"]["nodes"]
    assert (conv["clause"], conv["values"]) == ("kernel_h <= 7; kernel_w <= 7", "kernel_h = 9, kernel_w = 9")
    assert conv["suggestion"] == "split the kernel"
    assert relu["support"] == "supported"


def test_a_wrong_option_has_a_near_one(installed: Path, tmp_path: Path) -> None:
    done = uair(installed, "compile", str(model(tmp_path, 3)), "--target", "toynpu", "--option", "efort=fast")
    assert done.returncode == 1 and "effort" in done.stderr


def test_the_description() -> None:
    description = load_description(EXAMPLE / "toynpu_uair" / "toynpu.toml")
    assert description.operators["Conv2D"].entry.support is Support.SUPPORTED


def test_what_the_installed_target_refuses_runs_on_its_fallback(installed: Path, tmp_path: Path) -> None:
    path = model(tmp_path, 3)
    path.write_text(path.read_text().replace("%y = Relu(%c)", "%y = Erf(%c)"))
    command = ["compile", str(path), "--target", "toynpu", "-o", str(tmp_path / "out"), "--min-island", "1"]
    done = uair(installed, *command)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    parts = [part["target"] for part in manifest["partitions"]]
    assert parts == ["toynpu", "cpu"]
    refused = uair(installed, *command, "--no-fallback", "--overwrite")
    assert refused.returncode == 1 and "UAIR-E0520" in refused.stderr
