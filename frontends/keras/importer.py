"""The walk over the layers of a Keras model that builds a Module."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from uair.frontends.common.builder import Builder
from uair.frontends.common.errors import SourceFileError, SourceOperatorError, UnmappedOperatorError, placed
from uair.frontends.common.table import joined
from uair.frontends.keras.dtypes import Policy, dtype_named, policy_of
from uair.frontends.keras.errors import KerasModelError
from uair.frontends.keras.handlers import FAMILIES
from uair.frontends.keras.model import NETWORKS, OPERATIONS, Layer, Network, Ref, Value, leaves, mapped, refs
from uair.frontends.keras.node import Handler, KerasNode
from uair.ir.dims import Dim, symbol
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Tensor
from uair.ir.inference import number_unknowns
from uair.ir.module import Module, Origin
from uair.ir.types import TensorType

MAX_CALLS = 1_000_000
"""Calls of layers in a model, nested models counted at every use."""
MAX_NAMED = 20
"""Layers that one message names."""
BATCH = "batch"
CELLS = ("LSTMCell", "GRUCell", "SimpleRNNCell", "ConvLSTMCell", "StackedRNNCells")
TRANSPARENT = frozenset({"InputLayer", *NETWORKS, *CELLS})
"""What the walk itself sees to; cells are part of the layer that holds them."""

_REASONS = {
    "SpectralNormalization": "it changes its layer's kernel as it runs; take the wrapped layer with its final kernel",
    "TextVectorization": "text is cut into tokens before the model: do it in front, with the same vocabulary",
    "StringLookup": "strings are looked up before the model: do it in front, with the same vocabulary",
    "Hashing": "strings are hashed before the model: do it in front",
    "TFSMLayer": "it runs a SavedModel: load that folder itself",
    "TorchModuleWrapper": "it runs a PyTorch module: load that itself",
    "JaxLayer": "it runs a function of JAX, which a Keras file does not hold",
}


@functools.cache
def handlers() -> Mapping[str, Handler]:
    """Every handler, by the class of the layer, `ops.` in front for operations."""
    return joined(FAMILIES)


def unmapped(model: Layer) -> dict[str, list[Layer]]:
    """The layers that have no handler, by class."""
    found: dict[str, list[Layer]] = {}
    for layer in model.walk():
        if layer.kind not in TRANSPARENT and layer.kind not in handlers():
            found.setdefault(layer.kind, []).append(layer)
    return found


class Importer:
    """Imports one model.

    Attributes:
        graph: being built.
        builder: that appends to it.
        masks: of time steps, by the tensors that they go with.
        old: whether the model is of Keras 2 or older, where `hard_sigmoid` had another slope.
    """

    def __init__(self) -> None:
        self.graph = Graph("main")
        self.builder = Builder()
        self.masks: dict[Tensor, Tensor] = {}
        self.calls = 0
        self.old = False

    def run(self, model: Layer, origin: Origin) -> Module:
        """The module of a model.

        Raises:
            UnmappedOperatorError: it uses layers that have no canonical counterpart; all are listed.
            UairError: a layer is wrong or cannot be expressed; the error names it.
        """
        assert model.network is not None
        _require_mapped(model)
        self.old = _is_old(origin)
        network = model.network
        inputs = [self._input(network, ref) for ref in refs(network.inputs)]
        outputs = self.network(network, inputs)
        for name, tensor in _named(network.outputs, outputs):
            self.graph.add_output(name, tensor)
        module = Module(network.name or "model", {"main": self.graph}, origin)
        number_unknowns(module)
        return module

    # ------------------------------------------------------------------ inputs
    def _input(self, network: Network, ref: Ref) -> Tensor:
        layer = next((layer for layer in network.layers if layer.name == ref.layer), None)
        if layer is None or layer.kind != "InputLayer":
            raise SourceFileError(f"the model's input {ref.layer!r} is no InputLayer", place=f"model {network.name!r}")
        config = layer.config
        if config.get("sparse") or config.get("ragged"):
            kind = "sparse" if config.get("sparse") else "ragged"
            raise SourceOperatorError(
                f"the input is a {kind} tensor", place=layer.place, hint="declare it dense, and pad what is given"
            )
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        if not isinstance(shape, (list, tuple)):
            raise KerasModelError("the input has no shape", place=layer.place)
        dims = tuple(self._extent(layer, i, d) for i, d in enumerate(shape))
        dtype = dtype_named(policy_name(config.get("dtype")), layer.place)
        return self.graph.add_input(layer.name, TensorType(dtype, dims))

    @staticmethod
    def _extent(layer: Layer, axis: int, extent: Any) -> Dim:
        if extent is None:
            plain = re.sub(r"\W", "_", layer.name)
            return symbol(BATCH if axis == 0 else f"{plain if plain[:1].isalpha() else f'x_{plain}'}_{axis}")
        if isinstance(extent, bool) or not isinstance(extent, int) or not 0 <= extent < 2**31:
            raise SourceFileError(f"the input has the extent {extent!r}", place=layer.place)
        return extent

    # ------------------------------------------------------------------ networks
    def network(self, network: Network, inputs: Sequence[Tensor]) -> Value:
        """Import a network's layers on the given inputs.

        Returns:
            The structure of its outputs.

        Raises:
            UairError: it is wrong or cannot be expressed.
        """
        declared = refs(network.inputs)
        if len(declared) != len(inputs):
            raise SourceOperatorError(
                f"the model takes {len(declared)} tensors, is given {len(inputs)}", place=f"model {network.name!r}"
            )
        walk = _Walk(self, network, dict(zip(declared, inputs, strict=True)))
        return mapped(network.outputs, walk.value)

    def call(self, layer: Layer, args: Sequence[Value], kwargs: Mapping[str, Value]) -> Value:
        """Import one call of a layer; what it gives.

        Raises:
            UairError: it is wrong or cannot be expressed; the place is the layer.
        """
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise SourceFileError(f"the model calls its layers more than {MAX_CALLS} times", place=layer.place)
        with placed(layer.place, layer.kind, parts="configuration or operands", inner="Keras layer"):
            if layer.network is not None:
                first = args[0] if args else next(iter(kwargs.values()), None)
                return self.network(layer.network, [t for t in leaves(first) if isinstance(t, Tensor)])
            return self._call(layer, args, kwargs)

    def _call(self, layer: Layer, args: Sequence[Value], kwargs: Mapping[str, Value]) -> Value:
        if layer.is_operation:
            node = KerasNode(self, self.graph, layer, args, kwargs, policy=Policy(DType.F32, DType.F32))
            return handlers()[layer.kind](node)
        policy = policy_of(layer.config.get("dtype"), layer.place)
        node = KerasNode(self, self.graph, layer, args, kwargs, policy=policy)
        if layer.config.get("autocast", True):
            node.args = tuple(mapped(a, lambda v: _autocast(node, v)) for a in node.args)
            node.kwargs = {k: mapped(a, lambda v: _autocast(node, v)) for k, a in node.kwargs.items()}
        return handlers()[layer.kind](node)


def _is_old(origin: Origin) -> bool:
    """Whether Keras 2 or older wrote a model; files that do not tell a version are older than those that do."""
    version = dict(origin.versions).get("keras", "")
    return version.startswith(("0.", "1.", "2.")) or (not version and origin.file.endswith((".h5", ".hdf5")))


def _autocast(node: KerasNode, value: Value) -> Value:
    """What a layer sees of an argument: floats come in its compute type."""
    compute = node.policy.compute
    if not isinstance(value, Tensor) or not value.type.dtype.is_float or not compute.is_float:
        return value
    result = node.cast(value, compute)
    if value in node.importer.masks:
        node.importer.masks[result] = node.importer.masks[value]
    return result


def policy_name(given: Any) -> Any:
    """The element type of an input, which old files write as a policy."""
    if isinstance(given, dict):
        config: Any = given.get("config", {})  # pyright: ignore[reportUnknownMemberType]
        return config.get("name") if isinstance(config, dict) else None  # pyright: ignore[reportUnknownMemberType]
    return "float32" if given is None else given


class _Walk:
    """One pass over a network: every call that an output needs is imported once, after what it needs itself."""

    def __init__(self, importer: Importer, network: Network, inputs: Mapping[Ref, Tensor]) -> None:
        self.importer = importer
        self.network = network
        self.layers = {layer.name: layer for layer in network.layers}
        self.results: dict[tuple[str, int], list[Value]] = {}
        for ref, tensor in inputs.items():
            self.results[(ref.layer, ref.call)] = [tensor]

    def value(self, ref: Value) -> Value:
        """What a reference stands for; anything else is itself."""
        if not isinstance(ref, Ref):
            return ref
        self._need((ref.layer, ref.call))
        found = self.results[(ref.layer, ref.call)]
        if not 0 <= ref.result < len(found):
            raise SourceFileError(
                f"result {ref.result} of layer {ref.layer!r} is used, it has {len(found)}", place=self._place()
            )
        return found[ref.result]

    def _place(self) -> str:
        return f"model {self.network.name!r}"

    def _need(self, wanted: tuple[str, int]) -> None:
        """Import a call and all that it needs; iterative, for chains may be long."""
        pending = [wanted]
        open_calls: set[tuple[str, int]] = set()
        while pending:
            key = pending[-1]
            if key in self.results:
                pending.pop()
                continue
            layer, args, kwargs = self._parts(key)
            missing = [
                k for k in dict.fromkeys((r.layer, r.call) for r in _refs(args, kwargs)) if k not in self.results
            ]
            if not missing:
                self._import(key, layer, args, kwargs)
                pending.pop()
            elif key in open_calls:
                raise SourceFileError(f"layer {key[0]!r} depends on itself", place=self._place())
            else:
                open_calls.add(key)
                pending.extend(reversed(missing))

    def _parts(self, key: tuple[str, int]) -> tuple[Layer, tuple[Value, ...], Mapping[str, Value]]:
        layer = self.layers.get(key[0])
        if layer is None:
            raise SourceFileError(f"there is no layer {key[0]!r}, which another one uses", place=self._place())
        number = key[1] - layer.first_call
        if not 0 <= number < len(layer.calls):
            raise SourceFileError(
                f"call {key[1]} of layer {key[0]!r} is used, it is called {len(layer.calls)} times", place=self._place()
            )
        call = layer.calls[number]
        return layer, call.args, call.kwargs

    def _import(self, key: tuple[str, int], layer: Layer, args: tuple[Value, ...], kwargs: Mapping[str, Value]) -> None:
        result = self.importer.call(
            layer,
            [mapped(a, self.value) for a in args],
            {k: mapped(a, self.value) for k, a in kwargs.items()},
        )
        self.results[key] = [v for v in leaves(result)]


def _refs(args: Iterable[Value], kwargs: Mapping[str, Value]) -> Iterator[Ref]:
    for value in (*args, *kwargs.values()):
        yield from refs(value)


def _named(declared: Value, outputs: Value) -> Iterator[tuple[str, Tensor]]:
    """The outputs with their names: the keys of a dictionary, else the layers that give them."""
    used: dict[str, int] = {}
    if isinstance(declared, dict):
        pairs = [(k, v) for k in sorted(declared) for v in leaves(outputs[k])]
    else:
        pairs = [(r.layer, v) for r, v in zip(refs(declared), leaves(outputs), strict=True)]
    for name, tensor in pairs:
        count = used[name] = used.get(name, 0) + 1
        if not isinstance(tensor, Tensor):
            raise SourceFileError(f"the output {name!r} is no tensor")
        yield (name if count == 1 else f"{name}_{count}"), tensor


def _require_mapped(model: Layer) -> None:
    """Refuse a model with layers that have no handler, all of them at once.

    Raises:
        UnmappedOperatorError: with the layers by class.
    """
    found = unmapped(model)
    if not found:
        return
    parts: list[str] = []
    for kind, layers in list(found.items())[:MAX_NAMED]:
        names = ", ".join(repr(layer.path) for layer in layers[:3])
        more = f" and {len(layers) - 3} more" if len(layers) > 3 else ""
        reason = _REASONS.get(kind)
        parts.append(f"{kind} ({names}{more}){f': {reason}' if reason else ''}")
    custom = any("." in kind.removeprefix(OPERATIONS) for kind in found)
    raise UnmappedOperatorError(
        f"{len(found)} classes of layers have no canonical counterpart: {'; '.join(parts)}",
        place=next(iter(found.values()))[0].place,
        hint=(
            "a class of your own is code that a file does not hold: build it from Keras's layers, or write a "
            "SavedModel with model.export(folder), which TensorFlow traces, and load that"
            if custom
            else "build the model without it, or write a SavedModel with model.export(folder) and load that"
        ),
    )
