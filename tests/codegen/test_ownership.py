"""Outputs lie in memory of their own, however many there are."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from uair.codegen.reference.ownership import Owner

BASE = np.arange(100, dtype=np.float32)


def frozen(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "value",
    [BASE, BASE[10:20], BASE[::-7], BASE.reshape(10, 10)[:, 3], frozen(BASE), np.broadcast_to(np.float32(1), (3,))],
    ids=["feed", "part", "backwards", "column", "read-only", "repeated"],
)
def test_what_others_hold_is_copied(value: Any) -> None:
    got = Owner([BASE]).own(value)
    assert got is not value and got.flags.writeable and not np.may_share_memory(got, BASE)
    np.testing.assert_array_equal(got, value)


def test_what_nobody_holds_is_given_out_once() -> None:
    owner, fresh = Owner([BASE, {"k": [BASE[:3]]}, None]), np.ones(6)
    assert owner.own(fresh) is fresh and owner.own(None) is None
    again = owner.own([fresh, {"part": fresh[2:]}])
    assert again[0] is not fresh and not np.may_share_memory(again[1]["part"], fresh)
    empty = fresh[3:3]
    assert owner.own(empty) is empty and owner.own(empty) is empty


def test_random_parts_against_numpy() -> None:
    draw = np.random.default_rng(0)
    memory = np.zeros(4000, np.uint8)
    held: list[Any] = [memory[a : a + 40] for a in draw.integers(0, 3900, 20)]
    owner = Owner(held)
    for start in draw.integers(0, 3980, 300):
        part = memory[start : start + 20]
        got = owner.own(part)
        assert (got is not part) == any(np.may_share_memory(part, other) for other in held)
        held.append(got)


def test_twice_the_outputs_cost_about_twice() -> None:
    def seconds(count: int) -> float:
        arrays = [np.ones(4) for _ in range(count)]
        start = time.process_time()
        owner = Owner([])
        for array in arrays:
            assert owner.own(array) is array
        return time.process_time() - start

    small = min(seconds(4000) for _ in range(5))
    assert min(seconds(8000) for _ in range(5)) < 3 * small
