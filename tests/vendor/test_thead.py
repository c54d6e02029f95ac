"""T-Head artifacts with the real tools: SHL runs them on x86 and links them for RISC-V, HHB compiles its route."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np
import pytest

import uair
from tests import zoo, zoo_onnx
from tests.vendor import hhb, shl
from uair.codegen.reference import run
from uair.codegen.thead.target import CHIPS
from uair.ir.dtype import Array
from uair.text import parse_module

pytestmark = pytest.mark.vendor
CNNS = ("squeezenet_real", "shufflenet_real", "resnet50_real", "ppocr_cls", "ppocr_det", "mtcnn_onet")
FLOAT = 1e-4
"""Greatest difference of an output from the interpreter's, relative to its greatest magnitude."""
SHARE = 5e-5
"""Of the integers of single operators: at most this many may lie one step beside the interpreter's, where the f32 sums
that SHL and NumPy round lie on the two sides of a tie."""


@attrs.frozen
class Case:
    """A model with an input and calibration samples."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    feeds: Mapping[str, Array]
    samples: list[Mapping[str, Array]]


def case(name: str) -> Case:
    """A model of one of the two zoos."""
    if name in zoo.models():
        model = zoo.models()[name]
        return Case(model.path, dict(model.shapes), model.feeds(0), [*model.calibration(2)])
    packaged = zoo_onnx.MODELS[name]
    draw = packaged.draws[0]
    feeds, *samples = (draw(np.random.default_rng(seed)) for seed in range(3))
    return Case(packaged.path, {n: a.shape for n, a in feeds.items()}, feeds, [*samples])


def compiled(name: str, target: str, output: Path, *, int8: bool) -> uair.Artifact:
    """The artifact of a model."""
    model = case(name)
    quantize = uair.Int8(model.samples) if int8 else None
    return uair.compile(
        model.path, target, output=output, shapes=model.shapes, quantize=quantize, golden=dict(model.feeds)
    )


def result(artifact: uair.Artifact, repeat: int = 0) -> shl.Run:
    """What the program of an artifact gives for the golden input."""
    done = shl.make(artifact.root)
    assert done.ok, (artifact.root / "make.log").read_text()[-2000:]
    assert "warning" not in (artifact.root / "make.log").read_text()
    entry = artifact.manifest["thead"]
    inputs = [np.load(artifact.root / file) for file in entry["golden"]["inputs"]]
    return shl.execute(artifact.root, inputs, [port["name"] for port in entry["outputs"]], repeat)


def say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print a figure for the log of the tests."""
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n")


@pytest.mark.parametrize("name", CNNS)
def test_float_is_the_interpreters(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = compiled(name, "x86_ref", tmp_path / "artifact", int8=False)
    got = result(artifact).outputs
    expected = artifact.arrays(artifact.manifest["golden"]["outputs"])
    for key, want in expected.items():
        difference = float(np.abs(got[key] - want).max())
        say(capsys, f"{name:20} f32  {key:40} difference {difference:.2e}")
        assert difference <= FLOAT * max(1.0, float(np.abs(want).max()))


@pytest.mark.parametrize("name", CNNS)
def test_int8_operators_are_within_a_step(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every operator of the model, given the interpreter's integers."""
    artifact = compiled(name, "x86_ref", tmp_path / "artifact", int8=True)
    module = uair.load(artifact.root / "model.uair")
    steps = shl.compare_steps(module, tmp_path / "steps", case(name).feeds, one_by_one=True)
    say(capsys, f"{name:20} INT8 {steps.tensors} tensors, {steps.different} of {steps.elements} integers differ")
    assert steps.tensors > 10
    assert steps.greatest <= 1
    assert steps.share <= SHARE


@pytest.mark.parametrize("name", ["squeezenet_real", "ppocr_cls", "mtcnn_onet", "resnet50_real"])
def test_int8_models_agree(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a whole: what one operator rounds otherwise goes on, and is small in the results."""
    artifact = compiled(name, "x86_ref", tmp_path / "artifact", int8=True)
    got = result(artifact).outputs
    module = uair.load(artifact.root / "model.uair")
    for key, want in run(module, case(name).feeds).items():
        error = float(np.abs(got[key] - want).max() / np.abs(want).max())
        say(capsys, f"{name:20} INT8 {key:40} relative difference {error:.2e}")
        assert error <= 0.05
        assert np.argmax(got[key]) == np.argmax(want)


@pytest.mark.parametrize("name", ["squeezenet_real", "ppocr_cls"])
def test_integers_of_the_npu(name: str, tmp_path: Path) -> None:
    """What is written for the NPU, integers to the end, computed by the reference kernels."""
    artifact = compiled(name, "th1520", tmp_path / "artifact", int8=True)
    module = uair.load(artifact.root / "model.uair")
    whole = attrs.evolve(CHIPS["x86_ref"].arithmetic, integers_only=True)
    steps = shl.compare_steps(module, tmp_path / "steps", case(name).feeds, one_by_one=True, arithmetic=whole)
    assert steps.tensors > 50
    assert steps.greatest <= 1
    assert steps.share <= SHARE


def test_integers_that_reach_beyond_a_clip(tmp_path: Path) -> None:
    """The NPU has Relu alone: what lies above the limit of a Clip is cut off, also where the scale goes on."""
    module = parse_module("""
    constant @s = 0.05 : f32[]  constant @z = -120 : i8[]  constant @l = 0.02 : f32[]
    %x: f32[1,8,8,8]
    %a = Quantize(%x, @s, @z)  %b = Dequantize(%a, @s, @z)  %c = Clip(%b) {min = 0.0, max = 1.0}
    %d = Quantize(%c, @l, @z)  %e = Dequantize(%d, @l, @z)  %f = Relu(%e)
    %g = Quantize(%f, @l, @z)  %h = Dequantize(%g, @l, @z)  return "y" = %h
    """)
    whole = attrs.evolve(CHIPS["x86_ref"].arithmetic, integers_only=True)
    feeds = {"x": np.random.default_rng(0).normal(1.0, 2.0, (1, 8, 8, 8)).astype(np.float32)}
    assert float(run(module, feeds)["y"].max()) == pytest.approx(1.0)
    steps = shl.compare_steps(module, tmp_path / "steps", feeds, one_by_one=False, arithmetic=whole)
    assert steps.tensors == 1 and steps.different == 0


@pytest.mark.parametrize(
    ("target", "int8", "options"),
    [
        ("c920", False, {}),
        ("th1520", True, {}),
        ("th1520", False, {}),
        ("th1520", False, {"unit": "cpu"}),
    ],
)
@pytest.mark.parametrize("name", ["squeezenet_real", "ppocr_cls", "mtcnn_onet"])
def test_links_for_riscv(name: str, target: str, int8: bool, options: dict[str, str], tmp_path: Path) -> None:
    """Compiled and linked only: QEMU 7.2 has none of T-Head's instructions."""
    if shutil.which("riscv64-linux-gnu-gcc") is None:
        pytest.fail("riscv64-linux-gnu-gcc is missing (Debian: apt install gcc-riscv64-linux-gnu)")
    model = case(name)
    artifact = uair.compile(
        model.path,
        target,
        output=tmp_path / "artifact",
        shapes=model.shapes,
        quantize=uair.Int8(model.samples) if int8 else None,
        options=options,
    )
    done = shl.make(artifact.root, "c920" if options else target)
    assert done.ok, (artifact.root / "make.log").read_text()[-2000:]
    program = (artifact.root / "model").read_bytes()
    assert program[:4] == b"\x7fELF"
    assert int.from_bytes(program[18:20], "little") == 243, "EM_RISCV"


HHB_FILES = {"model.c", "model.params", "main.c", "io.c", "io.h", "hhb.bm"}


@pytest.mark.parametrize(
    ("name", "target", "int8"),
    [
        ("mtcnn_onet", "x86_ref", True),
        ("mtcnn_onet", "th1520", True),
        ("ppocr_cls", "x86_ref", False),
        ("ppocr_cls", "x86_ref", True),
        ("ppocr_cls", "th1520", True),
    ],
)
def test_hhb_compiles_its_route(name: str, target: str, int8: bool, tmp_path: Path) -> None:
    """HHB takes the ONNX model, the samples and the command line, and writes the same kind of program."""
    artifact = compiled(name, target, tmp_path / "artifact", int8=int8)
    written = hhb.generated(artifact)
    assert {path.name for path in written.iterdir()} >= HHB_FILES
    source = (written / "model.c").read_text()
    api = {"x86_ref": "CSINN_REF", "th1520": "CSINN_TH1520"}[target]
    assert f"base_api = {api};" in source
    assert ("CSINN_QUANT_INT8_ASYM_W_SYM" if int8 else "CSINN_QUANT_FLOAT32") in source


@pytest.mark.parametrize("int8", [False, True])
def test_our_program_against_hhbs(int8: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same library runs both: in f32 they agree, in INT8 each is near the float model with ranges of its own."""
    artifact = compiled("ppocr_cls", "x86_ref", tmp_path / "artifact", int8=int8)
    ours = result(artifact, repeat=3)
    x = np.load(artifact.root / artifact.manifest["thead"]["golden"]["inputs"][0])
    theirs = hhb.execute(artifact, x, list(ours.outputs), repeat=3)
    say(capsys, f"int8={int8}: {min(ours.milliseconds):.1f} ms, HHB's program {min(theirs.milliseconds):.1f} ms")
    for key, mine in ours.outputs.items():
        limit = 0.05 if int8 else 1e-4
        assert np.abs(mine.reshape(-1) - theirs.outputs[key].reshape(-1)).max() <= limit
