"""Give a weightless ONNX test network real weights.

The `light_*` models of the onnx package make their weights at run time (`ConstantOfShape`): fine for structure, useless
for memory, speed and accuracy. `materialise` puts random initializers of a trained network's statistics in their place.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# numpy's and onnx's own annotations leave type arguments open, and onnxruntime has none.

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

F32 = npt.NDArray[np.float32]
RESIDUAL_GAIN = (
    0.3  # scale of a residual branch; keeps activations within a decade over the sixteen blocks of a ResNet-50
)


def materialise(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Return a copy of `model` in which every float `ConstantOfShape` weight is a random initializer.

    Convolutions and Gemms get He-scaled weights (K. He et al. 2015, "Delving Deep into Rectifiers", equation 10) whose
    filters sum to zero: the common positive mean of rectified inputs cancels, as after training, and the output depends
    on the input. BatchNorms get the statistics of what such a convolution produces, so that activations neither die
    nor explode.

    Args:
        model: a network whose `ConstantOfShape` shapes are initializers; its opset is kept, its IR version raised to 8
            (initializers need not be graph inputs from IR 4 on).
        seed: seed of the weights.
    """
    rng = np.random.default_rng(seed)
    graph = model.graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    readers = _readers(graph.node)
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, npt.NDArray[np.generic]] = {}
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in known:
            shape = tuple(int(extent) for extent in known[node.input[0]])
            weights[node.output[0]] = _weight(rng, shape, *_role(node.output[0], readers))
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    weights |= {name: value for name, value in known.items() if name in used}
    inputs = [value for value in graph.input if value.name in used and value.name not in known]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    result = helper.make_model(
        helper.make_graph(nodes, graph.name or "graph", inputs, list(graph.output), tensors),
        opset_imports=list(model.opset_import),
        ir_version=8,
        producer_name="uair-zoo",
    )
    onnx.checker.check_model(result)
    return result


Readers = dict[str, list[tuple[onnx.NodeProto, int]]]


def _readers(nodes: Iterable[onnx.NodeProto]) -> Readers:
    """Map each tensor name to the (node, operand index) pairs that read it."""
    readers: Readers = {}
    for node in nodes:
        for index, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, index))
    return readers


def _role(name: str, readers: Readers) -> tuple[str, int, bool]:
    """Say who reads a weight: operator, operand index, and whether the result is the end of a residual branch."""
    node, index = readers[name][0]
    while node.op_type == "Unsqueeze":  # brings a vector to [C, 1, 1]
        node, index = readers[node.output[0]][0]
    return node.op_type, index, any(reader.op_type == "Sum" for reader, _ in readers.get(node.output[0], []))


def _weight(rng: np.random.Generator, shape: tuple[int, ...], operator: str, operand: int, ends_branch: bool) -> F32:
    """Draw one weight for its role (`_role`)."""
    match operator, operand:
        case (("Conv" | "Gemm"), 1):  # [outputs, inputs/groups, ...]; every Gemm of these models has transB = 1
            value = rng.standard_normal(shape)
            value -= value.mean(axis=tuple(range(1, len(shape))), keepdims=True)
            value *= np.sqrt(2.0 / np.prod(shape[1:]))
        case "BatchNormalization", 1:
            value = rng.uniform(0.8, 1.2, shape) * (RESIDUAL_GAIN if ends_branch else 1.0)
        case "BatchNormalization", 4:
            value = rng.uniform(0.7, 1.4, shape)
        case "Mul", 1:  # the scale of a Caffe "Scale" layer, behind its BatchNorm
            value = rng.uniform(0.8, 1.2, shape)
        case _:  # biases and running means
            value = rng.normal(0.0, 0.1, shape)
    return value.astype(np.float32)
