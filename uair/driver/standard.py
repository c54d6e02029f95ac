"""The target-independent part of every pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uair.pipeline import Pass

if TYPE_CHECKING:
    from uair.targets.target import Target


def standard_passes() -> list[Pass]:
    """The target-independent part of every pipeline."""
    from uair.passes.canonicalise import Canonicalise
    from uair.passes.fuse import Fuse

    return [Canonicalise(), Fuse()]


def preparation(target: Target) -> tuple[Pass, ...]:
    """What gives a canonical, fused module the form that suits a target, before it is quantized."""
    from uair.passes.signed_integers import SignedIntegers

    shift = (SignedIntegers(),) if _takes_quantize(target, np.int8) > _takes_quantize(target, np.uint8) else ()
    return (*shift, *target.prepare())


def _takes_quantize(target: Target, integers: type[np.int8] | type[np.uint8]) -> int:
    """How well a target takes a Quantize to such integers, with the middle one as zero point."""
    from uair.ir import DType, Tensor, TensorType, constant
    from uair.ops import Quantize

    middle = constant(np.array(0 if integers is np.int8 else 128, integers))
    x = Tensor(TensorType(DType.F32, (1, 4)), "x")
    quantize = Quantize(dtype=DType.from_numpy(np.dtype(integers))).node(x, constant(np.float32(0.1)), middle)
    return -target.verdict(quantize).support.rank
