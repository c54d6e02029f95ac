"""build.json and build.sh: what build.py is to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uair.codegen.rockchip.few_bits import few_bits_config
from uair.codegen.rockchip.options import RockchipOptions
from uair.ir.dtype import Array
from uair.preprocess import Preprocess
from uair.request import WeightOnly
from uair.targets.description import Toolchain

SCHEMA = 1
DATASET = "calibration/dataset.txt"
LOWEST_COSINE = {"none": 0.99, "model": 0.9, "toolkit": 0.9}
"""What an output of the simulation must have in common with the float reference, in float16 and in INT8: below,
something is wrong with the build rather than with the number format."""


def settings(
    *,
    model: str,
    output: str,
    chip: str,
    quantization: str,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    golden: Mapping[str, str] | None,
    options: RockchipOptions,
    weights: WeightOnly | None,
    custom_string: str,
    shapes: Sequence[Sequence[Sequence[int]]],
) -> dict[str, Any]:
    """Content of build.json; build_script.py tells what the fields mean.

    Args:
        model: the ONNX file.
        output: the file to build.
        chip: the toolkit's `target_platform`.
        quantization: "none"; "model": the ONNX file holds QuantizeLinear and DequantizeLinear; "toolkit": DATASET lists
            samples for the toolkit.
        inputs: ports of the ONNX file, some with the `normalization` that the compiled model does.
        outputs: ports of the ONNX file.
        golden: files of one input and its reference output.
        options: of the user.
        weights: of few bits, which the toolkit makes; None for float16 and INT8.
        custom_string: text for the .rknn file.
        shapes: for a model of several input shapes, those of all inputs in each bucket; empty for a static model.
    """
    config: dict[str, Any] = {"target_platform": chip, "custom_string": custom_string, **options.config()}
    if weights is not None:
        config |= few_bits_config(weights)
    if shapes:
        config["dynamic_input"] = [[list(shape) for shape in bucket] for bucket in shapes]
    normalized = [port.get("normalization") or {"mean": [], "std": []} for port in inputs]
    if any(each["mean"] for each in normalized):
        config |= {"mean_values": [n["mean"] for n in normalized], "std_values": [n["std"] for n in normalized]}
    return {
        "schema": SCHEMA,
        "model": model,
        "output": output,
        "config": config,
        "quantization": quantization,
        **({"dataset": DATASET} if quantization == "toolkit" else {}),
        "inputs": [{"name": port["name"], "source": port["source"]} for port in inputs],
        "outputs": [{"name": port["name"], "source": port["source"]} for port in outputs],
        **({"batch": options.rknn_batch_size} if options.rknn_batch_size > 1 else {}),
        **({"golden": dict(golden), "cosine": LOWEST_COSINE[quantization]} if golden else {}),
    }


def normalization(preprocess: Preprocess | None) -> dict[str, list[float]] | None:
    """Mean and std per channel that the compiled model applies to pixels; None when the host has to.

    The toolkit takes axis 1 of an ONNX input for the channels: inputs of NHWC models are left to the host.
    """
    if preprocess is None or preprocess.layout != "NCHW":
        return None
    mean, std = preprocess.per_channel()
    return {"mean": list(mean), "std": list(std)}


def pixels(x: Array, done: Mapping[str, Sequence[float]] | None) -> Array:
    """What must be fed so that the compiled model's normalization gives `x`, [N, C, H, W]."""
    if done is None:
        return x
    mean, std = (np.asarray(done[key], x.dtype).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    result: Array = x * std + mean
    return result


def shell_script(toolchain: Toolchain, output: str) -> str:
    """build.sh."""
    version = toolchain.checked[-1]
    return f"""#!/bin/sh
# Builds {output} with {toolchain.name}, simulates it on this machine, and compares with the reference result.
#
#   PYTHON=/path/to/toolkit/bin/python sh build.sh [--output FOLDER] [--no-simulation]
#
# PYTHON is a Python {toolchain.python} that has {toolchain.name} {version}, in an environment of its own: the toolkit
# needs older releases of numpy and onnx than other tools. build.py tells what it writes and what its exit status means.
set -eu
exec "${{PYTHON:-python3}}" "$(dirname "$0")/build.py" "$@"
"""
