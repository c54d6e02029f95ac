"""Build model.mm with MagicMind.

    python build.py [--ranges] [--remote HOST:PORT] [--device 0]

Runs where MagicMind's Python package is installed. What to build is in settings.json beside this file; build.json is
the configuration that MagicMind reads itself.

A quantized model is calibrated by MagicMind, from the samples in calibration/; that needs an MLU (--device), or the
address of a machine that has one (--remote). With --ranges MagicMind is told UAIR's own ranges instead (ranges.json, as
`custom_ranges`): that needs no MLU, but that MagicMind takes such ranges by the name of a tensor is not documented.

settings.json:

    model           the ONNX file
    output          name of the .mm file
    quantized       whether MagicMind quantizes
    algorithm       of its calibration: linear or eqnm
    inputs          in the order of the model: name, shape (of the first samples), dtype, and folder of the samples

Exit status: 0 built, 1 MagicMind failed, 2 settings.json or a file that it names is wrong.
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

SETTINGS, CONFIG, RANGES = "settings.json", "build.json", "ranges.json"
EXIT_FAILED, EXIT_SETTINGS = 1, 2
DTYPES = {
    "float32": "FLOAT32", "float16": "FLOAT16", "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "uint8": "UINT8", "bool": "BOOL",
}  # fmt: skip


class BuildError(Exception):
    """A step failed."""

    def __init__(self, reason: str, status: int = EXIT_FAILED) -> None:
        super().__init__(reason)
        self.status = status


def require(status: Any, step: str) -> None:
    """Raise unless a status of MagicMind is ok."""
    if not status.ok():
        raise BuildError(f"{step}: {status}")


def calibration_data(mm: Any, files: Sequence[Path], shape: Sequence[int], dtype: str) -> Any:
    """The samples of one input, in the interface that MagicMind's calibrator reads."""

    class CalibData(mm.CalibDataInterface):  # type: ignore[misc]
        """One file a sample."""

        def __init__(self) -> None:
            super().__init__()
            self.position = -1
            self.sample: Any = None

        def get_shape(self) -> Any:
            return mm.Dims(tuple(shape))

        def get_data_type(self) -> Any:
            return getattr(mm.DataType, DTYPES[dtype])

        def get_sample(self) -> Any:
            return self.sample

        def next(self) -> Any:
            self.position += 1
            if self.position >= len(files):
                return mm.Status(mm.Code.OUT_OF_RANGE, "all samples are read")
            array = np.load(files[self.position], allow_pickle=False)
            if array.shape != tuple(shape) or str(array.dtype) != dtype:
                raise BuildError(f"{files[self.position]} is {array.dtype} {array.shape}", EXIT_SETTINGS)
            self.sample = np.ascontiguousarray(array)
            return mm.Status.OK()

        def reset(self) -> Any:
            self.position, self.sample = -1, None
            return mm.Status.OK()

    return CalibData()


def read(folder: Path, name: str) -> Any:
    """A JSON file beside this one."""
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BuildError(f"{name} cannot be read: {error}", EXIT_SETTINGS) from error


def configuration(mm: Any, folder: Path, with_ranges: bool) -> Any:
    """MagicMind's configuration, with UAIR's ranges in it when they are asked for."""
    config = mm.BuilderConfig()
    if not with_ranges:
        require(config.parse_from_file(str(folder / CONFIG)), f"reading {CONFIG}")
        return config
    content = read(folder, CONFIG)
    tensors = read(folder, RANGES)["tensors"]
    content["custom_ranges"] = {name: {"max": [each["max"]], "min": [each["min"]]} for name, each in tensors.items()}
    require(config.parse_from_string(json.dumps(content)), f"reading {CONFIG} with custom_ranges")
    return config


def calibrate(mm: Any, network: Any, config: Any, folder: Path, settings: Any, arguments: argparse.Namespace) -> None:
    """Let MagicMind choose ranges from the samples."""
    data = []
    for each in settings["inputs"]:
        files = sorted((folder / each["folder"]).glob("*.npy"))
        if not files:
            raise BuildError(f"there are no samples in {each['folder']}", EXIT_SETTINGS)
        data.append(calibration_data(mm, files, each["shape"], each["dtype"]))
    calibrator = mm.Calibrator(data)
    algorithm = getattr(mm.QuantizationAlgorithm, f"{settings['algorithm'].upper()}_ALGORITHM")
    require(calibrator.set_quantization_algorithm(algorithm), "setting the calibration algorithm")
    if arguments.remote:
        remote = mm.RemoteConfig()
        remote.address = arguments.remote
        require(calibrator.set_remote(remote), f"connecting to {arguments.remote}")
        require(calibrator.calibrate(network, config), "calibration")
        return
    with mm.System():
        device = mm.Device()
        device.id = arguments.device
        require(device.active(), f"using MLU {arguments.device}")
        require(calibrator.calibrate(network, config), "calibration")


def build(folder: Path, arguments: argparse.Namespace) -> Path:
    """Build the model; the file."""
    settings = read(folder, SETTINGS)
    try:
        mm: Any = importlib.import_module("magicmind.python.runtime")
        parser: Any = importlib.import_module("magicmind.python.runtime.parser")
    except ImportError as error:
        raise BuildError(f"MagicMind's Python package is not installed: {error}") from error
    network = mm.Network()
    require(parser.Parser(mm.ModelKind.kOnnx).parse(network, str(folder / settings["model"])), "reading the ONNX file")
    for i, each in enumerate(settings["inputs"]):
        require(network.get_input(i).set_dimension(mm.Dims(tuple(each["shape"]))), f"the shape of {each['name']}")
    config = configuration(mm, folder, arguments.ranges)
    if settings["quantized"] and not arguments.ranges:
        calibrate(mm, network, config, folder, settings, arguments)
    model = mm.Builder().build_model("model", network, config)
    if model is None:
        raise BuildError("MagicMind built no model")
    output = folder / str(settings["output"])
    require(model.serialize_to_file(str(output)), f"writing {output.name}")
    if not output.is_file() or not output.stat().st_size:
        raise BuildError(f"MagicMind reported success but wrote no {output.name}")
    return output


def main(given: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Build model.mm with MagicMind.")
    parser.add_argument("--ranges", action="store_true", help="use UAIR's ranges instead of MagicMind's calibration")
    parser.add_argument("--remote", default="", help="host:port of a machine with an MLU that calibrates")
    parser.add_argument("--device", type=int, default=0, help="number of the MLU that calibrates")
    try:
        output = build(Path(__file__).resolve().parent, parser.parse_args(given))
    except BuildError as error:
        sys.stderr.write(f"build.py: {error}\n")
        return error.status
    sys.stdout.write(f"{output.name} is ready\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
