"""The reference interpreter against onnxruntime, one thread each, runs interleaved.

    python bench/interpreter.py [MODEL ...] [--runs 7] [--zoo]

Without --zoo the models are built here, as UAIR graphs and as ONNX models of the same random weights, so that nothing
but the interpreter is measured; with it they are the ONNX files of tests/zoo.py, read by the ONNX frontend. Printed are
the medians, their ratio, and the greatest difference of the outputs relative to the greatest output.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"  # before NumPy starts its BLAS

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from uair.codegen.reference import Interpreter
from uair.ir import DType, Graph, Module, Node, Tensor, TensorType, constant
from uair.ops.activation import Relu
from uair.ops.base import Operator
from uair.ops.convolution import Conv2D
from uair.ops.elementwise import Add, Clip
from uair.ops.pooling import GlobalAvgPool, MaxPool2D
from uair.ops.shape import Concat

Feeds = Mapping[str, npt.NDArray[Any]]


@attrs.define
class Twin:
    """Builds one network twice: as a UAIR graph and as an ONNX model, layer by layer."""

    graph: Graph = attrs.field(factory=Graph)
    nodes: list[onnx.NodeProto] = attrs.field(factory=list)
    weights: list[onnx.TensorProto] = attrs.field(factory=list)
    rng: np.random.Generator = attrs.field(factory=lambda: np.random.default_rng(0))

    def weight(self, shape: tuple[int, ...], gain: float) -> Tensor:
        """A random constant, known to both."""
        scale = gain / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
        array = (self.rng.standard_normal(shape) * scale).astype(np.float32)
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return constant(array, name)

    def add(self, op: Operator, kind: str, *operands: Tensor, **attributes: Any) -> Tensor:
        """A layer: `op` on the UAIR side, the ONNX operator `kind` on the other."""
        name = f"t{len(self.nodes)}"
        node = self.graph.append(Node(op, operands, output_names=[name]))
        self.nodes.append(helper.make_node(kind, [t.name for t in operands], [name], **attributes))
        return node.output

    def conv(self, x: Tensor, channels: int, kernel: int = 1, stride: int = 1, *, groups: int = 1) -> Tensor:
        """Convolution with bias and padding that keeps the extent."""
        inputs = x.type.dims[1]
        assert isinstance(inputs, int)
        w, b = self.weight((channels, inputs // groups, kernel, kernel), 1.4), self.weight((channels,), 1)
        pads = (kernel // 2,) * 4
        return self.add(
            Conv2D(strides=(stride, stride), pads=pads, groups=groups), "Conv", x, w, b,
            strides=[stride] * 2, pads=pads, group=groups,
        )  # fmt: skip

    def relu(self, x: Tensor) -> Tensor:
        return self.add(Relu(), "Relu", x)

    def relu6(self, x: Tensor) -> Tensor:
        low, high = (constant(np.array(v, np.float32), n) for v, n in ((0, "zero"), (6, "six")))
        if not any(w.name == "zero" for w in self.weights):
            self.weights += [numpy_helper.from_array(t.numpy(), t.name) for t in (low, high)]
        node = self.graph.append(Node(Clip(min=0.0, max=6.0), [x], output_names=[f"t{len(self.nodes)}"]))
        self.nodes.append(helper.make_node("Clip", [x.name, "zero", "six"], [node.output.name]))
        return node.output

    def sum(self, a: Tensor, b: Tensor) -> Tensor:
        return self.add(Add(), "Add", a, b)

    def max_pool(self, x: Tensor, kernel: int, stride: int, pad: int) -> Tensor:
        op = MaxPool2D(kernel=(kernel,) * 2, strides=(stride,) * 2, pads=(pad,) * 4)
        return self.add(op, "MaxPool", x, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)

    def concat(self, a: Tensor, b: Tensor) -> Tensor:
        return self.add(Concat(axis=1), "Concat", a, b, axis=1)

    def finish(self, x: Tensor, classes: int = 1000) -> tuple[Module, onnx.ModelProto]:
        """Global pooling and a convolution to the classes; both models."""
        y = self.conv(self.add(GlobalAvgPool(), "GlobalAveragePool", x), classes)
        self.graph.add_output("y", y)
        interface = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("x", y.name)]
        graph = helper.make_graph(self.nodes, "g", interface[:1], interface[1:], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return Module(graphs={"main": self.graph}), model

    def input(self, size: int = 224) -> Tensor:
        return self.graph.add_input("x", TensorType(DType.F32, (1, 3, size, size)))


def resnet50() -> tuple[Module, onnx.ModelProto]:
    """ResNet-50 with its batch normalizations folded: 4.1 G multiply-adds."""
    net = Twin()
    x = net.max_pool(net.relu(net.conv(net.input(), 64, 7, 2)), 3, 2, 1)
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(depth):
            stride = 2 if block == 0 and stage else 1
            y = net.relu(net.conv(x, width))
            y = net.relu(net.conv(y, width, 3, stride))
            y = net.conv(y, width * 4)
            x = net.relu(net.sum(y, net.conv(x, width * 4, 1, stride) if block == 0 else x))
    return net.finish(x)


def mobilenet_v2() -> tuple[Module, onnx.ModelProto]:
    """MobileNetV2 with its batch normalizations folded: 0.3 G multiply-adds, depthwise."""
    net = Twin()
    x = net.relu6(net.conv(net.input(), 32, 3, 2))
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expand, channels, depth, first_stride in stages:
        for block in range(depth):
            stride = first_stride if block == 0 else 1
            inputs = x.type.dims[1]
            assert isinstance(inputs, int)
            y = x if expand == 1 else net.relu6(net.conv(x, inputs * expand))
            y = net.relu6(net.conv(y, inputs * expand, 3, stride, groups=inputs * expand))
            y = net.conv(y, channels)
            x = net.sum(x, y) if stride == 1 and inputs == channels else y
    return net.finish(net.relu6(net.conv(x, 1280)))


def squeezenet() -> tuple[Module, onnx.ModelProto]:
    """SqueezeNet 1.1: 0.35 G multiply-adds."""
    net = Twin()
    x = net.max_pool(net.relu(net.conv(net.input(), 64, 3, 2)), 3, 2, 0)
    for i, (squeeze, expand) in enumerate(
        ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
    ):
        y = net.relu(net.conv(x, squeeze))
        x = net.concat(net.relu(net.conv(y, expand)), net.relu(net.conv(y, expand, 3)))
        if i in (1, 3):
            x = net.max_pool(x, 3, 2, 0)
    return net.finish(x)


BUILT: dict[str, Callable[[], tuple[Module, onnx.ModelProto]]] = {
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
    "squeezenet": squeezenet,
}


def measure(name: str, module: Module, model: bytes | str, feeds: Feeds, runs: int) -> str:
    """One line of the report."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    interpreter = Interpreter(module, keep_constants=True)
    ours = interpreter.run(feeds)
    theirs = [np.asarray(y) for y in session.run(None, dict(feeds))]
    calls: tuple[Callable[[], object], ...] = (lambda: interpreter.run(feeds), lambda: session.run(None, dict(feeds)))
    times: tuple[list[float], ...] = ([], [])
    for _ in range(runs):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    mine, other = (statistics.median(t) * 1e3 for t in times)
    return f"{name:24} {mine:9.1f} ms {other:9.1f} ms {mine / other:7.2f}   {difference(ours, theirs):.1e}"


def difference(ours: Feeds, theirs: list[npt.NDArray[Any]]) -> float:
    """Greatest difference of the numeric outputs relative to the greatest magnitude of each."""
    worst = 0.0
    for a, b in zip(ours.values(), theirs, strict=True):
        if a.size and a.dtype.kind in "fiu":
            wide = a.astype(np.float64), b.astype(np.float64)
            worst = max(worst, float(np.abs(wide[0] - wide[1]).max() / max(np.abs(wide[1]).max(), 1e-30)))
    return worst


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--zoo", action="store_true", help="the models of tests/zoo.py")
    arguments = parser.parse_args()
    print(f"{'model':24} {'interpreter':>12} {'onnxruntime':>12} {'ratio':>7}   difference")
    if arguments.zoo:
        from tests import zoo
        from uair.frontends.onnx import load

        for name in arguments.models or sorted(zoo.models()):
            entry = zoo.models()[name]
            print(measure(name, load(entry.path), str(entry.path), entry.feeds(), arguments.runs), flush=True)
        return 0
    image = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    for name in arguments.models or BUILT:
        module, model = BUILT[name]()
        print(measure(name, module, model.SerializeToString(), {"x": image}, arguments.runs), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
