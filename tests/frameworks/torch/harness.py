"""Holding an imported model against PyTorch itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

import uair
from uair.frontends.torch.live import view
from uair.ir.compare import difference
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of

# torch's own pytree tests for a class that it has deprecated, when it copies the structure of the inputs (torch 2.13).
WARNINGS = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning")


class Function(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def as_module(model: Callable[..., Any]) -> torch.nn.Module:
    """A model to be traced, in evaluation."""
    return (model if isinstance(model, torch.nn.Module) else Function(model)).eval()


def to_numpy(value: Any) -> Any:
    """A tensor or number as an array."""
    return view(value, "value") if isinstance(value, torch.Tensor) else np.asarray(value)


def leaves(value: Any) -> list[Any]:
    """The tensors and numbers of a result, in order, without None."""
    return [leaf for leaf in pytree.tree_leaves(value) if leaf is not None]


def relative_error(ours: Any, theirs: Any) -> float:
    """The greatest |a - b| over the greatest |b| of the finite elements; infinite where what is not finite differs."""
    a, b = (np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64) for x in (ours, theirs))
    finite = np.isfinite(b)
    if not np.array_equal(np.where(finite, 0, a), np.where(finite, 0, b), equal_nan=True):
        return float("inf")
    gap = np.abs(np.where(finite, a - np.where(finite, b, 0), 0)).max(initial=0.0)
    return float(gap / max(np.abs(b[finite]).max(initial=0.0), 1e-30)) if gap else 0.0


def compare(
    module: Module, model: torch.nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any] | None, tolerance: float
) -> None:
    """Run a module by the interpreter and its model by PyTorch, and hold every output against the other."""
    with torch.no_grad():
        expected = leaves(model(*pytree.tree_map(_copy, tuple(inputs)), **pytree.tree_map(_copy, dict(kwargs or {}))))
    given = [leaf for leaf in pytree.tree_leaves((tuple(inputs), dict(kwargs or {}))) if isinstance(leaf, torch.Tensor)]
    names = module.main.input_names
    assert len(names) == len(given), names
    found = uair.run(module, {name: to_numpy(t) for name, t in zip(names, given, strict=True)})
    assert len(found) == len(expected), (list(found), len(expected))
    for (name, ours), theirs in zip(found.items(), expected, strict=True):
        want = to_numpy(theirs)
        assert ours.shape == want.shape, (name, ours.shape, want.shape)
        if isinstance(theirs, torch.Tensor):
            assert ours.dtype == want.dtype, (name, ours.dtype, want.dtype)
        error = relative_error(ours, want)
        assert error <= tolerance, f"{name}: relative error {error:.2g}\n{ours}\n{want}"


def _copy(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, torch.Tensor) else leaf


def check(
    model: Callable[..., Any],
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    others: Sequence[Sequence[Any]] = (),
    tolerance: float = 1e-4,
    optimize: bool = True,
) -> Module:
    """Import a model, and hold it against PyTorch before and after `uair.optimize`.

    Args:
        model: a module or a function of tensors.
        inputs: what it is traced with, and run with.
        kwargs: the same by keyword.
        dynamic_shapes: as torch.export takes it.
        others: inputs of other sizes that the same imported module is run with.
        tolerance: greatest relative error.
        optimize: whether the optimized module is held against PyTorch, too.

    Returns:
        The module as imported.
    """
    traced = as_module(model)
    module = uair.load(traced, *inputs, kwargs=kwargs, dynamic_shapes=dynamic_shapes)
    verify(module)
    again = parse_module(print_module(module), weights=weights_of(module))
    assert not difference(module, again)
    rounds = [module]
    if optimize:
        rounds.append(uair.optimize(module.clone()))
    for each in rounds:
        compare(each, traced, inputs, kwargs, tolerance)
        for other in others:
            compare(each, traced, other, None, tolerance)
    return module


def check_batches(model: Callable[..., Any], *inputs: Any, tolerance: float = 1e-4, batched: int | None = None) -> None:
    """`check` with the sizes of the example, then with the first axis of the inputs open, for two sizes of it.

    Args:
        model: a module or a function of tensors.
        inputs: of which each one with axes has the same first extent, not 1.
        tolerance: greatest relative error.
        batched: how many of the inputs, from the first, are batched; all when not given.
    """
    check(model, *inputs, tolerance=tolerance)
    count = len(inputs) if batched is None else batched
    shapes = tuple({0: torch.export.Dim.DYNAMIC} if i < count else None for i in range(len(inputs)))
    other = [torch.cat([x, x.flip(0)]) if i < count else x for i, x in enumerate(inputs)]
    check(
        model,
        *inputs,
        dynamic_shapes=(shapes,) if not isinstance(model, torch.nn.Module) else shapes,
        others=[other],
        tolerance=tolerance,
    )
