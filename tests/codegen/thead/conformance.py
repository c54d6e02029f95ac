"""Reads a written csinn program back, by what the headers say, and tells what is wrong with it.

A C compiler checks less: it takes any integer for an enumerator, and cannot see that a constant lies in model.params.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from tests.codegen.thead.headers import read_api

TENSOR = re.compile(
    r'struct csinn_tensor \*(\w+) = uair_tensor\(session, "(?:[^"\\]|\\.)*", '
    r"(\w+), (\w+), (\d+), \(int\[\]\)\{([\d, ]+)\}\);"
)
ARRAY = re.compile(r"struct csinn_tensor \*(\w+)\[\] = \{([\w, ]+)\};")
INTS = re.compile(r"static int32_t (\w+)\[\] = \{([-\d, ]+)\};")
PARAMS = re.compile(r"struct (\w+) \*(\w+) = csinn_alloc_params\(sizeof\(struct (\w+)\), session\);")
FIELD = re.compile(r"(p\d+)->([\w.]+) = (.+);")
CALL = re.compile(r"(csinn_\w+)\(([\w, ]+)\);")
CONSTANT = re.compile(r"uair_constant\((\w+), params \+ (\d+)\);")
QUANTIZED = re.compile(r"uair_quantized\((\w+), (.+), (-?\d+)\);")
CHANNELS = re.compile(r"uair_quantized_channels\((\w+), (\d+), params \+ (\d+)\);")
SESSION = re.compile(r"session->([\w.]+) = (\w+);")
BYTES = {"BOOL": 1, "INT8": 1, "INT32": 4, "INT64": 8, "FLOAT16": 2, "FLOAT32": 4}
PATTERNS = {
    "int": r"-?\d{1,10}",
    "float": r"-?[\d.]+(e[+-]?\d+)?f|-?INFINITY",
    "bool": "true|false",
    "pointer": "NULL",
}
SESSION_ENUMS = {
    "base_api": "csinn_api_enum",
    "base_run_mode": "csinn_rmode_enum",
    "base_quant_type": "csinn_quant_enum",
    "base_dtype": "csinn_dtype_enum",
    "base_layout": "csinn_layout_enum",
    "model.save_mode": "csinn_mode_save_enum",
}


@attrs.define
class _Reader:
    """What has been read of a program."""

    api: dict[str, Any]
    size: int
    faults: list[str] = attrs.Factory(list[str])
    tensors: dict[str, tuple[str, tuple[int, ...]]] = attrs.Factory(dict[str, "tuple[str, tuple[int, ...]]"])
    constants: set[str] = attrs.Factory(set[str])
    arrays: dict[str, list[str]] = attrs.Factory(dict[str, "list[str]"])
    ints: dict[str, list[int]] = attrs.Factory(dict[str, "list[int]"])
    params: dict[str, str] = attrs.Factory(dict[str, str])
    prepared: list[tuple[str, str]] = attrs.Factory(list["tuple[str, str]"])
    established: list[tuple[str, str]] = attrs.Factory(list["tuple[str, str]"])
    scaled: set[str] = attrs.Factory(set[str])
    session: dict[str, str] = attrs.Factory(dict[str, str])

    def fault(self, text: str) -> None:
        self.faults.append(text)

    def enumerator(self, word: str, enum: str) -> None:
        if self.api["enumerators"].get(word) != enum:
            self.fault(f"{word} is no {enum}")

    # -------------------------------------------------------------------------------------------------------- lines
    def tensor(self, name: str, dtype: str, layout: str, rank: str, extents: str) -> None:
        self.enumerator(dtype, "csinn_dtype_enum")
        self.enumerator(layout, "csinn_layout_enum")
        shape = tuple(map(int, extents.split(", ")))
        if len(shape) != int(rank) or not 1 <= len(shape) <= 8 or min(shape) < 1:
            self.fault(f"{name} has rank {rank} and extents {shape}")
        if name in self.tensors:
            self.fault(f"{name} is declared twice")
        self.tensors[name] = (dtype.removeprefix("CSINN_DTYPE_"), shape)

    def constant(self, name: str, offset: str) -> None:
        dtype, shape = self.tensors[name]
        end = int(offset) + BYTES[dtype] * math.prod(shape)
        if int(offset) % 64 or end > self.size:
            self.fault(f"{name} lies at {offset} to {end} of {self.size} bytes")
        self.constants.add(name)

    def channels(self, name: str, count: str, offset: str) -> None:
        self.scaled.add(name)
        if self.tensors[name][1][0] != int(count) or int(offset) + 4 * int(count) > self.size:
            self.fault(f"{name} of {self.tensors[name]} has {count} scales at {offset}")

    def quantized(self, name: str, scale: str, zero: str) -> None:
        self.scaled.add(name)
        if not float(scale.rstrip("f")) > 0 or not -128 <= int(zero) <= 127:
            self.fault(f"{name} has scale {scale} and zero point {zero}")
        if self.tensors[name][0] not in ("INT8", "INT32"):
            self.fault(f"{name} of type {self.tensors[name][0]} is quantized")

    def field(self, params: str, field: str, value: str) -> None:
        if field == "base.name":
            return
        kind = self.api["structs"][self.params[params]].get(field)
        if kind in PATTERNS:
            good = re.fullmatch(PATTERNS[kind], value) is not None
        else:
            good = value in self.ints if kind == "ints" else self.api["enumerators"].get(value, "") == kind
        if not good:
            self.fault(f"{self.params[params]} has no {field} of value {value}: it is {kind}")

    def call(self, function: str, operands: list[str]) -> None:
        *given, params = operands
        base = function.removesuffix("_init")
        kinds = self.api["functions"].get(base)
        if kinds is None:
            self.fault(f"there is no function {function}")
            return
        kinds_given = ["tensors" if o in self.arrays else "tensor" if o in self.tensors else "?" for o in given]
        if [*kinds_given, self.params.get(params, "?")] != kinds:
            self.fault(f"{function}({', '.join(operands)}) is given {kinds_given}, takes {kinds}")
        (self.prepared if function.endswith("_init") else self.established).append((base, params))


def faults(folder: Path) -> list[str]:
    """What is wrong with model.c and model.params of an artifact; empty when nothing is."""
    reader = _Reader(read_api(), (folder / "model.params").stat().st_size)
    for line in (folder / "model.c").read_text().splitlines():
        _read(reader, line.strip())
    for field, enum in SESSION_ENUMS.items():
        reader.enumerator(reader.session.get(field, "nothing"), enum)
    if reader.prepared != reader.established:
        reader.fault("operators are not established in the order in which they are prepared")
    reader.faults += _unused(reader)
    return reader.faults


def _read(reader: _Reader, line: str) -> None:
    """One line of model.c."""
    if found := TENSOR.fullmatch(line):
        reader.tensor(*found.groups())
    elif found := ARRAY.fullmatch(line):
        reader.arrays[found[1]] = found[2].split(", ")
    elif found := INTS.fullmatch(line):
        reader.ints[found[1]] = [int(n) for n in found[2].split(", ")]
    elif found := PARAMS.fullmatch(line):
        if found[1] != found[3]:
            reader.fault(f"{found[1]} is allocated as {found[3]}")
        reader.params[found[2]] = found[1]
    elif found := FIELD.fullmatch(line):
        reader.field(*found.groups())
    elif found := SESSION.fullmatch(line):
        reader.session[found[1]] = found[2]
    else:
        _read_call(reader, line)


def _read_call(reader: _Reader, line: str) -> None:
    if found := CONSTANT.fullmatch(line):
        reader.constant(*found.groups())
    elif found := QUANTIZED.fullmatch(line):
        reader.quantized(*found.groups())
    elif found := CHANNELS.fullmatch(line):
        reader.channels(*found.groups())
    elif (found := CALL.fullmatch(line)) and "session" not in found[2]:
        reader.call(found[1], found[2].split(", "))


def _unused(reader: _Reader) -> Iterator[str]:
    """Integers without what they stand for, and other contradictions of the whole."""
    names = [name for name, (dtype, _) in reader.tensors.items() if dtype == "INT8"]
    yield from (f"{name} holds integers without a scale" for name in names if name not in reader.scaled)
    if not reader.prepared:
        yield "there are no operators"
    if reader.session.get("base_quant_type") == "CSINN_QUANT_FLOAT32" and names:
        yield f"{names[0]} holds integers in a session of real numbers"
