"""The models that the benchmarks measure: real ones of the zoo, and a long random graph for what grows with node count.

`python -m bench.models` builds them all in the zoo's cache and prints their paths.
"""

# pyright: reportUnknownMemberType=false
# onnx's own annotations leave type arguments open.

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests import zoo

SHAPE = (1, 8, 16)
WINDOW = 64  # how far back a node of the random graph may reach for its second operand


class RandomGraph:
    """A random graph of cheap operators on `[1, 8, 16]` tensors, full of what an optimiser should find.

    Of the nodes about a tenth each are no-ops (Identity), repetitions of an earlier node, and computations on
    constants alone; a twentieth lead nowhere. The rest is Add, Mul, Relu, Tanh and MatMul on recent values.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        constants = {f"c{i}": self._rng.normal(0, 0.5, SHAPE).astype(np.float32) for i in range(32)}
        constants["weight"] = (self._rng.normal(0, 1, (SHAPE[2], SHAPE[2])) / SHAPE[2] ** 0.5).astype(np.float32)
        self._tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        self._constants = [name for name in constants if name != "weight"]  # and what is computed from them alone
        self._values = ["x"]
        self._nodes: list[onnx.NodeProto] = []
        self._repeatable: list[tuple[str, tuple[str, ...]]] = []

    def _recent(self, names: list[str]) -> str:
        return names[-1 - int(self._rng.integers(min(WINDOW, len(names))))]

    def _append(self, operator: str, inputs: tuple[str, ...], values: list[str] | None) -> None:
        """Add a node; its result joins `values`, or nothing reads it when that is None."""
        name = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=f"{operator}_{name}"))
        if values is not None:
            values.append(name)

    def _grow(self) -> None:
        last, other = self._values[-1], self._recent(self._values)
        constant = self._recent(self._constants)
        kind = self._rng.random()
        if kind < 0.10:
            self._append("Identity", (last,), self._values)
        elif kind < 0.20 and self._repeatable:
            self._append(*self._repeatable[-1 - int(self._rng.integers(min(8, len(self._repeatable))))], self._values)
        elif kind < 0.30:
            self._append("Mul", (constant, self._recent(self._constants)), self._constants)
        elif kind < 0.35:
            self._append("Add", (last, other), None)
        else:
            choices: tuple[tuple[str, tuple[str, ...]], ...] = (
                ("Add", (last, constant)),
                ("Add", (last, other)),
                ("Mul", (last, constant)),
                ("Relu", (other,)),
                ("Tanh", (last,)),
                ("MatMul", (last, "weight")),
            )
            chosen = choices[int(self._rng.integers(len(choices)))]
            self._append(*chosen, self._values)
            self._repeatable.append(chosen)

    def build(self, nodes: int) -> onnx.ModelProto:
        """Return the model with `nodes` nodes, opset 17; its output is bounded by a final Tanh."""
        while len(self._nodes) < nodes - 1:
            self._grow()
        self._append("Tanh", (self._values[-1],), self._values)
        float_type = helper.make_tensor_type_proto(TensorProto.FLOAT, SHAPE)
        graph = helper.make_graph(
            self._nodes,
            f"random_{nodes}",
            [helper.make_value_info("x", float_type)],
            [helper.make_value_info(self._values[-1], float_type)],
            self._tensors,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def random_graph(nodes: int) -> Path:
    """Return the file of a random graph with `nodes` nodes; built anew each time, for the seed never changes."""
    target = zoo.cache_dir() / "built" / f"dag{nodes}.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}.tmp")
    onnx.save(RandomGraph(seed=1).build(nodes), unfinished)
    unfinished.replace(target)
    return target


def benchmark_models() -> dict[str, Path]:
    """Return the benchmark's models by name: many nodes, many weights, a trained one, and length alone."""
    known = zoo.models()
    names = ("light_densenet121", "resnet50_real", "ppocr_rec")
    return {name: known[name].path for name in names} | {"dag20k": random_graph(20_000)}


if __name__ == "__main__":
    for model_name, path in benchmark_models().items():
        sys.stdout.write(f"{model_name:20} {path.stat().st_size / 2**20:8.2f} MiB  {path}\n")
