"""What a node costs on a device: clock cycles, seconds, and which of arithmetic and transfers decides.

Everything comes from the device description (`[[unit]]`, `[cost]`, `[[memory]]`, `[compute]`). A convolution is counted
as the product that the matrix unit forms, tile by tile; its transfers are the bytes of operands, weights and result as
they lie in memory, channels padded to the layout's blocks:

    steps    = max(least_steps, kernel elements * ceil(channels / inputs))      cycles a row takes per block of outputs
    blocks   = images * groups * ceil(output channels / outputs) * ceil(pixels / row_alignment)
    compute  = ceil(blocks / cores) * steps * row_alignment / rows
    transfer = bytes / bytes per cycle
    cycles   = max(compute, transfer), or their sum where the chip cannot overlap them

Without units the peak of `[compute]` stands for them, and the answer is uncertain; what nothing is known of is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import attrs

from uair.ir.graph import Graph, Node
from uair.targets.description import DeviceDescription, Memory, confidence_of
from uair.targets.products import matrix_cycles, unit_for
from uair.targets.steps import Step, StepFinder, is_free, is_known
from uair.targets.verdict import Confidence

Bound = Literal["compute", "transfer", "nothing", "unknown"]


@attrs.frozen
class NodeCost:
    """What one node costs. Cycles are those of one core's clock; None where the description does not tell.

    Attributes:
        compute_cycles: of the arithmetic unit.
        transfer_cycles: of moving operands and results between the chip and its memory.
        cycles: of both together.
        seconds: the same as time.
        bound: which of the two decides; "nothing" for a node without cost, "unknown" when both are unknown.
        confidence: that of the least sure number in it.
        bytes: that are moved.
    """

    compute_cycles: float | None
    transfer_cycles: float | None
    cycles: float | None
    seconds: float | None
    bound: Bound
    confidence: Confidence
    bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "compute_cycles": rounded(self.compute_cycles),
            "transfer_cycles": rounded(self.transfer_cycles),
            "cycles": rounded(self.cycles),
            "microseconds": None if self.seconds is None else round(self.seconds * 1e6, 3),
            "bound": self.bound,
            "confidence": self.confidence.value,
            "bytes": self.bytes,
        }


NOTHING = NodeCost(0.0, 0.0, 0.0, 0.0, "nothing", Confidence.MEASURED)
UNKNOWN = NodeCost(None, None, None, None, "unknown", Confidence.UNCERTAIN)


def rounded(value: float | None) -> int | None:
    """Whole cycles."""
    return None if value is None else round(value)


def least_sure(confidences: Iterable[Confidence]) -> Confidence:
    """The confidence of what follows from several facts."""
    order = list(Confidence)
    return max(confidences, key=order.index, default=Confidence.MEASURED)


# -------------------------------------------------------------------------------------------------------------- entry
def estimate(node: Node, description: DeviceDescription) -> NodeCost:
    """What a node costs by itself: it reads its operands from memory and writes its results to it.

    Args:
        node: of a float or a quantized module; Quantize and Dequantize beside operators that compute in integers cost
            nothing, since these operators read and write integers.
        description: of the device.

    Returns:
        the cost; `UNKNOWN` for symbolic sizes.
    """
    if not is_known(node):
        return UNKNOWN
    return NOTHING if is_free(node) else cost_of(StepFinder(description).of_node(node), description)


def estimate_graph(graph: Graph, description: DeviceDescription) -> dict[Node, NodeCost]:
    """The cost of every node of a graph, in order, with what the vendor's compiler makes of them (uair.targets.steps).

    What became part of another node costs nothing; what that one reads and does for it is counted there.
    """
    found = StepFinder(description).of_graph(graph)
    return {node: cost_of(steps, description) if is_known(node) else UNKNOWN for node, steps in found.items()}


def cost_of(steps: Sequence[Step], description: DeviceDescription) -> NodeCost:
    """The cost of steps that follow each other."""
    if not steps:
        return NOTHING
    single = [_cost_of_step(step, description) for step in steps]
    if len(single) == 1:
        return single[0]
    compute, transfer = (_sum([getattr(c, f"{kind}_cycles") for c in single]) for kind in ("compute", "transfer"))
    return NodeCost(
        compute,
        transfer,
        _sum([c.cycles for c in single]),
        _sum([c.seconds for c in single]),
        max(single, key=lambda c: c.seconds or 0.0).bound,
        least_sure(c.confidence for c in single),
        sum(c.bytes for c in single),
    )


def total_seconds(costs: Iterable[NodeCost]) -> tuple[float, int]:
    """The sum of the known times, and the number of nodes whose time is not known."""
    known = [c.seconds for c in costs]
    return sum(s for s in known if s is not None), sum(s is None for s in known)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def _cost_of_step(step: Step, description: DeviceDescription) -> NodeCost:
    compute, sure = _compute(step, description)
    transfer, moved_sure = _transfer(step.bytes, description)
    known = [t for t in (compute, transfer) if t is not None]
    total = None if not known else max(known) if description.cost.overlap else sum(known)
    bound: Bound = "unknown"
    if known:
        bound = "compute" if (compute or 0.0) > (transfer or 0.0) else "transfer"
    clock = description.compute.clock
    cycles = [None if t is None or not clock else t * clock for t in (compute, transfer, total)]
    return NodeCost(cycles[0], cycles[1], cycles[2], total, bound, least_sure([sure, moved_sure]), step.bytes)


# ------------------------------------------------------------------------------------------------------------ compute
def _compute(step: Step, description: DeviceDescription) -> tuple[float | None, Confidence]:
    """Seconds of arithmetic."""
    clock, cores = description.compute.clock, cores_of(description)
    unit = None if step.work is None else unit_for(step.work, step.dtype, description)
    if step.work is not None and unit is not None and clock:
        cycles = matrix_cycles(step.work, unit, step.dtype, cores, description.channel_block(step.dtype))
        return cycles / clock, confidence_of(unit.confidence, description.source(unit.source))
    vector = next((u for u in description.unit if u.does == "vector" and step.dtype in u.outputs), None)
    if step.work is None and clock and vector is not None:
        lanes = vector.outputs[step.dtype] * (vector.cores or cores)
        confidence = confidence_of(vector.confidence, description.source(vector.source))
        return math.ceil(step.operations / lanes) / clock, confidence
    peak = description.compute.peak.get(step.dtype)
    if peak and step.work is not None:
        share = cores / max(description.compute.cores, 1)
        return step.operations / (peak * 1e12 * share), Confidence.UNCERTAIN
    return None, Confidence.UNCERTAIN


def cores_of(description: DeviceDescription) -> int:
    """Cores that work on one node."""
    return description.cost.cores or max(description.compute.cores, 1)


# ------------------------------------------------------------------------------------------------------------ transfer
def outer_memory(description: DeviceDescription) -> Memory | None:
    """The memory that feature maps and weights lie in: the one that the cost model names, or the last one."""
    named = [m for m in description.memory if m.name == description.cost.memory]
    return next(iter([*named, *reversed(description.memory)]), None)


def bytes_per_second(description: DeviceDescription) -> tuple[float | None, Confidence]:
    """What the cores that work on a node can move; None when it is not known."""
    memory = outer_memory(description)
    if memory is None:
        return None, Confidence.UNCERTAIN
    rates = [] if memory.bandwidth is None else [memory.bandwidth]
    if memory.bytes_per_cycle is not None and description.compute.clock:
        rates.append(memory.bytes_per_cycle * description.compute.clock * cores_of(description))
    confidence = confidence_of(memory.confidence, description.source(memory.source))
    return min(rates, default=None), confidence


def _transfer(bytes: int, description: DeviceDescription) -> tuple[float | None, Confidence]:
    rate, confidence = bytes_per_second(description)
    return (None, confidence) if rate is None else (bytes / rate, confidence)
