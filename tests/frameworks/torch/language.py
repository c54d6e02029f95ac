"""Models of `transformers` with small random configurations: what they are traced with, and which sizes may be open."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import torch
from torch import nn

_find = importlib.util.find_spec
with pytest.MonkeyPatch.context() as _patch:
    # transformers imports torchvision when it finds it; the wheel beside a CPU build of torch cannot be imported.
    _patch.setattr(importlib.util, "find_spec", lambda name, *a: None if "torchvision" in name else _find(name, *a))
    import transformers as hf

VOCABULARY = 50
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2, "use_cache": False}
DISTILBERT: dict[str, Any] = {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
MIXTRAL: dict[str, Any] = {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
GPTJ: dict[str, Any] = {**GPT2, "rotary_dim": 4}
ROFORMER: dict[str, Any] = {**SMALL, "embedding_size": 32}
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "use_cache": False,
}
CLIP: dict[str, Any] = {
    "text_config": {
        **SMALL,
        "projection_dim": 24,
        "bos_token_id": 0,
        "eos_token_id": VOCABULARY - 1,
        "max_position_embeddings": 20,
    },
    "vision_config": {
        **{k: v for k, v in SMALL.items() if k != "vocab_size"},
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 24,
    },
    "projection_dim": 24,
}
WHISPER: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_mel_bins": 8,
    "max_source_positions": 12,
    "max_target_positions": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "use_cache": False,
}
MAMBA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "state_size": 4,
    "use_cache": False,
}


class Named(nn.Module):
    """A model of transformers that takes its inputs by position, under these names, and gives a tuple of tensors."""

    def __init__(self, model: nn.Module, *names: str) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=True)
        wanted = ("last_hidden_state", "logits_per_image", "text_embeds", "image_embeds", "encoder_last_hidden_state")
        return tuple(found[name] for name in wanted if name in found)


class Cached(nn.Module):
    """GPT-2 with its cache as tensors: ids and, for each layer, the past keys and values in; logits and the new out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, ids: torch.Tensor, past: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        cache = hf.DynamicCache(past)
        found = self.model(input_ids=ids, cache=cache, use_cache=True)
        return found.last_hidden_state, [(layer.keys, layer.values) for layer in cache.layers]


def randomized(model: nn.Module) -> nn.Module:
    """A model in evaluation whose normalizations and biases are not what they begin with, ones and zeros."""
    generator = torch.Generator().manual_seed(1)
    for name, p in model.named_parameters():
        if p.ndim == 1 and not name.endswith((".D", "dt_proj.bias")):  # Mamba's steps and gains are not free
            p.data += torch.randn(p.shape, generator=generator) * 0.2
    return model.eval()


@attrs.frozen
class Case:
    """A model with inputs.

    Attributes:
        make: makes the module.
        inputs: makes the inputs, of a batch and a length.
        open: what of them may be open: `b` the batch, `s` the length; one mapping of axes for each input.
        attention: how often attention is one node in it.
        other: a batch and a length that the model, its sizes open, is run with too.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[int, int], tuple[Any, ...]]
    open: tuple[Any, ...]
    attention: int
    other: tuple[int, int] = (3, 5)

    @property
    def takes_any(self) -> bool:
        """Whether the module takes any number of inputs, of which torch.export then wants the sizes as one."""
        return self.make is not _cached

    def model(self) -> nn.Module:
        """The module, always the same."""
        torch.manual_seed(0)
        return randomized(self.make())


def ids(batch: int, length: int) -> torch.Tensor:
    """Numbers of tokens."""
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(3))


def noise(*shape: int) -> torch.Tensor:
    """Pictures, sounds and states."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def _ids(batch: int, length: int) -> tuple[Any, ...]:
    return (ids(batch, length),)


def _pair(batch: int, length: int) -> tuple[Any, ...]:
    return ids(batch, length), ids(batch, length + 2)


def _cached() -> nn.Module:
    return Cached(hf.GPT2Model(hf.GPT2Config(**GPT2)))


IDS = ({0: "b", 1: "s"},)
CASES: dict[str, Case] = {
    "bert": Case(lambda: Named(hf.BertModel(hf.BertConfig(**SMALL)), "input_ids"), _ids, IDS, 2),
    "distilbert": Case(lambda: Named(hf.DistilBertModel(hf.DistilBertConfig(**DISTILBERT)), "input_ids"), _ids, IDS, 2),
    "gpt2": Case(lambda: Named(hf.GPT2Model(hf.GPT2Config(**GPT2, use_cache=False)), "input_ids"), _ids, IDS, 2),
    "gpt2_cached": Case(
        _cached,
        lambda b, s: (ids(b, 3), [(noise(b, 4, s, 8), noise(b, 4, s, 8) * 0.5)] * 2),
        ({0: "b", 1: "t"}, [({0: "b", 2: "s"}, {0: "b", 2: "s"})] * 2),
        2,
    ),
    "llama": Case(lambda: Named(hf.LlamaModel(hf.LlamaConfig(**GROUPED)), "input_ids"), _ids, IDS, 2),
    "qwen2": Case(lambda: Named(hf.Qwen2Model(hf.Qwen2Config(**GROUPED)), "input_ids"), _ids, IDS, 2),
    "mixtral": Case(lambda: Named(hf.MixtralModel(hf.MixtralConfig(**MIXTRAL)), "input_ids"), _ids, IDS, 2),
    "gptj": Case(lambda: Named(hf.GPTJModel(hf.GPTJConfig(**GPTJ, use_cache=False)), "input_ids"), _ids, IDS, 2),
    "roformer": Case(lambda: Named(hf.RoFormerModel(hf.RoFormerConfig(**ROFORMER)), "input_ids"), _ids, IDS, 0),
    "t5": Case(
        lambda: Named(hf.T5Model(hf.T5Config(**T5)), "input_ids", "decoder_input_ids"),
        _pair,
        ({0: "b", 1: "s"}, {0: "b", 1: "t"}),
        6,
    ),
    "clip": Case(
        lambda: Named(hf.CLIPModel(hf.CLIPConfig(**CLIP)), "input_ids", "pixel_values"),
        lambda b, s: (ids(b, s), noise(b, 3, 32, 32)),
        ({0: "b", 1: "s"}, {0: "b"}),
        4,
    ),
    "whisper": Case(
        lambda: Named(hf.WhisperModel(hf.WhisperConfig(**WHISPER)), "input_features", "decoder_input_ids"),
        lambda b, s: (noise(b, 8, 24), ids(b, s)),
        ({0: "b"}, {0: "b", 1: "s"}),
        6,
    ),
    "mamba": Case(lambda: Named(hf.MambaModel(hf.MambaConfig(**MAMBA)), "input_ids"), _ids, ({0: "b"},), 0, (3, 7)),
}
