"""GE IR files: every operator's samples and the real models, read back by protobuf's own runtime and computed."""

from __future__ import annotations

import warnings
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uair
import uair.ops
from tests import zoo
from tests.codegen.ascend import air, models
from tests.codegen.onnx.running import difference, one_node
from tests.ops.drawing import operands_of
from uair.codegen.ascend.emission import drop_layouts
from uair.codegen.ascend.ge import NoGeForm, to_ge, write_air
from uair.codegen.ascend.ge.convert import EMITTERS
from uair.codegen.ascend.ge.ir import GeOp
from uair.codegen.ascend.ge.protos import INFERRED, PROTOS
from uair.codegen.ascend.lower import NAMES
from uair.codegen.ascend.ops import AscendAntiQuant, AscendDequant, AscendQuant
from uair.codegen.onnx.interface import legal_interface
from uair.context import Context
from uair.errors import InternalError, UairError
from uair.ir import Array, DType, Module, TensorType
from uair.ops import Add, Conv2D, Relu
from uair.ops.base import Operator, Sample
from uair.ops.control import ControlFlow
from uair.passes.bind_shapes import BindShapes
from uair.pipeline import PassManager

OWN: dict[str, type[Operator]] = {c.__name__: c for c in (AscendQuant, AscendDequant, AscendAntiQuant)}
OPERATORS = [*uair.ops.OPERATORS, *OWN]
LEAST = 130
"""Operators of which at least one sample has a GE form, itself or in parts."""


# ------------------------------------------------------------------------------------------------------------- samples
@cache
def samples_of(name: str) -> list[Sample]:
    cls: type[Operator] = OWN[name] if name in OWN else getattr(uair.ops, name)
    return [s for s in cls.samples() if not s.because]


def outcome(sample: Sample, path: Path) -> str | None:
    """What is wrong with a sample's file; None when it has none."""
    values = operands_of(sample)
    if isinstance(sample.op, ControlFlow) or not all(v is None or isinstance(v, np.ndarray) for v in values):
        return None
    fixed = [not isinstance(o, str) and i > 0 for i, o in enumerate(sample.operands)]
    try:
        texts = [o if isinstance(o, str) else None for o in sample.operands]
        module, feeds = one_node(sample.op, values, fixed, texts)
        write_air(module, path)
    except UairError as error:
        assert not isinstance(error, InternalError), f"{sample}: {error}"
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # NaN and infinities are among the samples
        results = air.run(air.read(path), feeds)
        expected = sample.op.evaluate_all(values)
    return "; ".join(filter(None, map(difference, results, expected)))


@cache
def written(name: str, path: Path) -> tuple[int, list[str]]:
    """How many samples have a form, and what is wrong with them."""
    outcomes = {str(s): outcome(s, path) for s in samples_of(name)}
    return sum(o is not None for o in outcomes.values()), [f"{s}: {o}" for s, o in outcomes.items() if o]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("air") / "sample.air"


@pytest.mark.parametrize("name", OPERATORS)
def test_samples(name: str, path: Path) -> None:
    _, faults = written(name, path)
    assert not faults, "\n".join(faults)


def test_every_emitter_is_seen_and_most_operators_have_a_form(path: Path) -> None:
    counts = {name: written(name, path)[0] for name in OPERATORS}
    through_models = {"IntegerConv2D", "IntegerConvTranspose2D", "IntegerLinear", "IntegerMatMul"}
    unseen = {cls.__name__ for cls in EMITTERS.operators()} - {n for n, c in counts.items() if c} - through_models
    assert not unseen
    assert sum(c > 0 for c in counts.values()) >= LEAST


# -------------------------------------------------------------------------------------------------------------- models
def lowered(
    module: Module, target: str, shapes: dict[str, tuple[int, ...]], samples: Any = None
) -> tuple[Module, Module]:
    """A module as the target's emitter gets it, and as it is written: without conversions between layouts."""
    from uair.api import standard_passes
    from uair.codegen.reference import Interpreter
    from uair.passes.quantize_int8 import QuantizeInt8
    from uair.quant.calibration import open_calibration

    chip = Context.default().target(target)
    own = module.clone()
    PassManager([BindShapes(shapes=shapes)], []).run(own)
    passes = [*standard_passes(), *chip.prepare()]
    if samples is not None:
        types = {n: t.type for n, t in zip(own.main.input_names, own.main.inputs, strict=True)}
        data = open_calibration(samples, types, preprocess={}, limit=8)
        passes.append(QuantizeInt8(scheme=chip.quantization, samples=data, interpreter=Interpreter))
    PassManager([*passes, *chip.legalise()], []).run(own)
    legal_interface(own.main, NAMES)
    plain = own.clone()
    for graph in plain.all_graphs():
        drop_layouts(graph)
    return own, plain


def compare(modules: tuple[Module, Module], feeds: dict[str, Array], path: Path, tolerance: float) -> air.AirModel:
    """A file computed, against the interpreter."""
    module, plain = modules
    write_air(plain, path)
    model = air.read(path)
    renamed = dict(zip(module.main.input_names, feeds.values(), strict=True))
    results = air.run(model, renamed)
    expected = uair.run(module, renamed)
    assert len(results) == len(expected)
    for got, want in zip(results, expected.values(), strict=True):
        scale = max(float(np.abs(want).max(initial=0.0)), 1e-6)
        assert float(np.abs(got.astype(np.float64) - want).max(initial=0.0)) <= tolerance * scale
    return model


REAL = ("ppocr_cls", "ppocr_rec", "bert", "magika", "basic_pitch", "squeezenet_real", "shufflenet_real")


CASES = [*((name, "ascend310") for name in REAL), ("ppocr_cls", "ascend310p"), ("bert", "ascend910b")]


@pytest.mark.parametrize(("name", "target"), CASES)
def test_real_models(name: str, target: str, path: Path) -> None:
    model = zoo.models()[name]
    modules = lowered(uair.load(model.path), target, dict(model.shapes))
    feeds = {n: np.asarray(model.feeds()[n]) for n in uair.load(model.path).main.input_names}
    made = compare(modules, feeds, path, 1e-4)
    assert all(op.type in PROTOS for op in made.ops.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["yolo", "ppocr_det", "resnet50_real", "densenet121_real", "inception_v1_real", "inception_v2_real"]
)
def test_large_models(name: str, path: Path) -> None:
    model = zoo.models()[name]
    modules = lowered(uair.load(model.path), "ascend310", dict(model.shapes))
    feeds = {n: np.asarray(model.feeds()[n]) for n in uair.load(model.path).main.input_names}
    compare(modules, feeds, path, 1e-4)


def test_whole_operators_are_put_together_again(path: Path) -> None:
    """Legalised for ONNX they are in parts, which GE need not see."""
    model = zoo.models()["bert"]
    write_air(lowered(uair.load(model.path), "ascend310", dict(model.shapes))[1], path)
    kinds = Counter(op.type for op in air.read(path).ops.values())
    assert kinds["LayerNorm"] == 9 and kinds["SoftmaxV2"] == 4 and not kinds["ReduceMeanD"]
    small = zoo.models()["ppocr_cls"]
    write_air(lowered(uair.load(small.path), "ascend310", dict(small.shapes))[1], path)
    assert Counter(op.type for op in air.read(path).ops.values())["HardSwish"] == 18


@pytest.mark.parametrize("build", [models.cnn, models.linear_net], ids=lambda f: f.__name__)
def test_integers_are_those_of_the_interpreter(build: Any, path: Path) -> None:
    module = build()
    data = models.samples(module, 6)
    own = lowered(module, "ascend310", {}, data[:4])
    made = compare(own, data[5], path, 0.0)
    kinds = Counter(op.type for op in made.ops.values())
    assert kinds["AscendQuant"] == kinds["AscendDequant"] > 0
    for op in made.ops.values():
        if op.type == "AscendDequant":
            assert op.ins[0][1] == "i4" and op.ins[1][1] == "u8"


# ------------------------------------------------------------------------------------------------------------ the file
def test_large_weights_lie_beside_the_file(tmp_path: Path) -> None:
    module = models.cnn()
    plain, outside = tmp_path / "plain.air", tmp_path / "cnn.air"
    assert write_air(module, plain).weights == []
    made = write_air(module, outside, largest=4096)
    assert made.weights and all(w.startswith("air_weight/cnn/Const_cnn_") and w.endswith("_file") for w in made.weights)
    assert outside.stat().st_size < plain.stat().st_size
    feeds = models.samples(module, 1)[0]
    for one, other in zip(air.run(air.read(plain), feeds), air.run(air.read(outside), feeds), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_module_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.air", "b.air"):
        write_air(models.cnn(), tmp_path / name)
    assert (tmp_path / "a.air").read_bytes() == (tmp_path / "b.air").read_bytes()


def test_outputs_have_operators_of_their_own(path: Path) -> None:
    b = models.Builder()
    x = b.input("x", 1, 4)
    y = b.add("relu", Relu(), x)
    write_air(b.module("m", a=x, b=y, c=y, d=b.weight("w", 3)), path)
    model = air.read(path)
    kinds = [model.ops[name].type for name, _ in model.outputs]
    assert kinds == ["Identity", "Relu", "Identity", "Identity"] and len(set(model.outputs)) == 4


def test_images_are_nchw_and_the_rest_is_not(path: Path) -> None:
    write_air(models.cnn(), path)
    model = air.read(path)
    formats = {op.name: [d[3] for d in (*op.ins, *op.outs)] for op in model.ops.values()}
    assert formats["image"] == ["NCHW", "NCHW"] and formats["w0"] == ["NCHW"] and formats["b0"] == ["ND"]
    assert formats["sum"] == ["NCHW"] * 3 and formats["head"] == ["ND"] * 4


@pytest.mark.parametrize(
    ("op", "operand", "message"),
    [
        (uair.ops.IntDiv(), "i32", "IntDiv: IntDiv has no GE form"),
        (Relu(), "empty", "takes no empty tensors"),
        (Add(), "c64", "no such element type"),
        (Conv2D(), "symbolic", "static shapes only"),
    ],
)
def test_what_has_no_form(op: Operator, operand: str, message: str, path: Path) -> None:
    from uair.ir import Graph, Node, constant
    from uair.ir.dims import symbol

    graph = Graph()
    shapes: dict[str, tuple[DType, Any]] = {
        "i32": (DType.I32, (2, 3)),
        "empty": (DType.F32, (0, 3)),
        "c64": (DType.C64, (2, 3)),
        "symbolic": (DType.F32, (symbol("n"), 4, 8, 8)),
    }
    dtype, shape = shapes[operand]
    x = graph.add_input("x", TensorType(dtype, shape))
    operands = [x] if isinstance(op, Relu) else [x, x]
    if isinstance(op, Conv2D):
        operands[1] = constant(np.ones((2, 4, 3, 3), np.float32), "w")
    node = Node(op, operands, name="culprit")
    graph.add_output("y", graph.append(node).output)
    with pytest.raises(NoGeForm, match=message):
        write_air(Module("m", {"main": graph}), path)


def test_the_table_agrees_with_the_prototypes() -> None:
    """Ports and attributes of the writer's own table, against the vendor's list."""
    listed = air.prototypes()
    for name, proto in PROTOS.items():
        if name in INFERRED:
            assert name not in listed
            continue
        ins, outs, kinds = listed[name]
        assert list(proto.outputs) == outs and list(proto.inputs) == ([] if name == "Data" else ins), name
        for key, kind in proto.attributes.items():
            assert kinds[key].rstrip("!") == kind, (name, key)
        assert {k for k, kind in kinds.items() if kind.endswith("!")} == proto.required, name


def test_operators_are_checked_against_their_prototype() -> None:
    value = to_ge(models.cnn()).ops[0].results[0]
    for inputs, outputs, attributes in (
        ([value], [value.type], {"speed": 1}),
        ([value], [value.type, value.type], {}),
        ([value, value], [value.type], {}),
        ([], [value.type], {}),
    ):
        with pytest.raises(InternalError):
            GeOp.make("x", "Relu", inputs, outputs, attributes)
    with pytest.raises(InternalError, match="'perm' is missing"):
        GeOp.make("x", "TransposeD", [value], [value.type], {})
