"""Reads a live Keras model: the same configuration as in a file, and the variables' values where they are."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from uair.frontends.keras.archive import Loaded
from uair.frontends.keras.config import parse_model
from uair.frontends.keras.errors import KerasModelError
from uair.frontends.keras.variables import legacy_row_of, row_of
from uair.frontends.keras.weights import Row, fill_by_row
from uair.ir.data import ComputedData, Data
from uair.ir.dtype import Array, DType
from uair.ir.module import Origin


def read_model(model: Any) -> Loaded:
    """A model object of Keras 3 (`keras`, `tf.keras`), or of Keras 2 (`tf_keras`).

    Variables are read when somebody asks for their values, so no copy is held beside the model.

    Raises:
        KerasModelError: it is a subclassed model, or was never built.
        UairError: as for a file.
    """
    package = _package(model)
    legacy = not hasattr(package, "saving") or package.__name__ == "tf_keras"
    data = _configuration(model, package, legacy=legacy)
    parsed = parse_model(data, f"model {model.name!r}")
    assert parsed.network is not None
    rows = {layer.name: _row(layer) for layer in model.layers}
    fill_by_row(parsed.network, rows, legacy_row_of if legacy else row_of)
    version = str(getattr(package, "__version__", ""))
    return Loaded(parsed, Origin("keras", producer=f"keras {version}".strip(), versions=(("keras", version),)))


def _package(model: Any) -> Any:
    """The Keras that the model's class comes from, which is imported already."""
    import importlib

    for base in type(model).__mro__:
        root = base.__module__.split(".")[0]
        if root in ("keras", "tf_keras"):
            return importlib.import_module(root)
    raise KerasModelError(f"{type(model).__qualname__} is no model of Keras")


def _configuration(model: Any, package: Any, *, legacy: bool) -> Any:
    """The configuration as a file would hold it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a lambda is serialized: it is refused with an error of its own
            if legacy:
                return {"class_name": type(model).__name__, "config": model.get_config()}
            return package.saving.serialize_keras_object(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise KerasModelError(
            f"{type(model).__qualname__} has no configuration: {str(error).splitlines()[0]}",
            place=f"model {model.name!r}",
            hint="build it with the functional API, or write a SavedModel with model.export(folder) and load that",
        ) from error


def _row(layer: Any) -> Row:
    return [(str(v.name), _data(v)) for v in layer.weights]


def _data(variable: Any) -> Data:
    name = str(getattr(variable.dtype, "name", variable.dtype))
    dtype = DType.BF16 if name == "bfloat16" else DType.from_numpy(np.dtype(name))
    return ComputedData(functools.partial(_values, variable, dtype), (), dtype, tuple(int(d) for d in variable.shape))


def _values(variable: Any, dtype: DType) -> Array:
    found = variable.numpy()
    values: Array = np.asarray(found)
    return values if values.dtype == dtype.numpy else values.astype(dtype.numpy)
