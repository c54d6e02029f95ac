"""Models that a target takes in parts: what is written, what is said about it, and that it computes the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import uair
from tests.cli.helpers import listing
from tests.driver.helpers import OPERATORS, toy_target
from uair.api import compare
from uair.driver.stages import DoesNotFit
from uair.errors import UnknownNameError
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import Add, Conv2D, GlobalAvgPool, Linear, Relu, Reshape, Sin, Softmax
from uair.passes.partition.place import PinError
from uair.request import Int8
from uair.text import print_module

SHAPE = (1, 8, 32, 32)
X = np.random.default_rng(7).normal(size=SHAPE).astype(np.float32)


def put(graph: Graph, name: str, op: Any, *operands: Tensor) -> Tensor:
    """Append a node of the user's model called `name`."""
    node = Node(op, operands, name=name, loc=Location.of(name, op.op_type), output_names=[name])
    return graph.append(node).output


def weights(*shape: int, seed: int = 0) -> Tensor:
    return constant(np.random.default_rng(seed).normal(0, 0.2, shape).astype(np.float32), f"w{seed}")


def conv(graph: Graph, name: str, x: Tensor, seed: int) -> Tensor:
    """A convolution of 8 to 8 channels and its activation."""
    made = put(graph, name, Conv2D(pads=(1, 1, 1, 1)), x, weights(8, 8, 3, 3, seed=seed))
    return put(graph, f"{name}_relu", Relu(), made)


def backbone(graph: Graph, name: str, x: Tensor, seed: int, blocks: int = 3) -> Tensor:
    for i in range(blocks):
        x = conv(graph, f"{name}{i}", x, seed + i)
    return x


def model() -> Module:
    """Backbone a -> Sin (on the CPU) -> backbone b, with a branch around the Sin -> mean, product, Softmax (CPU)."""
    graph = Graph()
    x = graph.add_input("image", TensorType(DType.F32, SHAPE))
    a = backbone(graph, "a", x, 0)
    odd = put(graph, "wave", Sin(), a)
    b = backbone(graph, "b", odd, 10)
    total = put(graph, "sum", Add(), b, a)
    pooled = put(graph, "flat", Reshape(shape=(1, 8)), put(graph, "pool", GlobalAvgPool(), total))
    logits = put(graph, "head", Linear(), pooled, weights(5, 8, seed=20))
    graph.add_output("scores", put(graph, "softmax", Softmax(axis=1), logits))
    return Module("net", {"main": graph})


def report_of(artifact: uair.Artifact) -> Any:
    return json.loads(artifact.file("report.json").read_text())


def test_parts_alternate_and_are_written_by_their_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    artifact = uair.compile(model(), target.name, output=tmp_path / "out")
    entries = artifact.manifest["partitions"]
    assert [e["folder"] for e in entries] == [
        "parts/00-toynpu", "parts/01-cpu", "parts/02-toynpu", "parts/03-cpu",
    ]  # fmt: skip
    assert len(target.calls) == 2
    assert sum(e["nodes"] for e in entries) == 18
    assert sum(e["flops_share"] for e in entries) == pytest.approx(1)
    assert entries[0]["inputs"] == ["image"] and entries[-1]["outputs"] == ["scores"]
    for entry in entries:
        written = onnx.load(artifact.file(f"{entry['folder']}/model.onnx"))
        onnx.checker.check_model(written)
        assert [v.name for v in written.graph.input] == entry["inputs"]
        assert [v.name for v in written.graph.output] == entry["outputs"]
    assert "model.onnx" not in artifact.manifest["files"]
    np.testing.assert_allclose(uair.run(artifact, X)["scores"], uair.run(model(), X)["scores"], rtol=1e-4, atol=1e-6)


def test_the_report_says_what_is_copied_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    placement = report_of(uair.compile(model(), target.name))["placement"]
    assert placement["device_flops_share"] > 0.99
    assert [f["node"] for f in placement["fallbacks"]] == ["wave", "softmax"]
    for fallback in placement["fallbacks"]:
        assert "is not among the operators of Toy NPU" in fallback["reason"]
        assert fallback["cpu_seconds"] > 0 and fallback["confidence"] == "uncertain"
    bytes_ = 4 * 8 * 32 * 32
    copies = [(c["tensor"], c["from"], c["to"], c["bytes"]) for c in placement["copies"]]
    assert copies == [
        ("a2_relu", "toynpu", "cpu", bytes_),
        ("a2_relu", "cpu", "toynpu", bytes_),
        ("wave", "cpu", "toynpu", bytes_),
        ("head", "toynpu", "cpu", 20),
    ]
    assert placement["bytes_copied"] == 3 * bytes_ + 20


def test_copies_stand_in_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    artifact = uair.compile(model(), target.name)
    module = uair.load(artifact.file("model.uair"))
    assert {n.op_type for n in module.main} == {"Placed", "Transfer"}
    text = print_module(module)
    assert text.count("Transfer(") == 4 and 'source = "toynpu", destination = "cpu"' in text
    assert text == artifact.file("model.uair").read_text()


def test_a_model_that_fits_is_one_part_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch, operators=(*OPERATORS, "Sin", "Softmax"))
    artifact = uair.compile(model(), target.name)
    (entry,) = artifact.manifest["partitions"]
    assert entry["folder"] == "" and entry["nodes"] == 18
    assert "model.onnx" in artifact.manifest["files"] and "placement" not in report_of(artifact)


def test_without_fallback_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    (tmp_path / "work").mkdir()
    with pytest.raises(DoesNotFit, match="2 of 18 nodes do not fit toynpu") as caught:
        uair.compile(model(), target.name, output=tmp_path / "work/out", fallback=False)
    assert "wave" in caught.value.window and listing(tmp_path / "work") == []


def test_what_fits_in_no_node_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch, operators=("Quantize",))
    with pytest.raises(DoesNotFit, match="18 of 18 nodes"):
        uair.compile(model(), target.name)


def test_neither_the_target_nor_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    made = model()
    monkeypatch.setattr(type(uair_cpu()), "verdict", lambda self, node: refusal(node))
    with pytest.raises(DoesNotFit, match="fit neither toynpu nor its fallback, cpu"):
        uair.compile(made, target.name)


def uair_cpu() -> Any:
    from uair.context import Context

    return Context.default().target("cpu")


def refusal(node: Node) -> Any:
    from uair.targets.verdict import NodeVerdict, Support

    return NodeVerdict(Support.UNSUPPORTED, f"{node.op_type} was refused")


# ---------------------------------------------------------------------------------------------------------------- pins
def test_pins_send_nodes_to_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch, operators=(*OPERATORS, "Sin", "Softmax"))
    artifact = uair.compile(model(), target.name, pins={"b1*": "cpu"}, min_island=1)
    fallbacks = report_of(artifact)["placement"]["fallbacks"]
    assert {f["node"]: f["reason"] for f in fallbacks} == dict.fromkeys(["b1", "b1_relu"], "pinned by 'b1*'")
    assert [e["target"] for e in artifact.manifest["partitions"]] == ["toynpu", "cpu", "toynpu"]
    np.testing.assert_allclose(uair.run(artifact, X)["scores"], uair.run(model(), X)["scores"], rtol=1e-4, atol=1e-6)


def test_pins_that_cannot_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    with pytest.raises(UnknownNameError, match="no node is called 'wav'") as caught:
        uair.compile(model(), target.name, pins={"wav": "cpu"})
    assert "wave" in caught.value.hint
    with pytest.raises(PinError, match="wave is pinned to toynpu, which does not take it: Sin is not among"):
        uair.compile(model(), target.name, pins={"wave": "toynpu"})
    with pytest.raises(PinError, match="'gpu'"):
        uair.compile(model(), target.name, pins={"wave": "gpu"})
    with pytest.raises(PinError, match="fallback is off"):
        uair.compile(model(), target.name, pins={"a0": "cpu"}, fallback=False)
    with pytest.raises(PinError, match="cpu runs on the CPU itself"):
        uair.compile(model(), "cpu", pins={"a0": "cpu"})


def test_a_pin_to_the_target_keeps_a_small_island(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def islands(**pins: str) -> list[str]:
        graph = Graph()
        x = graph.add_input("image", TensorType(DType.F32, SHAPE))
        small = put(graph, "small", Relu(), put(graph, "wave", Sin(), backbone(graph, "a", x, 0)))
        graph.add_output("y", put(graph, "late", Sin(), small))
        made = Module("net", {"main": graph})
        return [e["target"] for e in uair.compile(made, target.name, pins=pins).manifest["partitions"]]

    target = toy_target(tmp_path, monkeypatch)
    assert islands() == ["toynpu", "cpu"]
    assert islands(small="toynpu") == ["toynpu", "cpu", "toynpu", "cpu"]


# ------------------------------------------------------------------------------------------------------- quantization
@pytest.mark.parametrize("form", ["qdq", "ranges", "calibration"])
def test_parts_on_the_device_are_quantized_and_the_others_stay_float(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    target = toy_target(tmp_path, monkeypatch, form=form)
    samples = [np.random.default_rng(i).normal(size=SHAPE).astype(np.float32) for i in range(8)]
    artifact = uair.compile(model(), target.name, quantize=Int8(iter(samples)))
    assert artifact.manifest["quantization"]["quantized"] == 7
    module = uair.load(artifact.file("model.uair"))
    for node in module.main:
        if node.op_type == "Placed":
            inside = {n.op_type for n in node.op.body}  # type: ignore[attr-defined]
            assert ("Quantize" in inside) == (node.op.device == "toynpu")  # type: ignore[attr-defined]
    first, second = target.calls
    emitted = {n.op_type for n in first.module.main}
    assert ("Quantize" in emitted) == (form == "qdq")
    assert first.request.samples is not None and second.request.samples is not None
    whole = uair.compile(model(), "reference", golden=False)
    for given, image in zip(second.request.samples, samples, strict=True):
        assert set(given) == {"wave", "a2_relu"}
        np.testing.assert_allclose(given["wave"], np.sin(given["a2_relu"]), atol=1e-6)
        assert image.shape == given["wave"].shape
    assert second.request.ranges["wave"].max <= 1.01
    error = compare(uair.run(whole, X)["scores"], uair.run(artifact, X)["scores"])
    assert (error["cosine"] or 0) > 0.995


def test_compilation_is_reproducible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    for name in ("one.zip", "two.zip"):
        uair.compile(model(), target.name, output=tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


# ---------------------------------------------------------------------------------------------------------- arithmetic
def test_the_devices_arithmetic_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    artifact = uair.compile(model(), target.name)
    exact = uair.run(model(), X)["scores"]
    plain = uair.run(artifact, X, arithmetic="float")["scores"]
    device = uair.run(artifact, X, arithmetic="device")["scores"]
    np.testing.assert_allclose(plain, exact, rtol=1e-5)
    difference = float(np.abs(device - exact).max())
    assert 0 < difference < 2e-3


def test_a_missing_runtime_leaves_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uair.codegen.cpu.target import CpuTarget, RuntimeMissing

    def missing(*_: object) -> None:
        raise RuntimeMissing("running a cpu artifact needs onnxruntime")

    target = toy_target(tmp_path, monkeypatch)
    artifact = uair.compile(model(), target.name)
    with_runtime = uair.run(artifact, X)["scores"]
    monkeypatch.setattr(CpuTarget, "run", missing)
    np.testing.assert_allclose(uair.run(artifact, X)["scores"], with_runtime, rtol=1e-5)


def test_a_partitioned_module_is_written_as_one_onnx_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX knows no devices: the parts are put in the place of the nodes that run them."""
    target = toy_target(tmp_path, monkeypatch)
    artifact = uair.compile(model(), target.name)
    module = uair.load(artifact.file("model.uair"))
    uair.export_onnx(module, tmp_path / "all.onnx", opset=17)
    assert len(onnx.load(tmp_path / "all.onnx").graph.node) >= 18
    np.testing.assert_allclose(uair.run(tmp_path / "all.onnx", X)["scores"], uair.run(model(), X)["scores"], rtol=1e-5)
