"""Fourier transforms and spectrograms against onnxruntime, NumPy, and onnx's reference evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.models import F32, check, floats, imported, interpreted, model, one, op_types
from uair.errors import EvaluationError
from uair.ir.dtype import Array

MICROSOFT = "com.microsoft"


def run(node: Any, feeds: dict[str, Any], opset: int = 20, **more: Any) -> Any:
    return check(model([node], feeds, opset=opset, ir_version=9, **more), feeds, rtol=1e-4, atol=1e-4)


def spectrum(z: Any) -> Array:
    return np.stack((z.real, z.imag), -1)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("length", [None, 5, 12])
def test_dft(parts: int, onesided: int, length: int | None) -> None:
    if parts == 2 and onesided:
        return  # onnxruntime refuses it
    feeds: dict[str, Any] = {"x": floats(2, 8, 3, parts)}
    constants = {} if length is None else {"n": np.array(length)}
    name = "" if length is None else "n"
    for axis in (1, 2, -2):
        run(one("DFT", "x", name, axis=axis, onesided=onesided), feeds, 17, constants=constants)
        run(one("DFT", "x", name, "a", onesided=onesided), feeds, constants=constants | {"a": np.array(axis)})
    for inverse in {0, parts - 1}:
        run(one("DFT", "x", name, axis=1, inverse=inverse), feeds, 17, constants=constants)


def test_dft_with_operands_at_run_time() -> None:
    feeds = {"x": floats(2, 8, 3, 1), "n": np.array(6), "a": np.array(1)}
    module = run(one("DFT", "x", "n", "a", onesided=1), feeds)
    with pytest.raises(EvaluationError, match="axis 3"):
        interpreted(module, {**feeds, "a": np.array(3)})


@pytest.mark.parametrize("length", [None, 7])
def test_dft_to_real_numbers(length: int | None) -> None:
    """Inverse and one-sided at once."""
    x = floats(2, 5, 2)
    constants = {} if length is None else {"n": np.array(length)}
    node = one("DFT", "x", *constants, inverse=1, onesided=1)
    (y,) = interpreted(imported(model([node], {"x": x}, constants=constants, opset=20)), {"x": x})
    want = np.fft.irfft(x[..., 0] + 1j * x[..., 1], length, -1)[..., None]
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_stft(onesided: int, window: bool, known: bool) -> None:
    signal, step = {"x": floats(2, 40, 1)}, {"s": np.array(5)}
    more: dict[str, Any] = {"w": np.hanning(12).astype(np.float32)} if window else {"n": np.array(12)}
    names = ["x", "s", "w"] if window else ["x", "s", "", "n"]
    feeds, constants = (signal, step | more) if known else (signal | step | more, {})
    module = run(one("STFT", *names, onesided=onesided), feeds, 17, constants=constants)
    assert ("Range" in op_types(module)) is not known


def test_stft_of_an_open_signal() -> None:
    proto = model([one("STFT", "x", "s", "w")], {"x": (F32, [1, "n", 1])}, opset=17, constants={
        "s": np.array(4), "w": np.ones(8, np.float32)
    })  # fmt: skip
    check(proto, {"x": floats(1, 30, 1)}, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("bins", "size", "rate"), [(8, 16, 8192), (20, 256, 16000), (3, 34, 22050)])
def test_mel_weight_matrix(bins: int, size: int, rate: int) -> None:
    values = {"b": np.array(bins), "n": np.array(size), "r": np.array(rate)}
    values |= {"l": np.array(20, np.float32), "u": np.array(rate / 2, np.float32)}
    node = one("MelWeightMatrix", *"bnrlu")
    assert op_types(run(node, values, 17)) == ["MelWeights"]
    assert op_types(run(node, {}, 17, constants=values)) == []


@pytest.mark.parametrize("axes", [1, 2])
def test_real_transforms_of_onnxruntime(axes: int) -> None:
    """Its kernels are for CUDA only; NumPy judges."""
    x = floats(2, 4, 6)
    along = tuple(range(3 - axes, 3))
    attributes = {"signal_ndim": axes, "onesided": 1, "normalized": 0}
    (y,) = interpreted(imported(model([one("Rfft", "x", domain=MICROSOFT, **attributes)], {"x": x})), {"x": x})
    np.testing.assert_allclose(y, spectrum(np.fft.rfftn(x, axes=along)), rtol=1e-4, atol=1e-5)
    (back,) = interpreted(imported(model([one("Irfft", "x", domain=MICROSOFT, **attributes)], {"x": y})), {"x": y})
    np.testing.assert_allclose(back, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("kind", [1, 11, 10])
def test_windows(name: str, periodic: int, kind: int) -> None:
    node = one(name, "n", periodic=periodic, output_datatype=kind)
    if kind != 10:
        run(node, {"n": np.array(9)}, 17)
        return
    (y,) = interpreted(imported(model([node], {}, constants={"n": np.array(9)}, opset=17)), {})
    assert (y.dtype, y.shape) == (np.dtype(np.float16), (9,))
