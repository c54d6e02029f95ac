"""Long lists of attributes, read from where they lie in the file.

A list is the fields of one number of an `AttributeProto`, tags included. Writers put a tag before every element: the
field is not declared as packed in onnx.proto. Such a list is decoded some elements at a time; one that is packed is
left to protobuf, whose parser needs no tag to be passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto

from uair.frontends.onnx.wire import LIST_FIELDS, decode_varints
from uair.ir.dtype import Array

_NUMBERS = {field: number for number, field in LIST_FIELDS.items()}
_FLOAT_TAG, _INT_TAG, _STRING_TAG = _NUMBERS["floats"] << 3 | 5, _NUMBERS["ints"] << 3, _NUMBERS["strings"] << 3 | 2
_BLOCK = 1 << 18
"""Bytes that are decoded together; bounds the memory."""


def any_list(raw: memoryview, field: str) -> Any:
    """The list as protobuf reads it: what `getattr(attribute, field)` is."""
    return getattr(AttributeProto.FromString(bytes(raw)), field)


def floats(raw: memoryview) -> Array:
    """The list `floats` as f32."""
    if raw[0] != _FLOAT_TAG:
        return np.asarray(any_list(raw, "floats"), np.float32)
    records = np.frombuffer(raw, np.uint8).reshape(-1, 5)
    return np.ascontiguousarray(records[:, 1:]).view("<f4").astype(np.float32, copy=False).reshape(-1)


def integers(raw: memoryview) -> Array:
    """The list `ints` as i64."""
    if raw[0] != _INT_TAG:
        return np.asarray(any_list(raw, "ints"), np.int64)
    return np.concatenate(list(_blocks(raw))).view(np.int64)


def _blocks(raw: memoryview) -> Iterator[Array]:
    """The values as u64, in parts: a tag of one byte and a number in turn."""
    data = np.frombuffer(raw, np.uint8)
    at = 0
    while at < len(data):
        block = data[at : at + _BLOCK]
        ends = np.flatnonzero(block < 0x80)
        ends = ends[: len(ends) // 2 * 2]
        stop = int(ends[-1]) + 1
        value = np.ones(stop, bool)
        value[ends[1::2][:-1] + 1] = False
        value[0] = False
        yield decode_varints(block[:stop][value].data)
        at += stop


def places(raw: memoryview, choices: Sequence[bytes]) -> Array | None:
    """The list `strings` as places among `choices`, u8; None when one is not among them, or cannot be told this way.

    An element is its tag, its length, its text. Where no choice holds the byte of the tag, a choice with tag and length
    can be found nowhere but where an element begins, so that all elements of it can be replaced at once.
    """
    if any(_STRING_TAG in choice for choice in choices) or len(choices) > _STRING_TAG or max(map(len, choices)) > 127:
        return None
    content = bytes(raw)
    for place, choice in enumerate(choices):
        content = content.replace(bytes((_STRING_TAG, len(choice))) + choice, bytes((place,)))
    found = np.frombuffer(content, np.uint8)
    return None if (found >= len(choices)).any() else found
