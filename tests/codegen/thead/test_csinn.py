"""The csinn programs that are written: golden files of a small network, and each line read back by the headers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uair
from tests import zoo
from tests.codegen.thead.conformance import faults
from tests.golden import Golden
from uair.codegen.thead.errors import NotInCsinn, UnknownRange
from uair.codegen.thead.lower import Arithmetic, Lowering
from uair.codegen.thead.operators import EMITTERS, fixed_point
from uair.codegen.thead.program import Constants
from uair.codegen.thead.source import c_float, c_string
from uair.context import Context
from uair.targets.errors import OptionError
from uair.text import parse_module

TARGETS = ("x86_ref", "c920", "th1520")
TINY = """constant @w = {w} : f32[4,3,3,3]  constant @b = [0.1,-0.2,0.3,0.0] : f32[4]  constant @v = {v} : f32[5,4]
    %x: f32[1,3,8,8]
    %c = Conv2D(%x, @w, @b) {{pads = [1,1,1,1], strides = [2,2]}}  %r = Clip(%c) {{min = 0.0, max = 6.0}}
    %p = MaxPool2D(%r) {{kernel = [2,2], strides = [2,2]}}  %g = GlobalAvgPool(%p)  %f = Reshape(%g) {{shape = [1,4]}}
    %l = Linear(%f, @v)  %y = Softmax(%l)  return "scores" = %y"""


def numbers(count: int) -> str:
    return json.dumps([round(float(v), 3) for v in np.random.default_rng(count).standard_normal(count) * 0.4])


def tiny() -> uair.Module:
    return parse_module(TINY.format(w=numbers(108), v=numbers(20)))


def samples() -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(3)]


def compiled(target: str, folder: Path, *, int8: bool = False, **options: str) -> uair.Artifact:
    return uair.compile(
        tiny(),
        target,
        output=folder / "artifact",
        quantize=uair.Int8(samples()) if int8 else None,
        golden=samples()[0],
        options=options,
    )


@pytest.mark.parametrize(("target", "int8"), [("x86_ref", False), ("x86_ref", True), ("c920", False), ("th1520", True)])
def test_program(target: str, int8: bool, tmp_path: Path, golden: Golden) -> None:
    root = compiled(target, tmp_path, int8=int8).root
    for name in ("model.c", "model.h", "Makefile", "build_hhb.sh"):
        golden.check(f"{target}{'_int8' if int8 else ''}/{name}", (root / name).read_text())
    assert not faults(root)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    first, second = (compiled("th1520", folder, int8=True) for folder in folders)
    assert first.manifest["files"] == second.manifest["files"]


def test_arrays_for_the_program_and_for_hhb(tmp_path: Path) -> None:
    artifact = compiled("x86_ref", tmp_path, int8=True)
    entry = artifact.manifest["thead"]
    assert np.array_equal(np.load(artifact.root / entry["golden"]["inputs"][0]), samples()[0]["x"])
    assert np.load(artifact.root / entry["golden"]["outputs"][0]).shape == (1, 5)
    calibration = artifact.arrays("calibration.npz")
    assert np.array_equal(calibration["x"], np.concatenate([s["x"] for s in samples()]))
    assert entry["hhb"] == {"written": True, "board": "x86_ref", "scheme": "int8_asym_w_sym"}
    assert entry["inputs"] == [{"name": "x", "dtype": "float32", "shape": [1, 3, 8, 8]}]


def test_the_npu_has_integers_to_the_end(tmp_path: Path) -> None:
    text = (compiled("th1520", tmp_path, int8=True).root / "model.c").read_text()
    assert "FLOAT" not in text and "data_convert" not in text
    assert "csinn_relu6(" in text and "csinn_softmax(" in text


def test_a_part_has_integers_to_its_end(tmp_path: Path) -> None:
    """What a part gives to the CPU is a result of the model's middle, whose range is measured as the outputs' are."""
    text = f"""constant @w = {numbers(108)} : f32[4,3,3,3]  %x: f32[1,3,8,8]
    %c = Conv2D(%x, @w)  %r = Relu(%c)  %s = Sin(%r)  %y = Transpose(%s) {{perm = [0,2,3,1]}}"""
    module = parse_module(text)
    artifact = uair.compile(module, "th1520", output=tmp_path / "artifact", quantize=uair.Int8(samples()))
    devices = [part["target"] for part in artifact.manifest["partitions"]]
    assert devices == ["th1520", "cpu"]
    program = artifact.file(f"{artifact.manifest['partitions'][0]['folder']}/model.c").read_text()
    assert "csinn_relu(" in program and "FLOAT" not in program
    scales = [float(number) for number in re.findall(r"uair_quantized\(t\d+, ([\d.]+)f", program)]
    got, want = uair.run(artifact, samples()[0])["y"], uair.run(module, samples()[0])["y"]
    assert np.abs(got - want).max() < 2 * scales[-1]


def test_the_cores_of_the_th1520(tmp_path: Path) -> None:
    root = compiled("th1520", tmp_path, unit="cpu").root
    assert "base_api = CSINN_C920;" in (root / "model.c").read_text()
    assert not faults(root)
    (tmp_path / "int8").mkdir()
    with pytest.raises(OptionError, match="float16"):
        compiled("th1520", tmp_path / "int8", int8=True, unit="cpu")


# ---------------------------------------------------------------------------------------------------------- conformance
@pytest.mark.parametrize(
    ("name", "target"),
    [*(("light_squeezenet", t) for t in TARGETS), ("ppocr_cls", "x86_ref"), ("light_shufflenet", "th1520")],
)
def test_conformance(name: str, target: str, tmp_path: Path) -> None:
    model = zoo.models()[name]
    artifact = uair.compile(model.path, target, output=tmp_path / "artifact", shapes=dict(model.shapes), golden=False)
    assert not faults(artifact.root)
    assert artifact.manifest["thead"]["hhb"]["written"]


def test_operators_of_a_decomposition_have_no_names(tmp_path: Path) -> None:
    text = "%x: f32[1,2,3,4]  %c: f32[1,3,2]  %s: f32[1,3,2]  %y = RotaryEmbedding(%x, %c, %s)"
    artifact = uair.compile(parse_module(text), "x86_ref", output=tmp_path / "artifact", golden=False)
    assert not faults(artifact.root)
    assert "csinn_split" in (artifact.root / "model.c").read_text()


def test_conformance_in_int8(tmp_path: Path) -> None:
    model = zoo.models()["ppocr_cls"]
    quantize = uair.Int8(model.calibration(1))
    artifact = uair.compile(
        model.path, "th1520", output=tmp_path / "artifact", shapes=dict(model.shapes), quantize=quantize, golden=False
    )
    assert not faults(artifact.root)


@pytest.mark.parametrize(
    ("wrong", "right", "because"),
    [
        ("csinn_softmax(", "csinn_soft(", "no function csinn_soft"),
        ("p0->pad_top = 1;", "p0->pad_upper = 1;", "csinn_conv2d_params has no pad_upper"),
        ("p0->pad_top = 1;", "p0->pad_top = 1.5f;", "has no pad_top of value 1.5f"),
        ("CSINN_LAYOUT_OIHW", "CSINN_LAYOUT_HWIO", "CSINN_LAYOUT_HWIO is no csinn_layout_enum"),
        ("params + 0)", "params + 999999)", "lies at 999999"),
        ("csinn_softmax_init(t8, t11,", "csinn_softmax_init(t8,", "is given"),
        ("CSINN_RM_CPU_GRAPH", "CSINN_RM_GPU_GRAPH", "is no csinn_rmode_enum"),
    ],
)
def test_the_reader_sees_faults(wrong: str, right: str, because: str, tmp_path: Path) -> None:
    root = compiled("x86_ref", tmp_path).root
    text = (root / "model.c").read_text()
    assert wrong in text
    (root / "model.c").write_text(text.replace(wrong, right))
    assert any(because in fault for fault in faults(root))


# ------------------------------------------------------------------------------------------------------------- refusals
def refused(text: str, arithmetic: Arithmetic | None = None) -> NotInCsinn:
    with pytest.raises(NotInCsinn) as caught:
        Lowering(parse_module(text).main, arithmetic or Arithmetic()).run()
    return caught.value


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("%x: f32[2,2]  %y = Det(%x)", "csinn has no Det"),
        ("%x: f32[1,4,8,8]  %w: f32[4,4,1,1]  %y = Conv2D(%x, %w)", "is not a constant"),
        ('%x: f32[4]  %y = Pad(%x) {pads = [1,1], mode = "edge"}', "only a constant"),
        ("%x: f32[4]  %y = Pad(%x) {pads = [-1,1]}", "negative padding"),
        ("%x: f32[4]  %y = Slice(%x) {axes = [0], starts = [3], ends = [0], steps = [-1]}", "backwards"),
        ("%x: f32[4]  %z: f32[4]  %y = MatMul(%x, %z)", "a vector"),
        ("%x: f32[4,4]  %y = Flip(%x) {axes = [0,1]}", "one axis at a time"),
        ("%x: f32[4]  %y = CumSum(%x) {reverse = true}", "forwards"),
        ("%x: f32[4]  %i: i32[2]  %y = Gather(%x, %i)", "64 bits"),
        ("%x: u16[4]  %y = Reshape(%x) {shape = [4]}", "u16"),
        ("%x: f32[1,4,4]  constant @s = 0.5 : f32[]  %y = PRelu(%x, @s)", "one per channel"),
        ('%x: f32[1,1,4,4]  %y = Resize(%x) {sizes = [1,1,8,8], mode = "cubic"}', "mode cubic"),
    ],
)
def test_refusals(text: str, because: str) -> None:
    assert because in refused(text).message


def test_a_refusal_names_the_node() -> None:
    error = refused("%x: f32[4,4]  %y = Flip(%x) {axes = [0,1]}")
    assert "Flip" in error.place and error.node is not None


def test_a_result_without_a_range_on_the_npu() -> None:
    text = """constant @s = 0.1 : f32[]  %x: f32[4]  %q = Quantize(%x, @s)  %d = Dequantize(%q, @s)  %y = Relu(%d)"""
    with pytest.raises(UnknownRange, match="'y', a result of Relu"):
        Lowering(parse_module(text).main, Arithmetic(integers_only=True)).run()


def test_every_emitter_is_in_a_device_file() -> None:
    described = Context.default().target("x86_ref").description.operators
    assert {cls.__name__ for cls in EMITTERS} == set(described) - {"Quantize", "Dequantize"}


# ---------------------------------------------------------------------------------------------------------------- texts
def test_texts() -> None:
    assert c_string('a"b\\c?\n\x01é') == '"a\\"b\\\\c\\077\\n\\001\\303\\251"'
    written = [c_float(value) for value in (1.0, 0.1, 1e20, float("inf"), -3.5)]
    assert written == ["1.0f", "0.100000001f", "1.00000002e+20f", "INFINITY", "-3.5f"]
    for value in np.random.default_rng(5).standard_normal(50).astype(np.float32):
        assert np.float32(c_float(float(value)).rstrip("f")) == value


@pytest.mark.parametrize("value", [1.0, 0.5, 0.1, 1e-4, 0.75, 6.0, 123.4, 0.9999999999])
def test_fixed_point(value: float) -> None:
    multiplier, shift = fixed_point(value)
    assert 2**30 <= multiplier < 2**31
    assert multiplier / 2**31 * 2.0**shift == pytest.approx(value, rel=1e-9)


def test_constants_are_stored_once_and_aligned() -> None:
    constants = Constants()
    first = constants.add(np.arange(5, dtype=np.float32))
    second = constants.add(np.arange(3, dtype=np.int8))
    assert (first, second, constants.add(np.arange(5, dtype=np.float32))) == (0, 64, 0)
    assert constants.size == 67
    assert len(b"".join(constants.chunks)) == 67
