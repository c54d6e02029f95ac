"""Nodes that the constraints of the XuanTie and x86 device files refuse, beyond those of thead.py."""

from __future__ import annotations

from tests.targets.helpers import make
from uair.context import Context
from uair.ir.graph import Node
from uair.ops import ConvTranspose3D, HardSigmoid
from uair.targets import Support, Target

VOLUME = "f32[1,4,4,4,4]"
NO = Support.UNSUPPORTED

NEGATIVE: list[tuple[Target, Node, Support, str]] = [
    (Context.default().target(name), node, NO, clause)
    for name in ("c920", "x86_ref")
    for node, clause in (
        (make(HardSigmoid(alpha=1 / 6, beta=0.5), "f16[1,4,8,8]"), "x.dtype == f32"),
        (make(ConvTranspose3D(groups=2), VOLUME, "=f32[4,2,2,2,2]"), "groups == 1"),
        (make(ConvTranspose3D(dilations=(2, 2, 2)), VOLUME, "=f32[4,2,2,2,2]"), "all(dilations == 1)"),
    )
]
