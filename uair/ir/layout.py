"""How a tensor lies in memory.

The logical shape of a tensor is always the framework-neutral one (N, C, H, W for images). A layout maps it to the
storage shape of the device buffer. Vendor layouts such as NC1HWC0 are instances of one scheme: pad some logical axes
up to a multiple of a block, split the block off as an axis of its own, permute, and pad the innermost row to a pitch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import attrs
import numpy as np

from uair.ir.dims import Dim, Shape, ceil_div, is_static
from uair.ir.dtype import Array


@attrs.frozen
class Layout:
    """A storage scheme.

    Attributes:
        name: the spelling in the text form, e.g. "NC1HWC0".
        blocks: (logical axis, block) pairs: the axis is padded to a multiple of the block and split in two,
            (axis outer, axis inner).
        order: order of the storage axes. Axis i stands for logical axis i (its outer part when blocked); the inner part
            of the k-th block is axis rank + k. Empty: logical order, blocks last.
        row_alignment: the innermost storage axis is padded to a multiple of this many bytes; 1 means dense rows.
    """

    name: str = "any"
    blocks: tuple[tuple[int, int], ...] = ()
    order: tuple[int, ...] = ()
    row_alignment: int = 1

    ANY: ClassVar[Layout]
    PLAIN: ClassVar[Layout]

    @property
    def is_blocked(self) -> bool:
        """Whether an axis is split into blocks."""
        return bool(self.blocks)

    def storage_shape(self, shape: Shape, itemsize: int = 1) -> Shape:
        """Shape of the buffer that holds a tensor of logical `shape` with elements of `itemsize` bytes.

        Raises:
            ValueError: a blocked axis does not exist in `shape`.
        """
        outer: list[Dim] = list(shape)
        inner: list[Dim] = []
        for axis, block in self.blocks:
            if axis >= len(shape):
                raise ValueError(f"layout {self.name} blocks axis {axis}, the tensor has rank {len(shape)}")
            outer[axis] = ceil_div(outer[axis], block)
            inner.append(block)
        axes = outer + inner
        stored = [axes[i] for i in (self.order or range(len(axes)))]
        per_row = max(self.row_alignment // itemsize, 1)
        if per_row > 1 and stored:
            stored[-1] = ceil_div(stored[-1], per_row) * per_row
        return tuple(stored)

    def pack(self, x: Array) -> Array:
        """The storage array of logical array `x`; padding is zero."""
        for axis, block in self.blocks:
            extra = -x.shape[axis] % block
            if extra:
                x = np.pad(x, [(0, extra if i == axis else 0) for i in range(x.ndim)])
        rank = x.ndim
        split: list[int] = []
        blocks = dict(self.blocks)
        for axis, extent in enumerate(x.shape):
            split += [extent // blocks[axis], blocks[axis]] if axis in blocks else [extent]
        x = np.asarray(x.reshape(split).transpose(self._split_axes(rank)), order="C")  # which keeps rank 0
        per_row = max(self.row_alignment // x.dtype.itemsize, 1)
        if per_row > 1 and x.ndim and x.shape[-1] % per_row:
            x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % per_row)])
        return x

    def unpack(self, stored: Array, shape: tuple[int, ...]) -> Array:
        """The logical array of `shape` held by storage array `stored`; padding is dropped."""
        dense = attrs.evolve(self, row_alignment=1).storage_shape(shape)
        if not is_static(dense):
            raise ValueError("unpack needs a static shape")
        if stored.ndim:
            stored = stored[..., : dense[-1]]
        permutation = self._split_axes(len(shape))
        x = stored.transpose(np.argsort(permutation))
        padded = list(shape)
        for axis, block in self.blocks:
            padded[axis] = -(-shape[axis] // block) * block
        cropped: Array = np.asarray(x.reshape(padded)[tuple(slice(0, extent) for extent in shape)])
        return cropped

    def _split_axes(self, rank: int) -> list[int]:
        """For each storage axis its position in the array whose blocked axes are split in place."""
        position: list[int] = []
        at = 0
        inner: dict[int, int] = {}
        blocked = [axis for axis, _ in self.blocks]
        for axis in range(rank):
            position.append(at)
            at += 1
            if axis in blocked:
                inner[blocked.index(axis)] = at
                at += 1
        position += [inner[k] for k in range(len(blocked))]
        return [position[i] for i in (self.order or range(len(position)))]

    def __str__(self) -> str:
        return self.name


Layout.ANY = Layout("any")
Layout.PLAIN = Layout("plain")


def plain(row_alignment: int = 1) -> Layout:
    """Logical order; rows padded to `row_alignment` bytes."""
    return Layout("plain", row_alignment=row_alignment)


def nhwc() -> Layout:
    """Channels last, for rank 4."""
    return Layout("NHWC", order=(0, 2, 3, 1))


def nc1hwc0(c0: int) -> Layout:
    """Channels in blocks of `c0`: [N, ceil(C/c0), H, W, c0]; Ascend's feature maps, also Rockchip's NC1HWC2."""
    return Layout(f"NC1HWC0<{c0}>", blocks=((1, c0),), order=(0, 1, 2, 3, 4))


def fractal_z(c0: int, n0: int = 16) -> Layout:
    """Ascend convolution-weight format: [C1, H, W, N1, n0, c0] (the vendor's view merges C1*H*W)."""
    return Layout(f"FRACTAL_Z<{c0}>", blocks=((0, n0), (1, c0)), order=(1, 2, 3, 0, 4, 5))


def fractal_z_matrix(c0: int, n0: int = 16) -> Layout:
    """Ascend's FRACTAL_Z of a matrix [r, c]: [ceil(r/c0), ceil(c/n0), n0, c0]."""
    return Layout(f"FRACTAL_Z_MATRIX<{c0}>", blocks=((1, n0), (0, c0)), order=(0, 1, 2, 3))


def fractal_nz(c0: int, rank: int = 2, m0: int = 16) -> Layout:
    """Ascend's format of matrices [..., H, W]: [..., ceil(W/c0), ceil(H/m0), m0, c0]."""
    if rank < 2:
        raise ValueError(f"FRACTAL_NZ holds matrices, the tensor has rank {rank}")
    rows, columns = rank - 2, rank - 1
    order = (*range(rank - 2), columns, rows, rank, rank + 1)
    return Layout(f"FRACTAL_NZ<{c0}>", blocks=((rows, m0), (columns, c0)), order=order)


def nc1hwc2(c2: int) -> Layout:
    """Rockchip's feature maps: [N, ceil(C/c2), H, W, c2]; the scheme of NC1HWC0."""
    return Layout(f"NC1HWC2<{c2}>", blocks=((1, c2),), order=(0, 1, 2, 3, 4))


def nhwc_padded(block: int) -> Layout:
    """Channels last and padded to a multiple of `block`: [N, H, W, ceil(C/block), block] (Cambricon: 64)."""
    return Layout(f"NHWC<{block}>", blocks=((1, block),), order=(0, 2, 3, 1, 4))


def w8c4() -> Layout:
    """Horizon's 8W4C: tiles of 8 columns by 4 channels, [N, H, ceil(W/8), ceil(C/4), 8, 4].

    That the tiles are padded to 8 columns and 4 channels is documented; their order is inferred from the name.
    """
    return Layout("8W4C", blocks=((3, 8), (1, 4)), order=(0, 2, 3, 1, 4, 5))


IMAGE_LAYOUTS: Mapping[str, Callable[[int], Layout]] = {
    "NC1HWC0": nc1hwc0,
    "NC1HWC2": nc1hwc2,
    "NHWC": lambda block: nhwc_padded(block) if block > 1 else nhwc(),
    "8W4C": lambda _: w8c4(),
}
"""Layouts of feature maps by the name that device files give them, of a number of channels in a block."""
MATRIX_LAYOUTS: Mapping[str, Callable[[int, int], Layout]] = {"FRACTAL_NZ": fractal_nz}
"""Layouts of matrices by name, of a block of columns and a rank."""
