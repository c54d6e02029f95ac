"""ONNX models: operator sets 7 to the newest that the installed onnx knows, and what did not change since 1.

    module = load("model.onnx")

Weights are not read: they become constants that view the mapped file.
"""

from __future__ import annotations

from uair.frontends.onnx.reader import load, load_bytes

__all__ = ["load", "load_bytes"]
