"""The handlers of TensorFlow's operators, one file for each family."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from uair.frontends.common.table import joined
from uair.frontends.tensorflow.handlers import (
    activation,
    basic,
    colour,
    control,
    convolution,
    detection,
    elementwise,
    image,
    indexing,
    linear,
    lists,
    normalization,
    pooling,
    quantization,
    random,
    reduction,
    resize,
    searching,
    shape,
    signal,
)
from uair.frontends.tensorflow.node import Family, Handler

FAMILIES: tuple[Family, ...] = tuple(
    module.FAMILY
    for module in (
        activation, basic, colour, control, convolution, detection, elementwise, image, indexing, linear, lists,
        normalization, pooling, quantization, random, reduction, resize, searching, shape, signal,
    )
)  # fmt: skip


@functools.cache
def handlers() -> Mapping[str, Handler]:
    """The handlers by operator."""
    return joined(FAMILIES)


@functools.cache
def result_names() -> Mapping[str, tuple[str, ...]]:
    """Names of the results of operators that have several."""
    return {op: names for family in FAMILIES for op, names in family.results.items()}
