"""Files that are damaged as files: cut short, bits flipped, fields of the protobuf replaced."""

from __future__ import annotations

import functools
import hashlib

import onnx
from onnx import helper

from tests.cli.helpers import EXAMPLE, tiny_model
from tests.frontends.onnx.models import floats, model, one
from tests.fuzz.case import CORPUS

GROUP = "files"


@functools.cache
def tiny() -> bytes:
    return bytes(tiny_model().SerializeToString(deterministic=True))


def numbers(seed: str, count: int, below: int) -> list[int]:
    """Numbers that depend on nothing but the seed."""
    found: list[int] = []
    while len(found) < count:
        digest = hashlib.sha256(f"{seed}/{len(found)}".encode()).digest()
        found.append(int.from_bytes(digest[:8], "little") % below)
    return found


def cut(content: bytes, length: int) -> bytes:
    return content[:length]


def flipped(content: bytes, seed: str, count: int) -> bytes:
    damaged = bytearray(content)
    for bit in numbers(seed, count, 8 * len(content)):
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def spliced(content: bytes, at: int, inserted: bytes) -> bytes:
    return content[:at] + inserted + content[at:]


def without(content: bytes, at: int, length: int) -> bytes:
    return content[:at] + content[at + length :]


for length in (1, 2, 3, 7, 20, 60, 150, 300, 500, 800):
    CORPUS.add(GROUP, f"tiny cut at {length}", lambda n=length: cut(tiny(), n))
for length in (10, 5_000, 100_000, 400_000):
    CORPUS.add(GROUP, f"example cut at {length}", lambda n=length: cut(EXAMPLE.read_bytes(), n), "UAIR-E0101")
for seed in range(24):
    CORPUS.add("bits", f"{1 + seed // 8} flips of tiny, {seed}", lambda s=seed: flipped(tiny(), f"t{s}", 1 + s // 8))
for seed in range(8):
    CORPUS.add("bits", f"4 flips of the example, {seed}", lambda s=seed: flipped(EXAMPLE.read_bytes(), f"e{s}", 4))
for seed in range(8):
    at = numbers("splice", 8, 800)[seed]
    CORPUS.add(
        "bits", f"bytes put in, {seed}", lambda a=at, s=seed: spliced(tiny(), a, bytes(numbers(f"b{s}", 9, 256)))
    )
    CORPUS.add("bits", f"bytes taken out, {seed}", lambda a=at, s=seed: without(tiny(), a, 1 + 3 * s))

CORPUS.add(GROUP, "empty", lambda: b"", "UAIR-E0101")
CORPUS.add(GROUP, "zeros", lambda: bytes(4096), "UAIR-E0101")
CORPUS.add(GROUP, "ones", lambda: b"\xff" * 4096, "UAIR-E0101")
CORPUS.add(GROUP, "text", lambda: b"no model\n" * 100, "UAIR-E0101")
CORPUS.add(
    GROUP,
    "pickle",
    lambda: b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93.",
    "UAIR-E0101",
)
CORPUS.add(GROUP, "twice the same", lambda: tiny() + tiny())
CORPUS.add(GROUP, "a length of 2^63", lambda: b"\x08\x08\x3a" + b"\xff" * 8 + b"\x7f" + bytes(50), "UAIR-E0101")
CORPUS.add(GROUP, "a length of 2^31", lambda: b"\x08\x08\x3a\x80\x80\x80\x80\x08" + bytes(50), "UAIR-E0101")
CORPUS.add(GROUP, "a number without end", lambda: b"\x08" + b"\x80" * 2000 + b"\x01", "UAIR-E0101")
CORPUS.add(GROUP, "groups", lambda: b"\x08\x08" + b"\x3b" * 3000 + b"\x3c" * 3000, "UAIR-E0101")
CORPUS.add(GROUP, "field number 0", lambda: b"\x08\x08\x00\x00" + tiny(), "UAIR-E0101")
CORPUS.add(GROUP, "unknown fields", lambda: tiny() + b"\xf2\x3f\x84\x20" + bytes(4100))
CORPUS.add(GROUP, "graphs inside graphs", lambda: nested_messages(200), "UAIR-E0101")
CORPUS.add(GROUP, "graphs inside graphs, large", lambda: nested_messages(200, bytes(5000)), "UAIR-E0101")


def nested_messages(depth: int, core: bytes = b"") -> bytes:
    """node.attribute.g.node.attribute.g... by hand: onnx itself refuses to write it."""
    content = core
    for number in [6, 5, 1] * depth:
        content = field(number, content)
    return field(1, b"", varint=8) + field(7, content) + field(8, field(2, b"", varint=17))


def field(number: int, content: bytes, varint: int | None = None) -> bytes:
    if varint is not None:
        return encoded(number << 3) + encoded(varint)
    return encoded(number << 3 | 2) + encoded(len(content)) + content


def encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


# ------------------------------------------------------------------------------------------------------------ versions
def versions(ir: int | None = 8, opset: int | None = 17, domain: str = "") -> onnx.ModelProto:
    proto = model([one("Relu", "x")], {"x": floats(2, 3)})
    proto.ClearField("ir_version")
    if ir is not None:
        proto.ir_version = ir
    del proto.opset_import[:]
    if opset is not None:
        proto.opset_import.append(helper.make_opsetid(domain, opset))
    return proto


for ir in (None, -1, 15, 99, 2**31, 2**62, -(2**63)):
    CORPUS.add("versions", f"ir version {ir}", lambda n=ir: versions(ir=n), "UAIR-E010")
for ir in (1, 2):
    CORPUS.add("versions", f"ir version {ir}", lambda n=ir: versions(ir=n))
for opset in (None, 0, -1, 99, 2**31, 2**62, -(2**63)):
    CORPUS.add("versions", f"opset {opset}", lambda n=opset: versions(opset=n), "UAIR-E0102")
for opset in (0, -1, 2**62):
    CORPUS.add("versions", f"opset {opset} of com.microsoft", lambda n=opset: contrib(n))
    CORPUS.add("versions", f"opset {opset} of ai.onnx.ml", lambda n=opset: contrib(n, "ai.onnx.ml", "Scaler"))
CORPUS.add("versions", "only another domain", lambda: versions(domain="com.example"), "UAIR-E0102")
CORPUS.add("versions", "a domain of 1 MB", lambda: versions(domain="d" * 1_000_000), "UAIR-E0102")


def contrib(opset: int, domain: str = "com.microsoft", op_type: str = "QuickGelu") -> onnx.ModelProto:
    proto = model([one(op_type, "x", domain=domain)], {"x": floats(2, 3)})
    proto.opset_import[1].version = opset
    return proto


@CORPUS.define("versions", "UAIR-E0102")
def two_versions_of_one_domain() -> onnx.ModelProto:
    proto = versions()
    proto.opset_import.append(helper.make_opsetid("ai.onnx", 11))
    return proto


@CORPUS.define("versions")
def ten_thousand_imports() -> onnx.ModelProto:
    proto = versions()
    proto.opset_import.extend(helper.make_opsetid(f"d{i}", 1) for i in range(10_000))
    return proto


# --------------------------------------------------------------------------------------------------------------- names
MARKS = (
    "@input@",
    "@node@",
    "@graph@",
    "@dim@",
    "@key@",
    "@maker@",
    "@weight@",
    "@op@",
    "@domain@",
    "@doc@",
    "@value@",
)


def marked() -> onnx.ModelProto:
    nodes = [one("Add", "@input@", "@weight@", name="@node@", outputs=["@value@"]), one("Relu", "@value@")]
    nodes[1].doc_string = "@doc@"
    proto = model(nodes, {"@input@": (1, ["@dim@"])}, constants={"@weight@": floats(1)})
    nodes[0].domain = ""
    proto.graph.name, proto.producer_name = "@graph@", "@maker@"
    entry = proto.metadata_props.add()
    entry.key = "@key@"
    return proto


def renamed(old: str, new: bytes) -> bytes:
    """The marked model with one name replaced, whatever protobuf thinks of it."""
    filler = (old.encode() + b"." * len(new))[: len(new)]
    proto = marked()
    text: bytes = proto.SerializeToString(deterministic=True)
    if len(new) == len(old):
        return text.replace(old.encode(), new)
    onnx_text = onnx.ModelProto()
    onnx_text.ParseFromString(text)
    return replaced_everywhere(onnx_text, old, filler.decode()).replace(filler, new)


def replaced_everywhere(proto: onnx.ModelProto, old: str, new: str) -> bytes:
    from google.protobuf import text_format  # type: ignore[import-untyped]

    result = onnx.ModelProto()
    text_format.Parse(text_format.MessageToString(proto).replace(old, new), result)
    return bytes(result.SerializeToString(deterministic=True))


for mark in MARKS[:7] + MARKS[9:]:
    CORPUS.add("names", f"{mark} not UTF-8", lambda m=mark: renamed(m, b"\xff" * len(m)))
    CORPUS.add("names", f"{mark} of 2 MB", lambda m=mark: renamed(m, b"@" + b"n" * 2_000_000))
    CORPUS.add("names", f"{mark} hostile", lambda m=mark: renamed(m, b'@"\\\n%x]\x1b[31m\0(//'))
