"""Transformers of the sizes of BERT-base and GPT-2 with random weights, spelled out as exporters leave them.

`python -m bench.transformer_models FOLDER [NAME ...]` builds them and prints their paths: `bert_base` (418 MiB), `gpt2`
(474 MiB) and `decoder_3gb`, whose weights lie beside the model. They go to a folder of the caller's choice because they
are large; `bench.compile_time --models FILE` measures them.

LayerNorm, Gelu and attention are many small nodes here, biases are Adds, heads are split by Reshape and
Transpose: what the tracing exporters of PyTorch write at opset 17.
"""

# pyright: reportUnknownMemberType=false
# onnx's own annotations leave type arguments open.

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]
PAGE = 4096


@attrs.frozen
class Size:
    """Extents of a transformer.

    Attributes:
        layers: number of layers.
        hidden: width.
        heads: of attention.
        vocabulary: rows of the table of words.
        positions: rows of the table of positions.
        causal: whether a position attends to those before it only.
        head: whether the hidden values become logits by a matrix of the size of the table of words.
        external: whether the weights lie in a file beside the model.
    """

    layers: int
    hidden: int
    heads: int
    vocabulary: int
    positions: int
    causal: bool = False
    head: bool = False
    external: bool = False


SIZES = {
    "bert_base": Size(12, 768, 12, 30522, 512),
    "gpt2": Size(12, 768, 12, 50257, 1024, causal=True),
    "decoder_3gb": Size(12, 2048, 16, 32000, 2048, causal=True, head=True, external=True),
}
LENGTH = 128
"""Words of the input."""


class Transformer:
    """Writes the nodes and weights of one model."""

    def __init__(self, size: Size, weights: BinaryIO | None, weights_name: str) -> None:
        self.size = size
        self._rng = np.random.default_rng(0)
        self._weights = weights
        self._weights_name = weights_name
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[TensorProto] = []
        self._known: dict[str, str] = {}

    # ------------------------------------------------------------------ parts of a graph
    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; the name of its result."""
        name = f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=f"/{name}", **attributes))
        return name

    def weight(self, name: str, *shape: int, scale: float | None = None) -> str:
        """Add random weights; a scale of None keeps the variance of what is multiplied."""
        scale = scale or shape[0] ** -0.5
        return self._store(name, self._rng.standard_normal(shape, np.float32) * np.float32(scale))

    def _store(self, name: str, values: Floats) -> str:
        if self._weights is None or values.nbytes < PAGE:
            self._tensors.append(numpy_helper.from_array(values, name))
            return name
        tensor = TensorProto(name=name, dims=values.shape, data_type=TensorProto.FLOAT)
        tensor.data_location = TensorProto.EXTERNAL
        self._weights.write(bytes(-self._weights.tell() % PAGE))
        place = {"location": self._weights_name, "offset": self._weights.tell(), "length": values.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._weights.write(values.tobytes())
        self._tensors.append(tensor)
        return name

    def constant(self, value: float) -> str:
        """A scalar, in a Constant node of its own each time, as exporters write them."""
        return self.add("Constant", value=numpy_helper.from_array(np.array(value, np.float32)))

    def shape(self, *extents: int) -> str:
        """A shape as a constant."""
        return self.add("Constant", value=numpy_helper.from_array(np.array(extents, np.int64)))

    # ------------------------------------------------------------------ layers
    def linear(self, x: str, name: str, inputs: int, outputs: int) -> str:
        """The product with a weight, and a bias."""
        product = self.add("MatMul", x, self.weight(f"{name}.weight", inputs, outputs))
        return self.add("Add", self.weight(f"{name}.bias", outputs, scale=0.02), product)

    def layer_norm(self, x: str, name: str) -> str:
        """Mean and variance over the last axis, spelled out."""
        centred = self.add("Sub", x, self.add("ReduceMean", x, axes=[-1]))
        squares = self.add("Pow", centred, self.constant(2.0))
        variance = self.add("Add", self.add("ReduceMean", squares, axes=[-1]), self.constant(1e-5))
        normal = self.add("Div", centred, self.add("Sqrt", variance))
        scaled = self.add("Mul", normal, self.weight(f"{name}.weight", self.size.hidden, scale=1.0))
        return self.add("Add", scaled, self.weight(f"{name}.bias", self.size.hidden, scale=0.02))

    def gelu(self, x: str) -> str:
        """The exact Gelu, spelled out with Erf."""
        erf = self.add("Erf", self.add("Div", x, self.constant(math.sqrt(2))))
        return self.add("Mul", self.add("Mul", x, self.add("Add", erf, self.constant(1.0))), self.constant(0.5))

    def attention(self, x: str, name: str, mask: str | None) -> str:
        """Softmax(q @ k / sqrt(d) + mask) @ v over the heads."""
        size = self.size
        width = size.hidden // size.heads
        heads: dict[str, str] = {}
        for part, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            linear = self.linear(x, f"{name}.{part}", size.hidden, size.hidden)
            split = self.add("Reshape", linear, self.shape(1, LENGTH, size.heads, width))
            heads[part] = self.add("Transpose", split, perm=perm)
        scores = self.add("MatMul", heads["query"], heads["key"])
        scores = self.add("Div", scores, self.constant(math.sqrt(width)))
        if mask is not None:
            scores = self.add("Add", scores, mask)
        values = self.add("MatMul", self.add("Softmax", scores, axis=-1), heads["value"])
        joined = self.add("Transpose", values, perm=[0, 2, 1, 3])
        flat = self.add("Reshape", joined, self.shape(1, LENGTH, size.hidden))
        return self.linear(flat, f"{name}.output", size.hidden, size.hidden)

    def layer(self, x: str, i: int, mask: str | None) -> str:
        """One layer; the norms stand in front of the parts in a decoder, behind them in BERT."""
        name, hidden = f"layers.{i}", self.size.hidden

        def feed_forward(y: str) -> str:
            inner = self.gelu(self.linear(y, f"{name}.up", hidden, 4 * hidden))
            return self.linear(inner, f"{name}.down", 4 * hidden, hidden)

        if self.size.causal:
            x = self.add("Add", x, self.attention(self.layer_norm(x, f"{name}.norm1"), f"{name}.attention", mask))
            return self.add("Add", x, feed_forward(self.layer_norm(x, f"{name}.norm2")))
        x = self.layer_norm(self.add("Add", self.attention(x, f"{name}.attention", mask), x), f"{name}.norm1")
        return self.layer_norm(self.add("Add", feed_forward(x), x), f"{name}.norm2")

    def build(self, name: str) -> onnx.ModelProto:
        """The whole model: int64 words [1, 128] to hidden values or logits."""
        size = self.size
        words = self.add("Gather", self.weight("words", size.vocabulary, size.hidden, scale=0.02), "ids")
        positions = self.weight("positions", size.positions, size.hidden, scale=0.02)
        taken = self.add("Slice", positions, self.shape(0), self.shape(LENGTH), self.shape(0))
        x = self.add("Add", words, taken)
        mask = None
        if size.causal:
            mask = self._store("mask", np.triu(np.full((LENGTH, LENGTH), -1e9, np.float32), 1))
        else:
            x = self.layer_norm(x, "norm")
        for i in range(size.layers):
            x = self.layer(x, i, mask)
        if size.causal:
            x = self.layer_norm(x, "norm")
        if size.head:
            x = self.add("MatMul", x, self.weight("head", size.hidden, size.vocabulary))
        width = size.vocabulary if size.head else size.hidden
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, LENGTH])],
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, LENGTH, width])],
            self._tensors,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def build(name: str, folder: Path) -> Path:
    """Build one model in a folder; its path."""
    size, path = SIZES[name], folder / f"{name}.onnx"
    if not size.external:
        onnx.save(Transformer(size, None, "").build(name), path)
        return path
    with open(folder / f"{name}.data", "wb") as weights:
        model = Transformer(size, weights, f"{name}.data").build(name)
    onnx.save(model, path)
    return path


def main() -> None:
    """Build the models that are asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.transformer_models", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SIZES)}; all when none is given")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or SIZES:
        path = build(name, given.folder)
        files = [file for file in given.folder.glob(f"{name}.*") if file.suffix in (".onnx", ".data")]
        size = sum(file.stat().st_size for file in files)
        sys.stdout.write(f"{name:20} {size / 2**20:8.2f} MiB  {path}\n")


if __name__ == "__main__":
    main()
