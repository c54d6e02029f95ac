"""The Cambricon targets: build.json by MagicMind's schema, and the scripts against a double of its Python package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import uair
from tests import zoo
from tests.codegen.ascend import models
from tests.codegen.cambricon import fake_magicmind
from tests.golden import Golden
from uair.artifact import Artifact
from uair.codegen.cambricon.config import CLUSTERS, FLOAT, LAYOUTS, QUANTIZED
from uair.codegen.cambricon.errors import MagicMindError
from uair.codegen.cambricon.ranges import ranges_header
from uair.ir.dtype import DType
from uair.preprocess import Preprocess
from uair.quant.tensor_range import TensorRange
from uair.request import Int8
from uair.targets.errors import OptionError

IMAGE = Preprocess(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
KEYS = {
    "archs", "graph_shape_mutable", "dim_range", "precision_config", "opt_config", "convert_input_layout",
    "convert_output_layout", "insert_bn_before_firstnode", "computation_preference", "custom_ranges",
}  # fmt: skip


def conforms(artifact: Artifact) -> dict[str, Any]:
    """build.json and the files around it, checked."""
    config: dict[str, Any] = json.loads(artifact.file("build.json").read_text())
    assert set(config) <= KEYS and {"archs", "precision_config", "graph_shape_mutable"} <= set(config)
    (arch,) = config["archs"]
    if isinstance(arch, dict):
        ((name, clusters),) = arch.items()
        assert set(clusters) <= set(CLUSTERS[name])
    else:
        assert arch == "mtp_592"
    precision = config["precision_config"]
    quantized = json.loads(artifact.file("settings.json").read_text())["quantized"]
    assert precision["precision_mode"] in (QUANTIZED if quantized else FLOAT)
    assert precision.get("weight_quant_granularity", "per_axis") in ("per_axis", "per_tensor")
    assert precision.get("activation_quant_algo", "symmetric") in ("symmetric", "asymmetric")
    assert config["computation_preference"] in ("auto", "fast", "high_precision")
    for key in ("convert_input_layout", "convert_output_layout"):
        for each in config.get(key, {}).values():
            assert each["src"] != each["dst"] and (each["src"], each["dst"]) in LAYOUTS.values()
    for each in config.get("dim_range", {}).values():
        assert sum(a != b for a, b in zip(each["min"], each["max"], strict=True)) <= 1
    model = onnx.load(artifact.file("model.onnx"))
    onnx.checker.check_model(model)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 11)]
    assert "QuantizeLinear" not in {node.op_type for node in model.graph.node}
    if quantized:
        values = {v for node in model.graph.node for v in (*node.input, *node.output)}
        tensors = json.loads(artifact.file("ranges.json").read_text())["tensors"]
        assert tensors and set(tensors) <= values
    return config


def build(folder: Path, target: str = "mlu370", *, quantize: bool = True, **options: Any) -> Artifact:
    module = models.cnn()
    return uair.compile(
        module,
        target,
        output=folder / "out",
        quantize=Int8(calibration=models.samples(module, 4)) if quantize else None,
        preprocess={"image": IMAGE},
        options=options,
    )


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(tmp_path_factory.mktemp("cambricon"))


def test_golden_files(artifact: Artifact, golden: Golden) -> None:
    conforms(artifact)
    for name in ("build.json", "settings.json", "set_ranges.h"):
        golden.check(name, artifact.file(name).read_text())


def test_normalisation_is_mean_and_variance_of_pixels(artifact: Artifact, tmp_path: Path) -> None:
    norm = conforms(artifact)["insert_bn_before_firstnode"]["0"]
    assert norm["mean"] == [123.675, 116.28, 103.53]
    assert norm["var"] == pytest.approx([58.395**2, 57.12**2, 57.375**2])
    (port,) = artifact.manifest["cambricon"]["inputs"]
    assert (port["feeds"], port["dtype"]) == ("uint8", "float32"), "calibration data stay normalised floats"
    first = models.samples(models.cnn(), 4)[0]["image"]
    np.testing.assert_array_equal(np.load(artifact.file("calibration/image/0000.npy")), first)
    host = build(tmp_path, normalize="host")
    assert "insert_bn_before_firstnode" not in conforms(host)
    assert host.manifest["cambricon"]["inputs"][0]["feeds"] == "float32"


def test_float_models(tmp_path: Path) -> None:
    artifact = build(tmp_path, "mlu590", quantize=False)
    config = conforms(artifact)
    assert config["precision_config"] == {"precision_mode": "force_float16"}
    assert not {"ranges.json", "set_ranges.h"} & set(artifact.manifest["files"])


def test_options_become_keys(tmp_path: Path) -> None:
    artifact = build(
        tmp_path, precision_mode="qint16_mixed_float32", weight_quant_granularity="per_tensor", calibration="eqnm",
        cluster_num="2,8", input_layout="last", output_layout="last", computation_preference="high_precision",
    )  # fmt: skip
    config = conforms(artifact)
    assert config["archs"] == [{"mtp_372": [2, 8]}]
    assert config["convert_input_layout"] == {"0": {"src": "NCHW", "dst": "NHWC"}}
    assert config["convert_output_layout"] == {"0": {"src": "NCHW", "dst": "NHWC"}}, "a matrix has no such layout"
    assert config["precision_config"]["precision_mode"] == "qint16_mixed_float32"
    assert json.loads(artifact.file("settings.json").read_text())["algorithm"] == "eqnm"


@pytest.mark.parametrize(
    ("options", "quantize", "words"),
    [
        ({"precision_mode": "force_float32"}, True, "is not for a quantized model"),
        ({"precision_mode": "qint8_mixed_float16"}, False, "is not for a float model"),
        ({"cluster_num": "3"}, True, "cluster_num=3"),
        ({"calibration": "eqnm", "activation_quant_algo": "asymmetric"}, True, "eqnm is symmetric"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], quantize: bool, words: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=words):
        build(tmp_path, quantize=quantize, **options)
    assert not (tmp_path / "out").exists()


def test_one_dimension_may_vary(tmp_path: Path) -> None:
    path = write_open(tmp_path)
    buckets: list[dict[str, tuple[int, ...]]] = [{"x": (1, 3, 8, 8)}, {"x": (4, 3, 8, 8)}]
    artifact = uair.compile(path, "mlu370", output=tmp_path / "out", buckets=buckets)
    config = conforms(artifact)
    assert config["graph_shape_mutable"] is True
    assert config["dim_range"] == {"0": {"min": [1, 3, 8, 8], "max": [4, 3, 8, 8]}}
    two: list[dict[str, tuple[int, ...]]] = [{"x": (1, 3, 8, 8)}, {"x": (4, 3, 16, 8)}]
    with pytest.raises(MagicMindError, match="lets one vary"):
        uair.compile(path, "mlu370", output=tmp_path / "two", buckets=two)


def write_open(folder: Path) -> Path:
    """A model with an open batch size and height."""
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, "h", 8])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)])
    onnx.save(model, folder / "open.onnx")
    return folder / "open.onnx"


@pytest.mark.parametrize("name", ["light_squeezenet", "light_inception_v1"])
def test_models_of_the_zoo(name: str, tmp_path: Path) -> None:
    entry = zoo.models()[name]
    conforms(uair.compile(entry.path, "mlu370", output=tmp_path / "a", shapes=entry.shapes, golden=False))


# ------------------------------------------------------------------------------------------------------------- scripts
def run(
    script: str, folder: Path, *arguments: str, fail: str = ""
) -> tuple[subprocess.CompletedProcess[str], list[Any]]:
    """A script of the artifact with the double; what it said, and the calls it made."""
    package = folder.parent / "package"
    if not package.exists():
        fake_magicmind.install(package)
    (folder.parent / "fail.txt").write_text(fail)
    calls = folder.parent / "calls.json"
    calls.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, str(folder / script), *arguments],
        cwd=folder.parent, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(package)},
    )  # fmt: skip
    return done, json.loads(calls.read_text()) if calls.exists() else []


@pytest.fixture
def copy(artifact: Artifact, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact.root, tmp_path / "artifact"))


def test_magicmind_calibrates(copy: Path, artifact: Artifact) -> None:
    done, calls = run("build.py", copy)
    assert (done.returncode, done.stdout) == (0, "model.mm is ready\n"), done.stderr
    assert [call[0] for call in calls] == [
        "parse", "set_dimension", "parse_from_file", "set_quantization_algorithm", "active", "calibrate", "build_model",
        "serialize_to_file",
    ]  # fmt: skip
    assert calls[1][1:] == [0, [1, 3, 12, 10]]
    assert calls[2][1] == json.loads(artifact.file("build.json").read_text())
    total = sum(float(s["image"].sum()) for s in models.samples(models.cnn(), 4))
    assert calls[5][1][0][0] == 4 and calls[5][1][0][1] == pytest.approx(total, abs=0.05)


def test_a_remote_mlu_calibrates(copy: Path) -> None:
    done, calls = run("build.py", copy, "--remote", "host:8008")
    assert done.returncode == 0, done.stderr
    assert ["set_remote", "host:8008"] in calls and "active" not in [call[0] for call in calls]


def test_uairs_ranges_need_no_mlu(copy: Path, artifact: Artifact) -> None:
    done, calls = run("build.py", copy, "--ranges")
    assert done.returncode == 0, done.stderr
    (told,) = [call[1] for call in calls if call[0] == "parse_from_string"]
    tensors = json.loads(artifact.file("ranges.json").read_text())["tensors"]
    assert told["custom_ranges"] == {n: {"max": [t["max"]], "min": [t["min"]]} for n, t in tensors.items()}
    assert not {"calibrate", "active"} & {call[0] for call in calls}


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        ("parse", "reading the ONNX file: parse was told to fail"),
        ("set_dimension", "the shape of image"),
        ("calibrate", "calibration: calibrate was told to fail"),
        ("build_model", "MagicMind built no model"),
        ("serialize_to_file", "writing model.mm"),
        ("nothing", "wrote no model.mm"),
    ],
)
def test_failures_are_told(fail: str, words: str, copy: Path) -> None:
    done, _ = run("build.py", copy, fail=fail)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr


def test_damaged_artifacts(copy: Path) -> None:
    shutil.rmtree(copy / "calibration")
    done, _ = run("build.py", copy)
    assert done.returncode == 2 and "there are no samples" in done.stderr
    (copy / "settings.json").write_text("{")
    done, _ = run("build.py", copy)
    assert done.returncode == 2 and "settings.json cannot be read" in done.stderr


def test_without_magicmind(copy: Path) -> None:
    done = subprocess.run([sys.executable, copy / "build.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "is not installed" in done.stderr


def test_running(copy: Path) -> None:
    run("build.py", copy)
    pixels = np.zeros((1, 3, 12, 10), np.uint8)
    np.savez(copy.parent / "in.npz", image=pixels)
    done, calls = run("run.py", copy, "in.npz", "out.npz")
    assert done.returncode == 0, done.stderr
    assert ["enqueue", [["uint8", [1, 3, 12, 10]]]] in calls
    with np.load(copy.parent / "out.npz") as outputs:
        assert sorted(outputs) == ["features", "y"] and float(outputs["y"].max()) == 1.0
    np.savez(copy.parent / "in.npz", image=pixels.astype(np.float32))
    done, _ = run("run.py", copy, "in.npz", "out.npz")
    assert done.returncode == 2 and "takes uint8" in done.stderr


PROGRAM = """
#include <string>
#include <utility>
namespace magicmind {
struct Uniform { float scale; int zero; };
struct Range { float max; };
struct Status { bool good; bool ok() const { return good; } };
inline Range UniformQuantParamToRangeWithQuantAlg(Uniform u, int bits, const std::string &how) {
  return {how == "symmetric" ? u.scale * ((1 << (bits - 1)) - 1) : -1.0F};
}
}
#include "set_ranges.h"
struct Tensor {
  float max = 0;
  magicmind::Status SetDynamicRange(magicmind::Range r, bool) { max = r.max; return {true}; }
};
int main() {
  Tensor t;
  if (!uair::SetRange(&t, "a/b\\"c")) return 1;
  if (t.max < 63.4F || t.max > 63.6F) return 2;
  if (!uair::SetRange(&t, "wide") || t.max < 8191.7F || t.max > 8191.8F) return 4;
  return uair::SetRange(&t, "nobody") ? 3 : 0;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_header_compiles(tmp_path: Path) -> None:
    ranges = {'a/b"c': TensorRange.of(0.5, 0, DType.I8), "z": TensorRange.of(2.0, -3, DType.I8)}
    ranges["wide"] = TensorRange.of(0.25, 0, DType.I16)
    (tmp_path / "set_ranges.h").write_text(ranges_header(ranges))
    (tmp_path / "main.cc").write_text(PROGRAM)
    flags = ["-std=c++11", "-Wall", "-Werror", "-o", "main", "main.cc"]
    subprocess.run(["g++", *flags], cwd=tmp_path, check=True)
    assert subprocess.run(["./main"], cwd=tmp_path, check=False).returncode == 0
