"""Every model of the zoo through the front door: import, verify, optimise, print and read, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

import uair
from tests import zoo
from uair.codegen.reference import relative_error
from uair.codegen.reference import run as interpret
from uair.ir.compare import difference
from uair.ir.verify import verify
from uair.passes.bind_shapes import bind_shapes
from uair.text import load, parse_module, print_module, save

MODELS = zoo.models()
TOLERANCE = 1e-4
"""Greatest relative error of an output, against the greatest magnitude in it."""

ONNXSIM_NODES = {
    "light_bvlc_alexnet": 24,
    "light_densenet121": 550,
    "light_inception_v1": 139,
    "light_inception_v2": 226,
    "light_resnet50": 123,
    "light_shufflenet": 154,
    "light_squeezenet": 66,
    "light_vgg19": 46,
    "light_zfnet512": 22,
}
"""Nodes that onnxsim 0.8.1 leaves of the light models: `python -m bench.compile_time --tools onnxsim`."""

_expected: dict[str, dict[str, npt.NDArray[np.generic]]] = {}


def expected(name: str) -> dict[str, npt.NDArray[np.generic]]:
    """What onnxruntime computes from the original file."""
    if name not in _expected:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(MODELS[name].path), options, providers=["CPUExecutionProvider"])
        names = [o.name for o in session.get_outputs()]
        values = (np.asarray(value) for value in session.run(names, MODELS[name].feeds(0)))
        _expected[name] = dict(zip(names, values, strict=True))
    return _expected[name]


def bound(name: str) -> uair.Module:
    """The model with its open sizes bound."""
    module = uair.load(MODELS[name].path)
    bind_shapes(module, dict(MODELS[name].shapes), static=True)
    return module


def assert_close(name: str, module: uair.Module) -> None:
    outputs = interpret(module, MODELS[name].feeds(0))
    assert list(outputs) == list(expected(name))
    for key, want in expected(name).items():
        got = outputs[key]
        assert relative_error(want, got) <= TOLERANCE, f"{name}: {key}"


@pytest.mark.parametrize("name", MODELS)
def test_interpreter_equals_onnxruntime(name: str) -> None:
    module = bound(name)
    verify(module)
    assert_close(name, module)


@pytest.mark.parametrize("name", MODELS)
def test_optimised_module_equals_onnxruntime(name: str) -> None:
    module = uair.optimize(bound(name))
    assert_close(name, module)


@pytest.mark.parametrize("name", MODELS)
def test_text_round_trip_is_exact(name: str, tmp_path: Path) -> None:
    """The open model and the optimised bound one, weights through the sidecar."""
    for module in (uair.load(MODELS[name].path), uair.optimize(bound(name))):
        path = tmp_path / "model.uair"
        save(module, path)
        again = load(path)
        assert difference(module, again) == ""
        assert print_module(again) == print_module(module)


@pytest.mark.parametrize("name", [n for n, m in MODELS.items() if "dynamic" in m.tags])
def test_open_models_optimise_and_then_take_any_size(name: str) -> None:
    """Optimising before the sizes are known must not change what the model computes."""
    module = uair.optimize(uair.load(MODELS[name].path))
    verify(module)
    assert_close(name, module)


@pytest.mark.parametrize("name", ONNXSIM_NODES)
def test_no_more_nodes_than_onnxsim(name: str, tmp_path: Path) -> None:
    """Counted in the exported file, in standard ONNX operators at the opset onnxsim keeps to or later."""
    import onnx

    module = uair.optimize(uair.load(MODELS[name].path))
    uair.export_onnx(module, tmp_path / "model.onnx", opset=17)
    nodes = onnx.load(str(tmp_path / "model.onnx")).graph.node
    assert len(nodes) <= ONNXSIM_NODES[name]


@pytest.mark.parametrize("name", [n for n, m in MODELS.items() if "light" not in m.tags])
def test_export_equals_the_original_in_onnxruntime(name: str, tmp_path: Path) -> None:
    module = uair.optimize(bound(name))
    path = tmp_path / "model.onnx"
    uair.export_onnx(module, path, opset=17)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = session.run(list(expected(name)), MODELS[name].feeds(0))
    for got, (key, want) in zip(outputs, expected(name).items(), strict=True):
        assert relative_error(want, np.asarray(got)) <= TOLERANCE, key


def test_optimising_twice_changes_nothing_more() -> None:
    for name in ("ppocr_rec", "yolo", "bert", "densenet121_real"):
        module = uair.optimize(bound(name))
        text = print_module(module)
        before = len(module.main)
        again = parse_module(text, weights=None) if "dense<" not in text else module
        uair.optimize(again)
        assert len(again.main) == before
