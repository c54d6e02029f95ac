"""Recurrent layers against PyTorch: every layer stays one node."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.frameworks.torch.harness import WARNINGS, check

# torch's recurrent modules set an attribute of their own in forward, of which torch.export warns (torch 2.13).
pytestmark = [WARNINGS, pytest.mark.filterwarnings("ignore:The tensor attribute:UserWarning")]
X = torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(2))
LAYERS = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "RNN": torch.nn.RNN}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two layers, both ways": {"num_layers": 2, "bidirectional": True},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", LAYERS)
def test_layer(kind: str, options: str) -> None:
    layer = LAYERS[kind](5, 4, **OPTIONS[options])
    module = check(layer, X)
    assert [n.op_type for n in module.main].count(kind) == OPTIONS[options].get("num_layers", 1)


def test_initial_state_and_relu() -> None:
    check(torch.nn.RNN(5, 4, nonlinearity="relu"), X, torch.randn(1, 3, 4))
    check(torch.nn.LSTM(5, 4), X, (torch.randn(1, 3, 4), torch.randn(1, 3, 4)))


@pytest.mark.parametrize("cell", [torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell])
def test_cell(cell: Any) -> None:
    check(cell(5, 4), X[0])
