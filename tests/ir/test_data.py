"""Constants by reference."""

from __future__ import annotations

import hashlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from uair.errors import InternalError
from uair.ir import ArrayData, ComputedData, DType, MappedData, MappedFile, PackedData, SplatData, derive
from uair.ir.data import EAGER_BYTES, MAX_DEPTH, pack_bytes, unpack_bytes


@pytest.fixture
def mapped(tmp_path: Path) -> MappedFile:
    (tmp_path / "weights").write_bytes(b"head" + np.arange(6, dtype="<f4").tobytes())
    return MappedFile(tmp_path / "weights")


def test_mapped_data_are_the_bytes_of_the_file(mapped: MappedFile) -> None:
    data = MappedData(mapped, 4, DType.F32, (2, 3))
    assert np.array_equal(data.array(), np.arange(6, dtype=np.float32).reshape(2, 3))
    assert not data.array().flags.writeable
    assert data.sha256 == hashlib.sha256(np.arange(6, dtype="<f4").tobytes()).hexdigest()
    data.release()
    assert data.array()[1, 2] == 5


def test_a_range_outside_of_the_file_is_refused(mapped: MappedFile) -> None:
    with pytest.raises(ValueError, match="lie outside"):
        MappedData(mapped, 8, DType.F32, (2, 3))


@pytest.mark.parametrize(("dtype", "size"), [(DType.I4, 3), (DType.U4, 3), (DType.I2, 2), (DType.I8, 5)])
def test_packed_data_hold_what_a_file_holds(dtype: DType, size: int) -> None:
    least, greatest = dtype.range
    values = np.array([least, greatest, 0, 1, least], np.int8 if dtype.is_signed else np.uint8).astype(dtype.numpy)
    data = PackedData(values)
    assert (data.dtype, data.shape, data.nbytes) == (dtype, (5,), size)
    assert len(data.tobytes()) == size
    assert data.tobytes() is data.tobytes()  # no copy is made to write it
    assert np.array_equal(data.array(), values)
    assert not data.array().flags.writeable
    assert data.equals(ArrayData(values))


def test_splat_costs_nothing_and_equals_the_full_array() -> None:
    splat = SplatData(0.5, DType.F32, (1000, 1000, 1000))
    assert splat.array().strides == (0, 0, 0)
    assert SplatData(0.5, DType.F32, (4,)).equals(ArrayData(np.full(4, 0.5, np.float32)))
    assert not SplatData(0.5, DType.F32, (4,)).equals(ArrayData(np.full(4, 0.25, np.float32)))


def test_equality_looks_at_bits_not_values() -> None:
    zero, negative = ArrayData(np.zeros(2, np.float32)), ArrayData(-np.zeros(2, np.float32))
    assert not zero.equals(negative)
    nan = ArrayData(np.full(2, np.nan, np.float32))
    assert nan.equals(ArrayData(np.full(2, np.nan, np.float32)))


def test_large_results_are_computed_on_demand() -> None:
    calls = 0

    def double(x: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return x * 2

    size = EAGER_BYTES // 4 + 1
    data = derive(double, (ArrayData(np.ones(size, np.float32)),), DType.F32, (size,))
    assert isinstance(data, ComputedData)
    assert calls == 0
    assert data.array()[0] == 2
    assert data.array()[-1] == 2
    assert calls == 2
    small = derive(double, (ArrayData(np.ones(4, np.float32)),), DType.F32, (4,))
    assert isinstance(small, ArrayData)
    assert calls == 3


def test_long_chains_are_cut() -> None:
    size = EAGER_BYTES // 4 + 1
    data = derive(lambda x: x, (ArrayData(np.ones(size, np.float32)),), DType.F32, (size,))
    for _ in range(3 * MAX_DEPTH):
        data = derive(lambda a, b: a + b - a, (data, data), DType.F32, (size,))
        assert not isinstance(data, ComputedData) or data.depth <= MAX_DEPTH
    assert np.all(data.array() == 1)


def test_a_computation_must_keep_its_word() -> None:
    data = ComputedData(lambda x: x.astype(np.float64), (ArrayData(np.ones(4, np.float32)),), DType.F32, (4,))
    with pytest.raises(InternalError, match="announced"):
        data.array()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (DType.I4, [-8, -1, 0, 7, 3]),
        (DType.U4, [0, 15, 8, 1, 2]),
        (DType.I2, [-2, -1, 0, 1, 1]),
        (DType.U2, [0, 3, 2, 1, 1]),
        (DType.F4E2M1, [0.5, -6.0, 1.5, 0.0, 3.0]),
        (DType.BF16, [1.5, -2.0, 0.0, np.inf, 3.0]),
        (DType.BOOL, [True, False, True, True, False]),
    ],
)
def test_packed_bytes_read_back(dtype: DType, values: list[float]) -> None:
    array = np.array(values).astype(dtype.numpy)
    raw = pack_bytes(array, dtype)
    assert len(raw) == (5 * dtype.bits + 7) // 8
    assert np.array_equal(unpack_bytes(raw, dtype, (5,)).astype(np.float32), array.astype(np.float32))


def test_int4_has_its_first_element_in_the_low_bits() -> None:
    assert bytes(pack_bytes(np.array([1, -1, 7]).astype(ml_dtypes.int4), DType.I4)) == bytes([0xF1, 0x07])
