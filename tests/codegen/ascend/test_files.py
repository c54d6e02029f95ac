"""The files beside the model: build.sh, aipp.cfg, record.txt, layout.json; byte for byte, and what they do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import uair
from tests.codegen.ascend import models
from tests.golden import Golden
from uair.artifact import Artifact
from uair.codegen.ascend.aipp import aipp_inputs, aipp_text
from uair.codegen.ascend.atc import AtcCommand
from uair.codegen.ascend.record import record_text
from uair.ir import DType, Graph, TensorType
from uair.preprocess import Preprocess, PreprocessError
from uair.request import Int8

IMAGE = Preprocess(resize="pad", color="bgr", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), fill=114)


def build(folder: Path, *, quantize: bool = False, preprocess: Preprocess | None = None) -> Artifact:
    module = models.cnn()
    return uair.compile(
        module,
        "ascend310",
        output=folder,
        quantize=Int8(calibration=models.samples(module, 8)) if quantize else None,
        preprocess={} if preprocess is None else {"image": preprocess},
    )


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(tmp_path_factory.mktemp("ascend") / "out", quantize=True, preprocess=IMAGE)


# --------------------------------------------------------------------------------------------------------- golden files
def test_build_script(golden: Golden, artifact: Artifact) -> None:
    golden.check("build.sh", artifact.file("build.sh").read_text())


def test_aipp_file(golden: Golden, artifact: Artifact) -> None:
    golden.check("aipp.cfg", artifact.file("aipp.cfg").read_text())


def test_record(golden: Golden) -> None:
    layers = [
        {"name": "conv1", "scale_d": 0.0798, "offset_d": 1, "scale_w": [0.00297, 1.1920929e-07]},
        {"name": "fc", "scale_d": 2.0, "offset_d": -128, "scale_w": [0.5]},
    ]
    golden.check("record.txt", record_text(layers))


def test_flags_are_those_of_cann_6(artifact: Artifact) -> None:
    flags = AtcCommand("model.onnx", "model", "Ascend310", "NCHW", "x:1,3,8,8", aipp="aipp.cfg").flags()
    known = {
        "--model",
        "--framework",
        "--output",
        "--soc_version",
        "--input_format",
        "--input_shape",
        "--precision_mode",
        "--log",
        "--insert_op_conf",
    }
    assert {flag.partition("=")[0] for flag in flags} == known
    script = artifact.file("build.sh").read_text()
    for newer in ("precision_mode_v2", "compression_optimize_conf", "deterministic", "external_weight", "jit_compile"):
        assert newer not in script


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, artifact: Artifact) -> None:
    again = build(tmp_path / "again", quantize=True, preprocess=IMAGE)
    assert again.manifest["files"] == artifact.manifest["files"]
    assert (again.root / "manifest.json").read_bytes() == (artifact.root / "manifest.json").read_bytes()


# ------------------------------------------------------------------------------------------------------------- build.sh
SUCCESS = "echo ATC run success, welcome to the next use."
TOOLS = {
    "works": (f"echo om > model.om; {SUCCESS}", 0, "model.om is ready"),
    "names the system": (f"echo om > model_linux_x86_64.om; {SUCCESS}", 0, "model_linux_x86_64.om is ready"),
    "fails": ("echo ATC run failed, Please check the detail log; exit 3", 1, "ATC failed with status 3"),
    "says nothing": ("echo om > model.om", 1, "did not report success"),
    "writes nothing": (SUCCESS, 1, "wrote no model.om"),
    "writes an empty file": (f": > model.om; {SUCCESS}", 1, "wrote no model.om"),
}


@pytest.mark.parametrize("kind", TOOLS)
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_script_believes_only_a_result(kind: str, shell: str, tmp_path: Path, artifact: Artifact) -> None:
    action, status, message = TOOLS[kind]
    folder, tools = tmp_path / "with blank", tmp_path / "tools"
    folder.mkdir()
    tools.mkdir()
    script = folder / "build.sh"
    script.write_bytes(artifact.file("build.sh").read_bytes())
    atc = tools / "atc"
    atc.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > arguments.txt\n{action}\n')
    atc.chmod(0o755)
    (folder / "model.om").write_text("of an earlier run")
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run([shell, str(script)], cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, message in done.stdout + done.stderr) == (status, True), done
    arguments = (folder / "arguments.txt").read_text().splitlines()
    assert arguments[0] == "--model=model.onnx" and "--input_shape=image:1,3,12,10" in arguments
    assert (folder / "atc.log").exists()


def test_the_script_says_when_atc_is_missing(tmp_path: Path, artifact: Artifact) -> None:
    script = tmp_path / "build.sh"
    script.write_bytes(artifact.file("build.sh").read_bytes())
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "install the CANN toolkit" in done.stderr


def test_the_script_sources_the_toolkit(tmp_path: Path, artifact: Artifact) -> None:
    toolkit = tmp_path / "Ascend" / "ascend-toolkit"
    (toolkit / "bin").mkdir(parents=True)
    (toolkit / "set_env.sh").write_text(f'export PATH="{toolkit}/bin:$PATH"\nfalse\necho "$NOT_SET"\n')
    (toolkit / "bin" / "atc").write_text(f"#!/bin/sh\necho om > model.om\n{SUCCESS}\n")
    (toolkit / "bin" / "atc").chmod(0o755)
    script = tmp_path / "build.sh"
    script.write_bytes(artifact.file("build.sh").read_bytes())
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_script_can_be_executed(artifact: Artifact) -> None:
    assert artifact.file("build.sh").stat().st_mode & 0o111


# ----------------------------------------------------------------------------------------------------------------- AIPP
def image(*shape: int, dtype: DType = DType.F32) -> Graph:
    graph = Graph()
    tensor = graph.add_input("image", TensorType(dtype, shape))
    graph.add_output("y", tensor)
    return graph


def aipp_of(text: str, pixels: uair.Array) -> uair.Array:
    """What AIPP makes of pixels [N, H, W, C], from the text alone."""
    fields = dict(line.strip().split(": ") for line in text.splitlines() if ": " in line)
    if fields["rbuv_swap_switch"] == "true":
        pixels = pixels[..., ::-1]
    channels = range(pixels.shape[3])
    mean, low, factor = (
        np.array([float(fields[f"{key}_chn_{c}"]) for c in channels], np.float32) for key in ("mean", "min", "var_reci")
    )
    return np.asarray((pixels - mean - low) * factor).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    "preprocess",
    [IMAGE, Preprocess(mean=127.5, std=127.5), Preprocess(), Preprocess(color="gray", mean=256, std=0.5)],
    ids=["imagenet-bgr", "half", "identity", "gray"],
)
def test_aipp_does_what_the_preprocessing_says(preprocess: Preprocess) -> None:
    shape = (1, preprocess.channels, 6, 8)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 6, 8, preprocess.channels)).astype(np.uint8)
    text = aipp_text(aipp_inputs(image(*shape), {"image": preprocess}))
    np.testing.assert_allclose(aipp_of(text, pixels), preprocess.apply(pixels[0], shape), rtol=1e-6, atol=1e-5)


def test_the_manifest_says_what_the_om_takes_and_what_the_host_does(artifact: Artifact) -> None:
    (entry,) = artifact.manifest["ascend"]["inputs"]
    assert entry == {
        "name": "image",
        "source": "image",
        "dtype": "u8",
        "layout": "NHWC",
        "shape": [1, 12, 10, 3],
        "color": "rgb",
        "host_preprocessing": [
            "decode to 8-bit rgb",
            "resize to fit 10x12 with the aspect ratio kept, fill right and below with 114",
        ],
        "on_the_chip": "exchange of red and blue, mean, standard deviation",
    }


@pytest.mark.parametrize(
    ("graph", "preprocess", "message"),
    [
        (image(1, 3, 8, 8), Preprocess(mean=-1), "means of 0 to 256, not -1"),
        (image(1, 3, 8, 8), Preprocess(mean=(1, 2, 300), std=1), "not 300"),
        (image(1, 3, 8, 8), Preprocess(std=1e-39), "too small"),
        (image(1, 8, 8, 3), Preprocess(layout="NHWC"), "for NCHW inputs only"),
        (image(1, 3, 8, 8), Preprocess(color="gray"), "has 3 channels, color=gray gives 1"),
        (image(3, 8, 8), Preprocess(), "AIPP makes images of"),
        (image(1, 3, 8, 8, dtype=DType.I32), Preprocess(), "AIPP makes images of"),
        (image(1, 3, 8, 5000), Preprocess(), "5000x8 pixels"),
        (image(1, 3, 8, 1), Preprocess(), "1x8 pixels"),
    ],
)
def test_what_aipp_cannot_do_is_refused(graph: Graph, preprocess: Preprocess, message: str) -> None:
    with pytest.raises(PreprocessError, match=message):
        aipp_inputs(graph, {"image": preprocess})


def test_a_refusal_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PreprocessError):
        build(tmp_path / "out", preprocess=Preprocess(mean=-1))
    assert not list(tmp_path.iterdir())
