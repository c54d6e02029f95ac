"""Models of `transformers` with small random weights against PyTorch: sizes fixed and open, and in 16 bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

import uair
from tests.frameworks.torch.harness import WARNINGS, check, leaves, relative_error, to_numpy
from tests.frameworks.torch.language import CASES, Case

pytestmark = WARNINGS

# Nodes at most, and those of torch.onnx.export(dynamo=True) of PyTorch 2.13 with its own optimizer, where it takes it.
NODES = {
    "bert": (43, 80),
    "distilbert": (43, 76),
    "gpt2": (43, 92),
    "gpt2_cached": (47, 96),
    "llama": (50, 136),
    "qwen2": (50, 142),
    "mixtral": (166, None),
    "gptj": (44, 137),
    "roformer": (55, 114),
    "t5": (114, None),
    "clip": (112, 179),
    "whisper": (120, 194),
    "mamba": (156, 214),
}
NEAR = {torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""What 16 bits allow: bf16 has three binary digits less than f16."""


def attentions(module: uair.Module) -> int:
    return [node.op_type for node in module.main].count("Attention")


@pytest.mark.parametrize("name", CASES)
def test_model(name: str) -> None:
    case = CASES[name]
    module = check(case.model(), *case.inputs(2, 7))
    assert attentions(module) == case.attention
    assert sum(len(graph) for graph in uair.optimize(module).all_graphs()) <= NODES[name][0]


@pytest.mark.parametrize("name", CASES)
def test_open_sizes(name: str) -> None:
    case = CASES[name]
    module = check(case.model(), *case.inputs(2, 7), dynamic_shapes=opened(case), others=[case.inputs(*case.other)])
    assert attentions(module) == case.attention
    found = {str(d) for t in module.main.inputs for d in t.type.dims if not isinstance(d, int)}
    assert found == set(pytree.tree_leaves(case.open))


def opened(case: Case) -> Any:
    """What may be open, as torch.export takes it."""
    dims = {name: torch.export.Dim(name, min=2, max=16) for name in pytree.tree_leaves(case.open)}
    named = pytree.tree_map(dims.__getitem__, case.open)
    return (named,) if case.takes_any else named


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    """The judge is the same model, weights rounded to 16 bits, computing in f32.

    PyTorch itself, computing in 16 bits, is up to twice the limit away from it in the models of many layers (CLIP,
    Whisper): each of its operators rounds its result, in an order of its own. Twice its distance is allowed then.
    """
    case = CASES[name]
    model, inputs = case.model().to(dtype), converted(case.inputs(2, 7), dtype)
    with torch.no_grad():
        eager = leaves(model(*inputs))
    module = uair.load(model, *inputs)
    given = [to_numpy(t) for t in pytree.tree_leaves(inputs)]
    feeds = dict(zip(module.main.input_names, given, strict=True))
    runs = [list(uair.run(each, feeds).values()) for each in (module, uair.optimize(module.clone()))]
    with torch.no_grad():
        exact = leaves(model.float()(*converted(inputs, torch.float32)))
    for found in runs:
        assert [x.dtype for x in found] == [to_numpy(x).dtype for x in eager]
        for ours, theirs, want in zip(found, eager, exact, strict=True):
            limit = max(NEAR[dtype], 2 * relative_error(to_numpy(theirs), to_numpy(want)))
            assert relative_error(ours, to_numpy(want)) <= limit


def converted(inputs: Any, dtype: torch.dtype) -> Any:
    """Inputs whose floats are of another type."""
    return pytree.tree_map(lambda t: t.to(dtype) if t.is_floating_point() else t, inputs)


def test_a_loop_over_an_open_length_is_refused() -> None:
    case = CASES["mamba"]
    dynamic = (({0: torch.export.Dim("b"), 1: torch.export.Dim("s")},),)
    with pytest.raises(uair.UairError, match="UAIR-E0130"):
        uair.load(case.model(), *case.inputs(2, 7), dynamic_shapes=dynamic)
