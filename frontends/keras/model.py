"""The neutral form of a Keras model: layers, the calls between them, and nested models.

Three sources give it: a `.keras` archive, a legacy `.h5` file, and a live model. All three hold the same configuration,
of Keras 3 (arguments with `__keras_tensor__` in them) or of Keras 2 (lists `[layer, call, result, arguments]`);
`config.py` parses it. The weights come separately, see `weights.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import attrs

from uair.ir.data import Data

Config: TypeAlias = "Mapping[str, Any]"
Value: TypeAlias = "Any"
"""A number, a string, None, a slice, an Ellipsis, an array, a Ref, or a list, tuple or dictionary of such."""

NETWORKS = frozenset({"Functional", "Model", "Sequential"})
"""Classes whose configuration is a graph of layers."""
OPERATIONS = "ops."
"""Begins the kind of what is no layer but a function called on symbolic tensors (`keras.ops.add`)."""


@attrs.frozen
class Ref:
    """Result `result` of call number `call` of the layer named `layer`, in the same network."""

    layer: str
    call: int
    result: int


@attrs.frozen
class Call:
    """One use of a layer: what it was called with."""

    args: tuple[Value, ...]
    kwargs: Mapping[str, Value]


@attrs.define(eq=False, repr=False)
class Layer:
    """A layer, an operation, or a nested model.

    Attributes:
        kind: its class; `ops.Add` for an operation; with the module for a class that is not Keras's own.
        name: unique in its network.
        path: names from the model down, "encoder/dense".
        config: what its constructor takes.
        calls: its uses in the network that holds it.
        first_call: the number by which references mean the first of them: Keras 2 counts the construction of a nested
            model as number 0, and leaves it out.
        network: of a nested model.
        children: the layers that it wraps, by attribute.
        weights: its own variables by name, in the order of their creation.
        built: the shape that it was built for, where the file tells.
    """

    kind: str
    name: str
    path: str
    config: Config
    calls: list[Call] = attrs.Factory(list)
    first_call: int = 0
    network: Network | None = None
    children: dict[str, Layer] = attrs.Factory(dict)
    weights: dict[str, Data] = attrs.Factory(dict)
    built: Any = None

    @property
    def is_operation(self) -> bool:
        """Whether it is a function, which has no weights and no place among the model's layers."""
        return self.kind.startswith(OPERATIONS)

    @property
    def trainable(self) -> bool:
        """Whether its weights count as trainable, which decides on their order in legacy files."""
        return self.config.get("trainable", True) is not False

    @property
    def place(self) -> str:
        """The layer in words, for messages."""
        return f"Keras layer {self.path!r} ({self.kind})"

    def walk(self) -> Iterator[Layer]:
        """The layer, those it wraps and those of its network."""
        yield self
        for child in self.children.values():
            yield from child.walk()
        if self.network is not None:
            for layer in self.network.layers:
                yield from layer.walk()

    def __repr__(self) -> str:
        return f"<{self.place}>"


@attrs.define(eq=False)
class Network:
    """A graph of layers.

    Attributes:
        name: of the model.
        layers: in the order of the configuration.
        inputs: a Ref, or a list or dictionary of such.
        outputs: likewise.
        sequential: whether it is a Sequential model, whose weights leave the input layer out.
    """

    name: str
    layers: list[Layer]
    inputs: Value
    outputs: Value
    sequential: bool = False


def mapped(value: Value, change: Callable[[Value], Value]) -> Value:
    """A structure of lists, tuples and dictionaries with every leaf replaced by what `change` makes of it."""
    if isinstance(value, (list, tuple)):
        return type(value)(mapped(v, change) for v in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {k: mapped(v, change) for k, v in value.items()}
    return change(value)


def leaves(value: Value) -> Iterator[Value]:
    """The leaves of a structure; dictionaries in the order of their keys, as Keras flattens them."""
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v)
    elif isinstance(value, dict):
        for k in sorted(value):
            yield from leaves(value[k])
    else:
        yield value


def refs(value: Value) -> list[Ref]:
    """The references in a structure."""
    return [v for v in leaves(value) if isinstance(v, Ref)]


def all_layers(layers: Iterable[Layer]) -> Iterator[Layer]:
    """The layers of a network with all that are nested in them."""
    for layer in layers:
        yield from layer.walk()
