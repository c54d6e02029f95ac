"""TFLite models, read without TensorFlow and without an interpreter.

    module = load("model.tflite")

Weights are not read: they become constants that view the mapped file.
"""

from __future__ import annotations

from uair.frontends.tflite.reader import load

__all__ = ["load"]
