"""Storage shapes and conversions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uair.ir import Layout
from uair.ir.dims import symbol
from uair.ir.layout import fractal_z, nc1hwc0, nhwc, plain


def test_nc1hwc0_is_what_the_vendor_documents() -> None:
    """Pad C, reshape [N, C1, C0, H, W], transpose (0, 1, 3, 4, 2)."""
    x = np.arange(2 * 20 * 3 * 5).reshape(2, 20, 3, 5)
    padded = np.pad(x, [(0, 0), (0, 12), (0, 0), (0, 0)])
    expected = padded.reshape(2, 2, 16, 3, 5).transpose(0, 1, 3, 4, 2)
    assert np.array_equal(nc1hwc0(16).pack(x), expected)


def test_fractal_z_is_what_the_vendor_documents() -> None:
    """Pad N and C, reshape [N1, 16, C1, C0, H, W], transpose (2, 4, 5, 0, 1, 3)."""
    w = np.arange(20 * 24 * 3 * 3).reshape(20, 24, 3, 3)
    padded = np.pad(w, [(0, 12), (0, 8), (0, 0), (0, 0)])
    expected = padded.reshape(2, 16, 2, 16, 3, 3).transpose(2, 4, 5, 0, 1, 3)
    assert np.array_equal(fractal_z(16).pack(w), expected)


@given(
    st.sampled_from([nc1hwc0(16), nc1hwc0(32), nhwc(), fractal_z(16), plain(), plain(32), Layout.ANY]),
    st.tuples(*[st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(1, 9)]),
    st.sampled_from([np.int8, np.float16, np.float32]),
)
def test_unpack_undoes_pack(layout: Layout, shape: tuple[int, ...], dtype: type) -> None:
    x: np.ndarray[Any, Any] = (np.arange(np.prod(shape)) % 100).reshape(shape).astype(dtype)
    packed = layout.pack(x)
    assert packed.shape == layout.storage_shape(shape, x.dtype.itemsize)
    assert np.array_equal(layout.unpack(packed, shape), x)
    assert packed.astype(np.float64).sum() == x.astype(np.float64).sum()


def test_pitch_pads_rows_to_whole_units() -> None:
    assert plain(32).storage_shape((1, 3, 4, 5), 2) == (1, 3, 4, 16)
    assert plain(32).storage_shape((1, 3, 4, 16), 2) == (1, 3, 4, 16)


def test_symbolic_extents_have_a_symbolic_storage_shape() -> None:
    shape = nc1hwc0(16).storage_shape((symbol("N"), 20, symbol("H"), 5))
    assert shape == (symbol("N"), 2, symbol("H"), 5, 16)


def test_a_layout_names_itself_when_it_does_not_fit() -> None:
    with pytest.raises(ValueError, match="NC1HWC0<16> blocks axis 1"):
        nc1hwc0(16).storage_shape((3,))


def test_a_number_has_no_rows_to_pad() -> None:
    stored = plain(32).pack(np.array(2.5, np.float32))
    assert stored.shape == plain(32).storage_shape((), 4) == ()
    back = plain(32).unpack(stored, ())
    assert isinstance(back, np.ndarray)
    assert back == 2.5
