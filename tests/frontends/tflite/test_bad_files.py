"""Damaged, hostile and unreadable files: an error of UAIR's in bounded time, never anything else."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import uair
from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError, UnmappedOperatorError
from uair.frontends.tflite import schema, sparse
from uair.frontends.tflite.errors import TfliteSchemaError
from uair.frontends.tflite.flat import FlatBuffer, Table
from uair.frontends.tflite.model import Dimension, Sparsity, read
from uair.ir.verify import verify

FILES = Path(__file__).parent / "files"
NAMES = ("float", "int8", "variables")
SECONDS = 20.0
"""Most that a damaged file may take, on a machine that is busy with other things; whole ones take some hundredths."""


def attempt(folder: Path, content: bytes) -> UairError | None:
    """Read a file: the error, or None when it is still a model, which then is a valid one."""
    path = folder / "damaged.tflite"
    path.write_bytes(content)
    started = time.perf_counter()
    try:
        module = uair.load(path)
    except UairError as error:
        assert error.place and str(error).startswith("UAIR-E")
        return error
    finally:
        assert time.perf_counter() - started < SECONDS
    verify(module)
    return None


@pytest.mark.parametrize("name", NAMES)
def test_cut(name: str, tmp_path: Path) -> None:
    """A file cut anywhere in its tables is damaged."""
    content = (FILES / f"{name}.tflite").read_bytes()
    for at in np.linspace(1, len(content) - 1, 200).astype(int):
        attempt(tmp_path, content[:at])
    assert isinstance(attempt(tmp_path, content[: len(content) // 2]), SourceFileError)


@pytest.mark.parametrize("name", NAMES)
def test_flipped(name: str, tmp_path: Path) -> None:
    """A byte changed anywhere gives an error or another model."""
    content = (FILES / f"{name}.tflite").read_bytes()
    rng = np.random.default_rng(len(content))
    outcomes = []
    for _ in range(500):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] = rng.integers(256)
        outcomes.append(attempt(tmp_path, bytes(damaged)))
    assert any(outcomes) and not all(outcomes)


@pytest.mark.parametrize("name", NAMES)
def test_offsets_that_lead_anywhere(name: str, tmp_path: Path) -> None:
    """Words of four bytes replaced by small and by huge numbers: offsets, lengths and numbers of tensors."""
    content = (FILES / f"{name}.tflite").read_bytes()
    rng = np.random.default_rng(1)
    for value in (0, 1, 4, 0x7FFFFFFF, 0xFFFFFFFF, len(content), len(content) - 4):
        for _ in range(40):
            damaged = bytearray(content)
            struct.pack_into("<I", damaged, int(rng.integers(len(content) // 4)) * 4, value)
            attempt(tmp_path, bytes(damaged))


def place_of(table: Table, slot: int) -> int:
    """Where a field of a table lies."""
    buffer = table.buffer
    vtable = table.position - buffer.unpack(struct.Struct("<i"), table.position)
    return table.position + buffer.unpack(struct.Struct("<H"), vtable + 4 + 2 * slot)


def changed(name: str, find: Callable[[Table], tuple[int, bytes]]) -> bytes:
    """A file with some bytes replaced at a place that its tables tell."""
    content = bytearray((FILES / f"{name}.tflite").read_bytes())
    at, new = find(FlatBuffer(memoryview(bytes(content))).root(schema.IDENTIFIER))
    content[at : at + len(new)] = new
    return bytes(content)


def test_unknown_numbers(tmp_path: Path) -> None:
    """An operator, an element type or an option of a newer schema is named by its number."""

    def operator(root: Table) -> tuple[int, bytes]:
        code = next(iter(root.tables(1)))
        return place_of(code, 0), b"\x7e" if not code.has(3) else b"\x7f"

    def element_type(root: Table) -> tuple[int, bytes]:
        graph = next(iter(root.tables(2)))
        tensor = next(t for t in graph.tables(0) if t.has(1))
        return place_of(tensor, 1), b"\x63"

    assert isinstance(attempt(tmp_path, changed("int8", element_type)), TfliteSchemaError)
    error = attempt(tmp_path, changed("int8", element_type))
    assert error is not None and "99" in error.message and error.hint
    attempt(tmp_path, changed("float", operator))


def test_operators_without_a_counterpart(tmp_path: Path) -> None:
    """All of them are named at once."""

    def skip_gram(root: Table) -> tuple[int, bytes]:
        code = next(c for c in root.tables(1) if c.integer(0, "b") == 25)  # SOFTMAX
        return place_of(code, 0), b"\x1e"

    content = bytearray(changed("float", skip_gram))
    root = FlatBuffer(memoryview(bytes(content))).root(schema.IDENTIFIER)
    for code in root.tables(1):
        if code.has(3) and code.integer(3) == 25:
            content[place_of(code, 3)] = 0x1E
    error = attempt(tmp_path, bytes(content))
    assert isinstance(error, UnmappedOperatorError) and "SKIP_GRAM" in error.message


def test_graphs_that_run_themselves(tmp_path: Path) -> None:
    """A loop whose body is the graph that it stands in does not end in a deep recursion."""
    model = read(memoryview((FILES / "variables.tflite").read_bytes()))
    (number,) = [i for i, g in enumerate(model.subgraphs) if any(op.kind == "WHILE" for op in g.operators)]

    def body(root: Table) -> tuple[int, bytes]:
        graph = list(root.tables(2))[number]
        for op in graph.tables(3):
            options = op.table(4)
            if op.integer(3, "B") == schema.OPTION_NUMBERS.index("While") and options is not None:
                return place_of(options, 1), struct.pack("<i", number)
        raise AssertionError

    path = tmp_path / "circle.tflite"
    path.write_bytes(changed("variables", body))
    with pytest.raises(UairError):
        uair.load(path, signature="loop")


def test_operators_in_the_wrong_order(tmp_path: Path) -> None:
    """An operator that takes its own result: a circle."""

    def own_result(root: Table) -> tuple[int, bytes]:
        graph = next(iter(root.tables(2)))
        op = next(iter(graph.tables(3)))
        start, _ = op.buffer.vector(place_of(op, 1), 4)
        (result, *_) = op.integers(2)
        return start, struct.pack("<i", result)

    error = attempt(tmp_path, changed("float", own_result))
    assert isinstance(error, SourceFileError) and "before anything gives it a value" in error.message
    assert "CONV_2D" in error.place


def test_many_offsets_to_one_place() -> None:
    """20,000 graphs that are one graph, whose 20,000 tensors are one tensor, are not read 400,000,000 times."""
    count = 20_000
    vector = 4 + 4 * count
    vtable = struct.pack("<HHHH", 6, 8, 4, 0)  # one field, 4 bytes behind the table's begin
    root = 16
    first, inner = root + 8, root + 8 + vector + 16
    graph, tensor = first + vector + 8, inner + vector + 8

    def table(at: int, to: int) -> bytes:
        return struct.pack("<iI", 8, to - at - 4)

    def offsets(at: int, to: int) -> bytes:
        return struct.pack("<I", count) + b"".join(struct.pack("<I", to - at - 4 - 4 * i) for i in range(count))

    content = struct.pack("<I4s", root, schema.IDENTIFIER) + vtable + table(root, first)
    content += offsets(first, graph) + vtable + table(graph, inner)
    content += offsets(inner, tensor) + vtable + table(tensor, tensor + 4)
    found = FlatBuffer(memoryview(content)).root(schema.IDENTIFIER)
    started, seen = time.perf_counter(), 0
    with pytest.raises(SourceFileError, match="again and again"):
        for each in found.tables(0):
            seen += sum(1 for _ in each.tables(0))
    assert seen >= count and time.perf_counter() - started < SECONDS


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x1c\x00\x00\x00TFL3", b"PK\x03\x04" + b"\0" * 64, b"\0" * 4096])
def test_no_model(content: bytes, tmp_path: Path) -> None:
    assert isinstance(attempt(tmp_path, content), SourceFileError)


def test_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.tflite", tmp_path):
        with pytest.raises(UairError):
            uair.load(path, format="tflite")


@pytest.mark.parametrize(
    ("sparsity", "shape", "count"),
    [
        (Sparsity((0, 1), (), (Dimension(2), Dimension(3))), (2, 4), 6),  # the second axis has four places
        (Sparsity((0, 1), (), (Dimension(1 << 30), Dimension(4))), (1 << 30, 4), 4),  # too large
        (Sparsity((0, 1), (), (Dimension(2), Dimension(0, np.array([0, 1]), np.array([0])))), (2, 4), 1),  # one list
        (Sparsity((0, 1), (), (Dimension(2), Dimension(0, np.array([0, 1, 1]), np.array([9])))), (2, 4), 1),  # place 9
        (Sparsity((0, 1), (), (Dimension(2), Dimension(0, np.array([0, 2, 1]), np.array([1])))), (2, 4), 1),
        (Sparsity((0, 1), (), (Dimension(2), Dimension(0, np.array([0, 1, 2]), np.array([1, 2])))), (2, 4), 3),
        (Sparsity((0, 1, 2), (1,), (Dimension(2), Dimension(1), Dimension(3))), (2, 4), 6),  # blocks of 3 in 4
    ],
)
def test_sparse_tensors_that_contradict_themselves(sparsity: Sparsity, shape: tuple[int, ...], count: int) -> None:
    with pytest.raises(SourceFileError, match="sparse tensor"):
        sparse.positions(sparsity, shape, count)


def test_block_sparse_tensor() -> None:
    """Blocks of 2 columns: one in the first row, both in the second."""
    levels = (Dimension(2), Dimension(0, np.array([0, 1, 3]), np.array([1, 0, 1])), Dimension(2))
    places = sparse.positions(Sparsity((0, 1, 2), (1,), levels), (2, 4), 6)
    values = np.arange(1, 7, dtype=np.float32)
    assert sparse.dense(values, places, (2, 4)).tolist() == [[0, 0, 1, 2], [3, 4, 5, 6]]
