"""The benchmark's own machinery; what it measures is asserted nowhere, for a shared machine decides that."""

# pyright: reportUnknownMemberType=false
# onnx's own annotations leave type arguments open.

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import uair
from bench import compile_time, int8_accuracy, node_counts
from bench.int8 import coverage, metrics
from bench.models import RandomGraph
from tests import zoo
from tests.quant.networks import mobile_cnn, samples
from uair.codegen.cpu.target import int8_forms
from uair.pipeline import PassManager


def test_random_graph_is_deterministic_and_holds_what_an_optimiser_should_find() -> None:
    model = RandomGraph(seed=1).build(600)
    assert model.SerializeToString() == RandomGraph(seed=1).build(600).SerializeToString()
    nodes = model.graph.node
    assert len(nodes) == 600
    signatures = [(node.op_type, *node.input) for node in nodes]
    read = {name for node in nodes for name in node.input} | {model.graph.output[0].name}
    assert len(set(signatures)) < 570, "repeated nodes"
    assert sum(node.op_type == "Identity" for node in nodes) > 30
    assert sum(node.output[0] not in read for node in nodes) > 15, "dead nodes"


def test_a_run_measures_a_process_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = zoo.models()["light_squeezenet"].path
    record = tmp_path / "runs.json"
    arguments = ["--tools", "onnxruntime", "--models", str(source), "--rounds", "2", "--json", str(record)]
    assert compile_time.main(arguments) == 0
    assert "onnxruntime" in capsys.readouterr().out
    (series,) = json.loads(record.read_text())
    assert len(series["runs"]) == 2
    assert 0 < series["nodes"] < len(onnx.load(source).graph.node)
    for run in series["runs"]:
        assert 0 < run["import_cpu"] < run["cpu"]
        assert 0 < run["resident_after_import"] <= run["peak"]


def test_a_failing_tool_ends_the_benchmark_with_its_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(SystemExit, match=r"onnxruntime on broken\.onnx: exit status 1: .*broken\.onnx"):
        compile_time.run_once("onnxruntime", broken, tmp_path / "out.onnx", 60)


# ----------------------------------------------------------------------------------------------------- INT8 accuracy
HALF_QUANTIZED = """
<ir_version: 10, opset_import: ["": 17]>
half (float[1, 4] x) => (float[1, 2] y)
<float s = {0.5}, int8 z = {0}, int8[4, 8] w = {ROWS},
 float[8, 2] v = {HALF}>
{
    xq = QuantizeLinear(x, s, z)
    xf = DequantizeLinear(xq, s, z)
    wf = DequantizeLinear(w, s, z)
    a = MatMul(xf, wf)
    b = Relu(a)
    y = MatMul(b, v)
}
"""


def test_coverage_counts_what_is_on_integers(tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    onnx.save(
        onnx.parser.parse_model(
            HALF_QUANTIZED.replace("ROWS", ", ".join("12345678" * 4)).replace("HALF", ", ".join("12345678" * 2))
        ),
        path,
    )
    found = coverage.measure(path)
    assert found.products == (4 * 8) / (4 * 8 + 8 * 2)
    assert found.activations == 4 / (4 + 8 + 8)


def test_coverage_is_that_of_what_is_written(tmp_path: Path) -> None:
    """Integer sums, and weights that are folded, count as the Q/DQ nodes that they take the place of."""
    quantized = uair.quantize(mobile_cnn(), uair.Int8(samples(8, (1, 3, 8, 8))), target="cpu")
    quantized.save(tmp_path / "qdq.onnx")
    uair.export_onnx(PassManager(int8_forms("any"), []).run(quantized.module.clone()), tmp_path / "cpu.onnx")
    assert coverage.measure(tmp_path / "cpu.onnx") == coverage.measure(tmp_path / "qdq.onnx")
    operators = {node.op_type for node in onnx.load(tmp_path / "cpu.onnx").graph.node}
    assert {"ConvInteger", "Mul"} <= operators


def test_metrics_of_equal_and_of_spoilt_outputs() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((8, 5))
    labels = {"label": scores.argmax(axis=1)}
    assert metrics.classes([scores], [scores], labels) == 1.0
    assert metrics.classes([scores[:, ::-1]], [scores], labels) == np.mean(scores.argmax(1) == 4 - scores.argmax(1))
    noise = rng.normal(0, 1, scores.shape)
    noise *= np.sqrt(np.square(scores).sum() / np.square(noise).sum() / 100)  # a hundredth of the energy: 20 dB
    assert metrics.sqnr([scores], [scores + noise]) == pytest.approx(20.0, abs=1e-6)
    text = np.eye(4)[[0, 1, 1, 0, 2, 2, 3]][None]
    truth = {"text": np.array(["ab c"]), "chars": ["", "a", "b", "c"]}
    assert metrics.lines([text], [text], truth) == 1.0
    assert metrics.lines([np.roll(text, 1, axis=2)], [text], truth) == 0.0
    box = np.zeros((1, 6, 2))
    box[0, :, 0] = (10, 10, 4, 4, 0.9, 0.1)
    box[0, :, 1] = (40, 40, 4, 4, 0.1, 0.8)
    lost = box.copy()
    lost[0, 4:, 1] = 0.0
    assert metrics.boxes([box], [box], {}) == 1.0
    assert metrics.boxes([lost], [box], {}) == pytest.approx(2 / 3)


def test_the_bench_measures_a_tool_and_keeps_the_reason_of_one_that_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    arguments = ["zoo:magika", "--tools", "uair", "nncf", "--python", f"nncf={sys.executable}", "--json", str(figures)]
    assert int8_accuracy.main(arguments) == 0
    ours, other = json.loads(figures.read_text())
    assert ours["sqnr"] > 30
    assert ours["products"] == 1.0
    assert ours["cpu"] > 0
    if importlib.util.find_spec("nncf") is None:
        assert other["failed"].endswith("No module named 'nncf'")
    assert "| UAIR |" in capsys.readouterr().out


def test_the_table_of_nodes_holds_what_a_run_says(capsys: pytest.CaptureFixture[str]) -> None:
    source, feeds = node_counts.models()["light_squeezenet"]
    row = node_counts.Row("light_squeezenet", source, feeds)
    row.measure(sys.executable, 1, ["onnxruntime"])
    assert len(row.cells()) == len(node_counts.COLUMNS)
    assert row.before == len(onnx.load(source).graph.node) > row.standard >= row.canonical
    assert row.peers["onnxruntime"] and row.error <= 1e-5 and row.time > 0
    row.measure(sys.executable, 0, ["no_such_tool"])
    assert row.peers == {"no_such_tool": None} and "no_such_tool on light_squeezenet" in capsys.readouterr().err


def test_rows_of_the_table_are_replaced_by_model() -> None:
    table = ["| model | nodes | slim |", "|---|---|---|", "| a | 1 | 2 |", "| b | 3 | 4 |"]
    found = node_counts.merged(table, [*table[:2], "| b | 5 |  |", "| c | 6 | 7 |"])
    assert found == [*table[:3], "| b | 5 | 4 |", "| c | 6 | 7 |"]
