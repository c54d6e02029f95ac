"""The user's own threshold of quantization: through the API and the command line, over the device file's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uair
from tests.quant.test_mixed_precision import CHANNELS, model, samples
from uair.cli import main
from uair.quant.errors import SchemeError
from uair.text import save

TARGETS = {"cpu": 0.0, "rk3588": 0.995}
"""Targets, and the threshold of their device files."""


def compiled(target: str, least: float | None) -> dict[str, Any]:
    """The quantization report."""
    quantize = uair.Int8(samples(4), least_cosine=least)
    artifact = uair.compile(model(), target, quantize=quantize, golden=False)
    report: dict[str, Any] = json.loads(artifact.file("report.json").read_text("utf-8"))["quantization"]
    return report


@pytest.mark.parametrize("target", TARGETS)
def test_none_is_the_device_file(target: str) -> None:
    assert compiled(target, None) == compiled(target, TARGETS[target])


@pytest.mark.parametrize("target", TARGETS)
def test_the_more_is_asked_for_the_more_stays_float(target: str) -> None:
    loose, strict = compiled(target, 0.0), compiled(target, 0.99)
    assert strict["summary"]["quantized"] < loose["summary"]["quantized"]
    assert strict["summary"]["outputs"]["y"]["cosine"] > loose["summary"]["outputs"]["y"]["cosine"]
    assert any("stays float" in each["reason"] for each in strict["skipped"])
    assert not any("stays float" in each["reason"] for each in loose["skipped"])


@pytest.mark.parametrize("least", [-0.1, 1.5, float("nan")])
def test_no_cosine(least: float) -> None:
    with pytest.raises(SchemeError, match="least_cosine is"):
        uair.compile(model(), "cpu", quantize=uair.Int8(samples(1), least_cosine=least))


@pytest.mark.parametrize("target", ["horizon_x3"])
def test_a_tool_that_quantizes_by_itself_has_no_threshold(target: str) -> None:
    with pytest.raises(SchemeError, match=f"'{target}' the vendor's tool decides"):
        uair.compile(model(), target, quantize=uair.Int8(samples(1), least_cosine=0.9))


def test_a_tool_that_is_told_which_nodes_have_sixteen_bits_has_one(tmp_path: Path) -> None:
    quantize = uair.Int8(samples(4), least_cosine=0.999)
    artifact = uair.compile(model(), "horizon_j5", output=tmp_path / "artifact", quantize=quantize, golden=False)
    assert "int16" in artifact.file("config.yaml").read_text("utf-8")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(model(), tmp_path / "m.uair")
    np.savez(tmp_path / "x.npz", x=np.stack([s["x"] for s in samples(4)]).reshape(4, CHANNELS, 6, 6)[:, None])
    arguments = ["compile", str(tmp_path / "m.uair"), "-t", "cpu", "--no-golden", "--json", "--quantize", "int8"]
    arguments += ["--calib", str(tmp_path / "x.npz"), "-o"]
    quantized = []
    for name, option in (("plain", []), ("strict", ["--least-cosine", "0.999"])):
        assert main([*arguments, str(tmp_path / name), *option]) == 0
        quantized.append(json.loads(capsys.readouterr().out)["quantization"])
    assert quantized[1]["quantized"] < quantized[0]["quantized"]
    assert "least-cosine=0.999" in quantized[1]["pass"] and "least-cosine" not in quantized[0]["pass"]
    assert quantized[1]["budget"]["cosine"] >= 0.999 and "budget" not in quantized[0]
    told = ["quantize", str(tmp_path / "m.uair"), "--calib", str(tmp_path / "x.npz"), "-o", str(tmp_path / "q.onnx")]
    assert main([*told, "-t", "rk3588", "--least-cosine", "0.99", "--most-float", "0.05"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "Asked for: every output at a cosine of 0.99 or more (the lowest on 4 calibration samples is 0." in words
    assert "and at most 0.05 of the multiply-adds in float. Spent: 0.00% of the multiply-adds are in f16." in words
    assert main([*arguments, str(tmp_path / "bad"), "--least-cosine", "2"]) == 2
    capsys.readouterr()
    assert main(["compile", str(tmp_path / "m.uair"), "-t", "cpu", "--least-cosine", "0.9"]) == 2
    assert "--least-cosine is for quantization" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("least", "mode"), [(0.5, "qint8_mixed_float16"), (0.99999, "qint16_mixed_float16")])
def test_a_tool_with_one_precision_gets_sixteen_bits_throughout(tmp_path: Path, least: float, mode: str) -> None:
    quantize = uair.Int8(samples(4), least_cosine=least)
    artifact = uair.compile(model(), "mlu370", output=tmp_path / "artifact", quantize=quantize, golden=False)
    precision = json.loads(artifact.file("build.json").read_text("utf-8"))["precision_config"]
    assert precision["precision_mode"] == mode
    ranges = json.loads(artifact.file("ranges.json").read_text("utf-8"))["tensors"]
    is_wide = mode.startswith("qint16")
    assert any(each["dtype"] == "i16" for each in ranges.values()) == is_wide
    for each in ranges.values():
        most = {"i8": 127, "i16": 32767}[each["dtype"]]
        assert each["max"] == pytest.approx(each["scale"] * most)
    assert ("F, 0, 16, " in artifact.file("set_ranges.h").read_text("utf-8")) == is_wide


def test_the_users_precision_stays(tmp_path: Path) -> None:
    artifact = uair.compile(
        model(), "mlu370", output=tmp_path / "artifact", quantize=uair.Int8(samples(4), least_cosine=0.99999),
        options={"precision_mode": "qint16_mixed_float32"}, golden=False,
    )  # fmt: skip
    precision = json.loads(artifact.file("build.json").read_text("utf-8"))["precision_config"]
    assert precision["precision_mode"] == "qint16_mixed_float32"
