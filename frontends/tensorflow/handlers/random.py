"""Random numbers. Their values differ from TensorFlow's, whose generators are its own."""

from __future__ import annotations

from uair.frontends.tensorflow.handlers.shape import as_i64
from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dtype import DType
from uair.ops import RandomNormal, RandomUniform

FAMILY = Family()


@FAMILY.op("RandomUniform", "RandomStandardNormal", "StatelessRandomUniform", "StatelessRandomUniformV2",
           "StatelessRandomNormal", "StatelessRandomNormalV2")  # fmt: skip
def _random(n: TfNode) -> Result:
    """A seed that is given makes the numbers repeat."""
    seed = n.integer("seed") or None
    op = RandomUniform if "Uniform" in n.op_type else RandomNormal
    dtype: DType = n.dtype("dtype")
    return n(op(dtype=dtype, seed=seed), as_i64(n, 0))
