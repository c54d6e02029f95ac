"""A double of CANN's TBE DSL for Ascend 310 that computes with NumPy.

It knows which element types the chip has each verb for (platform_config/Ascend310.ini) and refuses others, as it
refuses operands of different shapes: broadcasts are explicit. Its reciprocals are as inexact as hardware's may be: one
part in a thousand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import attrs
import numpy as np

from uair.ir import Array

HALF, FLOATS, NUMBERS = {"float16"}, {"float16", "float32"}, {"float16", "float32", "int32"}
INEXACT = 1.001
CASTS = {
    ("float16", "float32"),
    ("float32", "float16"),
    ("float16", "int8"),
    ("float16", "uint8"),
    ("float16", "int32"),
}
UNARY: Mapping[str, tuple[set[str], Callable[[Array], Any]]] = {
    "vexp": (HALF, np.exp),
    "vlog": (HALF, np.log),
    "vrelu": (HALF, lambda x: np.maximum(x, 0)),
    "vabs": (FLOATS, np.abs),
    "vrec": (FLOATS, lambda x: INEXACT / x),
    "vrsqrt": (FLOATS, lambda x: INEXACT / np.sqrt(x)),
}
BINARY: Mapping[str, tuple[set[str], Callable[[Array, Any], Any]]] = {
    "vadd": (NUMBERS, np.add),
    "vsub": (NUMBERS, np.subtract),
    "vmul": (NUMBERS, np.multiply),
    "vmax": (NUMBERS, np.maximum),
    "vmin": (NUMBERS, np.minimum),
}
SCALAR: Mapping[str, tuple[set[str], Callable[[Array, Any], Any]]] = {
    "vadds": (FLOATS, np.add),
    "vmuls": (FLOATS, np.multiply),
    "vmaxs": (FLOATS, np.maximum),
    "vmins": (FLOATS, np.minimum),
}
REDUCTIONS: Mapping[str, tuple[set[str], Callable[..., Any]]] = {
    "reduce_sum": (FLOATS, np.sum),
    "reduce_max": (HALF, np.max),
    "reduce_min": (HALF, np.min),
}


@attrs.frozen(eq=False)
class Lazy:
    """A tensor of the DSL: how it is computed when the placeholders have values."""

    shape: tuple[int, ...]
    dtype: str
    compute: Callable[[Mapping[Lazy, Array]], Array]

    def value(self, known: dict[Lazy, Array]) -> Array:
        if self not in known:
            with np.errstate(all="ignore"):
                result = np.asarray(self.compute(known)).astype(self.dtype)
            assert result.shape == self.shape, (result.shape, self.shape)
            known[self] = result
        return known[self]


@attrs.frozen(eq=False)
class Number:
    """A constant of the DSL."""

    value: float
    dtype: str


@attrs.define
class Built:
    """What `tbe.build` was given."""

    name: str = ""
    tensors: tuple[Lazy, ...] = ()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs: the tensors after the inputs; memory holds them in the same order of elements."""
        known = {t: np.reshape(x, t.shape) for t, x in zip(self.tensors, inputs, strict=False)}
        for tensor, array in known.items():
            assert str(array.dtype) == tensor.dtype
        return [t.value(known) for t in self.tensors[len(inputs) :]]


def _require(types: set[str], verb: str, *operands: Lazy) -> None:
    for x in operands:
        assert x.dtype in types, f"{verb} has no {x.dtype} on Ascend310"
    assert len({(x.shape, x.dtype) for x in operands}) == 1, f"{verb}: {[(x.shape, x.dtype) for x in operands]}"


def _unary(verb: str) -> Callable[[Lazy], Lazy]:
    types, function = UNARY[verb]

    def apply(x: Lazy) -> Lazy:
        _require(types, verb, x)
        return Lazy(x.shape, x.dtype, lambda known: function(x.value(_writable(known))))

    return apply


def _binary(verb: str) -> Callable[[Lazy, Lazy], Lazy]:
    types, function = BINARY[verb]

    def apply(a: Lazy, b: Lazy) -> Lazy:
        _require(types, verb, a, b)
        return Lazy(a.shape, a.dtype, lambda known: function(a.value(_writable(known)), b.value(_writable(known))))

    return apply


def _scalar(verb: str) -> Callable[[Lazy, Number], Lazy]:
    types, function = SCALAR[verb]

    def apply(a: Lazy, b: Number) -> Lazy:
        _require(types, verb, a)
        assert b.dtype == a.dtype
        return Lazy(
            a.shape, a.dtype, lambda known: function(a.value(_writable(known)), np.dtype(b.dtype).type(b.value))
        )

    return apply


def _reduction(verb: str) -> Callable[..., Lazy]:
    types, function = REDUCTIONS[verb]

    def apply(x: Lazy, axis: list[int], keepdims: bool) -> Lazy:
        _require(types, verb, x)
        assert keepdims and all(x.shape[i] > 1 for i in axis)
        shape = tuple(1 if i in axis else d for i, d in enumerate(x.shape))
        return Lazy(shape, x.dtype, lambda known: function(x.value(_writable(known)), axis=tuple(axis), keepdims=True))

    return apply


def _cast_to(x: Lazy, dtype: str) -> Lazy:
    assert (x.dtype, dtype) in CASTS, f"Ascend310 has no conversion {x.dtype} to {dtype}"
    return Lazy(x.shape, dtype, lambda known: x.value(_writable(known)).astype(dtype))


def _broadcast(x: Lazy | Number, shape: tuple[int, ...], dtype: str = "") -> Lazy:
    if isinstance(x, Number):
        assert x.dtype == dtype
        return Lazy(shape, dtype, lambda known: np.full(shape, x.value))
    assert len(shape) == len(x.shape) and all(a in (1, b) for a, b in zip(x.shape, shape, strict=True))
    return Lazy(shape, x.dtype, lambda known: np.broadcast_to(x.value(_writable(known)), shape))


def _writable(known: Mapping[Lazy, Array]) -> dict[Lazy, Array]:
    assert isinstance(known, dict)
    return known


def _placeholder(shape: tuple[int, ...], name: str, dtype: str) -> Lazy:
    def missing(known: Mapping[Lazy, Array]) -> Array:
        raise AssertionError(f"no value for {name}")

    return Lazy(shape, dtype, missing)


class _Target:
    @staticmethod
    @contextmanager
    def cce() -> Generator[None, None, None]:
        yield


@contextmanager
def installed() -> Generator[Built, None, None]:
    """The double as the modules that an operator imports; yields what the operator builds."""
    built = Built()

    def build(schedule: Any, config: Mapping[str, Any]) -> None:
        assert config["print_ir"] is False
        built.name, built.tensors = config["name"], tuple(config["tensor_list"])
        assert list(schedule) == list(built.tensors[-len(schedule) :])

    def check_op_params(*kinds: str) -> Callable[[Any], Any]:
        return lambda function: _checked(function, kinds)

    dsl = _module("tbe.dsl", cast_to=_cast_to, broadcast=_broadcast, auto_schedule=list, build=build)
    for table, make in ((UNARY, _unary), (BINARY, _binary), (SCALAR, _scalar), (REDUCTIONS, _reduction)):
        for verb in table:
            setattr(dsl, verb, make(verb))
    tvm = _module("tbe.tvm", placeholder=_placeholder, const=Number, target=_Target)
    kinds = ("REQUIRED_INPUT", "REQUIRED_OUTPUT", "KERNEL_NAME")
    checks = _module("tbe.common.utils.para_check", check_op_params=check_op_params, **{k: k for k in kinds})
    utils = _module("tbe.common.utils", para_check=checks)
    common = _module("tbe.common", utils=utils)
    modules = {
        m.__name__: m for m in (dsl, tvm, checks, utils, common, _module("tbe", dsl=dsl, tvm=tvm, common=common))
    }
    assert not modules.keys() & sys.modules.keys()
    sys.modules.update(modules)
    try:
        yield built
    finally:
        for name in modules:
            del sys.modules[name]


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(members)
    return module


def _checked(function: Any, kinds: tuple[str, ...]) -> Any:
    def call(*ports: dict[str, Any], kernel_name: str) -> Any:
        assert [k for k in kinds if k != "KERNEL_NAME"] == [
            *["REQUIRED_INPUT"] * kinds.count("REQUIRED_INPUT"),
            *["REQUIRED_OUTPUT"] * kinds.count("REQUIRED_OUTPUT"),
        ]
        assert kinds[-1] == "KERNEL_NAME" and len(ports) == len(kinds) - 1
        return function(*ports, kernel_name=kernel_name)

    return call
