"""Recurrent layers against PyTorch: every layer stays one node."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import uair
from tests.frameworks.torch.harness import WARNINGS, check
from tests.frameworks.torch.models import LstmClassifier

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


def test_classifier() -> None:
    x = torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(2))
    check(LstmClassifier().eval(), x)
    open_ = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("steps")},)
    module = check(LstmClassifier().eval(), x, dynamic_shapes=open_, others=[[torch.randn(5, 3, 16)]])
    assert [n.op_type for n in module.main].count("LSTM") == 2


def test_initial_state_and_relu() -> None:
    check(torch.nn.RNN(5, 4, nonlinearity="relu"), X, torch.randn(1, 3, 4))
    check(torch.nn.LSTM(5, 4), X, (torch.randn(1, 3, 4), torch.randn(1, 3, 4)))


class Classifier(torch.nn.Module):
    """Token embeddings, recurrent layers, and a head on the last step."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 5)
        self.layer = LAYERS[kind](5, 4, batch_first=True, **options)
        self.head = torch.nn.Linear(4 * (1 + options.get("bidirectional", False)), 3)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, Any]:
        y, last = self.layer(self.embedding(tokens))
        return self.head(y[:, -1]), last


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}], ids=["plain", "two layers, both ways"]
)
@pytest.mark.parametrize("kind", LAYERS)
def test_open_number_of_steps(kind: str, options: dict[str, Any]) -> None:
    """torch.export alone fixes the number of steps to that of the example."""
    dim = torch.export.Dim
    tokens = torch.randint(0, 50, (3, 7), generator=torch.Generator().manual_seed(3))
    others = [[tokens[:, :1]], [tokens.repeat(1, 2)], [tokens[:2, :4]]]
    module = check(
        Classifier(kind, **options), tokens, dynamic_shapes=({0: dim("batch"), 1: dim("time")},), others=others
    )
    (given,) = module.main.inputs
    assert str(given.type) == "i64[batch,time]"
    layers = [n for n in module.main if n.op_type == kind]
    assert len(layers) == options.get("num_layers", 1)
    assert layers[0].loc.sources[0].kind.startswith("aten.")
    assert layers[0].loc.sources[0].name == "layer"


def test_a_packed_sequence_is_refused() -> None:
    class Packed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.LSTM(5, 4)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            y, _ = self.layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
            return pad_packed_sequence(y)[0]

    with pytest.raises(uair.UairError, match="packed sequence") as caught:
        uair.load(Packed().eval(), X, torch.tensor([7, 3, 5]))
    assert caught.value.code == "UAIR-E0130"
    assert "Packed, test_recurrent.py:" in caught.value.place
    assert "step length - 1" in caught.value.hint


@pytest.mark.parametrize("cell", [torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell])
def test_cell(cell: Any) -> None:
    check(cell(5, 4), X[0])


class Looped(torch.nn.Module):
    """A cell in a loop of Python over the steps; the outputs of all of them, and the last state."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.cell = kind(5, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state: Any = None
        outputs: list[torch.Tensor] = []
        for step in x:
            state = self.cell(step, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1), outputs[-1]


@pytest.mark.parametrize("cell", [torch.nn.LSTMCell, torch.nn.GRUCell, torch.nn.RNNCell])
def test_a_loop_over_a_cell_is_one_layer(cell: Any) -> None:
    module = uair.optimize(check(Looped(cell), X))
    found = [node.op_type for node in module.main]
    assert found.count(cell.__name__.removesuffix("Cell")) == 1 and len(found) <= 4, found
