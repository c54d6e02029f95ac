"""The target-independent part of every pipeline."""

from __future__ import annotations

from uair.pipeline import Pass


def standard_passes() -> list[Pass]:
    """The target-independent part of every pipeline."""
    from uair.passes.canonicalise import Canonicalise
    from uair.passes.fuse import Fuse

    return [Canonicalise(), Fuse()]
