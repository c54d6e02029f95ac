"""Checking the arrays given for a graph's inputs, and finding out what sizes they bind."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uair.codegen.reference import memory
from uair.codegen.reference.errors import (
    FeedShapeError,
    FeedTypeError,
    MemoryLimitError,
    MissingFeedError,
    UnknownFeedError,
)
from uair.ir.dims import Dim, Shape, plain_symbol, static, substitute, symbols_of
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph
from uair.ir.layout import Layout
from uair.ir.types import Container, TensorType


def is_stored(layout: Layout) -> bool:
    """Whether values of tensors of this layout are storage arrays, not logical ones."""
    return bool(layout.blocks or layout.order) or layout.row_alignment > 1


def value_shape(t: TensorType) -> Shape:
    """Shape of the array that holds a value of this type: the storage shape of a layout, else the logical one."""
    return t.layout.storage_shape(t.dims, t.dtype.numpy.itemsize) if is_stored(t.layout) else t.dims


def holds(value: Any, t: TensorType) -> bool:
    """Whether a value is of a type: the right containers around arrays of the right element type and known extents."""
    return _holds(value, t, every=True)


def seems_to_hold(value: Any, t: TensorType) -> bool:
    """The same without a look at every element of a sequence: its ends are enough for what an operator made."""
    return _holds(value, t, every=False)


def _holds(value: Any, t: TensorType, *, every: bool) -> bool:
    if not t.containers:
        if not isinstance(value, np.ndarray) or not _same_dtype(value, t):
            return False
        if t.shape is None:
            return True
        pairs = zip(value.shape, t.shape, strict=False)
        return value.ndim == len(t.shape) and all(not isinstance(want, int) or got == want for got, want in pairs)
    outermost = t.containers[0]
    if outermost is Container.OPTIONAL:
        return value is None or _holds(value, t.inner, every=every)
    if outermost is Container.SEQUENCE:
        if not isinstance(value, list):
            return False
        elements: list[Any] = value if every else [*value[:1], *value[-1:]]
        return all(_holds(item, t.inner, every=every) for item in elements)
    keys = int if outermost is Container.MAP_I64 else str
    items = value.items() if isinstance(value, dict) else None
    return items is not None and all(
        isinstance(key, keys) and _holds(item, t.inner, every=every) for key, item in items
    )


def _converted(value: Any, t: TensorType) -> Any:
    """A value with arrays for what can be made one."""
    if isinstance(value, (list, tuple)) and t.containers and t.containers[0] is not Container.OPTIONAL:
        return [_converted(item, t.inner) for item in value]
    if isinstance(value, dict):
        return {key: _of_map(item, t.inner) for key, item in value.items()}
    if t.containers[:1] == (Container.OPTIONAL,):
        return None if value is None else _converted(value, t.inner)
    return np.asarray(value)


def _of_map(value: Any, t: TensorType) -> Any:
    """A value in a map; Python's own numbers have the type that is wanted, as in onnxruntime."""
    if t.is_tensor and type(value) in (int, float, str):
        return np.asarray(value, t.dtype.numpy)
    return _converted(value, t)


def check_feeds(graph: Graph, feeds: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """The arrays by input name, and the symbolic sizes that they bind.

    Args:
        graph: its inputs are what is asked for.
        feeds: for every input name an array (or what `np.asarray` makes one of) of exactly the input's element type.

    Raises:
        MissingFeedError, UnknownFeedError, FeedTypeError, FeedShapeError: an array is missing, is for no input, or has
            another element type or shape than its input.
    """
    _require_names(graph, feeds)
    values: dict[str, Any] = {}
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        values[name] = _converted(feeds[name], tensor.type)
        if tensor.type.is_tensor:
            _require_dtype(name, values[name], tensor.type)
        elif not holds(values[name], tensor.type):
            raise FeedTypeError(
                f"input {name!r} expects a value of type {tensor.type}",
                hint="a list of arrays for a sequence, None for an empty optional, a dict for a map",
            )
    tensors = {n: values[n] for n, t in zip(graph.input_names, graph.inputs, strict=True) if t.type.is_tensor}
    return values, _bind(graph, tensors)


def _require_names(graph: Graph, feeds: Mapping[str, Any]) -> None:
    unknown = [name for name in feeds if name not in graph.input_names]
    missing = [name for name in graph.input_names if name not in feeds]
    if unknown:
        near = difflib.get_close_matches(unknown[0], missing or graph.input_names, n=1, cutoff=0.4)
        listed = ", ".join(graph.input_names) or "none"
        hint = f"did you mean {near[0]!r}?" if near else f"its inputs are {listed}"
        raise UnknownFeedError(f"the model has no input {unknown[0]!r}", hint=hint)
    if missing:
        tensor = graph.input(missing[0])
        raise MissingFeedError(
            f"input {missing[0]!r} of type {tensor.type} has no value",
            hint=f"give arrays for {', '.join(missing)}",
        )


def _same_dtype(array: Array, t: TensorType) -> bool:
    return array.dtype == t.dtype.numpy or (t.dtype is DType.STRING and array.dtype.kind in "OUST")


def _require_dtype(name: str, array: Array, t: TensorType) -> None:
    if _same_dtype(array, t):
        return
    known = f"uair.DType.{t.dtype.name}.numpy" if t.dtype.numpy.isbuiltin != 1 else f"np.{t.dtype.numpy.name}"
    raise FeedTypeError(
        f"input {name!r} expects {t.dtype} elements, given are {array.dtype}",
        hint=f"convert it: {name}.astype({known})" if name.isidentifier() else f"convert it with .astype({known})",
    )


def _bind(graph: Graph, arrays: Mapping[str, Array]) -> dict[str, int]:
    """Sizes from the extents that are nothing but a symbol; then every extent is checked."""
    values: dict[str, int] = {}
    source: dict[str, str] = {}
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        if tensor.type.shape is None or not tensor.type.is_tensor:
            continue
        shape = arrays[name].shape
        wanted = value_shape(tensor.type)
        if len(shape) != len(wanted):
            raise _shape_error(name, shape, wanted, f"it has {len(shape)} axes instead of {len(wanted)}")
        for axis, (got, want) in enumerate(zip(shape, wanted, strict=True)):
            size = plain_symbol(want)
            if size is not None and values.setdefault(size, got) == got:
                source.setdefault(size, f"axis {axis} of {name!r}")
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        if tensor.type.shape is not None and tensor.type.is_tensor:
            _require_extents(name, arrays[name].shape, value_shape(tensor.type), values, source)
    return values


def _require_extents(
    name: str, shape: Sequence[int], wanted: Shape, values: Mapping[str, int], source: Mapping[str, str]
) -> None:
    for axis, (got, want) in enumerate(zip(shape, wanted, strict=True)):
        expected = want if isinstance(want, int) else substitute(want, values)
        if isinstance(expected, int) and expected != got:
            because = [f"{s} is {values[s]} by {source[s]}" for s in symbols_of((want,)) if s in source]
            detail = f"axis {axis} is {got} instead of {expected}"
            raise _shape_error(name, shape, wanted, f"{detail} ({', '.join(because)})" if because else detail)


def _shape_error(name: str, shape: Sequence[int], wanted: Sequence[Dim], detail: str) -> FeedShapeError:
    expected = "[" + ", ".join(str(d) for d in wanted) + "]"
    return FeedShapeError(
        f"input {name!r} expects shape {expected}, given is {list(shape)}: {detail}",
        hint="reshape or resize the array, or read the model with other shapes (--shape name=1,3,224,224; in Python "
        "uair.load(path, shapes={name: ...}))",
    )


_DRAWN = 8
"""Bytes of a number that is drawn, whatever it becomes."""


def random_feeds(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Inputs for a static graph: normal floats, random booleans, integers 0 and 1 (valid as indices of any table).

    Texts are "0" and "1".

    Raises:
        MemoryLimitError: an input is larger than the memory that there is.
    """
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        shape = static(tensor.type.dims)
        dtype = tensor.type.dtype
        needed = math.prod(shape) * _DRAWN
        if memory.exceeds(needed):
            raise MemoryLimitError(
                f"noise for input '{name}' ({tensor.type}) needs {needed:,} bytes, and there are {memory.limit():,}",
                hint="bind smaller input shapes, or run on a larger machine",
            )
        drawn = rng.standard_normal(shape) if dtype.is_float else rng.integers(0, 2, shape)
        plain = np.asarray(drawn)
        feeds[name] = (plain.astype(np.str_) if dtype is DType.STRING else plain).astype(dtype.numpy)
    return feeds
