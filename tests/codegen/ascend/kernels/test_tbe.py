"""Operators in TBE DSL for Ascend 310 build in a double of the DSL and compute what their nodes do."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.codegen.ascend.kernels.cases import error, inputs_of, kernels_of, legalised, reference
from tests.codegen.ascend.kernels.tbe_double import Built, installed
from tests.codegen.ascend.models import Builder
from uair import ops
from uair.codegen.ascend.kernels.chips import CHIPS
from uair.codegen.ascend.kernels.custom_op import custom_op
from uair.codegen.ascend.kernels.named import NamedKernel
from uair.codegen.ascend.kernels.program import Builder as ProgramBuilder
from uair.codegen.ascend.kernels.program import Verb
from uair.codegen.ascend.kernels.restrict import restricted, restriction_refusal
from uair.codegen.ascend.kernels.tbe import op_info, tbe_sources, tbe_text
from uair.context import Context
from uair.ir import Array, DType
from uair.ops.base import Operator

CHIP = CHIPS["ascend310"]
LIMIT = 2e-3
"""exp is there in f16 only: its argument is rounded before, and its result after."""


def built(named: NamedKernel) -> Built:
    """The operator of a kernel, executed as Python against the double."""
    op = custom_op(named)
    assert op is not None
    program = restricted(named.program, CHIP)
    source = tbe_text(op, program)
    with installed() as result:
        space: dict[str, Any] = {}
        exec(compile(source, op.module, "exec"), space)
        ports = [{"shape": program.shape(v) or (1,)} for v in (*program.inputs, *program.outputs)]
        space[op.module](*ports, kernel_name="k")
        with pytest.raises(RuntimeError, match="the operator is for"):
            space[op.module](*[{"shape": (7, *port["shape"])} for port in ports], kernel_name="k")
    assert result.name == "k"
    return result


@pytest.mark.parametrize("name", ["bert", "resnet50_real", "yolo", "ppocr_det", "basic_pitch"])
def test_operators_compute_what_their_nodes_do(name: str) -> None:
    found = kernels_of(legalised(name, "ascend310"), "ascend310")
    assert found
    for named in found:
        if restriction_refusal(named.program, CHIP):
            assert named.name.endswith("_log"), "the only ones that f16 is too narrow for"
            continue
        kernel, nodes = named.uses[0]
        inputs = inputs_of(kernel)
        got = built(named).run(inputs)
        for ours, theirs in zip(got, reference(kernel, nodes, inputs), strict=True):
            assert error(ours.reshape(theirs.shape), theirs) <= LIMIT, named.name


@pytest.mark.parametrize(
    "op",
    [ops.Sigmoid(), ops.Tanh(), ops.Erf(), ops.Gelu(), ops.Swish(), ops.HardSwish(), ops.Softplus(), ops.Softsign()],
    ids=str,
)
def test_activations_far_from_zero(op: Operator) -> None:
    b = Builder()
    (named,) = kernels_of(b.module("single", y=b.add("node", op, b.input("x", 512))), "ascend310", least=1)
    kernel, nodes = named.uses[0]
    inputs: list[Array] = [np.linspace(-40, 40, 512).astype(np.float16)]
    (got,), (want,) = built(named).run(inputs), reference(kernel, nodes, inputs)
    assert error(got, want) <= LIMIT


@pytest.mark.parametrize("verb", [Verb.DIV, Verb.SQRT])
def test_what_stands_for_a_missing_verb_is_exact_in_f32(verb: Verb) -> None:
    b = ProgramBuilder((1000,))
    x = b.input(DType.F32, (0,))
    y = b.unary(verb, x) if verb is Verb.SQRT else b.binary(verb, 3.0, x)
    program = b.finish([y])
    values = np.geomspace(1e-6, 1e6, 1000).astype(np.float32)
    (got,), (want,) = restricted(program, CHIP).evaluate([values]), program.evaluate([values])
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_root_of_zero_is_zero() -> None:
    b = ProgramBuilder((2,))
    program = restricted(b.finish([b.unary(Verb.SQRT, b.input(DType.F32, (0,)))]), CHIP)
    np.testing.assert_array_equal(program.evaluate([np.array([0, 4], np.float32)])[0], [0, 2])


def test_a_verb_that_the_chip_lacks_is_a_reason() -> None:
    b = Builder()
    module = b.module("s", y=b.add("y", ops.Sin(), b.input("x", 8)))
    (named,) = kernels_of(module, "ascend310", least=1)
    sources = tbe_sources([named], CHIP, Context.default().target("ascend310").description)
    assert sources.rows["sin"] == {"files": [], "refused": "the vector unit has no sin"} and not sources.texts


def test_quantizing_kernels_are_written_for_310() -> None:
    found = kernels_of(legalised("bert", "ascend310", int8=True), "ascend310")
    quantizing = [n for n in found if any(v.dtype is DType.I8 for v in n.program.outputs)]
    assert quantizing
    for named in quantizing[:3]:
        kernel, nodes = named.uses[0]
        inputs = inputs_of(kernel)
        for ours, theirs in zip(built(named).run(inputs), reference(kernel, nodes, inputs), strict=True):
            if theirs.dtype == np.int8:
                assert np.abs(ours.reshape(theirs.shape).astype(int) - theirs).max() <= 1


def test_ini_files_have_the_keys_of_cann() -> None:
    for named in kernels_of(legalised("bert", "ascend310"), "ascend310"):
        op = custom_op(named)
        assert op is not None
        head, *lines = op_info(op).splitlines()
        assert head == f"[{op.type}]"
        keys = [line.split("=")[0] for line in lines]
        assert len(set(keys)) == len(keys)
        for key in keys:
            assert re.fullmatch(
                r"(in|out)put\d+\.(name|dtype|paramType|shape|format)|op\.pattern|opFile\.value|opInterface\.value", key
            )
        assert f"opFile.value={op.module}" in lines and op.module == snake(op.type)


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
