"""Kernels for Ascend 910B: the vendor's front half takes all of them, and they compute what the interpreter does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.codegen.ascend.kernels.cases import error, inputs_of, kernels_of, legalised, reference
from tests.vendor import bishengir
from uair.codegen.ascend.kernels.group import Kernel
from uair.codegen.ascend.kernels.program import Verb
from uair.ir import DType

pytestmark = pytest.mark.vendor

LIMITS = {DType.F16: 1e-3, DType.F32: 1e-5}


@pytest.mark.parametrize("interface", [DType.F16, DType.F32])
@pytest.mark.parametrize("name", ["bert", "resnet50_real"])
def test_every_kernel_is_accepted_and_right(name: str, interface: DType, tmp_path: Path) -> None:
    found = kernels_of(legalised(name), interface=interface, least=1)
    assert len(found) >= 6
    for named in found:
        accepted = bishengir.accepts(named.program, tmp_path)
        assert accepted.accepted, f"{named.name}: {accepted.errors}"
        kernel, nodes = named.uses[0]
        inputs = inputs_of(kernel)
        got = bishengir.run(kernel.program, inputs, tmp_path)
        for ours, theirs in zip(got, reference(kernel, nodes, inputs), strict=True):
            assert error(ours, theirs) <= LIMITS[interface], named.name


def test_every_int8_kernel_is_accepted(tmp_path: Path) -> None:
    for named in kernels_of(legalised("bert", int8=True), least=1):
        accepted = bishengir.accepts(named.program, tmp_path)
        assert accepted.accepted, f"{named.name}: {accepted.errors}"


def test_int8_products_and_what_follows_are_right(tmp_path: Path) -> None:
    found = kernels_of(legalised("bert", int8=True), least=1)
    cube = [n for n in found if Verb.MATMUL in n.program.verbs]
    vector = [n for n in found if any(a.use == "bias" for a in n.kernel.arguments)]
    assert cube and vector
    for named in cube[:2]:
        assert_equals_program(named.kernel, tmp_path, steps=0)
    for named in vector[:3]:
        assert_equals_program(named.kernel, tmp_path, steps=1)


def assert_equals_program(kernel: Kernel, folder: Path, *, steps: int) -> None:
    """Integers differ by at most so many steps, floats by 1e-3."""
    inputs = inputs_of(kernel)
    for ours, theirs in zip(
        bishengir.run(kernel.program, inputs, folder), kernel.program.evaluate(inputs), strict=True
    ):
        if theirs.dtype.kind == "i":
            assert np.abs(ours.astype(np.int64) - theirs).max() <= steps
        else:
            assert error(ours, theirs) <= 1e-3


def test_a_kernel_that_breaks_the_rules_is_refused(tmp_path: Path) -> None:
    text = (
        "module {\n  func.func @kernel(%a: tensor<64xf16>) -> tensor<64xf16>\n"
        "      attributes {hacc.entry, hacc.function_kind = #hacc.function_kind<DEVICE>} {\n"
        "    %e = tensor.empty() : tensor<64xf16>\n"
        "    %r = linalg.add ins(%a, %a : tensor<64xf16>, tensor<64xf16>) outs(%e : tensor<64xf16>) -> tensor<64xf16>\n"
        "    return %r : tensor<64xf16>\n  }\n}\n"
    )
    refused = bishengir.compile_kernel(text, [], tmp_path)
    assert not refused.accepted and refused.errors
