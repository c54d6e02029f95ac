"""What the tests of pruning share: networks, and channels of zeros."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from tests.quant.networks import Builder
from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import (
    Add,
    AvgPool2D,
    BatchNorm,
    Cast,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Gelu,
    GlobalAvgPool,
    GroupNorm,
    HardSwish,
    LayerNorm,
    Linear,
    MatMul,
    MaxPool2D,
    Mul,
    Pad,
    PRelu,
    Relu,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
    Split,
    Transpose,
)
from uair.passes.pruning.groups import Group, find_groups
from uair.passes.pruning.labels import Labelling
from uair.passes.pruning.propagate import label_graph
from uair.passes.pruning.remove import pruned_copy


def conv(b: Builder, x: Tensor, outputs: int, kernel: int = 3, *, groups: int = 1, bias: bool = True) -> Tensor:
    """A convolution that keeps the size of the image."""
    channels = x.type.dims[1]
    assert isinstance(channels, int)
    op = Conv2D(pads=(kernel // 2,) * 4, groups=groups)
    given = [b.weight(outputs, channels // groups, kernel, kernel), *([b.weight(outputs)] if bias else [])]
    return b.add(op, x, *given)


def dense(b: Builder, x: Tensor, outputs: int) -> Tensor:
    """A Linear with bias."""
    inputs = x.type.dims[-1]
    assert isinstance(inputs, int)
    return b.add(Linear(), x, b.weight(outputs, inputs), b.weight(outputs))


def head(b: Builder, x: Tensor) -> Module:
    """Classes behind global pooling."""
    channels = x.type.dims[1]
    assert isinstance(channels, int)
    pooled = b.add(Reshape(shape=(1, channels)), b.add(GlobalAvgPool(), x))
    return b.done(dense(b, pooled, 5))


# ----------------------------------------------------------------------------------------------------------- networks
def residual() -> Module:
    b = Builder(1, 3, 8, 8)
    x = b.add(Relu(), conv(b, b.x, 16))
    for _ in range(2):
        y = b.add(Relu(), conv(b, x, 12))
        x = b.add(Relu(), b.add(Add(), conv(b, y, 16), x))
    return head(b, x)


def densely_connected() -> Module:
    b = Builder(1, 3, 8, 8)
    x = conv(b, b.x, 8)
    for _ in range(3):
        channels = x.type.dims[1]
        assert isinstance(channels, int)
        scale = [b.weight(channels) for _ in range(3)]
        variance = constant(np.linspace(0.5, 2, channels, dtype=np.float32), "variance")
        y = b.add(Relu(), b.add(BatchNorm(), x, *scale, variance))
        x = b.add(Concat(axis=1), x, conv(b, y, 6, bias=False))
    return head(b, x)


def mobile() -> Module:
    b = Builder(1, 3, 8, 8)
    x = b.add(HardSwish(), conv(b, b.x, 8))
    y = b.add(Relu(), conv(b, x, 24, 1))
    y = b.add(HardSwish(), conv(b, y, 24, groups=24))
    gate = b.add(Relu(), conv(b, b.add(GlobalAvgPool(), y), 6, 1))
    y = b.add(Mul(), y, b.add(Sigmoid(), conv(b, gate, 24, 1)))
    return head(b, b.add(Add(), conv(b, y, 8, 1), x))


def depth_multiplied() -> Module:
    b = Builder(1, 3, 8, 8)
    x = b.add(Relu(), conv(b, b.x, 8))
    y = b.add(Relu(), conv(b, x, 16, groups=8))
    return head(b, conv(b, y, 8, 1))


def shuffled() -> Module:
    b = Builder(1, 3, 8, 8)
    x = b.add(Relu(), conv(b, b.x, 12))
    for _ in range(2):
        y = b.add(Relu(), conv(b, x, 12, 1, groups=3))
        y = b.add(Transpose(perm=(0, 2, 1, 3, 4)), b.add(Reshape(shape=(1, 3, 4, 8, 8)), y))
        y = conv(b, b.add(Reshape(shape=(1, 12, 8, 8)), y), 12, groups=12)
        x = b.add(Relu(), b.add(Add(), conv(b, y, 12, 1, groups=3), x))
    return head(b, x)


def transformer() -> Module:
    b = Builder(1, 6, 16)
    x = b.x
    for _ in range(2):
        y = b.add(LayerNorm(), x, b.weight(16), b.weight(16))
        q, k, v = (_heads(b, dense(b, y, 16)) for _ in range(3))
        scores = b.add(Softmax(), b.add(MatMul(trans_b=True), q, k))
        mixed = b.add(Transpose(perm=(0, 2, 1, 3)), b.add(MatMul(), scores, v))
        x = b.add(Add(), x, dense(b, b.add(Reshape(shape=(1, 6, 16)), mixed), 16))
        y = b.add(LayerNorm(), x, b.weight(16), b.weight(16))
        x = b.add(Add(), x, dense(b, b.add(Gelu(), dense(b, y, 32)), 16))
    return b.done(x)


def _heads(b: Builder, x: Tensor) -> Tensor:
    return b.add(Transpose(perm=(0, 2, 1, 3)), b.add(Reshape(shape=(1, 6, 4, 4)), x))


def flattened() -> Module:
    b = Builder(1, 3, 8, 8)
    x = b.add(MaxPool2D(kernel=(2, 2), strides=(2, 2)), b.add(Relu(), conv(b, b.x, 8)))
    x = b.add(Reshape(shape=(1, 8 * 16)), x)
    x = b.add(Relu(), dense(b, x, 10))
    return b.done(b.add(MatMul(), x, b.weight(10, 4)))


def upsampled() -> Module:
    b = Builder(1, 3, 8, 8)
    x = b.add(PRelu(), conv(b, b.x, 8), b.weight(8, 1, 1))
    x = b.add(ConvTranspose2D(strides=(2, 2)), x, b.weight(8, 6, 2, 2), b.weight(6))
    x = b.add(Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1)), b.add(Relu(), x))
    x = b.add(Resize(scales=(1.0, 1.0, 2.0, 2.0)), b.add(AvgPool2D(kernel=(2, 2), strides=(2, 2)), x))
    return b.done(conv(b, x, 2, 1))


def parted() -> Module:
    """Split, Slice, Concat, and a sum of halves."""
    b = Builder(1, 3, 8, 8)
    x = b.add(Relu(), conv(b, b.x, 16))
    first = b.add(Slice(axes=(1,), starts=(0,), ends=(8,), steps=(1,)), x)
    split = Split(axis=1, sizes=(10, 6)).node(x, name="split")
    b.graph.append(split)
    y = conv(b, first, 8)
    z = b.add(Concat(axis=1), y, split.outputs[1])
    return head(b, b.add(Relu(), conv(b, z, 8)))


def group_normalised() -> Module:
    b = Builder(1, 3, 8, 8)
    x = b.add(GroupNorm(groups=4), conv(b, b.x, 16), b.weight(16), b.weight(16))
    return head(b, b.add(Relu(), x))


def drawn(seed: int) -> Module:
    """A random graph of operators that keep zeros: sums, joins, splits, groups, shuffles, pooling, normalization."""
    rng = np.random.default_rng(seed)
    b = Builder(1, 3, 8, 8, seed=seed)
    known = [conv(b, b.x, int(rng.choice([6, 12])), bias=bool(rng.integers(2)))]
    for _ in range(int(rng.integers(4, 12))):
        known.append(_grown(b, known, rng))
    x = known[-1]
    if rng.integers(2):
        return head(b, x)
    _, channels, height, width = static(x.type.dims)
    return b.done(dense(b, b.add(Reshape(shape=(1, channels * height * width)), x), 5))


def _grown(b: Builder, known: list[Tensor], rng: np.random.Generator) -> Tensor:
    """One more layer behind one of the last ones."""
    x = known[-1 - int(rng.integers(min(3, len(known))))]
    channels = static(x.type.dims)[1]
    kind = rng.choice(["conv", "depthwise", "grouped", "sum", "concat", "part", "relu", "norm", "shuffle", "pad"])
    if kind == "depthwise":
        return conv(b, x, channels * int(rng.integers(1, 3)), groups=channels)
    if kind == "grouped" and channels % 3 == 0:
        return b.add(Relu(), conv(b, x, int(rng.choice([6, 12, 18])), 1, groups=3))
    same = [t for t in known if t is not x and t.type == x.type]
    if kind == "sum" and same:
        return b.add(Add(), x, same[int(rng.integers(len(same)))])
    if kind == "concat":
        return b.add(Concat(axis=1), x, known[int(rng.integers(len(known)))])
    if kind == "part" and channels > 6:
        start = int(rng.integers(0, channels - 6))
        return b.add(Slice(axes=(1,), starts=(start,), ends=(start + 6,), steps=(1,)), x)
    if kind == "norm":
        return (
            b.add(GroupNorm(groups=channels // 3), x, b.weight(channels), b.weight(channels))
            if channels % 3 == 0
            else x
        )
    if kind == "shuffle" and channels % 3 == 0:
        y = b.add(Reshape(shape=(1, 3, channels // 3, 8, 8)), x)
        return b.add(Reshape(shape=(1, channels, 8, 8)), b.add(Transpose(perm=(0, 2, 1, 3, 4)), y))
    if kind == "pad":
        return b.add(AvgPool2D(kernel=(3, 3)), b.add(Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1)), x))
    if kind == "relu":
        return b.add(Relu(), x)
    return conv(b, x, int(rng.choice([6, 12])), 1, bias=bool(rng.integers(2)))


NETWORKS: Mapping[str, Callable[[], Module]] = {
    f.__name__: f
    for f in (
        residual,
        densely_connected,
        mobile,
        depth_multiplied,
        shuffled,
        transformer,
        flattened,
        upsampled,
        parted,
        group_normalised,
    )
}


# -------------------------------------------------------------------------------------------------------------- zeros
def labelled(module: Module) -> tuple[Labelling, list[Group]]:
    """The labelling of a module's main graph, and its groups."""
    labelling = label_graph(module.main)
    return labelling, find_groups(labelling)[0]


def draw(groups: list[Group], rng: np.random.Generator, share: float = 0.4) -> set[int]:
    """Some of the atoms of every group, never all of them."""
    found: set[int] = set()
    for group in groups:
        most = len(group.atoms) - 1
        found.update(rng.permutation(group.atoms)[: min(most, max(1, round(share * len(group.atoms))))].tolist())
    return found


def zeroed(module: Module, labelling: Labelling, atoms: set[int], *, read: bool = False) -> Module:
    """A copy in which the channels of these atoms are 0 wherever they are made: weights, biases, parameters.

    What layers have for them as inputs stays as it was, and meets zeros; with `read` it is 0 too, for models in which
    a channel of zeros does not stay one on its way.
    """
    copy = module.clone()
    twins = dict(zip(module.main, copy.main, strict=True))
    for (node, i), labels in labelling.cuts.items():
        tensor = twins[node].inputs[i]
        assert tensor is not None
        array = tensor.numpy().copy()
        made = labelling.of(node.output)
        for each in labels:
            summed = labelling.contractions.get(node)
            if (
                not read
                and i == 1
                and summed is not None
                and made is not None
                and not np.isin(each.atoms, made.atoms).all()
            ):
                continue
            gone = np.isin(each.atoms, list(atoms))
            index: list[Any] = [slice(None)] * array.ndim
            index[each.axis] = gone
            array[tuple(index)] = 0
        twins[node].set_input(i, constant(array, tensor.name))
    verify(copy)
    return copy


def without(module: Module, labelling: Labelling, atoms: set[int]) -> Module:
    """A copy without these channels; verified."""
    copy = pruned_copy(module, labelling, atoms, {})
    verify(copy)
    return copy


def doubled(module: Module) -> Module:
    """The module, made to compute in float64: what differs in it by more than that rounds away is no rounding."""
    for graph in module.all_graphs():
        for tensor in graph.inputs:
            tensor.type = attrs.evolve(tensor.type, dtype=_double(tensor.type.dtype))
        for node in graph:
            for i, operand in enumerate(node.inputs):
                if operand is not None and operand.is_constant and operand.type.dtype is DType.F32:
                    node.set_input(i, constant(operand.numpy().astype(np.float64), operand.name))
            if isinstance(node.op, Cast):
                node.op = Cast(to=_double(node.op.to))
            types = node.op.infer_types([None if t is None else t.type for t in node.inputs])
            for tensor, found in zip(node.outputs, types, strict=True):
                tensor.type = found
    return module


def _double(dtype: DType) -> DType:
    return DType.F64 if dtype is DType.F32 else dtype
