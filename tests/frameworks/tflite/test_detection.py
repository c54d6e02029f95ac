"""TFLite_Detection_PostProcess, the end of SSD detectors, against LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers  # type: ignore[import-untyped]

import uair
from tests.frameworks.tflite.build import Value, built, of
from tests.frameworks.tflite.harness import LiteRT, load
from uair.frontends.tflite import flex

BOXES, CLASSES = 60, 5
OPTIONS: dict[str, Any] = {
    "max_detections": 12, "max_classes_per_detection": 1, "detections_per_class": 8, "use_regular_nms": False,
    "nms_score_threshold": 0.3, "nms_iou_threshold": 0.45, "num_classes": CLASSES,
    "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
}  # fmt: skip


def payload(**changed: Any) -> bytes:
    return bytes(flexbuffers.Dumps({**OPTIONS, **changed}))


def content(options: bytes, background: int = 0, numbers: int = 4, per: int = 1) -> bytes:
    rng = np.random.default_rng(3)
    anchors = np.concatenate([rng.uniform(0.2, 0.8, (BOXES, 2)), rng.uniform(0.2, 0.5, (BOXES, 2))], 1)
    operands = [Value((1, BOXES, numbers)), Value((1, BOXES, CLASSES + background)), of(anchors.astype(np.float32))]
    most = OPTIONS["max_detections"] * per
    results = [Value((1, most, 4)), Value((1, most)), Value((1, most)), Value((1,))]
    return built("CUSTOM", operands, results, custom="TFLite_Detection_PostProcess", payload=options)


@pytest.mark.parametrize("least", [0.3, 0.9, 1.5])
@pytest.mark.parametrize(("apart", "background", "numbers"), [(False, 0, 4), (False, 1, 4), (True, 1, 4), (True, 0, 6)])
def test_best_boxes(tmp_path: Path, apart: bool, background: int, numbers: int, least: float) -> None:
    file = content(payload(use_regular_nms=apart, nms_score_threshold=least), background, numbers)
    module = load(tmp_path, file)
    rng = np.random.default_rng(5)
    inputs = [
        rng.normal(size=(1, BOXES, numbers)).astype(np.float32),
        rng.random((1, BOXES, CLASSES + background)).astype(np.float32),
    ]
    wanted = LiteRT(file)(inputs)
    count = int(wanted[3][0])
    assert (count == 0) == (least > 1)
    for each in (module, uair.optimize(module.clone())):
        found = list(uair.run(each, dict(zip(each.main.input_names, inputs, strict=True))).values())
        assert [f.shape for f in found] == [w.shape for w in wanted]
        np.testing.assert_array_equal(found[3], wanted[3])
        for ours, theirs in zip(found[:3], wanted[:3], strict=True):
            np.testing.assert_allclose(ours[:, :count], theirs[:, :count], rtol=1e-5, atol=1e-6)
            assert not ours[:, count:].any()


@pytest.mark.parametrize("background", [0, 1])
@pytest.mark.parametrize("per", [2, CLASSES, CLASSES + 2])
@pytest.mark.parametrize("least", [0.3, 0.93, 1.5])
def test_several_classes_of_a_box(tmp_path: Path, per: int, background: int, least: float) -> None:
    """What LiteRT leaves unwritten, behind the classes that there are and the last box, is not compared."""
    file = content(payload(max_classes_per_detection=per, nms_score_threshold=least), background, 4, per)
    module = load(tmp_path, file)
    rng = np.random.default_rng(6)
    inputs = [
        rng.normal(size=(1, BOXES, 4)).astype(np.float32),
        rng.random((1, BOXES, CLASSES + background)).astype(np.float32),
    ]
    wanted = LiteRT(file)(inputs)
    count, known = int(wanted[3][0]), min(per, CLASSES)
    assert (count == 0) == (least > 1) and count <= OPTIONS["max_detections"]
    for each in (module, uair.optimize(module.clone())):
        found = list(uair.run(each, dict(zip(each.main.input_names, inputs, strict=True))).values())
        assert [f.shape for f in found] == [w.shape for w in wanted]
        np.testing.assert_array_equal(found[3], wanted[3])
        for ours, theirs in zip(found[:3], wanted[:3], strict=True):
            mine, other = (t.reshape(OPTIONS["max_detections"], per, -1) for t in (ours, theirs))
            np.testing.assert_allclose(mine[:count, :known], other[:count, :known], rtol=1e-5, atol=1e-6)
            assert not mine[count:].any() and not mine[:, known:].any()


def test_numbers_of_all_widths() -> None:
    values = {"a": 1, "bb": -70000, "c": 2**40, "d": 0.5, "e": 1.1, "f": True, "g": "text", "h": [1, 2]}
    read = flex.numbers(bytes(flexbuffers.Dumps(values)))
    assert read == {k: v for k, v in values.items() if k not in "gh"}


def test_damaged_options(tmp_path: Path) -> None:
    whole = payload()
    for options in (b"", whole[:-1], whole[40:], bytes(len(whole)), whole[:-3] + b"\xff\x27\x01"):
        with pytest.raises(uair.UairError):
            load(tmp_path, content(options))
    for changed in ({"max_detections": 0}, {"num_classes": 9}, {"max_classes_per_detection": 0}):
        with pytest.raises(uair.UairError, match="UAIR-E0122"):
            load(tmp_path, content(payload(**changed)))


def test_any_bytes_are_read_or_refused() -> None:
    whole, rng = payload(), np.random.default_rng(0)
    for _ in range(2000):
        changed = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            changed[at] = rng.integers(0, 256)
        try:
            flex.numbers(bytes(changed))
        except uair.UairError as error:
            assert "FlexBuffers" in str(error)
