"""Pauses of the garbage collector: they end, they nest, and nothing is kept for ever because of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from uair import collection
from uair.collection import collection_paused


@pytest.fixture(autouse=True)
def enabled() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


class Cycle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.me = self


@collection_paused()
def paused(fail: bool = False) -> bool:
    if fail:
        raise ValueError("no")
    with collection_paused():
        inner = gc.isenabled()
    return inner or gc.isenabled()


def test_it_pauses_and_goes_on() -> None:
    assert not paused() and gc.isenabled()
    with pytest.raises(ValueError, match="no"):
        paused(fail=True)
    assert gc.isenabled()


def test_a_process_that_collects_nothing_stays_so() -> None:
    gc.disable()
    assert not paused() and not gc.isenabled()


def test_what_is_frozen_stays_frozen() -> None:
    gc.collect()
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        assert frozen and not paused() and gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()


def test_garbage_of_a_pause_goes_with_the_next_full_collection() -> None:
    with collection_paused():
        gone = weakref.ref(Cycle())
    assert gone() is not None
    gc.collect()
    assert gone() is None


def test_many_pauses_ask_for_a_full_collection_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "MOST_UNSEEN", 5_000)
    gc.collect()
    before = gc.get_stats()[-1]["collections"]
    gone: list[weakref.ref[Cycle]] = []
    for _ in range(4):
        with collection_paused():
            gone.append(weakref.ref([Cycle() for _ in range(3_000)][0]))
    assert gc.get_stats()[-1]["collections"] > before
    assert gone[0]() is None
