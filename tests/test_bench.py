"""The benchmark's own machinery; what it measures is asserted nowhere, for a shared machine decides that."""

# pyright: reportUnknownMemberType=false
# onnx's own annotations leave type arguments open.

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from bench import compile_time
from bench.models import RandomGraph
from tests import zoo


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
