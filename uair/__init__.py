"""UAIR: a unified intermediate representation for AI models and the compiler around it."""

from __future__ import annotations

from uair._version import __version__

__all__ = ["__version__"]
