"""2:4 sparsity: of every four weights that follow each other along the summed channels, two are zero.

A weight is seen as [results, taps, channels], channels in groups of four. Which two of four stay is decided by
magnitude; by |w| times the norm of what it meets (Wanda, Sun et al., arXiv 2306.11695); or column by column with the
remaining columns taking over what a removed weight did, by the inverse second moments of what the layer reads
(SparseGPT, Frantar and Alistarh, arXiv 2301.00774, algorithm 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node
from uair.quant.scheme import CONVOLUTIONS

GROUP, KEPT = 4, 2
DAMPING = 0.01
"""Added to the diagonal of the moments, by its mean."""
SEEN = 8
"""Results whose weights are looked at before all are: they tell a dense weight."""
BLOCK = 128
"""Columns after which the change of all later ones is made up."""


def refusal(node: Node) -> str:
    """Why a node's weight cannot be made sparse; empty when it can."""
    if node.op_type not in (*CONVOLUTIONS, "Linear", "MatMul"):
        return "no convolution or matrix product"
    w = node.inputs[1]
    if w is None or w.data is None:
        return "its weight is no constant"
    if w.type.dtype not in (DType.F32, DType.F16) or not w.type.is_static:
        return f"its weight is {w.type}"
    op: Any = node.op
    if node.op_type == "MatMul" and (w.type.rank != 2 or op.trans_a):
        return "it is no product with a matrix"
    width = w.data.shape[1] if node.op_type in CONVOLUTIONS else w.data.shape[_inner(node)]
    if width % GROUP or not width:
        return f"it sums over {width} channels, which are no groups of {GROUP}"
    return ""


def _inner(node: Node) -> int:
    """The axis of a matrix that is summed over."""
    op: Any = node.op
    if node.op_type == "Linear":
        return 1 if op.transpose_w else 0
    return 1 if op.trans_b else 0


def rows_of(node: Node, w: Array) -> Array:
    """The weight as [results, taps * channels], the channels of a tap side by side."""
    if node.op_type in CONVOLUTIONS:
        return np.ascontiguousarray(np.moveaxis(w, 1, -1)).reshape(len(w), -1)
    return w if _inner(node) == 1 else np.ascontiguousarray(w.T)


def weight_of(node: Node, rows: Array, shape: tuple[int, ...]) -> Array:
    """The weight of such rows."""
    if node.op_type in CONVOLUTIONS:
        return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[0], *shape[2:], shape[1]), -1, 1))
    return rows if _inner(node) == 1 else np.ascontiguousarray(rows.T)


def follows_pattern(rows: Array) -> bool:
    """Whether every group of four holds two zeros."""
    return bool(((rows.reshape(len(rows), -1, GROUP) != 0).sum(axis=2) <= KEPT).all())


def has_sparse_weights(graph: Graph) -> bool:
    """Whether a weight of the graph follows the pattern, floating-point or between Quantize and Dequantize."""
    return any(_is_sparse(node) for node in graph)


def _is_sparse(node: Node) -> bool:
    if node.op_type not in (*CONVOLUTIONS, "Linear", "MatMul"):
        return False
    w = node.inputs[1]
    while w is not None and w.producer is not None and w.producer.op_type in ("Dequantize", "Quantize"):
        w = w.producer.inputs[0]
    if w is None or w.data is None or (node.op_type == "MatMul" and len(w.data.shape) != 2):
        return False
    rows = rows_of(node, w.numpy())
    return rows.shape[1] % GROUP == 0 and bool(rows.any()) and follows_pattern(rows[:SEEN]) and follows_pattern(rows)


def masked(rows: Array, importance: Array) -> Array:
    """The rows with the less important half of every group zero; of equals the first stay."""
    groups = importance.reshape(len(rows), -1, GROUP)
    order = np.argsort(-groups, axis=2, kind="stable")
    mask = np.zeros(groups.shape, bool)
    np.put_along_axis(mask, order[:, :, :KEPT], values=True, axis=2)
    return np.where(mask.reshape(rows.shape), rows, 0)


def by_magnitude(rows: Array) -> Array:
    """The greater two of every four stay."""
    return masked(rows, np.abs(rows))


def by_norms(rows: Array, moments: Array) -> Array:
    """|w| times the norm of what it meets decides; moments: [n, n], mean products of what is read."""
    return masked(rows, np.abs(rows) * np.sqrt(np.maximum(np.diag(moments), 0)))


def updated(rows: Array, moments: Array) -> Array:
    """The rows with half of their weights zero and the others changed to make up for them.

    Args:
        rows: [results, n].
        moments: [n, n], mean products of what is read.
    """
    n = rows.shape[1]
    diagonal = np.diag(moments)
    damped = moments + (DAMPING * float(diagonal.mean()) + 1e-12) * np.eye(n)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    work, result = rows.astype(np.float64).copy(), np.zeros(rows.shape)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        errors = np.zeros((len(rows), stop - start))
        mask = np.zeros((len(rows), 0), bool)
        for i in range(start, stop):
            if i % GROUP == 0:
                group = work[:, i : i + GROUP] / np.diag(upper)[i : i + GROUP]
                mask = masked(group, np.abs(group)) != 0
            column = work[:, i]
            result[:, i] = np.where(mask[:, i % GROUP], column, 0)
            error = (column - result[:, i]) / upper[i, i]
            work[:, i:stop] -= np.outer(error, upper[i, i:stop])
            errors[:, i - start] = error
        work[:, stop:] -= errors @ upper[start:stop, stop:]
    return result
