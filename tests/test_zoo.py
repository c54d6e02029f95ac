"""The zoo itself: models come, inputs are what the models take, outputs can tell right from wrong."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# numpy's and onnx's own annotations leave type arguments open, and onnxruntime has none.

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from tests import zoo, zoo_feeds

MODELS = zoo.models()
UNIFORM = {name for name, model in MODELS.items() if "light" in model.tags}


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path: Path, feeds: zoo.Feeds) -> dict[str, npt.NDArray[np.float32]]:
    runner = session(path)
    names = [output.name for output in runner.get_outputs()]
    return {name: np.asarray(value) for name, value in zip(names, runner.run(names, feeds), strict=True)}


@pytest.mark.parametrize("name", MODELS)
def test_feeds_are_deterministic_and_have_the_stated_shapes(name: str) -> None:
    model = MODELS[name]
    first, again, other = model.feeds(3), model.feeds(3), model.feeds(4)
    assert {key: value.shape for key, value in first.items()} == dict(model.shapes)
    for key, value in first.items():
        np.testing.assert_array_equal(value, again[key])
    assert any(not np.array_equal(value, other[key]) for key, value in first.items())


def test_calibration_is_apart_from_the_test_inputs() -> None:
    model = MODELS["ppocr_cls"]
    calibration = [feeds["x"].tobytes() for feeds in model.calibration(4)]
    assert len(set(calibration)) == 4
    assert not set(calibration) & {model.feeds(seed)["x"].tobytes() for seed in range(8)}


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_runs_the_model_and_its_outputs_mean_something(name: str) -> None:
    model = MODELS[name]
    samples = [run(model.path, model.feeds(seed)) for seed in range(4)]
    for key, value in samples[0].items():
        assert np.isfinite(value).all()
        if name in UNIFORM:
            continue  # their weights are constants, which is why the `real` models exist beside them
        spread = value.std()
        assert spread > 1e-4, f"{key} is (nearly) constant: every comparison of it would pass"
        assert any(np.abs(value - other[key]).max() > 0.01 * spread for other in samples[1:]), (
            f"{key} ignores the input"
        )


@pytest.mark.parametrize("name", ["bert", "yolo"])
def test_exported_models_answer_as_pytorch_did(name: str) -> None:
    inputs, expected = zoo.torch_reference(name)
    for key, value in run(MODELS[name].path, inputs).items():
        wanted = np.asarray(expected[key], np.float32)
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-4 * float(np.abs(wanted).max()))


def test_text_direction_examples_are_classified_as_their_names_say() -> None:
    folder = zoo_feeds.EXAMPLES / "images"
    expected = {folder / "text_line.png": 0, folder / "text_line_rotated.png": 1}
    expected |= {path: int(path.stem.endswith("_180")) for path in (folder / "calibration").glob("*.png")}
    assert len(expected) == 18
    runner = session(zoo_feeds.EXAMPLES / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx")
    for path, label in expected.items():
        upright = zoo_feeds.load_bgr(path)
        for image, want in ((upright, label), (upright[::-1, ::-1], 1 - label)):
            line = zoo_feeds.preprocess_text_line(np.ascontiguousarray(image), 192)
            probabilities = np.asarray(runner.run(None, {"x": line})[0])[0]
            assert probabilities.argmax() == want, f"{path.name}: {probabilities}"


def test_example_model_is_the_pinned_file() -> None:
    example = zoo_feeds.EXAMPLES / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    assert example.read_bytes() == MODELS["ppocr_cls"].path.read_bytes()


def test_concurrent_fetches_share_one_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UAIR_CACHE", str(tmp_path / "cache"))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(MODELS["basic_pitch"].path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1
    assert found[0].is_relative_to(tmp_path / "cache")
    assert not list((tmp_path / "cache" / "tmp").iterdir())


def test_unreachable_registry_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UAIR_CACHE", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nothing listens
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(zoo.ZooError, match=r"could not download basic-pitch 0\.4\.0(.|\n)*PIP_INDEX_URL"):
        _ = MODELS["basic_pitch"].path


def test_another_file_under_the_pinned_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UAIR_CACHE", str(tmp_path))
    real = zoo.PACKAGE_FILES["basic_pitch"]
    pinned = zoo.PackageFile(real.package, real.version, real.member, "0" * 64)
    monkeypatch.setitem(zoo.PACKAGE_FILES, "basic_pitch", pinned)
    with pytest.raises(zoo.ZooError, match="pinned is 0000"):
        pinned.fetch()
    assert not list((tmp_path / "packages").rglob("*.onnx"))


def test_command_line_lists_and_refuses_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo.main(["--list", "--skip", "torch"]) == 0
    listed = capsys.readouterr().out
    assert "ppocr_det" in listed and "yolo" not in listed
    assert zoo.main(["--fetch", "light_squeezenet"]) == 0
    assert "Conv:26" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        zoo.main(["--fetch", "nonesuch"])
    assert "no model is called nonesuch" in capsys.readouterr().err
