"""Huawei Ascend by CANN's ATC: legalised ONNX, AIPP file, quantization record, build script."""

from uair.codegen.ascend.target import AscendTarget

TARGET = AscendTarget("ascend310")

__all__ = ["TARGET", "AscendTarget"]
