"""Pages of a unified address space: when they migrate to the memory that nodes work from, and what waiting costs.

Every node needs its weights, operands and results in the fast memory before it runs. Without prefetch it asks for what
is missing when it starts, and waits. With prefetch the pages of the nodes behind it are copied while it computes, as
far as there is room: pages that are needed again last are given up first, and only pages that have values somebody
needs are written back. Both are simulated on one copy engine at the bandwidth of the slower memory.

What the vendor's runtime does by itself is in no public document: the schedule is metadata of the artifact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs


@attrs.frozen
class Use:
    """What a node needs.

    Attributes:
        name: of the node.
        seconds: that it computes.
        reads: pages by tensor that must hold values.
        writes: pages by tensor that it makes; they need room, not values.
    """

    name: str
    seconds: float
    reads: Mapping[str, int]
    writes: Mapping[str, int]

    @property
    def pages(self) -> Mapping[str, int]:
        """All that it needs."""
        return {**self.reads, **self.writes}


@attrs.frozen
class Migration:
    """Pages of a tensor that move.

    Attributes:
        tensor: whose pages.
        pages: how many.
        direction: "in" to the fast memory, "out" of it.
        during: position of the node that runs meanwhile; -1 before the first one.
        needed: position of the node that reads them; -1 for pages that leave.
    """

    tensor: str
    pages: int
    direction: str
    during: int
    needed: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return attrs.asdict(self)


@attrs.frozen
class Simulation:
    """A run with its migrations.

    Attributes:
        seconds: from the first copy to the end of the last node.
        stalled: seconds in which a node waited for pages.
        migrations: in the order in which they start.
        peak_pages: most pages in the fast memory at one time.
    """

    seconds: float
    stalled: float
    migrations: tuple[Migration, ...]
    peak_pages: int

    def summary(self) -> dict[str, Any]:
        """Plain data without the migrations."""
        moved = {d: sum(m.pages for m in self.migrations if m.direction == d) for d in ("in", "out")}
        return {
            "microseconds": round(self.seconds * 1e6, 3),
            "stalled_microseconds": round(self.stalled * 1e6, 3),
            "pages_in": moved["in"],
            "pages_out": moved["out"],
            "peak_pages": self.peak_pages,
        }


class DoesNotFitPages(ValueError):
    """One node alone needs more pages than the fast memory has."""


def simulate(
    uses: Sequence[Use],
    capacity: int,
    seconds_per_page: float,
    *,
    prefetch: bool,
    resident: Mapping[str, int] | None = None,
) -> Simulation:
    """Run nodes in order.

    Args:
        uses: what they need.
        capacity: pages of the fast memory.
        seconds_per_page: of one copy.
        prefetch: whether pages are copied while nodes compute.
        resident: pages that are in the fast memory before the first node.

    Raises:
        DoesNotFitPages: a node needs more than there is.
    """
    return _Run(uses, capacity, seconds_per_page, dict(resident or {})).run(prefetch=prefetch)


@attrs.define(eq=False)
class _Run:
    """State of a simulation: what is resident, and until when the copy engine is busy."""

    uses: Sequence[Use]
    capacity: int
    seconds_per_page: float
    resident: dict[str, int]
    migrations: list[Migration] = attrs.Factory(list[Migration])
    arrival: dict[str, float] = attrs.Factory(dict[str, float])
    engine: float = 0.0
    peak: int = 0

    def run(self, *, prefetch: bool) -> Simulation:
        """Nodes one after the other; the engine copies beside them."""
        readers = self._readers()
        now = stalled = 0.0
        ahead = 0
        for at, use in enumerate(self.uses):
            pages = use.pages
            if sum(pages.values()) > self.capacity:
                raise DoesNotFitPages(
                    f"{use.name} needs {sum(pages.values())} pages, the fast memory has {self.capacity}"
                )
            for tensor, count in pages.items():
                self._bring(tensor, count, at, at if tensor in use.reads else -1, now, pages, readers)
            ready = max([now, *(self.arrival.get(t, 0.0) for t in use.reads)])
            stalled += ready - now
            now = ready + use.seconds
            if prefetch:
                ahead = self._prefetch(at, max(ahead, at + 1), ready, now, readers)
            self._drop_dead(at, readers)
        return Simulation(now, stalled, tuple(self.migrations), self.peak)

    def _readers(self) -> dict[str, list[int]]:
        """Positions of the nodes that need each tensor, in order."""
        found: dict[str, list[int]] = {}
        for at, use in enumerate(self.uses):
            for tensor in use.pages:
                found.setdefault(tensor, []).append(at)
        return found

    def _bring(
        self,
        tensor: str,
        count: int,
        at: int,
        needed: int,
        now: float,
        keep: Mapping[str, int],
        readers: Mapping[str, list[int]],
    ) -> None:
        """Make a tensor resident, giving up others."""
        if tensor in self.resident:
            return
        self._make_room(count, at, now, keep, readers)
        self.resident[tensor] = count
        self.peak = max(self.peak, sum(self.resident.values()))
        if needed >= 0:
            self.engine = max(self.engine, now) + count * self.seconds_per_page
            self.arrival[tensor] = self.engine
            self.migrations.append(Migration(tensor, count, "in", at - 1, needed))

    def _make_room(
        self, count: int, at: int, now: float, keep: Mapping[str, int], readers: Mapping[str, list[int]]
    ) -> None:
        free = self.capacity - sum(self.resident.values())
        victims = sorted((t for t in self.resident if t not in keep), key=lambda t: -self._next(t, at, readers))
        for victim in victims:
            if free >= count:
                return
            pages = self.resident.pop(victim)
            free += pages
            if victim in self.written and self._next(victim, at, readers) < len(self.uses):
                self.engine = max(self.engine, now) + pages * self.seconds_per_page
                self.migrations.append(Migration(victim, pages, "out", at - 1, -1))

    @property
    def written(self) -> set[str]:
        """Tensors that nodes make: their values are in no other memory."""
        return {t for use in self.uses for t in use.writes}

    def _next(self, tensor: str, at: int, readers: Mapping[str, list[int]]) -> int:
        """Position of the next node that needs a tensor; the number of nodes when there is none."""
        return next((r for r in readers.get(tensor, ()) if r >= at), len(self.uses))

    def _drop_dead(self, at: int, readers: Mapping[str, list[int]]) -> None:
        """Forget tensors that no later node needs."""
        for tensor in [t for t in self.resident if self._next(t, at + 1, readers) >= len(self.uses)]:
            del self.resident[tensor]

    def _prefetch(self, at: int, ahead: int, start: float, end: float, readers: Mapping[str, list[int]]) -> int:
        """Copy what later nodes read while node `at` computes; only into free pages, so that nothing has to return."""
        while ahead < len(self.uses):
            missing = {
                t: n for t, n in self.uses[ahead].reads.items() if t not in self.resident and t not in self.written
            }
            for tensor, count in missing.items():
                if max(self.engine, start) >= end or self._free(at + 1, ahead) < count:
                    return ahead
                self._bring(tensor, count, at + 1, ahead, start, {}, readers)
            ahead += 1
        return ahead

    def _free(self, first: int, last: int) -> int:
        """Pages that stay free while the nodes up to `last` make their results."""
        coming = sum(n for use in self.uses[first : last + 1] for t, n in use.writes.items() if t not in self.resident)
        return self.capacity - sum(self.resident.values()) - coming
