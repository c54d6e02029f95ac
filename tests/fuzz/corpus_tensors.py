"""Stored tensors that contradict themselves, and data files that are not what the model says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.frontends.onnx.models import floats, model, one
from tests.fuzz.case import ANY, CORPUS, FINE, Prepare

GROUP = "tensors"
TYPES: Mapping[str, int] = dict(TensorProto.DataType.items())


def holding(tensor: TensorProto, op_type: str = "Add") -> onnx.ModelProto:
    proto = model([one(op_type, "x", "w")], {"x": floats(2, 3)})
    proto.graph.initializer.append(tensor)
    return proto


def stored(**fields: Any) -> TensorProto:
    given: dict[str, Any] = {"name": "w", "data_type": TensorProto.FLOAT, "dims": [2, 3], **fields}
    return TensorProto(**given)


BAD_TENSORS: dict[str, dict[str, Any]] = {
    "no data": {},
    "raw data short": {"raw_data": bytes(23)},
    "raw data long": {"raw_data": bytes(25)},
    "raw data of 2 MB for 6 elements": {"raw_data": bytes(2_000_000)},
    "five floats": {"float_data": [0.0] * 5},
    "a million floats": {"float_data": [0.0] * 1_000_000},
    "integers as floats": {"int32_data": [0] * 6},
    "doubles as floats": {"double_data": [0.0] * 6},
    "strings as floats": {"string_data": [b"1.0"] * 6},
    "floats as strings": {"data_type": TensorProto.STRING, "float_data": [0.0] * 6},
    "raw strings": {"data_type": TensorProto.STRING, "raw_data": bytes(24)},
    "strings not UTF-8": {"data_type": TensorProto.STRING, "string_data": [b"\xff\xfe"] * 6},
    "strings with NUL": {"data_type": TensorProto.STRING, "string_data": [b"a\0b"] * 6},
    "bytes beyond uint8": {"data_type": TensorProto.UINT8, "int32_data": [-1, 256, 1 << 20, 0, 1, 2]},
    "bool 7": {"data_type": TensorProto.BOOL, "raw_data": b"\x07\x00\x01\xff\x02\x03"},
    "float16 beyond 16 bits": {"data_type": TensorProto.FLOAT16, "int32_data": [1 << 30, -1, 0, 1, 2, 3]},
    "int4 odd": {"data_type": TensorProto.INT4, "dims": [3], "raw_data": b"\xff\xff\xff"},
    "complex": {"data_type": TensorProto.COMPLEX64, "float_data": [0.0] * 12},
    "element type 0": {"data_type": 0, "raw_data": bytes(24)},
    "element type 99": {"data_type": 99, "raw_data": bytes(24)},
    "element type -1": {"data_type": -1, "raw_data": bytes(24)},
    "element type 2^31 - 1": {"data_type": 2**31 - 1, "raw_data": bytes(24)},
    "negative extent": {"dims": [-2, 3], "raw_data": bytes(24)},
    "two negative extents": {"dims": [-2, -3], "raw_data": bytes(24)},
    "extent -2^63": {"dims": [-(2**63)], "raw_data": bytes(24)},
    "2^62 elements": {"dims": [2**62]},
    "2^62 elements, raw": {"dims": [2**62], "raw_data": bytes(24)},
    "2^62 elements of int4": {"data_type": TensorProto.INT4, "dims": [2**62], "raw_data": bytes(24)},
    "2^64 elements that are 0 bytes modulo 2^64": {"dims": [2**32, 2**32], "raw_data": b""},
    "2^66 elements": {"dims": [2**33, 2**33], "raw_data": bytes(24)},
    "2^63 - 1 elements": {"dims": [2**63 - 1], "raw_data": bytes(24)},
    "nothing of 2^62": {"dims": [0, 2**62], "raw_data": b""},
    "100 axes": {"dims": [1] * 100, "raw_data": bytes(4)},
    "100000 axes": {"dims": [1] * 100_000, "raw_data": bytes(4)},
    "a segment": {"raw_data": bytes(24), "segment": TensorProto.Segment(begin=0, end=1 << 40)},
    "no name": {"name": "", "raw_data": bytes(24)},
    "two kinds of data": {"raw_data": bytes(24), "float_data": [1.0] * 6},
    "external without entries": {"data_location": TensorProto.EXTERNAL},
    "data location 7": {"raw_data": bytes(24)},
}
HARMLESS = {"no name", "two kinds of data", "bytes beyond uint8", "bool 7", "float16 beyond 16 bits", "complex",
            "strings with NUL", "nothing of 2^62", "data location 7", "raw strings"}  # fmt: skip
for name, fields in BAD_TENSORS.items():
    CORPUS.add(GROUP, name, lambda f=fields: holding(stored(**f)), ANY if name in HARMLESS else "UAIR-E01")
for label, number in TYPES.items():
    CORPUS.add(GROUP, f"random bytes as {label}", lambda n=number: random_bytes(n))


def random_bytes(number: int) -> onnx.ModelProto:
    rng = np.random.default_rng(number)
    return holding(stored(data_type=number, dims=[16], raw_data=rng.bytes(256)), "Where")


def attribute_tensor(tensor: TensorProto) -> onnx.ModelProto:
    return model([one("Constant", value=tensor, outputs=["w"]), one("Add", "x", "w")], {"x": floats(2, 3)})


for name in ("raw data short", "2^62 elements", "negative extent", "element type 99", "strings as floats"):
    fields = BAD_TENSORS[name]
    CORPUS.add(GROUP, f"constant: {name}", lambda f=fields: attribute_tensor(stored(**f)), "UAIR-E01")
CORPUS.add(GROUP, "constant of shape from two values", lambda: shape_filler(np.zeros(2, np.float32)))
CORPUS.add(GROUP, "constant of shape from nothing", lambda: shape_filler(np.zeros(0, np.float32)))


def shape_filler(value: Any) -> onnx.ModelProto:
    node = one("ConstantOfShape", "s", value=numpy_helper.from_array(value))
    return model([node], {}, constants={"s": np.array([2, 3])})


# -------------------------------------------------------------------------------------------------------------- sparse
def sparse(values: TensorProto, indices: TensorProto, dims: Sequence[int]) -> onnx.ModelProto:
    tensor = onnx.SparseTensorProto(values=values, indices=indices, dims=dims)
    tensor.values.name = "w"
    return model([one("Add", "x", "w")], {"x": floats(3, 4)}, sparse_initializer=[tensor])


def _i64(*values: Any) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64))


_F32 = numpy_helper.from_array(np.ones(2, np.float32))
SPARSE: dict[str, tuple[TensorProto, TensorProto, list[int]]] = {
    "index past the end": (_F32, _i64(1, 12), [3, 4]),
    "negative index": (_F32, _i64(-1, 1), [3, 4]),
    "index 2^63 - 1": (_F32, _i64(1, 2**63 - 1), [3, 4]),
    "coordinate past the end": (_F32, _i64([0, 1], [3, 0]), [3, 4]),
    "coordinates that wrap": (_F32, _i64([0, 1], [2**62, 2**62]), [3, 4]),
    "three coordinates for two axes": (_F32, _i64([0, 1, 0], [1, 0, 0]), [3, 4]),
    "fewer indices": (_F32, _i64(1), [3, 4]),
    "no indices": (_F32, _i64(), [3, 4]),
    "indices of floats": (_F32, _F32, [3, 4]),
    "2^62 elements": (_F32, _i64(1, 2), [2**62]),
    "2^40 elements": (_F32, _i64(1, 2), [2**20, 2**20]),
    "negative extents": (_F32, _i64(1, 2), [-3, -4]),
    "no extents": (_F32, _i64(1, 2), []),
    "nothing": (_F32, _i64(0, 0), [0]),
    "values of two axes": (numpy_helper.from_array(np.ones((1, 2), np.float32)), _i64(1, 2), [3, 4]),
    "values that are short": (stored(dims=[2], raw_data=bytes(7)), _i64(1, 2), [3, 4]),
}
for name, given in SPARSE.items():
    CORPUS.add("sparse", name, lambda g=given: sparse(*g), "UAIR-E01")
CORPUS.add("sparse", "the same place twice", lambda: sparse(_F32, _i64(1, 1), [3, 4]))


# ------------------------------------------------------------------------------------------------------ external data
def external(dims: Sequence[int] = (4, 8), number: int = TensorProto.FLOAT, **entries: str) -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=number, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    proto = model([one("MatMul", "x", "w")], {"x": floats(2, 4)})
    proto.graph.initializer.append(tensor)
    return proto


DATA = np.arange(32, dtype=np.float32).tobytes()


def with_file(name: str, content: bytes = DATA) -> Prepare:
    """Write a file beside the model, or outside its folder when the name starts with `../`."""

    def prepare(folder: Path) -> None:
        path = Path(os.path.normpath(folder / "model" / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    return prepare


def symlink(folder: Path) -> None:
    (folder / "secret.bin").write_bytes(DATA)
    (folder / "model" / "w.bin").symlink_to(folder / "secret.bin")


def symlink_inside(folder: Path) -> None:
    (folder / "model" / "real.bin").write_bytes(DATA)
    (folder / "model" / "w.bin").symlink_to("real.bin")


def symlink_to_itself(folder: Path) -> None:
    (folder / "model" / "w.bin").symlink_to("w.bin")


def symlink_to_device(folder: Path) -> None:
    (folder / "model" / "w.bin").symlink_to("/dev/zero")


def linked_folder(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "w.bin").write_bytes(DATA)
    (folder / "model" / "sub").symlink_to(folder / "other")


def hard_link(folder: Path) -> None:
    (folder / "secret.bin").write_bytes(DATA)
    os.link(folder / "secret.bin", folder / "model" / "w.bin")


def directory(folder: Path) -> None:
    (folder / "model" / "w.bin").mkdir()


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "model" / "w.bin")


def holes(folder: Path) -> None:
    """A file of 1 TiB that takes no room, and an honest length: mapped, it must not be read as a whole."""
    with (folder / "model" / "w.bin").open("wb") as file:
        file.truncate(1 << 40)


def replaced(folder: Path) -> None:
    """The model itself in place of the data."""
    (folder / "model" / "w.bin").write_bytes((folder / "model" / "m.onnx").read_bytes())


LOCATIONS = {
    "parent": "../w.bin", "parent from a folder": "sub/../../w.bin", "parent and back": "../model/w.bin",
    "parent, Windows": "..\\w.bin", "many parents": "../" * 40 + "etc/passwd", "absolute": "/etc/passwd",
    "absolute with slashes": "//etc//passwd", "process": "/proc/self/environ", "memory": "/proc/self/mem",
    "device": "/dev/zero", "drive": "C:\\w.bin", "share": "\\\\host\\share\\w.bin", "none": "", "NUL": "w.bin\0.png",
    "only NUL": "\0", "dot": ".", "dots": "..", "home": "~/w.bin", "variable": "$HOME/w.bin",
    "address": "file:///etc/passwd",     "long": "w" * 5000, "long path": "w/" * 5000 + "w.bin",
    "control characters": "\x1b[2Jw.bin", "trailing slash": "w.bin/", "pattern": "*.bin", "the model": "m.onnx",
}  # fmt: skip
for name, location in LOCATIONS.items():
    CORPUS.add("external", f"location: {name}", lambda v=location: external(location=v, length="128"),
               "UAIR-E0108", with_file("../w.bin"))  # fmt: skip

FILES: dict[str, tuple[dict[str, str], Prepare | None, str]] = {
    "right": ({"length": "128"}, with_file("w.bin"), FINE),
    "missing": ({"length": "128"}, None, "UAIR-E0108"),
    "empty": ({"length": "128"}, with_file("w.bin", b""), "UAIR-E0108"),
    "short": ({"length": "128"}, with_file("w.bin", DATA[:100]), "UAIR-E0108"),
    "long without length": ({}, with_file("w.bin", DATA * 2), "UAIR-E0108"),
    "negative offset": ({"offset": "-4"}, with_file("w.bin"), "UAIR-E0108"),
    "offset of words": ({"offset": "four"}, with_file("w.bin"), "UAIR-E0108"),
    "offset of 40 digits": ({"offset": "9" * 40}, with_file("w.bin"), "UAIR-E0108"),
    "offset in Arabic digits": ({"offset": "\u0664"}, with_file("w.bin"), "UAIR-E0108"),
    "offset 2^63": ({"offset": str(2**63), "length": "128"}, with_file("w.bin"), "UAIR-E0108"),
    "offset 2^64": ({"offset": str(2**64), "length": "128"}, with_file("w.bin"), "UAIR-E0108"),
    "offset past the end": ({"offset": "4096", "length": "128"}, with_file("w.bin"), "UAIR-E0108"),
    "end past the end": ({"offset": "4", "length": "128"}, with_file("w.bin"), "UAIR-E0108"),
    "unaligned offset": ({"offset": "1", "length": "128"}, with_file("w.bin", b"\0" + DATA), FINE),
    "negative length": ({"length": "-128"}, with_file("w.bin"), "UAIR-E0108"),
    "length of words": ({"length": "all"}, with_file("w.bin"), "UAIR-E0108"),
    "length shorter than the shape": ({"length": "64"}, with_file("w.bin"), "UAIR-E0108"),
    "length longer than the shape": ({"length": "256"}, with_file("w.bin", DATA * 2), "UAIR-E0108"),
    "length 0": ({"length": "0"}, with_file("w.bin"), "UAIR-E0108"),
    "wrong checksum": ({"length": "128", "checksum": "0" * 40}, with_file("w.bin"), ANY),
    "unknown entry": ({"length": "128", "mode": "rw"}, with_file("w.bin"), ANY),
    "symbolic link": ({"length": "128"}, symlink, "UAIR-E0108"),
    "symbolic link inside": ({"length": "128"}, symlink_inside, "UAIR-E0108"),
    "symbolic link to itself": ({"length": "128"}, symlink_to_itself, "UAIR-E0108"),
    "symbolic link to a device": ({"length": "128"}, symlink_to_device, "UAIR-E0108"),
    "hard link": ({"length": "128"}, hard_link, "UAIR-E0108"),
    "directory": ({"length": "128"}, directory, "UAIR-E0108"),
    "fifo": ({"length": "128"}, fifo, "UAIR-E0108"),
    "replaced by the model": ({"length": "128"}, replaced, ANY),
    "a file of 1 TiB without length": ({}, holes, "UAIR-E0108"),
    "a file of 1 TiB": ({"length": "128", "offset": str(1 << 39)}, holes, ANY),
}
for name, (entries, prepare, expect) in FILES.items():
    CORPUS.add("external", name, lambda e=entries: external(location="w.bin", **e), expect, prepare)
CORPUS.add("external", "behind a linked folder", lambda: external(location="sub/w.bin", length="128"), "UAIR-E0108",
           linked_folder)  # fmt: skip
CORPUS.add("external", "2^62 elements", lambda: external([2**62], location="w.bin"), "UAIR-E01", with_file("w.bin"))
CORPUS.add("external", "2^38 elements of holes", lambda: external([2**38], location="w.bin"), ANY, holes)
CORPUS.add("external", "negative extents", lambda: external([-4, -8], location="w.bin"), "UAIR-E01", with_file("w.bin"))
CORPUS.add("external", "no elements", lambda: external([0, 8], location="../w.bin"), ANY, with_file("w.bin"))
CORPUS.add("external", "strings", lambda: external([2], TensorProto.STRING, location="w.bin"), "UAIR-E01",
           with_file("w.bin"))  # fmt: skip


@CORPUS.define("external", "UAIR-E0101")
def a_location_that_is_not_utf_8() -> bytes:
    content: bytes = external(location="@@@@", length="128").SerializeToString()
    return content.replace(b"@@@@", b"\xff\xfe\xfd\xfc")


@CORPUS.define("external", "UAIR-E01")
def the_same_key_twice() -> onnx.ModelProto:
    proto = external(location="w.bin", length="128")
    proto.graph.initializer[0].external_data.append(onnx.StringStringEntryProto(key="location", value="/etc/passwd"))
    return proto


@CORPUS.define("external", "UAIR-E01")
def an_attribute_kept_outside() -> onnx.ModelProto:
    tensor = external(location="../w.bin").graph.initializer[0]
    return attribute_tensor(tensor)


@CORPUS.define("external")
def ten_thousand_external_tensors() -> onnx.ModelProto:
    proto = external(location="missing.bin")
    for i in range(10_000):
        tensor = proto.graph.initializer.add()
        tensor.CopyFrom(proto.graph.initializer[0])
        tensor.name = f"w{i}"
    return proto


# ------------------------------------------------------------------------------------------------------ declared types
def declared(kind: int, shape: Sequence[Any] | None) -> onnx.ModelProto:
    return model([one("Identity", "x")], {"x": (kind, shape)})


DECLARED: dict[str, tuple[int, list[Any] | None, str]] = {
    "element type 77": (77, [1], "UAIR-E01"),
    "element type 0": (0, [1], "UAIR-E01"),
    "extent -1": (1, [-1, 3], ANY),
    "extent -2^63": (1, [-(2**63)], ANY),
    "extent 2^62": (1, [2**62], ANY),
    "extents 2^62, 2^62": (1, [2**62, 2**62], ANY),
    "1000 axes": (1, [1] * 1000, "UAIR-E01"),
    "64 axes": (1, [1] * 64, ANY),
    "a name of spaces": (1, ["   ", "\n"], ANY),
    "names of functions": (1, ["floor", "ceil", "max", "none"], ANY),
    "names that are numbers": (1, ["1", "-1", "1e9", "0x10"], ANY),
    "names that compute": (1, ["N+1", "2*N", "N//0", "__import__('os').abort()"], ANY),
    "counted names": (1, ["u1", "u2", "u1"], ANY),
    "names alike": (1, ["a b", "a_b", "a.b", "a-b"], ANY),
}
for name, (kind, shape, expect) in DECLARED.items():
    CORPUS.add("declared", name, lambda k=kind, s=shape: declared(k, s), expect)
    CORPUS.add("declared", f"result: {name}", lambda k=kind, s=shape: contradicted(k, s))


def contradicted(kind: int, shape: Any) -> onnx.ModelProto:
    nodes = [one("Relu", "x", outputs=["t"]), one("Relu", "t")]
    return model(nodes, {"x": floats(2, 3)}, value_info=[helper.make_tensor_value_info("t", kind, shape)])


@CORPUS.define("declared", "UAIR-E01")
def an_input_without_type() -> onnx.ModelProto:
    proto = declared(1, [2])
    proto.graph.input[0].ClearField("type")
    return proto


@CORPUS.define("declared")
def types_in_types() -> onnx.ModelProto:
    """A sequence of sequences of ... of tensors, 60 deep."""
    proto = declared(1, [2])
    kind = helper.make_tensor_type_proto(1, [1])
    for _ in range(40):
        kind = helper.make_sequence_type_proto(kind)
    proto.graph.input.append(helper.make_value_info("s", kind))
    return proto
