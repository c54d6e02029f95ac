"""Puts the stored values of variables beside the layers that own them.

A `.keras` archive names them by the attributes that lead to a layer, `layers/conv2d_1/vars/0`; legacy files and live
models have one row of them for each layer of the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from uair.frontends.keras.errors import KerasWeightsError
from uair.frontends.keras.model import Layer, Network
from uair.frontends.keras.variables import Slot, snake_case, variables_of
from uair.ir.data import Data

Group = Callable[[str], "Sequence[Data] | None"]
"""The variables stored under a path of an archive, in order; None when it does not hold the path."""
Row = Sequence[tuple[str, Data]]
"""Names and values of the variables of one layer of a model."""
CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
"""What holds the layers of a network in an archive; the second in files of Keras 2.13 to 2.15."""
_CLASSES = {"GroupQueryAttention": "GroupedQueryAttention"}
"""Classes that are exported under another name than their own, by which archives call them."""
_ALIASES = {"depthwise_kernel": "kernel"}
"""Names of variables that changed between Keras 2 and 3."""


def fill_by_path(network: Network, group: Group) -> None:
    """Give the layers of a network their variables out of an archive.

    Raises:
        KerasWeightsError: the variables of a layer are missing, or are not as many as it has.
    """
    _fill_network(network, "", group)


def _fill_network(network: Network, prefix: str, group: Group) -> None:
    used: dict[str, int] = {}
    for layer in network.layers:
        if layer.is_operation or (network.sequential and layer.kind == "InputLayer"):
            continue
        name = unique(snake_case(_CLASSES.get(layer.kind, layer.kind)), used)
        _fill_layer(layer, [f"{prefix}{container}/{name}" for container in CONTAINERS], group)


def unique(name: str, used: dict[str, int]) -> str:
    """A name as Keras numbers the members of a list: conv2d, conv2d_1, conv2d_2."""
    count = used.get(name)
    used[name] = 0 if count is None else count + 1
    return name if count is None else f"{name}_{count + 1}"


def _fill_layer(layer: Layer, paths: Iterable[str], group: Group) -> None:
    candidates = [*paths]
    variables = variables_of(layer)
    if variables:
        found = next((values for path in candidates if (values := group(f"{path}/vars")) is not None), None)
        if found is None or len(found) != len(variables):
            wanted = ", ".join(v.name for v in variables)
            has = "no variables" if not found else f"{len(found)} variables"
            raise KerasWeightsError(f"the layer has {wanted}, but the file holds {has} for it", place=layer.place)
        layer.weights = {v.name: data for v, data in zip(variables, found, strict=True)}
    used: dict[str, int] = {}
    for attribute, child in layer.children.items():
        names = _attributes(attribute, child, used)
        inside = [f"{path}/{name}" for path in candidates for name in names]
        _fill_layer(child, inside, group)
    if layer.network is not None:
        # Of the ways that may lead here, the one whose group exists: they differ in containers' names alone.
        prefix = next((p for p in candidates if group(f"{p}/vars") is not None), candidates[0])
        _fill_network(layer.network, f"{prefix}/", group)


def _attributes(attribute: str, child: Layer, used: dict[str, int]) -> list[str]:
    """The paths by which an attribute may be stored: old versions kept private names."""
    container, _, index = attribute.partition("/")
    if index:
        return [f"{container}/{unique(snake_case(child.kind), used)}"]
    return [attribute, f"_{attribute}"]


def fill_by_row(network: Network, rows: Mapping[str, Row], order: Callable[[Layer], Iterable[Slot]]) -> None:
    """Give the layers of a network their variables out of one row for each layer.

    Args:
        network: the model's.
        rows: by name of the layer.
        order: the order in which the layer's variables stand in its row.

    Raises:
        KerasWeightsError: a row is missing, too short or too long, or has another variable at a place.
    """
    for layer in network.layers:
        if layer.is_operation:
            continue
        slots = list(order(layer))
        row = rows.get(layer.name, ())
        if len(slots) != len(row):
            wanted = ", ".join(s.variable.name for s in slots) or "no variables"
            raise KerasWeightsError(
                f"the layer has {wanted}, but {len(row)} variables are stored for it", place=layer.place
            )
        for slot, (name, data) in zip(slots, row, strict=True):
            _require_name(slot, name)
            slot.layer.weights[slot.variable.name] = data


def _require_name(slot: Slot, stored: str) -> None:
    name = stored.rsplit("/", 1)[-1].split(":", maxsplit=1)[0]
    wanted = slot.variable.name
    unnamed = not name or re.fullmatch(r"variable(_\d+)?", name)
    if not unnamed and name != wanted and _ALIASES.get(name) != wanted and _ALIASES.get(wanted) != name:
        raise KerasWeightsError(f"the variable {stored!r} stands where {wanted!r} is due", place=slot.layer.place)
