"""Parses a Keras model's configuration, as Keras 2 and Keras 3 write it, into the neutral form.

A configuration comes from a stranger's file: whatever is not of the expected form is an error that names the layer.
"""

from __future__ import annotations

from typing import Any, NoReturn, cast

import numpy as np

from uair.frontends.common.errors import SourceFileError, UnsafeModelError
from uair.frontends.keras.errors import KerasModelError
from uair.frontends.keras.model import NETWORKS, OPERATIONS, Call, Config, Layer, Network, Ref, Value, refs
from uair.frontends.keras.variables import children_of

MAX_LAYERS = 100_000
MAX_NESTING = 32
_OPERATION_MODULES = ("keras.src.ops.", "keras.src.activations.", "keras.ops", "keras.src.backend.")
_OWN_MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras")


def parse_model(config: Any, file: str) -> Layer:
    """The model that a configuration describes.

    Args:
        config: of the whole model, with `class_name` and `config`.
        file: where it was read, for messages.

    Raises:
        SourceFileError: it is not of the form that Keras writes.
        KerasModelError: the model is no graph of layers.
        UnsafeModelError: it carries code.
    """
    try:
        layer = _layer(_mapping(config, "the model", file), "", file, 0)
    except RecursionError as error:
        raise SourceFileError(f"the model's configuration is nested too deeply: {error}", place=file) from error
    if layer.network is None:
        raise KerasModelError(
            f"{layer.kind} is a class of its own: what its call() does is code, which a file does not hold",
            place=file,
            hint="build it with the functional API, or write a SavedModel with model.export(folder) and load that",
        )
    return layer


def _damaged(message: str, place: str) -> NoReturn:
    raise SourceFileError(message, place=place, hint="the file is damaged, or was not written by Keras; save it again")


def _mapping(value: Any, what: str, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _damaged(f"{what} should be an object, is {str(value)[:80]!r}", place)
    return cast("dict[str, Any]", value)


def _list(value: Any, what: str, place: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        _damaged(f"{what} should be a list, is {str(value)[:80]!r}", place)
    return list(cast("list[Any]", value))


def kind_of(config: Config, place: str) -> str:
    """The class of a serialized object, `ops.` in front for a function; with its module where it is not Keras's own."""
    name = config.get("class_name")
    if not isinstance(name, str) or not name:
        _damaged("an object has no class_name", place)
    module = config.get("module")
    if not isinstance(module, str):
        return name if _is_layer(name, config.get("config")) else OPERATIONS + name
    if any(module.startswith(m) for m in _OPERATION_MODULES):
        return OPERATIONS + name
    return name if module.split(".")[0] in _OWN_MODULES or module.startswith(_OWN_MODULES) else f"{module}.{name}"


def _is_layer(name: str, config: Any) -> bool:
    """Whether a class without a module, as legacy files write it, is a layer: an operation is never trainable."""
    return name == "InputLayer" or name in NETWORKS or not isinstance(config, dict) or "trainable" in config


def _layer(data: dict[str, Any], parent: str, place: str, depth: int) -> Layer:
    """One layer of a network with its calls; `parent` is the path of the network."""
    kind = kind_of(data, place)
    if depth > MAX_NESTING:
        _damaged(f"models are nested more than {MAX_NESTING} deep", place)
    raw = data.get("config", {})
    if kind in NETWORKS and isinstance(raw, list):  # the oldest files hold a Sequential as a bare list
        raw = {"layers": raw}
    config = _mapping(raw, f"the configuration of a {kind}", place)
    if kind in ("TFOpLambda", "SlicingOpLambda"):  # Keras 2's layers around functions of TensorFlow
        kind = f"tf.{config.get('function')}"
    name = data.get("name", config.get("name", ""))
    if not isinstance(name, str):
        _damaged(f"a {kind} has the name {name!r}", place)
    path = f"{parent}/{name}" if parent else name
    where = f"Keras layer {path!r} ({kind}) in {place}" if name else place
    if kind in ("Lambda", "ops.Lambda") or (kind not in NETWORKS and _carries_code(config)):
        raise UnsafeModelError(
            "the layer's function is marshalled Python code, which is not run",
            place=where,
            hint="use keras.layers or keras.ops in place of a lambda, or write a SavedModel with model.export(folder)",
        )
    built = data.get("build_config")
    layer = Layer(kind, name, path, config, built=built.get("input_shape") if isinstance(built, dict) else None)
    layer.calls = [_call(c, where) for c in _list(data.get("inbound_nodes", []), "inbound_nodes", where)]
    if kind in NETWORKS:
        inner = path if depth else ""
        layer.network = _network(kind, config, name=name, path=inner, place=where, depth=depth)
    else:
        _add_children(layer, where, depth)
    return layer


def _carries_code(value: Any) -> bool:
    """Whether a configuration holds a marshalled function."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        return items.get("class_name") == "__lambda__" or any(map(_carries_code, items.values()))
    return isinstance(value, list) and any(map(_carries_code, cast("list[Any]", value)))  # type: ignore[redundant-cast]  # pyright needs it


def _add_children(layer: Layer, place: str, depth: int) -> None:
    for attribute, data in children_of(layer.kind, layer.config):
        child = _layer(_mapping(data, attribute, place), layer.path, place, depth + 1)
        child.path = f"{layer.path}/{child.name or attribute}"
        layer.children[attribute] = child


def _network(kind: str, config: Config, *, name: str, path: str, place: str, depth: int) -> Network:
    data = _list(config.get("layers", []), "layers", place)
    if len(data) > MAX_LAYERS:
        _damaged(f"{len(data)} layers", place)
    layers = [_layer(_mapping(d, "a layer", place), path, place, depth + 1) for d in data]
    seen: set[str] = set()
    for layer in layers:
        if layer.name in seen or not layer.name:
            _damaged(f"two layers are called {layer.name!r}", place)
        seen.add(layer.name)
    if kind == "Sequential":
        return _sequential(layers, config, name, place)
    if "input_layers" not in config or "output_layers" not in config:
        raise KerasModelError(
            f"{name!r} does not say what its inputs and outputs are: it is no functional model",
            place=place,
            hint="write a SavedModel with model.export(folder) and load that",
        )
    inputs = _interface(config["input_layers"], "input_layers", place)
    outputs = _interface(config["output_layers"], "output_layers", place)
    _number_calls(layers, outputs)
    return Network(name, layers, inputs, outputs)


def _number_calls(layers: list[Layer], outputs: Value) -> None:
    """Find which number the first call of a nested model has: the last call is always used, else it were not there."""
    last: dict[str, int] = {}
    calls = [call for layer in layers for call in layer.calls]
    for ref in refs([outputs, *([*call.args, *call.kwargs.values()] for call in calls)]):
        last[ref.layer] = max(ref.call, last.get(ref.layer, 0))
    for layer in layers:
        if layer.network is not None and last.get(layer.name) == len(layer.calls):
            layer.first_call = 1


def _sequential(layers: list[Layer], config: Config, name: str, place: str) -> Network:
    """A chain: every layer is called on what the one before gives."""
    if not layers:
        raise KerasModelError("the Sequential model has no layers", place=place)
    if layers[0].kind != "InputLayer":
        layers.insert(0, _implied_input(layers[0], config, place))
    for before, layer in zip(layers, layers[1:], strict=False):
        layer.calls = [Call((Ref(before.name, 0, 0),), {})]
    return Network(name, layers, Ref(layers[0].name, 0, 0), Ref(layers[-1].name, 0, 0), sequential=True)


def _implied_input(first: Layer, config: Config, place: str) -> Layer:
    """The input layer that the first layer's own configuration, or the model's, stands for."""
    shape = first.config.get("batch_input_shape", first.config.get("batch_shape"))
    if shape is None:
        shape = config.get("build_input_shape")
    if shape is None and first.network is not None:
        inner = [layer for layer in first.network.layers if layer.kind == "InputLayer"]
        shape = inner[0].config.get("batch_shape", inner[0].config.get("batch_input_shape")) if inner else None
    if shape is None:
        raise KerasModelError(
            "the Sequential model was never built: nothing says what shape its input has",
            place=place,
            hint="begin it with keras.Input(shape), or call it once, before it is saved",
        )
    name = f"{first.name}_input"
    dtype = "int32" if first.kind == "Embedding" else "float32"
    return Layer("InputLayer", name, name, {"batch_shape": shape, "dtype": dtype, "name": name})


# ------------------------------------------------------------------- references and arguments
def _interface(value: Any, what: str, place: str) -> Value:
    """The references of a model's inputs or outputs: `[name, call, result]`, lists and dictionaries of such."""
    if isinstance(value, dict):
        return {str(k): _interface(v, what, place) for k, v in cast("dict[str, Any]", value).items()}
    items = _list(value, what, place)
    if _is_ref(items):
        return Ref(items[0], items[1], items[2])
    return [_interface(v, what, place) for v in items]


def _is_ref(items: list[Any]) -> bool:
    return (
        len(items) == 3
        and isinstance(items[0], str)
        and all(isinstance(i, int) and not isinstance(i, bool) for i in items[1:])
    )


def _call(data: Any, place: str) -> Call:
    """A layer's use: `{"args", "kwargs"}` of Keras 3, or a list of references of Keras 2."""
    if isinstance(data, dict):
        given = cast("dict[str, Any]", data)
        kwargs = _mapping(given.get("kwargs", {}), "kwargs", place)
        args = _list(given.get("args", []), "args", place)
        return Call(tuple(_value(v, place) for v in args), {k: _value(v, place) for k, v in kwargs.items()})
    items = _list(data, "an inbound node", place)
    if items and isinstance(items[0], str):  # one tensor without a list around it
        items = [items]
    operands = [_legacy(_list(item, "an inbound node", place), place) for item in items]
    kwargs = {k: _legacy_value(v, place) for _, more in operands for k, v in more.items()}
    tensors = [operand for operand, _ in operands]
    return Call((tensors[0] if len(tensors) == 1 else tensors,), kwargs)


def _legacy(item: list[Any], place: str) -> tuple[Value, dict[str, Any]]:
    more = _mapping(item[3], "arguments of a call", place) if len(item) > 3 else {}
    if len(item) >= 3 and item[0] == "_CONSTANT_VALUE":
        return item[2], more
    if len(item) < 3 or not _is_ref(item[:3]):
        _damaged(f"an inbound node is {str(item)[:80]}", place)
    return Ref(item[0], item[1], item[2]), more


def _legacy_value(value: Any, place: str) -> Value:
    """An argument of Keras 2: a reference is a list `[name, call, result]`."""
    if isinstance(value, list):
        items = cast("list[Any]", value)  # type: ignore[redundant-cast]  # pyright needs it
        return Ref(items[0], items[1], items[2]) if _is_ref(items) else [_legacy_value(v, place) for v in items]
    return _value(value, place)


def _value(value: Any, place: str) -> Value:
    """An argument of Keras 3, whose serialized objects become what they stand for."""
    if isinstance(value, list):
        return [_value(v, place) for v in cast("list[Any]", value)]  # type: ignore[redundant-cast]  # pyright needs it
    if isinstance(value, tuple):
        return tuple(_value(v, place) for v in cast("tuple[Any, ...]", value))  # type: ignore[redundant-cast]  # pyright needs it
    if not isinstance(value, dict):
        return value
    data = cast("dict[str, Any]", value)
    kind = data.get("class_name")
    if kind == "__ellipsis__":
        return Ellipsis
    if isinstance(kind, str) and kind.startswith("__"):
        return _special(kind, _mapping(data.get("config", {}), kind, place), place)
    return {k: _value(v, place) for k, v in data.items()}


def _special(kind: str, config: dict[str, Any], place: str) -> Value:
    if kind == "__keras_tensor__":
        history = _list(config.get("keras_history"), "keras_history", place)
        if not _is_ref(history):
            _damaged(f"keras_history is {str(history)[:80]}", place)
        return Ref(history[0], history[1], history[2])
    if kind == "__slice__":
        return slice(*(_value(config.get(part), place) for part in ("start", "stop", "step")))
    if kind in ("__tensor__", "__numpy__"):
        try:
            return np.asarray(config.get("value"), dtype=str(config.get("dtype")))
        except (TypeError, ValueError) as error:
            _damaged(f"a constant cannot be read: {error}", place)
    _damaged(f"an argument is of the unknown form {kind}", place)
