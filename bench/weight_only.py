"""Weights of few bits: how far outputs are from the float model's, UAIR's ways beside onnxruntime's own quantizer.

`python -m bench.weight_only FOLDER [FOLDER ...] [--limit N] [--json FILE]`, each folder with `float.onnx`, `calib.npz`,
`test.npz` and `meta.json` (an 8-bit image input becomes (x - mean) / std). Weights are rounded with 32 samples of
calib.npz; what is reported is measured on test.npz, by onnxruntime with products in floats: the signal-to-noise ratio
of the outputs, bytes of the file, CPU seconds of quantizing. onnxruntime's quantizer (MatMulNBitsQuantizer; it needs
the package onnx_ir) takes MatMul only: the model that it gets is the one that UAIR fused and wrote.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# onnxruntime's own annotations leave types open.

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import onnx

import uair
from uair.ir.dtype import Array
from uair.quant.parameters import sqnr
from uair.request import W4A16, W8A16, WeightMethod, WeightOnly

SAMPLES = 32
GROUPS = (32, 128)
OTHERS = ("Conv*", "Gather*")
"""What onnxruntime's quantizer leaves in float, for rows that compare with it."""
METHODS: tuple[WeightMethod, ...] = ("nearest", "awq", "gptq", "auto")


@attrs.frozen(eq=False)
class Data:
    """A model's samples as its input takes them.

    Attributes:
        name: of the input.
        calibration: [n, ...].
        held_out: [n, ...].
    """

    name: str
    calibration: Array
    held_out: Array

    @staticmethod
    def of(folder: Path, limit: int) -> Data:
        """Read a folder."""
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        default = {"mean": 0.0, "std": 1.0} | meta
        mean, std = (np.asarray(default[key], np.float32).reshape(1, -1, 1, 1) for key in ("mean", "std"))

        def read(file: str) -> tuple[str, Array]:
            archive = np.load(folder / file, allow_pickle=False)
            name = next(key for key in archive.files if not key.startswith("__"))
            x = archive[name]
            return name, (x.astype(np.float32) - mean) / std if x.dtype == np.uint8 else x

        name, calibration = read("calib.npz")
        chosen = np.linspace(0, len(calibration) - 1, SAMPLES).astype(int)
        return Data(name, calibration[chosen], read("test.npz")[1][:limit])


@attrs.frozen
class Row:
    """A result."""

    model: str
    weights: str
    method: str
    sqnr_db: float
    megabytes: float
    cpu_seconds: float


def run(path: Path, data: Data) -> Array:
    """The first output for every sample that is held out, with products in floats."""
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[None]})[0] for x in data.held_out])


def settings(data: Data) -> Iterator[tuple[str, WeightOnly]]:
    """UAIR's ways."""
    samples = [{data.name: x[None]} for x in data.calibration]
    yield "8 bits, nearest", W8A16()
    yield "8 bits, auto", W8A16(calibration=samples)
    for group in GROUPS:
        for symmetric in (False, True):
            kind = "symmetric" if symmetric else "zero points"
            for method in METHODS:
                wanted = W4A16(calibration=samples, group=group, symmetric=symmetric, method=method)
                yield f"4 bits, groups of {group}, {kind}, {method}", wanted
            alone = W4A16(calibration=samples, group=group, symmetric=symmetric, skip=OTHERS)
            yield f"4 bits, groups of {group}, {kind}, auto (matrices only)", alone


class Reader:
    """The samples as onnxruntime's quantizers ask for them."""

    def __init__(self, data: Data) -> None:
        self.left = iter({data.name: x[None]} for x in data.calibration)

    def get_next(self) -> dict[str, Array] | None:
        """The next one."""
        return next(self.left, None)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return self.left

    def __deepcopy__(self, _: Any) -> Iterator[dict[str, Array]]:
        return self.left


def peers(data: Data) -> Iterator[tuple[str, Callable[[Path, Path], None]]]:
    """Onnxruntime's ways, each a function of a float model and a file to write."""
    if importlib.util.find_spec("onnx_ir") is None:
        print("onnx_ir is not installed: onnxruntime's quantizer is left out", file=sys.stderr)
        return
    module: Any = importlib.import_module("onnxruntime.quantization.matmul_nbits_quantizer")

    for name in (module.__name__, "neural_compressor"):
        logging.getLogger(name).setLevel(logging.WARNING)

    def write(algorithm: Any, group: int, symmetric: bool) -> Callable[[Path, Path], None]:
        def quantize(model: Path, to: Path) -> None:
            quantizer = module.MatMulNBitsQuantizer(
                onnx.load(model), block_size=group, is_symmetric=symmetric, accuracy_level=1, algo_config=algorithm
            )
            quantizer.process()
            quantizer.model.save_model_to_file(str(to))

        return quantize

    for group in GROUPS:
        for symmetric in (False, True):
            kind = "symmetric" if symmetric else "zero points"
            default = module.DefaultWeightOnlyQuantConfig(block_size=group, is_symmetric=symmetric, accuracy_level=1)
            yield f"4 bits, groups of {group}, {kind}, onnxruntime", write(default, group, symmetric)
        k_quant = module.KQuantWeightOnlyQuantConfig()
        yield f"4 bits, groups of {group}, zero points, onnxruntime k_quant", write(k_quant, group, False)
        for symmetric in (False, True):
            kind = "symmetric" if symmetric else "zero points"
            gptq = module.GPTQWeightOnlyQuantConfig(Reader(data), block_size=group, actorder=True, mse=True)
            yield f"4 bits, groups of {group}, {kind}, onnxruntime GPTQ", write(gptq, group, symmetric)


def rows(folder: Path, limit: int) -> Iterator[Row]:
    """Every way for one model."""
    data = Data.of(folder, limit)
    expected = run(folder / "float.onnx", data)

    def row(label: str, path: Path, seconds: float) -> Row:
        weights, _, method = label.rpartition(", ")
        found = round(sqnr(expected, run(path, data)), 1)
        return Row(folder.name, weights, method, found, round(path.stat().st_size / 1e6, 3), round(seconds, 1))

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "few.onnx"
        yield Row(folder.name, "float", "", float("inf"), round((folder / "float.onnx").stat().st_size / 1e6, 3), 0.0)
        for label, wanted in settings(data):
            start = time.process_time()
            uair.quantize(folder / "float.onnx", wanted).save(path)
            yield row(label, path, time.process_time() - start)
        plain = Path(place) / "fused.onnx"
        uair.export_onnx(uair.optimize(uair.load(folder / "float.onnx")), plain, opset=21)
        for label, quantize in peers(data):
            start = time.process_time()
            try:
                quantize(plain, path)
            except (ImportError, ValueError, RuntimeError) as error:  # of a peer: said, and no row
                print(f"{label} fails on {folder.name}: {error}", file=sys.stderr)
                continue
            yield row(label, path, time.process_time() - start)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=1000, help="samples of test.npz used at most")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    given = parser.parse_args()
    found: list[Row] = []
    print("| model | weights | rounding | SQNR dB | MB | CPU s |\n|---|---|---|---|---|---|")
    for folder in given.folders:
        for each in rows(folder, given.limit):
            found.append(each)
            print("| " + " | ".join(str(value) for value in attrs.astuple(each)) + " |", flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps([attrs.asdict(each) for each in found], indent=1), "utf-8")


if __name__ == "__main__":
    main()
