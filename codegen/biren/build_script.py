"""Builds a model for a Biren card with pysuinfer, runs it, and checks it against the reference. Written by UAIR.

    python3 build_pysuinfer.py [--device N] [--run-only] [--output FOLDER]

Needs the Python of BIRENSUPA with pysuinfer (suInfer 2.0, biren-pysuinfer 1.4). Reads build.json beside it; writes
model.bin, suinfer.log and result.json. The exit status is 0 when all is well, 1 when suInfer failed, 2 for a wrong
call, 3 when the results are not those of the reference.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from uair.codegen.standalone.parts import BuildFailed, arrays_of, closeness, recorded, say

HERE = Path(__file__).resolve().parent
LOG = "suinfer.log"


def main(arguments: list[str] | None = None) -> int:
    """Build and run; the exit status."""
    parser = argparse.ArgumentParser(description="Build and run the model with pysuinfer.")
    parser.add_argument("--device", type=int, default=0, help="index of the card")
    parser.add_argument("--run-only", action="store_true", help="run the model.bin that is there")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results (beside this file)")
    chosen = parser.parse_args(arguments)
    output: Path = chosen.output
    settings = json.loads((HERE / "build.json").read_text(encoding="utf-8"))
    return recorded("build_pysuinfer.py", output, lambda result: work(settings, chosen, output, result))


def work(settings: dict[str, Any], chosen: argparse.Namespace, output: Path, result: dict[str, Any]) -> int:
    """Build unless told not to, load what was built, run it on the reference input; the exit status.

    Raises:
        BuildFailed: a step did not succeed.
    """
    suinfer: Any = importlib.import_module("pysuinfer")
    engine = output / settings["engine"]
    if not chosen.run_only:
        result["stage"] = "build"
        build(suinfer, settings, chosen.device, engine, output / LOG)
    if not engine.is_file():
        raise BuildFailed(f"there is no {engine.name}: run without --run-only")
    result.update(stage="load", bytes=engine.stat().st_size)
    session = suinfer.pysuInferSession(chosen.device, str(output / LOG))
    demand(suinfer, session.Init(str(engine)), "Init")
    if not settings["golden"]:
        result["stage"] = "done"
        return 0
    result["stage"] = "run"
    outputs = run(suinfer, session, settings, arrays_of(HERE / settings["golden"]["inputs"]))
    result["stage"] = "compare"
    wanted = arrays_of(HERE / settings["golden"]["outputs"])
    rows = [closeness(name, outputs[name], want) for name, want in wanted.items()]
    result.update(outputs=rows, stage="done")
    for each in rows:
        say(f"{each['name']}: cosine {each['cosine']:.6f}, greatest difference {each['max_abs']:.3g}")
    return 0 if all(each["cosine"] >= settings["cosine"] for each in rows) else 3


def build(suinfer: Any, settings: dict[str, Any], device: int, engine: Path, log: Path) -> None:
    """Build and save.

    Raises:
        BuildFailed: suInfer says so, or wrote nothing.
    """
    engine.unlink(missing_ok=True)
    session = suinfer.pysuInferSession(device, str(log))
    shapes = {port["name"]: port["shape"] for port in settings["inputs"]}
    demand(suinfer, session.Build(str(HERE / settings["model"]), shapes, str(engine), policy=[]), "Build")
    if not engine.is_file() or not engine.stat().st_size:
        raise BuildFailed(f"Build succeeded but wrote no {engine.name}, see {log.name}")


def demand(suinfer: Any, answer: Any, call: str) -> None:
    """Stop unless a call succeeded.

    Raises:
        BuildFailed: it did not.
    """
    if answer != suinfer.suResult.SUI_STATUS_SUCCESS:
        raise BuildFailed(f"{call} returned {answer}")


def run(suinfer: Any, session: Any, settings: dict[str, Any], feeds: dict[str, Any]) -> dict[str, Any]:
    """Outputs by the model's names.

    Raises:
        BuildFailed: a call did not succeed.
    """
    held = []  # suInfer keeps addresses: the arrays must outlive the run
    for port in settings["inputs"]:
        array = np.ascontiguousarray(feeds[port["source"]])
        held.append(array)
        info = session.GetInputInformation(port["name"])
        session.SetInputInformation(port["name"], array.reshape(-1).view(np.int8), info)
    outputs: dict[str, Any] = {}
    for port in settings["outputs"]:
        info = session.GetOutputInformation(port["name"])
        array = outputs[port["source"]] = np.zeros(port["shape"], NUMPY[port["dtype"]])
        session.SetOutputInformation(port["name"], array.reshape(-1).view(np.int8), info)
    answer = session.Run()
    if answer is not None:
        demand(suinfer, answer, "Run")
    return outputs


NUMPY = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32, "i8": np.int8, "bool": np.bool_}


if __name__ == "__main__":
    sys.exit(main())
