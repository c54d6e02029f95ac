"""CPUs by onnxruntime: the default executor, and the fallback of every other target."""

from uair.codegen.cpu.target import CpuTarget

__all__ = ["CpuTarget"]
