"""The CPUs of Phytium and Hygon: an artifact's run.py with the official onnxruntime, on emulated CPUs.

Phytium: aarch64 Python and wheels under qemu, on a Cortex-A72, which is ARMv8.0 as FTC660 to FTC663 are. Hygon: the
Python of the tests on qemu's Dhyana, the CPU that Hygon's C86 is.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import uair
from tests import zoo
from tests.quant.networks import samples, small_cnn
from uair.artifact import Artifact
from uair.request import Int8

pytestmark = pytest.mark.vendor


def environment() -> Path:
    """The folder that tools/vendor/aarch64.sh fills (`make vendor-aarch64`)."""
    home = os.environ.get("UAIR_VENDOR_HOME")
    folder = (Path(home) if home else zoo.cache_dir() / "vendor") / "aarch64"
    assert folder.is_dir(), f"{folder} is missing: run `make vendor-aarch64`"
    return folder


def emulated(machine: str, cpu: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """A program on an emulated CPU."""
    home = environment()
    root = home / "root"
    qemu: list[str | Path] = [home / "qemu" / "usr" / "bin" / f"qemu-{machine}-static", "-cpu", cpu]
    if machine == "aarch64":
        qemu += ["-L", root]
    variables = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([*qemu, *command], env=variables, capture_output=True, text=True, timeout=500, check=False)


def artifacts(target: str, folder: Path) -> dict[str, Artifact]:
    """A network in float and in INT8, a model of the zoo, and one with weights in bf16."""
    model = zoo.models()["ppocr_cls"]
    quantize = Int8(calibration=samples())
    return {
        "float": uair.compile(small_cnn(), target, output=folder / "float"),
        "int8": uair.compile(small_cnn(), target, output=folder / "int8", quantize=quantize),
        "zoo": uair.compile(model.path, target, shapes=model.shapes, output=folder / "zoo"),
        "bf16": uair.compile(
            model.path, target, shapes=model.shapes, output=folder / "bf16", options={"weights": "bf16"}
        ),
    }


def test_phytium(tmp_path: Path) -> None:
    python = environment() / "root" / "usr" / "bin" / "python3.11"
    told = emulated("aarch64", "cortex-a72", python, "-c", "import platform; print(platform.machine())")
    assert told.stdout == "aarch64\n", told.stderr
    for name, artifact in artifacts("phytium", tmp_path).items():
        done = emulated("aarch64", "cortex-a72", python, artifact.file("run.py"))
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        assert "cosine" in done.stdout


def test_phytium_tells_a_wrong_result(tmp_path: Path) -> None:
    artifact = uair.compile(small_cnn(), "phytium", output=tmp_path / "a")
    content = artifact.file("golden/inputs.npz").read_bytes()
    artifact.file("golden/outputs.npz").write_bytes(content)  # other arrays under other names
    python = environment() / "root" / "usr" / "bin" / "python3.11"
    assert emulated("aarch64", "cortex-a72", python, artifact.file("run.py")).returncode not in (0, 2)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the tests' own Python is run on an emulated x86-64 CPU")
def test_hygon(tmp_path: Path) -> None:
    python = Path(sys.executable).resolve()
    packages = [path for path in sys.path if path.endswith("site-packages")]
    code = "import runpy, sys; file = sys.argv[1]; sys.path[:0] = sys.argv[2:]; sys.argv[1:] = []"
    code += "; runpy.run_path(file, run_name='__main__')"
    for name, artifact in artifacts("hygon", tmp_path).items():
        done = emulated("x86_64", "Dhyana", python, "-c", code, artifact.file("run.py"), *packages)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        assert "cosine" in done.stdout
