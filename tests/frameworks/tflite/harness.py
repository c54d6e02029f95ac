"""Holding an imported .tflite file against LiteRT.

LiteRT runs with its default kernels (XNNPACK where it has one). They round a quantized result once, in float32, half to
even, as Quantize does; the reference kernels round twice, to a power of two and then to the result, and differ by one
step in about one of a thousand results of a convolution.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import uair
from tests.frameworks.torch.harness import relative_error
from uair.ir.compare import difference
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of

# The converter says so of every full quantization whose inputs are declared as int8 (TensorFlow 2.21).
QUANTIZED = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs were expected:UserWarning")

Arrays = Sequence[np.ndarray[Any, Any]]


def spec(shape: Sequence[int | None], dtype: str = "float32") -> tf.TensorSpec:
    """An input of a function that is converted."""
    return tf.TensorSpec(list(shape), dtype)


def convert(
    function: Callable[..., Any],
    *specs: tf.TensorSpec,
    samples: Sequence[Arrays] = (),
    sixteen: bool = False,
    **settings: Any,
) -> bytes:
    """A function as a .tflite file.

    Args:
        function: of tensors.
        specs: of its inputs.
        samples: inputs for full quantization to int8 (or 16-bit activations with 8-bit weights).
        sixteen: the latter.
        settings: attributes of the converter.
    """
    concrete = tf.function(function, input_signature=list(specs)).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], None)
    if samples:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([np.asarray(x) for x in s] for s in samples)
        kind = (
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            if sixteen
            else tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        )
        converter.target_spec.supported_ops = [kind]
        converter.inference_input_type = converter.inference_output_type = tf.int16 if sixteen else tf.int8
    for name, value in settings.items():
        setattr(converter, name, value)
    content: bytes = converter.convert()
    return content


class LiteRT:
    """A file run by LiteRT; variables keep their values from run to run."""

    def __init__(self, content: bytes, shapes: Sequence[Sequence[int]] = ()) -> None:
        self.interpreter = Interpreter(model_content=content)
        for details, shape in zip(self.interpreter.get_input_details(), shapes, strict=False):
            self.interpreter.resize_tensor_input(details["index"], list(shape))
        self.interpreter.allocate_tensors()
        self.inputs = self.interpreter.get_input_details()
        self.outputs = self.interpreter.get_output_details()

    def __call__(self, inputs: Arrays) -> list[np.ndarray[Any, Any]]:
        """The outputs for some inputs."""
        for details, x in zip(self.inputs, inputs, strict=True):
            self.interpreter.set_tensor(details["index"], x)
        self.interpreter.invoke()
        return [np.array(self.interpreter.get_tensor(d["index"])) for d in self.outputs]


def drawn(module: Module, seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """Random inputs for a module, its variables left out; open extents are 1, as LiteRT has them."""
    rng = np.random.default_rng(seed)
    states = {s["input"] for s in json.loads(module.metadata.get("states", "[]"))}
    result: list[np.ndarray[Any, Any]] = []
    for name, tensor in zip(module.main.input_names, module.main.inputs, strict=True):
        if name not in states:
            shape, dtype = [d if isinstance(d, int) else 1 for d in tensor.type.dims], tensor.type.dtype
            if dtype.is_float:
                result.append(rng.uniform(-1, 1, shape).astype(dtype.numpy))
            else:
                result.append(rng.integers(dtype.range[0], dtype.range[1] + 1, shape).astype(dtype.numpy))
    return result


def first_states(module: Module) -> dict[str, np.ndarray[Any, Any]]:
    """What the variables of a module begin with, by the names of its inputs."""
    found: dict[str, np.ndarray[Any, Any]] = {}
    for state in json.loads(module.metadata.get("states", "[]")):
        t = module.main.input(state["input"]).type
        shape = tuple(int(d) for d in t.dims if isinstance(d, int))
        found[state["input"]] = np.broadcast_to(np.asarray(state["initial"], t.dtype.numpy), shape)
    return found


def next_states(module: Module, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the variables hold after a run, by the names of the inputs."""
    return {s["input"]: outputs[s["output"]] for s in json.loads(module.metadata.get("states", "[]"))}


def load(folder: Path, content: bytes, **options: Any) -> Module:
    """A file's module, verified and printed and read again."""
    path = folder / "model.tflite"
    path.write_bytes(content)
    module = uair.load(path, **options)
    verify(module)
    assert not difference(module, parse_module(print_module(module), weights=weights_of(module)))
    return module


def close(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], tolerance: float, steps: int) -> str:
    """What is wrong with a result, empty when nothing is."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return f"{ours.dtype}{list(ours.shape)} instead of {theirs.dtype}{list(theirs.shape)}"
    if theirs.dtype.kind in "iu":
        gap = int(np.abs(ours.astype(np.int64) - theirs.astype(np.int64)).max(initial=0))
        return "" if gap <= steps else f"{gap} steps\n{ours}\n{theirs}"
    if theirs.dtype.kind in "bSO":
        return "" if np.array_equal(ours, theirs) else f"{ours}\n{theirs}"
    error = relative_error(ours, theirs)
    return "" if error <= tolerance else f"relative error {error:.2g}\n{ours}\n{theirs}"


def check(
    folder: Path,
    content: bytes,
    inputs: Arrays | None = None,
    *,
    tolerance: float = 1e-5,
    steps: int = 1,
    runs: int = 1,
    optimize: bool = True,
    **options: Any,
) -> Module:
    """Import a file, and hold it against LiteRT before and after `uair.optimize`.

    Args:
        folder: for the file.
        content: the file.
        inputs: in the file's order; drawn at random when not given.
        tolerance: greatest relative error of a floating-point output.
        steps: greatest difference of an integer output.
        runs: how often it is run, variables handed on.
        optimize: whether the optimized module is held against LiteRT, too.
        options: how the file is loaded.

    Returns:
        The module as imported.
    """
    module = load(folder, content, **options)
    for each in (module, uair.optimize(module.clone())) if optimize else (module,):
        judge = LiteRT(content, [x.shape for x in inputs or ()])
        states: Mapping[str, Any] = first_states(module)
        for run in range(runs):
            given = list(inputs) if inputs is not None else drawn(module, run)
            names = [name for name in each.main.input_names if name not in states]
            outputs = uair.run(each, {**dict(zip(names, given, strict=True)), **states})
            expected = judge(given)
            own = list(outputs.values())[: len(expected)]
            assert len(own) == len(expected)
            for name, ours, theirs in zip(outputs, own, expected, strict=False):
                wrong = close(np.asarray(ours), theirs, tolerance, steps)
                assert not wrong, f"{name}, run {run}: {wrong}"
            states = next_states(module, outputs)
    return module


def kinds(module: Module) -> list[str]:
    """The operators of a module, subgraphs included, in order."""
    return [node.op_type for graph in module.all_graphs() for node in graph]
