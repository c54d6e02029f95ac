"""CPUs by onnxruntime: the default executor, and the fallback of every other target."""

from uair.codegen.cpu.target import CpuTarget, InterpretedCpuTarget

__all__ = ["CpuTarget", "InterpretedCpuTarget"]
