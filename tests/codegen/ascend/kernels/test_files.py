"""The kernels/ folder of artifacts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import uair
from tests.codegen.ascend.kernels.cases import inputs_of, kernels_of, legalised
from tests.codegen.ascend.models import Builder
from tests.golden import Golden
from uair import ops
from uair.codegen.ascend.kernels import kernels
from uair.codegen.ascend.kernels.mlir import literal, mlir_text
from uair.codegen.ascend.kernels.program import Verb
from uair.context import Context
from uair.ir import Module


def attention() -> Module:
    """A masked softmax, a normalization with weights, a Gelu: the kernels of a transformer, small."""
    b = Builder(7)
    x, mask = b.input("x", 4, 24), b.input("mask", 24)
    s = b.add("softmax", ops.Softmax(axis=-1), b.add("masked", ops.Add(), x, mask))
    t = b.add("mix", ops.Linear(), s, b.weight("w", 24, 24))
    n = b.add("norm", ops.LayerNorm(), b.add("residual", ops.Add(), t, x), b.weight("gain", 24), b.weight("offset", 24))
    y = b.add("gelu", ops.Gelu(), b.add("wide", ops.Linear(), n, b.weight("v", 16, 24)))
    return b.module("attention", y=y)


@pytest.mark.parametrize("target", ["ascend310", "ascend310p", "ascend910b"])
def test_files(target: str, golden: Golden) -> None:
    files = kernels(attention(), Context.default().target(target).description)
    for path, text in files.texts.items():
        golden.check(f"{target}/{path}{'.txt' if path.endswith('.py') else ''}", text)  # no module of the project
    assert not files.arrays


def test_the_artifact_holds_them(tmp_path: Path) -> None:
    artifact = uair.compile(attention(), "ascend910b", output=tmp_path / "a")
    listing = json.loads(artifact.file("kernels/manifest.json").read_text())
    assert listing["target"] == "ascend910b" and listing["soc"] == "Ascend910B3"
    onnx_nodes = {node["name"] for kernel in listing["kernels"] for use in kernel["uses"] for node in use["nodes"]}
    assert {"softmax", "residual"} <= onnx_nodes
    for kernel in listing["kernels"]:
        for source in kernel["sources"]:
            for name in source["files"]:
                assert f"kernels/{name}" in artifact.manifest["files"]
    script = artifact.file("kernels/build.sh")
    assert script.stat().st_mode & 0o100
    assert script.read_text().count("bishengir-compile ") == len(listing["kernels"])


@pytest.mark.parametrize("target", ["ascend310", "ascend310p", "ascend910b"])
def test_the_artifact_holds_none_when_told_so(target: str) -> None:
    full = uair.compile(attention(), target, golden=False)
    bare = uair.compile(attention(), target, options={"kernels": "false"}, golden=False)
    kept = {name for name in full.manifest["files"] if not name.startswith("kernels/")}
    assert len(kept) < len(full.manifest["files"]) and set(bare.manifest["files"]) == kept
    assert bare.manifest["options"] == {"kernels": False}
    for name in kept:
        assert bare.file(name).read_bytes() == full.file(name).read_bytes()


def test_derived_constants_are_kept(tmp_path: Path) -> None:
    module = legalised("bert", int8=True)
    files = kernels(module, Context.default().target("ascend910b").description)
    listing = json.loads(files.texts["manifest.json"])
    named = [i for k in listing["kernels"] for use in k["uses"] for i in use["inputs"] if "values" in i]
    assert listing["constants"] == "constants.npz" and {i["values"] for i in named} == set(files.arrays)
    assert {str(array.dtype) for array in files.arrays.values()} == {"int32", "int8"}  # biases, transposed weights


def test_the_same_kernel_is_written_once() -> None:
    listing = json.loads(
        kernels(legalised("bert"), Context.default().target("ascend910b").description).texts["manifest.json"]
    )
    assert sorted(len(kernel["uses"]) for kernel in listing["kernels"]) == [1, 1, 4, 4, 8]


@pytest.mark.parametrize("int8", [False, True])
def test_kernels_keep_the_rules_of_bishengir(int8: bool) -> None:
    """One known operator a line, a fresh tensor.empty for every result, single numbers as the only constants."""
    allowed = {"tensor.empty", "arith.constant", "linalg.fill", "linalg.broadcast", "linalg.reduce", "linalg.matmul"}
    allowed |= {"hfusion.cast", *(f"{d}.elemwise_{a}" for d in ("linalg", "hfusion") for a in ("unary", "binary"))}
    for named in kernels_of(legalised("bert", int8=int8), least=1):
        lines = [line.strip() for line in mlir_text(named.program, named.name).splitlines()]
        assert lines[0] == "module {" and lines[1].startswith(f"func.func @{named.name}(")
        assert lines[2].startswith("attributes {hacc.entry, ") and lines[-3].startswith("return ")
        written: list[str] = []
        for line in lines[3:-3]:
            operator = re.match(r"%\w+ = ([\w.]+)", line)
            assert operator is not None and operator[1] in allowed, line
            if operator[1] == "arith.constant":
                assert "dense" not in line
            if out := re.search(r"outs\((%\w+) :", line):
                written.append(out[1])
        assert len(set(written)) == len(written)


def test_literals() -> None:
    assert [literal(x, "f32") for x in (0.0, 1e-5, -0.5, 1 / 3)] == ["0.0e+00", "1.0e-05", "-5.0e-01", "3.3333334e-01"]
    assert [literal(x, e) for x, e in ((-np.inf, "f32"), (np.inf, "f16"), (3.0, "i32"))] == [
        "0xFF800000",
        "0x7C00",
        "3",
    ]
    assert np.float16(float(literal(0.1, "f16"))) == np.float16(0.1)


def test_models_without_groups_have_no_folder(tmp_path: Path) -> None:
    b = Builder()
    y = b.add("y", ops.Relu(), b.input("x", 8))
    artifact = uair.compile(b.module("relu", y=y), "ascend910b", output=tmp_path / "a")
    assert not any(name.startswith("kernels/") for name in artifact.manifest["files"])


def test_numbers_alone_are_a_kernel_too() -> None:
    b = Builder()
    y = b.add("r", ops.Relu(), b.add("a", ops.Add(), b.input("x", 1, 1), b.input("z", 1)))
    (named,) = kernels_of(b.module("numbers", y=y))
    assert named.program.sizes == () and "tensor<1xf16>" in mlir_text(named.program, "k")
    assert Verb.ADD in named.program.verbs and inputs_of(named.kernel)[0].shape == ()
