"""Two models on the same inputs, one node at a time: how far their layers are apart, and where it begins.

Both are run by the interpreter side by side. A value is held until its partner is there, so that memory holds little
more than the two runs; sums over the samples are kept, never values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np

from uair.codegen.reference import Interpreter
from uair.codegen.reference.feeds import is_stored
from uair.codegen.reference.interpreter import Execution
from uair.driver.difference.errors import NotComparable
from uair.driver.difference.pairing import Pair, Pairing, label, pair_graphs
from uair.errors import UairError
from uair.ir.dims import is_static, static
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.quant.comparison import ErrorSums, OutputErrors

FIRST, SECOND = "the first model", "the second model"

Visit = Callable[[Pair, Array, Array], None]


@attrs.frozen(eq=False)
class Layer:
    """One layer of both models.

    Attributes:
        name: of the layer in the first model, in the words of the user's model.
        pair: the two tensors.
        errors: over all samples, of everything up to here.
        shape: of its values in the last sample.
        before: SQNR of its worst operand in dB; infinite when all operands are exact.
        behind: name of that operand's layer; empty when all operands are exact.
    """

    name: str
    pair: Pair
    errors: ErrorSums
    shape: tuple[int, ...] = ()
    before: float = math.inf
    behind: str = ""

    @property
    def added(self) -> float:
        """Noise by signal that comes in here: its own less that of its worst operand, each 1 at most; 0 or more.

        Decibels would not do: the first rounding behind exact operands is an infinite drop, and no harm.
        """
        return max(_noise_share(self.errors.sqnr) - _noise_share(self.before), 0.0)

    @property
    def operators(self) -> tuple[str, str]:
        """The operators that compute it."""
        a, b = self.pair.a.producer, self.pair.b.producer
        return a.op_type if a else "", b.op_type if b else ""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        a, b = self.pair.a, self.pair.b
        assert a.producer is not None and b.producer is not None
        return {
            "name": self.name,
            "operators": list(self.operators),
            "sources": [s.name for s in a.producer.loc.sources],
            "made_by": [m for m in b.producer.loc.by if m not in a.producer.loc.by],
            "tensors": [a.name, b.name],
            "shape": list(self.shape),
            "paired_by": self.pair.how,
            **self.errors.to_json(),
            "before_db": round(self.before, 2) if math.isfinite(self.before) else None,
            "behind": self.behind,
            "added_noise": self.added,
        }


@attrs.frozen(eq=False, repr=False)
class LayerErrors:
    """What the comparison of two models found.

    Attributes:
        layers: in the execution order of the first model.
        outputs: in its order.
        pairing: which tensor is which, and what has no partner.
        not_compared: pairs whose values do not fit together, with the reason.
        samples: how many were run.
    """

    layers: tuple[Layer, ...]
    outputs: tuple[OutputErrors, ...]
    pairing: Pairing
    not_compared: tuple[tuple[str, str], ...]
    samples: int

    def __repr__(self) -> str:
        lowest = min((layer.errors.sqnr for layer in self.layers), default=math.inf)
        return f"<difference of {len(self.layers)} layers on {self.samples} samples: at worst {lowest:.1f} dB>"

    def worst(self, count: int) -> list[Layer]:
        """The layers with the least SQNR, worst first."""
        return sorted(self.layers, key=lambda layer: layer.errors.sqnr)[:count]

    @property
    def worst_drop(self) -> Layer | None:
        """The layer that adds most noise to what it gets; None when none does."""
        layer = max(self.layers, key=lambda each: each.added, default=None)
        return layer if layer is not None and layer.added > 0 else None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        drop = self.worst_drop
        return {
            "samples": self.samples,
            "outputs": [output.to_json() for output in self.outputs],
            "worst_drop": None if drop is None else drop.name,
            "layers": [layer.to_json() for layer in self.layers],
            "only_first": [node_json(node) for node in self.pairing.only_a],
            "only_second": [node_json(node) for node in self.pairing.only_b],
            "not_compared": [{"name": name, "reason": reason} for name, reason in self.not_compared],
        }


def _noise_share(sqnr: float) -> float:
    """Noise by signal of an SQNR in dB, 1 at most: what is more noise than signal says nothing any more."""
    return min(10 ** (-sqnr / 10), 1.0) if sqnr > 0 else 1.0


def node_json(node: Node) -> dict[str, Any]:
    """A node as plain data: name, operator, source nodes, makers."""
    return {
        "name": label(node),
        "operator": node.op_type,
        "sources": [s.name for s in node.loc.sources],
        "made_by": list(node.loc.by),
    }


def compare_layers(a: Module, b: Module, samples: Iterable[Mapping[str, Any]]) -> LayerErrors:
    """Run two models side by side on the same inputs.

    What happens inside of branches and loops is not compared, only what they give.

    Args:
        a: the model that the other is held against.
        b: the other; its inputs are the first model's by name, or in order.
        samples: arrays by the first model's input names.

    Raises:
        NotComparable: the models do not have the same number of inputs, no output in common, or there are no samples.
        UairError: an input does not fit, or a node cannot be evaluated; the message says in which model.
    """
    pairing = pair_graphs(a.main, b.main)
    study = _Study(pairing)
    first, second = Interpreter(a), Interpreter(b)
    count = 0
    for sample in samples:
        feeds = second_feeds(pairing, a.main, b.main, sample)
        with _naming(f"sample {count}"):
            study.run(first, second, sample, feeds)
        count += 1
    if not count:
        raise NotComparable("there are no inputs to run the models on", hint="give --input or --samples")
    return study.finish(a.main, count)


def second_feeds(pairing: Pairing, a: Graph, b: Graph, sample: Mapping[str, Any]) -> dict[str, Any]:
    """The second model's inputs, from the first one's: other names, channels in another place, floats of another width.

    Raises:
        NotComparable: the second model takes something else.
    """
    names_a = dict(zip(a.inputs, a.input_names, strict=True))
    names_b = dict(zip(b.inputs, b.input_names, strict=True))
    feeds: dict[str, Any] = {}
    for pair in pairing.inputs:
        name = names_a[pair.a]
        if name not in sample:
            continue  # which the first model's own check of its feeds reports
        feeds[names_b[pair.b]] = _fed(sample[name], pair.b, f"{name!r} and {names_b[pair.b]!r}")
    return feeds


def _fed(value: Any, tensor: Tensor, names: str) -> Any:
    """A value for the first model's input as the second model's takes it."""
    t = tensor.type
    if not t.is_tensor or not isinstance(value, np.ndarray):
        return value
    wanted = t.dtype.numpy
    if value.dtype != wanted:
        if value.dtype.kind not in "fV" or not t.dtype.is_float:
            raise NotComparable(
                f"the inputs {names} hold {value.dtype} and {t.dtype}",
                hint="read both with the same interface (for .tflite: --load numbers=real)",
            )
        value = value.astype(wanted)
    if t.shape is None or not is_static(t.shape) or value.shape == t.shape:
        return value
    return next(variants(value, static(t.shape)), value)


def variants(value: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """The value in that shape: as it is, without or with axes of one element, with the channels first or last."""
    if value.shape == shape:
        yield value
        return
    if value.ndim == len(shape) and value.ndim > 2:
        for source, target in ((-1, 1), (1, -1)):
            moved = np.moveaxis(value, source, target)
            if moved.shape == shape:
                yield moved
    if [d for d in value.shape if d != 1] == [d for d in shape if d != 1]:
        yield value.reshape(shape)


@contextmanager
def _naming(what: str) -> Generator[None, None, None]:
    """Says in an error what it is about: which model, which sample."""
    try:
        yield
    except UairError as error:
        error.place = f"{error.place}, {what}" if error.place else what
        raise


@attrs.define(eq=False)
class _Study:
    """The sums of all pairs."""

    pairing: Pairing
    errors: dict[Tensor, ErrorSums] = attrs.Factory(dict[Tensor, ErrorSums])
    shapes: dict[Tensor, tuple[int, ...]] = attrs.Factory(dict[Tensor, "tuple[int, ...]"])
    outputs: dict[str, OutputErrors] = attrs.Factory(dict[str, OutputErrors])
    reasons: dict[str, str] = attrs.Factory(dict[str, str])

    def run(self, first: Interpreter, second: Interpreter, sample: Mapping[str, Any], feeds: Mapping[str, Any]) -> None:
        """One sample through both models."""
        with _naming(FIRST):
            left = first.start(sample)
        with _naming(SECOND):
            right = second.start(feeds)
        results = self.pairing.results
        _walk(
            _Side(left, {pair.a: pair for pair in results}, FIRST),
            _Side(right, {pair.b: pair for pair in results}, SECOND),
            self._visit,
        )
        for name, pair in self.pairing.outputs:
            fitting = self._fitting(name, pair, left.value(pair.a), right.value(pair.b))
            if fitting is not None:
                self.outputs.setdefault(name, OutputErrors(name)).add(*fitting)

    def _visit(self, pair: Pair, expected: Any, actual: Any) -> None:
        assert pair.a.producer is not None
        fitting = self._fitting(label(pair.a.producer), pair, expected, actual)
        if fitting is not None:
            self.errors.setdefault(pair.a, ErrorSums()).add(*fitting)
            self.shapes[pair.a] = fitting[0].shape

    def _fitting(self, name: str, pair: Pair, expected: Any, actual: Any) -> tuple[Array, Array] | None:
        """Both values as arrays of numbers in one shape; None, and the reason noted, when they cannot be compared."""
        a, b = _logical(pair.a, expected), _logical(pair.b, actual)
        if a is None or b is None:
            self.reasons.setdefault(name, "its values are no arrays of numbers")
            return None
        b = next(variants(b, a.shape), None)
        if b is None:
            self.reasons.setdefault(name, f"shapes {list(np.shape(expected))} and {list(np.shape(actual))}")
            return None
        return a, b

    def finish(self, a: Graph, count: int) -> LayerErrors:
        """The layers, with where errors begin."""
        levels: dict[Tensor, tuple[float, str]] = {}
        pairs = {pair.a: pair for pair in self.pairing.results}
        layers: list[Layer] = []
        for node in a:
            captured = [t for region in node.regions for t in region.captures()]
            operands = [levels[t] for t in (*node.inputs, *captured) if t is not None and t in levels]
            before, behind = min(operands, key=lambda level: level[0], default=(math.inf, ""))
            for tensor in node.outputs:
                errors, name = self.errors.get(tensor), label(node)
                if errors is None:
                    levels[tensor] = before, behind
                    continue
                levels[tensor] = errors.sqnr, name if errors.sqnr < math.inf else ""
                layers.append(Layer(name, pairs[tensor], errors, self.shapes[tensor], before, behind))
        return LayerErrors(
            tuple(layers), tuple(self.outputs.values()), self.pairing, tuple(self.reasons.items()), count
        )


@attrs.define(eq=False)
class _Side:
    """One of the two runs.

    Attributes:
        run: the run.
        pairs: by tensor, of those that have a partner.
        model: which one it is, for messages.
        held: values whose partners are not there yet.
    """

    run: Execution
    pairs: Mapping[Tensor, Pair]
    model: str
    held: dict[Pair, Any] = attrs.Factory(dict[Pair, Any])

    def advance(self) -> list[tuple[Pair, Any]]:
        """Run one node; its results that have a partner. Nothing at the end."""
        node = self.run.node
        if node is None:
            return []
        with _naming(self.model):
            results = self.run.advance()
        return [(self.pairs[t], value) for t, value in zip(node.outputs, results, strict=True) if t in self.pairs]


def _walk(left: _Side, right: _Side, visit: Visit) -> None:
    """Advance both runs to their ends and show every pair of values when the second of them is there."""
    while left.run.node is not None:
        for pair, value in left.advance():
            if pair in right.held:
                visit(pair, value, right.held.pop(pair))
                continue
            left.held[pair] = value
            while pair in left.held and right.run.node is not None:
                _catch_up(left, right, visit)
    while right.run.node is not None:
        _catch_up(left, right, visit)


def _catch_up(left: _Side, right: _Side, visit: Visit) -> None:
    """Advance the second run by a node."""
    for pair, value in right.advance():
        if pair in left.held:
            visit(pair, left.held.pop(pair), value)
        else:
            right.held[pair] = value


def _logical(tensor: Tensor, value: Any) -> Array | None:
    """A value as an array of numbers in the tensor's logical shape; None for anything else."""
    if not isinstance(value, np.ndarray) or value.dtype.kind in "OUST":
        return None
    shape = tensor.type.shape
    if not is_stored(tensor.type.layout):
        return value
    return tensor.type.layout.unpack(value, static(shape)) if shape is not None and is_static(shape) else None
