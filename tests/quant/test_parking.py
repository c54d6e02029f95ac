"""Runs that wait with their values in a file are the runs that they were."""

from __future__ import annotations

import numpy as np
import pytest

from tests.quant.networks import Builder
from uair.codegen.reference import Interpreter
from uair.ir.module import Module
from uair.ops import Add, Conv2D, Relu
from uair.passes.quantization import parking
from uair.passes.quantization.lockstep import read_by
from uair.passes.quantization.parking import ParkedRun, Store


def test_arrays_come_back_as_they_were() -> None:
    store = Store()
    rng = np.random.default_rng(0)
    arrays = [
        rng.normal(size=(3, 5, 700)).astype(np.float32),
        rng.integers(-128, 128, (9000,)).astype(np.int8),
        np.broadcast_to(np.float32(3), (40, 50)),
        rng.normal(size=(40, 60)).T,
        np.float64(2.5).reshape(()),
        np.zeros((0, 4), np.float32),
    ]
    places = [store.put(array) for array in arrays]
    for array, place in zip(arrays, places, strict=True):
        found = store.get(place)
        assert found.dtype == array.dtype and np.array_equal(found, array)
        found[...] = 0  # a copy of its own: what lies in the file stays
    for array, place in zip(arrays, places, strict=True):
        assert np.array_equal(store.get(place), array)


def test_places_are_used_again() -> None:
    store = Store()
    rng = np.random.default_rng(1)
    kept = rng.normal(size=5000)
    first = store.put(kept)
    for size in (4000, 4097, 5000, 300):
        place = store.put(rng.normal(size=size))
        store.free(place)
    end = store.end
    again = rng.normal(size=5000)
    place = store.put(again)
    assert store.end == end
    assert np.array_equal(store.get(first), kept) and np.array_equal(store.get(place), again)


def _branches() -> Module:
    b = Builder(1, 3, 20, 20)
    early = b.add(Relu(), b.x)
    y = early
    for i in range(3):
        y = b.add(Conv2D(pads=(1, 1, 1, 1)), y, b.weight(3, 3, 3, 3), name=f"conv{i}")
    return b.done(b.add(Add(), b.add(Add(), y, early), b.x))


@pytest.mark.parametrize("small", [0, 1 << 30])
def test_parked_runs_take_turns(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "SMALL", small)
    module, rng, store = _branches(), np.random.default_rng(2), Store()
    interpreter = Interpreter(module)
    feeds = [{"x": rng.normal(size=(1, 3, 20, 20)).astype(np.float32)} for _ in range(3)]
    expected = [interpreter.run(feed)["y"] for feed in feeds]
    runs = [ParkedRun(interpreter.start(feed), store) for feed in feeds]
    for run in runs:
        run.park(())
    for node in module.main:
        for run in runs:
            run.fetch(read_by(node))
            run.run.advance()
            run.park(read_by(node))
            assert small or not any(isinstance(v, np.ndarray) for v in run.run.held.values())
    output = module.main.outputs[0]
    for run, y in zip(runs, expected, strict=True):
        run.fetch([output])
        assert np.array_equal(run.run.value(output), y)


def test_a_replaced_value_is_the_one_that_is_parked() -> None:
    module, store = _branches(), Store()
    interpreter = Interpreter(module)
    feed = {"x": np.ones((1, 3, 20, 20), np.float32)}
    run = ParkedRun(interpreter.start(feed), store)
    node = next(iter(module.main))
    run.fetch(read_by(node))
    run.run.skip([None])
    run.park(read_by(node))
    run.replace(node.output, np.full((1, 3, 20, 20), 2, np.float32))
    run.park(())
    run.fetch([node.output])
    assert np.all(run.run.value(node.output) == 2)


def test_a_file_that_is_too_short_is_an_error() -> None:
    store = Store()
    place = store.put(np.ones(5000))
    store.file.truncate(100)
    with pytest.raises(OSError, match="ends"):
        store.get(place)
