"""Reads Keras models by walking their layers: `.keras` archives, legacy `.h5` files, and live models.

A layer is one canonical operator, or few: BatchNorm, LayerNorm, Gelu, LSTM, GRU and attention stay whole, which the
graphs that Keras traces dissolve. TensorFlow is not needed for files; h5py reads their weights.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from uair.ir.module import Module

__all__ = ["load"]


def load(source: Any, *inputs: Any, channels: Literal["last", "first"] = "last") -> Module:
    """Read a Keras model.

    Args:
        source: path of a `.keras` or `.h5` file, or a model of `keras`, `tf.keras` or `tf_keras`.
        inputs: none: the model declares its inputs.
        channels: "last" keeps the model's own interface; "first" gives images as [N, C, spatial...] at its inputs and
            outputs.

    Raises:
        SourceFileError: the file is damaged.
        KerasModelError: the model is no graph of layers: subclassed, unbuilt, or weights alone.
        KerasWeightsError: the weights are not those of the layers.
        UnsafeModelError: a layer is code (Lambda).
        UnmappedOperatorError: a layer has no canonical counterpart.
        UairError: a layer is used in a way that cannot be expressed; the place is the layer.
    """
    from uair.frontends.common.layout import settle
    from uair.frontends.keras.archive import read_file
    from uair.frontends.keras.errors import KerasModelError
    from uair.frontends.keras.importer import Importer
    from uair.frontends.keras.live import read_model

    if inputs:
        raise KerasModelError("a Keras model declares its inputs: example inputs are not taken")
    if channels not in ("last", "first"):
        raise KerasModelError(f"channels must be 'last' or 'first', is {channels!r}")
    loaded = read_file(Path(source)) if isinstance(source, (str, os.PathLike)) else read_model(source)
    module = Importer().run(loaded.model, loaded.origin)
    settle(module, channels=channels)
    return module
