"""PyTorch's own list of core operators, which every program can be decomposed into."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from uair.frontends.torch.importer import handler_of

MEMORY = {
    "aten.resize_.default",
    "aten.sym_is_contiguous.default",
    "aten.sym_storage_offset.default",
    "aten.sym_stride.int",
}
"""How a tensor lies in memory, which tensors of the IR do not tell."""


def _core() -> Iterator[str]:
    """By the dispatcher's list: `torch.ops.aten` knows only what was asked for before."""
    for full in torch._C._dispatch_get_all_op_names():
        name, _, overload = full.removeprefix("aten::").partition(".")
        packet = getattr(torch.ops.aten, name, None) if full.startswith("aten::") else None
        operator = getattr(packet, overload or "default", None)
        if operator is not None and torch.Tag.core in operator.tags:
            yield str(operator)


def test_every_core_operator_of_inference_has_a_handler() -> None:
    found = set(_core())
    assert len(found) > 180
    missing = {name for name in found if handler_of(name) is None}
    assert {name for name in missing if "backward" not in name} == MEMORY
