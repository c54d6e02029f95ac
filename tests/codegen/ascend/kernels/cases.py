"""Kernels of real models, inputs for them, and what their nodes give in the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import attrs
import numpy as np

import uair
from tests import zoo
from uair.codegen.ascend.emission import drop_layouts
from uair.codegen.ascend.kernels.chips import CHIPS
from uair.codegen.ascend.kernels.files import REFUSALS
from uair.codegen.ascend.kernels.group import Kernel, takes_all
from uair.codegen.ascend.kernels.lower import Argument
from uair.codegen.ascend.kernels.named import NamedKernel, named_kernels
from uair.codegen.reference.interpreter import Interpreter
from uair.context import Context
from uair.ir import Array, DType, Graph, Module, Node, Tensor, TensorType
from uair.passes.bind_shapes import BindShapes
from uair.pipeline import PassManager
from uair.request import Int8

_KEPT: list[uair.Artifact] = []
"""Artifacts whose temporary folders hold the constants of the modules."""


def legalised(name: str, target: str = "ascend910b", *, int8: bool = False) -> Module:
    """A model of the zoo as the target's emitter is given it, in plain layouts."""
    return _int8(name, target) if int8 else _float(name, target)


@cache
def _float(name: str, target: str) -> Module:
    model = zoo.models()[name]
    chip = Context.default().target(target)
    module = uair.load(model.path).clone()
    passes = [BindShapes(shapes=dict(model.shapes)), *uair.api.standard_passes(), *chip.prepare(), *chip.legalise()]
    PassManager(passes, []).run(module)
    drop_layouts(module.main)
    return module


@cache
def _int8(name: str, target: str) -> Module:
    model = zoo.models()[name]
    quantize = Int8(model.calibration(2))
    artifact = uair.compile(model.path, target, shapes=dict(model.shapes), quantize=quantize, golden=False)
    module = uair.load(artifact.file("model.uair"))
    drop_layouts(module.main)
    _KEPT.append(artifact)
    return module


def kernels_of(
    module: Module, target: str = "ascend910b", *, interface: DType = DType.F16, least: int = 2
) -> list[NamedKernel]:
    """The distinct kernels that the target gets."""
    languages = CHIPS[target].languages
    refusal = REFUSALS.get(languages[0], takes_all)
    matrices = "mlir" in languages
    return named_kernels(module.main, refusal=refusal, matrices=matrices, interface=interface, least=least)


def inputs_of(kernel: Kernel, seed: int = 0) -> list[Array]:
    """Inputs: the constants as they are, random numbers for the rest; sums of integers as large as real ones."""
    rng = np.random.default_rng(seed)
    arrays: list[Array] = []
    for value, argument in zip(kernel.program.inputs, kernel.arguments, strict=True):
        shape, dtype = kernel.program.shape(value), value.dtype.numpy
        if argument.values is not None:
            array = argument.values
        elif argument.tensor.is_constant:
            array = argument.tensor.numpy()
        elif value.dtype.is_float:
            array = rng.standard_normal(shape)
        else:
            array = rng.integers(*((-128, 128) if value.dtype is DType.I8 else (-60_000, 60_000)), shape)
        arrays.append(np.array(np.asarray(array).reshape(shape), dtype, order="C"))
    return arrays


def reference(kernel: Kernel, nodes: Sequence[Node], inputs: Sequence[Array]) -> list[Array]:
    """What the nodes give in the interpreter for a kernel's inputs: floats in f32, in the shapes of the program."""
    taken = [a.tensor for a in kernel.arguments if a.use in ("tensor", "sums")]
    outlined = outline(nodes, taken, [t for tensors in kernel.results for t in tensors[:1]])
    results = Interpreter(outlined.module).run(outlined.feeds(kernel, inputs))
    return [
        results[f"y{i}"].reshape(kernel.program.shape(v)).astype(np.float32 if v.dtype.is_float else v.dtype.numpy)
        for i, v in enumerate(kernel.program.outputs)
    ]


@attrs.frozen(eq=False)
class Outlined:
    """Nodes as a module of their own.

    Attributes:
        module: it has an input for every tensor that the kernel takes, rounded constants among them.
        inputs: these tensors, in order.
    """

    module: Module
    inputs: list[Tensor]

    def feeds(self, kernel: Kernel, inputs: Sequence[Array]) -> dict[str, Array]:
        """The feeds for a kernel's inputs; the kernel adds an integer bias to the sums, the nodes do not."""
        feeds: dict[str, Array] = {}
        for i, tensor in enumerate(self.inputs):
            given = [(a, x) for a, x in zip(kernel.arguments, inputs, strict=True) if a.tensor is tensor]
            value = _summed(given, tensor)
            feeds[f"x{i}"] = value.reshape(tensor.type.dims).astype(tensor.type.dtype.numpy)
        return feeds


def _summed(given: list[tuple[Argument, Array]], tensor: Tensor) -> Array:
    (value,) = [x for argument, x in given if argument.use in ("tensor", "sums")]
    for argument, x in given:
        if argument.use == "bias":
            value = value.reshape(-1, x.size) + x
    return value


def outline(nodes: Sequence[Node], taken: Sequence[Tensor], outputs: Sequence[Tensor]) -> Outlined:
    """A module of some nodes: x0, x1, ... are the tensors `taken` from outside, y0, y1, ... are the outputs."""
    graph = Graph()
    new: dict[Tensor, Tensor] = {}
    read = list(dict.fromkeys(taken))
    for i, tensor in enumerate(read):
        new[tensor] = graph.add_input(f"x{i}", TensorType(tensor.type.dtype, tensor.type.dims))
    for node in nodes:
        operands = [None if t is None else new.get(t, t) for t in node.inputs]
        copy = graph.append(Node(node.op, operands))
        new.update(zip(node.outputs, copy.outputs, strict=True))
    for i, tensor in enumerate(outputs):
        graph.add_output(f"y{i}", new[tensor])
    return Outlined(Module("kernel", {"main": graph}), read)


def error(got: Array, want: Array) -> float:
    """The greatest difference, as a share of the wanted value where that is above 1."""
    wide = want.astype(np.float64)
    return float((np.abs(got.astype(np.float64) - wide) / np.maximum(1, np.abs(wide))).max(initial=0.0))
