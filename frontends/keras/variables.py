"""Which variables each layer has, in the order of their creation, and which layers it wraps.

Files store variables by number or in one row: the order is what identifies them. In the table a name stands for a
variable, `name?flag` for one that exists when the configuration's flag is true, and `-name` for one that is never
trainable: legacy files have those behind the trainable ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs

from uair.frontends.keras.model import Config, Layer

_AFFINE = "kernel bias?use_bias"
_CELL = "kernel recurrent_kernel bias?use_bias"
_SCALE_SHIFT = "gamma?scale beta?center"

OWN: dict[str, str] = {
    **dict.fromkeys(("Dense", "DepthwiseConv1D", "DepthwiseConv2D"), _AFFINE),
    "EinsumDense": "kernel bias?bias_axes",
    **{f"Conv{n}D{t}": _AFFINE for n in (1, 2, 3) for t in ("", "Transpose")},
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), "depthwise_kernel pointwise_kernel bias?use_bias"),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell", "ConvLSTMCell"), _CELL),
    "Embedding": "embeddings",
    "ReversibleEmbedding": "embeddings reverse_embeddings?!tie_weights",
    "PReLU": "alpha",
    "BatchNormalization": f"{_SCALE_SHIFT} -moving_mean -moving_variance",
    "LayerNormalization": _SCALE_SHIFT,
    "GroupNormalization": _SCALE_SHIFT,
    "RMSNormalization": "scale",
    "AdditiveAttention": "scale?use_scale",
    "Attention": "scale?use_scale",
    "LayerScale": "gamma",
}
RECURRENT = {"LSTM": "LSTMCell", "GRU": "GRUCell", "SimpleRNN": "SimpleRNNCell"} | {
    f"ConvLSTM{n}D": "ConvLSTMCell" for n in (1, 2, 3)
}
"""Layers that make their cell themselves, of their own configuration."""
ATTENTION = ("MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention")
PROJECTIONS = ("query", "key", "value")


@attrs.frozen
class Variable:
    """One of a layer's own variables."""

    name: str
    trainable: bool = True


def variables_of(layer: Layer) -> tuple[Variable, ...]:
    """The variables that a layer itself has, in the order of their creation."""
    config = layer.config
    if layer.kind == "Normalization":
        adapted = config.get("mean", config.get("input_mean")) is None
        return tuple(Variable(n, trainable=False) for n in ("mean", "variance", "count")) if adapted else ()
    result: list[Variable] = []
    for entry in OWN.get(layer.kind, "").split():
        name, _, flag = entry.partition("?")
        if not flag or bool(config.get(flag.lstrip("!"), True)) is not flag.startswith("!"):
            result.append(Variable(name.lstrip("-"), not name.startswith("-")))
    if layer.kind == "LayerNormalization" and config.get("rms_scaling"):
        result = [Variable("gamma")]
    if layer.kind == "Attention":
        result = [v for v in result if config.get("use_scale") is True]
        if config.get("score_mode") == "concat":
            result.append(Variable("concat_score_weight"))
    return tuple(result)


def children_of(kind: str, config: Config) -> Iterator[tuple[str, Any]]:
    """The layers that a layer wraps, serialized, by the attribute that holds each, in the order of their creation."""
    if kind in RECURRENT:
        yield "cell", _inner(RECURRENT[kind], "", dict(config))
    elif kind == "RNN":
        yield "cell", config.get("cell")
    elif kind == "StackedRNNCells":
        for i, cell in enumerate(config.get("cells", ())):
            yield f"cells/{i}", cell
    elif kind == "TimeDistributed":
        yield "layer", config.get("layer")
    elif kind == "Bidirectional":
        yield "forward_layer", config.get("layer")
        yield "backward_layer", config.get("backward_layer") or _reversed(config.get("layer"))
    elif kind in ATTENTION:
        shared = {name: config[name] for name in ("dtype", "trainable") if name in config}
        shared["bias_axes"] = config.get("use_bias", True) or None
        names = ("query", "key", "gate", "value") if config.get("use_gate") else PROJECTIONS
        for name in (*names, "output"):
            yield f"{name}_dense", _inner("EinsumDense", "attention_output" if name == "output" else name, shared)


def _inner(kind: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": kind, "name": name, "config": config}


def _reversed(layer: Any) -> Any:
    """The backward layer of a Bidirectional, which Keras makes of the forward one unless one is given."""
    if not isinstance(layer, dict):
        return layer
    data: dict[str, Any] = {str(k): v for k, v in layer.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    config = data.get("config")
    if not isinstance(config, dict):
        return data
    inner: dict[str, Any] = {str(k): v for k, v in config.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    inner["go_backwards"] = not inner.get("go_backwards", False)
    name = str(inner.get("name", ""))
    inner["name"] = re.sub("^forward_", "backward_", name) if name.startswith("forward_") else f"backward_{name}"
    return {**data, "config": inner}


@attrs.frozen
class Slot:
    """A variable of a layer, found in the row of a top-level layer's variables."""

    layer: Layer
    variable: Variable
    trainable: bool


def row_of(layer: Layer, *, trainable: bool = True) -> Iterator[Slot]:
    """The variables of a layer and of all inside, in the order of `layer.weights` in Keras 3: own ones first."""
    trainable = trainable and layer.trainable
    for variable in variables_of(layer):
        yield Slot(layer, variable, trainable and variable.trainable)
    for child in layer.children.values():
        yield from row_of(child, trainable=trainable)
    if layer.network is not None:
        for inner in layer.network.layers:
            yield from row_of(inner, trainable=trainable)


def legacy_row_of(layer: Layer) -> list[Slot]:
    """The order of legacy files, and of `layer.weights` in Keras 2: trainable ones first."""
    slots = list(row_of(layer))
    return [s for s in slots if s.trainable] + [s for s in slots if not s.trainable]


def snake_case(name: str) -> str:
    """A class's name as Keras writes it into the paths of a `.keras` archive: Conv2DTranspose is conv2d_transpose."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
