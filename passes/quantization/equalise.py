"""Equalisation: channels of an activation are brought to similar ranges, and the weights that read them make up for it.

An activation has one scale for all its channels, so that a channel of small values is left with few steps. Dividing
channel c by s[c], and multiplying what the weight has for it by s[c], changes nothing in float, and gives such channels
more steps; the weights pay for it, since channel c's part in a row of weights grows. For a depthwise convolution with
scales per channel the weights pay nothing. What both roundings cost is computed, not tried: rounding to steps of
width d is noise of d^2 / 12 (SmoothQuant, arXiv 2211.10438, uses the same transformation with a fixed exponent).

The division goes into the weights or the LayerNorm that make the activation, through operators that commute with
positive factors (ReLU, pooling), and costs nothing; where that cannot be, it is a Mul, and pays only where the gain is
great.

Where what makes the activation has one scale for its whole weight, uneven channels cost its own weights most. There the
factors make the greatest magnitudes of both weights the same, channel by channel (cross-layer equalisation, Nagel et
al. 2019, arXiv 1906.04721, section 4.1), see `cross_layer_factors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ops import Clip, LayerNorm, Mul
from uair.ops.base import Operator
from uair.passes.fusion import affine
from uair.passes.quantization.channels import WeightView, channel_axis, collect_channels, scaled_inputs
from uair.passes.quantization.placement import Plan, QuantizedNode
from uair.passes.quantization.statistics import Interpreter, display_name
from uair.quant.channel_range import ChannelRange
from uair.quant.comparison import FLOOR
from uair.quant.scheme import WEIGHT_LIMIT, Scheme

EXPONENTS = (0.25, 0.5, 0.75, 1.0)
LEAST_FACTOR = 1 / 16
"""Channels that are hardly ever used are not blown up further: what few samples show of them says little."""
LEAST_COUNT = 256
"""Values per channel below which nothing is said about its range."""
FOLDED_GAIN = 0.8
"""The predicted noise, as a part of the noise without equalisation, at which a change that costs nothing is made."""
INSERTED_GAIN = 0.4
"""The same for a change that costs a multiplication."""
SWEEPS = 20
"""How often all pairs of layers are looked at: a weight between two others is in two pairs."""
STEADY = 1e-3
"""Change of the factors at which no further sweep is made."""
AT_ONCE = 1 << 16
"""Weights that are looked at at a time: in f64 they fit into a cache."""
CUT_EXPONENT = 0.5
"""The greatest exponent where a Clip then cuts a channel sooner than in the model. MobileNetV2 with rk3588's scheme has
34.4 dB without such channels, 35.5 dB with this, 35.1 dB with 0.75 as well (mean of six sets of 32 samples)."""
ELEMENTWISE = ("Relu", "LeakyRelu")
"""Operators f with f(x * s) = f(x) * s for positive factors along any axis."""
COMMUTING = (
    "Relu",
    "LeakyRelu",
    "PRelu",
    "MaxPool1D",
    "MaxPool2D",
    "AvgPool1D",
    "AvgPool2D",
    "GlobalAvgPool",
    "GlobalMaxPool",
)
"""Operators f with f(x * s) = f(x) * s for positive factors per channel (axis 1)."""


@attrs.frozen(eq=False)
class Equalisation:
    """A change of one activation.

    Attributes:
        tensor: the activation.
        readers: the nodes whose weights make up for it.
        factor: [C], by which channels are divided.
        maker: the node whose parameters take the division; None for a multiplication of its own.
        gain: the predicted noise with it, as a part of the noise without.
    """

    tensor: Tensor
    readers: tuple[Node, ...]
    factor: Array
    maker: Node | None
    gain: float


@attrs.define(eq=False)
class Edits:
    """Changes of operands that can be taken back.

    Attributes:
        graph: the graph that they are made in.
    """

    graph: Graph
    _old: list[tuple[Node, int, Tensor | None]] = attrs.Factory(list["tuple[Node, int, Tensor | None]"])
    _added: list[Node] = attrs.Factory(list[Node])

    def set_input(self, node: Node, i: int, new: Tensor) -> None:
        """Replace an operand."""
        self._old.append((node, i, node.inputs[i]))
        node.set_input(i, new)

    def insert_before(self, anchor: Node, node: Node) -> Node:
        """Add a node."""
        self._added.append(node)
        return self.graph.insert_before(anchor, node)

    def undo(self) -> None:
        """Bring the graph back to what it was."""
        for node, i, tensor in reversed(self._old):
            node.set_input(i, tensor)
        for node in reversed(self._added):
            self.graph.remove(node)
        self._old.clear()
        self._added.clear()


def propose_equalisations(
    plan: Plan,
    scheme: Scheme,
    interpreter: Interpreter,
    samples: Iterable[Mapping[str, Array]],
    *,
    exponents: Sequence[float] = EXPONENTS,
) -> list[Equalisation]:
    """The changes that are predicted to pay, in the graph's order.

    Args:
        plan: what will be quantized.
        scheme: the target's; what is in its `per_channel` has a scale per output channel.
        interpreter: of the float model.
        samples: some calibration samples.
        exponents: powers of the channels' ranges that are tried as factors.
    """
    wanted = channel_axes(plan)
    if not wanted:
        return []
    return choose_equalisations(plan, scheme, collect_channels(wanted, interpreter, samples), exponents)


def channel_axes(plan: Plan) -> dict[Tensor, int]:
    """The tensors whose channels decide about changes, with the axis of the channels."""
    wanted: dict[Tensor, int] = {}
    for tensor, items in _readers(plan).items():
        wanted[tensor] = channel_axis(items[0].node, tensor.type.rank)
        wanted.update((i.node.output, channel_axis(i.node, i.node.output.type.rank)) for i in items)
    return wanted


def choose_equalisations(
    plan: Plan, scheme: Scheme, channels: Mapping[Tensor, ChannelRange], exponents: Sequence[float] = EXPONENTS
) -> list[Equalisation]:
    """The same with what samples showed of the `channel_axes`; activations that they did not show stay as they are."""
    readers = _readers(plan)
    across = _pairs(plan, readers, scheme)
    factors = cross_layer_factors([(maker, nodes) for maker, nodes in across.values()])
    found: list[Equalisation | None] = []
    for tensor, items in readers.items():
        if any(seen not in channels for seen in (tensor, *(item.node.output for item in items))):
            continue
        if tensor in across:
            found.append(_across(tensor, items, across[tensor][0], factors[across[tensor][0]], channels, scheme))
        else:
            found.append(_best(tensor, items, channels, scheme, exponents))
    return [change for change in found if change is not None]


def cross_layer_factors(pairs: Sequence[tuple[Node, tuple[Node, ...]]]) -> dict[Node, Array]:
    """Factors that divide the results of nodes, channel by channel, and multiply the weights that read them.

    With a[c] the greatest magnitude of what the maker's weight has for channel c, b[c] that of the readers' weights,

        s[c] = sqrt(a[c] / b[c])

    makes both sqrt(a[c] * b[c]) (arXiv 1906.04721, equation 11). A weight may be a reader in one pair and a maker in
    another: the pairs are gone through until the factors are steady. A channel that is all 0 in a weight keeps 1.

    Args:
        pairs: makers with the nodes that read their results (or what commuting operators make of them).

    Returns:
        The factors by maker, [C].
    """
    views = {
        node: WeightView.of(node, w.numpy())
        for maker, readers in pairs
        for node in (maker, *readers)
        if (w := node.inputs[1]) is not None
    }
    greatest = {node: np.abs(view.values).max(axis=2, initial=0.0).astype(np.float64) for node, view in views.items()}
    inputs = {node: view.inputs for node, view in views.items()}
    factors = {maker: np.ones(len(greatest[maker])) for maker, _ in pairs}
    for _ in range(SWEEPS):
        change = 0.0
        for maker, readers in pairs:
            made = greatest[maker].max(axis=1, initial=0.0)
            read = np.zeros_like(made)
            for node in readers:
                np.maximum.at(read, inputs[node], greatest[node])
            used = (made > 0) & (read > 0)
            factor = np.sqrt(np.divide(made, read, out=np.ones_like(made), where=used))
            greatest[maker] /= factor[:, None]
            for node in readers:
                greatest[node] *= factor[inputs[node]]
            factors[maker] *= factor
            change = max(change, float(np.abs(np.log(factor)).max(initial=0.0)))
        if change < STEADY:
            break
    return factors


def apply_equalisations(graph: Graph, changes: Sequence[Equalisation]) -> Edits:
    """Make the changes; the graph computes what it did."""
    edits = Edits(graph)
    for change in changes:
        for node in change.readers:
            w = node.inputs[1]
            assert w is not None
            edits.set_input(node, 1, scaled_inputs(node, w, change.factor))
        divide_activation(edits, change)
    return edits


def divide_activation(edits: Edits, change: Equalisation) -> None:
    """The half of a change that concerns the activation: its channels are divided, by its maker or a multiplication."""
    if change.maker is not None:
        _divide_results(edits, change.maker, change.factor)
    else:
        _insert(edits, change)


# ------------------------------------------------------------------------------------------------------------ choosing
def _readers(plan: Plan) -> dict[Tensor, list[QuantizedNode]]:
    """The activations that only quantized nodes with a constant weight read as integers, with those nodes."""
    others = {item.operand(i) for item in plan.nodes if item.weight is None for i in item.activations}
    found: dict[Tensor, list[QuantizedNode]] = {}
    for item in plan.nodes:
        if item.weight is None or item.activations != (0,) or item.operand(item.weight).type.rank < 2:
            continue
        if item.node.op_type == "MatMul" and item.operand(item.weight).type.rank > 2:
            continue
        x = item.operand(0)
        extent = x.type.dims[channel_axis(item.node, x.type.rank)]
        if x not in others and isinstance(extent, int) and extent > 1:
            found.setdefault(x, []).append(item)
    axes = {x: {channel_axis(item.node, x.type.rank) for item in items} for x, items in found.items()}
    return {x: items for x, items in found.items() if len(axes[x]) == 1}


def _pairs(
    plan: Plan, readers: Mapping[Tensor, Sequence[QuantizedNode]], scheme: Scheme
) -> dict[Tensor, tuple[Node, tuple[Node, ...]]]:
    """The activations that a quantized node with one scale for its weight makes, with that node and the readers."""
    quantized = {item.node for item in plan.nodes if item.weight is not None}
    found: dict[Tensor, tuple[Node, tuple[Node, ...]]] = {}
    for tensor, items in readers.items():
        nodes = tuple(item.node for item in items)
        maker = maker_of(tensor, nodes, None)
        is_one_scale = maker is not None and maker in quantized and maker.op_type not in scheme.per_channel
        if maker is not None and is_one_scale:
            found[tensor] = maker, nodes
    return found


def _across(
    tensor: Tensor,
    items: Sequence[QuantizedNode],
    maker: Node,
    factor: Array,
    channels: Mapping[Tensor, ChannelRange],
    scheme: Scheme,
) -> Equalisation | None:
    """The change of one activation between two layers; None where the channels are even."""
    if np.abs(np.log(factor)).max() < STEADY or not np.all(np.isfinite(factor)):
        return None
    before, after = noise_of_readers(items, [np.ones_like(factor), factor], channels, scheme)
    gain = after / before if before > 0 else 1.0
    return Equalisation(tensor, tuple(item.node for item in items), factor, maker, gain)


def _best(
    tensor: Tensor,
    items: Sequence[QuantizedNode],
    channels: Mapping[Tensor, ChannelRange],
    scheme: Scheme,
    exponents: Sequence[float],
) -> Equalisation | None:
    """The change of one activation that is predicted to gain most; None when none gains enough."""
    x = channels[tensor]
    nodes = tuple(item.node for item in items)
    maker = maker_of(tensor, nodes, scheme)
    if maker is None and scheme.placement != "compute":
        return None  # between integers a multiplication would round as coarsely as what it is to mend
    peak = x.magnitude.max()
    if not np.isfinite(peak) or peak <= 0 or x.count < LEAST_COUNT:
        return None
    if not all(np.isfinite(channels[node.output].energy).all() for node in nodes):
        return None  # weights with infinity or NaN, which will stay in float
    relative = np.clip(x.expected / peak, LEAST_FACTOR, 1.0)
    least = _least_factors(tensor, maker, x)
    room = CUT_EXPONENT if least.any() else max(exponents)
    factors = [np.maximum(relative**exponent, least) for exponent in exponents if exponent <= room]
    before, *tried = noise_of_readers(items, [np.ones_like(relative), *factors], channels, scheme)
    if before <= 0:
        return None
    noise = [each / before for each in tried]
    best = int(np.argmin(noise))
    if noise[best] > (INSERTED_GAIN if maker is None else FOLDED_GAIN):
        return None
    return Equalisation(tensor, nodes, factors[best], maker, noise[best])


def _least_factors(tensor: Tensor, maker: Node | None, seen: ChannelRange) -> Array:
    """[C], the least factors with which no Clip between an activation and its maker cuts what samples showed."""
    least = np.zeros_like(seen.high)
    while maker is not None and tensor.producer is not None and tensor.producer is not maker:
        op, operand = tensor.producer.op, tensor.producer.inputs[0]
        if isinstance(op, Clip):
            for bound, end in ((op.min, seen.low), (op.max, seen.high)):
                if bound is not None:
                    least = np.maximum(least, np.divide(end, bound, out=np.zeros_like(end), where=end != 0))
        assert operand is not None  # `maker_of` came this way
        tensor = operand
    return least


def noise_of_readers(
    items: Sequence[QuantizedNode],
    factors: Sequence[Array],
    channels: Mapping[Tensor, ChannelRange],
    scheme: Scheme,
) -> list[float]:
    """The predicted noise of all readers of an activation together, for each of some factors of its channels."""
    found = [_noise_of_one(item, factors, channels, scheme) for item in items]
    return [sum(noises) for noises in zip(*found, strict=True)]


def _noise_of_one(
    item: QuantizedNode, factors: Sequence[Array], channels: Mapping[Tensor, ChannelRange], scheme: Scheme
) -> list[float]:
    """The relative noise of one node's result from both roundings: mean over its channels of noise by signal.

    Args:
        item: the node.
        factors: [C], what the channels of the activation are divided by.
        channels: what they and those of the result showed.
        scheme: the target's.
    """
    assert item.weight is not None
    weight, x = item.operand(item.weight), channels[item.operand(0)]
    view = WeightView.of(item.node, weight.numpy())
    outputs, width, taps = view.values.shape
    by_weight = [factor.reshape(view.groups, width) for factor in factors]
    energies, limits = _sums_of_rows(view, by_weight)
    if weight.data is not None:
        weight.data.release()
    signal = channels[item.node.output].mean_square
    signal = signal + FLOOR * signal.mean() + 1e-30
    mean_square = x.mean_square.reshape(view.groups, width)
    noises: list[float] = []
    for i, factor in enumerate(factors):
        limit = limits[i]
        if item.node.op_type not in scheme.per_channel:
            limit = np.full_like(limit, limit.max(initial=0.0))
        power = (mean_square / by_weight[i] ** 2).sum(axis=1).repeat(outputs // view.groups) * taps
        rounding = energies[i] * _activation_step(x, factor, scheme) ** 2 + power * (limit / WEIGHT_LIMIT) ** 2
        noises.append(float(np.mean(rounding / signal) / 12))
    return noises


def _sums_of_rows(view: WeightView, factors: Sequence[Array]) -> tuple[Array, Array]:
    """[factors, M] of a weight times factors [groups, width]: sums of the squares of rows, and greatest magnitudes.

    Some rows at a time: a wide layer's weight in f64, once more for every factor, is more than a run of a model takes.
    """
    outputs, width, taps = view.values.shape
    groups = view.values.reshape(view.groups, outputs // view.groups, width, taps)
    energies, limits = np.empty((2, len(factors), *groups.shape[:2]))
    rows = max(AT_ONCE // max(view.groups * width * taps, 1), 1)
    for start in range(0, groups.shape[1], rows):
        some = slice(start, start + rows)
        energy = np.square(groups[:, some], dtype=np.float64).sum(axis=3)
        greatest = np.abs(groups[:, some]).max(axis=3, initial=0.0)
        for i, factor in enumerate(factors):
            energies[i, :, some] = np.matmul(energy, (factor**2)[:, :, None])[..., 0]
            limits[i, :, some] = (greatest * factor[:, None]).max(axis=2, initial=0.0)
    return energies.reshape(len(factors), outputs), limits.reshape(len(factors), outputs)


def _activation_step(x: ChannelRange, factor: Array, scheme: Scheme) -> float:
    """The width of a step of an activation whose channels are divided."""
    if scheme.symmetric:
        return float((x.magnitude / factor).max()) / WEIGHT_LIMIT
    return float((x.high / factor).max() - (x.low / factor).min()) / 255


# ------------------------------------------------------------------------------------------------------------ changing
def maker_of(tensor: Tensor, readers: Sequence[Node], scheme: Scheme | None) -> Node | None:
    """The node whose parameters can divide the channels of an activation that only the readers use.

    With a scheme, only one whose weight has a scale per channel, which its rounding then does not notice.
    """
    axis = channel_axis(readers[0], tensor.type.rank)
    users: set[Node] = set(readers)
    while tensor.producer is not None and not tensor.is_output and users.issuperset(tensor.users):
        node = tensor.producer
        commutes = node.op_type in (COMMUTING if axis == 1 else ELEMENTWISE) or _cuts(node.op, scheme)
        if commutes and node.inputs[0] is not None:
            tensor, users = node.inputs[0], {node}
            continue
        if isinstance(node.op, LayerNorm):
            fits = axis == tensor.type.rank - 1 and node.op.axis in (-1, axis)
            return node if fits and all(t is not None and t.is_constant for t in _parameters(node)) else None
        if isinstance(node.op, affine.WEIGHTED) and affine.is_foldable(node):
            is_free = scheme is None or node.op_type in scheme.per_channel
            return node if is_free and channel_axis(node, tensor.type.rank) == axis else None
        return None
    return None


def _cuts(op: Operator, scheme: Scheme | None) -> bool:
    """Whether an operator keeps what is near 0 and cuts what is beyond bounds, and the target makes integers of it.

    It commutes with a channel's factor s < 1 as long as the bounds times s are beyond the channel's values. What no
    sample shows may be cut sooner than in the model, as where integers end. Where what lies between layers is float it
    is not done: on a CPU MobileNetV2 has 35.6 dB with it, 36.0 dB without (mean of six sets of 32 samples).
    """
    within = isinstance(op, Clip) and (op.min is None or op.min <= 0) and (op.max is None or op.max >= 0)
    return within and scheme is not None and scheme.placement == "all"


def _parameters(node: Node) -> tuple[Tensor | None, ...]:
    """Scale and bias of a LayerNorm; None where it has none."""
    inputs = node.inputs
    return tuple(inputs[i] if i < len(inputs) else None for i in (1, 2))


def _divide_results(edits: Edits, node: Node, factor: Array) -> None:
    """Let a node's parameters divide the channels of its result."""
    inverse = 1.0 / factor
    if isinstance(node.op, LayerNorm):
        for i in (1, 2):
            old = node.inputs[i]
            assert old is not None
            edits.set_input(node, i, constant((old.numpy() * inverse).astype(old.type.dtype.numpy), old.name))
        return
    edits.set_input(node, 1, affine.scaled_weights(node, inverse))
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        edits.set_input(node, 2, constant((bias.numpy() * inverse).astype(bias.type.dtype.numpy), bias.name))


def _insert(edits: Edits, change: Equalisation) -> None:
    """A multiplication in front of the readers."""
    first, tensor = change.readers[0], change.tensor
    axis, rank = channel_axis(first, tensor.type.rank), tensor.type.rank
    shape = tuple(-1 if i == axis else 1 for i in range(rank))
    name = f"{display_name(tensor)}_equalised"
    inverse: Any = (1.0 / change.factor).reshape(shape).astype(tensor.type.dtype.numpy)
    location = Location.fused([first.loc], by="equalise")
    node = Node(Mul(), [tensor, constant(inverse, f"{name}_by")], name=name, loc=location, output_names=[name])
    edits.insert_before(first, node)
    for reader in change.readers:
        edits.set_input(reader, 0, node.output)
