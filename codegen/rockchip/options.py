"""What a user may tell the Rockchip targets: arguments of `RKNN.config` and `RKNN.build`, under their own names.

All were tried with rknn-toolkit2 2.5.0 on RK3588; those that it refuses there (sparse_infer, quantize_weight) are no
options, nor are those that no document gives to the chip (bfloat16, w16a16i_dfp).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from uair.targets.errors import OptionError
from uair.targets.options import TargetOptions, option

UNITS = ("auto", "cpu", "gpu", "npu")
Plan = Literal["BestFit", "GreedyBySize", "GreedyByLifetime", "SlowPeakGrowth"]
Order = Literal["WidthFirst", "DepthFirst"]
Quantizer = Literal["uair", "normal", "mmse", "kl_divergence"]


@attrs.frozen
class RockchipOptions(TargetOptions):
    """Options of the toolkit; what is not given is left to it."""

    optimization_level: int = option(3, help="0 to 3; below 3 the toolkit follows a quantized graph more literally")
    op_target: Mapping[str, str] | None = option(
        None, help="where operators run: unit (cpu, npu, gpu, auto) by ONNX operator or tensor name"
    )
    custom_string: str = option(
        "", help="text in the .rknn file, for RKNN_QUERY_CUSTOM_STRING; the model's hash if empty"
    )
    rknn_batch_size: int = option(1, help="batch that the .rknn file takes, spread over the cores of the NPU")
    single_core_mode: bool = option(False, help="leave out what several cores need: a smaller file")
    compress_weight: bool = option(False, help="compress the weights in the file")
    remove_weight: bool = option(False, help="a second file without weights, for several instances of a model")
    remove_reshape: bool = option(False, help="drop Reshape at inputs and outputs, whose shapes change by that")
    memory_plan_strategy: Plan | None = option(None, help="how memory for activations is planned")
    compute_order: Order | None = option(None, help="order of independent operators")
    quantizer: Quantizer = option(
        "uair", help="who chooses INT8 scales: UAIR, or the toolkit by one of its algorithms from the same samples"
    )

    def __attrs_post_init__(self) -> None:
        """Check ranges.

        Raises:
            OptionError: a value that the toolkit does not take.
        """
        if not 0 <= self.optimization_level <= 3:
            raise OptionError(f"optimization_level is 0 to 3, not {self.optimization_level}")
        if self.rknn_batch_size < 1:
            raise OptionError(f"rknn_batch_size is at least 1, not {self.rknn_batch_size}")
        for name, unit in (self.op_target or {}).items():
            if unit not in UNITS:
                raise OptionError(
                    f"op_target puts {name} on {unit!r}, which is no unit", hint=f"units are {', '.join(UNITS)}"
                )

    def config(self) -> dict[str, Any]:
        """Arguments of `RKNN.config`, without what is as the toolkit has it anyway."""
        given: dict[str, Any] = {"optimization_level": self.optimization_level}
        if self.quantizer != "uair":
            given["quantized_algorithm"] = self.quantizer
        if self.op_target:
            given["op_target"] = dict(self.op_target)
        for name in ("single_core_mode", "compress_weight", "remove_weight", "remove_reshape"):
            if getattr(self, name):
                given[name] = True
        for name in ("memory_plan_strategy", "compute_order"):
            if getattr(self, name) is not None:
                given[name] = getattr(self, name)
        return given
