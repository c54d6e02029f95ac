"""Every good sample of every operator at four opsets: legalised, written, checked, run, compared with `evaluate`."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

import uair.ops
from tests.codegen.onnx import exceptions
from tests.codegen.onnx.running import check, difference, one_node, run
from tests.ops.drawing import operands_of
from uair.codegen.onnx import NEWEST_OPSET, model_bytes
from uair.codegen.reference import Interpreter
from uair.ir import DType, Module
from uair.ops.base import Operator, Sample
from uair.ops.control import ControlFlow
from uair.ops.layout import Pack
from uair.passes.legalise_onnx import LegaliseOnnx, NotLegalisable
from uair.pipeline import PassManager

OPSETS = (11, 13, 17, NEWEST_OPSET)
NOT_EVALUATED = frozenset({"Opaque"})  # tested in test_opaque.py: there is no `evaluate` to compare with


@attrs.frozen
class Outcome:
    """What became of one sample at one opset: an empty `fault` is good; `used` are the exceptions that it needed."""

    sample: str
    fault: str = ""
    used: frozenset[tuple[str, str]] = frozenset()


OPERATORS = [name for name in uair.ops.OPERATORS if name not in NOT_EVALUATED]


def excepted(table: Iterable[tuple[str, str]], sample: Sample) -> tuple[str, str] | None:
    """The key of the entry that a sample falls under."""
    text = str(sample)
    return next((k for k in table if k[0] == sample.op.op_type and k[1] in text), None)


def arrays_in(value: Any) -> list[Any]:
    """The arrays of a value."""
    return value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else [value]


def dtypes_of(sample: Sample, values: Iterable[Any]) -> list[DType]:
    """Element types of operands and results."""
    arrays = [a for v in values if v is not None for a in arrays_in(v)]
    operands = [DType.from_numpy(a.dtype) for a in arrays]
    return [*operands, *(DType(d.lower()) for d in re.findall(r"DType\.(\w+)", repr(sample.op)))]


def too_new(sample: Sample, values: Iterable[Any], opset: int) -> bool:
    """Whether the opset lacks an element type of the sample."""
    return any(exceptions.FIRST_OPSET.get(d.value, 0) > opset for d in dtypes_of(sample, values))


@functools.cache
def outcomes(name: str, opset: int) -> list[Outcome]:
    """All good samples of an operator at an opset."""
    cls: type[Operator] = getattr(uair.ops, name)
    return [outcome(sample, opset) for sample in cls.samples() if not sample.because]


def outcome(sample: Sample, opset: int) -> Outcome:
    """One sample."""
    values = operands_of(sample)
    fixed = [not isinstance(o, str) and i > 0 for i, o in enumerate(sample.operands)]
    module, feeds = one_node(sample.op, values, fixed, texts_of(sample))
    refused = excepted(exceptions.NOT_EXPRESSIBLE, sample)
    if refused is not None and opset > exceptions.NOT_EXPRESSIBLE[refused][0]:
        refused = None
    try:
        PassManager([LegaliseOnnx(opset=opset)]).run(module)
    except NotLegalisable as error:
        allowed = refused is not None or too_new(sample, values, opset)
        return Outcome(str(sample), "" if allowed else error.message, frozenset({refused} if refused else ()))
    if refused is not None:
        return Outcome(str(sample), f"can be written: remove {refused} from NOT_EXPRESSIBLE")
    return compared(sample, module, feeds, values, opset)


def compared(sample: Sample, module: Module, feeds: Mapping[str, Any], values: list[Any], opset: int) -> Outcome:
    """Write, check, run, compare."""
    model = model_bytes(module, opset=opset)
    check(model)
    stuck = excepted(exceptions.NO_EXECUTOR, sample)
    if stuck is not None:
        return Outcome(str(sample), used=frozenset({stuck}))
    used: set[tuple[str, str]] = set()
    foreign = {d.value for d in dtypes_of(sample, values)} & exceptions.NOT_IN_ONNXRUNTIME.keys()
    used.update(("type", name) for name in foreign)
    try:
        got = evaluated(model, feeds) if foreign else run(model, feeds)
    except NoKernel as error:
        kernel = kernel_named(str(error))
        dtype = dtypes_of(sample, values)[0].value
        if kernel not in exceptions.NO_KERNEL.get(dtype, "").split():
            return Outcome(str(sample), f"no kernel for {dtype} in {kernel}: {error}")
        used.add((dtype, kernel))
        got = evaluated(model, feeds)
    loose = excepted(exceptions.LEFT_OPEN, sample)
    for have, want in zip(got.values(), expected(sample, values), strict=True):
        fault = compare(have, want)
        if fault and loose is None:
            return Outcome(str(sample), fault, frozenset(used))
        if fault and loose is not None:
            used.add(loose)
    return Outcome(str(sample), "", frozenset(used))


def kernel_named(message: str) -> str:
    """The operator and version in onnxruntime's message."""
    found = re.search(r"(?:implementation|kernel) for (\w+\(\d+\))", message)
    assert found is not None, message
    return found[1]


def evaluated(model: bytes, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs by onnx's reference evaluator."""
    proto = onnx.load_from_string(model)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN and infinities are among the samples
        values: Any = ReferenceEvaluator(proto).run(None, dict(feeds))
    made: dict[str, Any] = {}
    for output, value in zip(proto.graph.output, values, strict=True):
        if output.type.HasField("optional_type") and isinstance(value, list):
            value = value[0]  # onnx's evaluator keeps what an optional holds in a list
        made[output.name] = value if value is None or isinstance(value, list) else np.asarray(value)
    return made


def expected(sample: Sample, values: list[Any]) -> tuple[Any, ...]:
    """What `evaluate` gives; Pack's is the storage, whose logical values are the operand's."""
    if isinstance(sample.op, Pack):
        assert values[0] is not None
        return (values[0],)
    if isinstance(sample.op, ControlFlow):
        module, feeds = one_node(sample.op, values, [False] * len(values), texts_of(sample))
        return tuple(Interpreter(module).run(feeds).values())
    return sample.op.evaluate_all(values)


def texts_of(sample: Sample) -> list[str | None]:
    """Types of the operands that are given as text."""
    return [o if isinstance(o, str) else None for o in sample.operands]


def compare(have: Any, want: Any) -> str:
    """How the results differ."""
    if isinstance(want, list):
        if len(have) != len(want):
            return f"{len(have)} elements instead of {len(want)}"
        return next(filter(None, map(compare, have, want)), "")
    if isinstance(want, dict):
        same = {key: np.asarray(item).item() for key, item in want.items()} == dict(have)
        return "" if same else f"{have} instead of {want}"
    if want is None:
        return "" if have is None else f"{have} instead of nothing"
    if want.dtype == object:
        return (
            "" if np.array_equal(have.astype(str), want.astype(str)) else f"{have.tolist()} instead of {want.tolist()}"
        )
    return difference(have, want)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", OPERATORS)
def test_samples(name: str, opset: int) -> None:
    faults = [f"{o.sample}\n    {o.fault}" for o in outcomes(name, opset) if o.fault]
    assert not faults, "\n".join(faults)


def test_every_exception_is_needed() -> None:
    """An entry that no sample needs any more must go."""
    used = {entry for name in OPERATORS for opset in OPSETS for o in outcomes(name, opset) for entry in o.used}
    listed = {
        *exceptions.NOT_EXPRESSIBLE,
        *exceptions.LEFT_OPEN,
        *exceptions.NO_EXECUTOR,
        *(("type", name) for name in exceptions.NOT_IN_ONNXRUNTIME),
        *((dtype, kernel) for dtype, kernels in exceptions.NO_KERNEL.items() for kernel in kernels.split()),
    }
    assert not sorted(listed - used)
