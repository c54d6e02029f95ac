"""Ascend's weight formats that no `Layout` can say: they merge groups, or axes, before they are cut into fractals.

Source: GE, graph_metadef/third_party/transformer/src/transfer_shape_utils.cc.
"""

from __future__ import annotations

import math

import numpy as np

from uair.ir.dtype import Array
from uair.ir.layout import fractal_z


def merged_groups(inputs: int, outputs: int, groups: int, c0: int, n0: int = 16) -> int:
    """E, the groups that share a block: as many as fill whole fractals of channels, and no more than there are.

    Args:
        inputs: input channels of a group.
        outputs: output channels of a group.
        groups: their number.
        c0: channels of a fractal.
        n0: output channels of a fractal.
    """
    return min(math.lcm(c0 // math.gcd(inputs, c0), n0 // math.gcd(outputs, n0)), groups)


def grouped_fractal_z_shape(shape: tuple[int, ...], groups: int, c0: int, n0: int = 16) -> tuple[int, ...]:
    """Storage shape of grouped weights [N, C, H, W] (C of one group): [G1 * C1 * H * W, N1, n0, c0].

    Raises:
        ValueError: the output channels cannot be divided into the groups.
    """
    n, c, h, w = shape
    if groups < 1 or n % groups:
        raise ValueError(f"{n} output channels cannot be divided into {groups} groups")
    together = merged_groups(c, n // groups, groups, c0, n0)
    blocks = -(-groups // together)
    return (blocks * -(-c * together // c0) * h * w, -(-(n // groups) * together // n0), n0, c0)


def pack_grouped_fractal_z(weights: Array, groups: int, c0: int, n0: int = 16) -> Array:
    """The storage array of grouped weights [N, C, H, W]: the groups of a block lie on its diagonal, zeros beside them.

    Raises:
        ValueError: the output channels cannot be divided into the groups.
    """
    stored = grouped_fractal_z_shape(weights.shape, groups, c0, n0)
    n, c, h, w = weights.shape
    each = n // groups
    together = merged_groups(c, each, groups, c0, n0)
    blocks = -(-groups // together)
    dense = np.zeros((blocks, each * together, c * together, h, w), weights.dtype)
    for group in range(groups):
        block, place = divmod(group, together)
        rows = slice(place * each, (place + 1) * each)
        columns = slice(place * c, (place + 1) * c)
        dense[block, rows, columns] = weights[group * each : (group + 1) * each]
    layout = fractal_z(c0, n0)
    return np.stack([layout.pack(block) for block in dense]).reshape(stored)


def unpack_grouped_fractal_z(stored: Array, shape: tuple[int, ...], groups: int, n0: int = 16) -> Array:
    """The weights [N, C, H, W] that `pack_grouped_fractal_z` stored."""
    n, c, h, w = shape
    each, c0 = n // groups, stored.shape[-1]
    together = merged_groups(c, each, groups, c0, n0)
    blocks = -(-groups // together)
    layout = fractal_z(c0, n0)
    dense_shape = (each * together, c * together, h, w)
    parts = stored.reshape(blocks, -(-c * together // c0), h, w, -(-each * together // n0), n0, c0)
    dense = [layout.unpack(part, dense_shape) for part in parts]
    weights = np.empty(shape, stored.dtype)
    for group in range(groups):
        block, place = divmod(group, together)
        rows, columns = slice(place * each, (place + 1) * each), slice(place * c, (place + 1) * c)
        weights[group * each : (group + 1) * each] = dense[block][rows, columns]
    return weights


def fractal_z_c04_shape(shape: tuple[int, ...], c0: int, n0: int = 16) -> tuple[int, ...]:
    """Storage shape of weights [N, C, H, W] with at most four channels: [ceil(4*H*W/c0), ceil(N/n0), n0, c0].

    Raises:
        ValueError: there are more than four channels.
    """
    n, c, h, w = shape
    if c > 4:
        raise ValueError(f"FRACTAL_Z_C04 holds at most 4 channels, the weights have {c}")
    return (-(-4 * h * w // c0), -(-n // n0), n0, c0)


def pack_fractal_z_c04(weights: Array, c0: int, n0: int = 16) -> Array:
    """The storage array of weights with at most four channels; the channels run fastest.

    Raises:
        ValueError: there are more than four channels.
    """
    stored = fractal_z_c04_shape(weights.shape, c0, n0)
    n, c, h, w = weights.shape
    padded = np.pad(weights, [(0, -n % n0), (0, 4 - c), (0, 0), (0, 0)])
    columns = padded.transpose(0, 2, 3, 1).reshape(len(padded), 4 * h * w)
    columns = np.pad(columns, [(0, 0), (0, -columns.shape[1] % c0)])
    return np.ascontiguousarray(columns.reshape(stored[1], n0, stored[0], c0).transpose(2, 0, 1, 3))
