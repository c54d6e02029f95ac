"""PyTorch's own list of core operators, which every program can be decomposed into."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from uair.frontends.torch.importer import handler_of

STRIDES = {"aten.sym_storage_offset.default", "aten.sym_stride.int"}
"""How a tensor lies in memory, which tensors of the IR do not tell."""


def _core() -> Iterator[str]:
    for name in dir(torch.ops.aten):
        packet = getattr(torch.ops.aten, name)
        if isinstance(packet, torch._ops.OpOverloadPacket):
            for overload in packet.overloads():
                operator = getattr(packet, overload)
                if torch.Tag.core in operator.tags:
                    yield str(operator)


def test_every_core_operator_of_inference_has_a_handler() -> None:
    found = set(_core())
    assert len(found) > 180
    missing = {name for name in found if handler_of(name) is None}
    assert {name for name in missing if "backward" not in name} == STRIDES
