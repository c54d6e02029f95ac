"""The handlers: one module for each family of Keras's layers, and one for each family of `keras.ops`."""

from __future__ import annotations

from uair.frontends.keras.handlers import (
    activation,
    applications,
    attention,
    convolution,
    core,
    merging,
    normalization,
    operations,
    pooling,
    preprocessing,
    recurrent,
    recurrent_cells,
    regularization,
    reshaping,
    tensorflow_functions,
)

FAMILIES = (
    core.FAMILY,
    activation.FAMILY,
    convolution.FAMILY,
    pooling.FAMILY,
    normalization.FAMILY,
    merging.FAMILY,
    reshaping.FAMILY,
    regularization.FAMILY,
    attention.FAMILY,
    recurrent.FAMILY,
    recurrent_cells.FAMILY,
    preprocessing.FAMILY,
    applications.FAMILY,
    operations.FAMILY,
    tensorflow_functions.FAMILY,
)
