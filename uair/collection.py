"""Python's collection of cyclic garbage, where it can find none."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Generator

import attrs

MOST_UNSEEN = 1_000_000
"""Objects that pauses may leave to the next full collection before they ask for one: some 100 MB of nodes."""


@attrs.define
class _Unseen:
    """What pauses have left since the last full collection.

    Attributes:
        objects: about how many.
        collections: full collections of the process when they were counted.
    """

    objects: int = 0
    collections: int = 0

    def add(self, objects: int) -> None:
        """Count some more."""
        collections = gc.get_stats()[-1]["collections"]
        if collections != self.collections:
            self.objects, self.collections = 0, collections
        self.objects += objects


_UNSEEN = _Unseen()


@contextlib.contextmanager
def collection_paused() -> Generator[None]:
    """Put off the collection of cyclic garbage, in a `with` or as a decorator, while a graph is built or rewritten.

    Nearly all that is made meanwhile stays in use. Nodes, tensors and messages of Protocol Buffers are many, and to
    look through them again and again takes a third of the time to read a graph of 20,000 nodes. Afterwards they count
    as old, which the next full collection looks through: otherwise the collector would look at them three times at
    once. A full collection is made first when earlier pauses have left many objects: a process that reads model after
    model must not keep them all. What has no cycles is freed as ever. Nested pauses, and a process that collects
    nothing itself, stay as they are.
    """
    if not gc.isenabled():
        yield
        return
    if _UNSEEN.objects > MOST_UNSEEN:
        gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # what an application has frozen stays so
            _UNSEEN.add(gc.get_count()[0])
            gc.freeze()
            gc.unfreeze()  # into the oldest generation
        gc.enable()
