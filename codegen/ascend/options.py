"""What a user may tell the Ascend targets: ATC's options under the names they have there, and how files are written.

Source of names and values: hicann/ge, api/atc/atc_flags.cc and docs, CLI_options; of what CANN 6.0 has:
mindspore-ai/graphengine branch r1.9, ge/offline/main.cc.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from uair.codegen.ascend.chips import Chip
from uair.targets.errors import OptionError
from uair.targets.options import TargetOptions, option

PrecisionMode: TypeAlias = Literal[
    "force_fp16",
    "allow_fp32_to_fp16",
    "must_keep_origin_dtype",
    "allow_mix_precision",
    "force_fp32",
    "cube_fp16in_fp32out",
    "allow_mix_precision_fp16",
    "allow_mix_precision_bf16",
    "allow_fp32_to_bf16",
]
PrecisionModeV2: TypeAlias = Literal["fp16", "origin", "cube_fp16in_fp32out", "mixed_float16", "mixed_bfloat16"]
NEWER_MODES = ("cube_fp16in_fp32out", "allow_mix_precision_fp16", "allow_mix_precision_bf16", "allow_fp32_to_bf16")
BF16_MODES = ("mixed_bfloat16", "allow_mix_precision_bf16", "allow_fp32_to_bf16")
MIXED_MODES = ("allow_mix_precision", "allow_mix_precision_fp16", "allow_mix_precision_bf16", "mixed_float16",
               "mixed_bfloat16")  # fmt: skip
FLOAT_MODES = ("force_fp32", "must_keep_origin_dtype", "origin")
"""Modes that quantized models exclude."""
OutputType: TypeAlias = Literal[
    "FP32", "FP16", "UINT8", "INT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "DOUBLE"
]
OpPrecision: TypeAlias = Literal[
    "high_precision", "high_performance", "super_performance", "keep_fp16", "support_out_of_bound_index"
]
Switch: TypeAlias = Literal["on", "off"]
KNOWN, NEWEST = "6.0", "9.2"
"""Releases whose options are known; where between them an option arrived is not."""
OP_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9]*")


def _no_text() -> Any:
    return attrs.Factory(dict[str, str])


@attrs.frozen
class AscendOptions(TargetOptions):
    """The options; `check_options` tells which go together."""

    format: Literal["both", "onnx", "air"] = option(
        "both", help="what is written: ONNX, GE IR, or both (GE IR where the model has a form in it)"
    )
    kernels: bool = option(
        True, help="whether kernels/ is written: MLIR, TBE and Ascend C sources, which ATC does not need"
    )
    cann: str = option("", help="the release of CANN that will compile, e.g. 8.0; options that it lacks are refused")
    soc_version: str = option("", help="the chip as npu-smi names it, e.g. Ascend310P3 [the description's]")
    log: Literal["error", "null", "debug", "info", "warning"] = option("error", help="what ATC logs")
    # precision
    precision_mode: PrecisionMode | None = option(
        None, help="how ATC chooses element types [force_fp16, which is ATC's own default]"
    )
    precision_mode_v2: PrecisionModeV2 | None = option(None, help="the same in newer words, instead of precision_mode")
    op_precision: Mapping[str, OpPrecision] = option(
        _no_text(), help="precision by GE operator: SoftmaxV2:high_precision"
    )
    node_precision: Mapping[str, OpPrecision] = option(_no_text(), help="precision by node")
    keep_dtype: tuple[str, ...] = option(
        (), help="nodes whose element types ATC keeps, or OpType::Relu for all of a kind"
    )
    black_list: tuple[str, ...] = option((), help="GE operators that mixed precision leaves in float32")
    white_list: tuple[str, ...] = option((), help="GE operators that mixed precision computes in float16")
    black_list_remove: tuple[str, ...] = option((), help="GE operators taken off the black list")
    white_list_remove: tuple[str, ...] = option((), help="GE operators taken off the white list")
    customize_dtypes: Path | None = option(
        None, help="a file of element types, a line `node::InputDtype:float16,OutputDtype:int8` each"
    )
    # the graph
    out_nodes: tuple[str, ...] = option((), help="values, or node:0, that the compiled model ends in")
    output_type: OutputType | None = option(None, help="element type of all outputs")
    output_types: Mapping[str, OutputType] = option(_no_text(), help="element type by output: scores:FP16")
    input_fp16_nodes: tuple[str, ...] = option((), help="inputs that are given as float16")
    input_hw_layout: tuple[str, ...] = option((), help="those of them that are given in NC1HWC0")
    output_hw_layout: tuple[str, ...] = option((), help="outputs that are given in NC1HWC0 as float16")
    graph_fusion: Mapping[str, Switch] = option(
        _no_text(), help="switches of graph fusions: ALL:off,SoftmaxFusionPass:on"
    )
    ub_fusion: Mapping[str, Switch] = option(_no_text(), help="switches of fusions in the unified buffer")
    optimization_switch: Mapping[str, Switch] = option(_no_text(), help="switches of optimizations")
    # shapes
    gears: Literal["auto", "batch", "image", "dims"] = option(
        "auto", help="how shape buckets are stated: --dynamic_batch_size, --dynamic_image_size or --dynamic_dims"
    )
    size_ranges: Mapping[str, str] = option(_no_text(), help="bounds of sizes that stay open: batch:1~16")
    # pictures
    aipp: Literal["static", "dynamic"] = option(
        "static", help="whether the preprocessing is compiled in or given with every call"
    )
    aipp_format: Literal["rgb", "bgr", "nv12", "nv21", "gray"] | None = option(
        None, help="what the camera gives [rgb or gray]"
    )
    aipp_matrix: Literal["bt601", "jpeg"] = option("bt601", help="range of nv12 and nv21: 16..235, or 0..255")
    aipp_source: tuple[int, ...] = option((), help="width,height of the given picture, when it is not the input's")
    aipp_crop: tuple[int, ...] = option((), help="left,top of the part of it that is taken [the middle]")
    aipp_padding: tuple[int, ...] = option((), help="left,right,top,bottom pixels put around it, 0 to 32 each")
    enable_small_channel: bool | None = option(
        None, help="faster first convolution of up to 4 channels [with static AIPP]"
    )
    # compilation
    core_type: Literal["AiCore", "VectorCore"] | None = option(None, help="the cores that run the model")
    aicore_num: str = option("", help="cores used: 10, or cube|vector 24|48")
    buffer_optimize: Literal["l2_optimize", "off_optimize", "l1_optimize"] | None = option(
        None, help="use of the buffers"
    )
    op_select_implmode: (
        Literal["high_precision", "high_performance", "high_precision_for_all", "high_performance_for_all"] | None
    ) = option(None, help="precision of all operators, or of optypelist_for_implmode")
    optypelist_for_implmode: tuple[str, ...] = option((), help="GE operators that op_select_implmode is for")
    op_compiler_cache_mode: Literal["enable", "force", "disable"] | None = option(
        None, help="cache of compiled operators"
    )
    op_debug_level: int | None = option(None, help="what is kept of compiled operators, 0 to 4")
    external_weight: int | None = option(None, help="weights in files of their own, 0 to 2")
    jit_compile: int | None = option(None, help="operators compiled when needed, 0 to 2")
    sparsity: int | None = option(None, help="1: weights are 2:4 sparse")
    first_layer_quantization: bool = option(False, help="let ATC quantize the first layer of a float model")
    calibration_data: Path | None = option(
        None, help="inputs in one raw file, with which ATC itself quantizes a float model on an NPU"
    )
    extra: tuple[str, ...] = option((), help="further options of ATC as they are: --deterministic=1")

    def __attrs_post_init__(self) -> None:
        for name in ("op_debug_level", "external_weight", "jit_compile", "sparsity"):
            _require_range(name, getattr(self, name), *LIMITS[name])
        for name in ("black_list", "white_list", "black_list_remove", "white_list_remove", "optypelist_for_implmode"):
            _require_types(name, getattr(self, name))
        _require_types("op_precision", self.op_precision)
        if self.precision_mode and self.precision_mode_v2:
            raise OptionError("precision_mode and precision_mode_v2 exclude each other")
        if self.optypelist_for_implmode and not self.op_select_implmode:
            raise OptionError("optypelist_for_implmode needs op_select_implmode")
        if self.cann and not re.fullmatch(r"\d+(\.\w+)*", self.cann):
            raise OptionError(f"cann={self.cann} is no release", hint="write it like 7.0.0 or 8.0.RC1")
        wrong = next((s for s in self.size_ranges.values() if not _is_range(s)), None)
        if wrong is not None:
            raise OptionError(f"size_ranges: {wrong!r} is no range", hint="write it like batch:1~16")
        self._check_pictures()

    def _check_pictures(self) -> None:
        """AIPP's numbers, as far as they do not depend on the input."""
        for name, count in (("aipp_source", 2), ("aipp_crop", 2), ("aipp_padding", 4)):
            given: tuple[int, ...] = getattr(self, name)
            if given and len(given) != count:
                raise OptionError(f"{name} takes {count} numbers, not {len(given)}")
        if any(not 0 <= p <= 32 for p in self.aipp_padding):
            raise OptionError(f"aipp_padding is 0 to 32 pixels on each side, not {max(self.aipp_padding)}")
        if self.aipp_crop and not self.aipp_source:
            raise OptionError("aipp_crop needs aipp_source, the size of the picture it is cut from")

    @property
    def modes(self) -> str:
        """The precision mode in force."""
        return self.precision_mode_v2 or self.precision_mode or "force_fp16"


LIMITS = {"op_debug_level": (0, 4), "external_weight": (0, 2), "jit_compile": (0, 2), "sparsity": (0, 1)}


def _require_range(name: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise OptionError(f"{name} is {low} to {high}, not {value}")


def _require_types(name: str, types: Iterable[str]) -> None:
    wrong = next((t for t in types if not OP_TYPE.fullmatch(t)), None)
    if wrong is not None:
        raise OptionError(f"{name}: {wrong!r} is no GE operator", hint="these are names like Conv2D or SoftmaxV2")


def _is_range(text: str) -> bool:
    low, separator, high = text.partition("~")
    return bool(separator) and low.isdecimal() and high.isdecimal() and 1 <= int(low) <= int(high)


# ---------------------------------------------------------------------------------------------------- what the chip has
def check_options(options: AscendOptions, chip: Chip, target: str, *, quantized: bool, open_sizes: bool) -> None:
    """Refuse what a chip, its releases of CANN, or a quantized model do not take.

    Args:
        options: as given.
        chip: what the chip has.
        target: its name, for messages.
        quantized: whether the model is to be quantized.
        open_sizes: whether several shapes are asked for.

    Raises:
        OptionError: naming the option and what it would take.
    """
    if options.soc_version and options.soc_version not in chip.soc_versions:
        near = difflib.get_close_matches(options.soc_version, chip.soc_versions, n=1)
        hint = f"did you mean {near[0]}?" if near else f"{target} is for {', '.join(chip.soc_versions)}"
        raise OptionError(f"soc_version={options.soc_version} is no chip of {target}", hint=hint)
    _check_release(options, chip, target)
    if options.size_ranges and not chip.ranges:
        raise OptionError(
            f"sizes stay open on chips that allow it, {target} is compiled for fixed ones",
            hint="give the shapes that you need with --shape-bucket",
        )
    if options.modes in BF16_MODES and not chip.bf16:
        raise OptionError(f"{target} has no bfloat16, which {options.modes} asks for")
    if options.core_type == "VectorCore" and not chip.vector_core:
        raise OptionError(f"core_type=VectorCore is for Ascend 310P, not for {target}")
    if options.sparsity and not chip.sparse:
        raise OptionError(f"{target} does not compute 2:4 sparse weights")
    _check_cores(options.aicore_num, chip)
    mixed = options.black_list or options.white_list or options.black_list_remove or options.white_list_remove
    if mixed and options.modes not in MIXED_MODES:
        raise OptionError(
            "black_list and white_list need a mixed precision mode", hint="precision_mode=allow_mix_precision"
        )
    if quantized:
        _check_quantized(options, open_sizes)
    if options.calibration_data and open_sizes:
        raise OptionError("calibration_data is for a model of one shape")


def _check_cores(text: str, chip: Chip) -> None:
    if text and not re.fullmatch(r"[1-9]\d*\|[1-9]\d*" if chip.split_cores else r"[1-9]\d*", text):
        raise OptionError(f"aicore_num={text} is no number of cores", hint="24|48" if chip.split_cores else "10")


def _check_quantized(options: AscendOptions, open_sizes: bool) -> None:
    """Rules for quantized models. Source: hicann/ge, docs, general_restrictions.md."""
    if options.modes in FLOAT_MODES:
        raise OptionError(f"a quantized model excludes {options.modes}", hint="leave the precision mode out")
    high = "high_precision" in options.op_precision.values() or "high_precision" in options.node_precision.values()
    if high or (options.op_select_implmode or "").startswith("high_precision"):
        raise OptionError("a quantized model excludes high_precision")
    if open_sizes or options.size_ranges:
        raise OptionError("a quantized model is compiled for one shape", hint="compile once for each shape")
    if options.first_layer_quantization or options.calibration_data:
        raise OptionError(
            "either UAIR quantizes (--quantize int8) or ATC does",
            hint="leave out --quantize, or first_layer_quantization and calibration_data",
        )


def newer_options(options: AscendOptions) -> list[str]:
    """The options given that CANN 6.0 does not have, as ATC names them."""
    found = {
        "precision_mode_v2": options.precision_mode_v2 is not None,
        "customize_dtypes": options.customize_dtypes is not None,
        "external_weight": options.external_weight is not None,
        "jit_compile": options.jit_compile is not None,
        "sparsity": options.sparsity is not None,
        "optimization_switch": bool(options.optimization_switch),
        "compression_optimize_conf": options.first_layer_quantization or options.calibration_data is not None,
    }
    extra = [flag.partition("=")[0].lstrip("-") for flag in options.extra]
    return [name for name, given in found.items() if given] + [name for name in extra if name in NEWER_FLAGS]


NEWER_FLAGS = frozenset({
    "precision_mode_v2", "customize_dtypes", "compression_optimize_conf", "external_weight", "jit_compile",
    "deterministic", "sparsity", "quant_dumpable", "optimization_switch", "raw_ge_options", "virtual_type",
})  # fmt: skip
OLDER_FLAGS = frozenset({
    "mode", "framework", "model", "weight", "output", "soc_version", "input_format", "input_shape",
    "dynamic_batch_size", "dynamic_image_size", "dynamic_dims", "out_nodes", "output_type", "input_fp16_nodes",
    "is_input_adjust_hw_layout", "is_output_adjust_hw_layout", "insert_op_conf", "precision_mode", "modify_mixlist",
    "keep_dtype", "op_precision_mode", "op_select_implmode", "optypelist_for_implmode", "fusion_switch_file",
    "enable_small_channel", "buffer_optimize", "core_type", "aicore_num", "log", "check_report", "op_debug_level",
    "debug_dir", "op_compiler_cache_mode", "disable_reuse_memory", "enable_single_stream", "om", "json", "singleop",
})  # fmt: skip
FREE_FLAGS = frozenset(
    {"check_report", "debug_dir", "disable_reuse_memory", "enable_single_stream", "deterministic", "quant_dumpable",
     "raw_ge_options", "virtual_type"}
)  # fmt: skip
"""Those that `extra` may give: the others have an option of their own, or are UAIR's."""


def _check_release(options: AscendOptions, chip: Chip, target: str) -> None:
    """Options against the release of CANN."""
    for flag in options.extra:
        name, separator, value = flag.removeprefix("--").partition("=")
        if not flag.startswith("--") or not separator or name not in FREE_FLAGS:
            near = difflib.get_close_matches(name, FREE_FLAGS, n=1)
            hint = f"did you mean --{near[0]}=...?" if near else f"extra takes {', '.join(sorted(FREE_FLAGS))}"
            raise OptionError(f"extra={flag} is no option of ATC that is left to you", hint=hint)
        if re.search(r"[^A-Za-z0-9_./|-]", value):
            raise OptionError(f"extra={flag}: ATC takes letters, digits, _ - . and / only")
    if chip.newest and options.cann and _release(options.cann) >= _release(chip.newest):
        raise OptionError(
            f"CANN {options.cann} does not know the chip of {target}", hint=f"releases before {chip.newest} do"
        )
    newer = newer_options(options) + [f"precision_mode={options.modes}"] * (options.precision_mode in NEWER_MODES)
    newer += ["keep_dtype=OpType::..."] * any(n.startswith("OpType::") for n in options.keep_dtype)
    if not newer:
        return
    if not chip.newer_options:
        hint = "precision_mode in the place of precision_mode_v2" if "v2" in newer[0] else ""
        raise OptionError(f"{newer[0]} is in no release of CANN that is known to support {target}", hint=hint)
    if options.cann and _release(options.cann)[:1] <= _release(KNOWN)[:1]:
        raise OptionError(f"CANN {options.cann} has no {newer[0]}", hint="a later release has")


def _release(text: str) -> tuple[int, ...]:
    """A release's numbers."""
    return tuple(int(n) for n in re.findall(r"\d+", text)[:3])


def uncertain_options(options: AscendOptions) -> list[str]:
    """Sentences about options of which it is not certain that the release has them."""
    newer = newer_options(options)
    if not newer or (options.cann and _release(options.cann) >= _release(NEWEST)):
        return []
    names = ", ".join(f"--{n}" for n in newer)
    return [f"{names}: after CANN {KNOWN} and not later than {NEWEST}; in which release is uncertain"]
