"""Makes the models in the folder flax_networks/ beside this file: what networks of Flax look like in ONNX.

Run by hand, in an environment with JAX, Flax and jax2onnx, which the tests do not need:

    python tests/frontends/onnx/flax_models.py

Each has its input and the output that JAX computes beside it, in NAME.npz. Made with JAX 0.10.2, Flax 0.12.8 and
jax2onnx.
"""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportPossiblyUnboundVariable=false

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from flax import linen as nn
from jax2onnx import to_onnx

FOLDER = Path(__file__).with_name("flax_networks")
HEADS, WIDTH, WORDS = 4, 16, 20


class Encoder(nn.Module):
    """A block of a transformer: LayerNorm, attention, Gelu."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """[batch, places, WIDTH] -> the same."""
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=HEADS)(y, y)
        return x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(2 * WIDTH)(nn.LayerNorm()(x))))


class Decoder(nn.Module):
    """A block of a language model: embedding, RMSNorm, causal attention, SiLU, LogSoftmax."""

    @nn.compact
    def __call__(self, words: Any) -> Any:
        """[batch, places] -> [batch, places, WORDS]."""
        x, y = nn.Embed(WORDS, WIDTH)(words), nn.make_causal_mask(words)
        n = nn.RMSNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=HEADS)(n, n, mask=y)
        n = nn.RMSNorm()(x)
        x = x + nn.Dense(WIDTH)(nn.silu(nn.Dense(2 * WIDTH)(n)) * nn.Dense(2 * WIDTH)(n))
        return nn.log_softmax(nn.Dense(WORDS)(x))


class Sequence(nn.Module):
    """A convolution over a sequence, activations, and a maximum over the places."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        """[batch, places, 6] -> [batch, 5]."""
        x = nn.gelu(nn.LayerNorm()(nn.Conv(WIDTH, (5,), padding="VALID")(x)), approximate=False)
        x = jax.nn.softplus(x) + jax.nn.elu(x) + jax.nn.leaky_relu(x) + jax.nn.hard_sigmoid(x) + jax.nn.relu6(x)
        return nn.softmax(nn.LayerNorm()(nn.Dense(5)(jnp.max(x, axis=1))))


def main() -> None:
    """Write the files."""
    rng = np.random.default_rng(0)
    networks: dict[str, tuple[nn.Module, np.ndarray]] = {
        "encoder": (Encoder(), rng.standard_normal((2, 7, WIDTH)).astype(np.float32)),
        "decoder": (Decoder(), rng.integers(0, WORDS, (2, 7)).astype(np.int32)),
        "sequence": (Sequence(), rng.standard_normal((2, 12, 6)).astype(np.float32)),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, (network, x) in networks.items():
        drawn = network.init(jax.random.key(0), x)
        weights = jax.tree.map(lambda a: a + 0.1 * rng.standard_normal(a.shape).astype(a.dtype), drawn)
        apply = functools.partial(network.apply, weights)
        onnx.save(to_onnx(apply, [jax.ShapeDtypeStruct(x.shape, x.dtype)]), FOLDER / f"{name}.onnx")
        np.savez_compressed(FOLDER / f"{name}.npz", x=x, y=np.asarray(apply(x)))


if __name__ == "__main__":
    main()
