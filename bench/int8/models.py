"""The models of the INT8 benchmark: a float ONNX file, calibration samples, held-out samples, and the task's metric.

A folder `NAME/` has `float.onnx`, `calib.npz` and `test.npz` (arrays by input name, the first axis is the sample; u8
arrays are images that `meta.json`'s mean and std make an input of) and `meta.json` with the `task`. `zoo:NAME` is a
model of tests/zoo.py with the inputs that the zoo draws.
"""

# pyright: reportUnknownMemberType=false
# numpy's own annotations leave type arguments open.

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

import uair
from tests import zoo, zoo_onnx
from uair.api import run_pipeline
from uair.passes.remove_quantization import RemoveQuantization
from uair.pipeline import PassContext

Array = npt.NDArray[Any]
CALIBRATION = 32
OPSET = 17
HELD_OUT = 64
"""Held-out samples that are drawn for a model of the zoo."""
ZOO_TASKS = {
    "ppocr_det": "mask",
    "magika": "classes",
    "yolo": "boxes",
    "minilm": "neighbours",
    "resnet50_real": "classes",
}


@attrs.frozen(eq=False)
class Model:
    """A model under measurement.

    Attributes:
        name: its name.
        path: the float model, with open sizes perhaps.
        calibration: by input name `[32, ...]`; the axis of the batch (1) is left out.
        held_out: by input name `[samples, ...]`, of which no tool sees anything.
        task: which of bench.int8.metrics.TASKS says how good the outputs are for the user; empty: none.
        truth: what that metric needs: labels, texts, characters, a threshold.
    """

    name: str
    path: Path
    calibration: Mapping[str, Array]
    held_out: Mapping[str, Array]
    task: str = ""
    truth: Mapping[str, Any] = attrs.Factory(dict[str, Any])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one sample, with its batch."""
        return {name: (1, *array.shape[1:]) for name, array in self.calibration.items()}


def open_model(name: str, data: Path | None, work: Path) -> Model:
    """A model by name: `zoo:NAME`, or a folder in `data`.

    Raises:
        SystemExit: there is no such model.
    """
    if name.startswith("zoo:"):
        return _of_zoo(name.removeprefix("zoo:"), work)
    if data is None or not (data / name / "float.onnx").is_file():
        raise SystemExit(f"{name}: give the folder with {name}/float.onnx by --data, or a model of the zoo as zoo:NAME")
    return _of_folder(data / name)


def _of_folder(folder: Path) -> Model:
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    calibration, _ = read_arrays(folder / "calib.npz", meta)
    chosen = np.linspace(0, len(next(iter(calibration.values()))) - 1, CALIBRATION).astype(int)
    held_out, truth = read_arrays(folder / "test.npz", meta)
    return Model(
        folder.name,
        folder / "float.onnx",
        {name: array[chosen] for name, array in calibration.items()},
        held_out,
        {"cls": "classes", "ctc": "lines", "mask": "mask", "yolov8": "boxes"}[meta["task"]],
        truth | {key: meta[key] for key in ("chars", "thr") if key in meta},
    )


def read_arrays(path: Path, meta: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, Any]]:
    """The inputs, and what is no input: names between two double underscores."""
    inputs: dict[str, Array] = {}
    truth: dict[str, Any] = {}
    with np.load(path) as archive:
        for name in archive.files:
            array = archive[name]
            if name.startswith("__"):
                truth[name.strip("_")] = array
                continue
            if array.dtype == np.uint8:
                mean, std = (np.float32(meta[key]).reshape(-1, 1, 1) for key in ("mean", "std"))
                array = np.asarray((array - mean) / std, np.float32)
            inputs[name] = array
    return inputs, truth


def _of_zoo(name: str, work: Path) -> Model:
    """A published model; one that is quantized already is made a float model first."""
    if name in zoo.models():
        model = zoo.models()[name]
        path = model.path
        calibration = model.calibration(CALIBRATION)
        held_out = [model.feeds(seed) for seed in range(HELD_OUT)]
    else:
        found = zoo_onnx.MODELS[name]
        path, draw = found.path, found.draws[0]
        rngs = [np.random.default_rng(seed) for seed in range(CALIBRATION + HELD_OUT)]
        drawn = [draw(rng) for rng in rngs]
        calibration, held_out = drawn[:CALIBRATION], drawn[CALIBRATION:]
    shapes = {name: array.shape for name, array in calibration[0].items()}
    source = _float(path, name, shapes, work)
    return Model(name, source, _stacked(calibration), _stacked(held_out), ZOO_TASKS.get(name, ""))


def _stacked(samples: list[Any]) -> dict[str, Array]:
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


def _float(path: Path, name: str, shapes: Mapping[str, tuple[int, ...]], work: Path) -> Path:
    """The file as it is, or what UAIR reads from it: in float, in an operator set with scales per channel.

    NNCF fails on the Cast of a constant, which is how UAIR writes weights that were stored as integers.
    """
    module = uair.load(path)
    quantized = any(_is_quantized(node) for node in module.main)
    if not quantized and onnx.load(path, load_external_data=False).opset_import[0].version >= OPSET:
        return path
    RemoveQuantization().run(module, PassContext())
    run_pipeline(module, "canonicalise", shapes=shapes)
    target = Path(tempfile.mkdtemp(dir=work)) / f"{name}.onnx"
    uair.export_onnx(module, target, opset=OPSET)
    onnx.save(_with_cast_constants(onnx.load(target)), target)
    return target


def _is_quantized(node: uair.Node) -> bool:
    operand = node.inputs[0] if node.op_type == "Cast" else None
    kinds = ("Quantize", "Dequantize", "DynamicQuantize")
    return node.op_type in kinds or (operand is not None and operand.is_constant)


def _with_cast_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants that are stored as integers beside a Cast as what the Cast makes of them."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Cast" and n.input[0] in stored]:
        value = numpy_helper.to_array(stored[node.input[0]])
        made = value.astype(helper.tensor_dtype_to_np_dtype(node.attribute[0].i))
        graph.initializer.append(numpy_helper.from_array(made, node.output[0]))
        graph.node.remove(node)
    return model
