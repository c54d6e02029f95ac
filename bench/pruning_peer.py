"""torch-pruning on the convolutions of an ONNX file, in a Python of its own.

python pruning_peer.py MODEL.onnx INPUTS.npz OUTPUTS.npz FLOPS
"""

# mypy: disable-error-code="import-not-found,misc,no-any-return,no-untyped-call,unused-ignore"
# pyright: basic, reportMissingImports=false
# Runs where torch and torch_pruning are, which have no annotations that fit.

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import torch
import torch_pruning
from torch import nn


class Net(nn.Module):
    """The operators of the file, one after the other."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        values = {t.name: torch.tensor(onnx.numpy_helper.to_array(t)) for t in model.graph.initializer}
        self.layers = nn.ModuleDict()
        self.steps = []
        self.result = model.graph.output[0].name
        for i, node in enumerate(model.graph.node):
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                values[node.output[0]] = torch.tensor(onnx.numpy_helper.to_array(attributes["value"]))
                continue
            layer, limits = self._layer(node, values, attributes)
            if layer is not None:
                self.layers[str(i)] = layer
            self.steps.append((node.op_type, str(i), list(node.input), node.output[0], limits))

    def _layer(self, node: Any, values: dict[str, Any], attributes: dict[str, Any]) -> tuple[Any, Any]:
        """The layer of a node, and what it has besides."""
        if node.op_type == "Conv":
            w, b = (values[name] for name in node.input[1:3])
            groups = attributes["group"]
            layer = nn.Conv2d(
                w.shape[1] * groups,
                w.shape[0],
                tuple(w.shape[2:]),
                tuple(attributes["strides"]),
                tuple(attributes["pads"][:2]),
                groups=groups,
            )
        elif node.op_type == "Gemm":
            w, b = (values[name] for name in node.input[1:3])
            layer = nn.Linear(w.shape[1], w.shape[0])
        elif node.op_type == "Clip":
            return None, tuple(float(values[name]) for name in node.input[1:3])
        elif node.op_type in ("Add", "ReduceMean"):
            return None, None
        else:
            raise NotImplementedError(node.op_type)
        layer.weight.data, layer.bias.data = w.clone(), b.clone()
        return layer, None

    def forward(self, x: Any) -> Any:
        """The result for a batch."""
        known: dict[Any, Any] = {}
        for kind, name, inputs, output, limits in self.steps:
            given = [known.get(each, x) for each in inputs[: 2 if kind == "Add" else 1]]
            if name in self.layers:
                known[output] = self.layers[name](given[0])
            elif kind == "Clip":
                known[output] = torch.clamp(given[0], *limits)
            elif kind == "Add":
                known[output] = given[0] + given[1]
            else:
                known[output] = given[0].mean((2, 3))
        return known[self.result]


def main() -> int:
    """Prune until the budget holds, run, write."""
    path, inputs, outputs, flops = sys.argv[1:]
    torch.set_num_threads(1)
    model = Net(onnx.load(path)).eval()
    x = torch.tensor(next(iter(np.load(inputs).values())))
    example = x[:1]
    before, _ = torch_pruning.utils.count_ops_and_params(model, example)
    head = next(layer for layer in model.layers.values() if isinstance(layer, nn.Linear))
    steps = 400
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=0.8,
        iterative_steps=steps,
        ignored_layers=[head],
    )
    left = 1.0
    for _ in range(steps):
        pruner.step()
        after, _ = torch_pruning.utils.count_ops_and_params(model, example)
        left = after / before
        if left <= float(flops):
            break
    with torch.no_grad():
        y = torch.cat([model(x[i : i + 100]) for i in range(0, len(x), 100)])
    np.savez(outputs, y=y.numpy(), left=left)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
