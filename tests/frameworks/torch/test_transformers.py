"""Models of `transformers` with small random weights against PyTorch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch

import uair
from tests.frameworks.torch.harness import compare

_find = importlib.util.find_spec
with pytest.MonkeyPatch.context() as _patch:
    # transformers imports torchvision when it finds it; the wheel beside a CPU build of torch cannot be imported.
    _patch.setattr(importlib.util, "find_spec", lambda name, *a: None if "torchvision" in name else _find(name, *a))
    import transformers as hf

IDS = torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(3))
SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
DISTILBERT: dict[str, Any] = {"vocab_size": 50, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
GPT2: dict[str, Any] = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "use_cache": False}
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2, "use_cache": False}
MODELS: dict[str, tuple[Callable[[], Any], int]] = {
    "bert": (lambda: hf.BertModel(hf.BertConfig(**SMALL)), 2),
    "distilbert": (lambda: hf.DistilBertModel(hf.DistilBertConfig(**DISTILBERT)), 2),
    "gpt2": (lambda: hf.GPT2Model(hf.GPT2Config(**GPT2, bos_token_id=0, eos_token_id=0)), 2),
    "llama": (lambda: hf.LlamaModel(hf.LlamaConfig(**GROUPED)), 2),
    "qwen2": (lambda: hf.Qwen2Model(hf.Qwen2Config(**GROUPED)), 2),
}
"""A model, and how often attention is one node in it."""


@pytest.mark.filterwarnings("ignore")  # of transformers and of torch about each other's deprecated functions
@pytest.mark.parametrize("name", MODELS)
def test_model(name: str) -> None:
    make, count = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    model.config.return_dict = False
    module = uair.load(model, IDS)
    assert [n.op_type for n in module.main].count("Attention") == count
    compare(module, model, [IDS], None, 1e-4)
    compare(uair.optimize(module), model, [IDS], None, 1e-4)
