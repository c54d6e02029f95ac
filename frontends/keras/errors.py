"""Errors of the Keras frontend."""

from __future__ import annotations

from uair.errors import UairError


class KerasWeightsError(UairError):
    """The weights beside a Keras model are not those of its layers: one is missing, left over, or of another shape."""

    code = "UAIR-E0160"
    title = "Weights do not fit the layers"
    next_step = "save the model again, architecture and weights together (model.save)"


class KerasModelError(UairError):
    """A Keras model has no graph of layers to walk: a subclassed or unbuilt model, or weights alone."""

    code = "UAIR-E0161"
    title = "Model is no graph of layers"


class KerasMaskError(UairError):
    """A layer would obey a mask of time steps (from Masking or Embedding(mask_zero=True)) that is not expressed."""

    code = "UAIR-E0162"
    title = "Mask of time steps cannot be expressed"
