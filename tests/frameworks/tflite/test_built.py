"""Operators that the converter does not write for any function of TensorFlow, in files made by hand, against LiteRT."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uair
from tests.frameworks.tflite.build import Value, built, of
from tests.frameworks.tflite.harness import check

RNG = np.random.default_rng(7)


def f32(*shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray[Any, Any]:
    return RNG.uniform(low, high, shape).astype(np.float32)


X = Value((2, 3))
Case = tuple[list[Value | None], list[Value], str, Mapping[str, Any]]

CASES: dict[str, Case] = {
    "L2_POOL_2D": (
        [Value((1, 5, 6, 2))],
        [Value((1, 3, 3, 2))],
        "Pool2D",
        {"strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 2},
    ),
    "RELU_0_TO_1": ([X], [X], "", {}),
    "STABLEHLO_ADD": ([X, X], [X], "", {}),
    "STABLEHLO_MULTIPLY": ([X, X], [X], "", {}),
    "STABLEHLO_MAXIMUM": ([X, X], [X], "", {}),
    "STABLEHLO_MINIMUM": ([X, X], [X], "", {}),
    "STABLEHLO_PAD": (
        [X, of(np.float32(0.5))],
        [Value((4, 3))],
        "StablehloPad",
        {"edgePaddingLow": [1, -1], "edgePaddingHigh": [1, 1], "interiorPadding": [0, 0]},
    ),
    "DYNAMIC_UPDATE_SLICE": ([Value((4, 5)), Value((4, 2)), of(np.array([0, 4], np.int32))], [Value((4, 5))], "", {}),
    "BROADCAST_ARGS": (
        [of(np.array([3, 1], np.int64)), of(np.array([2, 1, 4], np.int64))],
        [Value((3,), "int64")],
        "",
        {},
    ),
    "FAKE_QUANT": ([X], [X], "FakeQuant", {"min": -0.7, "max": 0.6, "numBits": 8, "narrowRange": False}),
    "EMBEDDING_LOOKUP": ([of(np.array([2, 0, 2], np.int32)), of(f32(4, 3))], [Value((3, 3))], "", {}),
    "FULLY_CONNECTED": (
        [Value((2, 2, 3)), of(f32(4, 6)), of(f32(4))],
        [Value((2, 4))],
        "FullyConnected",
        {"fusedActivationFunction": 1},
    ),
    "RESHAPE": ([X], [Value((3, 2))], "Reshape", {"newShape": [3, -1]}),
    "TRANSPOSE_CONV": (
        [of(np.array([1, 9, 8, 2], np.int32)), of(f32(2, 4, 3, 5)), Value((1, 5, 4, 5)), of(f32(2))],
        [Value((1, 9, 8, 2))],
        "TransposeConv",
        {"strideH": 2, "strideW": 2, "padding": 0, "fusedActivationFunction": 1},
    ),
}
"""Operands, results, options and their fields by operator."""


@pytest.mark.parametrize("kind", CASES)
def test_operator(kind: str, tmp_path: Path) -> None:
    operands, results, options, settings = CASES[kind]
    check(tmp_path, built(kind, operands, results, options, settings))


@pytest.mark.parametrize("padding", [1, 2], ids=["same", "valid"])
@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), (2, 2)), ((3, 4), (2, 3)), ((5, 4), (1, 2))])
def test_transposed_convolution_with_bias(
    tmp_path: Path, padding: int, kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    """A custom operator that LiteRT's interpreter knows; image segmentation of phones ends in it."""
    height, width = (d * s if padding == 1 else (d - 1) * s + k for d, s, k in zip((5, 6), stride, kernel, strict=True))
    operands: list[Value | None] = [Value((1, 5, 6, 3)), of(f32(2, *kernel, 3)), of(f32(2))]
    payload = struct.pack("<3i", padding, stride[1], stride[0])
    content = built(
        "CUSTOM", operands, [Value((1, height, width, 2))], custom="Convolution2DTransposeBias", payload=payload
    )
    check(tmp_path, content)


def test_transposed_convolution_with_damaged_options(tmp_path: Path) -> None:
    operands: list[Value | None] = [Value((1, 5, 6, 3)), of(f32(2, 2, 2, 3)), of(f32(2))]
    result = [Value((1, 10, 12, 2))]
    for payload, why in ((b"\x01", "1 bytes"), (struct.pack("<3i", 1, 0, 2), "strides")):
        path = tmp_path / "model.tflite"
        path.write_bytes(built("CUSTOM", operands, result, custom="Convolution2DTransposeBias", payload=payload))
        with pytest.raises(uair.UairError, match=why):
            uair.load(path)


@pytest.mark.parametrize("zero_point", [0, 7])
def test_weights_with_one_scale(tmp_path: Path, zero_point: int) -> None:
    """Int8 weights with one scale and a zero point; integers without a scale as bias."""
    weights = Value((4, 6), "int8", RNG.integers(-100, 100, (4, 6)).astype(np.int8), scale=0.02, zero_point=zero_point)
    bias = Value((4,), "int32", RNG.integers(-500, 500, 4).astype(np.int32), scale=0.02 * 0.01)
    content = built(
        "FULLY_CONNECTED",
        [Value((2, 6), "int8", scale=0.01, zero_point=-3), weights, bias],
        [Value((2, 4), "int8", scale=0.05, zero_point=5)],
        "FullyConnected",
    )
    check(tmp_path, content)
