"""Kernels for Ascend chips from groups of nodes: MLIR, TBE DSL and Ascend C."""

from uair.codegen.ascend.kernels.files import KernelFiles, add_kernels, kernels

__all__ = ["KernelFiles", "add_kernels", "kernels"]
