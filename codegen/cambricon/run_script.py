"""Run model.mm on an MLU.

    python run.py inputs.npz outputs.npz [--device 0]

inputs.npz holds an array for each input, by the model's own names; what the compiled model normalises is given as uint8
pixels (settings.json: `feeds`). Without arguments the artifact's golden input is run, where it can be fed as it is.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent


def main(given: Sequence[str] | None = None) -> int:
    """The command."""
    mm: Any = importlib.import_module("magicmind.python.runtime")

    parser = argparse.ArgumentParser(description="Run model.mm on an MLU.")
    parser.add_argument("inputs", nargs="?", type=Path, default=FOLDER / "golden" / "inputs.npz")
    parser.add_argument("outputs", nargs="?", type=Path, default=Path("outputs.npz"))
    parser.add_argument("--device", type=int, default=0)
    arguments = parser.parse_args(given)
    settings = json.loads((FOLDER / "settings.json").read_text(encoding="utf-8"))
    with np.load(arguments.inputs, allow_pickle=False) as archive:
        arrays = {each["name"]: archive[each["source"]] for each in settings["inputs"]}
    for each in settings["inputs"]:
        if str(arrays[each["name"]].dtype) != each["feeds"]:
            sys.stderr.write(f"run.py: input {each['source']} takes {each['feeds']}\n")
            return 2
    with mm.System():
        device = mm.Device()
        device.id = arguments.device
        if not device.active().ok():
            sys.stderr.write(f"run.py: MLU {arguments.device} cannot be used\n")
            return 1
        model = mm.Model()
        if not model.deserialize_from_file(str(FOLDER / settings["output"])).ok():
            sys.stderr.write(f"run.py: {settings['output']} cannot be read: run build.py first\n")
            return 1
        config = mm.Model.EngineConfig()
        config.device_type = "MLU"
        context = model.create_i_engine(config).create_i_context()
        queue = device.create_queue()
        inputs = context.create_inputs()
        for tensor, each in zip(inputs, settings["inputs"]):  # noqa: B905  Python 3.7 knows no strict
            tensor.from_numpy(np.ascontiguousarray(arrays[each["name"]]))
            tensor.to(device)
        outputs: list[Any] = []
        if not context.enqueue(inputs, outputs, queue).ok() or not queue.sync().ok():
            sys.stderr.write("run.py: the MLU did not run the model\n")
            return 1
        names = [each["source"] for each in settings["outputs"]]
        found: dict[str, Any] = {name: np.array(outputs[i].asnumpy()) for i, name in enumerate(names)}
    np.savez(arguments.outputs, **found)
    sys.stdout.write(f"{arguments.outputs} is written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
