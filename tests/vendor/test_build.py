"""`uair build` with the vendors' real tools: built, read back, and refused in UAIR's words."""

from __future__ import annotations

from pathlib import Path

import pytest

import uair
from tests import zoo
from tools import rknn_env
from uair.building import examine
from uair.targets.build import BuildFailed
from uair.vendor import Limits

pytestmark = pytest.mark.vendor

LEAST_COSINE = 0.999


@pytest.fixture(autouse=True)
def vendors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools are where the tests' vendor environments are."""
    monkeypatch.setenv("UAIR_VENDOR_HOME", str(rknn_env.home()))


def compiled(target: str, folder: Path) -> uair.Artifact:
    model = zoo.models()["ppocr_cls"]
    return uair.compile(model.path, target, output=folder, shapes=dict(model.shapes), golden=model.feeds(0))


@pytest.mark.parametrize("target", ["rk3588", "x86_ref", "cpu"])
def test_built_and_read_back(target: str, tmp_path: Path) -> None:
    (result,) = uair.build(compiled(target, tmp_path / "artifact"))
    assert result.files and result.checked and result.version
    if target != "cpu":
        assert min(row["cosine"] for row in result.read_back["simulated"]) > LEAST_COSINE


def test_linked_for_risc_v(tmp_path: Path) -> None:
    target = "c920"
    (result,) = uair.build(compiled(target, tmp_path / "artifact"))
    assert (result.folder / "model").read_bytes()[:20].startswith(b"\x7fELF")


def test_the_toolkit_refuses_in_our_words(tmp_path: Path) -> None:
    import onnx

    artifact = compiled("rk3588", tmp_path / "artifact")
    path = artifact.root / "model.onnx"
    model = onnx.load(path)
    model.opset_import[0].version = 22
    onnx.save(model, path)
    with pytest.raises(BuildFailed) as caught:
        uair.build(artifact)
    assert "the toolkit reads ONNX up to opset 19, the model is at 22" in caught.value.window


def test_a_limit_stops_the_toolkit(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="stopped at the memory limit"):
        uair.build(compiled("rk3588", tmp_path / "artifact"), limits=Limits(memory=64 << 20))


def test_doctor_finds_what_is_installed() -> None:
    found = {health.target: health for health in examine(["rk3588", "x86_ref", "cpu"])}
    assert all(health.can_build and health.checked for health in found.values())
