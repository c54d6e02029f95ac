"""Operators in Ascend C, compiled with a double of its interface and run on every number of cores, at ragged sizes."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest

from tests.codegen.ascend.kernels import ascend_c_double
from tests.codegen.ascend.kernels.cases import error, inputs_of, kernels_of, legalised, reference
from tests.codegen.ascend.models import Builder as GraphBuilder
from uair import ops
from uair.codegen.ascend.kernels.ascend_c import Plan
from uair.codegen.ascend.kernels.ascend_c_package import planned
from uair.codegen.ascend.kernels.chips import CHIPS
from uair.codegen.ascend.kernels.custom_op import CustomOp, custom_op
from uair.codegen.ascend.kernels.named import NamedKernel
from uair.codegen.ascend.kernels.program import Program
from uair.context import Context
from uair.ir import Array, DType, Module
from uair.ops.base import Operator

CHIPS_WITH_ASCEND_C = ["ascend310p", "ascend310b", "ascend910b"]
LIMIT = 2e-3

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def plan_of(program: Program, target: str) -> Plan:
    layout = planned(program, CHIPS[target], Context.default().target(target).description)
    assert isinstance(layout, Plan), layout
    return layout


def operator(named: NamedKernel) -> CustomOp:
    op = custom_op(named)
    assert op is not None
    return op


def shapes_of(program: Program) -> list[tuple[int, ...]]:
    return [program.shape(v) for v in program.inputs]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "target"), [*(("bert", target) for target in CHIPS_WITH_ASCEND_C), ("resnet50_real", "ascend310p")]
)
def test_operators_compute_what_their_nodes_do(name: str, target: str, tmp_path: Path) -> None:
    found = kernels_of(legalised(name, target), target)
    assert len(found) >= 5
    cores = Context.default().target(target).description.compute.cores
    for named in found:
        kernel, nodes = named.uses[0]
        inputs = inputs_of(kernel)
        binary = ascend_c_double.built(operator(named), plan_of(named.program, target), target, tmp_path)
        shapes = [tuple(d for d in a.tensor.type.dims if isinstance(d, int)) for a in kernel.arguments]
        got, used = binary.run(named.program, inputs, shapes, cores=cores)
        assert 1 <= used <= cores
        for ours, theirs in zip(got, reference(kernel, nodes, inputs), strict=True):
            assert error(ours, theirs) <= LIMIT, named.name


def flat_model(size: int) -> Module:
    """Inputs and results of different widths, a number, a rewritten verb: x*c+y, its erf, and integers of it."""
    b = GraphBuilder()
    x, y = b.input("x", size), b.input("y", size)
    line = b.add("line", ops.Add(), b.add("scaled", ops.Mul(), x, b.weight("c", 1)), y)
    return b.module("flat", line=line, bent=b.add("bent", ops.Erf(), line))


@pytest.mark.parametrize("target", CHIPS_WITH_ASCEND_C)
def test_flat_operators_at_ragged_sizes_and_all_numbers_of_cores(target: str, tmp_path: Path) -> None:
    (named,) = kernels_of(flat_model(64), target)
    binary = ascend_c_double.built(operator(named), plan_of(named.program, target), target, tmp_path)
    smallest = [1, 7] if CHIPS[target].exact_tail else [16]
    for size in (*smallest, 17, 31, 33, 1000, 4099):
        (sized,) = kernels_of(flat_model(size), target) if size > 1 else (resized(named, size),)
        inputs = inputs_of(sized.kernel, seed=size)
        for cores in (1, 3, 8, 40):
            got, used = binary.run(sized.program, inputs, [(size,), (size,)], cores=cores, ub=20000)
            assert used <= max(1, -(-size // 16))
            for ours, theirs in zip(got, sized.program.evaluate(inputs), strict=True):
                assert error(ours, theirs) <= LIMIT, (size, cores)


def resized(named: NamedKernel, size: int) -> NamedKernel:
    """The kernel for another extent of its only axis."""
    program = attrs.evolve(named.program, sizes=(size,))
    return attrs.evolve(named, kernel=attrs.evolve(named.kernel, program=program))


def rows_model(rows: int, row: int) -> Module:
    """A masked softmax that also gives the masked values: a shared row, numbers a row, two results."""
    b = GraphBuilder()
    x, gain = b.input("x", rows, row), b.input("gain", row)
    masked = b.add("masked", ops.Mul(), x, b.add("bent", ops.Exp(), gain))
    return b.module("rows", masked=masked, y=b.add("softmax", ops.Softmax(axis=1), masked))


@pytest.mark.parametrize(
    ("target", "row"), [*(("ascend310p", row) for row in (16, 17, 30)), ("ascend310b", 17), ("ascend910b", 333)]
)
def test_rows_at_ragged_sizes_and_all_numbers_of_cores(target: str, row: int, tmp_path: Path) -> None:
    named = max(kernels_of(rows_model(4, row), target, least=1), key=lambda n: len(n.program.steps))
    binary = ascend_c_double.built(operator(named), plan_of(named.program, target), target, tmp_path)
    for rows in (1, 16, 37):
        program = attrs.evolve(named.program, sizes=(rows, row))
        inputs = inputs_of(attrs.evolve(named.kernel, program=program), seed=rows)
        for cores in (1, 2, 7, 40):
            got, _ = binary.run(program, inputs, shapes_of(program), cores=cores)
            for ours, theirs in zip(got, program.evaluate(inputs), strict=True):
                assert error(ours, theirs) <= LIMIT, (rows, cores)


@pytest.mark.parametrize("row", [1000])
def test_one_row_alone(row: int, tmp_path: Path) -> None:
    for target in CHIPS_WITH_ASCEND_C:
        b = GraphBuilder()
        module = b.module("one", y=b.add("s", ops.Softmax(axis=0), b.input("x", row)))
        (named,) = kernels_of(module, target)
        binary = ascend_c_double.built(operator(named), plan_of(named.program, target), target, tmp_path)
        inputs = inputs_of(named.kernel)
        ((got,), used) = binary.run(named.program, inputs, [(row,)], cores=8)
        assert used == 1
        assert error(got, named.program.evaluate(inputs)[0]) <= LIMIT


def test_work_is_split_evenly() -> None:
    """40 cores and 802816 elements: 1255 blocks of 16 a core, so that no core has a block more than another."""
    (named,) = [n for n in kernels_of(legalised("resnet50_real")) if n.program.sizes == (802816,)]
    layout = plan_of(named.program, "ascend910b")
    assert layout.unit == 16
    blocks = -(-802816 // 16)
    assert -(-blocks // 40) * 40 - blocks < 40


@pytest.mark.parametrize(
    ("op", "shape", "reason"),
    [
        (ops.Relu(), (8,), "less than 32 bytes"),
        (ops.Softmax(axis=0), (4, 64), "sums across rows"),
        (ops.ReduceMax(axes=(1,)), (4, 64), "one number a row"),
        (ops.Sin(), (64,), "the vector unit has no sin"),
        (ops.Softmax(axis=1), (2, 3, 5), "more than two axes"),
        (ops.Softmax(axis=1), (2, 100_000), "the unified buffer does not hold"),
    ],
    ids=str,
)
def test_what_has_no_form_says_why(op: Operator, shape: tuple[int, ...], reason: str) -> None:
    b = GraphBuilder()
    module = b.module("single", y=b.add("y", op, b.input("x", *shape)))
    (named,) = kernels_of(module, "ascend310p", least=1)
    answer = planned(named.program, CHIPS["ascend310p"], Context.default().target("ascend310p").description)
    assert isinstance(answer, str) and reason in answer


def test_quantized_results(tmp_path: Path) -> None:
    """An i8 result beside an f16 one: units of 32 elements."""
    found = kernels_of(legalised("bert", "ascend310b", int8=True), "ascend310b", least=1)
    quantizing = [n for n in found if any(v.dtype is DType.I8 for v in n.program.outputs)]
    assert quantizing
    for named in quantizing[:3]:
        layout = plan_of(named.program, "ascend310b")
        binary = ascend_c_double.built(operator(named), layout, "ascend310b", tmp_path)
        inputs: list[Array] = inputs_of(named.kernel)
        got, _ = binary.run(named.program, inputs, shapes_of(named.program), cores=3)
        for ours, theirs in zip(got, named.program.evaluate(inputs), strict=True):
            if theirs.dtype == np.int8:
                assert np.abs(ours.astype(int) - theirs).max() <= 1 and (ours != theirs).mean() < 0.01
            else:
                assert error(ours, theirs) <= LIMIT
