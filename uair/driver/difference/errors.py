"""Errors of comparing models."""

from __future__ import annotations

from uair.errors import UairError


class NotComparable(UairError):
    """Two models cannot be compared layer by layer; the message names what they do not share."""

    code = "UAIR-E0905"
    title = "Models cannot be compared"
