"""Custom operators that LiteRT's interpreter knows, against it: pooling with places, audio features."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers  # type: ignore[import-untyped]

import uair
from tests.frameworks.tflite.build import Value, built, of
from tests.frameworks.tflite.harness import LiteRT, check, load

RNG = np.random.default_rng(4)
SAME, VALID = 1, 2


def windows(padding: int, height: int, width: int, strides: tuple[int, int] | None = None) -> bytes:
    """TfLitePoolParams: padding, strides along width and height, extents along width and height, what is computed."""
    down, across = strides or (height, width)
    return struct.pack("<10i", padding, across, down, width, height, *[0] * 5)


def pooling(shape: tuple[int, ...], result: tuple[int, ...], payload: bytes, places: str = "float32") -> bytes:
    results = [Value(result), Value(result, places)]
    return built("CUSTOM", [Value(shape)], results, custom="MaxPoolingWithArgmax2D", payload=payload)


def unpooling(shape: tuple[int, ...], result: tuple[int, ...], payload: bytes) -> bytes:
    operands: list[Value | None] = [Value(shape), Value(shape)]
    return built("CUSTOM", operands, [Value(result)], custom="MaxUnpooling2D", payload=payload)


@pytest.mark.parametrize(
    ("padding", "size", "kernel", "result"),
    [
        (VALID, (4, 6), (2, 2), (2, 3)),
        (SAME, (4, 6), (2, 3), (2, 2)),
        (VALID, (5, 7), (2, 3), (2, 2)),
        (SAME, (5, 7), (2, 3), (3, 3)),
    ],
)
def test_pooling_with_places(
    tmp_path: Path, padding: int, size: tuple[int, int], kernel: tuple[int, int], result: tuple[int, int]
) -> None:
    """LiteRT's places are the bits of integers in a tensor of f32; ours are the numbers."""
    file = pooling((2, *size, 3), (2, *result, 3), windows(padding, *kernel))
    module = load(tmp_path, file)
    x = np.round(RNG.normal(size=(2, *size, 3)) * 2).astype(np.float32)  # with equal elements
    best, places = LiteRT(file)([x])
    for each in (module, uair.optimize(module.clone())):
        ours, where = uair.run(each, x).values()
        np.testing.assert_array_equal(ours, best)
        np.testing.assert_array_equal(where, places.view(np.uint32).astype(np.float32))


@pytest.mark.parametrize("kernel", [(2, 2), (3, 2), (1, 1)])
def test_unpooling(tmp_path: Path, kernel: tuple[int, int]) -> None:
    shape, result = (2, 3, 2, 4), (2, 3 * kernel[0], 2 * kernel[1], 4)
    file = unpooling(shape, result, windows(VALID, *kernel))
    module = load(tmp_path, file)
    x = RNG.normal(size=shape).astype(np.float32)
    places = RNG.integers(0, kernel[0] * kernel[1], shape).astype(np.uint32)
    (theirs,) = LiteRT(file)([x, places.view(np.float32)])
    for each in (module, uair.optimize(module.clone())):
        names = each.main.input_names
        (ours,) = uair.run(each, dict(zip(names, (x, places.astype(np.float32)), strict=True))).values()
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("padding", [SAME, VALID])
def test_unpooling_to_places_in_the_whole_image(tmp_path: Path, padding: int) -> None:
    """LiteRT's wheel lacks the operator for these places: held against its definition."""
    shape, result = (2, 3, 2, 4), (2, 6, 4, 4) if padding == SAME else (2, 7, 5, 4)
    operands: list[Value | None] = [Value(shape), Value(shape, "int32")]
    payload = windows(padding, 3, 3, (2, 2))
    module = load(tmp_path, built("CUSTOM", operands, [Value(result)], custom="MaxUnpooling2D", payload=payload))
    x = RNG.normal(size=shape).astype(np.float32)
    places = np.stack([RNG.permutation(int(np.prod(result[1:])))[: int(np.prod(shape[1:]))] for _ in range(2)])
    wanted = np.zeros((2, int(np.prod(result[1:]))), np.float32)
    for image in range(2):
        wanted[image, places[image]] = x[image].reshape(-1)
    feeds = (x, places.reshape(shape).astype(np.int32))
    for each in (module, uair.optimize(module.clone())):
        (ours,) = uair.run(each, dict(zip(each.main.input_names, feeds, strict=True))).values()
        np.testing.assert_array_equal(ours, wanted.reshape(result))


@pytest.mark.parametrize("target", ["cpu", "rk3588", "ascend310", "th1520"])
def test_pooling_and_unpooling_compile(tmp_path: Path, target: str) -> None:
    pool, unpool = tmp_path / "pool.tflite", tmp_path / "unpool.tflite"
    pool.write_bytes(pooling((1, 8, 8, 16), (1, 4, 4, 16), windows(VALID, 2, 2)))
    unpool.write_bytes(unpooling((1, 4, 4, 16), (1, 8, 8, 16), windows(VALID, 2, 2)))
    x = RNG.normal(size=(1, 8, 8, 16)).astype(np.float32)
    results = list(uair.run(uair.compile(uair.load(pool), target), x).values())
    module = uair.load(unpool)
    (back,) = uair.run(uair.compile(module, target), dict(zip(module.main.input_names, results, strict=True))).values()
    kept = x == np.repeat(np.repeat(results[0], 2, 1), 2, 2)
    np.testing.assert_allclose(back, np.where(kept, x, 0), atol=1e-3)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (pooling((1, 4, 4, 1), (1, 2, 2, 1), b"\x01"), "1 bytes"),
        (pooling((1, 4, 4, 1), (1, 2, 2, 1), windows(7, 2, 2)), "padding 7"),
        (pooling((1, 4, 4, 1), (1, 2, 2, 1), windows(VALID, 1 << 20, 1 << 20)), "windows"),
        (pooling((1, 4, 4, 1), (1, 2, 2, 1), windows(VALID, 2, 2, (1, 2))), "overlap"),
        (pooling((1, 4, 4, 1), (1, 2, 2, 1), windows(VALID, 2, 2), "int32"), "places of i32"),
        (unpooling((1, 2, 2, 1), (1, 4, 4, 1), windows(SAME, 2, 2)), "outside of the image"),
    ],
)
def test_pooling_that_has_no_meaning(tmp_path: Path, file: bytes, why: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(file)
    with pytest.raises(uair.UairError, match=why):
        uair.load(path)


# ---------------------------------------------------------------------------------------------------------- audio
def audio(samples: int, result: tuple[int, ...], **options: Any) -> bytes:
    return built(
        "CUSTOM", [Value((samples, 2))], [Value(result)], custom="AudioSpectrogram",
        payload=bytes(flexbuffers.Dumps(options)),
    )  # fmt: skip


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize(("window", "stride"), [(200, 80), (256, 300), (3, 1)])
def test_spectrogram(tmp_path: Path, window: int, stride: int, squared: bool) -> None:
    frames, bins = 1 + (1000 - window) // stride, (1 << (window - 1).bit_length()) // 2 + 1
    file = audio(1000, (2, frames, bins), window_size=window, stride=stride, magnitude_squared=squared)
    check(tmp_path, file, [RNG.normal(size=(1000, 2)).astype(np.float32)])


COEFFICIENTS: dict[str, Any] = {
    "upper_frequency_limit": 4000,
    "lower_frequency_limit": 20,
    "filterbank_channel_count": 40,
    "dct_coefficient_count": 13,
}


def coefficients(rate: int = 16000, bins: int = 129, **changed: Any) -> bytes:
    options = {**COEFFICIENTS, **changed}
    operands: list[Value | None] = [Value((2, 5, bins)), of(np.array([rate], np.int32))]
    return built(
        "CUSTOM", operands, [Value((2, 5, options["dct_coefficient_count"]))], custom="Mfcc",
        payload=bytes(flexbuffers.Dumps(options)),
    )  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [{}, {"rate": 8000, "bins": 257}, {"lower_frequency_limit": 300, "filterbank_channel_count": 20}, {"bins": 17}],
)
def test_coefficients(tmp_path: Path, changed: dict[str, Any]) -> None:
    bins = changed.get("bins", 129)
    check(tmp_path, coefficients(**changed), [RNG.uniform(0, 100, (2, 5, bins)).astype(np.float32)])


def test_coefficients_of_silence(tmp_path: Path) -> None:
    check(tmp_path, coefficients(), [np.zeros((2, 5, 129), np.float32)])


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (audio(1000, (2, 1, 1), window_size=200), "lack stride"),
        (audio(1000, (2, 1, 1), window_size=200, stride=0), "at steps of 0"),
        (audio(100, (2, 0, 129), window_size=200, stride=80), "100 samples give 0 frames"),
        (coefficients(rate=4000), "ends at 2000 Hz"),
        (coefficients(dct_coefficient_count=50), "50 coefficients of 40 bands"),
    ],
)
def test_audio_that_has_no_meaning(tmp_path: Path, file: bytes, why: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(file)
    with pytest.raises(uair.UairError, match=why):
        uair.load(path)
