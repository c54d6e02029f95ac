"""onnx's backend suite: its cases, and what UAIR, onnxruntime and onnx's own evaluator make of each of them.

```python
from tests import onnx_suite as suite
for case in suite.cases("node"):
    print(case, suite.interpreted(case).status, suite.exported(case, 17).status)
```

A case is one model with sets of inputs and expected outputs. Node cases are made in memory by onnx, the others are
files of its wheel; the nine light ImageNet models get the suite's own dummy image. tests/frontends/onnx/test_suite.py
asserts on this in CI, bench/onnx_suite.py prints tables of it.
"""

# pyright: reportUnknownMemberType=false
# onnx's backend modules are not annotated completely, and onnxruntime has no annotations.

from __future__ import annotations

import ctypes
import functools
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TypeProto, ValueInfoProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner
from onnx.reference import ReferenceEvaluator

from uair.codegen.onnx import export, model_bytes
from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.reference import Interpreter
from uair.errors import UairError
from uair.frontends.onnx import load_bytes
from uair.ir.compare import difference
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.passes.legalise_onnx import LegaliseOnnx, NotLegalisable
from uair.pipeline import PassManager
from uair.text import load as load_text
from uair.text import parse_module, print_module
from uair.text import save as save_text

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
SUB_BYTE = frozenset({"int4", "uint4", "int2", "uint2", "float4_e2m1fn"})

Value = Any  # an array, a list of values (a sequence), or None (an optional without a value)
Feeds = Mapping[str, Value]
Ready = Callable[[], Sequence[Value]]
Engine = Callable[[ModelProto, Feeds], Ready]
"""Prepares a model for inputs, and gives what runs it."""


# ---------------------------------------------------------------------------------------------------------- the cases
@attrs.frozen(eq=False)
class Case:
    """One model of the suite.

    Attributes:
        name: the suite's name, e.g. "test_abs".
        kind: one of `KINDS`.
        rtol, atol: the suite's tolerance.
        test: onnx's own record of the case.
    """

    name: str
    kind: str
    rtol: float
    atol: float
    test: Any = attrs.field(repr=False)
    _read: list[Any] = attrs.field(factory=list[Any], repr=False)

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def model(self) -> ModelProto:
        """The model; read from its file when it is first asked for."""
        return self._content()[0]

    @property
    def data(self) -> Sequence[tuple[Feeds, Sequence[Value]]]:
        """Inputs by name with the outputs that are expected, set by set."""
        return self._content()[1]

    def forget(self) -> None:
        """Give back the memory of a model that was read."""
        self._read.clear()

    def _content(self) -> tuple[ModelProto, Sequence[tuple[Feeds, Sequence[Value]]]]:
        if not self._read:
            self._read.extend(self._load())
        return self._read[0], self._read[1]

    def _load(self) -> tuple[ModelProto, list[tuple[Feeds, Sequence[Value]]]]:
        if self.test.model is not None:
            model = self.test.model
            sets = [([plain(v) for v in i], [plain(v) for v in o]) for i, o in self.test.data_sets or ()]
        elif self.test.model_dir is not None:
            folder = Path(self.test.model_dir)
            model = onnx.load(folder / "model.onnx")
            sets = [
                (stored(d, "input", model.graph.input), stored(d, "output", model.graph.output))
                for d in sorted(folder.glob("test_data_set*"))
            ]
        else:
            path = DATA / "light" / f"{Path(self.test.url).stem}.onnx"
            model = onnx.load(path)
            names = {t.name for t in model.graph.initializer}
            dummy = [
                Runner.generate_dummy_data(v, seed=0, random=False) for v in model.graph.input if v.name not in names
            ]
            outputs = [
                stored_value(path.with_name(f"{path.stem}_output_{i}.pb"), v.type)
                for i, v in enumerate(model.graph.output)
            ]
            sets = [(dummy, outputs)]
        return model, [(named(model, inputs), outputs) for inputs, outputs in sets]


@functools.cache
def cases(kind: str) -> tuple[Case, ...]:
    """The cases of one kind, by name; making those of kind "node" takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_model_tests(kind=kind)
    return tuple(Case(t.name, kind, t.rtol, t.atol, t) for t in sorted(found, key=lambda t: t.name))


def plain(value: Any) -> Value:
    """A value of the suite as an array, a list or None; strings are held as objects."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if isinstance(value, list):
        return [plain(v) for v in value]
    if value is None or isinstance(value, dict):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "USO":
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in array.reshape(-1).tolist()]
        return np.array(texts, object).reshape(array.shape)
    return array


def stored(folder: Path, side: str, values: Sequence[ValueInfoProto]) -> list[Value]:
    """The inputs or outputs of one data set."""
    count = len(list(folder.glob(f"{side}_*.pb")))
    return [stored_value(folder / f"{side}_{i}.pb", values[i].type) for i in range(count)]


def stored_value(path: Path, type: TypeProto) -> Value:
    """One file of a data set, which is a message of the kind that the type says."""
    content = path.read_bytes()
    if type.HasField("sequence_type"):
        return plain(numpy_helper.to_list(onnx.SequenceProto.FromString(content)))
    if type.HasField("optional_type"):
        return plain(numpy_helper.to_optional(onnx.OptionalProto.FromString(content)))
    return plain(onnx.TensorProto.FromString(content))


def named(model: ModelProto, inputs: Sequence[Value]) -> Feeds:
    """Inputs by name: the suite gives them in order, with or without the initializers among the graph's inputs."""
    initializers = {t.name for t in model.graph.initializer}
    names = [v.name for v in model.graph.input]
    free = [n for n in names if n not in initializers]
    return dict(zip(free if len(free) >= len(inputs) else names, inputs, strict=False))


# ---------------------------------------------------------------------------------------------------------- the engines
def reference(model: ModelProto, feeds: Feeds) -> Ready:
    """The evaluator of the onnx package."""
    evaluator = ReferenceEvaluator(model)

    def run() -> Sequence[Value]:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return list(evaluator.run(None, dict(feeds)))

    return run


def ort(model: ModelProto, feeds: Feeds) -> Ready:
    """A session of onnxruntime without graph optimisations, on one thread.

    What Python cannot hand to it is brought in another way: packed types (two or four values a byte) as initializers,
    the other types that NumPy lacks as raw memory with ONNX's element type.
    """
    packed = {n for n, v in feeds.items() if isinstance(v, np.ndarray) and v.dtype.name in SUB_BYTE}
    if packed:
        model, feeds = with_initializers(model, feeds, packed)
    session = onnxruntime.InferenceSession(model.SerializeToString(), session_options(), ["CPUExecutionProvider"])
    if not any(is_foreign(v) for v in feeds.values()) and not any(
        re.search("bfloat16|float8|float4|int4|int2", o.type) for o in session.get_outputs()
    ):
        return lambda: session.run(None, dict(feeds))

    def run() -> Sequence[Value]:
        values = {n: ort_value(v) for n, v in feeds.items()}
        results = session.run_with_ort_values([o.name for o in session.get_outputs()], values)
        return [numpy_value(r, v) for r, v in zip(results, model.graph.output, strict=True)]

    return run


def session_options() -> Any:
    """Silent, one thread, the graph as it is."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def with_initializers(model: ModelProto, feeds: Feeds, names: Iterable[str]) -> tuple[ModelProto, Feeds]:
    """A copy of the model that holds some of its inputs as initializers, and the other inputs."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for value in [v for v in copy.graph.input if v.name in set(names)]:
        copy.graph.initializer.append(numpy_helper.from_array(feeds[value.name], value.name))
        copy.graph.input.remove(value)
    kept = {v.name for v in copy.graph.input}
    return copy, {n: v for n, v in feeds.items() if n in kept}


def is_foreign(value: Value) -> bool:
    """Whether the element type is one that NumPy has from ml_dtypes."""
    return isinstance(value, np.ndarray) and value.dtype.type.__module__ == ml_dtypes.__name__


def ort_value(value: Value) -> Any:
    """An array in onnxruntime's own form."""
    if not is_foreign(value):
        return onnxruntime.OrtValue.ortvalue_from_numpy(value)
    raw = np.ascontiguousarray(value).view({1: np.uint8, 2: np.uint16}[value.dtype.itemsize]).reshape(value.shape)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, helper.np_dtype_to_tensor_dtype(value.dtype))


def numpy_value(value: Any, described: ValueInfoProto) -> Value:
    """An array out of onnxruntime's own form."""
    code = described.type.tensor_type.elem_type
    dtype = helper.tensor_dtype_to_np_dtype(code)
    if dtype.type.__module__ != ml_dtypes.__name__:
        return value.numpy()
    shape = value.shape()
    digits = re.search(r"\d+", dtype.name)
    assert digits is not None
    bits = int(digits[0]) if dtype.name in SUB_BYTE else dtype.itemsize * 8
    raw = ctypes.string_at(value.data_ptr(), -(-int(np.prod(shape)) * bits // 8)) if 0 not in shape else b""
    return numpy_helper.to_array(onnx.TensorProto(data_type=code, dims=shape, raw_data=raw))


# ----------------------------------------------------------------------------------------------------------- comparing
RANDOM = frozenset(f"test_bernoulli{kind}{form}" for kind in ("", "_double", "_seed") for form in ("", "_expanded"))
"""Cases whose expected outputs are drawn with NumPy's generator; ONNX does not say which numbers a seed gives."""


def mismatch(case: Case, expected: Sequence[Value], got: Sequence[Value]) -> str:
    """How outputs differ from the suite's, by the suite's own comparison; empty when they do not.

    That comparison cannot take scalars inside of sequences: they are compared here. Of random numbers type, shape and
    range are compared.
    """
    if case.name in RANDOM:
        return next((text for w, g in zip(expected, got, strict=True) if (text := _unlike(w, g))), "")
    try:
        Runner.assert_similar_outputs(list(expected), list(got), case.rtol, case.atol)
    except TypeError:
        return next((t for w, g in zip(expected, got, strict=True) if (t := unequal(w, g, case.rtol, case.atol))), "")
    except (AssertionError, ValueError) as error:
        return _line(error)
    return ""


def _unlike(want: Value, got: Value) -> str:
    """How truth values that are drawn differ in type or shape, or are none."""
    alike = got.dtype == want.dtype and got.shape == want.shape and bool(np.isin(got, (0, 1)).all())
    return "" if alike else f"{_brief(got)} instead of numbers like {_brief(want)}"


def unequal(want: Value, got: Value, rtol: float, atol: float) -> str:
    """How two values differ: exactly for integers, bool and strings, within a tolerance for floats."""
    if isinstance(want, list) or isinstance(got, list):
        if not isinstance(want, list) or not isinstance(got, list) or len(want) != len(got):
            return f"{_brief(got)} instead of {_brief(want)}"
        return next((text for w, g in zip(want, got, strict=True) if (text := unequal(w, g, rtol, atol))), "")
    if want is None or got is None:
        return "" if want is got else f"{_brief(got)} instead of {_brief(want)}"
    want, got = np.asarray(want), np.asarray(got)
    if want.shape != got.shape or (want.dtype != got.dtype and want.dtype.kind not in "OUS"):
        return f"{got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
    if want.dtype.kind in "fcV" and want.dtype.name not in SUB_BYTE:
        wide = np.complex128 if want.dtype.kind == "c" else np.float64
        equal = np.allclose(got.astype(wide), want.astype(wide), rtol, atol, equal_nan=True)
    else:
        equal = want.tolist() == got.tolist()
    return "" if equal else f"{_brief(got)} instead of {_brief(want)}"


def _brief(value: Value) -> str:
    return " ".join(str(value).split())[:120]


@attrs.frozen
class Outcome:
    """What became of a case in one engine or on one way.

    Attributes:
        status: "pass"; "fail" (wrong results or an exception); "refused" (UAIR or onnxruntime says that it does not
            take the model); "unjudged" (there is nothing to compare with).
        detail: why.
        setup: CPU time, in seconds, of preparing: import, making an evaluator or session, printing, writing.
        seconds: CPU time of running.
        judge: who said "pass", when it was not the usual judge.
    """

    status: str
    detail: str = ""
    setup: float = 0.0
    seconds: float = 0.0
    judge: str = ""

    @property
    def passed(self) -> bool:
        """Whether all is well."""
        return self.status == "pass"


REFUSAL = re.compile(
    r"NOT_IMPLEMENTED|NotImplemented|not (yet )?(supported|implemented|registered)|unsupported|no kernel", re.I
)


def judged(case: Case, engine: Engine) -> Outcome:
    """The case as an engine computes it, against the suite's expectation."""
    setup = seconds = 0.0
    for feeds, expected in case.data:
        try:
            start = time.process_time()
            ready = engine(case.model, feeds)
            setup += time.process_time() - start
            start = time.process_time()
            got = list(ready())
            seconds += time.process_time() - start
        except Exception as error:  # noqa: BLE001  engines fail in every way
            text = _line(error)
            return Outcome("refused" if REFUSAL.search(text) else "fail", text, setup, seconds)
        wrong = mismatch(case, expected, got)
        if wrong:
            return Outcome("fail", wrong, setup, seconds)
    return Outcome("pass", "", setup, seconds)


def _line(error: Exception) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


# ---------------------------------------------------------------------------------------------------------------- UAIR
def imported(case: Case) -> Module:
    """The module of a case; every input stays an input.

    Raises:
        UairError: it cannot be imported.
    """
    return load_bytes(case.model.SerializeToString(), name=case.name)


def interpret(module: Module, feeds: Feeds) -> list[Value]:
    """Outputs by the reference interpreter."""
    return list(Interpreter(module).run({n: v for n, v in feeds.items() if n in module.main.input_names}).values())


def interpreted(case: Case) -> Outcome:
    """Import, verify, interpret, compare with the suite's expectation."""
    seconds = 0.0
    try:
        start = time.process_time()
        module = imported(case)
        setup = time.process_time() - start
        verify(module)
        for feeds, expected in case.data:
            start = time.process_time()
            got = interpret(module, feeds)
            seconds += time.process_time() - start
            wrong = mismatch(case, expected, got)
            if wrong:
                return Outcome("fail", wrong, setup, seconds)
    except UairError as error:
        return refusal(error)
    return Outcome("pass", "", setup, seconds)


def refusal(error: UairError) -> Outcome:
    """The outcome of an error of UAIR."""
    return Outcome("refused", f"{error.code} {error.message}"[:400])


def printed(case: Case, module: Module | None = None) -> Outcome:
    """The text form: parse(print(m)) is m, and prints the same again; large weights go through the sidecar."""
    try:
        module = imported(case) if module is None else module
        start = time.process_time()
        text = "" if case.kind == "real" else print_module(module)
        if case.kind == "real" or "dense<" in text:
            with tempfile.TemporaryDirectory() as folder:
                save_text(module, Path(folder) / "model.uair")
                found = difference(module, load_text(Path(folder) / "model.uair"))
        else:
            found = difference(module, parse_module(text))
        seconds = time.process_time() - start
    except UairError as error:
        return refusal(error)
    return Outcome("fail" if found else "pass", found[:300], seconds)


def export_of(module: Module, opset: int, kind: str = "") -> ModelProto:
    """A module, legalised for an opset and written as ONNX.

    Raises:
        NotLegalisable, NotExpressible: it has no form at this opset.
    """
    legal = module.clone()
    PassManager([LegaliseOnnx(opset=opset)]).run(legal)
    if kind != "real":
        return onnx.load_from_string(model_bytes(legal, opset=opset))
    with tempfile.TemporaryDirectory() as folder:
        export(legal, Path(folder) / "model.onnx", opset=opset)
        return onnx.load(Path(folder) / "model.onnx")


def original(case: Case) -> list[list[Value]] | None:
    """What onnxruntime computes from the case's model, set by set; None when it does not pass the case."""
    results: list[list[Value]] = []
    for feeds, expected in case.data:
        try:
            got = list(ort(case.model, feeds)())
        except Exception:  # noqa: BLE001  it then is no judge
            return None
        if mismatch(case, expected, got):
            return None
        results.append(got)
    return results


def exported(case: Case, opset: int, module: Module | None = None, want: list[list[Value]] | None = None) -> Outcome:
    """Import, export at an opset, check with onnx's checker, run in onnxruntime.

    The results are compared with those of onnxruntime on the original model (`want`); where it does not pass the case
    itself, with the suite's expectation. onnx's evaluator runs what onnxruntime has no kernel for.
    """
    try:
        module = imported(case) if module is None else module
    except UairError as error:
        return Outcome("unjudged", f"{error.code} {error.message}"[:400])
    start = time.process_time()
    try:
        model = export_of(module, opset, case.kind)
    except (NotExpressible, NotLegalisable) as error:
        return Outcome("refused", error.message)
    except UairError as error:
        return Outcome("fail", f"{error.code} {error.message}"[:400])
    seconds = time.process_time() - start
    try:
        onnx.checker.check_model(model, full_check=case.kind != "real")
    except Exception as error:  # noqa: BLE001  the checker and shape inference have errors of their own
        return Outcome("fail", f"checker: {_line(error)}", seconds)
    judges: dict[str, None] = {}
    for i, (feeds, expected) in enumerate(case.data):
        judge, fault = _compared(case, model, feeds, expected, None if want is None else want[i])
        if fault:
            return Outcome("fail", fault, seconds)
        judges[judge] = None
    return Outcome("pass", "", seconds, judge=" and ".join(filter(None, judges)))


ROUNDING = {"test_dft_inverse": 1e-6, "test_dft_inverse_opset19": 1e-6}
"""Absolute tolerance of exports where the suite expects the rounding errors of its own f32 (2e-7) in place of zeros."""


def _compared(
    case: Case, model: ModelProto, feeds: Feeds, expected: Sequence[Value], want: list[Value] | None
) -> tuple[str, str]:
    """Who ran what was written, empty for onnxruntime, and what is wrong.

    With `want`, onnxruntime must come to the same; where it lacks a kernel, onnx's evaluator must come to what the
    suite expects. Without, one of the two must.
    """
    case = attrs.evolve(case, atol=ROUNDING.get(case.name, case.atol))
    taken = {v.name for v in model.graph.input}
    feeds = {n: v for n, v in feeds.items() if n in taken}
    engines: tuple[tuple[Engine, str], ...] = ((ort, ""), (reference, "onnx's evaluator"))
    faults: list[str] = []
    for engine, name in engines if want is not None else reversed(engines):
        try:
            got = list(engine(model, feeds)())
        except Exception as error:  # noqa: BLE001  the engines' errors have no common base
            faults.append(_line(error))
            if want is not None and not NO_KERNEL.search(faults[0]):
                break
            continue
        wrong = mismatch(case, expected, got) if want is None or name else _unequal(case, want, got)
        if not wrong:
            return name, ""
        faults.append(f"{name or 'onnxruntime'}: {wrong}")
        if want is not None:
            break
    return "", "; ".join(faults)


def _unequal(case: Case, want: list[Value], got: list[Value]) -> str:
    return next((text for w, g in zip(want, got, strict=True) if (text := unequal(w, g, case.rtol, case.atol))), "")


NO_KERNEL = re.compile(r"(?:implementation|kernel) for (\w+\(\d+\))")
