"""What a placement costs: seconds of nodes on the device and on the CPU, and of copies between them.

The device's seconds come from its description (uair.targets.cost). Nothing is known of the CPU beside the device: what
is assumed of it below decides only whether a small group of nodes is worth the copies, and is reported as uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from uair.ir.graph import Node, Tensor
from uair.targets.check import node_flops
from uair.targets.cost import bytes_per_second, estimate
from uair.targets.description import DeviceDescription

CPU_OPERATIONS = 10e9
"""Operations per second, assumed: a few cores of an embedded CPU with 128-bit vectors."""
CPU_BANDWIDTH = 5e9
"""Bytes per second that the CPU reads and writes, assumed."""
COPY_BANDWIDTH = 5e9
"""Bytes per second between the two where the description has no slower memory, assumed."""
START = 50e-6
"""Seconds to hand work to the device, assumed: a call into the driver and an interrupt back."""


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor; 0 where a size is open or the values have no fixed size."""
    t = tensor.type
    if not t.is_tensor or not t.is_static:
        return 0
    return (t.size * t.dtype.bits + 7) // 8


def cpu_seconds(node: Node) -> float:
    """Seconds of a node on the CPU, assumed: its operations, or its bytes where these take longer."""
    moved = sum(tensor_bytes(t) for t in {*node.inputs, *node.outputs} if t is not None)
    return max((node_flops(node) or 0) / CPU_OPERATIONS, moved / CPU_BANDWIDTH)


@attrs.frozen
class Prices:
    """Seconds for one device; each node is asked about once."""

    description: DeviceDescription
    _device: dict[Node, float] = attrs.field(factory=dict[Node, float])
    _cpu: dict[Node, float] = attrs.field(factory=dict[Node, float])

    def device(self, nodes: Iterable[Node]) -> float:
        """Seconds of nodes on the device; nothing for a node whose cost is not known."""
        total = 0.0
        for node in nodes:
            if node not in self._device:
                self._device[node] = 0.0 if node.regions else estimate(node, self.description).seconds or 0.0
            total += self._device[node]
        return total

    def cpu(self, nodes: Iterable[Node]) -> float:
        """Seconds of nodes on the CPU."""
        total = 0.0
        for node in nodes:
            if node not in self._cpu:
                self._cpu[node] = cpu_seconds(node)
            total += self._cpu[node]
        return total

    def copy(self, bytes: int) -> float:
        """Seconds to copy so many bytes from one to the other."""
        rate, _ = bytes_per_second(self.description)
        return bytes / min(rate or COPY_BANDWIDTH, COPY_BANDWIDTH)
