"""One tool on one model, in its own process: `python -m bench.int8.workers TOOL FLOAT CALIBRATION OUTPUT [HELD_OUT]`.

CALIBRATION and HELD_OUT are .npz files, arrays by input name with the sample as first axis (its batch of one is
left out). OUTPUT is the quantized ONNX file; for a simulator an .npz of outputs on HELD_OUT (`out0`, ...).
The last line of stdout is JSON: CPU seconds (the import, and the job), peak memory in MiB over what was resident after
the import. What a tool made is turned into an ONNX file, where it is another, behind that. A tool runs in whatever
Python has it: nothing but NumPy is imported here before the tool.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.processes import process_memory

Samples = list[dict[str, Any]]
Job = Callable[[Path, Samples, Path], "Callable[[], None] | None"]
"""What a tool does with a model, samples and the file to write; where it does not write that itself, what does."""


def load_samples(path: Path) -> Samples:
    """The samples of a file, each with a batch of one."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    count = len(next(iter(arrays.values())))
    return [{name: np.ascontiguousarray(array[i : i + 1]) for name, array in arrays.items()} for i in range(count)]


# ----------------------------------------------------------------------------------------------------------------- uair
def uair_job(target: str, effort: str) -> Job:
    """UAIR's artifact for a target; everything is quantized that can be.

    The file for rk3588 states weights as the toolkit reads them: it is kept as `of_artifact`, OUTPUT is the module.
    """

    def job(source: Path, samples: Samples, output: Path) -> Callable[[], None]:
        uair: Any = importlib.import_module("uair")
        quantize = uair.Int8(samples, samples=len(samples), effort=effort, least_cosine=0.0)
        shapes = {name: array.shape for name, array in samples[0].items()}
        folder = tempfile.TemporaryDirectory(prefix="uair-int8-")
        artifact = uair.compile(
            source, target, output=Path(folder.name) / "artifact", shapes=shapes, quantize=quantize, golden=samples[0]
        )

        def write() -> None:
            with folder:
                if target == "cpu":
                    shutil.copy(artifact.file("model.onnx"), output)
                    return
                uair.export_onnx(uair.load(artifact.file("model.uair")), output)
                shutil.copy(artifact.file("model.onnx"), of_artifact(output))

        return write

    return job


def of_artifact(output: Path) -> Path:
    """Where the ONNX file of an artifact is kept whose module is `output`."""
    return output.with_name(f"{output.stem}-artifact.onnx")


# ---------------------------------------------------------------------------------------------------------- onnxruntime
def onnxruntime_job(method: str) -> Job:
    """`quantize_static` with scales per channel, behind its own preparation."""

    def job(source: Path, samples: Samples, output: Path) -> None:
        quantization: Any = importlib.import_module("onnxruntime.quantization")
        preparation: Any = importlib.import_module("onnxruntime.quantization.shape_inference")

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # untyped
            def __init__(self) -> None:
                self._left = iter(samples)

            def get_next(self) -> dict[str, Any] | None:
                return next(self._left, None)

        with tempfile.TemporaryDirectory(prefix="ort-int8-") as folder:
            prepared = Path(folder) / "prepared.onnx"
            preparation.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(output),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                calibrate_method=getattr(quantization.CalibrationMethod, method),
            )

    return job


# ----------------------------------------------------------------------------------------------------------------- NNCF
def nncf_job(**options: Any) -> Job:
    """`nncf.quantize`; presets and model types are given by their names."""

    def job(source: Path, samples: Samples, output: Path) -> None:
        nncf: Any = importlib.import_module("nncf")
        onnx: Any = importlib.import_module("onnx")
        given = dict(options)
        if "preset" in given:
            given["preset"] = nncf.QuantizationPreset[given["preset"]]
        if "model_type" in given:
            given["model_type"] = nncf.ModelType[given["model_type"]]
        model = onnx.load(source)
        quantized = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples), **given)
        onnx.save(quantized, output)

    return job


# ----------------------------------------------------------------------------------------------------------------- rknn
def rknn_job(algorithm: str) -> Job:
    """rknn-toolkit2's simulator: with its own quantization, or (`model`) with the scales in the file."""

    def job(source: Path, samples: Samples, output: Path) -> None:
        toolkit = importlib.import_module("rknn.api").RKNN(verbose=False)
        own = algorithm != "model"
        config: dict[str, Any] = {"quantized_algorithm": algorithm} if own else {}
        toolkit.config(target_platform="rk3588", optimization_level=3, **config)
        names = list(samples[0])
        shapes = [list(samples[0][name].shape) for name in names]
        _done(toolkit.load_onnx(model=str(source), inputs=names, input_size_list=shapes), "load_onnx")
        with tempfile.TemporaryDirectory(prefix="rknn-int8-") as folder:
            dataset = _write_dataset(Path(folder), samples) if own else None
            _done(toolkit.build(do_quantization=own, dataset=dataset), "build")
        _done(toolkit.init_runtime(), "init_runtime")
        results = list(_simulated(toolkit, load_samples(Path(sys.argv[5])), names))
        arrays: dict[str, Any] = {f"out{i}": np.concatenate(r) for i, r in enumerate(zip(*results, strict=True))}
        np.savez(output, **arrays)

    return job


def _done(status: int, step: str) -> None:
    if status != 0:
        raise SystemExit(f"rknn-toolkit2: {step} returned {status}")


def _write_dataset(folder: Path, samples: Samples) -> str:
    lines: list[str] = []
    for i, sample in enumerate(samples):
        paths = [folder / f"{i}_{j}.npy" for j in range(len(sample))]
        for path, array in zip(paths, sample.values(), strict=True):
            np.save(path, array)
        lines.append(" ".join(map(str, paths)))
    listing = folder / "dataset.txt"
    listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(listing)


def _simulated(toolkit: Any, samples: Samples, names: list[str]) -> Iterator[list[Any]]:
    for sample in samples:
        yield toolkit.inference(inputs=[sample[name] for name in names], data_format=["nchw"] * len(names))


# ----------------------------------------------------------------------------------------------------------------- runs
def float_job(source: Path, samples: Samples, output: Path) -> None:
    """The float model in UAIR's interpreter on all samples: what memory is compared with. Writes nothing."""
    del output
    uair: Any = importlib.import_module("uair")
    reference: Any = importlib.import_module("uair.codegen.reference")
    interpreter = reference.Interpreter(uair.optimize(uair.load(source)))
    for sample in samples:
        interpreter.run(sample)


TOOLS: dict[str, tuple[tuple[str, ...], Job]] = {
    "float": (("uair", "onnx"), float_job),
    "uair": (("uair", "onnx"), uair_job("cpu", "default")),
    "uair-high": (("uair", "onnx"), uair_job("cpu", "high")),
    "uair-all": (("uair", "onnx"), uair_job("rk3588", "default")),
    "uair-all-high": (("uair", "onnx"), uair_job("rk3588", "high")),
    "onnxruntime": (("onnxruntime.quantization",), onnxruntime_job("MinMax")),
    "onnxruntime-percentile": (("onnxruntime.quantization",), onnxruntime_job("Percentile")),
    "nncf": (("nncf", "onnx", "onnxruntime"), nncf_job()),
    "nncf-mixed": (("nncf", "onnx", "onnxruntime"), nncf_job(preset="MIXED")),
    "nncf-bias": (("nncf", "onnx", "onnxruntime"), nncf_job(fast_bias_correction=False)),
    "nncf-transformer": (("nncf", "onnx", "onnxruntime"), nncf_job(model_type="TRANSFORMER")),
    "rknn-normal": (("rknn.api",), rknn_job("normal")),
    "rknn-mmse": (("rknn.api",), rknn_job("mmse")),
    "rknn-uair": (("rknn.api",), rknn_job("model")),
    "rknn-uair-high": (("rknn.api",), rknn_job("model")),
}
"""What `import` means for a tool, and its job."""


def main() -> None:
    """Run the tool and say what it took."""
    tool, source, calibration, output = sys.argv[1], *map(Path, sys.argv[2:5])
    modules, job = TOOLS[tool]
    for module in modules:
        importlib.import_module(module)
    samples = load_samples(calibration)
    imported, resident = time.process_time(), process_memory("VmRSS")
    write = job(source, samples, output)
    record = {"import": imported, "cpu": time.process_time() - imported, "peak": process_memory("VmHWM") - resident}
    if write is not None:
        write()
    print(f"\n{json.dumps(record)}", flush=True)
    os._exit(0)  # some tools' threads do not end


if __name__ == "__main__":
    main()
