"""The configuration file of hb_mapper makertbin and hb_compile.

Groups, keys and legal values: D-Robotics rdk_doc, ptq_process.md, "yaml_config", and the YAML files of rdk_model_zoo;
of hb_compile: S100 OpenExplorer 3.5.0. All four groups must be there. What belongs to several inputs is one text,
separated by semicolons in the order of input_name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from uair.codegen.horizon.inputs import InputSpec
from uair.codegen.horizon.options import Chip, HorizonOptions

MODEL, PREFIX, WORKING = "model.onnx", "model", "model_output"
CALIBRATION = "calibration"

Config = dict[str, dict[str, Any]]


@attrs.frozen
class Bare:
    """Text without quotes."""

    text: str


def configuration(
    chip: Chip,
    options: HorizonOptions,
    inputs: Sequence[InputSpec],
    *,
    samples: bool,
    node_info: Mapping[str, Mapping[str, str]],
) -> Config:
    """The configuration by group and key.

    Args:
        chip: the chip.
        options: what the user wants.
        inputs: the inputs, in order.
        samples: whether there is calibration data; without, the tool takes random numbers, and the result is good for
            measuring speed only.
        node_info: placement and types of nodes, by their ONNX names.
    """
    return {
        "model_parameters": _model(chip, options, node_info),
        "input_parameters": _input(options, inputs),
        "calibration_parameters": _calibration(chip, options, inputs, samples=samples, node_info=node_info),
        "compiler_parameters": _compiler(chip, options, inputs),
    }


def _model(chip: Chip, options: HorizonOptions, node_info: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    group: dict[str, Any] = {
        "onnx_model": MODEL,
        "march": chip.march,
        "output_model_file_prefix": PREFIX,
        "working_dir": WORKING,
        "layer_out_dump": False,
    }
    if options.remove_node_type:
        group["remove_node_type"] = ";".join(options.remove_node_type)
    if node_info and chip.node_info:
        group["node_info"] = Bare(json.dumps(node_info, sort_keys=True))
    return group


def _input(options: HorizonOptions, inputs: Sequence[InputSpec]) -> dict[str, Any]:
    def joined(values: Sequence[str]) -> str:
        return ";".join(values)

    group: dict[str, Any] = {
        "input_name": joined([each.name for each in inputs]),
        "input_type_train": joined([each.type_train for each in inputs]),
        "input_layout_train": joined([each.layout_train for each in inputs]),
        "input_type_rt": joined([each.type_rt for each in inputs]),
        "input_shape": joined(["x".join(map(str, each.shape)) for each in inputs]),
        "norm_type": joined([each.norm_type for each in inputs]),
    }
    layouts = [each.layout_rt for each in inputs]
    if any(layouts):
        group["input_layout_rt"] = joined([layout or "NHWC" for layout in layouts])  # not looked at for nv12
    if options.input_space_and_range != "regular":
        spaces = [options.input_space_and_range if each.type_rt == "nv12" else "regular" for each in inputs]
        group["input_space_and_range"] = joined(spaces)
    if options.input_batch > 1:
        group["input_batch"] = options.input_batch
    if any("mean" in each.norm_type for each in inputs):
        group["mean_value"] = Bare(joined([each.mean_value for each in inputs]))
    if any("scale" in each.norm_type for each in inputs):
        group["scale_value"] = Bare(joined([each.scale_value for each in inputs]))
    return group


def _calibration(
    chip: Chip,
    options: HorizonOptions,
    inputs: Sequence[InputSpec],
    *,
    samples: bool,
    node_info: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    kind = options.calibration_type or ("default" if samples else "skip")
    group: dict[str, Any] = {"calibration_type": kind}
    if kind != "skip":
        group["cal_data_dir"] = ";".join(f"{CALIBRATION}/{each.folder}" for each in inputs)
        if chip.tool == "hb_mapper":
            group["cal_data_type"] = ";".join("float32" for _ in inputs)
            group["preprocess_on"] = False
    if kind == "max" and options.max_percentile is not None:
        group["max_percentile"] = options.max_percentile
    if options.per_channel:
        group["per_channel"] = True
    if options.optimization:
        group["optimization"] = ",".join(options.optimization)
    if node_info and not chip.node_info:
        group["run_on_bpu"] = ";".join(name for name, info in node_info.items() if info.get("ON") == "BPU")
    if options.all_node_type is not None:
        quant = {"model_config": {"all_node_type": options.all_node_type}}
        group["quant_config"] = Bare(json.dumps(quant, sort_keys=True))
    return group


def _compiler(chip: Chip, options: HorizonOptions, inputs: Sequence[InputSpec]) -> dict[str, Any]:
    group: dict[str, Any] = {
        "compile_mode": options.compile_mode,
        "debug": options.debug,
        "core_num": options.core_num,
        "optimize_level": options.optimize_level or chip.levels[-1],
    }
    if options.balance_factor is not None:
        group["balance_factor"] = options.balance_factor
    if options.max_time_per_fc:
        group["max_time_per_fc"] = options.max_time_per_fc
    if options.jobs is not None:
        group["jobs"] = options.jobs
    if options.input_source:
        names = {each.source: each.name for each in inputs}
        ways = {names.get(name, name): way for name, way in options.input_source.items()}
        group["input_source"] = Bare(json.dumps(ways, sort_keys=True))
    return group


def to_yaml(config: Mapping[str, Mapping[str, Any]]) -> str:
    """The file: groups of keys with text, numbers, True and False, and tables on one line."""
    lines: list[str] = []
    for group, keys in config.items():
        lines.append(f"{group}:")
        lines += [f"  {key}: {_scalar(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    if isinstance(value, Bare):
        return value.text
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)  # True, False and numbers
