"""`uair check` and `uair targets`."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.cli.helpers import EXAMPLE, EXAMPLE_SHAPE, Shell, tiny_model
from uair.builtin import TARGETS

DEVICES = ("ascend310", "rk3588")


def write_unsupported(folder: Path) -> Path:
    """A model with operators that the vendors do not take, behind ones that they take."""
    model = tiny_model()
    model.graph.node.append(helper.make_node("NonZero", ["y"], ["z"], name="strange[bold]"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", TensorProto.INT64, [2, "n"]))
    path = folder / "strange.onnx"
    onnx.save(model, path)
    return path


def test_all_targets(uair: Shell) -> None:
    result = uair("check", EXAMPLE, "--shape", EXAMPLE_SHAPE)
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0].split() == [
        "target",
        "supported",
        "partial",
        "unknown",
        "unsupported",
        "on",
        "device",
        "activations",
    ]
    assert [line.split()[0] for line in lines[2 : 2 + len(TARGETS)]] == sorted(TARGETS)
    assert all(len(line) <= 80 for line in lines[: 2 + len(TARGETS)])


def test_what_is_not_taken_has_status_3(uair: Shell, tmp_path: Path) -> None:
    model = write_unsupported(tmp_path)
    result = uair("check", model, "-t", "ascend310", "--shape", "x=1,3,8,8").require(3)
    text = " ".join(result.out.split())
    assert "unsupported: 1 x NonZero: " in text
    assert "nodes strange[bold]" in text
    assert uair("check", model, "-t", "cpu").status == 0
    assert uair("check", model, "-t", "cpu", "-t", "ascend310").status == 3


def test_json(uair: Shell, tmp_path: Path) -> None:
    model = write_unsupported(tmp_path)
    reports = uair("check", model, "-t", "cpu", "-t", "rk3588", "--json").require(3).json
    assert set(reports) == {"cpu", "rk3588"}
    assert reports["cpu"]["fits"] is True
    assert reports["rk3588"]["unbound"] == {"x": "f32[N,3,8,8]"}
    refused = [n for n in reports["rk3588"]["nodes"] if n["support"] == "unsupported"]
    assert [n["operator"] for n in refused] == ["NonZero"]


def test_all_nodes_are_listed_when_asked_for(uair: Shell, tiny: Path) -> None:
    few = uair("check", tiny, "-t", "cpu").require().out
    many = uair("check", tiny, "-t", "cpu", "--all-nodes").require().out
    assert many.startswith(few)
    assert "conv1" not in few and "conv1" in many


def test_open_sizes_are_named(uair: Shell, tiny: Path) -> None:
    out = " ".join(uair("check", tiny, "-t", "ascend310").out.split())
    assert "open sizes: input x is f32[N,3,8,8]" in out and "--shape x=..." in out


def test_an_unknown_target(uair: Shell, tiny: Path) -> None:
    result = uair("check", tiny, "-t", "rk3589").require(1)
    assert result.err.startswith("UAIR-E0003") and "rk3588" in result.err


def test_targets_are_listed(uair: Shell) -> None:
    out = uair("targets").require().out
    assert [line.split()[0] for line in out.splitlines()[2:]] == sorted(TARGETS)
    described = uair("targets", "--json").require().json
    assert set(described) == set(TARGETS)
    assert "Conv3D" in described["ascend310"]["operators"]


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_target_is_described(uair: Shell, name: str) -> None:
    result = uair("targets", name).require()
    assert result.out.startswith(f"{name}: ")
    assert all(len(line) <= 80 for line in result.out.splitlines())
    assert set(uair("targets", name, "--json").require().json) == {name}
