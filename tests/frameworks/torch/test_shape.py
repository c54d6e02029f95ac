"""Shapes, cutting, joining and padding against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import uair
from tests.frameworks.torch.harness import WARNINGS, check, check_batches
from uair.frontends.common.errors import SourceOperatorError

pytestmark = WARNINGS

X, Y = torch.randn(4, 6, 5), torch.randn(4, 2, 5)
IMAGE = torch.randn(2, 8, 6, 4)

FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "view": (
        lambda x: (x.view(x.shape[0], -1), x.view(-1), x.reshape(-1, 3, 2, 5), x.reshape(x.shape[0] * 2, 15)),
        (X,),
    ),
    "flatten": (lambda x: (x.flatten(), x.flatten(1), x.flatten(0, 1), torch.ravel(x)), (X,)),
    "unflatten": (lambda x: (x.unflatten(1, (2, 3)), x.unflatten(1, (-1, 2))), (X,)),
    "view as": (lambda x, y: (x.view_as(x * 1), y.expand_as(y)), (X, Y)),
    "expand": (
        lambda x: (x[:, :1].expand(-1, 7, 5), x[:1].expand(3, *x.shape), torch.broadcast_to(x, (2, *x.shape))),
        (X,),
    ),
    "squeeze": (lambda x: (x[:, :1].squeeze(), x[:, :1].squeeze(1), x.squeeze(1), x[:, :1, :1].squeeze((1, 2))), (X,)),
    "unsqueeze": (lambda x: (x.unsqueeze(0), x.unsqueeze(-1), x[:, None, :, None]), (X,)),
    "permute": (lambda x: (x.permute(2, 0, 1), x.permute(0, -1, 1), x.mT, x.transpose(0, -1), x.swapaxes(1, 2)), (X,)),
    "t": (lambda x: (x[:, 0].t(), x[:, 0].T, x[:, 0].mT, x[:, 0, 0].t()), (X,)),
    "movedim": (lambda x: (x.movedim(0, 2), x.movedim((0, 1), (-1, 0)), torch.moveaxis(x, 2, 0)), (X,)),
    "flip": (lambda x: (x.flip(1), x.flip((0, -1)), torch.fliplr(x), torch.flipud(x)), (X,)),
    "rot90": (lambda x: tuple(torch.rot90(x, k, (1, 2)) for k in range(-1, 4)), (X,)),
    "roll": (lambda x: (x.roll(2, 1), x.roll((-1, 2), (1, 2)), x.roll(3, 1), x.roll(8, 2)), (X,)),
    "slice": (lambda x: (x[:, 1:4], x[:, ::2], x[:, -3:-1], x[..., 1:], x[:, 4:100], x[1:]), (X,)),
    "select": (lambda x: (x[:, 2], x[:, -1], x[..., 0], x.select(2, -2), x[:, 1, 3], x[0]), (X,)),
    "narrow": (lambda x: (x.narrow(1, 2, 3), torch.narrow(x, 2, -3, 2)), (X,)),
    "split": (lambda x: (x.split(2, 1), x.split([1, 2, 3], 1), x.split(4, 1), x.split(6, 1)), (X,)),
    "chunk": (lambda x: (x.chunk(2, 1), x.chunk(4, 1), x.tensor_split(4, 1), x.tensor_split((1, 3), 2)), (X,)),
    "split in part": (lambda x: (x.split(2, 1)[1], x.chunk(3, 1)[0] + x.chunk(3, 1)[2]), (X,)),
    "splits": (lambda x: (torch.hsplit(x, 3), torch.vsplit(x[:, 0].T, 5), torch.dsplit(x, [2])), (X,)),
    "unbind": (lambda x: (x.unbind(1), x.unbind(-1)[2], [y * 2 for y in x[:, :2].unbind(1)]), (X,)),
    "cat": (lambda x, y: (torch.cat([x, y], 1), torch.cat([x, y, x], dim=-2), torch.cat([x], 0)), (X, Y)),
    "cat of types": (lambda x, y: torch.cat([x, y.double(), y.int()], 1), (X, Y)),
    "cat of nothing": (lambda x: torch.cat([torch.empty(0), x], 0), (X,)),
    "stack": (
        lambda x: (torch.stack([x, x * 2]), torch.stack([x, x + 1, x], 1), torch.stack([x, x], -1), torch.stack([x])),
        (X,),
    ),
    "stacks": (
        lambda x, y: (
            torch.hstack([x, y]),
            torch.vstack([x[:, :2], y]),
            torch.dstack([y, y]),
            torch.column_stack([x[:, 0, 0], x[:, 1, 1]]),
        ),
        (X, Y),
    ),
    "tile": (lambda x: (x.repeat(1, 2, 3), x.repeat(2, 1, 1, 1), x.tile(2), x.tile(1, 2, 1), x.repeat(1, 1, 1)), (X,)),
    "repeat interleave": (lambda x: (x.repeat_interleave(3, 1), x.repeat_interleave(2, dim=-1)), (X,)),
    "unfold": (lambda x: (x.unfold(1, 3, 2), x.unfold(2, 2, 1), x.unfold(-1, 5, 1)), (X,)),
    "diagonal": (
        lambda x: (x.diagonal(0, 1, 2), x.diagonal(1, 1, 2), x.diagonal(-2, 2, 1), torch.linalg.diagonal(x)),
        (X,),
    ),
    "diag": (lambda x: (torch.diag(x[0, 0]), torch.diag(x[0, 0], 2), torch.diag(x[0, :5], -1), x[0, :5].trace()), (X,)),
    "meshgrid": (lambda x: torch.meshgrid(x[0, 0], x[0, :, 0], indexing="xy"), (X,)),
    "identities": (lambda x: (x.clone() + x.detach(), x.contiguous() * torch.positive(x), x.view_as(x)), (X,)),
    "scalars": (lambda x: (torch.stack([x[0, 0, 0], x[1, 1, 1]]), x[0, 0, 0].view(1), x.sum().expand(3)), (X,)),
}

PADS: dict[str, Callable[..., Any]] = {
    "constant": lambda x: (F.pad(x, (1, 2)), F.pad(x, (1, 0, 2, 3), value=1.5), F.pad(x, (0, 0, 0, 0, 1, 1))),
    "crop": lambda x: (F.pad(x, (-1, 2, 1, -2)), F.pad(x, (-1, -1))),
    "reflect": lambda x: F.pad(x, (1, 2, 3, 1), mode="reflect"),
    "replicate": lambda x: F.pad(x, (1, 2, 3, 1), mode="replicate"),
    "circular": lambda x: F.pad(x, (1, 2, 3, 1), mode="circular"),
    "layers": lambda x: (nn.ZeroPad2d(1)(x), nn.ReflectionPad2d((1, 0, 2, 1))(x), nn.ReplicationPad2d(1)(x)),
    "infinite": lambda x: F.pad(x, (1, 1), value=-float("inf")).amax(-1),
}

BLOCKS: dict[str, Callable[..., Any]] = {
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "without a batch": lambda x: (F.pixel_shuffle(x[0], 2), F.pixel_unshuffle(x[0], 2)),
    "channel shuffle": lambda x: F.channel_shuffle(x, 4),
    "unfold": lambda x: (F.unfold(x, 2), F.unfold(x, (3, 2), dilation=(1, 2), padding=1, stride=2)),
    "fold": lambda x: F.fold(F.unfold(x, 3, padding=1), (6, 4), 3, padding=1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    function, inputs = FUNCTIONS[name]
    check_batches(function, *inputs)


@pytest.mark.parametrize("name", PADS)
def test_pad(name: str) -> None:
    check_batches(PADS[name], IMAGE)


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(name: str) -> None:
    check_batches(BLOCKS[name], IMAGE)


def test_pads_of_other_ranks() -> None:
    x1, x3 = torch.randn(2, 3, 6), torch.randn(2, 3, 4, 5, 6)
    for mode in ("reflect", "replicate", "circular"):
        check(lambda x, mode=mode: F.pad(x, (2, 1), mode=mode), x1)
        check(lambda x, mode=mode: F.pad(x, (2, 1, 0, 1, 1, 0), mode=mode), x3)


def test_sizes_in_arguments() -> None:
    free = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)

    def function(x: torch.Tensor) -> Any:
        n, m = x.shape[:2]
        return x.view(n * m, -1), x[:, : m // 2], x[:, m // 2 :], x.expand(3, n, m, 5), x * n + m // 2, x[:, -2:]

    check(function, X, dynamic_shapes=(free,), others=[[torch.randn(3, 9, 5)], [torch.randn(7, 4, 5)]])


def test_strides_are_refused() -> None:
    with pytest.raises(SourceOperatorError, match="strides"):
        uair.load(_Strided(), X)


class _Strided(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_strided(x, (2, 2), (1, 2))
