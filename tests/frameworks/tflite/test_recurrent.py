"""Recurrent operators, which converters before Keras 3 wrote, against LiteRT."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.frameworks.tflite.build import Value, built, of
from tests.frameworks.tflite.harness import check, convert, kinds, load, spec
from uair.frontends.common.errors import SourceOperatorError

RNG = np.random.default_rng(5)
STEPS, BATCH, IN, HIDDEN = 5, 2, 3, 4


def f32(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def layer(gates: Sequence[int], peepholes: bool = False) -> list[Value | None]:
    """Weights, recurrence, peepholes, biases and projection of the gates input, forget, cell, output."""
    weights = [of(f32(HIDDEN, IN)) if g in gates else None for g in range(4)]
    recurrence = [of(f32(HIDDEN, HIDDEN)) if g in gates else None for g in range(4)]
    looks = [of(f32(HIDDEN)) if peepholes and g in gates else None for g in (0, 1, 3)]
    biases = [of(f32(HIDDEN)) if g in gates else None for g in range(4)]
    return [*weights, *recurrence, *looks, *biases, None, None]


def state() -> Value:
    return Value((BATCH, HIDDEN), variable=True)


ALL, COUPLED = (0, 1, 2, 3), (1, 2, 3)


@pytest.mark.parametrize(
    ("gates", "peepholes", "time_major", "clip"),
    [(ALL, False, False, 10.0), (ALL, True, True, 0.0), (COUPLED, False, True, 0.0), (COUPLED, True, False, 0.0)],
)
def test_sequence_lstm(tmp_path: Path, gates: Sequence[int], peepholes: bool, time_major: bool, clip: float) -> None:
    """One LSTM, whole."""
    first = (STEPS, BATCH) if time_major else (BATCH, STEPS)
    content = built(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        [Value((*first, IN)), *layer(gates, peepholes), state(), state()],
        [Value((*first, HIDDEN))],
        "UnidirectionalSequenceLSTM",
        {"fusedActivationFunction": 4, "timeMajor": time_major, "cellClip": clip},
    )
    module = check(tmp_path, content)
    assert kinds(module).count("LSTM") == 1 and "states" not in module.metadata


@pytest.mark.parametrize("merged", [True, False])
def test_bidirectional_lstm(tmp_path: Path, merged: bool) -> None:
    results = [Value((STEPS, BATCH, 2 * HIDDEN))] if merged else [Value((STEPS, BATCH, HIDDEN))] * 2
    content = built(
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        [Value((STEPS, BATCH, IN)), *layer(ALL), *layer(ALL), *(state() for _ in range(4)), *[None] * 9],
        results,
        "BidirectionalSequenceLSTM",
        {"fusedActivationFunction": 4, "timeMajor": True, "mergeOutputs": merged},
    )
    assert kinds(check(tmp_path, content)).count("LSTM") == 2


def test_step_of_lstm(tmp_path: Path) -> None:
    """The state of single steps is handed from run to run."""
    content = built(
        "LSTM",
        [Value((BATCH, IN)), *layer(ALL), state(), state()],
        [Value((BATCH, HIDDEN))],
        "LSTM",
        {"fusedActivationFunction": 4},
    )
    module = check(tmp_path, content, runs=4)
    assert [s["initial"] for s in json.loads(module.metadata["states"])] == [0, 0]


def test_sequence_rnn(tmp_path: Path) -> None:
    content = built(
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        [Value((BATCH, STEPS, IN)), of(f32(HIDDEN, IN)), of(f32(HIDDEN, HIDDEN)), of(f32(HIDDEN)), state()],
        [Value((BATCH, STEPS, HIDDEN))],
        "SequenceRNN",
        {"fusedActivationFunction": 4},
    )
    assert "RNN" in kinds(check(tmp_path, content))


def test_step_of_rnn(tmp_path: Path) -> None:
    content = built(
        "RNN",
        [Value((BATCH, IN)), of(f32(HIDDEN, IN)), of(f32(HIDDEN, HIDDEN)), of(f32(HIDDEN)), state()],
        [Value((BATCH, HIDDEN))],
        "RNN",
        {"fusedActivationFunction": 1},
    )
    check(tmp_path, content, runs=3)


@pytest.mark.parametrize("rank", [1, 2])
def test_svdf(tmp_path: Path, rank: int) -> None:
    filters, memory = 6, 3
    content = built(
        "SVDF",
        [
            Value((BATCH, IN)),
            of(f32(filters, IN)),
            of(f32(filters, memory)),
            of(f32(filters // rank)),
            Value((BATCH, filters * memory), variable=True),
        ],
        [Value((BATCH, filters // rank))],
        "SVDF",
        {"rank": rank, "fusedActivationFunction": 1},
    )
    module = check(tmp_path, content, runs=5)
    assert module.main.output_names[-1].endswith("/next")


def test_projection_is_refused(tmp_path: Path) -> None:
    """The message names the operator, its result and what to do."""
    operands = [Value((STEPS, BATCH, IN)), *layer(ALL), state(), state()]
    operands[16] = of(f32(HIDDEN, HIDDEN))
    content = built(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        operands,
        [Value((STEPS, BATCH, HIDDEN))],
        "UnidirectionalSequenceLSTM",
        {"fusedActivationFunction": 4, "timeMajor": True},
    )
    with pytest.raises(SourceOperatorError, match="projection") as caught:
        load(tmp_path, content)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in caught.value.place and caught.value.hint


KERAS: dict[str, tuple[Callable[[], list[Any]], str]] = {
    "last": (lambda: [tf.keras.layers.LSTM(4)], "LSTM"),
    "gru": (lambda: [tf.keras.layers.GRU(4)], "GRU"),
    "sequences": (lambda: [tf.keras.layers.LSTM(4, return_sequences=True)], "LSTM"),
    "both": (lambda: [tf.keras.layers.Bidirectional(tf.keras.layers.GRU(4, return_sequences=True))], "GRU"),
    "in a row": (lambda: [tf.keras.layers.GRU(4, return_sequences=True), tf.keras.layers.LSTM(3)], "LSTM"),
}


@pytest.mark.parametrize("name", KERAS)
def test_keras_layers(tmp_path: Path, name: str) -> None:
    """Keras 3 writes loops that count and fill a list: they are the layers again."""
    make, kind = KERAS[name]
    model = tf.keras.Sequential([tf.keras.layers.Input((5, 3), batch_size=1), *make()])
    for weight in model.weights:
        weight.assign(f32(*weight.shape))
    found = kinds(check(tmp_path, convert(model, spec([1, 5, 3]))))
    assert found.count(kind) == 1 and "Loop" not in found and "Flip" not in found
