"""What a quantization reports about itself, against figures computed here from the values of both modules."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest

from tests.quant.networks import Builder, samples
from tests.report.helpers import SVG, parse_page
from uair.codegen.reference import Interpreter
from uair.ir.dtype import Array, DType
from uair.ir.graph import constant
from uair.ir.module import Module
from uair.ops import Add, Conv2D, GlobalAvgPool, HardSwish, Linear, Relu, Reshape
from uair.passes.quantization import choose
from uair.passes.quantization.quality import MEASURED, NODES_MEASURED
from uair.passes.quantize_int8 import QuantizeInt8
from uair.pipeline import PassContext, PassManager
from uair.report import quantization_csv, quantization_page
from uair.report.plot import BLUE, GREEN, RED
from uair.report.quantization import advice
from uair.targets import load_description

FEEDS = samples(8, (1, 3, 12, 12), 3)
"""As few as are kept for judging."""


def network() -> Module:
    """Convolutions of which the second has one channel far wider than the others, a sum, and a classifier."""
    b = Builder(1, 3, 12, 12)
    stem = b.add(Relu(), b.add(Conv2D(pads=(1, 1, 1, 1)), b.x, b.weight(8, 3, 3, 3), b.weight(8), name="stem"))
    wide = b.weight(8, 8, 3, 3).numpy().copy()
    wide[5] *= 40
    x = b.add(Conv2D(pads=(1, 1, 1, 1)), stem, constant(wide, "wide"), b.weight(8), name="uneven")
    x = b.add(HardSwish(), x)
    x = b.add(Add(), b.add(Conv2D(), x, b.weight(8, 8, 1, 1, scale=0.05), b.weight(8), name="project"), stem)
    pooled = b.add(Reshape(shape=(1, 8)), b.add(GlobalAvgPool(), x))
    return b.done(b.add(Linear(), pooled, b.weight(6, 8), b.weight(6), name="head"), x)


def quantized(**options: Any) -> tuple[Module, Module, dict[str, Any]]:
    """The float module, the quantized one and the report."""
    module, context = network(), PassContext()
    PassManager([QuantizeInt8(samples=FEEDS, **options)], context=context).run(module)
    return network(), module, context.reports["quantization"]


def values(module: Module, step: int = 1, dtype: DType = DType.F32) -> dict[str, Array]:
    """By name every result, over every so many of the samples, of a device that holds floats as `dtype`."""
    interpreter = Interpreter(module, rounding={"": dtype})
    found: dict[str, list[Array]] = {}
    for feeds in FEEDS[::step]:
        interpreter.run(feeds, observe=lambda tensor, array: found.setdefault(tensor.name, []).append(array))
    return {name: np.concatenate(arrays).astype(np.float64) for name, arrays in found.items()}


def decibels(expected: Array, actual: Array) -> float:
    return float(10 * np.log10(np.square(expected).sum() / np.square(expected - actual).sum()))


@pytest.mark.parametrize("target", ["cpu", "rk3588", "jetson_orin"])
def test_errors_behind_all_other_nodes(target: str) -> None:
    exact, module, report = quantized(target=target)
    device = load_description(target).dtypes.float
    mine, theirs = values(exact, NODES_MEASURED), values(module, NODES_MEASURED, device)
    measured = {node["name"]: node for node in report["nodes"] if "accumulated" in node}
    assert {"stem", "uneven", "project", "head"} <= set(measured)
    for name, node in measured.items():
        expected, actual = mine[name], theirs[name]
        assert node["accumulated"]["sqnr_db"] == pytest.approx(decibels(expected, actual), abs=0.02)
        shift = (actual - expected).mean() / np.sqrt(np.square(expected).mean())
        assert node["accumulated"]["mean_shift"] == pytest.approx(shift, rel=1e-2, abs=1e-6)
    alone, accumulated = measured["stem"]["quality"], measured["stem"]["accumulated"]
    assert accumulated["sqnr_db"] == pytest.approx(alone["sqnr_db"], abs=0.1)  # nothing is in front of it
    assert accumulated == alone or device is DType.F16
    mine, theirs = values(exact, MEASURED), values(module, MEASURED, device)
    output = report["outputs"][0]
    groups = [group["sqnr_db"] for group in output["groups"]]
    by_class = [decibels(mine["head"][:, i], theirs["head"][:, i]) for i in range(6)]
    np.testing.assert_allclose(groups, by_class, atol=0.02)


def test_errors_of_a_node_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "FEW_VALUES", 0)  # the default's ranges are then those of the way that is named
    _, _, report = quantized(target="cpu")
    for name in ("uneven", "head"):
        others = tuple(node["name"] for node in report["nodes"] if node["name"] != name)
        exact, module, _ = quantized(target="cpu", skip=others, range=report["summary"]["ranges"])
        alone = next(node for node in report["nodes"] if node["name"] == name)["quality"]["sqnr_db"]
        expected, actual = (values(each, NODES_MEASURED)[name] for each in (exact, module))
        assert alone == pytest.approx(decibels(expected, actual), abs=0.5)


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_what_a_range_means(method: str) -> None:
    exact, _, report = quantized(target="cpu", range=method, percentile=99.0, even_channels=False)
    mine = values(exact)
    for node in report["nodes"]:
        for entry in node["activations"].values():
            seen = mine[entry["tensor"]]
            assert entry["observed"] == pytest.approx([seen.min(), seen.max()], rel=1e-3)
            low, high = entry["range"]
            half = entry["scale"] / 2
            beyond = 100 * np.mean((seen < low - half) | (seen > high + half))
            assert entry["clipped_percent"] == pytest.approx(beyond, abs=0.15)
            codes = np.clip(np.rint(seen / entry["scale"]) + entry["zero_point"], -128, 127)
            assert entry["codes"] == pytest.approx(np.unique(codes).size, abs=6)
            central = np.percentile(seen, [0.05, 99.95])
            assert entry["central"] == pytest.approx(central, abs=0.02 * (seen.max() - seen.min()))


def test_the_tensors_of_the_worst_nodes_are_shown() -> None:
    exact, _, report = quantized(target="cpu", range="minmax", even_channels=False)
    mine = values(exact)
    for histogram in report["histograms"]:
        seen = mine[histogram["tensor"]]
        assert (histogram["low"], histogram["high"]) == pytest.approx((seen.min(), seen.max()))
        counts, _ = np.histogram(seen, 64, (seen.min(), seen.max()))
        assert sum(histogram["counts"]) == seen.size
        assert np.abs(np.cumsum(counts) - np.cumsum(histogram["counts"])).max() < 0.05 * seen.size
    weights = {entry["tensor"]: entry for entry in report["channels"] if entry["kind"] == "weight"}
    spread = np.array(weights["wide"]["high"]) - np.array(weights["wide"]["low"])
    assert int(spread.argmax()) == 5 and spread[5] > 20 * np.delete(spread, 5).max()
    activations = {entry["node"]: entry for entry in report["channels"] if entry["kind"] == "activation"}
    two = np.concatenate([f["x"] for f in FEEDS[::NODES_MEASURED]])
    assert activations["stem"]["low"] == pytest.approx(two.min(axis=(0, 2, 3)), rel=1e-3)
    assert activations["stem"]["together"] == 1


def channel_loss(expected: Array, actual: Array) -> float:
    """Mean over channels of noise by signal, of a signal that is no less than a thousandth of the mean one."""
    axes = (0, 2, 3) if expected.ndim == 4 else None
    signal, noise = np.square(expected).sum(axis=axes), np.square(expected - actual).sum(axis=axes)
    return float(np.mean(noise / (signal + 1e-3 * np.mean(signal))))


def test_what_a_node_would_gain_in_float() -> None:
    """Against modules in which that node is float: with these ranges nothing else depends on what is quantized."""
    exact, module, report = quantized(target="cpu", range="minmax", sensitivity=True)
    found = report["sensitivity"]
    assert found["samples"] == len(FEEDS) and len(found["nodes"]) == len(report["nodes"])
    gains = [node["gain_db"] for node in found["nodes"]]
    assert gains == sorted(gains, reverse=True) and gains[0] > 1
    mine, last = values(exact), exact.main.outputs[1].name

    def losses(quantized: Module) -> Array:
        theirs = values(quantized)
        pairs = [(mine[name], theirs[name]) for name in ("head", last)]
        per_sample = [[channel_loss(a[i : i + 1], b[i : i + 1]) for a, b in pairs] for i in range(len(FEEDS))]
        return np.asarray(np.mean(per_sample, axis=1))

    whole = losses(module)
    assert found["sqnr_db"] == pytest.approx(-10 * np.log10(whole).mean(), abs=0.01)
    for node in found["nodes"]:
        without = losses(quantized(target="cpu", range="minmax", skip=(node["name"],))[1])
        assert node["gain_db"] == pytest.approx(10 * np.log10(whole / without).mean(), abs=0.01), node
    for entry in found["together"]:
        names = tuple(node["name"] for node in found["nodes"][: entry["count"]])
        without = losses(quantized(target="cpu", range="minmax", skip=names)[1])
        assert entry["gain_db"] == pytest.approx(10 * np.log10(whole / without).mean(), abs=0.01)
    assert sum(node["cost_percent"] for node in found["nodes"]) == pytest.approx(100, abs=0.1)


def test_what_a_node_would_gain_where_everything_is_integers() -> None:
    _, _, report = quantized(target="rk3588", range="minmax", sensitivity=True, least_cosine=0.0)
    found = report["sensitivity"]["nodes"]
    assert {node["name"] for node in found} == {node["name"] for node in report["nodes"]}
    assert found[0]["gain_db"] > 0.25


@pytest.mark.parametrize(("target", "placement"), [("cpu", "compute"), ("cpu", "all"), ("rk3588", "all")])
def test_the_first_together_is_the_first_alone(target: str, placement: Any) -> None:
    """Measured in another way: the first by a run that branches off, the other in a model with this node in float."""
    _, _, report = quantized(target=target, placement=placement, range="minmax", sensitivity=True, least_cosine=0.0)
    found = report["sensitivity"]
    assert found["together"][0]["count"] == 1
    assert found["together"][0]["gain_db"] == pytest.approx(
        found["nodes"][0]["gain_db"], abs=0.02 if target == "cpu" else 0.1
    )


def test_nothing_is_measured_that_was_not_asked_for() -> None:
    _, _, report = quantized(target="cpu")
    assert "sensitivity" not in report
    _, _, report = quantized(target="cpu", quality=False)
    assert report["outputs"] == [] and "histograms" not in report
    assert all("quality" not in node and "accumulated" not in node for node in report["nodes"])
    assert all(entry["codes"] > 1 for node in report["nodes"] for entry in node["activations"].values())


def test_the_page_shows_what_the_report_says() -> None:
    _, _, report = quantized(target="cpu", range="minmax", sensitivity=True)
    page = parse_page(quantization_page(report, "tiny <model> & more"))
    alone = sorted(node["quality"]["sqnr_db"] for node in report["nodes"])
    worst = page.tables["The 4 nodes that lose most alone"]
    assert [float(row[2]) for row in worst] == [round(v, 1) for v in alone]
    gain = {node["name"]: node["gain_db"] for node in report["sensitivity"]["nodes"]}
    assert all(float(row[9]) == pytest.approx(gain[row[0]], abs=0.006) for row in worst)
    assert [row[0] for row in page.tables["All nodes"]] == ["stem", "uneven", "project", "head"]
    told = " ".join(quantization_page(report).split())
    assert "Activations: i8, with zero points. Weights: i8, one scale for each output channel" in told
    assert "<b>100 %</b><span>of the multiply-adds on integers</span>" in told
    assert "Ranges were chosen by minmax: from the least to the greatest value seen." in told
    depth, pareto, *others = page.plots
    assert len(depth.findall(f"{SVG}circle")) == 2 * len(report["nodes"])
    points = [c for c in pareto.findall(f"{SVG}circle") if c.attrib["fill"] == BLUE]
    assert [p.findtext(f"{SVG}title", "").split(" ")[0] for p in points] == list(gain)
    histograms, channels = others[: len(report["histograms"])], others[len(report["histograms"]) :]
    for plot, histogram in zip(histograms, report["histograms"], strict=True):
        bars = [r for r in plot.findall(f"{SVG}rect") if r.find(f"{SVG}title") is not None]
        assert len(bars) == sum(count > 0 for count in histogram["counts"])
        assert len([line for line in plot.findall(f"{SVG}line") if line.get("stroke") == RED]) == 2
    boxes = [len(p.findall(f"{SVG}rect")) - 1 for p in channels[: len(report["channels"])]]  # one is the legend's
    assert boxes == [len(each["low"]) for each in report["channels"]]
    assert {r.attrib["fill"] for p in channels for r in p.findall(f"{SVG}rect")} >= {BLUE, GREEN, RED}


def test_what_has_no_error_does_not_stretch_the_plot() -> None:
    """It stands at the upper edge, and the line goes through the others."""
    _, _, report = quantized(target="cpu")
    report["nodes"][1]["quality"] = {"sqnr_db": None, "cosine": 1.0, "mean_shift": 0.0}
    (depth, *_) = parse_page(quantization_page(report)).plots
    heights = {c.findtext(f"{SVG}title", ""): float(c.attrib["cy"]) for c in depth.findall(f"{SVG}circle")}
    assert min(heights.values()) == next(y for title, y in heights.items() if "exact" in title)
    lines = depth.findall(f"{SVG}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [len(report["nodes"]) - 1, len(report["nodes"])]
    labels = [float(text.text or "") for text in depth.findall(f"{SVG}text") if (text.text or "").isdigit()]
    assert max(labels) < 100


def found(*gains: float) -> dict[str, Any]:
    nodes = [{"name": f"n{i}", "gain_db": 1.0, "cost_percent": 2.0} for i in range(8)]
    together = [{"count": i + 1, "gain_db": gain, "cost_percent": 2.0 * i} for i, gain in enumerate(gains)]
    return {"nodes": nodes, "together": together, "samples": 8, "sqnr_db": 20.0}


def test_advice_is_the_best_that_was_measured() -> None:
    assert "with the first 2 of the list in float: +5.0 dB for 2 % of the operations (n0, n1)" in advice(found(3, 5, 4))
    assert "Nothing that was tried in float gains 1 dB" in advice(found(0.2, -3))
    assert "Nothing that was tried in float gains 1 dB" in advice(found())


def test_a_page_of_a_report_without_measurements() -> None:
    _, _, report = quantized(target="cpu", quality=False)
    page = parse_page(quantization_page(report))
    assert len(page.tables["All nodes"]) == 4 and page.plots == []


def test_csv_has_a_row_for_every_activation() -> None:
    _, _, report = quantized(target="cpu", sensitivity=True)
    report["nodes"][0]["name"] = "=HYPERLINK(1)"
    rows = list(csv.DictReader(io.StringIO(quantization_csv(report))))
    entries = [(node, entry) for node in report["nodes"] for entry in node["activations"].values()]
    assert len(rows) == len(entries) and rows[0]["name"] == "'=HYPERLINK(1)"
    for row, (node, entry) in zip(rows, entries, strict=True):
        assert float(row["scale"]) == entry["scale"] and float(row["range_high"]) == entry["range"][1]
        assert float(row["accumulated_sqnr_db"]) == node["accumulated"]["sqnr_db"]
        assert int(row["codes"]) == entry["codes"] and row["tensor"] == entry["tensor"]
    assert float(rows[1]["gain_db"]) == next(
        n["gain_db"] for n in report["sensitivity"]["nodes"] if n["name"] == report["nodes"][1]["name"]
    )
