"""Quantized layers on integers throughout, as the target's hardware computes them."""

from __future__ import annotations

from typing import Literal

import attrs

from uair.ir.module import Module
from uair.pipeline import Pass, PassContext
from uair.quant.errors import SchemeError
from uair.quant.integer import lower_to_integer
from uair.quant.requantize import Requantization
from uair.targets import load_description


@attrs.frozen
class LowerToInteger(Pass):
    """Let quantized layers compute on integers: exact sums, and the target's rounding to the next layer's integers.

    Where Quantize and Dequantize stand, a quantized module simulates integers with real numbers. This makes them
    integers: what a device computes, bit for bit, and what the interpreter then runs. `uair.quant.integer` says how
    each step rounds, `Requantize` how sums become 8 bits. Operators between layers that are no layers (sums of two
    branches, pooling) stay as they are.

    Attributes:
        target: name of the target whose arithmetic is used.
        requantization: instead of the target's: "float", "fixed_point", "shift", "litert" (as LiteRT's reference
            kernels); "none": sums go back to real numbers.
    """

    target: str = "cpu"
    requantization: Literal["float", "fixed_point", "shift", "litert", "none"] | None = None

    def run(self, module: Module, context: PassContext) -> bool:
        """Lower every graph.

        Raises:
            SchemeError: the target computes on no integers, or in an arithmetic that only its own operators state.
        """
        if not context.fuel.draw(self.name, next(iter(module.main))):
            return False
        arithmetic = self.requantization or self._of_target()
        lowered = lower_to_integer(module, None if arithmetic == "none" else arithmetic)
        changed = any(node.op_type.startswith("Integer") for graph in lowered.graphs.values() for node in graph)
        module.graphs = lowered.graphs
        return changed

    def _of_target(self) -> Requantization:
        described = load_description(self.target).quantization
        if described is None:
            raise SchemeError(f"target {self.target!r} does not run quantized models", hint="choose another target")
        if described.requantization == "f16":
            raise SchemeError(
                f"{self.target} multiplies sums in float16, which its own AscendDequant operator states",
                hint="compile for it, and run the artifact's module; or choose requantization=none",
            )
        return described.requantization
