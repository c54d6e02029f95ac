"""Device description files: the schema, its errors, and the files that come with UAIR."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uair.errors import UairError, UnknownNameError
from uair.ir.dtype import DType
from uair.targets import Confidence, Support, description_names, load_description
from uair.targets.errors import (
    ConstraintSyntaxError,
    ConstraintTypeError,
    DescriptionError,
    DescriptionFileError,
)

MINIMAL = """\
schema = 1
name = "toy"
title = "Toy NPU"
vendor = "Toys"
soc = "T1"
summary = "nothing"
unlisted = "unknown"
static_shapes = true

[sources.manual]
document = "Toy manual"
version = "1.0"

[toolchain]
name = "toycc"

[dtypes]
accepted = ["f32", "i8"]
computed = ["f16"]
float = "f16"

[compute]
cores = 2
peak = { i8 = 4 }

[alignment]
bytes = 32

[[operator]]
names = ["Relu", "Sigmoid"]
support = "supported"
source = "manual"

[[operator]]
names = ["Conv2D"]
support = "supported"
source = "manual"
constraints = [
    { require = "kernel_h <= 7", otherwise = "partial", suggestion = "split it" },
    { require = "groups == 1", confidence = "uncertain" },
]
"""


def load(folder: Path, text: str) -> object:
    path = folder / "toy.toml"
    path.write_text(text)
    return load_description(path)


def test_minimal(tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(MINIMAL)
    d = load_description(path)
    assert (d.name, d.file, d.unlisted) == ("toy", "toy.toml", Support.UNKNOWN)
    assert d.compute.peak == {DType.I8: 4.0}
    assert list(d.operators) == ["Relu", "Sigmoid", "Conv2D"]
    conv = d.operators["Conv2D"]
    assert [c.confidence for c in conv.constraints] == [Confidence.DOCUMENTED, Confidence.UNCERTAIN]
    assert str(conv.source) == "Toy manual, 1.0"
    assert conv.constraints[0].entry.otherwise is Support.PARTIAL
    assert d.onnx_operators is None
    assert d.quantization is None
    assert d.to_json()["compute"] == {"cores": 2, "peak": {"i8": 4}}


FAULTS = [
    ('name = "toy"', 'nmae = "toy"', "unknown key 'nmae'", "did you mean 'name'", 2),
    ('name = "toy"\n', "", "key 'name' is missing", "name = ...", 0),
    ("cores = 2", 'cores = "2"', "compute.cores is '2'", "an integer", 23),
    ("cores = 2", "cores = true", "compute.cores is True", "an integer", 23),
    ("cores = 2", "cores = 2\nclock = [1]", "compute.clock is an array", "a number", 24),
    ("cores = 2", "cores = 2\nclok = 1", "unknown key 'clok'", "did you mean 'clock'", 24),
    ("peak = { i8 = 4 }", "peak = { int8 = 4 }", "compute.peak.int8 is 'int8'", "an element type", 24),
    ("schema = 1", "schema = 2", "schema is 2", "update", 1),
    ('unlisted = "unknown"', 'unlisted = "perhaps"', "unlisted is 'perhaps'", "'supported', 'partial'", 7),
    ('float = "f16"', 'float = "fp16"', "dtypes.float is 'fp16'", "an element type", 20),
    ("static_shapes = true", 'static_shapes = "yes"', "static_shapes is 'yes'", "true or false", 8),
    ("[alignment]\nbytes = 32", "alignment = 32", "unknown key 'alignment'", "keys here", 0),
    ('names = ["Relu", "Sigmoid"]', 'names = ["Relu", "Sigmoyd"]', "no operator called 'Sigmoyd'", "Sigmoid", 30),
    ('names = ["Relu", "Sigmoid"]', 'names = "Relu"', "operator[0].names is 'Relu'", "an array", 30),
    ('names = ["Conv2D"]', 'names = ["Relu"]', "operator Relu has a second entry", "keep one", 35),
    ('["Conv2D"]\nsupport = "supported"', '["Conv2D"]', "support is not given", "add support", 34),
    ('source = "manual"\nconstraints', 'source = "manuel"\nconstraints', "source 'manuel' is not in", "manual", 37),
    ('otherwise = "partial"', 'otherwise = "partly"', "otherwise is 'partly'", "one of", 38),
    (
        "[alignment]\nbytes = 32",
        '[alignment]\nbytes = 32\n\n[[layouts]]\nname = "8W4"\nholds = "activations"',
        "no layout '8W4'",
        "NC1HWC0",
        30,
    ),
    ('suggestion = "split it"', 'sugestion = "split it"', "unknown key 'sugestion'", "suggestion", 38),
]


@pytest.mark.parametrize(("old", "new", "message", "hint", "line"), FAULTS, ids=[f[2] for f in FAULTS])
def test_faults_name_file_line_and_next_step(
    tmp_path: Path, old: str, new: str, message: str, hint: str, line: int
) -> None:
    assert old in MINIMAL
    with pytest.raises(DescriptionError) as caught:
        load(tmp_path, MINIMAL.replace(old, new, 1))
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "toy.toml" in caught.value.place
    if line:
        assert f"toy.toml:{line}:" in caught.value.place, caught.value.place


@pytest.mark.parametrize(
    ("constraint", "error", "words"),
    [
        ("kernel_h <= ", ConstraintSyntaxError, "ends too early"),
        ("kernel_q <= 7", ConstraintTypeError, "nothing called 'kernel_q'"),
        ("x.dtype == 7", ConstraintTypeError, "a dtype is compared with a int"),
    ],
)
def test_bad_constraints_are_found_at_loading(
    tmp_path: Path, constraint: str, error: type[UairError], words: str
) -> None:
    with pytest.raises(error, match=re.escape(words)) as caught:
        load(tmp_path, MINIMAL.replace("kernel_h <= 7", constraint))
    assert "operator[1].constraints[0].require" in caught.value.place
    assert caught.value.hint


def test_wrong_scheme(tmp_path: Path) -> None:
    scheme = '\n[quantization]\n[quantization.scheme]\nactivation = "i32"\n'
    with pytest.raises(UairError, match="activations are i8, u8 or i16, not i32") as caught:
        load(tmp_path, MINIMAL + scheme)
    assert "quantization.scheme" in caught.value.place
    with pytest.raises(DescriptionError, match="Convolution"):
        load(tmp_path, MINIMAL + '\n[quantization]\n[quantization.scheme]\noperators = ["Convolution"]\n')
    path = tmp_path / "ok.toml"
    path.write_text(MINIMAL + '\n[quantization]\n[quantization.scheme]\nbias = "none"\n')
    quantization = load_description(path).quantization
    assert quantization is not None
    assert quantization.scheme.bias is None


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(DescriptionFileError, match="cannot be read"):
        load_description(tmp_path / "absent.toml")
    with pytest.raises(DescriptionFileError, match=r"is not TOML.*line 1"):
        load(tmp_path, "schema = = 1")
    with pytest.raises(DescriptionFileError, match="is not TOML"):
        load(tmp_path, "x = " + "[" * 5000)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\x80\x81")
    with pytest.raises(DescriptionFileError, match="UTF-8"):
        load_description(binary)
    with pytest.raises(DescriptionFileError, match="more than"):
        load(tmp_path, "# " + "x" * (4 * 1024 * 1024))
    with pytest.raises(UnknownNameError) as caught:
        load_description("rk3558")
    assert "rk3588" in caught.value.hint


LINES = st.lists(st.sampled_from(MINIMAL.splitlines()) | st.text(max_size=20), max_size=40).map("\n".join)


@given(LINES)
@settings(max_examples=150, deadline=None)
def test_any_text_loads_or_is_refused_clearly(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("fuzz", numbered=True) / "toy.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        load_description(path)
    except UairError as error:
        assert error.hint


# ------------------------------------------------------------------------------------- UAIR's own files
@pytest.mark.parametrize("name", description_names())
def test_own_files_are_complete(name: str) -> None:
    d = load_description(name)
    assert d.name == name
    used = {e.source for e in d.operator} | {c.source for e in d.operator for c in e.constraints}
    parts: list[Any] = [d.toolchain, d.onnx, d.quantization, d.compute, d.alignment, d.detection, d.kubernetes]
    parts += [*d.memory, *d.layouts, d.transfer, d.interface, d.cost, *d.general]
    parts.append(d.quantization.weights if d.quantization is not None else None)
    used |= {str(p.source) for p in parts if p is not None}
    text = resources.files("uair.targets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    own = re.findall(r"^\[sources\.([\w-]+)\]", text, re.MULTILINE)  # what a file that is extended gives may be unused
    assert set(own) <= used, "a source that nothing refers to"
    for entry in d.operator:
        for constraint in entry.constraints:
            assert entry.source or constraint.source, f"{entry.names}: {constraint.require} has no source"
    if d.onnx is not None:
        assert d.onnx.oldest <= d.onnx.opset <= d.onnx.newest


def test_uncertain_facts_stay_marked() -> None:
    ascend = load_description("ascend310")
    dram = ascend.memory_level("DRAM")
    assert ascend.sources[dram.source].confidence is Confidence.UNCERTAIN
    assert ascend.operators["Conv3D"].confidence is Confidence.UNCERTAIN
    f32 = [x for x in ascend.layouts if DType.F32 in x.c0]
    assert [x.confidence for x in f32] == [Confidence.UNCERTAIN]
    assert load_description("rk3588").operators["LRN"].confidence is Confidence.UNCERTAIN


def test_facts_of_ascend310() -> None:
    d = load_description("ascend310")
    assert d.onnx is not None
    assert d.onnx.opset == 11
    assert d.onnx_operators is not None
    assert {"Conv", "AscendQuant", "AscendDequant", "Constant", "Scatter"} <= d.onnx_operators
    assert not {"QuantizeLinear", "DequantizeLinear", "HardSwish", "Trilu", "LayerNormalization"} & d.onnx_operators
    assert d.channel_block(DType.F16) == 16
    assert d.channel_block(DType.I8) == 32
    assert d.memory_level("UB").bytes == 248 * 1024
    with pytest.raises(UnknownNameError, match="L9"):
        d.memory_level("L9")


DOCS = Path(__file__).parents[2] / "docs"


def test_the_example_of_the_docs_loads(tmp_path: Path) -> None:
    text = (DOCS / "add-a-target.md").read_text()
    (example,) = re.findall(r"```toml\n(schema = 1\n.*?)```", text, re.DOTALL)
    path = tmp_path / "toynpu.toml"
    path.write_text(example)
    d = load_description(path)
    assert d.operators["Gelu"].entry.prefer == "decomposed"
    assert [(c.entry.require[:10], c.confidence) for c in d.operators["Conv2D"].constraints] == [
        ("max(kernel", Confidence.DOCUMENTED),
        ("groups == ", Confidence.UNCERTAIN),
        ("max_extent", Confidence.DOCUMENTED),
    ]  # fmt: skip


def test_the_docs_know_every_name() -> None:
    from uair.ops import Conv1D, Conv2D, Conv3D
    from uair.targets.constraint import FUNCTIONS, MAX_LENGTH
    from uair.targets.constraint_syntax import MAX_DEPTH
    from uair.targets.subject import MEMBERS, names_of

    text = (DOCS / "constraint-language.md").read_text()
    for name in (*FUNCTIONS, *(f".{m}" for m in MEMBERS), "results"):
        assert f"`{name}" in text or f"`{name}(" in text, name
    derived = set(names_of(Conv3D)) - set(names_of(Conv1D)) | set(names_of(Conv2D))
    for name in derived - {"x", "w", "y", "bias", "strides", "pads", "dilations", "groups", "auto_pad"}:
        stem = re.sub(r"_[dhw]$", "_h", name)
        assert f"`{stem}`" in text, name
    assert f"{MAX_LENGTH} characters" in text
    assert f"{MAX_DEPTH} levels" in text


# ------------------------------------------------------------------------------------------------------------ families
CHILD = """\
schema = 1
extends = "toy.toml"
name = "toy2"
soc = "T2"

[compute]
cores = 4

[[operator]]
names = ["Sigmoid"]
support = "partial"
source = "manual"
"""


def child(folder: Path, text: str = CHILD, base: str = MINIMAL) -> Path:
    (folder / "toy.toml").write_text(base)
    path = folder / "toy2.toml"
    path.write_text(text)
    return path


def test_a_description_extends_another(tmp_path: Path) -> None:
    d = load_description(child(tmp_path))
    assert (d.name, d.soc, d.title) == ("toy2", "T2", "Toy NPU")
    assert (d.compute.cores, d.compute.peak) == (4, {DType.I8: 4.0})
    supports = {name: entry.entry.support for name, entry in d.operators.items()}
    assert supports == {"Relu": Support.SUPPORTED, "Conv2D": Support.SUPPORTED, "Sigmoid": Support.PARTIAL}
    assert len(d.operators["Conv2D"].constraints) == 2


def test_a_built_in_description_is_extended_by_its_name(tmp_path: Path) -> None:
    d = load_description(child(tmp_path, 'schema = 1\nextends = "ascend310"\nname = "toy2"\n'))
    base = load_description("ascend310")
    assert (d.name, d.vendor, set(d.operators)) == ("toy2", base.vendor, set(base.operators))


@pytest.mark.parametrize(
    ("text", "base", "place"),
    [
        (CHILD.replace("cores = 4", "cors = 4"), MINIMAL, "toy2.toml:7: compute.cors"),
        (CHILD, MINIMAL.replace("cores = 2", "cors = 2"), "toy.toml:23: compute.cors"),
        (CHILD.replace('"partial"', '"parial"'), MINIMAL, "toy2.toml:11: operator[0].support"),
        (CHILD, MINIMAL.replace("kernel_h <= 7", "kernel_z <= 7"), "toy.toml:38: operator[1].constraints[0].require"),
        (CHILD.replace("toy.toml", "other.toml"), MINIMAL, "toy2.toml:2: extends"),
        (CHILD.replace('"toy.toml"', '"ascend301"'), MINIMAL, "toy2.toml:2: extends"),
        (CHILD, 'extends = "toy2.toml"\n' + MINIMAL, "extends"),
    ],
)
def test_a_fault_is_reported_in_the_file_that_holds_it(tmp_path: Path, text: str, base: str, place: str) -> None:
    with pytest.raises(UairError) as caught:
        load_description(child(tmp_path, text, base))
    assert place in caught.value.place
