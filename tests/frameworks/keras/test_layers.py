"""Every layer, function and form of model against Keras itself; the three sources of a model give the same IR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import uair
from tests.frameworks.keras.cases import call_cases, layer_cases
from uair.codegen.reference import Interpreter
from uair.ir.compare import difference, graph_difference
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of

CASES = [*layer_cases(), *call_cases()]
BATCH = 2

# Keras 3.15 asks TensorFlow's variables for an array without a copy, which TensorFlow 2.21 does not know yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with random variables, statistics too, so that outputs vary and no term is lost."""
    rng = np.random.default_rng(seed)
    for v in model.weights:
        values = rng.normal(size=v.shape) * 0.4
        if len(v.shape) == 4:  # as large a result as the operand, whatever the depth
            values = values / 0.4 / np.sqrt(np.prod(v.shape[:-1]))
        if "variance" in v.name:
            values = np.abs(values) + 0.5
        elif v.name == "gamma":
            values = values + 1
        v.assign(values.astype("float32"))
    return model


def outputs_of(value: Any) -> list[np.ndarray[Any, Any]]:
    """Keras's outputs in the order of the module's: a dictionary's by its sorted keys."""
    if isinstance(value, dict):
        value = [value[k] for k in sorted(value)]
    return [np.asarray(v) for v in (value if isinstance(value, (list, tuple)) else [value])]


def check(
    module: Module, feeds: list[np.ndarray[Any, Any]], expected: list[np.ndarray[Any, Any]], bound: float
) -> None:
    got = Interpreter(module).run(dict(zip(module.main.input_names, feeds, strict=True)))
    assert len(got) == len(expected)
    for a, b in zip(got.values(), expected, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert b.size < 2 or float(np.ptp(b.astype(np.float64))) > 0, "the output does not vary"
        error = np.abs(a.astype(np.float64) - b.astype(np.float64)).max() / max(
            np.abs(b.astype(np.float64)).max(), 1e-30
        )
        assert error <= bound, f"relative error {error}"


@pytest.mark.parametrize(("name", "shape", "build"), CASES, ids=[c[0] for c in CASES])
def test_layer(name: str, shape: tuple[int, ...], build: Any, tmp_path: Path) -> None:
    x = keras.Input(shape, name="x")
    model = randomised(keras.Model(x, build(x), name="m"))
    feed = np.random.default_rng(1).normal(size=(BATCH, *shape)).astype(np.float32)
    expected = outputs_of(model(feed, training=False))
    module = uair.load(model)
    verify(module)
    bound = 1e-4
    if name == "mixed":
        bound = 1e-2  # bfloat16
    if "bicubic" in name:
        bound = 2e-3  # TensorFlow rounds places between elements to 1/1024
    check(module, [feed], expected, bound)
    assert not difference(module, parse_module(print_module(module), weights=weights_of(module)))
    model.save(tmp_path / "m.keras")
    again = uair.load(tmp_path / "m.keras")
    assert not graph_difference(module.main, again.main)
    check(uair.optimize(again), [feed], expected, bound)
