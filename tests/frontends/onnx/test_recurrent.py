"""RNN, GRU and LSTM in all their forms against onnxruntime, the versions against each other."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest

import uair
from tests.frontends.onnx.models import F32, check, floats, imported, interpreted, model, one, op_types
from uair.codegen.onnx.model import model_bytes
from uair.frontends.onnx.errors import OnnxAttributeError
from uair.ir.dtype import Array

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
STEPS, BATCH, SIZE, HIDDEN = 5, 3, 4, 3
X = floats(STEPS, BATCH, SIZE)
LENGTHS = np.array([5, 2, 0], np.int32)


def parts(kind: str, directions: int) -> dict[str, Array]:
    g = GATES[kind] * HIDDEN
    return {
        "w": floats(directions, g, SIZE, seed=1),
        "r": floats(directions, g, HIDDEN, seed=2),
        "b": floats(directions, 2 * g, seed=3),
        "h0": floats(directions, BATCH, HIDDEN, seed=4),
        "c0": floats(directions, BATCH, HIDDEN, seed=5),
        "p": floats(directions, 3 * HIDDEN, seed=6),
    }


def outputs_of(kind: str) -> list[str]:
    return ["y", "yh", "yc"] if kind == "LSTM" else ["y", "yh"]


def layer(kind: str, direction: str, given: str, opset: int = 17, **attributes: Any) -> tuple[Any, dict[str, Any]]:
    """A model with the operands named in `given` (of b l h c p), and what to feed it."""
    values = parts(kind, 2 if direction == "bidirectional" else 1)
    names = ["x", "w", "r"]
    for letter, name in zip("blhcp", ("b", "l", "h0", "c0", "p"), strict=True):
        names.append(name if letter in given and (kind == "LSTM" or letter in "blh") else "")
    while not names[-1]:
        names.pop()
    feeds = {"x": X, **({"l": LENGTHS} if "l" in names else {})}
    node = one(kind, *names, outputs=outputs_of(kind), hidden_size=HIDDEN, direction=direction, **attributes)
    constants = {name: value for name, value in values.items() if name in names}
    return model([node], feeds, outputs_of(kind), constants=constants, opset=opset), feeds


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("given", ["", "b", "bl", "lh", "bhc", "blhcp", "p"])
def test_operands(kind: str, direction: str, given: str) -> None:
    for opset in (7, 17, 22):
        proto, feeds = layer(kind, direction, given, opset)
        module = check(proto, feeds)
        assert op_types(module) == [kind]


FLAGS: dict[str, list[dict[str, Any]]] = {
    "RNN": [{}],
    "GRU": [{"linear_before_reset": 0}, {"linear_before_reset": 1}],
    "LSTM": [{"input_forget": 0}, {"input_forget": 1}],
}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize("clip", [None, 0.4])
def test_flags_and_clip(kind: str, direction: str, clip: float | None) -> None:
    for flags in FLAGS[kind]:
        more: dict[str, Any] = {} if clip is None else {"clip": clip}
        proto, feeds = layer(kind, direction, "blhcp", **flags, **more)
        check(proto, feeds)


ACTIVATIONS: list[tuple[str, list[float], list[float]]] = [
    ("Relu", [], []), ("Tanh", [], []), ("Sigmoid", [], []), ("Affine", [0.4], [0.1]), ("LeakyRelu", [0.2], []),
    ("LeakyRelu", [], []), ("ThresholdedRelu", [0.5], []), ("ScaledTanh", [0.8], [0.6]), ("HardSigmoid", [], []),
    ("HardSigmoid", [0.3], [0.4]), ("Elu", [], []), ("Elu", [0.7], []), ("Softsign", [], []), ("Softplus", [], []),
]  # fmt: skip


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize(("name", "alpha", "beta"), ACTIVATIONS)
def test_activations(kind: str, name: str, alpha: list[float], beta: list[float]) -> None:
    """The function in every place, its parameters listed once for each."""
    count = FUNCTIONS[kind] * 2
    more: dict[str, Any] = {}
    if alpha:
        more["activation_alpha"] = alpha * count
    if beta:
        more["activation_beta"] = beta * count
    proto, feeds = layer(kind, "bidirectional", "b", activations=[name] * count, clip=1.0, **more)
    check(proto, feeds, rtol=1e-4, atol=1e-5)


def test_parameters_go_to_the_functions_that_take_them() -> None:
    proto, feeds = layer(
        "LSTM", "bidirectional", "b",
        activations=["sigmoid", "LEAKYRELU", "Tanh", "HardSigmoid", "Softsign", "Elu"],
        activation_alpha=[0.3, 0.4, 0.6], activation_beta=[0.45],
    )  # fmt: skip
    module = check(proto, feeds, rtol=1e-4, atol=1e-5)
    op = next(iter(module.main)).op
    assert op.attributes["activations"] == ("Sigmoid", "LeakyRelu", "Tanh", "HardSigmoid", "Softsign", "Elu")
    np.testing.assert_allclose(op.attributes["alpha"], (0, 0.3, 0, 0.4, 0, 0.6), rtol=1e-6)
    np.testing.assert_allclose(op.attributes["beta"], (0, 0, 0, 0.45, 0, 0), rtol=1e-6)


def turned(a: Array, *perm: int) -> Array:
    return np.ascontiguousarray(a.transpose(perm))


@pytest.mark.parametrize("kind", GATES)
def test_batch_first_is_the_same_layer(kind: str) -> None:
    """Onnxruntime has no kernel for layout 1: the layer with the steps first is the judge."""
    proto, feeds = layer(kind, "bidirectional", "blhcp")
    want = interpreted(imported(proto), feeds)
    node = proto.graph.node[0]
    node.attribute.append(onnx.helper.make_attribute("layout", 1))
    for stored in proto.graph.initializer:
        if stored.name in ("h0", "c0"):
            array = turned(onnx.numpy_helper.to_array(stored), 1, 0, 2)
            stored.CopyFrom(onnx.numpy_helper.from_array(array, stored.name))
    proto.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", F32, (BATCH, STEPS, SIZE)))
    got = interpreted(imported(proto), {**feeds, "x": turned(X, 1, 0, 2)})
    np.testing.assert_array_equal(got[0], turned(want[0], 2, 0, 1, 3))
    for mine, theirs in itertools.islice(zip(got, want, strict=True), 1, None):
        np.testing.assert_array_equal(mine, turned(theirs, 1, 0, 2))


@pytest.mark.parametrize("kind", GATES)
def test_oldest_version_is_the_same_layer(kind: str) -> None:
    proto, feeds = layer(kind, "bidirectional", "blh")
    want = interpreted(imported(proto), feeds)
    for opset in (1, 3):
        old, _ = layer(kind, "bidirectional", "blh", opset, output_sequence=1)
        for mine, theirs in zip(interpreted(imported(old), feeds), want, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("kind", GATES)
def test_unused_results_may_be_left_out(kind: str) -> None:
    proto, feeds = layer(kind, "forward", "b")
    proto.graph.node[0].output[0] = ""
    for i in range(2, len(proto.graph.node[0].output)):
        proto.graph.node[0].output[i] = ""
    del proto.graph.output[:]
    proto.graph.output.add().name = "yh"
    check(proto, feeds)


@pytest.mark.parametrize("kind", GATES)
def test_open_extents_pass_through(kind: str) -> None:
    proto, feeds = layer(kind, "bidirectional", "b")
    proto.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", F32, ("t", "n", SIZE)))
    module = check(proto, feeds)
    assert [str(t.type) for t in module.main.outputs][0] == f"f32[t,2,n,{HIDDEN}]"
    written = onnx.load_from_string(model_bytes(module, opset=11))
    assert [n.op_type for n in written.graph.node] == [kind]


@pytest.mark.parametrize("kind", GATES)
def test_operands_of_unknown_rank_are_taken(kind: str) -> None:
    """What a branch gives may have an unknown rank, as in speech models; a layer's operand has three axes."""
    proto, feeds = layer(kind, "bidirectional", "blhcp")
    proto.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", F32, None))
    module = check(proto, feeds)
    assert module.main.outputs[0].type.dims[3] == HIDDEN


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"activations": ["Gelu"]}, "'Gelu' is not known"),
        ({"activations": ["Tanh", "Tanh"]}, "2 activations are given"),
        ({"hidden_size": 7}, "hidden_size is 7"),
        ({"direction": "sideways"}, "expected 'forward'"),
    ],
)
def test_what_makes_no_sense_is_refused(attributes: dict[str, Any], words: str) -> None:
    values = parts("RNN", 1)
    proto = model([one("RNN", "x", "w", "r", **attributes)], {"x": X}, constants={k: values[k] for k in "wr"})
    with pytest.raises(OnnxAttributeError, match=words):
        imported(proto)


def dynamic(
    directions: int, steps: int, given: str, *, signed: bool, per_column: bool
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Operands of DynamicQuantizeLSTM: fed ones, stored ones."""
    draw = np.random.default_rng(0)
    kind, low, high = (np.int8, -64, 64) if signed else (np.uint8, 0, 256)  # more would saturate in some kernels
    feeds = {"x": floats(steps, BATCH, SIZE)}
    stored: dict[str, Array] = {}
    for name, rows in (("w", SIZE), ("r", HIDDEN)):
        shape = (directions, 4 * HIDDEN) if per_column else (directions,)
        stored[name] = draw.integers(low, high, (directions, rows, 4 * HIDDEN)).astype(kind)
        stored[f"{name}s"] = draw.uniform(0.002, 0.01, shape).astype(np.float32)
        stored[f"{name}z"] = np.full(shape, 0 if per_column and signed else (low + high) // 2 + 3, kind)
    values = parts("LSTM", directions)
    stored |= {
        name: values[name] for letter, name in zip("bhcp", ("b", "h0", "c0", "p"), strict=True) if letter in given
    }
    if "l" in given:
        feeds["l"] = np.array([steps - 1, 2, 0], np.int32)
    return feeds, stored


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("given", ["", "b", "bl", "blhcp"])
@pytest.mark.parametrize(("signed", "per_column"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("steps", [5, 20])
def test_quantized_while_it_runs(direction: str, given: str, signed: bool, per_column: bool, steps: int) -> None:
    directions = 2 if direction == "bidirectional" else 1
    feeds, stored = dynamic(directions, steps, given, signed=signed, per_column=per_column)
    order = ["x", "w", "r", "b", "l", "h0", "c0", "p", "ws", "wz", "rs", "rz"]
    names = [name if name in feeds or name in stored else "" for name in order]
    node = one(
        "DynamicQuantizeLSTM", *names, outputs=outputs_of("LSTM"), domain="com.microsoft",
        hidden_size=HIDDEN, direction=direction,
    )  # fmt: skip
    check(model([node], feeds, outputs_of("LSTM"), constants=stored), feeds, rtol=1e-4, atol=1e-5)


def test_layers_that_begin_with_their_part_of_zeros_for_an_open_batch() -> None:
    """As exporters write the states of a stack of layers that was given none."""
    nodes = [
        one("Shape", "x", outputs=["shape"], start=1, end=2),
        one("Concat", "layers", "shape", "hidden", outputs=["sizes"], axis=0),
        one("ConstantOfShape", "sizes", outputs=["zeros"]),
        one("Slice", "zeros", "zero", "one", "zero", outputs=["h0"]),
        one("Slice", "zeros", "one", "two", "zero", outputs=["h1"]),
        one("RNN", "x", "w0", "r0", "", "", "h0", outputs=["y0"], hidden_size=3),
        one("Squeeze", "y0", "one", outputs=["x1"]),
        one("RNN", "x1", "w1", "r1", "", "", "h1", outputs=["y"], hidden_size=3),
    ]
    numbers = {"layers": [2], "hidden": [3], "zero": [0], "one": [1], "two": [2]}
    constants = {name: np.array(value, np.int64) for name, value in numbers.items()}
    constants |= {"w0": floats(1, 3, 4), "r0": floats(1, 3, 3), "w1": floats(1, 3, 3), "r1": floats(1, 3, 3, seed=1)}
    feeds = {"x": floats(5, 2, 4)}
    proto = model(nodes, {"x": (F32, ["steps", "batch", 4])}, constants=constants)
    module = check(proto, feeds)
    want = interpreted(module, feeds)
    uair.optimize(module)
    assert op_types(module) == ["RNN", "Squeeze", "RNN"]
    np.testing.assert_allclose(interpreted(module, feeds), want, rtol=1e-6)
