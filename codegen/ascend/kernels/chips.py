"""What the vector units of Ascend's chips can do, which decides how a kernel is written for them.

Sources: hicann/ge, tests/engines/ffts_engine/config/data/platform_config/*.ini (intrinsics by element type), as of
2026-08; for the transfers cannmirror/asc-devkit, DataCopyPad. Sizes of memories and numbers of cores are in the device
description.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from uair.codegen.ascend.kernels.program import Verb
from uair.ir.dtype import DType

HALF, BOTH = frozenset({DType.F16}), frozenset({DType.F16, DType.F32})


@attrs.frozen
class Chip:
    """One chip.

    Attributes:
        languages: what kernels are written in, the first one decides which nodes form a kernel.
        config: what custom operator packages call the chip.
        verbs: the element types that the vector unit computes a verb in; what is missing is written in other verbs.
        exact_tail: whether a transfer may end at any byte (DataCopyPad); else it moves blocks of 32 bytes.
    """

    languages: tuple[str, ...]
    config: str
    verbs: Mapping[Verb, frozenset[DType]]
    exact_tail: bool = True


_ALL = {
    verb: BOTH
    for verb in (
        *(Verb.ADD, Verb.SUB, Verb.MUL, Verb.MAX, Verb.MIN, Verb.ABS, Verb.REC, Verb.RSQRT, Verb.SUM),
        *(Verb.FILL, Verb.BROADCAST),
    )
}
_NEW = {verb: BOTH for verb in (Verb.DIV, Verb.SQRT, Verb.EXP, Verb.LOG, Verb.RELU, Verb.LARGEST, Verb.LEAST)}
_OLD = {verb: HALF for verb in (Verb.EXP, Verb.LOG, Verb.RELU, Verb.LARGEST, Verb.LEAST)}

_NARROW = {verb: HALF for verb in (Verb.LARGEST, Verb.LEAST)}
"""Extremes of f32 are not stated for the chips between 310 and 910B, and f16 is enough to shift a softmax."""

CHIPS: Mapping[str, Chip] = {
    "ascend310": Chip(("tbe",), "ascend310", {**_ALL, **_OLD}, exact_tail=False),
    "ascend310p": Chip(("ascendc",), "ascend310p", {**_ALL, **_NEW, **_NARROW}, exact_tail=False),
    "ascend310b": Chip(("ascendc",), "ascend310b", {**_ALL, **_NEW, **_NARROW}),
    "ascend910b": Chip(("mlir", "ascendc"), "ascend910b", {**_ALL, **_NEW}),
}
"""By name of the target."""
