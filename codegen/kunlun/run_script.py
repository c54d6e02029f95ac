"""Runs the converted model with Paddle Inference, on an XPU or on the CPU, and checks it. Written by UAIR.

    python3 run_paddle_xpu.py                      on XPU 0, checked against golden/
    python3 run_paddle_xpu.py --device cpu         on the CPU
    python3 run_paddle_xpu.py --input x=x.npy --output folder

build.sh has converted the model. The exit status is 0 when all is well, 1 when Paddle fails, 2 for a wrong call, 3 when
the results are not those of the reference. run.json holds the settings of XpuConfig.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from uair.codegen.standalone.parts import Fault, arrays_of, compare, given

HERE = Path(__file__).resolve().parent
LEAST_COSINE = {"cpu": 0.9999, "xpu": 0.99}
"""What every float output must have in common with the reference; an XPU computes in 16-bit integers and floats."""
WEIGHTS = {
    "quant_post_dynamic_weight_precision": {"int8": 0, "int16": 1},
    "quant_post_dynamic_weight_bits": {"int8": 8, "int16": 16},
}
"""What says the precision of weights in XpuConfig, of Paddle 3 (inferred from its default, 1) and of Paddle 2."""


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status."""
    parser = argparse.ArgumentParser(description="Run the converted model with Paddle Inference.")
    parser.add_argument("--device", choices=("xpu", "cpu"), default="xpu")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=FILE.npy", help="an input, all or none")
    parser.add_argument("--output", type=Path, help="folder for the outputs")
    chosen = parser.parse_args(arguments)
    try:
        return work(chosen)
    except Fault as fault:
        sys.stderr.write(f"run_paddle_xpu.py: {fault}\n")
        return fault.status


def work(chosen: argparse.Namespace) -> int:
    """What was asked for; the exit status.

    Raises:
        Fault: see there.
    """
    settings = json.loads((HERE / "run.json").read_text(encoding="utf-8"))
    feeds = given(chosen.input) if chosen.input else golden(settings, "inputs")
    predictor = opened(settings, chosen.device)
    outputs = run(predictor, settings, feeds)
    if chosen.output is not None:
        chosen.output.mkdir(parents=True, exist_ok=True)
        for i, value in enumerate(outputs.values()):
            np.save(chosen.output / f"{i}.npy", value)
    if chosen.input:
        return 0
    wanted = golden(settings, "outputs")
    for name, want in wanted.items():  # Paddle has no scalars
        if outputs[name].size == want.size:
            outputs[name] = outputs[name].reshape(want.shape)
    return compare(outputs, wanted, LEAST_COSINE[chosen.device], exact=True)


def files(settings: dict[str, Any]) -> tuple[str, str]:
    """The converted model: a program (model.json of Paddle 3, model.pdmodel of Paddle 2) and its parameters.

    Raises:
        Fault: build.sh has not made it.
    """
    folder = HERE / settings["folder"] / "inference_model"
    parameters = folder / "model.pdiparams"
    for name in ("model.json", "model.pdmodel"):
        if (folder / name).is_file() and parameters.is_file():
            return str(folder / name), str(parameters)
    raise Fault(1, f"{folder} holds no model: run build.sh first")


def opened(settings: dict[str, Any], device: str) -> Any:
    """The predictor.

    Raises:
        Fault: Paddle is missing, is built without XPU, or does not load the model.
    """
    program, parameters = files(settings)
    try:
        inference: Any = importlib.import_module("paddle.inference")
        config = inference.Config(program, parameters)
        config.disable_glog_info()
        if device == "xpu":
            enable_xpu(inference, config, settings["xpu"])
        else:
            config.disable_gpu()
            config.disable_mkldnn()  # oneDNN of Paddle 3.3.1 fails on interpolation ("PirAttribute2RuntimeAttribute")
        return inference.create_predictor(config)
    except Fault:
        raise
    except Exception as error:
        raise Fault(1, f"Paddle does not load the model: {error}") from error


def enable_xpu(inference: Any, config: Any, wanted: dict[str, Any]) -> None:
    """Settings of the XPU: Config.enable_xpu, and XpuConfig where this Paddle has it.

    Raises:
        Fault: the precision of weights is to be set, and this Paddle cannot.
    """
    config.enable_xpu(**wanted["enable"])
    chosen = inference.XpuConfig() if hasattr(inference, "XpuConfig") else None
    if chosen is not None:
        for name, value in wanted["config"].items():
            setattr(chosen, name, value)
    if wanted["weights"] != "default":
        field = next((name for name in WEIGHTS if hasattr(chosen, name)), None)
        if field is None:
            raise Fault(1, "XpuConfig of this Paddle says nothing about weights: compile with weights=default")
        setattr(chosen, field, WEIGHTS[field][wanted["weights"]])
    if chosen is not None:
        config.set_xpu_config(chosen)


def golden(settings: dict[str, Any], which: str) -> dict[str, Any]:
    """The reference's arrays.

    Raises:
        Fault: the artifact has none.
    """
    if not settings["golden"]:
        raise Fault(2, "the artifact has no reference result: give every input with --input")
    return arrays_of(HERE / settings["golden"][which])


def run(predictor: Any, settings: dict[str, Any], feeds: dict[str, Any]) -> dict[str, Any]:
    """Outputs by the source model's names; x2paddle keeps the order of inputs and outputs, not their names.

    Raises:
        Fault: an input is missing or unknown, or Paddle fails.
    """
    wanted = [port["source"] for port in settings["inputs"]]
    missing = [name for name in wanted if name not in feeds]
    if missing:
        raise Fault(2, f"the inputs are {', '.join(wanted)}; {missing[0]} is missing")
    try:
        for handle, name in zip(predictor.get_input_names(), wanted, strict=True):
            array = np.ascontiguousarray(feeds[name])
            tensor = predictor.get_input_handle(handle)
            tensor.reshape(list(array.shape))
            tensor.copy_from_cpu(array)
        predictor.run()
        names = [port["source"] for port in settings["outputs"]]
        values = [predictor.get_output_handle(handle).copy_to_cpu() for handle in predictor.get_output_names()]
        return dict(zip(names, values, strict=True))
    except Exception as error:
        raise Fault(1, f"Paddle failed: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
