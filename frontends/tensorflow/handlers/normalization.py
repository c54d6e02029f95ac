"""Normalizations with their statistics given."""

from __future__ import annotations

from uair.frontends.tensorflow.handlers.convolution import image, restored
from uair.frontends.tensorflow.node import Family, Nothing, Result, TfNode
from uair.ops import LRN, BatchNorm

FAMILY = Family()


@FAMILY.several("y batch_mean batch_variance reserve_space_1 reserve_space_2", "FusedBatchNorm", "FusedBatchNormV2")
@FAMILY.several("y batch_mean batch_variance reserve_space_1 reserve_space_2 reserve_space_3", "FusedBatchNormV3")
def _fused_batch_norm(n: TfNode) -> Result:
    """Operands: x, scale, offset, mean, variance. Statistics stay f32 for images of half precision."""
    if n.flag("is_training", True):
        n.refuse("it computes the statistics of the batch", "save the model for inference (training=False)")
    x = image(n, n[0])
    dtype = x.type.dtype
    wide = n.cast(x, n[1].type.dtype)
    y = n.cast(n(BatchNorm(epsilon=n.number("epsilon", 1e-4)), wide, *n.tensors(1, 5)), dtype)
    return [restored(n, y), n[3], n[4], *(Nothing("what training needs") for _ in range(3))]


@FAMILY.op("LRN")
def _lrn(n: TfNode) -> Result:
    """TensorFlow does not divide alpha by the number of channels summed."""
    size = 2 * n.integer("depth_radius", 5) + 1
    op = LRN(size=size, alpha=n.number("alpha", 1.0) * size, beta=n.number("beta", 0.5), bias=n.number("bias", 1.0))
    return restored(n, n(op, image(n, n[0])))
