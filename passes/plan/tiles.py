"""How a node is cut into tiles that fit the buffers on the chip, and how its bytes get there.

A product of `rows` by `inputs` by `outputs` is cut into tiles whose operands fit the left and the right buffer and
whose sums fit the result buffer, each of them twice: one half is filled while the other is worked on. Of the cuts that
fit, the one is taken that keeps the busiest core busy for the shortest time and then moves the fewest bytes. Any other
node is cut into equal chunks of whole transfer units; the last core gets what is left.

Transfers are bursts of whole units (32 bytes on Ascend) with a gap between them, within the limits of the device's copy
instruction (`[transfer]`): where a tile needs more or longer bursts, it is copied by several instructions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from uair.ir.dtype import DType
from uair.ir.graph import Node
from uair.targets.cost import cores_of
from uair.targets.description import DeviceDescription, Transfer
from uair.targets.products import Work, in_groups, unit_for, work_of
from uair.targets.steps import Step, StepFinder, is_parameter, real, written
from uair.targets.units import PlanModel, Unit

ACCUMULATOR = 4
"""Bytes of a sum: i32 or f32."""


@attrs.frozen
class Copy:
    """One copy between the chip and its memory, as often as there are tiles.

    Attributes:
        what: "left", "right", "result", or the operand of a node that is no product.
        instructions: copies that it takes.
        bursts: pieces of one instruction.
        units: length of a piece, in transfer units.
        gap: from the end of a piece to the start of the next one in memory, in transfer units.
        bytes: of the whole copy.
    """

    what: str
    instructions: int
    bursts: int
    units: int
    gap: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return attrs.asdict(self)


@attrs.frozen
class Tiling:
    """The tiles of a step.

    Attributes:
        rows: of a tile; of a node that is no product its elements in transfer units.
        inputs: summed at a time; 0 for a node that is no product.
        outputs: of a tile; 0 for a node that is no product.
        tiles: number of tiles of results.
        cores: that work.
        per_core: tiles of the busiest core.
        balance: share of the cores' time that is work, from 0 to 1.
        bytes: on the chip at one time, by buffer, with both halves.
        copies: per tile.
        moved: bytes of all copies.
    """

    rows: int
    inputs: int
    outputs: int
    tiles: int
    cores: int
    per_core: int
    balance: float
    bytes: dict[str, int]
    copies: tuple[Copy, ...]
    moved: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "rows": self.rows,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "tiles": self.tiles,
            "cores": self.cores,
            "tiles_per_core": self.per_core,
            "balance": round(self.balance, 4),
            "bytes_on_chip": self.bytes,
            "copies": [c.to_json() for c in self.copies],
            "bytes_moved": self.moved,
        }


def tiling_of(node: Node, step: Step, finder: StepFinder) -> Tiling | None:
    """The tiles of a step of a node; None where the description has no buffers for it, or a size is zero."""
    description = finder.description
    if step.work is not None:
        unit = unit_for(step.work, step.dtype, description)
        if unit is None or unit.does != "matrix":
            return None
        block = description.channel_block(step.dtype)
        return product_tiling(in_groups(step.work, unit, step.dtype, block), unit, step.dtype, description)
    if work_of(node):
        return None
    moving = [finder.operand_bytes(t, step.dtype) for t in node.inputs if t is not None and not is_parameter(t)]
    results = [finder.stored(written(t)) for t in node.outputs]
    same = node.op.elementwise and len({*moving, *results}) == 1
    names = [f"operand {i}" for i in range(len(moving))] + ["result"] * len(results)
    if not same or any(real(t).dtype is DType.STRING for t in node.inputs if t is not None):
        return None
    return chunk_tiling(results[0], names, description)


# ------------------------------------------------------------------------------------------------------------- products
@functools.lru_cache(maxsize=4096)
def _candidates(extent: int, step: int, most: int) -> tuple[int, ...]:
    """Tile extents worth trying: multiples of `step` that cut `extent` into equal parts, the largest first."""
    blocks = -(-extent // step)
    parts = {-(-blocks // n) for n in range(1, min(blocks, 64) + 1)} | {1 << i for i in range(blocks.bit_length())}
    return tuple(sorted({p * step for p in parts if p * step <= most}, reverse=True))


def product_tiling(work: Work, unit: Unit, dtype: DType, description: DeviceDescription) -> Tiling | None:
    """The best tiles of a product; None where the description names no buffers, or nothing fits.

    Args:
        work: the product, its groups as the unit forms them.
        unit: the matrix unit.
        dtype: of the operands.
        description: of the device.
    """
    plan = description.plan
    sizes = [buffer_bytes(description, name) for name in (plan.left, plan.right, plan.result)]
    if min(work.rows, work.inputs, work.outputs, work.batch) < 1 or any(s is None for s in sizes):
        return None
    room = {name: size or 0 for name, size in zip((plan.left, plan.right, plan.result), sizes, strict=True)}
    step, each = unit.inputs[dtype], dtype.bits / 8
    least = plan.buffers * step * each
    fits = [
        (tm, tn, tk)
        for tm in _candidates(work.rows, unit.row_alignment, int(room[plan.left] // least))
        for tn in _candidates(work.outputs, unit.outputs[dtype], int(room[plan.right] // least))
        if (tk := _depth(work, step, each, (tm, tn), room, plan))
    ]
    if not fits:
        return None
    cores = cores_of(description)
    best = min(fits, key=lambda tile: _price(work, tile, dtype, cores))
    return _tiled(work, best, unit, dtype, description)


def buffer_bytes(description: DeviceDescription, name: str) -> int | None:
    """Size of a buffer on the chip; None when none is named, or its size is not known."""
    return description.memory_level(name).bytes if name else None


def _depth(work: Work, step: int, each: float, tile: tuple[int, int], room: Mapping[str, int], plan: PlanModel) -> int:
    """The length of the sums that fits with a tile, several buffers of the plan being perhaps the same; 0 for none."""
    tm, tn = tile
    sums = {plan.result: plan.buffers * tm * tn * ACCUMULATOR}
    most = -(-work.inputs // step) * step * work.taps
    for name, size in room.items():
        per_input = plan.buffers * each * (tm * (name == plan.left) + tn * (name == plan.right))
        left_over = size - sums.get(name, 0)
        if left_over < 0:
            return 0
        if per_input:
            most = min(most, int(left_over // per_input) // step * step)
    return most


def _price(work: Work, tile: tuple[int, int, int], dtype: DType, cores: int) -> tuple[float, float, int]:
    """What a cut costs: padded products of the busiest core, bytes moved, tiles."""
    tm, tn, tk = tile
    down, across = -(-work.rows // tm), -(-work.outputs // tn)
    tiles = work.batch * work.groups * down * across
    depth = work.inputs * work.taps
    bytes = (work.rows * depth * across + depth * work.outputs * down) * work.batch * work.groups * dtype.bits / 8
    rounds = -(-depth // tk)
    return (-(-tiles // cores) * tm * tn, bytes, tiles * rounds)


def _tiled(work: Work, tile: tuple[int, int, int], unit: Unit, dtype: DType, description: DeviceDescription) -> Tiling:
    tm, tn, tk = tile
    plan, each = description.plan, dtype.bits // 8
    down, across = -(-work.rows // tm), -(-work.outputs // tn)
    tiles = work.batch * work.groups * down * across
    cores = min(cores_of(description), tiles)
    per_core = -(-tiles // cores)
    used = {"left": plan.buffers * tm * tk * each, "right": plan.buffers * tk * tn * each}
    used["result"] = plan.buffers * tm * tn * ACCUMULATOR
    step, outputs = unit.inputs[dtype], unit.outputs[dtype]
    copies = (
        burst("left", tk // step, tm * step * each, max(work.rows - tm, 0) * step * each, description),
        burst("right", tk // step, tn * step * each, max(work.outputs - tn, 0) * step * each, description),
        burst("result", -(-tn // outputs), tm * outputs * each, max(work.rows - tm, 0) * outputs * each, description),
    )
    rounds = -(-work.inputs * work.taps // tk)
    moved = tiles * (rounds * (copies[0].bytes + copies[1].bytes) + copies[2].bytes)
    return Tiling(tm, tk, tn, tiles, cores, per_core, tiles / (per_core * cores), used, copies, moved)


# -------------------------------------------------------------------------------------------------------- other nodes
def chunk_tiling(size: int, names: list[str], description: DeviceDescription) -> Tiling | None:
    """Equal chunks of a node that works element by element; None where the description names no buffer.

    Args:
        size: bytes of each operand and of the result.
        names: what they are.
        description: of the device.
    """
    plan = description.plan
    room = buffer_bytes(description, plan.vector)
    unit = transfer_unit(description)
    if room is None or size < 1:
        return None
    units = -(-size // unit)
    most = room // (len(names) * plan.buffers * unit)
    if not most:
        return None
    cores = min(cores_of(description), units)
    share = -(-units // cores)
    per_core = -(-share // most)
    chunk = -(-share // per_core)
    tiles = -(-units // chunk)
    used = {"vector": len(names) * plan.buffers * chunk * unit}
    copies = tuple(burst(name, 1, chunk * unit, 0, description) for name in names)
    moved = tiles * sum(c.bytes for c in copies)
    busy = units / (per_core * chunk * cores)
    return Tiling(chunk, 0, 0, tiles, cores, per_core, busy, used, copies, moved)


# ------------------------------------------------------------------------------------------------------------ transfers
def transfer_unit(description: DeviceDescription) -> int:
    """Bytes that transfers are multiples of."""
    return description.alignment.bytes if description.transfer is None else description.transfer.unit


def burst(what: str, count: int, size: int, gap: int, description: DeviceDescription) -> Copy:
    """A copy of `count` pieces of `size` bytes, `gap` bytes apart, as the device's instruction takes it.

    A piece that is no multiple of the transfer unit is rounded up: what it copies beyond its end is padding.
    """
    unit = transfer_unit(description)
    limits = description.transfer or Transfer(unit)
    units, count = -(-size // unit), max(count, 1)
    gap_units = -(-gap // unit)
    if not gap_units:  # one piece behind the other
        units, count = units * count, 1
    pieces = list(_pieces(units, limits.longest))
    instructions = len(pieces) * -(-count // limits.blocks) if limits.blocks else len(pieces)
    if limits.gap and gap_units > limits.gap:  # further apart than the instruction can say: one each
        return Copy(what, count * len(pieces), 1, pieces[0], 0, count * units * unit)
    per_instruction = min(count, limits.blocks) if limits.blocks else count
    return Copy(what, instructions, per_instruction, pieces[0], gap_units, count * units * unit)


def _pieces(units: int, most: int) -> Iterator[int]:
    """The lengths of the pieces of a burst that is longer than the instruction takes."""
    if not most or units <= most:
        yield units
        return
    parts = math.ceil(units / most)
    for i in range(parts):
        yield units // parts + (i < units % parts)
