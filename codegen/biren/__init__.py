"""Biren: suInfer."""

from uair.codegen.biren.target import BirenTarget

__all__ = ["BirenTarget"]
