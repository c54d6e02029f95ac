"""Horizon's BPUs: float ONNX, the configuration of hb_mapper or hb_compile, calibration data and scripts."""

from uair.codegen.horizon.target import HorizonTarget

__all__ = ["HorizonTarget"]
