"""NVIDIA Jetson: TensorRT."""

from uair.codegen.tensorrt.target import TensorrtTarget

__all__ = ["TensorrtTarget"]
