"""Arithmetic and activations against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.frameworks.torch.harness import WARNINGS, check, check_batches

pytestmark = WARNINGS

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)) * 2
Y = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
P = X.abs() + 0.1
U = torch.rand(3, 4, generator=torch.Generator().manual_seed(3)) * 0.9 + 0.05
K = torch.tensor([[-7, 7, -7, 7], [5, 0, 3, -3], [1, 2, 9, -9]], dtype=torch.int32)
J = torch.tensor([[2, 2, -2, -2], [3, 4, -3, 3], [5, -5, 2, 4]], dtype=torch.int32)
B = K > 0
H = X.to(torch.float16)
N = torch.tensor([[1.0, float("nan"), float("inf"), -float("inf")], [0.0, -0.0, 2.5, -2.5], [0.5, 1.5, -0.5, -1.5]])

UNARY = {
    name: getattr(torch, name)
    for name in (
        "abs acos asin asinh atan atanh ceil cos cosh deg2rad erf erfc exp exp2 expm1 floor frac neg rad2deg reciprocal"
        " round sgn sigmoid sign sin sinc sinh square tan tanh trunc positive"
    ).split()
}
POSITIVE = {name: getattr(torch, name) for name in "acosh log log10 log1p log2 rsqrt sqrt".split()}
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    **{name: (f, (U,) if name in ("acos", "asin", "atanh") else (X,)) for name, f in UNARY.items()},
    **{name: (f, (P + 1,)) for name, f in POSITIVE.items()},
    "int to float": (lambda i: torch.sin(i) + torch.sqrt(i * i), (K,)),
    "bool to float": (torch.exp, (B,)),
    "floor of ints": (lambda i: (torch.floor(i), torch.round(i), torch.trunc(i)), (K,)),
    "add": (lambda x, y: x + y, (X, Y)),
    "add alpha": (lambda x, y: torch.add(x, y, alpha=2.5), (X, Y)),
    "sub alpha": (lambda i, j: torch.sub(i, j, alpha=3), (K, J)),
    "rsub": (lambda x: 2 - x, (X,)),
    "rsub alpha": (lambda x, y: torch.rsub(x, y, alpha=2), (X, Y)),
    "add bool": (lambda b, i: (b + b, b * b, b + i, b + 1, b * 2.5), (B, K)),
    "weak": (lambda i, h: (i + 1.5, h + 1.5, h * 3, i * 2, i + 3.0), (K, H)),
    "0-d": (lambda h: h + torch.tensor(1.5, dtype=torch.float32), (H,)),
    "mixed": (lambda i, x, h: (i + x, h + x, h + i), (K, X, H)),
    "broadcast": (lambda x, y: x[:, :1] * y + y[:1], (X, Y)),
    "div": (lambda x, y, i, j: (x / y, i / 2, i / (j + 0.5), 1 / x), (X, Y, K, J)),
    "div trunc": (
        lambda x, y, i, j: (torch.div(x, y, rounding_mode="trunc"), torch.div(i, j, rounding_mode="trunc")),
        (X, Y, K, J),
    ),
    "div floor": (
        lambda x, y, i, j: (torch.div(x, y, rounding_mode="floor"), torch.div(i, j, rounding_mode="floor")),
        (X, Y, K, J),
    ),
    "floor divide": (lambda x, i, j: (i // j, i // 3, x // 0.1, x // 0.5, i // 2.5), (X, K, J)),
    "remainder": (lambda x, y, i, j: (x % y, i % j, i % 3, x % 1.5), (X, Y, K, J)),
    "fmod": (lambda x, y, i, j: (torch.fmod(x, y), torch.fmod(i, j), torch.fmod(x, 1.5)), (X, Y, K, J)),
    "pow": (lambda p, y, i: (p**y, p**2, p**0.5, p**-1, i**2, i**2.0, 2**p, 2**y, i.abs() ** i.abs()), (P, Y, K)),
    "float power": (lambda p, i: torch.float_power(p, 2), (P, K)),
    "rpow int": (lambda i: 2 ** i.abs(), (K,)),
    "atan2": (torch.atan2, (X, Y)),
    "hypot": (torch.hypot, (X, Y)),
    "maximum": (
        lambda x, y, b: (torch.maximum(x, y), torch.minimum(x, y), torch.max(x, y), torch.maximum(b, ~b)),
        (X, Y, B),
    ),
    "maximum of nan": (lambda n, y: (torch.maximum(n, y), torch.fmax(n, y), torch.fmin(n, y)), (N, Y)),
    "clamp": (
        lambda x, i: (
            x.clamp(-1, 1),
            x.clamp(min=0.5),
            x.clamp(max=0),
            i.clamp(-3, 3),
            i.clamp(0.5, 3),
            torch.clamp_min(x, 0.1),
            torch.clamp_max(x, 0.1),
        ),
        (X, K),
    ),
    "clamp tensors": (lambda x, y: (torch.clamp(x, y, y + 1), torch.clamp(x, min=y), torch.clamp(x, max=y)), (X, Y)),
    "clamp nan": (lambda n: n.clamp(-1, 1), (N,)),
    "lerp": (lambda x, y: (torch.lerp(x, y, 0.3), torch.lerp(x, y, x)), (X, Y)),
    "addcmul": (lambda x, y: (torch.addcmul(x, y, x, value=0.5), torch.addcdiv(x, x, y, value=2)), (X, Y)),
    "round": (lambda n, x: (torch.round(n), torch.round(x, decimals=2), torch.round(x * 100, decimals=-1)), (N, X)),
    "nan_to_num": (lambda n: (torch.nan_to_num(n), torch.nan_to_num(n, 1.0, 2.0, -3.0)), (N,)),
    "copysign": (lambda n, y: (torch.copysign(y, n), torch.copysign(y, -2.0)), (torch.where(N.isnan(), 1.0, N), Y)),
    "logaddexp": (torch.logaddexp, (X, Y)),
    "logaddexp infinite": (lambda n: torch.logaddexp(n, n), (torch.where(N.isnan(), 1.0, N),)),
    "xlogy": (torch.xlogy, (N, P)),
    "logit": (lambda u: (torch.logit(u), torch.logit(u, eps=0.2)), (U,)),
    "ldexp": (torch.ldexp, (X, J)),
    "heaviside": (torch.heaviside, (torch.where(N.isnan(), 1.0, N), Y)),
    "half": (lambda h: (h * h + 1, h / 3, torch.exp(h), h.clamp(-1, 1)), (H,)),
    "double": (lambda x: x.double() * 1.1 + 2, (X,)),
}

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "celu": lambda x: F.celu(x, 1.5),
    "elu": lambda x: (F.elu(x), F.elu(x, 0.7)),
    "gelu": lambda x: (F.gelu(x), F.gelu(x, approximate="tanh")),
    "glu": lambda x: (F.glu(x), F.glu(torch.cat([x, x]), 0)),
    "hardshrink": lambda x: F.hardshrink(x, 0.4),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardtanh": lambda x: (F.hardtanh(x), F.hardtanh(x, -0.5, 2)),
    "leaky_relu": lambda x: (F.leaky_relu(x), F.leaky_relu(x, 0.2)),
    "logsigmoid": F.logsigmoid,
    "log_softmax": lambda x: (F.log_softmax(x, 1), F.log_softmax(x, 0)),
    "mish": F.mish,
    "prelu": lambda x: (F.prelu(x, torch.tensor([0.1, 0.2, 0.3, 0.4])), F.prelu(x, torch.tensor([0.3]))),
    "relu": F.relu,
    "relu6": lambda x: F.relu6(x * 4),
    "rrelu": F.rrelu,
    "selu": F.selu,
    "silu": F.silu,
    "softmax": lambda x: (F.softmax(x, -1), F.softmax(x, 0), F.softmax(x, 1, dtype=torch.float64)),
    "softmin": lambda x: F.softmin(x, 1),
    "softplus": lambda x: (F.softplus(x), F.softplus(x * 20, 2.0), F.softplus(x, 1, 0.5)),
    "softshrink": F.softshrink,
    "softsign": F.softsign,
    "tanhshrink": F.tanhshrink,
    "threshold": lambda x: F.threshold(x, 0.2, 5.0),
    "in place": lambda x: F.relu_(x * 2) + F.silu(x + 1, inplace=True),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    function, inputs = FUNCTIONS[name]
    check_batches(function, *inputs, tolerance=1e-3 if any(x.dtype == torch.float16 for x in inputs) else 1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str) -> None:
    check_batches(ACTIVATIONS[name], X, tolerance=1e-5)


def test_activation_of_channels() -> None:
    x = torch.randn(2, 3, 4, 5)
    check_batches(nn.PReLU(3), x)
    check_batches(nn.Softmax2d(), x)


def test_high_level_activations_stay_whole() -> None:
    module = check(lambda x: F.hardswish(F.gelu(F.softplus(x))), X)
    assert [node.op_type for node in module.main] == ["Softplus", "Gelu", "HardSwish"]


def test_dropout_of_evaluation_vanishes() -> None:
    module = check(nn.Sequential(nn.Dropout(), nn.ReLU(), nn.Dropout2d()), torch.randn(2, 3, 4, 4))
    assert [node.op_type for node in module.main] == ["Relu"]
