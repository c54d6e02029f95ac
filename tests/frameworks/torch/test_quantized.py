"""Quantized models against PyTorch: the operators of PT2E, and models that torchao has quantized."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.ao.quantization.fx import _decomposed

import uair
from tests.frameworks.torch.harness import WARNINGS, check, to_numpy
from uair.ir.dtype import DType
from uair.ir.module import Module
from uair.ops import Dequantize, Quantize

pytestmark = WARNINGS
assert _decomposed.quantized_decomposed_lib is not None  # the import registers the operators
Q = torch.ops.quantized_decomposed
G = torch.Generator().manual_seed(11)
X = torch.randn(4, 6, 8, generator=G)
SCALES = torch.tensor([0.02, 0.01, 0.03, 0.015, 0.05, 0.01])
ZEROS = torch.tensor([0, 3, -7, 100, 0, -100])
ROWS = torch.rand(4, 6, 1, generator=G, dtype=torch.float64) / 20 + 0.01
W = torch.randn(6, 8, generator=G)
GROUPS = torch.rand(6, 2, generator=G) / 20 + 0.01
INTEGERS = torch.randint(-128, 128, (4, 6, 8), generator=G, dtype=torch.int8)
I8 = (-128, 127, torch.int8)


def _round_trip(x: torch.Tensor, quantize: Any, dequantize: Any) -> Any:
    q = quantize(x)
    return q, dequantize(q)


CASES: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "tensor": (
        lambda x: _round_trip(
            x,
            lambda x: Q.quantize_per_tensor(x, 0.021, 120, 0, 255, torch.uint8),
            lambda q: Q.dequantize_per_tensor(q, 0.021, 120, 0, 255, torch.uint8),
        ),
        (X,),
    ),
    "narrow bounds": (lambda x: Q.quantize_per_tensor(x, 0.01, 0, -127, 127, torch.int8), (X,)),
    "sixteen bits": (lambda x: Q.quantize_per_tensor(x, 0.0001, 0, -32768, 32767, torch.int16), (X,)),
    "parameters as tensors": (
        lambda x, s, z: _round_trip(
            x,
            lambda x: Q.quantize_per_tensor.tensor(x, s, z, *I8),
            lambda q: Q.dequantize_per_tensor.tensor(q, s, z, *I8),
        ),
        (X, torch.tensor([0.02]), torch.tensor([5])),
    ),
    "channels": (
        lambda x, s, z: _round_trip(
            x,
            lambda x: Q.quantize_per_channel(x, s, z, 1, *I8),
            lambda q: Q.dequantize_per_channel(q, s, z, 1, *I8),
        ),
        (X, SCALES, ZEROS),
    ),
    "last channel, no zero point": (
        lambda q, s: Q.dequantize_per_channel(q, s, None, -2 + q.dim(), *I8),
        (INTEGERS, SCALES),
    ),
    "half precision": (
        lambda q: Q.dequantize_per_tensor(q, 0.02, 3, *I8, out_dtype=torch.float16),
        (INTEGERS,),
    ),
    "fake": (lambda x, s, z: Q.fake_quant_per_channel(x, s, z, 1, -128, 127), (X, SCALES, ZEROS.float())),
    "rows": (
        lambda x, s, z: _round_trip(
            x,
            lambda x: Q.quantize_per_token(x, s, z, *I8),
            lambda q: Q.dequantize_per_token(q, s, z, *I8, torch.float32),
        ),
        (X, ROWS, torch.randint(-9, 9, (4, 6, 1), generator=G)),
    ),
    "groups": (
        lambda w, s, z: _round_trip(
            w,
            lambda w: Q.quantize_per_channel_group(w, s, z, -8, 7, torch.int8, 4),
            lambda q: Q.dequantize_per_channel_group(q, s, z, -8, 7, torch.int8, 4, torch.float32),
        ),
        (W, GROUPS, torch.zeros(6, 2, dtype=torch.int32)),
    ),
    "choose": (lambda x: Q.choose_qparams.tensor(x, 0, 255, 2.0**-12, torch.uint8), (X,)),
    "choose symmetric": (lambda x: Q.choose_qparams_symmetric.tensor(x, -127, 127, 2.0**-12, torch.int8), (X,)),
    # Its scales are f32, though the program says f64.
    "choose by row": (lambda x: [t.double() for t in Q.choose_qparams_per_token(x, torch.int8)], (X,)),
    "choose by row, both ends": (lambda x: Q._choose_qparams_per_token_asymmetric_impl(x, torch.int8), (X,)),
    "choose of one sign": (lambda x: Q.choose_qparams.tensor(x.abs() + 1, -128, 127, 2.0**-12, torch.int8), (X,)),
    "kept apart": (lambda x: Q.convert_element_type.no_fuse(x, torch.float16), (X,)),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    """Within rounding, but for quotients halfway between two steps: PyTorch multiplies by 1 / scale. None are here."""
    function, inputs = CASES[name]
    check(function, *inputs, tolerance=1e-5)


def test_attributes() -> None:
    function, inputs = CASES["channels"]
    module = check(function, *inputs)
    quantize, dequantize = (next(n for n in module.main if isinstance(n.op, t)) for t in (Quantize, Dequantize))
    assert isinstance(quantize.op, Quantize)
    assert (quantize.op.axis, quantize.op.dtype, quantize.op.rounding) == (1, DType.I8, "half_even")
    assert isinstance(dequantize.op, Dequantize)
    assert (dequantize.op.axis, dequantize.op.dtype) == (1, DType.F32)


# ------------------------------------------------------------------------------------------------ torchao
class Net(torch.nn.Module):
    """Convolutions, a residual sum, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.second = torch.nn.Conv2d(8, 8, 3, padding=1)
        self.head = torch.nn.Linear(8 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = torch.nn.functional.max_pool2d((x + self.second(x)).relu(), 2)
        return self.head(x.flatten(1))


IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(12))


def _converted(model: torch.nn.Module, *inputs: torch.Tensor, **options: bool) -> Any:
    """A model quantized by PT2E for x86."""
    flow = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
    x86 = importlib.import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config(**options))
    prepared = flow.prepare_pt2e(torch.export.export(model.eval(), inputs, strict=False).module(), quantizer)
    prepared(*inputs)
    return flow.convert_pt2e(prepared)


def _step(module: Module, output: torch.Tensor, x: torch.Tensor) -> float:
    """The greatest difference of the results, relative to the greatest one."""
    (found,) = uair.run(module, {module.main.input_names[0]: to_numpy(x)}).values()
    want = output.detach().numpy()
    return float(np.abs(found - want).max() / np.abs(want).max())


# torchao's own folding of constants uses what torch deprecates (torchao 0.18, torch 2.13).
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
class TestTorchao:
    def test_static(self) -> None:
        converted = _converted(Net(), IMAGES)
        program = torch.export.export(converted, (IMAGES,), strict=False)
        module = uair.load(program)
        kinds = [n.op_type for n in module.main]
        assert kinds.count("Quantize") == 3
        assert "Cast" not in kinds
        stored = [n for n in module.main if n.inputs and n.inputs[0] is not None and n.inputs[0].is_constant]
        assert [n.op.axis for n in stored if isinstance(n.op, Dequantize)] == [0, 0, 0]
        for each in (module, uair.optimize(module.clone())):
            assert _step(each, converted(IMAGES), IMAGES) < 1e-5

    def test_dynamic(self) -> None:
        x = torch.randn(3, 128, generator=torch.Generator().manual_seed(13))
        head = Net().head
        converted = _converted(head, x, is_dynamic=True)
        module = uair.load(torch.export.export(converted, (x,), strict=False))
        for given in (x, 7 * x + 1):
            assert _step(module, converted(given), given) < 1e-5

    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("Int8WeightOnlyConfig", {}),
            ("Int8DynamicActivationInt8WeightConfig", {}),
            ("IntxWeightOnlyConfig", {"weight_dtype": torch.int4}),
            ("Int8DynamicActivationIntxWeightConfig", {"weight_dtype": torch.int4}),
        ],
    )
    def test_quantized_weights(self, kind: str, options: dict[str, Any]) -> None:
        """Weights that are tensors of torchao's own classes become what they consist of."""
        api = importlib.import_module("torchao.quantization")
        model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32)).eval()
        api.quantize_(model, getattr(api, kind)(**options))
        x = torch.randn(3, 64, generator=torch.Generator().manual_seed(14))
        module = uair.load(model, x)
        assert _step(module, model(x), x) < 1e-5
        stored = {t.type.dtype for n in module.main for t in n.inputs if t is not None and t.is_constant}
        assert DType.I8 in stored
