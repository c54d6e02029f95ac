"""What operators with a sliding window share: numbers per spatial axis, and images without a batch axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from uair import ops
from uair.frontends.torch.node import TorchNode
from uair.ir.graph import Tensor


def numbers(node: TorchNode, name: str, rank: int, default: int = 1) -> tuple[int, ...]:
    """An argument with one number per spatial axis, or one for all; an empty list stands for the default.

    Raises:
        SourceOperatorError: they are no numbers, or too few.
    """
    value = node.get(name)
    given = () if value is None else value if isinstance(value, tuple) else (value,)
    if not given:
        return (default,) * rank
    if not all(isinstance(v, int) for v in given):
        node.refuse(f"{name} must be numbers, is {given}", "export the model with fixed shapes")
    result = tuple(int(v) for v in given)
    if len(result) == 1:
        return result * rank
    if len(result) != rank:
        node.refuse(f"{name} has {len(result)} numbers for {rank} spatial axes")
    return result


def with_batch(node: TorchNode, x: Tensor, spatial: int, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of [N, C, spatial...] applied to a tensor that may lack the batch axis."""
    if node.rank(x) == spatial + 2:
        return function(x)
    return without_batch(node, function(batched(node, x, spatial)))


def batched(node: TorchNode, x: Tensor, spatial: int) -> Tensor:
    """The tensor with a batch axis of extent 1 in front, unless it has one."""
    rank = node.rank(x)
    if rank not in (spatial + 1, spatial + 2):
        node.refuse(f"the operand has rank {rank}, {spatial + 2} (or {spatial + 1} without a batch) is needed")
    return x if rank == spatial + 2 else node(ops.Unsqueeze(axes=(0,)), x)


def without_batch(node: TorchNode, x: Tensor) -> Tensor:
    """The tensor without its first axis, of extent 1."""
    return node(ops.Squeeze(axes=(0,)), x)


def symmetric(pads: Sequence[int]) -> tuple[int, ...]:
    """The same padding at both ends of every axis, in the canonical order."""
    return (*pads, *pads)
