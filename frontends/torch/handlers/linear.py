"""Matrix products and what is made of matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uair import ops
from uair.frontends.torch.node import Family, TorchNode
from uair.frontends.torch.promotion import operand
from uair.ir.dtype import DType
from uair.ir.graph import Tensor

FAMILY = Family()


@FAMILY.op("aten.linear")
def _linear(node: TorchNode) -> Tensor:
    """The product x @ weight^T + bias; a weight of one axis gives one feature without an axis."""
    x, w, bias = node.tensor("input"), node.tensor("weight"), node.optional("bias")
    if node.rank(w) == 1:
        made = node(ops.MatMul(), x, w)
        return made if bias is None else node(ops.Add(), made, bias)
    if bias is not None and node.rank(bias) != 1:
        return node(ops.Add(), node(ops.Linear(transpose_w=True), x, w), bias)
    return node(ops.Linear(transpose_w=True), x, w, bias)


@FAMILY.op("aten.matmul", "aten.linalg_matmul")
def _matmul(node: TorchNode) -> Tensor:
    return node(ops.MatMul(), node.tensor("self"), node.tensor("other"))


@FAMILY.op("aten.mm", "aten.bmm", "aten.mv", "aten.dot", "aten.vdot", "aten.inner")
def _product(node: TorchNode) -> Tensor:
    second = next(name for name in ("mat2", "vec", "tensor", "other") if name in node.values)
    a, b = node.tensor("self"), node.tensor(second)
    if "inner" not in node.op_type:
        return node(ops.MatMul(), a, b)
    if not node.rank(a) or not node.rank(b):
        return node(ops.Mul(), a, b)
    rank = node.rank(b)
    return node(ops.MatMul(), a, node.transposed(b, (*range(rank - 2), rank - 1, rank - 2)) if rank > 1 else b)


@FAMILY.op("aten._grouped_mm", "transformers.grouped_mm_fallback")
def _grouped_product(node: TorchNode) -> Tensor:
    """Products of groups of rows with a matrix each, which end at the rows `offs`: the experts of a model.

    self: [rows, k]; mat2: [groups, k, n]; result: [rows, n]. How many rows a group has only the values say.
    """
    own = node.op_type.startswith("transformers")
    x, w = node.tensor("input" if own else "self"), node.tensor("weight" if own else "mat2")
    if node.rank(x) != 2 or node.rank(w) != 3 or node.get("bias") is not None or node.get("offs") is None:
        node.refuse("groups of other axes than the rows of the first operand, or a bias, have no counterpart")
    groups = node.shape(w)[0]
    if not isinstance(groups, int) or not groups:
        node.refuse("the number of groups is not known")
    ends = node.all(ops.Split(axis=0, sizes=(1,) * groups), node.cast(node.tensor("offs"), DType.I64))
    products: list[Tensor] = []
    start = node.stored(np.zeros(1, np.int64))
    for group, end in enumerate(ends):
        rows = node(ops.Slice(axes=(0,), steps=(1,)), x, start, end)
        matrix = node(ops.Gather(axis=0), w, node.stored(np.asarray(group)))
        products.append(node(ops.MatMul(), rows, matrix))
        start = end
    return node.reshaped(node(ops.Concat(axis=0), *products), node.result.dims)


@FAMILY.op("aten._int_mm")
def _integer_product(node: TorchNode) -> Tensor:
    return node(ops.IntegerMatMul(), node.tensor("self"), node.tensor("mat2"))


@FAMILY.op("aten.outer", "aten.ger")
def _outer(node: TorchNode) -> Tensor:
    a = node(ops.Unsqueeze(axes=(1,)), node.tensor("self"))
    return node(ops.Mul(), a, node.tensor("vec2"))


@FAMILY.op("aten.addmm", "aten.addmv", "aten.baddbmm")
def _addmm(node: TorchNode) -> Tensor:
    """The sum beta * self + alpha * (a @ b)."""
    names = {"aten.addmv": ("mat", "vec"), "aten.baddbmm": ("batch1", "batch2")}
    first, second = names.get(node.op_type.rpartition(".")[0], ("mat1", "mat2"))
    a, b = node.tensor(first), node.tensor(second)
    bias = node.tensor("self")
    plain = node.get("alpha", 1) == 1 and node.get("beta", 1) == 1
    if plain and first == "mat1" and bias.type.shape == node.shape(b)[1:]:
        return node(ops.Linear(transpose_w=False), a, b, bias)
    return _sum(node, bias, node(ops.MatMul(), a, b))


@FAMILY.op("aten.addbmm")
def _addbmm(node: TorchNode) -> Tensor:
    """The sum of beta * self and alpha times the sum of the products of a batch."""
    product = node(ops.MatMul(), node.tensor("batch1"), node.tensor("batch2"))
    return _sum(node, node.tensor("self"), node(ops.ReduceSum(axes=(0,), keepdims=False), product))


@FAMILY.op("aten.addr")
def _addr(node: TorchNode) -> Tensor:
    a = node(ops.Unsqueeze(axes=(1,)), node.tensor("vec1"))
    return _sum(node, node.tensor("self"), node(ops.Mul(), a, node.tensor("vec2")))


def _sum(node: TorchNode, bias: Tensor, product: Tensor) -> Tensor:
    """The sum beta * bias + alpha * product; with beta 0 the bias does not count, even where it is NaN."""
    alpha, beta = node.get("alpha", 1), node.get("beta", 1)
    dtype = product.type.dtype
    scaled = product if alpha == 1 else node(ops.Mul(), product, operand(node, alpha, dtype))
    if beta == 0:
        return scaled if scaled.type.shape == node.result.shape else node(ops.Expand(shape=node.result.dims), scaled)
    other = bias if beta == 1 else node(ops.Mul(), bias, operand(node, beta, dtype))
    return node(ops.Add(), other, scaled)


@FAMILY.op("aten.einsum")
def _einsum(node: TorchNode) -> Tensor:
    """An order of contraction (`path`) changes nothing but the time."""
    equation = str(node.get("equation")).replace(" ", "")
    tensors = node.tensors("tensors")
    swapped = _as_matmul(node, equation, tensors)
    return node(ops.Einsum(equation=equation), *tensors) if swapped is None else swapped


def _as_matmul(node: TorchNode, equation: str, tensors: Sequence[Tensor]) -> Tensor | None:
    """A product of matrices with equal leading letters, `bhqd,bhkd->bhqk`, which every device has; None for others."""
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != 2 or "." in equation or any(len(set(t)) < len(t) for t in (*terms, result)):
        return None
    a, b = terms
    if not len(a) == len(b) == len(result) >= 2 or not a[:-2] == b[:-2] == result[:-2]:
        return None
    m, n = list(result[-2:])
    batch = set(result[:-2])
    inner = (set(a) & set(b)) - batch
    if len(inner) != 1 or m not in a[-2:] or n not in b[-2:] or m in inner or n in inner:
        return None
    op = ops.MatMul(trans_a=a[-1] == m, trans_b=b[-2] == n)
    return node(op, *tensors)


@FAMILY.op("aten.bilinear")
def _bilinear(node: TorchNode) -> Tensor:
    """input1^T weight[k] input2 + bias[k]. weight: [K, I, J]."""
    operands = (node.tensor("input1"), node.tensor("weight"), node.tensor("input2"))
    made = node(ops.Einsum(equation="...i,kij,...j->...k"), *operands)
    bias = node.optional("bias")
    return made if bias is None else node(ops.Add(), made, bias)


@FAMILY.op("aten.triu")
def _triu(node: TorchNode) -> Tensor:
    return node(ops.Trilu(upper=True, k=node.get("diagonal", 0)), node.tensor("self"))


@FAMILY.op("aten.tril")
def _tril(node: TorchNode) -> Tensor:
    return node(ops.Trilu(upper=False, k=node.get("diagonal", 0)), node.tensor("self"))


@FAMILY.op("aten.linalg_det", "aten.det")
def _det(node: TorchNode) -> Tensor:
    return node(ops.Det(), node.tensor("A" if "A" in node.values else "self"))


@FAMILY.op("aten.linalg_inv", "aten.inverse")
def _inverse(node: TorchNode) -> Tensor:
    return node(ops.Inverse(), node.tensor("A" if "A" in node.values else "self"))
