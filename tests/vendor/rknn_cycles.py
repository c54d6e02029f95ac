"""Predicted cycles of a model of the zoo beside those that the compiler of rknn-toolkit2 prints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import attrs

import uair
from tests import zoo
from tests.vendor import rknn
from uair.codegen.rockchip.cycles import Comparison, compare
from uair.codegen.rockchip.layer_table import Layer
from uair.passes.plan import plan
from uair.targets import load_description


@attrs.frozen
class Measured:
    """One build.

    Attributes:
        cycles: predictions beside the compiler's.
        activations: UAIR's plan of activation memory in bytes.
        lower_bound: what is live at one time.
        internal: the compiler's "Total Internal Memory Size" in bytes.
    """

    cycles: Comparison
    activations: int
    lower_bound: int
    internal: int


def measure(name: str, mode: str, folder: Path) -> Measured:
    """Compile for rk3588 and build; the build of an unchanged artifact is kept.

    Args:
        name: of the zoo.
        mode: "float16" or "int8".
        folder: an empty one.
    """
    model = zoo.models()[name]
    artifact = uair.compile(
        model.path,
        "rk3588",
        output=folder / "artifact",
        shapes=dict(model.shapes),
        quantize=uair.Int8(model.calibration(4)) if mode == "int8" else None,
        golden=model.feeds(0),
    )
    built = rknn.build(artifact, folder / "build")
    description = load_description("rk3588")
    module = uair.load(artifact.file("model.uair"))
    planned = plan(module, description)
    compared = compare(layers_of(built.layers), module.main, description)
    shutil.rmtree(artifact.root)
    assert planned.memory is not None
    return Measured(compared, planned.memory.bytes, planned.memory.lower_bound, built.layers["internal_bytes"])


def layers_of(kept: dict[str, Any]) -> list[Layer]:
    """The rows of a kept summary; it has no cycles of transfers and arithmetic apart."""
    return [
        Layer(i, op, dtype, target, tuple(map(tuple, inputs)), tuple(output) or None, 0, 0, cycles, 0, name)
        for i, (op, dtype, target, inputs, output, cycles, name) in enumerate(kept["rows"])
    ]
