"""Bad input through the command line: one clear error with code, place and next step, a status, and nothing left.

Every case runs `uair compile` (and where it reads another way, another command) on a damaged copy of a good model.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from tests.cli.helpers import EXAMPLE, EXAMPLE_SHAPE, IMAGES, Result, Shell, listing, run_uair, tiny_model, write_tiny

Damage = Callable[[onnx.ModelProto], None]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's folder for temporary files, empty; it must be empty again at the end."""
    folder = tmp_path.parent / f"{tmp_path.name}-temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert listing(folder) == []
    folder.rmdir()


@pytest.fixture
def uair(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UAIR_DEBUG", raising=False)
    return Shell(capsys)


def require_error(result: Result, code: str, *words: str, hint: bool = True, place: bool = False) -> None:
    """One error of that code with these words, and no traceback."""
    assert result.status == 1, result
    assert result.out == ""
    assert result.err.startswith(f"{code} "), result.err
    assert "Traceback" not in result.err
    assert result.err.count("UAIR-E") == 1, result.err
    flat = " ".join(result.err.split())
    for word in words:
        assert word in flat, f"{word!r} is not in\n{result.err}"
    assert not hint or "\n   hint: " in result.err, f"no next step in\n{result.err}"
    assert not place or "\n   at " in result.err, f"no place in\n{result.err}"


# ---------------------------------------------------------------------------------------------------------------- files
def truncated() -> bytes:
    content = EXAMPLE.read_bytes()
    return content[: len(content) // 2]


def without_opset() -> bytes:
    model = tiny_model()
    del model.opset_import[:]
    return bytes(model.SerializeToString())


FILES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (lambda: b"", "UAIR-E0101", "empty"),
    "random": (lambda: np.random.default_rng(0).bytes(10_000), "UAIR-E0101", "m.onnx"),
    "text": (lambda: b"hello, this is no model\n" * 50, "UAIR-E0101", "m.onnx"),
    "truncated": (truncated, "UAIR-E0101", "m.onnx"),
    "zeros": (lambda: bytes(10_000), "UAIR-E0101", "m.onnx"),
    "image": ((IMAGES / "text_line.png").read_bytes, "UAIR-E0101", "m.onnx"),
    "no graph": (lambda: onnx.ModelProto(ir_version=8).SerializeToString(), "UAIR-E0101", "graph"),
    "no opset": (without_opset, "UAIR-E0102", "operator sets"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_models(uair: Shell, tmp_path: Path, name: str) -> None:
    content, code, words = FILES[name]
    (tmp_path / "m.onnx").write_bytes(content())
    for command in (["compile", "m.onnx", "-t", "cpu"], ["dump", "m.onnx"], ["inspect", "m.onnx"], ["run", "m.onnx"]):
        require_error(uair(*command), code, words)
    assert listing(tmp_path) == ["m.onnx"]


@pytest.mark.parametrize("length", [1, 10, 100, 1000, 100_000, 500_000])
def test_a_model_cut_anywhere(uair: Shell, tmp_path: Path, length: int) -> None:
    (tmp_path / "m.onnx").write_bytes(EXAMPLE.read_bytes()[:length])
    require_error(uair("compile", "m.onnx", "-t", "cpu", "--shape", EXAMPLE_SHAPE), "UAIR-E0101")
    assert listing(tmp_path) == ["m.onnx"]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "UAIR-E0206", ""),
        ("uair 99\nmodule @m {\n}\n", "UAIR-E0206", "99"),
        (
            "uair 1\nmodule @m {\n  graph @main(%x: f32[4]) -> (%y: f32[4]) {\n    %y = Relu(%z) : f32[4]\n",
            "UAIR-E02",
            "m.uair:",
        ),
        ("%x: f32[4]\n%y = Reloo(%x)\n", "UAIR-E0", "Relu"),
    ],
)
def test_texts_that_are_no_models(uair: Shell, tmp_path: Path, text: str, code: str, words: str) -> None:
    (tmp_path / "m.uair").write_text(text)
    result = uair("compile", "m.uair", "-t", "cpu")
    require_error(result, result.err[:10], words, hint=False)
    assert result.err.startswith(code)
    assert listing(tmp_path) == ["m.uair"]


def test_files_that_are_not_there(uair: Shell, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "model.mlmodel").touch()
    (tmp_path / "broken.onnx").symlink_to("nowhere")
    for name, code, words in (
        ("missing.onnx", "UAIR-E0101", "is not there"),
        ("missing.uair", "UAIR-E0206", "No such file"),
        ("broken.onnx", "UAIR-E0101", "broken.onnx"),
        ("folder.onnx", "UAIR-E0101", "folder.onnx"),
        ("model.mlmodel", "UAIR-E0100", ".onnx"),
        (".", "UAIR-E0100", "is a folder"),
    ):
        require_error(uair("compile", name, "-t", "cpu"), code, words, hint=False)
    assert listing(tmp_path) == ["broken.onnx", "folder.onnx", "model.mlmodel"]


# --------------------------------------------------------------------------------------------------------------- models
def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[2].input[0] = "r"  # relu1 reads its own result


def long_cycle(model: onnx.ModelProto) -> None:
    node = model.graph.node[1]
    model.graph.node[0].input[0] = "r"
    assert node.name == "bn1"


def missing_value(model: onnx.ModelProto) -> None:
    model.graph.node[2].input[0] = "nowhere"


def missing_operand(model: onnx.ModelProto) -> None:
    del model.graph.node[0].input[1]


def missing_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "nowhere"


def duplicate(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["r"], ["c"], name="again"))


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[2].op_type = "Relux"


def unknown_domain(model: onnx.ModelProto) -> None:
    model.graph.node[2].domain = "com.example"


def attribute_type(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("pads", 1.5))


def attribute_text(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("pads", "wide"))


def attribute_length(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("pads", [1, 1, 1]))


def unknown_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("padding", [1, 1]))


def short_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def weight_type(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 99


def negative_weight_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -4


def huge_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 1 << 60


def wrong_weight_shape(model: onnx.ModelProto) -> None:
    weight = numpy_helper.to_array(model.graph.initializer[0]).reshape(4, 27, 1, 1)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))


def newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 999


def contradicting_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64


def sequence_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(model.graph.input[0].type))


MODELS: list[tuple[Damage, str, str]] = [
    (cycle, "UAIR-E0103", "relu1"),
    (long_cycle, "UAIR-E0103", "conv1"),
    (missing_value, "UAIR-E0104", "nowhere"),
    (missing_operand, "UAIR-E0104", "conv1"),
    (missing_output, "UAIR-E0104", "nowhere"),
    (duplicate, "UAIR-E0105", "'c'"),
    (unknown_operator, "UAIR-E0109", "Relux"),
    (attribute_type, "UAIR-E0106", "pads"),
    (attribute_text, "UAIR-E0106", "pads"),
    (attribute_length, "UAIR-E0301", "pads"),
    (unknown_attribute, "UAIR-E0106", "padding"),
    (short_weight, "UAIR-E0107", "'w'"),
    (weight_type, "UAIR-E0112", "'w'"),
    (negative_weight_shape, "UAIR-E0107", "'w'"),
    (huge_weight, "UAIR-E0107", "'w'"),
    (wrong_weight_shape, "UAIR-E0301", "channels"),
    (newer_opset, "UAIR-E0102", "999"),
    (contradicting_output, "UAIR-E0111", "'y'"),
    (sequence_input, "UAIR-E0301", "must be a tensor, it is seq<"),
]


@pytest.mark.parametrize(("damage", "code", "words"), MODELS, ids=[d.__name__ for d, _, _ in MODELS])
def test_models_that_make_no_sense(uair: Shell, tmp_path: Path, damage: Damage, code: str, words: str) -> None:
    model = tiny_model()
    damage(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    result = uair("compile", "m.onnx", "-t", "cpu", "--shape", "x=1,3,8,8")
    require_error(result, code, words, "m.onnx", place=True)
    assert listing(tmp_path) == ["m.onnx"]


def test_a_shape_that_is_declared_wrongly_is_a_warning(uair: Shell, tmp_path: Path) -> None:
    model = tiny_model()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    result = uair("compile", "m.onnx", "-t", "cpu", "--shape", "x=1,3,8,8").require()
    assert "warning: the model declares 'y' as" in result.err
    assert "models.py" not in result.err


def test_a_custom_operator_is_kept_but_does_not_fit_a_device(uair: Shell, tmp_path: Path) -> None:
    model = tiny_model()
    unknown_domain(model)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    model.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, ["N", 4, 8, 8]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert "com.example" in uair("dump", "m.onnx").require().out
    command = ("compile", "m.onnx", "--shape", "x=1,3,8,8", "-t")
    require_error(uair(*command, "ascend310"), "UAIR-E0520", "relu1", "com.example.Relu")
    require_error(uair(*command, "cpu"), "UAIR-E0520", "relu1", "custom operator")
    assert listing(tmp_path) == ["m.onnx"]


# -------------------------------------------------------------------------------------------------------- external data
def with_external_weight(folder: Path, location: str, length: int | None = None) -> Path:
    """The tiny model with its first weight in a file of that name."""
    folder.mkdir(exist_ok=True)
    model = tiny_model()
    weight = model.graph.initializer[0]
    content = weight.raw_data
    external_data_helper.set_external_data(weight, location, 0, len(content) if length is None else length)
    weight.ClearField("raw_data")
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def weight_bytes() -> bytes:
    return bytes(tiny_model().graph.initializer[0].raw_data)


def test_external_data_that_is_right(uair: Shell, tmp_path: Path) -> None:
    path = with_external_weight(tmp_path / "model", "w.bin")
    (tmp_path / "model" / "w.bin").write_bytes(weight_bytes())
    uair("compile", path, "-t", "cpu", "--shape", "x=1,3,8,8").require()


@pytest.mark.parametrize("location", ["../w.bin", "sub/../../w.bin", "/etc/passwd", "C:\\w.bin", ""])
def test_external_data_outside_of_the_models_folder(uair: Shell, tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(weight_bytes())
    path = with_external_weight(tmp_path / "model", location)
    require_error(uair("compile", path, "-t", "cpu", "--shape", "x=1,3,8,8"), "UAIR-E0108", "'w'", place=True)
    assert listing(tmp_path) == ["model", "model/m.onnx", "w.bin"]


def test_external_data_behind_a_link(uair: Shell, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(weight_bytes())
    path = with_external_weight(tmp_path / "model", "w.bin")
    (tmp_path / "model" / "w.bin").symlink_to(tmp_path / "w.bin")
    command = ("inspect", path, "--shape", "x=1,3,8,8")
    require_error(uair(*command), "UAIR-E0108", "symbolic link", "external_data_root", place=True)
    uair(*command, "--external-data-root", tmp_path).require()


@pytest.mark.parametrize(("keep", "words"), [(None, "w.bin"), (0, "w.bin"), (100, "w.bin")])
def test_external_data_that_is_missing_or_short(uair: Shell, tmp_path: Path, keep: int | None, words: str) -> None:
    path = with_external_weight(tmp_path, "w.bin")
    if keep is not None:
        (tmp_path / "w.bin").write_bytes(weight_bytes()[:keep])
    before = listing(tmp_path)
    require_error(uair("compile", path, "-t", "cpu", "--shape", "x=1,3,8,8"), "UAIR-E0108", words, place=True)
    assert listing(tmp_path) == before


def test_external_data_of_another_size(uair: Shell, tmp_path: Path) -> None:
    path = with_external_weight(tmp_path, "w.bin", length=16)
    (tmp_path / "w.bin").write_bytes(weight_bytes())
    require_error(uair("compile", path, "-t", "cpu", "--shape", "x=1,3,8,8"), "UAIR-E0108", "432 bytes", place=True)


# --------------------------------------------------------------------------------------------------------------- shapes
@pytest.mark.parametrize(
    ("options", "target", "words"),
    [
        (["--shape", "z=1,3,8,8"], "cpu", "the inputs are x: f32[N,3,8,8]"),
        (["--shape", "x=1,3,8"], "cpu", "4 axes"),
        (["--shape", "x=1,4,8,8"], "cpu", "axis 1"),
        (["--shape", "x=1,3,16,8"], "cpu", "axis 2"),
        ([], "ascend310", "--shape x=1,3,8,8"),
    ],
)
def test_shapes_that_cannot_be_bound(uair: Shell, tmp_path: Path, options: list[str], target: str, words: str) -> None:
    write_tiny(tmp_path)
    require_error(uair("compile", "tiny.onnx", "-t", target, *options), "UAIR-E0320", words)
    assert listing(tmp_path) == ["tiny.onnx"]


def test_sizes_that_the_operators_refuse(uair: Shell, tmp_path: Path) -> None:
    model = tiny_model()
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_param = "?"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    for shape in ("x=1,5,8,8", "x=1,3,0,8"):
        require_error(uair("compile", "m.onnx", "-t", "cpu", "--shape", shape), "UAIR-E0301", "Conv2D", place=True)
    assert listing(tmp_path) == ["m.onnx"]


# ---------------------------------------------------------------------------------------------------------- calibration
@pytest.mark.parametrize("kind", ["missing", "empty", "others", "broken", "arrays", "nan", "file"])
def test_calibration_data_that_is_none(uair: Shell, tmp_path: Path, kind: str) -> None:
    write_tiny(tmp_path)
    folder = tmp_path / "calib"
    if kind not in ("missing", "file"):
        folder.mkdir()
    match kind:
        case "others":
            (folder / "readme.txt").write_text("no pictures here")
        case "broken":
            (folder / "a.png").write_bytes(b"no picture")
        case "arrays":
            np.save(folder / "a.npy", np.zeros((1, 3, 9, 9), np.float32))
        case "nan":
            np.save(folder / "a.npy", np.full((1, 3, 8, 8), np.nan, np.float32))
        case "file":
            folder.write_text("no data")
        case _:
            pass
    codes = {"broken": "UAIR-E0702", "arrays": "UAIR-E0704", "nan": "UAIR-E0704"}
    before = listing(tmp_path)
    command = ("compile", "tiny.onnx", "-t", "cpu", "--shape", "x=1,3,8,8", "--quantize", "int8", "--calib", "calib")
    require_error(uair(*command), codes.get(kind, "UAIR-E0703"), "a." if kind in codes else "calib", hint=kind != "nan")
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ("mean=x", "'x' is not a finite number"),
        ("color=gray", "3 channels"),
        ("z:mean=1", "the inputs are x"),
        ("layout=NHWC", "8 channels"),
    ],
)
def test_preprocessing_that_does_not_fit(uair: Shell, tmp_path: Path, steps: str, words: str) -> None:
    write_tiny(tmp_path)
    result = uair("compile", "tiny.onnx", "-t", "cpu", "--shape", "x=1,3,8,8", "--preprocess", steps)
    require_error(result, "UAIR-E0701", words, hint=False)
    assert listing(tmp_path) == ["tiny.onnx"]


# -------------------------------------------------------------------------------------------------------------- outputs
COMPILE = ("compile", "tiny.onnx", "-t", "cpu", "--shape", "x=1,3,8,8")


@pytest.mark.parametrize("out", ["out", "out.bin"])
def test_an_output_that_exists(uair: Shell, tmp_path: Path, out: str) -> None:
    write_tiny(tmp_path)
    uair(*COMPILE, "-o", out).require()
    before = {p: (tmp_path / p).stat().st_mtime_ns for p in listing(tmp_path)}
    require_error(uair(*COMPILE, "-o", out), "UAIR-E0601", out, "exists", "--overwrite")
    assert {p: (tmp_path / p).stat().st_mtime_ns for p in listing(tmp_path)} == before


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("missing/out", "No such file or directory"),
        ("missing/out.bin", "No such file or directory"),
        ("file/out", "Not a directory"),
        ("file/out.bin", "Not a directory"),
        ("x" * 300, "too long"),
        ("x" * 300 + ".bin", "too long"),
        ("/proc/uair-out", ""),
        ("/proc/uair-out.bin", ""),
        ("loop/out", "symbolic links"),
    ],
)
def test_an_output_that_cannot_be_written(uair: Shell, tmp_path: Path, out: str, words: str) -> None:
    write_tiny(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = listing(tmp_path)
    require_error(uair(*COMPILE, "-o", out), "UAIR-E0601", words)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    "command",
    [
        ("compile", "-t", "cpu", "-o", "no/out"),
        ("quantize", "-o", "no/m.onnx"),
        ("quantize", "-o", "m.onnx", "--report", "no/r.json"),
    ],
)
def test_a_place_for_results_is_looked_for_before_the_work(
    uair: Shell, tmp_path: Path, command: tuple[str, ...]
) -> None:
    write_tiny(tmp_path)
    samples = tmp_path / "samples.py"
    samples.write_text("def read():\n    raise SystemExit('the samples were asked for')\n")
    name, *options = command
    quantize = ("--quantize", "int8") if name == "compile" else ()
    result = uair(name, "tiny.onnx", "--shape", "x=1,3,8,8", *quantize, "--calib", "samples.py:read", *options)
    require_error(result, "UAIR-E0601", "no/", "No such file or directory")
    assert listing(tmp_path) == ["samples.py", "tiny.onnx"]


@pytest.mark.parametrize("command", ["dump", "opt"])
@pytest.mark.parametrize("out", ["missing/out.uair", "file/out.uair", "folder.uair"])
def test_a_text_that_cannot_be_written(uair: Shell, tmp_path: Path, command: str, out: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.uair").mkdir()
    before = listing(tmp_path)
    require_error(uair(command, EXAMPLE, "-o", out), "UAIR-E0601", out)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("opt", "tiny.onnx", "-o", "file/out.onnx"),
        ("opt", "tiny.onnx", "--dump-dir", "file/dumps"),
        (*COMPILE, "--dump-dir", "file/dumps"),
        ("run", "tiny.onnx", "-i", "x.npy", "-o", "file/out.npz"),
    ],
    ids=lambda a: f"{a[0]} {a[-2]}",
)
def test_further_outputs_that_cannot_be_written(uair: Shell, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write_tiny(tmp_path)
    (tmp_path / "file").touch()
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 8), np.float32))
    before = listing(tmp_path)
    require_error(uair(*arguments), "UAIR-E0601", "file/")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("out", ["out", "out.bin"])
@pytest.mark.parametrize("fault", ["save", "arrays", "text", "manifest", "export", "move", "copy"])
def test_a_disk_that_is_full(
    uair: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, fault: str
) -> None:
    """Every step of the writing fails in turn; what is left is what was there before."""
    write_tiny(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    places = {
        "save": "uair.text.files.write_weights",
        "arrays": "numpy.lib.format.write_array",
        "text": "uair.artifact.ArtifactBuilder.add_text",
        "manifest": "uair.artifact.file_sha256",
        "export": "uair.codegen.onnx.target.export",
        "move": "uair.atomic.os.rename" if out == "out" else "uair.atomic.os.replace",
        "copy": "shutil.copyfileobj" if out == "out.bin" else "uair.artifact.ArtifactBuilder.finish",
    }
    monkeypatch.setattr(places[fault], full)
    require_error(uair(*COMPILE, "-o", out), "UAIR-E0601", f"{out}", "No space left on device", "disk full")
    assert listing(tmp_path) == ["tiny.onnx"]


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """`/dev/full` takes nothing: the output of a command that is redirected to it."""
    write_tiny(tmp_path)
    import subprocess
    import sys

    command = f"{sys.executable} -m uair dump tiny.onnx > /dev/full"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr


def test_a_file_size_limit(tmp_path: Path) -> None:
    """The kernel refuses to let any file grow beyond 64 KiB: a real failing write in the middle of a compilation."""
    import subprocess
    import sys

    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16));"
        "from uair.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    for out in ("out", "out.bin"):
        command = ["compile", str(EXAMPLE), "-t", "cpu", "--shape", EXAMPLE_SHAPE, "--no-golden", "-o", out]
        done = subprocess.run(
            [sys.executable, "-c", script, *command],
            cwd=tmp_path,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        require_error(Result(done.returncode, done.stdout, done.stderr), "UAIR-E0601", out, "File too large")
        assert listing(tmp_path) == []


# ------------------------------------------------------------------------------------------------------------ processes
def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The same through the installed command: status, streams, nothing left."""
    (tmp_path / "m.onnx").write_bytes(truncated())
    result = run_uair("compile", "m.onnx", "--target", "cpu", cwd=tmp_path, TMPDIR=str(tmp_path))
    require_error(result, "UAIR-E0101", "m.onnx")
    assert listing(tmp_path) == ["m.onnx"]
    shutil.rmtree(tmp_path)


def test_an_interrupt_leaves_nothing(uair: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny(tmp_path)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("uair.artifact.file_sha256", interrupted)
    for out in ("out", "out.bin"):
        assert uair(*COMPILE, "-o", out).status == 130
    assert listing(tmp_path) == ["tiny.onnx"]


def test_wrong_tensor_types_of_the_protobuf(uair: Shell, tmp_path: Path) -> None:
    """A message that parses but whose fields say nothing."""
    model = tiny_model()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UNDEFINED
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    require_error(uair("inspect", "m.onnx"), "UAIR-E0101", "'x' has no type", place=True)
