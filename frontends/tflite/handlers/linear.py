"""Matrix products."""

from __future__ import annotations

from uair.frontends.tflite.handlers.convolution import bias
from uair.frontends.tflite.litert import in_8_bits, is_hybrid
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.dims import Dim
from uair.ops import Gather, Linear, MatMul, Reshape

FAMILY = Family()


@FAMILY.op("FULLY_CONNECTED")
def _fully_connected(n: TfliteNode) -> Result:
    """Weights [out, in]; the operand counts as rows of `in` numbers, unless its axes are kept."""
    x, w = n[0], n.weight(1)
    if n.options.integer("weights_format"):
        n.refuse("shuffled weights are not read", "convert the model without the GEMMLOWP-optimized format")
    features = n.extent(w, -1)
    keep = n.options.flag("keep_num_dims")
    if not keep and (n.rank(x) != 2 or n.extent(x, -1) != features):
        x = n(Reshape(shape=(_rows(n, features), features)), x)
    if is_hybrid(n):
        x = in_8_bits(n, x, (-1,))
    return n.activated(n(Linear(), x, w, bias(n, 2)))


def _rows(n: TfliteNode, features: Dim) -> Dim:
    """How many rows of `features` numbers the operand holds; -1 where its extents say it only when the model runs."""
    shape = n.shape(n[0])
    total = 1
    for d in shape:
        if not isinstance(d, int):
            return shape[0] if len(shape) > 1 and _product(shape[1:]) == features else -1
        total *= d
    if not isinstance(features, int) or features < 1 or total % features:
        n.refuse(f"an operand of shape {list(shape)} does not split into rows of {features}")
    return total // features


def _product(shape: tuple[Dim, ...]) -> Dim:
    total: Dim = 1
    for d in shape:
        total = total * d
    return total


@FAMILY.op("BATCH_MATMUL")
def _batch_matmul(n: TfliteNode) -> Result:
    return n(MatMul(trans_a=n.options.flag("adj_x"), trans_b=n.options.flag("adj_y")), n[0], n[1])


@FAMILY.op("EMBEDDING_LOOKUP")
def _embedding(n: TfliteNode) -> Result:
    """Operands: indices, then the table."""
    return n(Gather(axis=0), n[1], n.i64(n.raw(0)))
