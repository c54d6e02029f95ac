"""A SavedModel that a real package carries, against TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import uair
from tests.zoo_tensorflow import basic_pitch
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of


def test_basic_pitch(tmp_path: Path) -> None:
    """Notes in two seconds of sound: a chain of resampling filters, wavelets, and a net over harmonics."""
    path = basic_pitch(tmp_path)
    module = uair.load(path)
    verify(module)
    assert module.main.input_names == ["input_2"] and sorted(module.main.output_names) == ["contour", "note", "onset"]
    time = np.arange(43844, dtype=np.float32) / 22050
    tones = [np.sin(2 * np.pi * f * time) * np.exp(-time) for f in (220.0, 330.0, 523.25)]
    noise = np.random.default_rng(0).normal(size=(2, 43844)).astype(np.float32)
    x = (0.2 * np.stack([tones[0] + tones[1], tones[2]]) + 0.01 * noise)[..., None].astype(np.float32)
    wanted = _tensorflows(path, x)
    optimized = uair.optimize(module.clone())
    for each in (module, parse_module(print_module(module), weights=weights_of(module)), optimized):
        results = uair.run(each, {"input_2": x})
        for name, reference in wanted.items():
            assert np.ptp(reference) > 0.05
            assert np.abs(results[name] - reference).max() <= 1e-4 * np.abs(reference).max(), name
    kinds = [node.op_type for node in optimized.main]
    assert kinds.count("Transpose") == 1  # in front of the reductions over time and frequency
    assert kinds.count("Conv2D") == 32 and len(kinds) <= 170


def _tensorflows(path: Path, x: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """In a session: tf.saved_model.load also wants Keras 2's optimizer, whose state the file holds."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(path)).signature_def
        signature = signatures["serving_default"]
        (given,) = signature.inputs.values()
        outputs = {name: info.name for name, info in signature.outputs.items()}
        return dict(session.run(outputs, {given.name: x}))
