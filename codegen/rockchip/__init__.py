"""Rockchip NPUs by rknn-toolkit2: normalised ONNX, and the script that builds and simulates it."""

from uair.codegen.rockchip.target import RockchipTarget

__all__ = ["RockchipTarget"]
