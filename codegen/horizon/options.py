"""What a user may tell a Horizon target. Legal values: D-Robotics rdk_doc, ptq_process.md, "yaml_config"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from uair.targets.errors import OptionError
from uair.targets.options import TargetOptions, option

Rt = Literal["rgb", "bgr", "yuv444", "nv12", "gray", "featuremap"]
LONGEST_CALL = 4294967295


@attrs.frozen
class HorizonOptions(TargetOptions):
    """Options of hb_mapper and hb_compile; what is not given is left to the tool, or follows from the model."""

    input_type_rt: Rt | None = option(
        None, help="what image inputs get on the board; as the model was trained if unset"
    )
    input_layout_rt: Literal["NCHW", "NHWC"] | None = option(None, help="layout of inputs on the board")
    input_space_and_range: Literal["regular", "bt601_video"] = option("regular", help="range of nv12 pixels")
    input_batch: int = option(1, help="batch size of a model with one input, whose own batch size is 1; 1 to 128")
    input_source: Mapping[str, str] = option({}, help="input:ddr, input:pyramid or input:resizer")
    calibration_type: Literal["default", "mix", "kl", "max", "skip"] | None = option(
        None, help="how the tool chooses ranges; default with samples, skip (random data) without"
    )
    max_percentile: float | None = option(None, help="percentile of calibration_type=max, 0 to 1")
    per_channel: bool = option(False, help="ranges by channel, for calibration types other than default")
    optimization: tuple[str, ...] = option((), help="calibration optimizations, e.g. set_Softmax_input_int8")
    int16: Literal["auto", "none"] = option("auto", help="whether nodes that INT8 hurts get 16 bits (node_info)")
    int16_below: float = option(0.99, help="cosine similarity of a node in INT8 below which it gets 16 bits")
    all_node_type: Literal["int8", "int16", "float16"] | None = option(None, help="type of all nodes (hb_compile)")
    softmax: Literal["cpu", "bpu"] = option("cpu", help="where Softmax runs when the BPU can take it")
    remove_node_type: tuple[Literal["Quantize", "Transpose", "Dequantize", "Cast", "Reshape"], ...] = option(
        (), help="nodes removed at the model's ends, in this order"
    )
    compile_mode: Literal["latency", "bandwidth", "balance"] = option("latency", help="what is optimized for")
    balance_factor: int | None = option(None, help="0 to 100, for compile_mode=balance")
    optimize_level: Literal["O0", "O1", "O2", "O3"] | None = option(None, help="effort of the compiler")
    core_num: int = option(1, help="BPU cores for one inference, 1 or 2")
    debug: bool = option(False, help="layer information for hb_perf")
    max_time_per_fc: int = option(0, help="longest run of one function call, 0 or 1000 to 4294967295 (unit uncertain)")
    jobs: int | None = option(None, help="threads of the compiler")

    def __attrs_post_init__(self) -> None:
        for name, value, fits, wanted in self._ranges():
            if not fits:
                raise OptionError(f"option {name} cannot be {value}", hint=f"it takes {wanted}")
        if self.input_space_and_range == "bt601_video" and self.input_type_rt != "nv12":
            raise OptionError("bt601_video is a range of nv12 images", hint="add --option input_type_rt=nv12")
        if self.max_percentile is not None and self.calibration_type != "max":
            raise OptionError(
                "max_percentile belongs to calibration_type=max", hint="add --option calibration_type=max"
            )
        if self.per_channel and self.calibration_type in (None, "default"):
            raise OptionError(
                "per_channel does not go with the default calibration", hint="set calibration_type=mix, kl or max"
            )
        if (self.balance_factor is not None) != (self.compile_mode == "balance"):
            raise OptionError("balance_factor and compile_mode=balance go together", hint="give both, or neither")

    def _ranges(self) -> tuple[tuple[str, object, bool, str], ...]:
        """Options with a range: name, value, whether it fits, what does."""
        factor, percentile, call = self.balance_factor, self.max_percentile, self.max_time_per_fc
        sources = {"ddr", "pyramid", "resizer"}
        return (
            ("input_batch", self.input_batch, 1 <= self.input_batch <= 128, "1 to 128"),
            ("max_percentile", percentile, percentile is None or 0 <= percentile <= 1, "0 to 1"),
            ("int16_below", self.int16_below, 0 <= self.int16_below <= 1, "0 to 1"),
            ("balance_factor", factor, factor is None or 0 <= factor <= 100, "0 to 100"),
            ("core_num", self.core_num, self.core_num in (1, 2), "1 or 2"),
            ("max_time_per_fc", call, call == 0 or 1000 <= call <= LONGEST_CALL, f"0, or 1000 to {LONGEST_CALL}"),
            ("jobs", self.jobs, self.jobs is None or self.jobs >= 1, "1 or more"),
            ("input_source", dict(self.input_source), sources.issuperset(self.input_source.values()),
             "ddr, pyramid or resizer for each input"),
        )  # fmt: skip


@attrs.frozen
class Chip:
    """What the tools take for a march.

    Attributes:
        march: the tool's name of the chip.
        tool: "hb_mapper" or "hb_compile".
        cores: BPU cores that one inference may use.
        levels: optimize_level.
        balance: whether compile_mode=balance is known.
        node_info: whether nodes can be told a type (else run_on_bpu is the older way to place them).
        layout_rt: layout of images on the board when the user does not say; None: as in the model.
    """

    march: str
    tool: str
    cores: int
    levels: tuple[str, ...] = ("O0", "O1", "O2", "O3")
    balance: bool = False
    node_info: bool = True
    layout_rt: Literal["NCHW", "NHWC"] | None = None

    def check(self, options: HorizonOptions) -> None:
        """Refuse what the chip or its tool does not know.

        Raises:
            OptionError: see there.
        """
        level = options.optimize_level
        wrong = [
            (options.core_num > self.cores, f"core_num={options.core_num}", f"it has {self.cores} BPU core"),
            (
                level is not None and level not in self.levels,
                f"optimize_level={level}",
                f"use {', '.join(self.levels)}",
            ),
            (
                options.compile_mode == "balance" and not self.balance,
                "compile_mode=balance",
                "use latency or bandwidth",
            ),
            (options.all_node_type is not None and self.tool != "hb_compile", "all_node_type", "it is of hb_compile"),
        ]
        for bad, what, hint in wrong:
            if bad:
                raise OptionError(f"{self.tool} for {self.march} does not take {what}", hint=hint)


CHIPS = {
    "bernoulli2": Chip("bernoulli2", "hb_mapper", 2, node_info=False, layout_rt="NHWC"),
    "bayes": Chip("bayes", "hb_mapper", 2, balance=True),
    "bayes-e": Chip("bayes-e", "hb_mapper", 1),
    "nash-e": Chip("nash-e", "hb_compile", 1, levels=("O0", "O1", "O2"), balance=True),
    "nash-m": Chip("nash-m", "hb_compile", 1, levels=("O0", "O1", "O2"), balance=True),
}
