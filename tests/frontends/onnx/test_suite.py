"""onnx's own backend suite: import and interpreter, text form, export at several opsets.

Every case is interpreted within the suite's own tolerance, and comes back from the text form as it was. What is written
computes what onnxruntime computes from the original; what an opset has no form for is listed in docs/onnx-export.md,
with the reason, and nothing else is refused (`python bench/onnx_suite.py --write` makes the page anew).

The cases are shared out to PARTS tests, so that processes can take them side by side.
"""

from __future__ import annotations

import functools
import itertools

import pytest

from bench.onnx_suite import listed, reason_of
from tests import onnx_suite as suite
from uair.codegen.onnx import NEWEST_OPSET
from uair.ir.module import Module

PARTS = 16
OPSETS = (11, 13, 17, NEWEST_OPSET)
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")

NUMBER = 2033
"""Cases in onnx 1.23.2; later versions only add some."""

NOT_RUN = {
    # onnxruntime 1.32 has no kernel of Optional and OptionalHasElement for opset 28, and the optional of onnx's
    # evaluator is a list of one element. At opset 27 onnxruntime runs them.
    "test_if_opt": 27,
    "test_loop16_seq_none": 27,
}
"""Cases that nothing runs at the newest opset: the opset at which they are tested instead."""


@functools.cache
def cases() -> tuple[suite.Case, ...]:
    return tuple(itertools.chain.from_iterable(suite.cases(kind) for kind in KINDS))


@pytest.mark.slow
def test_the_suite_is_whole() -> None:
    assert len(cases()) + len(suite.cases("real")) >= NUMBER
    assert set(listed()) <= {(str(case), opset) for case in cases() for opset in OPSETS}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_the_backend_suite(part: int) -> None:
    mine = cases()[part::PARTS]
    faults = [fault for case in mine for fault in faults_of(case)]
    assert not faults, f"{len(faults)} faults of {len(mine)} cases:\n" + "\n".join(faults[:20])


@pytest.mark.slow
@pytest.mark.parametrize("case", suite.cases("real"), ids=lambda case: case.name)
def test_the_light_models(case: suite.Case) -> None:
    """With the suite's own image; tests/codegen/onnx/test_zoo_export.py writes these models."""
    found = suite.interpreted(case)
    assert found.passed, found
    case.forget()


def faults_of(case: suite.Case) -> list[str]:
    """What is wrong with a case on every way."""
    found = suite.interpreted(case)
    if not found.passed:
        return [f"{case} interpreted: {found.status} {found.detail}"]
    module = suite.imported(case)
    read = suite.printed(case, module)
    faults = [] if read.passed else [f"{case} as text: {read.status} {read.detail}"]
    want = suite.original(case)
    for opset in OPSETS:
        chosen = NOT_RUN.get(case.name, opset) if opset == NEWEST_OPSET else opset
        faults += export_faults(case, chosen, module, want)
    return faults


def export_faults(case: suite.Case, opset: int, module: Module, want: list[list[suite.Value]] | None) -> list[str]:
    """What is wrong with what is written at an opset, against the list of what cannot be written."""
    found, known = suite.exported(case, opset, module, want), listed().get((str(case), opset), "")
    reason = "" if found.passed else reason_of(found)
    if reason == known:
        return []
    what = f"{case} at opset {opset}"
    if not reason:
        return [f"{what} can be written: run bench/onnx_suite.py --write"]
    return [f"{what}: {found.status} {found.detail}" + (f"; docs/onnx-export.md says: {known}" if known else "")]
