"""The files beside the model: build.sh, aipp.cfg, record.txt, layout.json; byte for byte, and what they do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import uair
from tests.codegen.ascend import conformance, models
from tests.golden import Golden
from uair.artifact import Artifact
from uair.codegen.ascend.aipp import Picture, aipp_inputs, aipp_text
from uair.codegen.ascend.record import record_text
from uair.ir import DType, Graph, TensorType
from uair.preprocess import Preprocess, PreprocessError
from uair.request import Int8
from uair.targets.errors import OptionError

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


def test_other_files(golden: Golden, artifact: Artifact) -> None:
    for name in ("build_air.sh", "check.sh", "dump.sh", "amct.cfg"):
        golden.check(name, artifact.file(name).read_text())


def test_flags_are_those_of_cann_6(artifact: Artifact) -> None:
    flags = conformance.flags_in(artifact.file("build.sh"))
    assert set(flags) == {
        "model",
        "framework",
        "output",
        "soc_version",
        "input_format",
        "input_shape",
        "precision_mode",
        "log",
        "insert_op_conf",
        "enable_small_channel",
    }
    script = artifact.file("build.sh").read_text()
    for newer in conformance.NEWER:
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


def run_script(script: str, folder: Path, action: str) -> subprocess.CompletedProcess[str]:
    """A script beside a stand-in for ATC, which notes its calls."""
    tools = folder / "tools"
    tools.mkdir()
    (folder / "script.sh").write_text(script)
    atc = tools / "atc"
    atc.write_text(f'#!/bin/sh\necho "$@" >> calls.txt\n{action}\n')
    atc.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    command = ["bash", str(folder / "script.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_operators_are_asked_for_without_compiling(tmp_path: Path, artifact: Artifact) -> None:
    script = artifact.file("check.sh").read_text()
    done = run_script(script, tmp_path, 'echo "{}" > check_result.json; exit 1')
    assert (done.returncode, done.stdout) == (0, "{}\n")
    assert "--mode=3 --model=model.onnx --framework=5 --soc_version=Ascend310" in (tmp_path / "calls.txt").read_text()
    silent = tmp_path / "silent"
    silent.mkdir()
    assert "wrote no check_result.json" in run_script(script, silent, ":").stderr


@pytest.mark.parametrize(("target", "modes"), [("ascend310", ["1", "1"]), ("ascend310b", ["1", "1", "6"])])
def test_models_are_dumped(target: str, modes: list[str], tmp_path: Path) -> None:
    made = uair.compile(models.cnn(), target, output=tmp_path / "out", golden=False)
    script = made.file("dump.sh").read_text()
    (tmp_path / "model_linux_x86_64.om").write_text("om")
    assert run_script(script, tmp_path, ":").returncode == 0
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert [call.split()[0].removeprefix("--mode=") for call in calls] == modes
    assert "--om=model_linux_x86_64.om --json=model.om.json" in calls[1]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "run build.sh first" in run_script(script, empty, ":").stderr


@pytest.mark.parametrize("knows", [True, False])
def test_a_release_is_asked_whether_it_has_newer_options(knows: bool, tmp_path: Path) -> None:
    options = {"precision_mode_v2": "fp16", "format": "onnx"}
    made = uair.compile(models.cnn(), "ascend310p", output=tmp_path / "out", golden=False, options=options)
    script = made.file("build.sh").read_text()
    known = "--precision_mode_v2" if knows else "--precision_mode"
    action = f'case "$1" in --help) echo "  {known} : x";; *) echo om > model.om; {SUCCESS};; esac'
    done = run_script(script, tmp_path, action)
    assert done.returncode == (0 if knows else 1), done
    assert knows or "this release of ATC has no --precision_mode_v2" in done.stderr


# ----------------------------------------------------------------------------------------------------------------- AIPP
def image(*shape: int, dtype: DType = DType.F32) -> Graph:
    graph = Graph()
    tensor = graph.add_input("image", TensorType(dtype, shape))
    graph.add_output("y", tensor)
    return graph


def aipp_of(text: str, pixels: uair.Array) -> uair.Array:
    """What AIPP makes of a picture, from the text alone: [N, H, W, C], or NV12 and NV21 as [N, H * 3 / 2, W]."""
    fields = dict(line.strip().split(": ") for line in text.splitlines() if ": " in line)
    number = {key: float(value) for key, value in fields.items() if value[0] in "-0123456789"}
    if fields["input_format"] == "YUV420SP_U8":
        height = int(number["src_image_size_h"])
        chroma = pixels[:, height:].reshape(len(pixels), height // 2, -1, 2).repeat(2, 1).repeat(2, 2)
        if fields["rbuv_swap_switch"] == "true":
            chroma = chroma[..., ::-1]
        pixels = np.concatenate([pixels[:, :height, :, None], chroma], -1)
    elif fields["rbuv_swap_switch"] == "true":
        pixels = pixels[..., ::-1]
    if fields["crop"] == "true":
        left, top = int(number["load_start_pos_w"]), int(number["load_start_pos_h"])
        pixels = pixels[:, top : top + int(number["crop_size_h"]), left : left + int(number["crop_size_w"])]
    if fields["csc_switch"] == "true":
        matrix = np.array([[number[f"matrix_r{r}c{c}"] for c in range(3)] for r in range(3)])
        bias = np.array([number[f"input_bias_{i}"] for i in range(3)])
        pixels = np.clip((pixels.astype(np.float64) - bias) @ matrix.T / 256, 0, 255)
    channels = range(pixels.shape[3])
    mean, low, factor = (
        np.array([number[f"{key}_chn_{c}"] for c in channels], np.float32) for key in ("mean", "min", "var_reci")
    )
    made = np.asarray((pixels - mean - low) * factor)
    if fields["padding"] == "true":
        left, right, top, bottom = (int(number[f"{s}_padding_size"]) for s in ("left", "right", "top", "bottom"))
        made = np.pad(made, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=number["padding_value"])
    return made.transpose(0, 3, 1, 2)


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


def drawn(*shape: int) -> uair.Array:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("given", "color", "swapped"), [("rgb", "bgr", True), ("bgr", "rgb", True), ("bgr", "bgr", False)]
)
def test_red_and_blue_are_exchanged_where_they_must_be(given: Any, color: Any, swapped: bool) -> None:
    preprocess = Preprocess(color=color, mean=(1, 2, 3), std=2)
    (made,) = aipp_inputs(image(1, 3, 6, 8), {"image": preprocess}, Picture(given=given))
    pixels = drawn(1, 6, 8, 3)
    expected = preprocess.apply(pixels[0] if given == "rgb" else pixels[0][..., ::-1], (1, 3, 6, 8))
    np.testing.assert_allclose(aipp_of(made.text(), pixels), expected, rtol=1e-6, atol=1e-5)
    assert made.swaps is swapped and made.manifest()["color"] == given


@pytest.mark.parametrize("given", ["nv12", "nv21"])
@pytest.mark.parametrize("matrix", ["bt601", "jpeg"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_yuv_of_a_gray_and_of_a_red_picture(given: Any, matrix: Any, color: Any) -> None:
    """BT.601: gray has U = V = 128; red has a high V and a low U."""
    preprocess = Preprocess(color=color, mean=0, std=1)
    (made,) = aipp_inputs(image(1, 3, 4, 6), {"image": preprocess}, Picture(given=given, matrix=matrix))
    assert made.manifest()["shape"] == [1, 6, 6] and made.manifest()["layout"] == given.upper()
    gray = np.full((1, 6, 6), 128, np.uint8)
    result = aipp_of(made.text(), gray)
    level = 128.0 if matrix == "jpeg" else (128 - 16) * 298 / 256
    np.testing.assert_allclose(result, np.full((1, 3, 4, 6), level), atol=1)
    y, u, v = (76, 85, 255) if matrix == "jpeg" else (82, 90, 240)
    red = np.full((1, 6, 6), y, np.uint8)
    red[:, 4:] = (
        np.array([u, v] if given == "nv12" else [v, u], np.uint8).repeat(1).reshape(1, 1, 2).repeat(3, 1).reshape(6)
    )
    result = aipp_of(made.text(), red)
    plane = 0 if color == "rgb" else 2
    assert result[0, plane].min() > 245 and np.delete(result[0], plane, 0).max() < 10


def test_a_part_of_the_picture_is_taken_and_padded() -> None:
    preprocess = Preprocess(mean=10, std=2, fill=114)
    picture = Picture(source=(20, 16), corner=(3, 5), padding=(1, 2, 3, 0))
    (made,) = aipp_inputs(image(1, 3, 9, 12), {"image": preprocess}, picture)
    pixels = drawn(1, 16, 20, 3)
    result = aipp_of(made.text(), pixels)
    expected = np.full((1, 3, 9, 12), (114 - 10) / 2, np.float32)
    expected[0, :, 3:9, 1:10] = (pixels[0, 5:11, 3:12].transpose(2, 0, 1).astype(np.float32) - 10) / 2
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    middle = attrs.evolve(made, picture=attrs.evolve(picture, corner=None))
    assert middle.corner == ((20 - 9) // 2, (16 - 6) // 2)
    assert made.manifest()["on_the_chip"] == "cut of 9x6 at 3,5, mean, standard deviation, padding"
    yuv = attrs.evolve(middle, picture=Picture(given="nv12", source=(22, 14)), shape=(1, 3, 8, 12))
    assert yuv.corner == (4, 2)


def test_dynamic_preprocessing_is_given_at_run_time(golden: Golden) -> None:
    graph = image(2, 3, 8, 6)
    second = graph.add_input("other", TensorType(DType.F32, (2, 1, 4, 4)))
    graph.add_output("z", second)
    chosen = {"image": Preprocess(color="bgr", mean=127.5, std=127.5), "other": Preprocess(color="gray")}
    inputs = aipp_inputs(graph, chosen, Picture(mode="dynamic"))
    golden.check("dynamic_aipp.cfg", aipp_text(inputs))
    assert [i.largest_bytes for i in inputs] == [2 * 8 * 6 * 3, 2 * 4 * 4]
    told = inputs[0].manifest()["aipp"]
    assert told["rbuv_swap_switch"] == "true" and told["mean_chn_0"] == "127" and told["min_chn_0"] == "0.5"
    nv12 = aipp_inputs(image(1, 3, 8, 6), {"image": Preprocess()}, Picture(mode="dynamic", given="nv12"))
    assert nv12[0].largest_bytes == 8 * 6 * 3 // 2


@pytest.mark.parametrize(
    ("picture", "preprocess", "message"),
    [
        (Picture(given="gray"), Preprocess(), "AIPP makes no rgb of gray"),
        (Picture(source=(5000, 10)), Preprocess(), "aipp_source=5000,10"),
        (Picture(source=(8, 8), corner=(2, 0)), Preprocess(), "takes 8x8 pixels at 2,0, the picture has 8x8"),
        (Picture(source=(4, 8)), Preprocess(), "takes 8x8 pixels"),
        (Picture(given="nv12", source=(9, 8)), Preprocess(), "sizes and corners of nv12 pictures are even"),
        (Picture(given="nv21", source=(16, 8), corner=(3, 0)), Preprocess(), "even"),
        (Picture(padding=(1, 1, 0, 0), padded_width=4), Preprocess(), "at most 4 pixels wide"),
        (Picture(padding=(1, 1, 0, 0)), Preprocess(mean=(1, 2, 3)), "pads all channels with one number"),
        (Picture(any_size=False, padding=(8, 0, 0, 0)), Preprocess(), "0x8 pixels"),
    ],
)
def test_what_aipp_cannot_do_with_a_picture(picture: Picture, preprocess: Preprocess, message: str) -> None:
    with pytest.raises((OptionError, PreprocessError), match=message):
        aipp_inputs(image(1, 3, 8, 8), {"image": preprocess}, picture)


def test_pictures_of_several_sizes_are_neither_cut_nor_padded() -> None:
    shapes = [[(1, 3, 8, 8)], [(1, 3, 8, 12)]]
    (made,) = aipp_inputs(image(1, 3, 8, 8), {"image": Preprocess()}, Picture(), shapes)
    assert "src_image_size_w: 0" in made.text() and made.shape == (1, 3, 8, 12)
    with pytest.raises(OptionError, match="has several sizes"):
        aipp_inputs(image(1, 3, 8, 8), {"image": Preprocess()}, Picture(padding=(1, 1, 1, 1)), shapes)


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
