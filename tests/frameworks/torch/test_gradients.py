"""Gradients of imported models against PyTorch's autograd, in f64: all cases of the other files, and networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import uair
from tests.frameworks.torch import (
    test_attention,
    test_convolution,
    test_elementwise,
    test_indexing,
    test_linear,
    test_normalization,
    test_pooling,
    test_reduction,
    test_resize,
    test_selection,
    test_shape,
)
from tests.frameworks.torch.harness import WARNINGS, as_module, leaves, relative_error, to_numpy
from tests.frameworks.torch.models import LstmClassifier, UNet, randomized, torchvision_model
from uair.codegen.reference import Differentiator

FLAT = pytest.mark.filterwarnings("ignore:The tensor attributes self.lstm._flat_weights:UserWarning")
pytestmark = [WARNINGS, FLAT, test_convolution.EVEN]
Case = tuple[Callable[..., Any], tuple[Any, ...]]
TOLERANCE = 1e-6
ZERO = 1e-13
"""Gradients below are rounding errors of 0: of a bias that is normalised away."""
SINGLE = 1e-4
"""In f32, for functions that have constants of that type."""
IN_SINGLE = ("indexing: index_put accumulate", "selection: quantile", "selection: grids", "activation: prelu")
_NONE = "PyTorch has no derivative"
_NAN = "where an element is NaN, PyTorch's choice of who gets the gradient is its own"
NOT_COMPARED = {
    "elementwise: floor divide": _NONE,
    "elementwise: heaviside": _NONE,
    "selection: bincount": _NONE,
    "indexing: index_reduce": "PyTorch warns that it is not finished",
    "indexing: scatter": "PyTorch refuses its own gradient, of another shape than the updates",
    "elementwise: sgn": "PyTorch gives a tensor of zeros that NumPy cannot see",
    "elementwise: ldexp": "PyTorch gives 0 where the exponent is a negative integer",
    "elementwise: xlogy": "at x = 0 it is 0 for every y; PyTorch gives log(y) there",
    "elementwise: maximum of nan": _NAN,
    "selection: median with NaN": _NAN,
    "selection: cummax with NaN": _NAN,
    "reduction: max of nan": _NAN,
    "shape: identities": "x.detach() is x, whose gradient PyTorch is told to leave out",
}


def _tensors(inputs: Any) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def cases() -> Iterator[tuple[str, Case]]:
    """The models of the other files, with their inputs."""
    for file, table in (
        ("elementwise", test_elementwise.FUNCTIONS),
        ("attention", test_attention.CASES),
        ("linear", test_linear.FUNCTIONS),
        ("indexing", test_indexing.CASES),
        ("selection", test_selection.CASES),
        ("normalization", test_normalization.LAYERS),
        ("pooling", test_pooling.LAYERS),
        ("reduction", test_reduction.FUNCTIONS),
        ("shape", test_shape.FUNCTIONS),
    ):
        for name, (model, inputs) in table.items():
            yield f"{file}: {name}", (model, _tensors(inputs))
    for name, activation in test_elementwise.ACTIVATIONS.items():
        yield f"activation: {name}", (activation, (test_elementwise.X,))
    for name, pad in test_shape.PADS.items():
        yield f"pad: {name}", (pad, (test_shape.IMAGE,))
    for name, blocks in test_shape.BLOCKS.items():
        yield f"blocks: {name}", (blocks, (test_shape.IMAGE,))
    for way in test_resize.WAYS:
        yield f"resize: {' '.join(map(str, way.values()))}", (_Resized(way), (test_resize.X,))
    for name, distance in test_normalization.FUNCTIONS.items():
        yield f"distance: {name}", (distance, (test_normalization.ROWS,))
    for kinds, layers, outputs in (
        ((nn.Conv1d, nn.Conv2d, nn.Conv3d), test_convolution.LAYERS, 8),
        ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), test_convolution.TRANSPOSED, 6),
    ):
        for name, (rank, options) in layers.items():
            layer = kinds[rank - 1](4, outputs, **options)
            yield f"{kinds[0].__name__}: {name}", (layer, (torch.randn(2, 4, *test_convolution.EXTENTS[rank]),))


class _Resized(nn.Module):
    """Resampling with these options."""

    def __init__(self, way: dict[str, Any]) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, **self.way)


CASES = {name: case for name, case in cases() if name not in NOT_COMPARED}


def check_gradients(
    model: Callable[..., Any], inputs: tuple[Any, ...], *, optimize: bool, tolerance: float = TOLERANCE
) -> int:
    """Hold gradients of the inputs, and of parameters that stay as they were, against autograd, for random seeds.

    Returns how many there were.
    """
    dtype = torch.float64 if tolerance < SINGLE else torch.float32
    traced = as_module(model)
    traced = traced if dtype == torch.float32 else copy.deepcopy(traced).to(dtype)  # the cases are shared
    wide = [x.to(dtype) if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in inputs]
    leaves_in = [
        x.clone().requires_grad_() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in wide
    ]
    module = uair.load(traced, *wide)
    if optimize:
        module = uair.optimize(module)
    parameters = {name: p for name, p in traced.named_parameters() if p.is_floating_point()}
    kept = [t for t in module.main.constants() if t.name in parameters and t.type.size == parameters[t.name].numel()]
    constants = {} if optimize else {t.name: t for t in kept}
    wanted = [x for x in leaves_in if isinstance(x, torch.Tensor) and x.requires_grad]
    results = leaves(traced(*[x.clone() if isinstance(x, torch.Tensor) else x for x in leaves_in]))
    named = zip(module.main.output_names, results, strict=True)
    pairs = [(name, y) for name, y in named if getattr(y, "requires_grad", False)]
    if not wanted or not pairs:
        return 0
    generator = torch.Generator().manual_seed(0)
    seeds = {name: torch.randn(y.shape, generator=generator).to(y.dtype) for name, y in pairs}
    sources = [*wanted, *(parameters[name] for name in constants)]
    expected = torch.autograd.grad([y for _, y in pairs], sources, list(seeds.values()), allow_unused=True)
    floats = [x for x in wide if isinstance(x, torch.Tensor)]
    names = [n for n, x in zip(module.main.input_names, floats, strict=True) if x.is_floating_point()]
    tensors = [*(module.main.input(name) for name in names), *constants.values()]
    found = Differentiator(module, tensors).run(
        {name: to_numpy(x) for name, x in zip(module.main.input_names, floats, strict=True)},
        lambda _: {name: to_numpy(seed) for name, seed in seeds.items()},
    )
    for tensor, source, want in zip(tensors, sources, expected, strict=True):
        shape = tuple(source.shape)
        ours = found.gradients.get(tensor, np.zeros(shape))
        assert ours.size == source.numel()
        theirs = np.zeros(shape) if want is None else to_numpy(want)
        if np.abs(theirs).max(initial=0) < ZERO:
            assert np.abs(ours).max(initial=0) < ZERO
            continue
        error = relative_error(ours.reshape(shape), theirs)  # axes of extent 1 are added to some parameters
        assert error <= tolerance, f"{tensor!r}: relative error {error:.2g}"
    return len(tensors)


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    model, inputs = CASES[name]
    check_gradients(model, inputs, optimize=False, tolerance=SINGLE if name in IN_SINGLE else TOLERANCE)


def test_most_cases_have_gradients() -> None:
    """What is left out is the exception, not the rule."""
    with_floats = [case for case in CASES.values() if any(getattr(x, "is_floating_point", bool)() for x in case[1])]
    assert len(with_floats) > 300
    assert set(NOT_COMPARED) <= {name for name, _ in cases()}


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "resnet18": (lambda: torchvision_model("resnet18"), (1, 3, 64, 64), 30),
    "mobilenet_v3_small": (lambda: torchvision_model("mobilenet_v3_small"), (1, 3, 64, 64), 60),
    "densenet121": (lambda: torchvision_model("densenet121"), (1, 3, 32, 32), 200),
    "unet": (lambda: randomized(UNet()), (2, 3, 16, 12), 10),
    "lstm": (LstmClassifier, (2, 6, 16), 2),
    "transformer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8), 8),
    "gelu transformer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=True, batch_first=True),
        (2, 5, 8),
        8,
    ),
    "group normalized": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.GroupNorm(2, 8), nn.SiLU(),
            nn.ConvTranspose2d(8, 4, 2, stride=2),
            nn.InstanceNorm2d(4, affine=True), nn.Hardswish(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 5),
        ),
        (2, 3, 8, 8),
        8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("optimize", [False, True], ids=["imported", "optimised"])
@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, optimize: bool) -> None:
    """As imported also the parameters, which are others when they are folded."""
    make, shape, parameters = NETWORKS[name]
    torch.manual_seed(0)
    model = make().eval()
    count = check_gradients(
        model, (torch.randn(shape),), optimize=optimize, tolerance=SINGLE if name == "lstm" else TOLERANCE
    )
    assert count >= (1 if optimize else parameters)
