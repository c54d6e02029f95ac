"""In-place operators and writes through views, against eager PyTorch.

The programs are run with PyTorch's own operators, so that only the change of the program is tested here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import torch
from torch import nn

from tests.frameworks.torch.programs import run_program
from uair.frontends.torch import live, writes
from uair.frontends.torch.errors import TorchMutationError
from uair.frontends.torch.mutation import functionalised
from uair.frontends.torch.program import Program

# torch's own pytree tests for a class that it has deprecated, when it copies the structure of the inputs (torch 2.13).
pytestmark = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning")
X = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(1))


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def whole(x: torch.Tensor) -> Any:
    y = x + 1
    y.relu_().mul_(2).add_(x)
    return y, y.sum()


def through_select_and_slice(x: torch.Tensor) -> Any:
    y = x.clone()
    y[:, 0] = 3.0
    y[..., ::2] += x[..., ::2]
    y[1, 2:, 1:-1] *= -1
    return y


def through_reshapes(x: torch.Tensor) -> Any:
    y = x.clone()
    flat = y.view(2, -1)
    flat[:, 3:9].neg_()
    y.flatten(1).unflatten(1, (6, 4)).select(1, 2).zero_()
    y.unsqueeze(0).squeeze(0).clamp_(min=-0.5)
    return y, flat


def through_transposes(x: torch.Tensor) -> Any:
    y = x.clone()
    y.transpose(1, 2)[:, 1].exp_()
    y.permute(2, 0, 1)[3].fill_(7)
    y.movedim(0, -1)[1:3, ..., 0].sub_(2)
    y.mT[0].add_(y.swapaxes(1, 2)[1])
    y[0].T[2].mul_(3)
    return y


def views_see_writes(x: torch.Tensor) -> Any:
    y = x.clone()
    row, column = y[:, 1], y[..., 2]
    row.add_(100)
    column.mul_(2)
    late = row + 1
    y.sub_(5)
    return late, row, column, y


def through_parts(x: torch.Tensor) -> Any:
    y = x.clone()
    first, second = y.chunk(2, dim=1)
    first.zero_()
    second += 1
    a, b, c = y.split([1, 2, 3], dim=2)
    b.copy_(a + c[..., :1])
    y.unbind(0)[1].neg_()
    y.tensor_split(3, dim=2)[2].sigmoid_()
    return y, a, second


def diagonals(x: torch.Tensor) -> Any:
    square = x[0, :, :4].clone()
    square.diagonal().add_(10)
    square.diagonal(1).fill_(-1)
    square.fill_diagonal_(0.5)
    return square


def masks_and_indices(x: torch.Tensor) -> Any:
    y = x.clone()
    y[y > 0.5] = 0.0
    y[0, [0, 2]] = 1.0
    y.masked_fill_(y < -0.5, -9.0)
    y.index_add_(2, torch.tensor([1, 3]), x[..., :2])
    y.scatter_(1, torch.zeros(2, 1, 6, dtype=torch.int64), 4.0)
    y.index_copy_(0, torch.tensor([1]), x[:1])
    return y


def element_types(x: torch.Tensor) -> Any:
    half = x.to(torch.float16)
    half.add_(x)
    flags = x.clone()
    flags.gt_(0)
    counts = torch.zeros(2, 4, 6, dtype=torch.int32)
    counts.copy_(x * 3)
    mask = x > 0
    mask &= x < 1
    return half, flags, counts, mask


def copies_are_no_views(x: torch.Tensor) -> Any:
    y = x + 0
    copy = y.permute(0, 2, 1).reshape(2, 24)
    double = y.to(torch.float64)
    double.add_(1)
    copy.relu_()
    same = y.to(torch.float32)
    same.add_(1)
    return copy, double, same, y.detach().mul_(2)


def writes_what_it_reads(x: torch.Tensor) -> Any:
    y = x.clone()
    y[:, 1:] = y[:, :-1].clone()
    y.add_(y)
    y[0], y[1] = y[1].clone(), y[0].clone()
    return y


def result_given(x: torch.Tensor) -> Any:
    y = torch.empty_like(x)
    torch.add(x, 2, out=y)
    torch.exp(x, out=y)
    return y


def inside_a_branch(x: torch.Tensor) -> Any:
    def up(t: torch.Tensor) -> torch.Tensor:
        t = t.clone()
        t[0] += 1
        return t

    return torch.cond(x.sum() > 0, up, lambda t: t.neg(), (x,))


def changes_its_input(x: torch.Tensor) -> Any:
    x[:, 0].mul_(2)
    return x.sum()


FUNCTIONS = [
    whole,
    through_select_and_slice,
    through_reshapes,
    through_transposes,
    views_see_writes,
    through_parts,
    diagonals,
    masks_and_indices,
    element_types,
    copies_are_no_views,
    writes_what_it_reads,
    result_given,
    inside_a_branch,
    changes_its_input,
]


def read(module: nn.Module, *inputs: torch.Tensor) -> Program:
    return live.read(torch.export.export(module.eval(), inputs, strict=False))


def assert_no_writes(program: Program) -> None:
    assert not [call.target for call in program.graph.calls if writes.is_write(call)]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_a_program_without_writes_gives_what_the_module_gives(function: Callable[..., Any]) -> None:
    program = functionalised(read(Function(function), X.clone()))
    assert_no_writes(program)
    fed = X.clone()
    expected = function(fed)
    expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    if not torch.equal(fed, X):
        expected.append(fed)
        assert program.output_names[-1] == "inputs_0.new"
    assert len(program.output_names) == len(expected)
    for got, wanted in zip(run_program(program, X.clone()), expected, strict=True):
        assert got.dtype is wanted.dtype
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)


def test_a_program_without_in_place_operators_stays_as_it_is() -> None:
    program = read(Function(lambda x: x.relu().permute(0, 2, 1)), X)
    assert functionalised(program) is program


def test_the_same_view_taken_twice_is_one_value() -> None:
    """`y[:, :3] += x` reads the slice, adds, takes the slice again and copies: one slice and one slice_scatter do."""

    def function(x: torch.Tensor) -> torch.Tensor:
        y = x + 1
        y[:, :3] += x[:, :3]
        return y

    program = functionalised(read(Function(function), X))
    targets = [call.target.split(".")[1] for call in program.graph.calls]
    assert sorted(targets) == ["add", "add", "slice", "slice", "slice_scatter"]


class Cache(nn.Module):
    """Keeps what it has seen, as a decoder keeps keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(4, 6))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        self.seen.index_copy_(0, at, x)
        self.calls += 1
        return self.seen @ x.T


@pytest.mark.parametrize("by_torch", [False, True], ids=["by-uair", "by-torch"])
def test_state_that_results_depend_on_becomes_an_output_and_the_rest_goes(by_torch: bool) -> None:
    module, x, at = Cache(), X[0, :2], torch.tensor([1, 3])
    exported = torch.export.export(module, (x, at), strict=False)
    program = functionalised(live.read(exported.run_decompositions({}) if by_torch else exported))
    assert program.output_names == ("output", "seen")
    assert program.mutations == {}
    assert not [call for call in program.graph.calls if call.types[0] is not None and call.types[0].shape == ()]
    result, seen = run_program(program, x, at)
    torch.testing.assert_close(result, module(x, at))
    torch.testing.assert_close(seen, module.seen)


def unknown_if_view(x: torch.Tensor) -> Any:
    y = x.permute(0, 2, 1) + 0
    z = y.reshape(2, 24)
    z.add_(1)
    return y, z


def overlapping(x: torch.Tensor) -> Any:
    y = x.clone()
    y.as_strided((2, 3), (1, 2)).add_(1)
    return y


def resized(x: torch.Tensor) -> Any:
    y = x.clone()
    y.unfold(2, 2, 2)[..., 0].zero_()
    return y


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (unknown_if_view, "aten.reshape.default"),
        (overlapping, "aten.as_strided.default"),
        (resized, "aten.unfold.default"),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_what_cannot_be_followed_is_refused_with_its_place(function: Callable[..., Any], named: str) -> None:
    program = read(Function(function), X)
    with pytest.raises(TorchMutationError, match=named) as caught:
        functionalised(program)
    assert "test_mutation.py:" in caught.value.place
    assert "run_decompositions" in caught.value.hint


def test_what_cannot_be_followed_is_what_pytorch_can() -> None:
    """The hint is right: decomposed by PyTorch, the refused programs need nothing more."""
    exported = torch.export.export(Function(unknown_if_view).eval(), (X,), strict=False).run_decompositions({})
    program = functionalised(live.read(exported))
    assert_no_writes(program)
    for got, wanted in zip(run_program(program, X), unknown_if_view(X), strict=True):
        torch.testing.assert_close(got, wanted)


def test_an_operator_of_somebody_that_writes_is_refused() -> None:
    program = read(Function(lambda x: x.relu()), X)
    (call,) = program.graph.calls
    graph = attrs.evolve(program.graph, calls=(attrs.evolve(call, target="mine.scale_.default"),))
    with pytest.raises(TorchMutationError, match=r"mine\.scale_\.default"):
        functionalised(attrs.evolve(program, graph=graph))
