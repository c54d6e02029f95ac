"""`difference` finds every kind of difference, and none between copies."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
import pytest

from uair.ir import (
    AppliedPass,
    ArrayData,
    DType,
    Graph,
    Layout,
    Location,
    Module,
    Origin,
    SplatData,
    TensorType,
    constant,
)
from uair.ir.compare import difference, exactly_equal, same_values, structural_difference
from uair.ops import Add, Clip, Identity, Relu

F32 = TensorType(DType.F32, (4,))


def build() -> Module:
    graph = Graph()
    x = graph.add_input("x", F32)
    c = constant(np.array([1, 2, 3, 4], np.float32), "c")
    a = graph.append(Add().node(x, c, name="add")).output
    b = graph.append(Clip(min=0.0).node(a, name="clip")).output
    graph.add_output("y", b)
    graph.add_output("z", b)
    return Module("m", {"main": graph}, Origin(file="f"), [AppliedPass("p", True)], {"k": "v"})


def replace(module: Module, index: int, op: object) -> None:
    setattr(list(module.main)[index], "op", op)  # noqa: B010  any operator


CHANGES: dict[str, Callable[[Module], object]] = {
    "name": lambda m: setattr(m, "name", "other"),
    "origin": lambda m: setattr(m, "origin", attrs.evolve(m.origin, producer="p")),
    "metadata": lambda m: m.metadata.update(k="w"),
    "applied": lambda m: m.applied.append(AppliedPass("q", False)),
    "graphs:": lambda m: m.graphs.update(other=Graph("other")),
    "input_names": lambda m: m.main.input_names.__setitem__(0, "q"),
    "output_names": lambda m: m.main.output_names.__setitem__(0, "q"),
    "'more'": lambda m: m.main.add_input("more", F32),
    "names 'x' and 'q'": lambda m: setattr(m.main.inputs[0], "name", "q"),
    "types": lambda m: setattr(m.main.inputs[0], "type", F32.with_dtype(DType.I8)),
    "f32[4; plain]": lambda m: setattr(m.main.inputs[0], "type", attrs.evolve(F32, layout=Layout.PLAIN)),
    "Add and Relu": lambda m: replace(m, 0, Relu()),
    "attribute min": lambda m: replace(m, 1, Clip(min=-0.0)),
    "loc": lambda m: setattr(next(iter(m.main)), "loc", Location.of("a")),
    "name: 'add'": lambda m: setattr(next(iter(m.main)), "name", "b"),
    "values differ": lambda m: setattr(m.main.constants()[0], "data", ArrayData(np.array([1, 2, 3, 5], np.float32))),
    "only one is a constant": lambda m: setattr(m.main.constants()[0], "data", None),
    "1 nodes|nodes and": lambda m: m.main.append(Identity().node(m.main.inputs[0])),
    "operand 0": lambda m: list(m.main)[1].set_input(0, m.main.inputs[0]),
    "outputs": lambda m: m.main.set_output(1, m.main.inputs[0]),
}


def test_copies_are_equal() -> None:
    assert difference(build(), build()) == ""
    assert difference(build(), build().clone()) == ""


@pytest.mark.parametrize("what", CHANGES)
def test_every_change_is_found(what: str) -> None:
    module = build()
    CHANGES[what](module)
    found = difference(build(), module)
    assert found
    assert any(part in found for part in what.split("|")), found
    assert difference(module, build())


def test_same_constant_twice_is_not_two_equal_constants() -> None:
    def twice(shared: bool) -> Module:
        graph = Graph()
        a = constant(np.array([1], np.float32), "c")
        graph.append(Add().node(a, a if shared else constant(np.array([1], np.float32), "c")))
        return Module("m", {"main": graph})

    assert difference(twice(True), twice(True)) == ""
    assert "not the same value" in difference(twice(True), twice(False))
    assert "not the same value" in difference(twice(False), twice(True))


def test_values() -> None:
    huge = SplatData(1.0, DType.F32, (1 << 20, 1 << 20))
    assert same_values(huge, SplatData(1.0, DType.F32, (1 << 20, 1 << 20)))
    assert not same_values(huge, SplatData(-1.0, DType.F32, (1 << 20, 1 << 20)))
    assert not same_values(SplatData(0.0, DType.F32, (2,)), SplatData(-0.0, DType.F32, (2,)))
    assert same_values(SplatData(2.0, DType.F32, (2,)), ArrayData(np.array([2, 2], np.float32)))


def test_exact_equality() -> None:
    nan = float("nan")
    assert exactly_equal((nan, (1, "a")), (nan, (1, "a")))
    assert not exactly_equal(0.0, -0.0)
    assert not exactly_equal(1, 1.0)
    assert not exactly_equal(1, True)
    assert not exactly_equal((1,), (1, 2))


NAMES = {"names 'x' and 'q'", "loc", "name: 'add'", "input_names", "output_names"}
WHOLE_MODULE = {"name", "origin", "metadata", "applied", "graphs:"}


@pytest.mark.parametrize("what", CHANGES)
def test_structure_is_all_but_names_and_locations(what: str) -> None:
    module = build()
    CHANGES[what](module)
    found = structural_difference(build().main, module.main)
    assert (found == "") is (what in NAMES | WHOLE_MODULE), found
