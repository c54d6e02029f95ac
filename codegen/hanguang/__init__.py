"""T-Head Hanguang 800 (experimental)."""

from uair.codegen.hanguang.target import HanguangTarget

__all__ = ["HanguangTarget"]
