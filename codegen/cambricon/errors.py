"""Errors of the Cambricon targets."""

from __future__ import annotations

from uair.errors import UairError


class MagicMindError(UairError):
    """Shapes, layouts or preprocessing are a combination that MagicMind does not take."""

    code = "UAIR-E0575"
    title = "Input does not fit MagicMind"
