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
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import attrs

from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.types import TensorType
from uair.ops import (
    Attention,
    Conv1D,
    Conv2D,
    Conv3D,
    ConvTranspose1D,
    ConvTranspose2D,
    ConvTranspose3D,
    Dequantize,
    Identity,
    IntegerConv1D,
    IntegerConv2D,
    IntegerConv3D,
    IntegerConvTranspose1D,
    IntegerConvTranspose2D,
    IntegerConvTranspose3D,
    IntegerLinear,
    IntegerMatMul,
    Linear,
    MatMul,
    Quantize,
    Reshape,
    ShapeOf,
    SizeOf,
    Squeeze,
    Unsqueeze,
)
from uair.targets.description import DeviceDescription, Memory, confidence_of
from uair.targets.subject import is_quantized
from uair.targets.units import Unit
from uair.targets.verdict import Confidence

CONVOLUTIONS = (Conv1D, Conv2D, Conv3D, IntegerConv1D, IntegerConv2D, IntegerConv3D)
TRANSPOSED = (
    ConvTranspose1D,
    ConvTranspose2D,
    ConvTranspose3D,
    IntegerConvTranspose1D,
    IntegerConvTranspose2D,
    IntegerConvTranspose3D,
)
LINEAR = (Linear, IntegerLinear)
PRODUCTS = (MatMul, IntegerMatMul)
FREE = (Reshape, Squeeze, Unsqueeze, Identity, ShapeOf, SizeOf)
"""Operators that move no data: another view of the same bytes, or a number that the compiler knows."""

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


@attrs.frozen
class Work:
    """A product that a matrix unit forms: a convolution's, or a matrix product's.

    Attributes:
        batch: images, or matrices.
        rows: pixels of a result, or rows of a matrix.
        taps: elements of the kernel; 1 for matrices.
        inputs: channels of a group, or length of the sums.
        outputs: output channels of a group, or columns.
        groups: independent products of a convolution.
    """

    batch: int
    rows: int
    taps: int
    inputs: int
    outputs: int
    groups: int = 1

    @property
    def depthwise(self) -> bool:
        """Whether every group has one input channel."""
        return self.groups > 1 and self.inputs == 1

    @property
    def products(self) -> int:
        """Multiply-adds without padding."""
        return self.batch * self.rows * self.taps * self.inputs * self.outputs * self.groups


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
    if not all(t.type.is_tensor and is_static(t.type.shape or ()) for t in _known(node)):
        return UNKNOWN
    if is_free(node):
        return NOTHING
    return cost_of(
        work_of(node), operations(node), compute_type(node, description), moved(node, description), description
    )


def estimate_graph(graph: Graph, description: DeviceDescription) -> dict[Node, NodeCost]:
    """The cost of every node of a graph, in order, without what the vendor's compiler makes one step of.

    An operator of the description's `epilogue` that alone reads a convolution's or matrix product's result becomes part
    of it: its own cost is nothing, and what the product reads for it (the other operand of an Add) is added there.
    """
    costs = {node: estimate(node, description) for node in graph}
    for node in graph:
        if work_of_static(node):
            _absorb(node, costs, description)
    return costs


def cost_of(
    works: tuple[Work, ...],
    operations: int,
    dtype: DType,
    bytes: int,
    description: DeviceDescription,
) -> NodeCost:
    """The cost of products and other operations, and of moving bytes.

    Args:
        works: the products.
        operations: all floating-point operations, for what no unit is described of.
        dtype: that it is computed in.
        bytes: to move.
        description: of the device.
    """
    compute, sure = _compute(works, operations, dtype, description)
    transfer, moved_sure = _transfer(bytes, description)
    clock = description.compute.clock
    total = _together(compute, transfer, overlap=description.cost.overlap)
    bound: Bound = "unknown"
    if compute is not None or transfer is not None:
        bound = "compute" if (compute or 0.0) > (transfer or 0.0) else "transfer"
    confidence = least_sure([sure, moved_sure])
    cycles = [None if t is None or not clock else t * clock for t in (compute, transfer, total)]
    return NodeCost(cycles[0], cycles[1], cycles[2], total, bound, confidence, bytes)


def _together(compute: float | None, transfer: float | None, *, overlap: bool) -> float | None:
    known = [t for t in (compute, transfer) if t is not None]
    if not known:
        return None
    return max(known) if overlap else sum(known)


# ------------------------------------------------------------------------------------------------------------ compute
def _compute(
    works: tuple[Work, ...], operations: int, dtype: DType, description: DeviceDescription
) -> tuple[float | None, Confidence]:
    """Seconds of arithmetic."""
    clock = description.compute.clock
    cores = cores_of(description)
    found = [unit_for(work, dtype, description) for work in works]
    if works and clock and all(unit is not None for unit in found):
        pairs = [(w, u) for w, u in zip(works, found, strict=True) if u is not None]
        cycles = sum(matrix_cycles(w, u, dtype, cores, description.channel_block(dtype)) for w, u in pairs)
        return cycles / clock, least_sure(confidence_of(u.confidence, description.source(u.source)) for _, u in pairs)
    vector = next((u for u in description.unit if u.does == "vector" and dtype in u.outputs), None)
    if not works and clock and vector is not None:
        confidence = confidence_of(vector.confidence, description.source(vector.source))
        return math.ceil(operations / (vector.outputs[dtype] * (vector.cores or cores))) / clock, confidence
    peak = description.compute.peak.get(dtype)
    if peak and works:
        share = cores / max(description.compute.cores, 1)
        return operations / (peak * 1e12 * share), Confidence.UNCERTAIN
    return None, Confidence.UNCERTAIN


def cores_of(description: DeviceDescription) -> int:
    """Cores that work on one node."""
    return description.cost.cores or max(description.compute.cores, 1)


def unit_for(work: Work, dtype: DType, description: DeviceDescription) -> Unit | None:
    """The unit that does a product; None when none is described."""
    units = [u for u in description.unit if dtype in u.outputs]
    if work.depthwise:
        own = next((u for u in units if u.does == "depthwise"), None)
        if own is not None:
            return own
    return next((u for u in units if u.does == "matrix" and dtype in u.inputs), None)


def matrix_cycles(work: Work, unit: Unit, dtype: DType, cores: int = 1, block: int = 1) -> float:
    """Cycles of a product on a unit, its blocks spread over `cores`.

    Args:
        work: the product.
        unit: the unit.
        dtype: that it computes in.
        cores: that share the work.
        block: channels in a block of the layout, see `Unit.groups`.
    """
    row_blocks = -(-work.rows // unit.row_alignment)
    per_block = unit.row_alignment / unit.rows
    if unit.does == "depthwise":
        channels = work.groups * work.outputs
        blocks = work.batch * -(-channels // unit.outputs[dtype]) * row_blocks
        return -(-blocks // cores) * work.taps * per_block
    grouped = in_groups(work, unit, dtype, block)
    steps = max(unit.least_steps.get(dtype, 1), work.taps * -(-grouped.inputs // unit.inputs[dtype]))
    blocks = work.batch * grouped.groups * -(-grouped.outputs // unit.outputs[dtype]) * row_blocks
    return -(-blocks // cores) * steps * per_block


def in_groups(work: Work, unit: Unit, dtype: DType, block: int) -> Work:
    """The product as a unit forms it: its groups one by one, several in a block, or all as one dense product."""
    if work.groups == 1 or unit.groups == "each":
        return work
    if unit.groups == "whole":
        return work if work.inputs % block == 0 else merged(work, work.groups)
    c0, n0 = unit.inputs[dtype], unit.outputs[dtype]
    together = math.lcm(c0 // math.gcd(work.inputs, c0), n0 // math.gcd(work.outputs, n0))
    return merged(work, min(together, work.groups))


def merged(work: Work, together: int) -> Work:
    """The product with so many groups in one dense block; what lies off the diagonal is zero."""
    groups = -(-work.groups // together)
    return attrs.evolve(work, inputs=work.inputs * together, outputs=work.outputs * together, groups=groups)


# ------------------------------------------------------------------------------------------------------------ transfer
def outer_memory(description: DeviceDescription) -> Memory | None:
    """The memory that feature maps and weights lie in: the one that the cost model names, or the outermost one."""
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


def moved(node: Node, description: DeviceDescription) -> int:
    """Bytes that a node reads and writes, as they lie in the device's memory."""
    return bytes_read(node, description) + bytes_written(node, node.outputs, description)


def bytes_read(node: Node, description: DeviceDescription) -> int:
    """Bytes of a node's operands."""
    given = [t for t in node.inputs if t is not None]
    works = work_of(node)
    dtype = compute_type(node, description)
    units = [unit_for(work, dtype, description) for work in works]
    if has_weights(node) and all(unit is not None for unit in units):
        pairs = [(w, u) for w, u in zip(works, units, strict=True) if u is not None]
        weights = sum(weight_bytes(w, u, dtype, description.channel_block(dtype)) for w, u in pairs)
    else:
        weights = sum(stored(real(t), description) for t in given if is_parameter(t))
    return weights + sum(stored(real(t), description) for t in given if not is_parameter(t))


def bytes_written(node: Node, results: Iterable[Tensor], description: DeviceDescription) -> int:
    """Bytes of results that the unit which computes `node` writes."""
    works, dtype = work_of(node), compute_type(node, description)
    unit = unit_for(works[0], dtype, description) if works else None
    block = None if unit is None else unit.leaving.get(dtype)
    return sum(stored(written(t), description, block if leaves(t) else None) for t in results)


def weight_bytes(work: Work, unit: Unit, dtype: DType, block: int) -> int:
    """Bytes of the weights of a product, with bias and scales.

    Args:
        work: the product.
        unit: that forms it.
        dtype: of the weights.
        block: channels in a block of the layout of feature maps.
    """
    inputs, outputs, groups = work.inputs, work.outputs, work.groups
    if unit.does == "depthwise":
        inputs, outputs, groups = groups * outputs, 1, 1
        channels = inputs
    else:
        grouped = in_groups(work, unit, dtype, block)
        inputs, outputs, groups = grouped.inputs, grouped.outputs, grouped.groups
        channels = outputs * groups
    padded = -(-channels // unit.outputs[dtype]) * unit.outputs[dtype]
    if unit.weights == "packed":
        inputs = packed_channels(inputs, unit.inputs.get(dtype, 32), block)
    elif unit.does == "matrix":
        inputs = -(-inputs // unit.inputs[dtype]) * unit.inputs[dtype]
        outputs = -(-outputs // unit.outputs[dtype]) * unit.outputs[dtype]
    return (groups * outputs * inputs * work.taps * dtype.bits + 7) // 8 + padded * unit.parameters.get(dtype, 0)


def packed_channels(channels: int, whole: int, block: int) -> int:
    """Input channels of packed weights as they lie in memory, see `Unit.weights`."""
    if channels >= whole or (channels > 4 and channels % 8):
        return channels
    padded = block
    while padded < channels:
        padded *= 2
    return padded


def stored(type_: TensorType, description: DeviceDescription, block: int | None = None) -> int:
    """Bytes of a tensor in the device's memory.

    Args:
        type_: with the element type that it is stored in.
        description: of the device.
        block: what the number of channels is rounded up to; the layout's block when not given, and fewer channels than
            a block are not padded in that case (images keep their three).
    """
    dtype = device_type(type_.dtype, description)
    shape = list(static(type_.dims))
    if len(shape) >= 2:
        channels = shape[1] if len(shape) > 2 else shape[-1]
        at = 1 if len(shape) > 2 else -1
        whole = block or description.channel_block(dtype)
        if block is not None or channels > 4:
            shape[at] = -(-channels // whole) * whole
    return (math.prod(shape) * max(dtype.bits, 1) + 7) // 8


def device_type(dtype: DType, description: DeviceDescription) -> DType:
    """The element type that values are held in: floats in the narrower type that the device computes in."""
    computed = description.dtypes.float
    return computed if dtype.is_float and computed.bits < dtype.bits else dtype


def compute_type(node: Node, description: DeviceDescription) -> DType:
    """The element type that a node is computed in."""
    moving = [t for t in node.inputs if t is not None and not t.is_constant]
    if is_quantized(node):
        small = [real(t).dtype for t in moving if real(t).dtype.is_integer and real(t).dtype.bits <= 8]
        signed = next(iter(small), DType.I8)
        return DType.I8 if signed in (DType.I8, DType.U8) else signed
    floats = [t.type.dtype for t in (*moving, *node.outputs) if t.type.dtype.is_float]
    return device_type(floats[0], description) if floats else description.dtypes.float


# --------------------------------------------------------------------------------------------------------------- nodes
def is_parameter(tensor: Tensor) -> bool:
    """Whether a tensor is a weight: a constant, or a constant of integers behind Dequantize."""
    if tensor.is_constant:
        return True
    maker = tensor.producer
    return (
        maker is not None and isinstance(maker.op, Dequantize) and all(t is None or t.is_constant for t in maker.inputs)
    )


def has_weights(node: Node) -> bool:
    """Whether a product's second operand is a weight."""
    return len(node.inputs) > 1 and node.inputs[1] is not None and is_parameter(node.inputs[1])


def real(tensor: Tensor) -> TensorType:
    """The type that an operand has in memory: that of the integers in front of a Dequantize."""
    maker = tensor.producer
    if maker is not None and isinstance(maker.op, Dequantize) and maker.inputs[0] is not None:
        return maker.inputs[0].type
    return tensor.type


def written(tensor: Tensor) -> TensorType:
    """The type that a result has in memory: that of the integers when nothing but Quantize reads it."""
    users = list(tensor.users)
    if users and all(isinstance(n.op, Quantize) for n in users):
        return users[0].outputs[0].type
    return tensor.type


def is_free(node: Node) -> bool:
    """Whether a node takes no time: a view, a computation on constants, or part of its quantized neighbours."""
    given = [t for t in node.inputs if t is not None]
    if isinstance(node.op, FREE) or (given and all(is_parameter(t) for t in given) and node.op.deterministic):
        return True
    if isinstance(node.op, Dequantize):
        return all(is_quantized(n) for n in node.outputs[0].users if not n.is_return)
    if isinstance(node.op, Quantize) and given:
        maker = given[0].producer
        return maker is not None and is_quantized(maker)
    return False


def operations(node: Node) -> int:
    """Floating-point operations of a node with static sizes."""
    return node.op.flops([None if t is None else t.type for t in node.inputs], [t.type for t in node.outputs])


def work_of_static(node: Node) -> tuple[Work, ...]:
    """The products of a node; none while a size is symbolic."""
    known = all(t.type.is_tensor and is_static(t.type.shape or ()) for t in _known(node))
    return work_of(node) if known else ()


def work_of(node: Node) -> tuple[Work, ...]:
    """The products that a node stands for; none for an operator that is no product. Sizes must be static."""
    op: Any = node.op
    shapes = [() if t is None else static(t.type.dims) for t in node.inputs]
    result = static(node.outputs[0].type.dims) if node.outputs else ()
    if isinstance(op, CONVOLUTIONS):
        w = shapes[1]
        rows = math.prod(result[2:])
        return (Work(result[0], rows, math.prod(w[2:]), w[1], w[0] // op.groups, op.groups),)
    if isinstance(op, TRANSPOSED):
        w = shapes[1]
        rows = math.prod(result[2:])
        return (Work(result[0], rows, math.prod(w[2:]), w[0] // op.groups, w[1], op.groups),)
    if isinstance(op, LINEAR):
        return (Work(1, math.prod(shapes[0][:-1]), 1, shapes[0][-1], result[-1]),)
    if isinstance(op, PRODUCTS):
        return (_matrix_product(op, shapes[0], shapes[1], result),)
    if isinstance(op, Attention):
        batch, heads, queries, width = shapes[0]
        keys = shapes[1][2] + (shapes[4][2] if len(shapes) > 4 and shapes[4] else 0)
        first = Work(batch * heads, queries, 1, width, keys)
        return (first, attrs.evolve(first, inputs=keys, outputs=result[-1]))
    return ()


def _matrix_product(op: Any, a: tuple[int, ...], b: tuple[int, ...], result: tuple[int, ...]) -> Work:
    """A matrix product: one weight matrix takes the rows of all matrices at once."""
    length = a[-2] if op.trans_a and len(a) > 1 else a[-1]
    rows = 1 if len(a) == 1 else (a[-1] if op.trans_a else a[-2])
    columns = 1 if len(b) == 1 else (b[-2] if op.trans_b else b[-1])
    count = math.prod(result) // max(rows * columns, 1)
    if len(b) <= 2:
        return Work(1, count * rows, 1, length, columns)
    return Work(count, rows, 1, length, columns)


def _known(node: Node) -> list[Tensor]:
    return [*(t for t in node.inputs if t is not None), *node.outputs]


# --------------------------------------------------------------------------------------------------------------- fusion
def _absorb(node: Node, costs: dict[Node, NodeCost], description: DeviceDescription) -> None:
    """Make the operators behind a product that the compiler fuses part of it."""
    members = list(epilogue(node, description))
    if not members:
        return
    works, dtype = work_of(node), compute_type(node, description)
    costs[node] = cost_of(works, operations(node), dtype, moved_together(node, members, description), description)
    for member in members:
        costs[member] = attrs.evolve(NOTHING, confidence=costs[node].confidence)


def epilogue(node: Node, description: DeviceDescription) -> Iterator[Node]:
    """The operators that the compiler makes part of a product, in order.

    An operator that also takes a result computed later than the product is not one of them: there the other product
    takes it.
    """
    tensor = node.outputs[0]
    while True:
        user = only_reader(tensor)
        if user is None or user.op_type not in description.cost.epilogue or len(user.outputs) != 1:
            return
        if any(_is_later_product(t, tensor) for t in user.inputs if t is not None):
            return
        yield user
        tensor = user.outputs[0]


def _is_later_product(other: Tensor, tensor: Tensor) -> bool:
    """Whether `other` is a product's result, read by the same operator, that stands behind `tensor`'s maker."""
    maker, source = source_of(other).producer, source_of(tensor).producer
    if maker is None or source is None or maker is source or not work_of_static(maker):
        return False
    return only_reader(maker.outputs[0]) is only_reader(tensor) and _precedes(source, maker)


def _precedes(first: Node, second: Node) -> bool:
    """Whether a node stands in front of another in their graph."""
    node = second.previous
    while node is not None and node is not first:
        node = node.previous
    return node is first


def moved_together(node: Node, members: Sequence[Node], description: DeviceDescription) -> int:
    """Bytes that a product and the operators fused to it read and write."""
    inside = {node.outputs[0], *(member.outputs[0] for member in members)}
    extra = [
        t
        for member in members
        for t in member.inputs
        if t is not None and source_of(t) not in inside and not is_parameter(t)
    ]
    read = bytes_read(node, description) + sum(stored(real(t), description) for t in extra)
    return read + bytes_written(node, members[-1].outputs, description)


def only_reader(tensor: Tensor) -> Node | None:
    """The one operator that reads a tensor, behind Quantize and Dequantize; None when there are more, or none."""
    while True:
        users = list(tensor.users)
        if len(users) != 1 or users[0].is_return:
            return None
        if not isinstance(users[0].op, (Quantize, Dequantize)):
            return users[0]
        tensor = users[0].outputs[0]


def leaves(tensor: Tensor) -> bool:
    """Whether a result is one of the model's, perhaps behind Quantize, Dequantize and views."""
    passing = (Quantize, Dequantize, *FREE)
    return any(n.is_return or (isinstance(n.op, passing) and leaves(n.outputs[0])) for n in tensor.users)


def source_of(tensor: Tensor) -> Tensor:
    """The tensor in front of Quantize and Dequantize."""
    while tensor.producer is not None and isinstance(tensor.producer.op, (Quantize, Dequantize)):
        given = tensor.producer.inputs[0]
        if given is None:
            return tensor
        tensor = given
    return tensor


def total_seconds(costs: Iterable[NodeCost]) -> tuple[float, int]:
    """The sum of the known times, and the number of nodes whose time is not known."""
    known = [c.seconds for c in costs]
    return sum(s for s in known if s is not None), sum(s is None for s in known)
