"""Runs cases of onnx's own backend suite through import and the reference interpreter."""

# pyright: reportUnknownMemberType=false
# onnx's backend modules are not annotated completely.

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from uair.codegen.reference import Interpreter
from uair.errors import UairError
from uair.frontends.onnx import load_bytes
from uair.frontends.onnx.errors import OnnxOperatorError, OnnxTypeError
from uair.ir.dtype import DType
from uair.ir.verify import verify

RANDOM = re.compile("test_bernoulli")
"""Cases whose expected numbers were drawn from a generator that the model does not name, as the suite itself says."""


@attrs.frozen(eq=False)
class Case:
    """One model of the suite with its inputs and expected outputs."""

    name: str
    kind: str
    model: onnx.ModelProto
    data: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@attrs.frozen
class Outcome:
    """What became of a case: "pass", "outside" (an operator or type that is not supported) or "fail"."""

    status: str
    detail: str = ""


def cases(kind: str) -> Iterator[Case]:
    """The cases of one kind: node, simple, pytorch-converted, pytorch-operator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind=kind)
    for test in sorted(found, key=lambda t: t.name):
        if test.model is not None:
            yield Case(test.name, kind, test.model, test.data_sets or (), test.rtol, test.atol)
        elif test.model_dir is not None:
            folder = Path(test.model_dir)
            model = onnx.load(folder / "model.onnx")
            data = [
                tuple(_stored(d, f"{side}_*.pb", getattr(model.graph, side)) for side in ("input", "output"))
                for d in sorted(folder.glob("test_data_set*"))
            ]
            yield Case(test.name, kind, model, data, test.rtol, test.atol)  # type: ignore[arg-type]


def _stored(folder: Path, pattern: str, values: Sequence[onnx.ValueInfoProto]) -> list[Any]:
    files = sorted(folder.glob(pattern), key=lambda p: int(p.stem.split("_")[1]))
    loaded: list[Any] = []
    for file, value in zip(files, values, strict=False):
        if value.type.WhichOneof("value") == "tensor_type":
            loaded.append(onnx.TensorProto.FromString(file.read_bytes()))
        else:
            loaded.append([file.name])  # a sequence: such a case is outside
    return loaded


def run(case: Case) -> Outcome:
    """Import a case, verify the module, interpret it, compare within the suite's tolerance."""
    try:
        module = load_bytes(case.model.SerializeToString(), name=case.name)
    except (OnnxOperatorError, OnnxTypeError) as error:
        return Outcome("outside", error.message)
    except UairError as error:
        return Outcome("fail", str(error))
    opaque = [node for node in module.main if node.op_type == "Opaque"]
    if opaque:
        return Outcome("outside", f"operator {opaque[0].attributes['kind']} is kept as it is")
    try:
        verify(module)
        for inputs, expected in case.data:
            names = [v.name for v in case.model.graph.input if v.name not in _initializers(case.model)]
            feeds = {
                name: _array(value)
                for name, value in zip(names, inputs, strict=False)
                if name in module.main.input_names and value is not None
            }
            got, want = list(Interpreter(module).run(feeds).values()), [_array(e) for e in expected]
            if RANDOM.match(case.name):
                assert [(g.shape, g.dtype) for g in got] == [(w.shape, w.dtype) for w in want]
                assert all(np.isin(g, (0, 1)).all() for g in got)
            else:
                Runner.assert_similar_outputs(want, got, rtol=case.rtol, atol=case.atol)
    except (UairError, AssertionError) as error:
        return Outcome("fail", str(error))
    return Outcome("pass")


def _initializers(model: onnx.ModelProto) -> set[str]:
    return {t.name for t in model.graph.initializer}


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if isinstance(value, (list, dict)) or value is None:
        return value
    array = np.asarray(value)
    if array.dtype.kind in "US":
        return array.astype(object)
    if array.dtype == object:
        decoded = [v.decode() if isinstance(v, bytes) else v for v in array.reshape(-1).tolist()]
        return np.array(decoded, object).reshape(array.shape)
    return array.astype(DType.from_numpy(array.dtype).numpy, copy=False)
