"""Whether a model fits a chip that has no memory behind its own, and how it is spread over chips when it does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs


@attrs.frozen
class Piece:
    """A node as far as memory goes.

    Attributes:
        name: of the node.
        weights: bytes of its parameters that no earlier node has.
        live: bytes of activations that are live while it runs.
        seconds: that it takes; 0 when not known.
        given: bytes that it hands on to the nodes behind it.
    """

    name: str
    weights: int
    live: int
    seconds: float
    given: int


@attrs.frozen
class Stage:
    """Consecutive nodes on one chip.

    Attributes:
        first: name of the first node.
        last: name of the last node.
        nodes: how many.
        weights: bytes.
        activations: most bytes live at one time.
        given: bytes that are sent to the next chip.
        seconds: of all its nodes.
    """

    first: str
    last: str
    nodes: int
    weights: int
    activations: int
    given: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        table = attrs.asdict(self)
        return {**table, "seconds": None} if not self.seconds else table


@attrs.frozen
class Residency:
    """The fit of a model.

    Attributes:
        capacity: bytes of the chip's memory.
        weights: bytes of all parameters.
        activations: most bytes of activations live at one time.
        stages: one when the model fits; otherwise the chips of a pipeline.
        too_large: nodes that do not fit a chip alone.
    """

    capacity: int
    weights: int
    activations: int
    stages: tuple[Stage, ...]
    too_large: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether one chip holds the model."""
        return self.weights + self.activations <= self.capacity

    @property
    def note(self) -> str:
        """The answer in words."""
        needed = f"{self.weights + self.activations} bytes of weights and activations"
        if self.fits:
            return f"{needed} fit the {self.capacity} bytes on the chip"
        if self.too_large:
            return f"{needed} do not fit; no pipeline helps, for {', '.join(self.too_large[:3])} alone is too large"
        return f"{needed} do not fit the {self.capacity} bytes on a chip: a pipeline of {len(self.stages)} chips does"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "capacity_bytes": self.capacity,
            "weight_bytes": self.weights,
            "activation_bytes": self.activations,
            "fits": self.fits,
            "note": self.note,
            "stages": [s.to_json() for s in self.stages],
            "too_large": list(self.too_large),
        }


def fit(pieces: Sequence[Piece], capacity: int, activations: int) -> Residency:
    """Whether nodes in order fit a chip, and the pipeline of fewest chips, its slowest stage as fast as can be.

    Args:
        pieces: the nodes.
        capacity: bytes of a chip.
        activations: most bytes live at one time.
    """
    weights = sum(p.weights for p in pieces)
    too_large = tuple(p.name for p in pieces if p.weights + p.live > capacity)
    if too_large:
        return Residency(capacity, weights, activations, (), too_large)
    if weights + activations <= capacity:
        return Residency(capacity, weights, activations, tuple(map(_stage, [list(pieces)] if pieces else [])))
    chips = len(_cut(pieces, capacity, float("inf")))
    return Residency(capacity, weights, activations, tuple(map(_stage, _balanced(pieces, capacity, chips))))


def _cut(pieces: Sequence[Piece], capacity: int, limit: float) -> list[list[Piece]]:
    """As many nodes to a chip as its memory and `limit` seconds allow."""
    stages: list[list[Piece]] = [[]]
    for piece in pieces:
        grown = [*stages[-1], piece]
        full = sum(p.weights for p in grown) + max(p.live for p in grown) > capacity
        if stages[-1] and (full or sum(p.seconds for p in grown) > limit):
            stages.append([piece])
        else:
            stages[-1] = grown
    return stages


def _balanced(pieces: Sequence[Piece], capacity: int, chips: int) -> list[list[Piece]]:
    """The cut into so many stages whose slowest one is the fastest."""
    low, high = max(p.seconds for p in pieces), sum(p.seconds for p in pieces)
    best = _cut(pieces, capacity, float("inf"))
    for _ in range(40):
        middle = (low + high) / 2
        found = _cut(pieces, capacity, middle)
        if len(found) <= chips:
            best, high = found, middle
        else:
            low = middle
    return best


def _stage(pieces: Sequence[Piece]) -> Stage:
    return Stage(
        pieces[0].name,
        pieces[-1].name,
        len(pieces),
        sum(p.weights for p in pieces),
        max(p.live for p in pieces),
        pieces[-1].given,
        sum(p.seconds for p in pieces),
    )
