"""Cambricon's MLUs: ONNX, the build configuration of MagicMind, ranges and scripts."""

from uair.codegen.cambricon.target import CambriconTarget

__all__ = ["CambriconTarget"]
