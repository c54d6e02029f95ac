"""`uair report`: what quantization did, from an artifact, its report.json, or a report of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.helpers import Shell
from tests.report.helpers import parse_page


@pytest.fixture
def quantized(uair: Shell, tiny: Path, tmp_path: Path) -> Path:
    """An artifact of the tiny model in INT8."""
    np.savez(tmp_path / "samples.npz", x=np.random.default_rng(1).normal(size=(8, 3, 8, 8)).astype(np.float32))
    options = ["--quantize", "int8", "--calib", "samples.npz", "--shape", "x=1,3,8,8", "--sensitivity"]
    uair("compile", tiny, "-t", "cpu", "-o", "art", *options).require()
    return tmp_path / "art"


def test_an_artifact_and_its_report(uair: Shell, quantized: Path, tmp_path: Path) -> None:
    report = uair("report", quantized, "--json").require().json
    assert report == json.loads((quantized / "report.json").read_text())["quantization"]
    assert uair("report", quantized / "report.json", "--json").require().json == report
    text = uair("report", quantized, "--html", "page.html", "--csv", "nodes.csv").require().out
    assert "2 nodes on integers" in text and "What float would gain" in text
    for node in report["nodes"]:
        assert f"{node['quality']['sqnr_db']:.1f}" in text
    page = (tmp_path / "page.html").read_text("utf-8")
    assert len(parse_page(page).tables["All nodes"]) == 2
    assert page.count("<table>") == page.count('<div class="wide" tabindex="0"><table>')  # scrolled by keys as well
    assert len((tmp_path / "nodes.csv").read_text().splitlines()) == 3
    assert (
        len(uair("report", quantized, "--worst", "1").out.split("alone on integers:")[1].split("\n\n")[1].splitlines())
        == 3
    )


def test_what_uair_quantize_writes(uair: Shell, quantized: Path, tiny: Path) -> None:
    given = ["--calib", "samples.npz", "--shape", "x=1,3,8,8", "-o", "q.onnx", "--report", "q.json"]
    uair("quantize", tiny, *given).require()
    text = uair("report", "q.json").require().out
    assert "2 nodes on integers" in text and "What float would gain" not in text
    for kind in ("html", "csv"):
        uair("quantize", tiny, *given[:-1], f"q.{kind}", "--overwrite").require()
        uair("report", "q.json", f"--{kind}", f"same.{kind}").require()
    assert Path("q.csv").read_text() == Path("same.csv").read_text()
    assert parse_page(Path("q.html").read_text()).tables == parse_page(Path("same.html").read_text()).tables


def test_what_is_no_report(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    for name, content in {
        "broken.json": "{",
        "list.json": "[]",
        "other.json": '{"quantization": null}',
        "odd.json": '{"summary": {}, "nodes": [1]}',
        "odder.json": '{"quantization": {"summary": 3, "nodes": {"a": []}}}',
    }.items():
        (tmp_path / name).write_text(content)
        assert "UAIR-E0906" in uair("report", name).require(1).err
        assert "UAIR-E0906" in uair("report", name, "--html", "x.html").require(1).err
        assert not (tmp_path / "x.html").exists()
    assert "UAIR-E0906 'nowhere.json' is not there" in uair("report", "nowhere.json").require(1).err
    assert "UAIR-E0906" in uair("report", tiny).require(1).err
    Path("model.bin").write_bytes(b"\xbc\xff")
    assert "neither an artifact nor a report" in uair("report", "model.bin").require(1).err
    uair("compile", tiny, "-t", "cpu", "--shape", "x=1,3,8,8", "-o", "float").require()
    assert "--quantize int8" in uair("report", "float").require(1).err
