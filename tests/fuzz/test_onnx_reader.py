"""The ONNX reader on real and generated models that were damaged: an error of UAIR or a module, never anything else."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.helpers import EXAMPLE, tiny_model
from tests.frontends.onnx.models import F32, floats, model, one
from tests.fuzz.corpus_control import GOOD, branching, looping
from tests.fuzz.corpus_graphs import calling, function, leaf
from tests.fuzz.settings import examples
from uair.errors import InternalError, ModelWarning, UairError
from uair.frontends.onnx import load_bytes
from uair.ir.compare import difference
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of


def attention() -> onnx.ModelProto:
    """Shape computations, as exporters write them."""
    nodes = [
        one("Shape", "x", outputs=["s"]),
        one("Gather", "s", "zero", outputs=["n"], axis=0),
        one("Concat", "n", "rest", outputs=["t"], axis=0),
        one("Reshape", "x", "t", outputs=["r"]),
        one("MatMul", "r", "w", outputs=["m"]),
        one("Softmax", "m", outputs=["p"], axis=-1),
        one("Slice", "p", "zero", "rest", "zero"),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([4]), "w": floats(4, 6)}
    return model(nodes, {"x": (F32, ["N", 2, 2])}, constants=constants)


def calls() -> onnx.ModelProto:
    return calling([function("F0", [one("LeakyRelu", "a", outputs=["b"], alpha=0.2)])])


@functools.cache
def seeds() -> tuple[bytes, ...]:
    made = (tiny_model(), attention(), calls(), looping(GOOD), branching(leaf(0), leaf(1)))
    return (*(bytes(m.SerializeToString(deterministic=True)) for m in made), EXAMPLE.read_bytes()[:20_000])


def survives(content: bytes) -> None:
    """Read; what is read must verify, and read back from its text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ModelWarning)
            module = load_bytes(content, name="fuzz.onnx")
    except UairError as error:
        assert not isinstance(error, InternalError), error
        assert error.place, error
        return
    verify(module)
    assert difference(module, parse_module(print_module(module), weights=weights_of(module))) == ""


@given(st.integers(0, 4), st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=6))
@examples(400)
def test_bytes_replaced(which: int, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(seeds()[which])
    for at, value in changes:
        damaged[at % len(damaged)] = value
    survives(bytes(damaged))


@given(st.integers(0, 5), st.integers(0, 1 << 20), st.integers(0, 40), st.binary(max_size=12))
@examples(300)
def test_bytes_cut_out_and_put_in(which: int, at: int, gone: int, put: bytes) -> None:
    content = seeds()[which]
    at %= len(content)
    survives(content[:at] + put + content[at + gone :])


@given(st.binary(max_size=200))
@examples(200)
def test_any_bytes(content: bytes) -> None:
    survives(content)


NAMES = st.sampled_from(["", "x", "y", "w", "c", "n", "p", "\u2603", "a" * 300, "then_branch", "Relu", "Conv", "Loop"])
INTEGERS = st.one_of(
    st.integers(-3, 30), st.sampled_from([2**31 - 1, -(2**31), 2**62, -(2**62), 2**63 - 1, -(2**63), 2**32, 65536])
)


def messages(message: Any) -> list[Any]:
    """A message and all that are in it."""
    found = [message]
    for field, value in message.ListFields():
        if isinstance(value, Message):
            found += messages(value)
        elif field.message_type is not None:
            for item in value:
                found += messages(item)
    return found


def _replace(draw: Any, message: Any, field: Any) -> None:
    """Give a field another value of its type."""
    repeated = getattr(field, "is_repeated", None)
    if repeated if repeated is not None else field.label == field.LABEL_REPEATED:
        _change_list(draw, message, field)
        return
    if field.message_type is not None:
        if draw(st.booleans()):
            message.ClearField(field.name)
        else:
            getattr(message, field.name).SetInParent()
        return
    setattr(message, field.name, draw(_values(field)))


def _values(field: Any) -> st.SearchStrategy[Any]:
    kinds = {
        field.CPPTYPE_STRING: st.one_of(NAMES, st.text(max_size=5)),
        field.CPPTYPE_FLOAT: st.floats(width=32),
        field.CPPTYPE_DOUBLE: st.floats(),
        field.CPPTYPE_INT32: st.one_of(st.integers(-2, 40), st.sampled_from([2**31 - 1, -(2**31)])),
        field.CPPTYPE_ENUM: st.sampled_from([v.number for v in field.enum_type.values] if field.enum_type else [0]),
        field.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    }
    if field.type == field.TYPE_BYTES:
        return st.binary(max_size=40)
    return kinds.get(field.cpp_type, INTEGERS)


def _change_list(draw: Any, message: Any, field: Any) -> None:
    """Drop, repeat, swap or add an element."""
    items = getattr(message, field.name)
    what = draw(st.sampled_from(["drop", "repeat", "add", "clear"]))
    at = draw(st.integers(0, 100)) % max(len(items), 1)
    if what == "clear":
        message.ClearField(field.name)
    elif what == "drop" and items:
        del items[at]
    elif field.message_type is not None:
        added = items.add()
        if what == "repeat" and len(items) > 1:
            added.CopyFrom(items[at])
    else:
        items.append(items[at] if what == "repeat" and items else draw(_values(field)))


@given(st.integers(0, 4), st.integers(1, 4), st.data())
@examples(700)
def test_fields_replaced(which: int, count: int, data: st.DataObject) -> None:
    """Well-formed messages with another meaning: attributes, names, types, shapes, opsets, inputs."""
    proto = onnx.ModelProto()
    proto.ParseFromString(seeds()[which])
    for _ in range(count):
        inner = messages(proto)
        message = inner[data.draw(st.integers(0, 10_000)) % len(inner)]
        fields = message.DESCRIPTOR.fields
        _replace(data.draw, message, fields[data.draw(st.integers(0, 50)) % len(fields)])
    survives(bytes(proto.SerializeToString()))
