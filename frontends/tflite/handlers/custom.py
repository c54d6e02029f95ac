"""Custom operators that LiteRT's own interpreter knows, by the name in the file; all others are kept as they are.

Source of the options' forms: the kernels that LiteRT 2.3 registers beside the builtin ones.
"""

from __future__ import annotations

import struct

from uair.frontends.tflite.handlers.convolution import spread
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ops import ConvTranspose2D

FAMILY = Family()

_SAME, _VALID = 1, 2


@FAMILY.op("Convolution2DTransposeBias")
def _transposed_conv(n: TfliteNode) -> Result:
    """A transposed convolution with a bias: image, filter [M, kH, kW, C], bias [M].

    Its options are three little-endian integers of 32 bits: padding, strides along width and height. Without a shape as
    an operand the padding alone says what is cut off.
    """
    payload = n.payload
    if len(payload) < 12:
        n.refuse(f"its options have {len(payload)} bytes, 12 are needed")
    padding, width, height = struct.unpack_from("<3i", payload)
    if padding not in (_SAME, _VALID) or min(width, height) < 1:
        n.refuse(f"its options name padding {padding} and strides {[height, width]}")
    w = n.weight(1, (3, 0, 1, 2))
    return spread(n, ConvTranspose2D, n[0], w, n.optional(2), (height, width), same=padding == _SAME)
