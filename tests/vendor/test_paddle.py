"""Kunlunxin's route with the real tools: x2paddle converts what is written, and PaddlePaddle on CPUs runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import uair
from tests import zoo
from tests.quant.networks import Builder, all_products, branches, small_cnn
from tests.vendor.rknn_models import candidates
from uair.artifact import Artifact
from uair.ir.module import Module
from uair.ops import Gelu, HardSwish, InstanceNorm, LayerNorm, Pad, ReduceMean, Resize, Softmax, Transpose

pytestmark = pytest.mark.vendor
TARGET = "kunlun_r200"


def python() -> Path:
    """Of the virtual environment that tools/vendor/paddle.sh fills (`make vendor-paddle`)."""
    home = os.environ.get("UAIR_VENDOR_HOME")
    folder = (Path(home) if home else zoo.cache_dir() / "vendor") / "paddle"
    assert folder.is_dir(), f"{folder} is missing: run `make vendor-paddle`"
    return folder / "bin" / "python"


def build(artifact: Artifact, work: Path) -> str:
    """Run build.sh on a copy of an artifact: it converts, and compares with the reference; its output."""
    folder = work / "copy"
    shutil.copytree(artifact.root, folder)
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(work), "PYTHON": str(python()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["sh", "build.sh"], cwd=folder, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert list((folder / "paddle" / "inference_model").glob("model.pdiparams"))
    return done.stdout


@pytest.mark.parametrize("name", ["squeezenet_real", "ppocr_cls", "ppocr_det", "magika", "bert", "yolo"])
def test_models_of_the_zoo(name: str, tmp_path: Path) -> None:
    model = zoo.models()[name]
    text = build(uair.compile(model.path, TARGET, shapes=model.shapes, output=tmp_path / "a"), tmp_path)
    assert text.count("cosine 1.000000") + text.count("cosine 0.9999") >= 1


def test_slopes_of_channels(tmp_path: Path) -> None:
    """x2paddle takes the first extent of PRelu's slopes for their number: [10, 1, 1] works, [1, 10, 1, 1] does not."""
    model = candidates()["mtcnn_pnet"]
    text = build(uair.compile(model.path, TARGET, shapes=model.shapes, output=tmp_path / "a"), tmp_path)
    assert text.count("cosine 1.000000") == 2


def operators() -> Module:
    """Operators that the zoo's models do not show, each in front of the next."""
    b = Builder(1, 4, 6, 6)
    x = b.add(Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1)), b.x, name="pad")
    x = b.add(InstanceNorm(), x, b.weight(4), b.weight(4), name="instance")
    x = b.add(HardSwish(), b.add(Gelu(), x, name="gelu"), name="hardswish")
    x = b.add(LayerNorm(axis=-1), x, b.weight(8), b.weight(8), name="layer")
    x = b.add(Resize(sizes=(1, 4, 16, 16), mode="linear", coordinate_mode="half_pixel"), x, name="linear")
    x = b.add(Resize(sizes=(1, 4, 32, 32), coordinate_mode="asymmetric", nearest_mode="floor"), x, name="nearest")
    mean = b.add(ReduceMean(axes=(2, 3), keepdims=False), x, name="mean")
    return b.done(b.add(Softmax(axis=1), b.add(Transpose(perm=(0, 2, 3, 1)), x), name="softmax"), mean)


@pytest.mark.parametrize("network", [small_cnn, all_products, branches, operators])
def test_networks(network: Callable[[], Module], tmp_path: Path) -> None:
    build(uair.compile(network(), TARGET, output=tmp_path / "a"), tmp_path)
