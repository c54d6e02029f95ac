"""Arrays that wait in a file are the arrays that they were."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from uair.ir.data import ArrayData, SplatData
from uair.ir.dtype import DType
from uair.passes.quantization.parking import ParkedData, Store, parked


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


def test_a_file_that_is_too_short_is_an_error() -> None:
    store = Store()
    place = store.put(np.ones(5000))
    store.file.truncate(100)
    with pytest.raises(OSError, match="ends"):
        store.get(place)


def test_parked_data_are_read_whenever_they_are_asked_for() -> None:
    """Small ones, and such as are in no memory, stay what they are."""
    store = Store()
    values = np.arange(-9000, 9000).reshape(3, 60, 100).astype(np.int8)
    data = parked(ArrayData(values), store)
    assert isinstance(data, ParkedData)
    assert (data.dtype, data.shape) == (DType.I8, (3, 60, 100))
    first, second = data.array(), data.array()
    assert first is not second and not first.flags.writeable
    np.testing.assert_array_equal(first, values)
    assert bytes(data.tobytes()) == values.tobytes() and data.sha256 == ArrayData(values).sha256
    again = pickle.loads(pickle.dumps(data))
    assert isinstance(again, ArrayData) and np.array_equal(again.array(), values)
    small, repeated = ArrayData(values[0, :1]), SplatData(3, DType.I8, (100, 100))
    assert parked(small, store) is small and parked(repeated, store) is repeated
