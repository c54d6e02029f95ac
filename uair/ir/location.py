"""Where a node comes from in the user's own model."""

from __future__ import annotations

from collections.abc import Iterable

import attrs


@attrs.frozen
class Source:
    """One node of the source model.

    Attributes:
        name: the node's name there (for PyTorch the module path).
        kind: its operator's name there, e.g. "Conv".
        file: file and line, where known ("model.py:41"); the model file itself stands in the module's origin.
    """

    name: str
    kind: str = ""
    file: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.kind else repr(self.name)


@attrs.frozen
class Location:
    """The source nodes that a node stands for, and the rules or passes that made it from them, oldest first."""

    sources: tuple[Source, ...] = ()
    by: tuple[str, ...] = ()

    @staticmethod
    def of(name: str, kind: str = "", file: str = "") -> Location:
        """The location of one source node."""
        return Location((Source(name, kind, file),))

    @staticmethod
    def fused(locations: Iterable[Location], by: str = "") -> Location:
        """Union of locations in order, without repetitions, marked as made by rule or pass `by`."""
        sources: dict[Source, None] = {}
        makers: dict[str, None] = {}
        for location in locations:
            sources.update(dict.fromkeys(location.sources))
            makers.update(dict.fromkeys(location.by))
        if by:
            makers.pop(by, None)
            makers[by] = None
        return Location(tuple(sources), tuple(makers))

    def __str__(self) -> str:
        if not self.sources:
            return f"made by {', '.join(self.by)}" if self.by else "unknown"
        text = ", ".join(str(s) for s in self.sources[:4])
        if len(self.sources) > 4:
            text += f" and {len(self.sources) - 4} more"
        return text + (f" (by {', '.join(self.by)})" if self.by else "")


UNKNOWN = Location()
