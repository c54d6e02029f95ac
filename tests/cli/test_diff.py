"""`uair diff`: two models of one origin, layer by layer. Expected figures come from onnxruntime's values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as runtime
import pytest
from onnx import helper, numpy_helper

import uair as api
from tests.cli.helpers import EXAMPLE, Shell, tiny_model
from tests.report.helpers import SVG, parse_page
from uair.api import run_pipeline
from uair.driver.difference import NotComparable, compare_layers, pair_graphs
from uair.errors import UairError
from uair.ir.dtype import Array

LAYERS = ["conv1", "bn1", "relu1", "pool", "flatten", "head"]


def edited(path: Path, edit: Callable[[onnx.ModelProto], None]) -> Path:
    """The tiny model with something changed about it."""
    model = tiny_model()
    edit(model)
    onnx.save(model, path)
    return path


def scaled(name: str, factor: float) -> Callable[[onnx.ModelProto], None]:
    """An edit: one weight too large, or too small."""

    def edit(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        tensor.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(tensor) * factor).astype(np.float32), name))

    return edit


def every_value(path: Path, x: Array) -> dict[str, Array]:
    """All results of a model's nodes by the node's name, from onnxruntime."""
    model = onnx.load(path)
    names = {node.output[0]: node.name for node in model.graph.node}
    del model.graph.output[:]
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = session.run(list(names), {"x": x})
    return {name: np.asarray(value) for name, value in zip(names.values(), results, strict=True)}


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Three inputs of the tiny model."""
    path = tmp_path / "samples.npz"
    np.savez(path, x=np.random.default_rng(1).normal(size=(3, 3, 8, 8)).astype(np.float32))
    return path


def test_a_model_equals_itself(uair: Shell, tiny: Path) -> None:
    found = uair("diff", tiny, tiny, "--shape", "x=2,3,8,8", "--tolerance", "0", "--json").require().json
    assert [layer["name"] for layer in found["layers"]] == LAYERS
    assert all(layer["sqnr_db"] is None and layer["max_abs"] == 0 for layer in found["layers"])
    assert found["worst_drop"] is None and found["outside_tolerance"] == []
    assert found["only_first"] == found["only_second"] == []


@pytest.mark.parametrize(("weight", "layer"), [("w", "conv1"), ("scale", "bn1"), ("fc", "head")])
def test_a_planted_error_is_found_at_its_layer(
    uair: Shell, tiny: Path, tmp_path: Path, samples: Path, weight: str, layer: str
) -> None:
    other = edited(tmp_path / "other.onnx", scaled(weight, 1.2))
    found = uair("diff", tiny, other, "--samples", samples, "--tolerance", "0.01", "--json").require(4).json
    assert found["worst_drop"] == layer and found["outside_tolerance"] == ["y"]
    at = LAYERS.index(layer)
    assert all(entry["sqnr_db"] is None for entry in found["layers"][:at])
    assert all(entry["sqnr_db"] < 30 for entry in found["layers"][at:])
    assert found["layers"][at]["behind"] == ""


def test_the_figures_are_those_of_the_values(uair: Shell, tiny: Path, tmp_path: Path, samples: Path) -> None:
    other = edited(tmp_path / "other.onnx", scaled("scale", 0.9))
    found = uair("diff", tiny, other, "--samples", samples, "-o", "figures.json", "--json").require().json
    assert json.loads((tmp_path / "figures.json").read_text()) == found
    assert found["samples"] == 3
    x = np.load(samples)["x"]
    mine = [every_value(tiny, x[i : i + 1]) for i in range(3)]
    theirs = [every_value(other, x[i : i + 1]) for i in range(3)]
    for layer in found["layers"]:
        a = np.concatenate([values[layer["name"]].ravel() for values in mine]).astype(np.float64)
        b = np.concatenate([values[layer["name"]].ravel() for values in theirs]).astype(np.float64)
        if layer["name"] == "conv1":
            assert layer["sqnr_db"] is None
            continue
        assert layer["sqnr_db"] == pytest.approx(10 * math.log10((a @ a) / ((a - b) @ (a - b))), abs=0.01)
        assert layer["cosine"] == pytest.approx(a @ b / math.sqrt((a @ a) * (b @ b)), abs=1e-6)
        assert layer["max_abs"] == pytest.approx(np.abs(a - b).max(), rel=1e-4)
        assert layer["relative"] == pytest.approx(np.abs(a - b).max() / np.abs(a).max(), rel=1e-4)
        assert layer["mean_shift"] == pytest.approx((b - a).mean() / math.sqrt((a * a).mean()), rel=1e-3, abs=1e-7)
    (output,) = found["outputs"]
    assert output["axis"] == 1 and [group["from"] for group in output["groups"]] == [0, 1, 2, 3, 4]
    a = np.concatenate([values["head"] for values in mine]).astype(np.float64)
    b = np.concatenate([values["head"] for values in theirs]).astype(np.float64)
    expected = 10 * np.log10((a * a).sum(axis=0) / ((a - b) ** 2).sum(axis=0))
    np.testing.assert_allclose([group["sqnr_db"] for group in output["groups"]], expected, atol=0.01)


def test_fused_layers_are_compared_by_what_they_end_in(uair: Shell, tiny: Path) -> None:
    found = uair("diff", tiny, "-p", "canonicalise,fuse", "--shape", "x=1,3,8,8", "--json").require().json
    names = [layer["name"] for layer in found["layers"]]
    assert "conv1" not in names and {"bn1", "relu1", "pool", "head"} <= set(names)
    bn = found["layers"][names.index("bn1")]
    assert bn["operators"] == ["BatchNorm", "Conv2D"] and bn["made_by"] == ["fold-batch-norm"]
    assert all(layer["sqnr_db"] is None or layer["sqnr_db"] > 100 for layer in found["layers"])
    assert "conv1" in [node["name"] for node in found["only_first"]]


def test_an_artifact_of_integers(uair: Shell, tiny: Path, samples: Path) -> None:
    uair("compile", tiny, "-t", "cpu", "--shape", "x=1,3,8,8", "--quantize", "int8", "--calib", samples).require()
    found = uair("diff", tiny, "tiny-cpu", "--samples", samples, "--json").require().json
    assert [layer["name"] for layer in found["layers"]][-1] == "head"
    assert all(10 < layer["sqnr_db"] < 70 for layer in found["layers"])
    assert uair("diff", tiny, "tiny-cpu", "--least-sqnr", "90").require(4).out.count("outside of what is accepted: y")
    text = uair("diff", tiny, "tiny-cpu", "--worst", "2").require().out  # on the golden input
    rows = text.split("\n\n")[0].splitlines()[2:]
    assert len(rows) == 2 and "worst drop at" in text and "on one sample" in text


def test_a_model_in_parts_is_compared_inside_of_the_parts(uair: Shell, tiny: Path) -> None:
    uair("compile", tiny, "-t", "cpu", "--shape", "x=1,3,8,8", "-o", "whole").require()
    pins = ["--pin", "pool=cpu", "--min-island", "1"]
    uair("compile", tiny, "-t", "ascend310", "--shape", "x=1,3,8,8", "-o", "parts", *pins).require()
    assert len(uair("inspect", "parts", "--json").json["partitions"]) > 1
    found = uair("diff", "whole", "parts", "--json").require().json
    assert {"relu1", "pool", "head"} <= {layer["name"] for layer in found["layers"]}


def test_what_changed_in_the_graph(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    other = edited(tmp_path / "other.onnx", scaled("fc", 1.2))
    found = uair("diff", tiny, other, "--structure", "--json").require().json
    assert [(c["name"], c["differences"]) for c in found["changed"]] == [("head", ["w: other values"])]
    assert found["same"] == 5 and not (found["merged"] or found["removed"] or found["added"])
    found = uair("diff", tiny, "-p", "canonicalise,fuse", "--structure", "--json").require().json
    assert {"name": "conv1", "into": "bn1"}.items() <= found["merged"][0].items()
    text = uair("diff", tiny, "-p", "canonicalise,fuse", "--structure").require().out
    assert "BatchNorm became Conv2D" in text and "into Conv2D bn1" in text
    assert "the graphs are equal" in uair("diff", tiny, tiny, "--structure").require().out


def test_models_whose_names_differ_are_paired_by_the_graph(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    def renamed(model: onnx.ModelProto) -> None:
        for i, node in enumerate(model.graph.node):
            node.name = f"other{i}"
            node.input[:] = [{"x": "image", "c": "t0", "n": "t1"}.get(n, n) for n in node.input]
            node.output[:] = [{"c": "t0", "n": "t1", "y": "scores"}.get(n, n) for n in node.output]
        model.graph.input[0].name, model.graph.output[0].name = "image", "scores"

    other = edited(tmp_path / "other.onnx", renamed)
    found = uair("diff", tiny, other, "--shape", "x=1,3,8,8", "--json").require().json
    assert [layer["name"] for layer in found["layers"]] == LAYERS
    assert {layer["paired_by"] for layer in found["layers"]} >= {"graph", "output"}
    assert all(layer["max_abs"] == 0 for layer in found["layers"])


def test_values_that_are_no_numbers_on_one_side_are_told(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    other = edited(tmp_path / "other.onnx", scaled("scale", math.inf))
    found = uair("diff", tiny, other, "--shape", "x=1,3,8,8", "--tolerance", "1e9", "--json").require(4).json
    bn = next(layer for layer in found["layers"] if layer["name"] == "bn1")
    assert bn["not_finite"] == 4 * 8 * 8 and bn["sqnr_db"] is None and bn["relative"] is None
    assert found["worst_drop"] == "bn1"
    assert "NaN" in uair("diff", tiny, other, "--shape", "x=1,3,8,8").require().out


def test_the_page_is_one_file_with_plots(uair: Shell, tiny: Path, tmp_path: Path, samples: Path) -> None:
    def hostile(model: onnx.ModelProto) -> None:
        model.graph.node[5].name = "<script>alert('head')</script>\x07"

    def wrong(model: onnx.ModelProto) -> None:
        hostile(model)
        scaled("fc", 1.2)(model)

    first, second = edited(tmp_path / "first.onnx", hostile), edited(tmp_path / "second.onnx", wrong)
    uair("diff", first, second, "--samples", samples, "--html", "page.html").require()
    page = parse_page((tmp_path / "page.html").read_text("utf-8"))
    assert page.tables["The 6 worst layers"][0][0] == "<script>alert('head')</script>\\x07"
    assert [row[0] for row in page.tables["All layers, in order of execution"]][:5] == LAYERS[:5]
    depth, groups = page.plots
    assert len(depth.findall(f"{SVG}circle")) == 6 + 1  # and the worst drop
    assert len(groups.findall(f"{SVG}rect")) == 5 + 1  # and the legend


def test_values_are_held_until_their_partners_are_there() -> None:
    module = api.load(EXAMPLE)
    optimised = api.optimize(module.clone())
    x = np.random.default_rng(0).normal(size=(1, 3, 48, 192)).astype(np.float32)
    found = compare_layers(module, optimised, [{"x": x}])
    assert len(found.layers) == len(pair_graphs(module.main, optimised.main).results) > 100
    assert all(layer.errors.sqnr > 90 for layer in found.layers) and not found.not_compared


def test_bad_command_lines(uair: Shell, tiny: Path, samples: Path) -> None:
    assert "give a second model" in uair("diff", tiny).require(2).err
    assert "give one of them" in uair("diff", tiny, tiny, "-i", samples, "--samples", samples).require(2).err
    assert "runs nothing" in uair("diff", tiny, tiny, "--structure", "-i", samples).require(2).err
    assert "open sizes" in uair("diff", tiny, tiny).require(1).err  # noise of what size?
    assert "UAIR-E0703" in uair("diff", tiny, tiny, "--samples", "nowhere").require(1).err
    assert "UAIR-E0126" in uair("diff", tiny, tiny, "--load", "signature=x").require(1).err


def test_what_is_not_there_is_said_to_be_missing(uair: Shell, tiny: Path) -> None:
    assert "'nowhere' is not there" in uair("diff", tiny, "nowhere").require(1).err


def test_noise_is_called_noise(uair: Shell, tiny: Path, samples: Path) -> None:
    """Integers are calibrated for real inputs: on noise a good model looks like a bad one."""
    shape = ("--shape", "x=1,3,8,8")
    assert "of noise" in uair("diff", tiny, tiny, *shape).require().out
    assert "of noise" not in uair("diff", tiny, tiny, *shape, "--samples", samples).require().out


def test_long_names_are_shortened_in_the_table_alone(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    """TFLite's converter joins the names of all that it fused."""
    long = ";".join(["block/convolution"] * 12)

    def rename(model: onnx.ModelProto) -> None:
        model.graph.node[0].name = long

    path = edited(tmp_path / "long.onnx", rename)
    shown = uair("diff", path, path, "--shape", "x=1,3,8,8").require().out
    assert long not in shown and "..." in shown
    assert long in uair("diff", path, path, "--shape", "x=1,3,8,8", "--json").require().out


def test_models_that_share_no_interface(tmp_path: Path) -> None:
    first = api.load(edited(tmp_path / "a.onnx", lambda _: None))
    second = first.clone()
    second.main.add_input("more", second.main.inputs[0].type)
    with pytest.raises(NotComparable, match="1 and 2 inputs"):
        compare_layers(first, second, [])
    with pytest.raises(NotComparable, match="no inputs to run"):
        compare_layers(first, first.clone(), [])


def test_an_error_names_the_model_and_the_sample(tiny: Path) -> None:
    first = api.load(tiny)
    second = run_pipeline(first.clone(), "", shapes={"x": (2, 3, 8, 8)})
    good, bad = (np.zeros((n, 3, 8, 8), np.float32) for n in (2, 1))
    with pytest.raises(UairError) as caught:
        compare_layers(first, second, [{"x": good}, {"x": bad}])
    assert caught.value.place == "the second model, sample 1"
