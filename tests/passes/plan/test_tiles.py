"""Tiles cover the work and fit the buffers; copies are whole units within the limits of the instruction."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uair.ir.dtype import DType
from uair.passes.plan.tiles import burst, chunk_tiling, product_tiling
from uair.targets import DeviceDescription, load_description
from uair.targets.cost import cores_of
from uair.targets.products import Work

CHIPS = {name: load_description(name) for name in ("ascend310", "ascend310p", "ascend910b")}
works = st.builds(
    Work,
    batch=st.integers(1, 3),
    rows=st.integers(1, 20000),
    taps=st.sampled_from([1, 9, 25, 49]),
    inputs=st.integers(1, 2048),
    outputs=st.integers(1, 2048),
    groups=st.just(1),
)


@given(work=works, chip=st.sampled_from(sorted(CHIPS)), dtype=st.sampled_from([DType.F16, DType.I8]))
@settings(max_examples=120, deadline=None)
def test_tiles_of_products(work: Work, chip: str, dtype: DType) -> None:
    description = CHIPS[chip]
    unit = next(u for u in description.unit if u.does == "matrix")
    found = product_tiling(work, unit, dtype, description)
    assert found is not None
    # they fit, twice
    sizes = {"left": "L0A", "right": "L0B", "result": "L0C"}
    for what, level in sizes.items():
        assert 0 < found.bytes[what] <= (description.memory_level(level).bytes or 0)
    assert found.bytes["left"] == 2 * found.rows * found.inputs * dtype.bits // 8
    assert found.bytes["result"] == 2 * found.rows * found.outputs * 4
    # whole fractals
    assert found.rows % 16 == 0 and found.outputs % 16 == 0 and found.inputs % unit.inputs[dtype] == 0
    # they cover the product, and no tile is empty
    down, across = math.ceil(work.rows / found.rows), math.ceil(work.outputs / found.outputs)
    assert found.tiles == work.batch * down * across
    assert (found.rows - 16) * (down - 1) < work.rows
    # no core has more than a tile more than another could have
    assert found.cores == min(cores_of(description), found.tiles)
    assert found.per_core == math.ceil(found.tiles / found.cores)
    assert 0 < found.balance <= 1
    for copy in found.copies:
        check_copy(copy, description)


def check_copy(copy: object, description: DeviceDescription) -> None:
    limits, unit = description.transfer, 32
    assert limits is not None
    instructions, bursts, units = (getattr(copy, n) for n in ("instructions", "bursts", "units"))
    assert getattr(copy, "bytes") % unit == 0  # noqa: B009
    assert 1 <= bursts <= limits.blocks and 1 <= units <= limits.longest and getattr(copy, "gap") <= limits.gap  # noqa: B009
    assert instructions * bursts * units * unit >= getattr(copy, "bytes")  # noqa: B009


@given(size=st.integers(1, 200_000_000), operands=st.integers(1, 3), chip=st.sampled_from(sorted(CHIPS)))
@settings(max_examples=120, deadline=None)
def test_chunks_of_other_nodes(size: int, operands: int, chip: str) -> None:
    description = CHIPS[chip]
    found = chunk_tiling(size, [f"t{i}" for i in range(operands)], description)
    assert found is not None
    units = math.ceil(size / 32)
    assert found.bytes["vector"] == 2 * operands * found.rows * 32 <= (description.memory_level("UB").bytes or 0)
    assert found.tiles * found.rows >= units > (found.tiles - 1) * found.rows  # the last one gets the remainder
    assert found.tiles <= found.cores * found.per_core
    for copy in found.copies:
        check_copy(copy, description)
        assert copy.bytes == found.rows * 32


def test_cores_get_equal_chunks() -> None:
    found = chunk_tiling(2 * 10 * 4096, ["x", "y"], CHIPS["ascend310"])
    assert found is not None and (found.tiles, found.per_core, found.balance) == (2, 1, 1.0)


def test_a_product_for_eight_cores_is_cut_into_equal_shares() -> None:
    description = CHIPS["ascend310p"]
    unit = next(u for u in description.unit if u.does == "matrix")
    found = product_tiling(Work(1, 1024, 1, 512, 256), unit, DType.F16, description)
    assert found is not None and found.balance == 1 and found.cores == 8


@pytest.mark.parametrize(
    ("count", "size", "gap", "expected"),
    [
        (4, 64, 0, (1, 1, 8, 0)),  # one behind the other: a single piece
        (4, 64, 96, (1, 4, 2, 3)),
        (4, 33, 96, (1, 4, 2, 3)),  # a tail of one byte takes a unit
        (5000, 64, 32, (2, 4095, 2, 1)),  # more pieces than an instruction takes
        (2, 70000 * 32, 32, (2, 2, 35000, 1)),  # longer than an instruction takes
        (3, 64, 70000 * 32, (3, 1, 2, 0)),  # further apart than it can say
    ],
)
def test_copies_follow_the_limits_of_the_instruction(
    count: int, size: int, gap: int, expected: tuple[int, int, int, int]
) -> None:
    copy = burst("x", count, size, gap, CHIPS["ascend310"])
    assert (copy.instructions, copy.bursts, copy.units, copy.gap) == expected


def test_nothing_is_cut_for_buffers_that_no_source_names() -> None:
    rk = load_description("rk3588")
    unit = next(u for u in rk.unit if u.does == "matrix")
    assert product_tiling(Work(1, 64, 1, 64, 64), unit, DType.F16, rk) is None
    assert chunk_tiling(4096, ["x"], rk) is None


def test_one_buffer_for_all_operands_holds_them_together() -> None:
    chip = CHIPS["ascend310"]
    shared = attrs.evolve(chip, plan=attrs.evolve(chip.plan, left="UB", right="UB", result="UB"))
    unit = next(u for u in chip.unit if u.does == "matrix")
    found = product_tiling(Work(1, 4096, 9, 512, 512), unit, DType.F16, shared)
    assert found is not None and sum(found.bytes.values()) <= (chip.memory_level("UB").bytes or 0)
