"""Quantized models lowered to integers, against LiteRT's reference kernels: every layer's integers, bit for bit."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# ai_edge_litert has no annotations.

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT
from ai_edge_litert.interpreter import OpResolverType

import uair
from tests.zoo_tflite import TFLITE_FILES
from uair.codegen.reference import run
from uair.ops import Requantize
from uair.quant.integer import lower_to_integer

MODELS = (
    "mltk_image_example1",
    "mltk_image_classification",
    "mltk_rock_paper_scissors",
    "mltk_keyword_spotting",
    "mltk_anomaly_detection",
    "mltk_visual_wake_words",
    "mltk_autoencoder_example",
)


@pytest.mark.parametrize("name", MODELS)
def test_layers_are_litert_s_bit_for_bit(name: str) -> None:
    path = TFLITE_FILES[name].fetch()
    theirs = LiteRT(
        str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, experimental_preserve_all_tensors=True
    )
    theirs.allocate_tensors()
    module = uair.optimize(uair.load(path, arithmetic="litert"))
    lowered = lower_to_integer(module, "litert")
    rng = np.random.default_rng(5)
    feeds: dict[str, Any] = {}
    for port, known in zip(theirs.get_input_details(), lowered.main.input_names, strict=True):
        shape, dtype = [max(1, n) for n in port["shape"]], port["dtype"]
        drawn = rng.normal(size=shape) if dtype is np.float32 else rng.integers(-128, 128, shape)
        feeds[known] = drawn.astype(dtype)
        theirs.set_tensor(port["index"], feeds[known])
    theirs.invoke()
    indices = {port["name"]: port["index"] for port in theirs.get_tensor_details()}
    layers = {node.output.name for node in lowered.main if isinstance(node.op, Requantize)}
    found: dict[str, Any] = {}
    run(lowered, feeds, observe=lambda tensor, value: found.update({tensor.name: np.array(value)}))
    assert len(layers) >= 3
    for layer in layers:
        want = theirs.get_tensor(indices[layer.removesuffix("_quantized")])
        want = np.moveaxis(want, -1, 1) if want.ndim == 4 else want
        assert np.array_equal(found[layer], want.reshape(found[layer].shape)), layer
