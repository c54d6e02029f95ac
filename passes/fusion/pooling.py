"""Several maximum poolings of one image."""

from __future__ import annotations

from typing import Any

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops import Concat, MaxPool2D
from uair.rewrite import NoMatch, Rule, no, of


class ChainMaxPools(Rule):
    """Maximum poolings of one image side by side (SPP) become a chain of smaller ones (SPPF).

    The maximum over 9 x 9 places is that of maxima over 5 x 5 of maxima over 5 x 5; the padding never wins.
    """

    def pattern(self) -> Any:
        """What joins them."""
        return of(Concat)(...).named("concat")

    def check(self, concat: Node) -> bool | NoMatch:
        """Two of them are of the same image, and one has a larger kernel in both axes."""
        return bool(_links(concat)) or no("no two poolings of one image with kernels that grow", concat)

    def rewrite(self, concat: Node) -> Tensor:
        """Each pooling of the one before."""
        links, made = _links(concat), dict[Tensor, Tensor]()
        for smaller, larger in links:
            small, large = _op(smaller), _op(larger)
            kernel = tuple(b - a + 1 for a, b in zip(small.kernel, large.kernel, strict=True))
            pads = tuple(b - a for a, b in zip(small.pads, large.pads, strict=True))
            pool: Any = large
            made[larger] = attrs.evolve(pool, kernel=kernel, pads=pads)(made.get(smaller, smaller))
        return concat.op(*(made.get(t, t) for t in concat.inputs if t is not None))


def _links(concat: Node) -> list[tuple[Tensor, Tensor]]:
    """Results of poolings of one image, each with that of the next larger kernel."""
    by_image: dict[Tensor, list[Tensor]] = {}
    for tensor in dict.fromkeys(concat.inputs):
        if tensor is not None and tensor.producer is not None and _keeps_size(tensor.producer):
            source = tensor.producer.inputs[0]
            assert source is not None
            by_image.setdefault(source, []).append(tensor)
    links: list[tuple[Tensor, Tensor]] = []
    for pools in by_image.values():
        pools.sort(key=lambda t: _op(t).kernel)
        links += [
            (small, large)
            for small, large in zip(pools, pools[1:], strict=False)
            if all(a < b for a, b in zip(_op(small).kernel, _op(large).kernel, strict=True))
        ]
    return links


def _op(pooled: Tensor) -> MaxPool2D:
    assert pooled.producer is not None and isinstance(pooled.producer.op, MaxPool2D)
    return pooled.producer.op


def _keeps_size(node: Node) -> bool:
    """Whether it takes the maximum around every place."""
    op = node.op
    if not isinstance(op, MaxPool2D) or op.strides != (1, 1) or op.dilations != (1, 1) or op.auto_pad != "notset":
        return False
    around = tuple(k // 2 for k in op.kernel)
    return all(k % 2 for k in op.kernel) and op.pads == (*around, *around)


RULES = (ChainMaxPools,)
