"""Matrix products against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.frameworks.torch.harness import WARNINGS, check, check_batches

pytestmark = WARNINGS

X, Y, Z = torch.randn(3, 4), torch.randn(4, 5), torch.randn(3, 5)
A, B, C = torch.randn(3, 2, 4), torch.randn(3, 4, 5), torch.randn(3, 2, 5)
V, W = torch.randn(4), torch.randn(4)

FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "matmul": (torch.matmul, (A, B)),
    "matmul broadcast": (torch.matmul, (A, Y)),
    "matmul vectors": (lambda x, v, w: (x @ v, v @ w, v @ x.T), (X, V, W)),
    "mm": (torch.mm, (X, Y)),
    "bmm": (torch.bmm, (A, B)),
    "mv": (torch.mv, (X, V)),
    "dot": (lambda v, w: (torch.dot(v, w), torch.vdot(v, w)), (V, W)),
    "inner": (lambda x, v: (torch.inner(x, v), torch.inner(x, x)), (X, V)),
    "outer": (lambda v, w: (torch.outer(v, w), torch.ger(w, v)), (V, W)),
    "addmm": (
        lambda z, x, y: (torch.addmm(z, x, y), torch.addmm(z[0], x, y), torch.addmm(z, x, y, beta=0.5, alpha=2)),
        (Z, X, Y),
    ),
    "addmm without bias": (lambda z, x, y: torch.addmm(z, x, y, beta=0), (Z * float("nan"), X, Y)),
    "addmv": (lambda z, x, v: torch.addmv(z[:, 0], x, v, beta=2), (Z, X, V)),
    "addr": (lambda z, v, w: torch.addr(z, v[:3], torch.cat([w, w[:1]])), (Z, V, W)),
    "baddbmm": (lambda c, a, b: (torch.baddbmm(c, a, b), torch.baddbmm(c, a, b, beta=0.5, alpha=0.1)), (C, A, B)),
    "addbmm": (lambda c, a, b: torch.addbmm(c[0], a, b), (C, A, B)),
    "einsum attention": (lambda a: torch.einsum("bqd,bkd->bqk", a, a), (A,)),
    "einsum product": (lambda a, b: torch.einsum("bij, bjk -> bik", a, b), (A, B)),
    "einsum trace": (lambda a, b: torch.einsum("bij,bjk->bk", a, b), (A, B)),
    "einsum ellipsis": (lambda a, y: torch.einsum("...d,de->...e", a, y), (A, Y)),
    "einsum implicit": (lambda x, y: torch.einsum("ij,jk", x, y), (X, Y)),
    "einsum three": (lambda x, y, z: torch.einsum("ij,jk,ik->i", x, y, z), (X, Y, Z)),
    "tensordot": (lambda a, b: torch.tensordot(a, b, dims=([0, 2], [0, 1])), (A, B)),
    "triangles": (lambda a: (a.triu(), a.tril(-1), a.triu(1)), (A,)),
    "kron": (torch.kron, (X, Y)),
    "chain": (lambda x, y: torch.linalg.multi_dot([x, y, y.T]), (X, Y)),
    "inverse": (lambda x: (torch.linalg.inv(x @ x.mT), torch.linalg.det(x @ x.mT)), (A,)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    function, inputs = FUNCTIONS[name]
    check(function, *inputs)


@pytest.mark.parametrize(
    ("layer", "extents"),
    [
        (nn.Linear(4, 6), (4,)),
        (nn.Linear(4, 6, bias=False), (2, 3, 4)),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), (3, 4)),
    ],
    ids=str,
)
def test_layer(layer: nn.Module, extents: tuple[int, ...]) -> None:
    check_batches(layer, torch.randn(3, *extents))


def test_bilinear() -> None:
    check_batches(nn.Bilinear(4, 5, 6), X, Z)
    check(nn.Bilinear(4, 5, 6, bias=False), torch.randn(2, 3, 4), torch.randn(2, 3, 5))


def test_vector_as_operand() -> None:
    check(nn.Linear(4, 6), V)


def test_linear_is_one_node_over_the_modules_own_memory() -> None:
    layer = nn.Linear(4, 6)
    module = check(layer, X)
    (node,) = module.main
    assert node.op_type == "Linear"
    weight = node.inputs[1]
    assert weight is not None and weight.name == "weight"
    assert weight.numpy().ctypes.data == layer.weight.data_ptr()


def test_einsum_of_matrices_is_a_product() -> None:
    module = check(lambda a, b: torch.einsum("bij,bkj->bik", a, b), A, A)
    assert [(n.op_type, n.attributes["trans_b"]) for n in module.main] == [("MatMul", True)]


def test_integers() -> None:
    check(lambda i, j: i @ j, torch.arange(6).reshape(2, 3), torch.arange(12).reshape(3, 4))


@pytest.mark.parametrize("ends", [[2, 3, 7], [0, 7, 7], [0, 0, 7]])
def test_groups_of_rows_have_a_matrix_each(ends: list[int]) -> None:
    """The experts of a model; one may have no rows."""
    rows, matrices = torch.randn(7, 16).bfloat16(), torch.randn(3, 16, 8).bfloat16()
    offs = torch.tensor(ends, dtype=torch.int32)
    check(lambda x, w, o: torch.nn.functional.grouped_mm(x, w, offs=o), rows, matrices, offs, tolerance=1e-2)
