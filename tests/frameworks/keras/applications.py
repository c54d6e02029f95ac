"""The models of keras.applications with weights and statistics under which every part of them counts."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

Array = np.ndarray[Any, Any]


def names() -> list[str]:
    """The constructors of keras.applications: what there is called like a class."""
    return sorted(n for n in dir(keras.applications) if n[0].isupper() and callable(getattr(keras.applications, n)))


def images(side: int, count: int = 1, seed: int = 1) -> Array:
    """Random images [count, side, side, 3] of the values 0 to 255."""
    return np.random.default_rng(seed).uniform(0, 255, size=(count, side, side, 3)).astype(np.float32)


def application(name: str, side: int | None = None, classes: int = 1000) -> Any:
    """A whole model with random weights.

    Kernels keep the size of what they are applied to. Statistics of BatchNorm are those of random images, which keeps
    residual sums bounded, moved at random after that. The head is scaled until its softmax does not saturate.

    Args:
        name: of the constructor.
        side: of its images; None for the constructor's own size.
        classes: of its head.
    """
    shape = None if side is None else (side, side, 3)
    model = getattr(keras.applications, name)(weights=None, input_shape=shape, classes=classes)
    rng = np.random.default_rng(0)
    for v in model.weights:
        values = _values(v, rng)
        if values is not None:
            v.assign(values.astype(np.float32))
    norms = [layer for layer in _layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    if norms:
        _measure(model, norms, images(model.input_shape[1], 4, seed=2))
        for layer in norms:
            mean, variance = (np.asarray(v) for v in (layer.moving_mean, layer.moving_variance))
            layer.moving_mean.assign(mean + 0.2 * np.sqrt(variance) * rng.normal(size=mean.shape))
            layer.moving_variance.assign(variance * rng.uniform(0.7, 1.4, size=mean.shape) + 0.1 * variance.mean())
    _temper(model, images(model.input_shape[1]))
    return model


def _layers(model: Any) -> list[Any]:
    return list(model._flatten_layers())


def _values(v: Any, rng: np.random.Generator) -> Array | None:
    """Random values of a variable; None for statistics, and for what belongs to the preprocessing of images."""
    if v.name.startswith("moving_") or v.name in ("mean", "variance", "count"):
        return None
    if "kernel" in v.name:
        depthwise = len(v.shape) == 4 and v.shape[-1] == 1
        return np.asarray(rng.normal(size=v.shape) * np.sqrt(1.5 / np.prod(v.shape[:2] if depthwise else v.shape[:-1])))
    if v.name == "gamma" or v.name.startswith("variable"):  # also the scales of ConvNeXt's blocks, which have no name
        return np.asarray(rng.uniform(0.6, 1.4, size=v.shape))
    return np.asarray(rng.normal(size=v.shape) * 0.1)


def _measure(model: Any, norms: list[Any], batch: Array) -> None:
    """Set the statistics of every BatchNorm to those of a batch, nothing dropped."""
    changed = [(layer, "momentum", layer.momentum) for layer in norms]
    changed += [(layer, "rate", layer.rate) for layer in _layers(model) if isinstance(layer, keras.layers.Dropout)]
    for layer, attribute, _ in changed:
        setattr(layer, attribute, 0.0)
    model(batch, training=True)
    for layer, attribute, value in changed:
        setattr(layer, attribute, value)


def _temper(model: Any, image: Array) -> None:
    """Divide the head's kernel by the deviation of the logits where that is more than one."""
    head = next(layer for layer in reversed(_layers(model)) if getattr(layer, "kernel", None) is not None)
    features = np.asarray(keras.Model(model.input, head.input)(image, training=False))
    kernel = np.asarray(head.kernel)
    logits = features.reshape(-1, features.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    head.kernel.assign(kernel / max(float(logits.std()), 1.0))
