"""Huawei Ascend by CANN's ATC: legalised ONNX, AIPP file, quantization record, build script."""

from uair.codegen.ascend.target import AscendTarget

__all__ = ["AscendTarget"]
