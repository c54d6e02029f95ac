"""Storage shapes and conversions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uair.ir import Layout
from uair.ir.dims import symbol
from uair.ir.dtype import Array
from uair.ir.fractal import (
    fractal_z_c04_shape,
    grouped_fractal_z_shape,
    merged_groups,
    pack_fractal_z_c04,
    pack_grouped_fractal_z,
    unpack_grouped_fractal_z,
)
from uair.ir.layout import (
    fractal_nz,
    fractal_z,
    fractal_z_matrix,
    nc1hwc0,
    nc1hwc2,
    nhwc,
    nhwc_padded,
    plain,
    w8c4,
)


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
    st.sampled_from(
        [
            *(nc1hwc0(16), nc1hwc0(32), nc1hwc0(4), nhwc(), fractal_z(16), plain(), plain(32), Layout.ANY),
            *(fractal_nz(16, 4), fractal_nz(32, 4), nc1hwc2(8), nhwc_padded(64), w8c4()),
        ]
    ),
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


# ----------------------------------------------------------------------------------------- Ascend's other formats
@pytest.mark.parametrize(("c0", "dtype"), [(16, np.float16), (32, np.int8)])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
def test_fractal_nz_is_what_the_vendor_documents(lead: tuple[int, ...], c0: int, dtype: type) -> None:
    """[.., H, W] -> [.., ceil(W/C0), ceil(H/16), 16, C0]; element (i, j) lies at [j // C0, i // 16, i % 16, j % C0]."""
    count = int(np.prod([*lead, 20, 40]))
    x: Array = (np.arange(count) % 100).reshape(*lead, 20, 40).astype(dtype)
    stored = fractal_nz(c0, x.ndim).pack(x)
    assert stored.shape == (*lead, -(-40 // c0), 2, 16, c0)
    for i, j in [(0, 0), (3, 17), (19, 39), (16, 33)]:
        assert np.array_equal(stored[..., j // c0, i // 16, i % 16, j % c0], x[..., i, j])


def test_fractal_nz_needs_a_matrix() -> None:
    with pytest.raises(ValueError, match="rank 1"):
        fractal_nz(16, 1)


def test_a_matrix_in_fractal_z() -> None:
    """[r, c] -> [ceil(r/C0), ceil(c/16), 16, C0]."""
    x = np.arange(20 * 40).reshape(20, 40)
    stored = fractal_z_matrix(16).pack(x)
    assert stored.shape == (2, 3, 16, 16)
    assert stored[1, 2, 5, 2] == x[18, 37]
    assert np.array_equal(fractal_z_matrix(16).unpack(stored, x.shape), x)


def test_tiles_of_eight_columns_by_four_channels() -> None:
    x = np.arange(6 * 2 * 10).reshape(1, 6, 2, 10)
    stored = w8c4().pack(x)
    assert stored.shape == (1, 2, 2, 2, 8, 4)
    assert stored[0, 1, 1, 1, 1, 0] == x[0, 4, 1, 9]


@given(
    groups=st.integers(1, 12),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 40),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    c0=st.sampled_from([16, 32]),
)
def test_grouped_fractal_z(groups: int, inputs: int, outputs: int, size: tuple[int, int], c0: int) -> None:
    shape = (groups * outputs, inputs, *size)
    together = min(int(np.lcm(c0 // np.gcd(inputs, c0), 16 // np.gcd(outputs, 16))), groups)
    blocks = -(-groups // together)
    expected = (blocks * -(-inputs * together // c0) * size[0] * size[1], -(-outputs * together // 16), 16, c0)
    assert merged_groups(inputs, outputs, groups, c0) == together
    assert grouped_fractal_z_shape(shape, groups, c0) == expected
    weights = np.arange(1, np.prod(shape) + 1).reshape(shape)
    stored = pack_grouped_fractal_z(weights, groups, c0)
    assert stored.shape == expected
    assert np.array_equal(unpack_grouped_fractal_z(stored, shape, groups), weights)
    assert np.count_nonzero(stored) == weights.size


def test_one_group_is_plain_fractal_z() -> None:
    weights = np.arange(20 * 24 * 9).reshape(20, 24, 3, 3)
    stored = pack_grouped_fractal_z(weights, 1, 16)
    assert np.array_equal(stored.reshape(-1), fractal_z(16).pack(weights).reshape(-1))


def test_groups_must_divide_the_output_channels() -> None:
    with pytest.raises(ValueError, match="10 output channels cannot be divided into 3 groups"):
        grouped_fractal_z_shape((10, 4, 1, 1), 3, 16)


def test_weights_of_few_channels_share_fractals() -> None:
    """FRACTAL_Z_C04: [ceil(4*H*W/C0), ceil(N/16), 16, C0], channels padded to 4 and running fastest."""
    weights = np.arange(1, 20 * 3 * 9 + 1).reshape(20, 3, 3, 3)
    stored = pack_fractal_z_c04(weights, 16)
    assert stored.shape == fractal_z_c04_shape(weights.shape, 16) == (3, 2, 16, 16)
    position = (1 * 3 + 2) * 4 + 1  # row 1, column 2, channel 1
    assert stored[position // 16, 17 // 16, 17 % 16, position % 16] == weights[17, 1, 1, 2]
    with pytest.raises(ValueError, match="at most 4 channels"):
        fractal_z_c04_shape((16, 5, 3, 3), 16)
