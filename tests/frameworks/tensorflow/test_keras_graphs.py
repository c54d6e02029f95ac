"""What Keras 3 spells out in a SavedModel comes back as one operator each, with Keras's own numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import uair
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of

RNG = np.random.default_rng(3)
OPEN = 9
"""Extent that stands for an open one when a model runs."""


def stack(*parts: Any, shape: tuple[int | None, ...]) -> keras.Model:
    """Layers one after the other."""
    given = x = keras.Input(shape)
    for part in parts:
        x = part(x)
    return keras.Model(given, x)


def imported(model: keras.Model, path: Path, tolerance: float = 1e-4) -> uair.Module:
    """The module of the model's SavedModel, checked against the model: as read, printed and parsed, and optimized."""
    for variable in model.variables:
        low, high = (0.5, 2.0) if "variance" in variable.path else (-1.0, 1.0)
        if variable.dtype == "float32":
            variable.assign(RNG.uniform(low, high, variable.shape).astype(np.float32))
    model.export(path, verbose=False)
    inputs = [drawn(x) for x in model.inputs]
    given: Any = inputs if len(inputs) > 1 else inputs[0]
    wanted = [np.asarray(y) for y in keras.tree.flatten(model(given))]
    module = uair.load(path)
    verify(module)
    named = dict(zip(module.main.input_names, inputs, strict=True))
    for each in (module, parse_module(print_module(module), weights=weights_of(module)), uair.optimize(module.clone())):
        results = uair.run(each, named)
        for got, reference in zip(results.values(), wanted, strict=True):
            assert np.ptp(reference) > 0.01
            assert got.shape == reference.shape
            assert np.abs(got - reference).max() <= tolerance * np.abs(reference).max()
    return module


def drawn(x: Any) -> np.ndarray[Any, Any]:
    shape = [2, *(OPEN if d is None else d for d in x.shape[1:])]
    if x.dtype == "bool":
        mask = RNG.random(shape) > 0.3
        mask[..., 0] = True
        return mask
    return RNG.normal(size=shape).astype(np.float32)


def kinds(module: uair.Module) -> Counter[str]:
    return Counter(node.op_type for node in module.main)


# ----------------------------------------------------------------------------------------------------- recurrent layers
RECURRENT: dict[str, tuple[Callable[[], list[Any]], str, str]] = {
    "last": (lambda: [layers.LSTM(5)], "LSTM", "forward"),
    "sequences": (lambda: [layers.LSTM(5, return_sequences=True)], "LSTM", "forward"),
    "backwards": (lambda: [layers.LSTM(5, return_sequences=True, go_backwards=True)], "LSTM", "reverse"),
    "backwards_last": (lambda: [layers.GRU(5, go_backwards=True)], "GRU", "reverse"),
    "both": (lambda: [layers.Bidirectional(layers.LSTM(5, return_sequences=True))], "LSTM", "bidirectional"),
    "both_last": (lambda: [layers.Bidirectional(layers.LSTM(5))], "LSTM", "bidirectional"),
    "both_gru": (lambda: [layers.Bidirectional(layers.GRU(5, return_sequences=True))], "GRU", "bidirectional"),
    "reset_after": (lambda: [layers.GRU(5)], "GRU", "forward"),
    "reset_before": (lambda: [layers.GRU(5, reset_after=False, return_sequences=True)], "GRU", "forward"),
    "gru_without_bias": (lambda: [layers.GRU(5, use_bias=False)], "GRU", "forward"),
    "simple": (lambda: [layers.SimpleRNN(5, return_sequences=True)], "RNN", "forward"),
    "activations": (
        lambda: [layers.LSTM(5, activation="relu", recurrent_activation="hard_sigmoid", use_bias=False)],
        "LSTM",
        "forward",
    ),
}


@pytest.mark.parametrize(
    ("name", "steps"), [*((name, 7) for name in RECURRENT), ("last", None), ("both", None), ("reset_after", None)]
)
def test_recurrent_layers(name: str, steps: int | None, tmp_path: Path) -> None:
    """One operator, with a fixed and with an open number of steps."""
    make, kind, direction = RECURRENT[name]
    module = imported(stack(*make(), shape=(steps, 3)), tmp_path / "model")
    found = kinds(module)
    assert found[kind] == 1 and not found["Loop"] and not found["Flip"] - (name == "backwards")
    assert [n.op.direction for n in module.main if n.op_type == kind] == [direction]  # type: ignore[attr-defined]


def test_states_go_in_and_out(tmp_path: Path) -> None:
    """The encoder hands its last states to the decoder."""
    source, target = keras.Input((6, 3)), keras.Input((4, 2))
    _, h, c = layers.LSTM(5, return_state=True)(source)
    y = layers.LSTM(5, return_sequences=True)(target, initial_state=[h, c])
    module = imported(keras.Model([source, target], [y, c]), tmp_path / "model")
    assert kinds(module)["LSTM"] == 2 and not kinds(module)["Loop"]


def test_layers_in_a_row(tmp_path: Path) -> None:
    module = imported(
        stack(
            layers.LSTM(6, return_sequences=True), layers.GRU(5, return_sequences=True), layers.LSTM(4), shape=(7, 3)
        ),
        tmp_path / "model",
    )
    assert [kinds(module)[k] for k in ("LSTM", "GRU", "Loop")] == [2, 1, 0]


def test_masked_steps_stay_a_loop(tmp_path: Path) -> None:
    """A mask holds the states of single steps, which no layer's lengths say."""
    module = imported(stack(layers.Masking(), layers.LSTM(5, return_sequences=True), shape=(7, 3)), tmp_path / "model")
    assert kinds(module)["Loop"] == 1


# --------------------------------------------------------------------------------------- activations and normalizations
def test_activations(tmp_path: Path) -> None:
    module = imported(
        stack(
            layers.Activation("gelu"),
            layers.Activation(lambda x: keras.activations.gelu(x, approximate=True)),
            layers.Activation("mish"),
            layers.Activation("hard_silu"),
            shape=(5, 8),
        ),
        tmp_path / "model",
    )
    assert kinds(module) == {"Gelu": 2, "Mish": 1, "HardSwish": 1}


def test_normalizations(tmp_path: Path) -> None:
    """BatchNorm goes into the convolution; LayerNorm is whole, over channels last, too."""
    module = imported(
        stack(
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.LayerNormalization(epsilon=1e-5),
            layers.Conv2D(4, 1),
            shape=(6, 7, 3),
        ),
        tmp_path / "model",
    )
    assert kinds(module)["LayerNorm"] == 1
    found = kinds(uair.optimize(module))
    assert found == {"Transpose": found["Transpose"], "Conv2D": 2, "Relu": 1, "LayerNorm": 1}


# ---------------------------------------------------------------------------------------------------- dense, attention
@pytest.mark.parametrize("shape", [(4,), (6, 4), (None, 4), (6, 5, 4), (None, None, 4)])
def test_dense_is_one_linear(shape: tuple[int | None, ...], tmp_path: Path) -> None:
    """Over any number of axes, open ones, too."""
    assert kinds(imported(stack(layers.Dense(8), shape=shape), tmp_path / "model")) == {"Linear": 1}


def attending(**how: Any) -> keras.Model:
    """Self-attention, or attention to a second input, or with a mask that is given."""
    steps = how.pop("steps", 6)
    x = keras.Input((steps, 16))
    layer = layers.MultiHeadAttention(4, how.pop("size", 8), value_dim=how.pop("value_dim", None))
    if how.pop("cross", False):
        other = keras.Input((9, 12))
        return keras.Model([x, other], layer(x, other))
    if how.pop("masked", False):
        mask = keras.Input((steps, steps), dtype="bool")
        return keras.Model([x, mask], layer(x, x, attention_mask=mask))
    return keras.Model(x, layer(x, x, **how))


@pytest.mark.parametrize(
    ("how", "causal", "masked"),
    [
        ({}, False, False),
        ({"steps": None}, False, False),
        ({"size": 5, "value_dim": 3}, False, False),
        ({"cross": True}, False, False),
        ({"use_causal_mask": True}, True, False),
        ({"masked": True}, False, True),
    ],
)
def test_multi_head_attention(how: dict[str, Any], causal: bool, masked: bool, tmp_path: Path) -> None:
    """Three projections, Attention, one projection: as the Keras layer itself is read."""
    module = imported(attending(**how), tmp_path / "model")
    found = kinds(module)
    assert (found["Linear"], found["Attention"], found["Softmax"], found["Einsum"]) == (4, 1, 0, 0)
    (node,) = [n for n in module.main if n.op_type == "Attention"]
    assert node.attributes["causal"] is causal and len(node.inputs) == (4 if masked else 3)


def test_transformer_encoder(tmp_path: Path) -> None:
    """A block with an open number of steps: eleven operators and what splits and joins the heads."""
    x = keras.Input((None, 16))
    y = layers.LayerNormalization(epsilon=1e-5)(x)
    y = x + layers.MultiHeadAttention(4, 4)(y, y)
    z = layers.Dense(16)(layers.Dense(32, activation="gelu")(layers.LayerNormalization()(y)))
    found = kinds(imported(keras.Model(x, y + z), tmp_path / "model"))
    moved = found.pop("Reshape") + found.pop("Transpose")
    assert found == {"LayerNorm": 2, "Linear": 6, "Attention": 1, "Add": 2, "Gelu": 1} and moved <= 8
