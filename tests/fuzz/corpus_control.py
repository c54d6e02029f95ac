"""Control flow and sequences that make no sense, and loops that never end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.frontends.onnx.models import F32, I64, floats, model, one
from tests.fuzz.case import ANY, CORPUS, FINE
from tests.fuzz.corpus_graphs import graph, leaf

BOOL = TensorProto.BOOL
X = {"x": floats(2, 3)}
CONDITION = {**X, "c": np.array(True)}


def value(name: str, kind: int, shape: Sequence[Any] | None = ()) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


# ------------------------------------------------------------------------------------------------------------------ If
def branching(
    then: onnx.GraphProto | None, other: onnx.GraphProto | None, inputs: Any = None, **more: Any
) -> onnx.ModelProto:
    branches = {k: v for k, v in (("then_branch", then), ("else_branch", other)) if v is not None}
    outputs = more.pop("outputs", ("y",))
    return model([one("If", "c", outputs=outputs, **branches)], inputs or CONDITION, outputs)


TWO = graph([one("Neg", "x", outputs=["a"]), one("Abs", "x", outputs=["b"])], ["a", "b"])
IFS: dict[str, tuple[Any, str]] = {
    "no else": (lambda: branching(leaf(0), None), "UAIR-E01"),
    "no branches": (lambda: branching(None, None), "UAIR-E01"),
    "unequal branches": (lambda: branching(leaf(0), TWO), "UAIR-E"),
    "more results than outputs": (lambda: branching(leaf(0), leaf(1), outputs=("y", "z")), "UAIR-E"),
    "fewer results than outputs": (lambda: branching(TWO, TWO), ANY),
    "branches without outputs": (lambda: branching(graph([], []), graph([], [])), "UAIR-E"),
    "a branch that is its input": (lambda: branching(graph([], ["x"]), leaf(0)), ANY),
    "a branch with inputs": (
        lambda: branching(graph([one("Neg", "i", outputs=["o"])], ["o"], [value("i", F32)]), leaf(0)),
        "UAIR-E",
    ),
    "branches of different types": (
        lambda: branching(graph([one("Cast", "x", outputs=["o"], to=I64)], ["o"]), leaf(0)),
        "UAIR-E",
    ),
    "branches of different ranks": (
        lambda: branching(
            graph([one("Flatten", "x", outputs=["o"], axis=0)], ["o"]),
            graph([one("Shape", "x", outputs=["s"]), one("ReduceMax", "x", outputs=["p"])], ["p"]),
        ),
        ANY,
    ),
    "a condition of floats": (lambda: branching(leaf(0), leaf(1), {**X, "c": np.float32(1)}), "UAIR-E"),
    "a condition of strings": (lambda: branching(leaf(0), leaf(1), {**X, "c": (TensorProto.STRING, [])}), "UAIR-E"),
    "a condition of many": (lambda: branching(leaf(0), leaf(1), {**X, "c": np.array([True, False])}), "UAIR-E"),
    "a condition of none": (lambda: branching(leaf(0), leaf(1), {**X, "c": np.zeros(0, bool)}), ANY),
    "a condition of unknown rank": (lambda: branching(leaf(0), leaf(1), {**X, "c": (BOOL, None)}), ANY),
    "a branch that reads a name of the other": (
        lambda: branching(leaf(0), graph([one("Neg", "q0", outputs=["o"])], ["o"])),
        "UAIR-E01",
    ),
    "a branch with a cycle": (
        lambda: branching(leaf(0), graph([one("Neg", "b", outputs=["a"]), one("Neg", "a", outputs=["b"])], ["a"])),
        "UAIR-E0103",
    ),
    "a branch with an unknown operator": (
        lambda: branching(leaf(0), graph([one("Frob", "x", outputs=["o"])], ["o"])),
        "UAIR-E01",
    ),
    "a branch that defines a value twice": (
        lambda: branching(leaf(0), graph([one("Neg", "x", outputs=["o"])] * 2, ["o"])),
        "UAIR-E0105",
    ),
    "an enormous branch that is not taken": (
        lambda: branching(
            leaf(0),
            graph(
                [one("Expand", "x", "s", outputs=["o"])],
                ["o"],
                initializer=[numpy_helper.from_array(np.array([2**40, 2, 3]), "s")],
            ),
        ),
        ANY,
    ),
}
for name, (build, expect) in IFS.items():
    CORPUS.add("control", f"If: {name}", build, expect)


# ---------------------------------------------------------------------------------------------------------------- Loop
def body(*nodes: Any, outputs: Sequence[str], inputs: Sequence[Any] | None = None, **more: Any) -> onnx.GraphProto:
    """A body with one state `s`, unless other inputs are given."""
    taken = [value("i", I64), value("k", BOOL), value("s", F32, [2, 3])] if inputs is None else inputs
    return graph(nodes, outputs, taken, **more)


SAME = one("Identity", "k", outputs=["k2"])
STEP = one("Neg", "s", outputs=["s2"])
GOOD = body(SAME, STEP, outputs=["k2", "s2"])
STACKING = body(SAME, STEP, one("Abs", "s", outputs=["o"]), outputs=["k2", "s2", "o"])


def looping(
    graph: onnx.GraphProto | None,
    count: Any = 3,
    *,
    states: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    **more: Any,
) -> onnx.ModelProto:
    constants = {} if count is None else {"n": np.array(count)}
    condition = more.pop("condition", "c")
    inputs = {**X, "c": np.array(True), **more.pop("inputs", {})}
    attributes = {} if graph is None else {"body": graph}
    node = one("Loop", "" if count is None else "n", condition, *states, outputs=outputs, **attributes)
    return model([node], inputs, outputs, constants=constants)


def other_attribute() -> onnx.ModelProto:
    proto = looping(GOOD)
    proto.graph.node[0].attribute.append(helper.make_attribute("then_branch", leaf(0)))
    return proto


LOOPS: dict[str, tuple[Any, str]] = {
    "good": (lambda: looping(GOOD), FINE),
    "without body": (lambda: looping(None), "UAIR-E01"),
    "an empty body": (lambda: looping(body(outputs=[])), "UAIR-E"),
    "a body of nothing": (lambda: looping(graph([], [])), "UAIR-E"),
    "a body that takes too few": (
        lambda: looping(body(SAME, outputs=["k2", "k2"], inputs=[value("i", I64), value("k", BOOL)])),
        "UAIR-E",
    ),
    "a body that takes too many": (lambda: looping(GOOD, states=()), "UAIR-E"),
    "a body that gives too few": (lambda: looping(body(SAME, outputs=["k2"])), "UAIR-E"),
    "a body that gives more than the node": (lambda: looping(STACKING), ANY),
    "a node that gives more than the body": (lambda: looping(GOOD, outputs=("y", "z", "w")), "UAIR-E"),
    "a body that gives a number": (lambda: looping(body(STEP, outputs=["i", "s2"])), "UAIR-E"),
    "a body that gives an image as condition": (lambda: looping(body(STEP, outputs=["s", "s2"])), "UAIR-E"),
    "a state that changes its type": (
        lambda: looping(body(SAME, one("Cast", "s", outputs=["s2"], to=I64), outputs=["k2", "s2"])),
        "UAIR-E",
    ),
    "a state that changes its shape": (
        lambda: looping(body(SAME, one("Transpose", "s", outputs=["s2"]), outputs=["k2", "s2"])),
        ANY,
    ),
    "a state that grows": (
        lambda: looping(
            body(
                SAME,
                one("Concat", "s", "s", outputs=["s2"], axis=0),
                outputs=["k2", "s2"],
                inputs=[value("i", I64), value("k", BOOL), value("s", F32, ["d", 3])],
            ),
            8,
        ),
        ANY,
    ),
    "a state that doubles 60 times": (
        lambda: looping(
            body(
                SAME,
                one("Concat", "s", "s", outputs=["s2"], axis=0),
                outputs=["k2", "s2"],
                inputs=[value("i", I64), value("k", BOOL), value("s", F32, None)],
            ),
            60,
        ),
        ANY,
    ),
    "stacks of different shapes": (
        lambda: looping(
            body(
                SAME,
                one("Concat", "s", "s", outputs=["s2"], axis=0),
                outputs=["k2", "s2", "s2"],
                inputs=[value("i", I64), value("k", BOOL), value("s", F32, None)],
            ),
            3,
            outputs=("y", "z"),
        ),
        ANY,
    ),
    "a trip count of 2^62": (lambda: looping(GOOD, 2**62), ANY),
    "a trip count of 2^62, stacked": (lambda: looping(STACKING, 2**62, outputs=("y", "z")), ANY),
    "a trip count of -1": (lambda: looping(GOOD, -1), ANY),
    "a trip count of -2^63, stacked": (lambda: looping(STACKING, -(2**63), outputs=("y", "z")), ANY),
    "no trips, stacked": (lambda: looping(STACKING, 0, outputs=("y", "z")), ANY),
    "a trip count of floats": (lambda: looping(GOOD, 3.5), "UAIR-E"),
    "a trip count of many": (lambda: looping(GOOD, [1, 2]), "UAIR-E"),
    "a trip count of none": (lambda: looping(GOOD, np.zeros(0, np.int64)), ANY),
    "no trip count and no condition": (lambda: looping(GOOD, None, condition=""), ANY),
    "a condition that is always true": (lambda: looping(GOOD, None), ANY),
    "a condition of floats": (lambda: looping(GOOD, inputs={"c": np.float32(1)}), "UAIR-E"),
    "a condition of many": (lambda: looping(GOOD, inputs={"c": np.ones(7, bool)}), "UAIR-E"),
    "a body that reads its own node": (
        lambda: looping(body(SAME, one("Add", "s", "y", outputs=["s2"]), outputs=["k2", "s2"])),
        "UAIR-E01",
    ),
    "a body with an initializer for an input": (
        lambda: looping(
            body(SAME, STEP, outputs=["k2", "s2"], initializer=[numpy_helper.from_array(floats(2, 3), "s")])
        ),
        ANY,
    ),
    "a body whose inputs have one name": (
        lambda: looping(
            body(SAME, STEP, outputs=["k2", "s2"], inputs=[value("k", I64), value("k", BOOL), value("s", F32)])
        ),
        "UAIR-E",
    ),
    "a body whose inputs have no types": (
        lambda: looping(body(SAME, STEP, outputs=["k2", "s2"], inputs=[onnx.ValueInfoProto(name=n) for n in "iks"])),
        ANY,
    ),
    "a body that gives its inputs": (lambda: looping(body(outputs=["k", "s"])), ANY),
    "a body that gives one value twice": (
        lambda: looping(body(SAME, STEP, outputs=["k2", "s2", "s2"]), outputs=("y", "z")),
        ANY,
    ),
    "a body with enormous work": (
        lambda: looping(
            body(
                SAME,
                one("Expand", "s", "e", outputs=["b"]),
                one("ReduceSum", "b", outputs=["r"], keepdims=0),
                one("Add", "s", "r", outputs=["s2"]),
                outputs=["k2", "s2"],
                initializer=[numpy_helper.from_array(np.array([2**50, 1, 1]), "e")],
            )
        ),
        ANY,
    ),
    "an attribute besides": (other_attribute, "UAIR-E01"),
}
for name, (build, expect) in LOOPS.items():
    CORPUS.add("control", f"Loop: {name}", build, expect)


@CORPUS.define("control")
def loops_inside_each_other() -> onnx.ModelProto:
    """2^62 times 2^62 times ... runs."""
    inner = body(SAME, STEP, outputs=["k2", "s2"])
    for i in range(12):
        taken = [value(f"i{i}", I64), value(f"k{i}", BOOL), value(f"s{i}", F32, [2, 3])]
        node = one("Loop", "n", "", f"s{i}", outputs=[f"t{i}"], body=inner)
        keep = one("Identity", f"k{i}", outputs=[f"l{i}"])
        inner = graph([node, keep], [f"l{i}", f"t{i}"], taken)
    return model([one("Loop", "n", "", "x", body=inner)], X, constants={"n": np.array(2**62)})


@CORPUS.define("control")
def a_loop_in_a_function_in_a_loop() -> onnx.ModelProto:
    own = helper.make_function("f", "F0", ["a"], ["b"], [one("Loop", "", "", "a", outputs=["b"], body=GOOD)],
                               [helper.make_opsetid("", 17)])  # fmt: skip
    outer = body(SAME, one("F0", "s", outputs=["s2"], domain="f"), outputs=["k2", "s2"])
    proto = looping(outer)
    proto.functions.append(own)
    proto.opset_import.append(helper.make_opsetid("f", 1))
    return proto


# ---------------------------------------------------------------------------------------------------------------- Scan
def scanning(
    graph: onnx.GraphProto, *operands: str, outputs: Sequence[str] = ("y",), **attributes: Any
) -> onnx.ModelProto:
    count = attributes.pop("num_scan_inputs", 1)
    inputs = attributes.pop("inputs", X)
    node = one("Scan", *(operands or ("x",)), outputs=outputs, body=graph, num_scan_inputs=count, **attributes)
    return model([node], inputs, outputs)


def slices(shape: Sequence[Any] = (3,), kind: int = F32) -> onnx.GraphProto:
    return graph([one("Neg", "e", outputs=["o"])], ["o"], [value("e", kind, shape)])


def scanning_of_version_8() -> onnx.ModelProto:
    return model([one("Scan", "", "x", body=slices(), num_scan_inputs=1)], X, opset=8)


BIG = 2**62
SCANS: dict[str, tuple[Any, str]] = {
    "good": (lambda: scanning(slices()), FINE),
    "axis past the end": (lambda: scanning(slices(), scan_input_axes=[2]), "UAIR-E"),
    "axis 2^62": (lambda: scanning(slices(), scan_input_axes=[BIG]), "UAIR-E"),
    "axis -3": (lambda: scanning(slices(), scan_input_axes=[-3]), "UAIR-E"),
    "too many axes": (lambda: scanning(slices(), scan_input_axes=[0, 0, 0]), ANY),
    "output axis past the end": (lambda: scanning(slices(), scan_output_axes=[5]), "UAIR-E"),
    "output axis -2^63": (lambda: scanning(slices(), scan_output_axes=[-(2**63)]), "UAIR-E"),
    "too many output axes": (lambda: scanning(slices(), scan_output_axes=[0] * 9), ANY),
    "direction 7": (lambda: scanning(slices(), scan_input_directions=[7]), ANY),
    "too many directions": (
        lambda: scanning(slices(), scan_input_directions=[0] * 9, scan_output_directions=[1] * 9),
        ANY,
    ),
    "no scanned operands": (lambda: scanning(slices(), num_scan_inputs=0), "UAIR-E"),
    "two scanned operands of one": (lambda: scanning(slices(), num_scan_inputs=2), "UAIR-E"),
    "2^62 scanned operands": (lambda: scanning(slices(), num_scan_inputs=BIG), "UAIR-E"),
    "-1 scanned operands": (lambda: scanning(slices(), num_scan_inputs=-1), "UAIR-E"),
    "a slice of another shape": (lambda: scanning(slices([4])), ANY),
    "a slice of another type": (lambda: scanning(slices(kind=I64)), ANY),
    "a scalar": (lambda: scanning(slices([]), inputs={"x": floats()}), "UAIR-E"),
    "no slices": (lambda: scanning(slices(), inputs={"x": floats(0, 3)}), ANY),
    "of 2^62 slices": (lambda: scanning(slices(), inputs={"x": (F32, [BIG, 3])}), ANY),
    "unequal lengths": (
        lambda: scanning(
            graph([one("Add", "e", "f", outputs=["o"])], ["o"], [value("e", F32, [3]), value("f", F32, [3])]),
            "x",
            "z",
            num_scan_inputs=2,
            inputs={**X, "z": floats(5, 3)},
        ),
        "UAIR-E",
    ),
    "unequal lengths at run time": (
        lambda: scanning(
            graph([one("Add", "e", "f", outputs=["o"])], ["o"], [value("e", F32, [3]), value("f", F32, [3])]),
            "x",
            "w",
            num_scan_inputs=2,
            inputs={**X, "w": (F32, ["n", 3])},
        ),
        ANY,
    ),
    "a body of nothing": (lambda: scanning(graph([], [])), "UAIR-E"),
    "a body without inputs": (lambda: scanning(graph([one("Neg", "x", outputs=["o"])], ["o"])), "UAIR-E"),
    "more results than the body": (lambda: scanning(slices(), outputs=("y", "z")), "UAIR-E"),
    "version 8": (scanning_of_version_8, ANY),
}
for name, (build, expect) in SCANS.items():
    CORPUS.add("control", f"Scan: {name}", build, expect)


# ----------------------------------------------------------------------------------------------------------- sequences
SEQUENCE = helper.make_sequence_type_proto(helper.make_tensor_type_proto(F32, None))


def sequence(*nodes: Any, outputs: Sequence[str] = ("y",), **constants: Any) -> onnx.ModelProto:
    make = one("SequenceConstruct", "x", "x", outputs=["q"])
    return model([make, *nodes], X, outputs, constants={k: np.asarray(v) for k, v in constants.items()})


SEQUENCES: dict[str, tuple[Any, str]] = {
    "an item past the end": (lambda: sequence(one("SequenceAt", "q", "k"), k=2), ANY),
    "item 2^62": (lambda: sequence(one("SequenceAt", "q", "k"), k=BIG), ANY),
    "item -3": (lambda: sequence(one("SequenceAt", "q", "k"), k=-3), ANY),
    "an item of floats": (lambda: sequence(one("SequenceAt", "q", "k"), k=0.5), "UAIR-E"),
    "an item of many": (lambda: sequence(one("SequenceAt", "q", "k"), k=[0, 1]), ANY),
    "an item of a tensor": (lambda: sequence(one("SequenceAt", "x", "k"), k=0), "UAIR-E"),
    "arithmetic": (lambda: sequence(one("Add", "q", "x")), "UAIR-E"),
    "a shape of one": (lambda: sequence(one("Shape", "q")), "UAIR-E"),
    "inserted of another type": (lambda: sequence(one("SequenceInsert", "q", "k"), k=[1, 2]), "UAIR-E"),
    "inserted past the end": (lambda: sequence(one("SequenceInsert", "q", "x", "k"), k=9), ANY),
    "inserted into itself": (lambda: sequence(one("SequenceInsert", "q", "q")), "UAIR-E"),
    "erased past the end": (lambda: sequence(one("SequenceErase", "q", "k"), k=9), ANY),
    "nothing constructed": (lambda: model([one("SequenceConstruct")], {}), "UAIR-E"),
    "constructed of two types": (lambda: sequence(one("SequenceConstruct", "x", "k"), k=[1, 2]), "UAIR-E"),
    "empty, of no type": (lambda: model([one("SequenceEmpty", dtype=99)], {}), "UAIR-E"),
    "empty, joined": (
        lambda: model([one("SequenceEmpty", outputs=["q"]), one("ConcatFromSequence", "q", axis=0)], {}),
        ANY,
    ),
    "joined along axis 9": (lambda: sequence(one("ConcatFromSequence", "q", axis=9)), ANY),
    "joined along axis -2^63": (lambda: sequence(one("ConcatFromSequence", "q", axis=-(2**63), new_axis=1)), ANY),
    "split by 0": (lambda: model([one("SplitToSequence", "x", "k")], X, constants={"k": np.array(0)}), ANY),
    "split by -1": (lambda: model([one("SplitToSequence", "x", "k")], X, constants={"k": np.array(-1)}), ANY),
    "split by 2^62": (lambda: model([one("SplitToSequence", "x", "k")], X, constants={"k": np.array(BIG)}), ANY),
    "split that does not add up": (
        lambda: model([one("SplitToSequence", "x", "k")], X, constants={"k": np.array([1, 9])}),
        ANY,
    ),
    "split along axis 9": (lambda: model([one("SplitToSequence", "x", axis=9)], X), "UAIR-E"),
    "mapped over nothing": (lambda: model([one("SequenceMap", "x", body=slices())], X), "UAIR-E"),
    "mapped by a body of nothing": (lambda: sequence(one("SequenceMap", "q", body=graph([], []))), "UAIR-E"),
    "mapped by a body that takes two": (
        lambda: sequence(
            one(
                "SequenceMap",
                "q",
                body=graph(
                    [one("Add", "e", "f", outputs=["o"])], ["o"], [value("e", F32, None), value("f", F32, None)]
                ),
            )
        ),
        "UAIR-E",
    ),
    "optional of nothing": (
        lambda: model([one("Optional", outputs=["o"]), one("OptionalGetElement", "o")], {}),
        "UAIR-E",
    ),
    "optional that is empty": (
        lambda: model(
            [
                one("Optional", outputs=["o"], type=helper.make_tensor_type_proto(F32, [2])),
                one("OptionalGetElement", "o"),
            ],
            {},
        ),
        ANY,
    ),
    "optional of an optional": (
        lambda: model([one("Optional", "x", outputs=["o"]), one("Optional", "o", outputs=["p"])], X, ["p"]),
        ANY,
    ),
    "an element of a tensor": (lambda: model([one("OptionalGetElement", "x")], X, opset=15), ANY),
}
for name, (build, expect) in SEQUENCES.items():
    CORPUS.add("sequences", name, build, expect)


@CORPUS.define("sequences")
def a_sequence_that_grows_in_a_loop() -> onnx.ModelProto:
    state = onnx.ValueInfoProto(name="s", type=SEQUENCE)
    grow = body(SAME, one("SequenceInsert", "s", "x", outputs=["s2"]), outputs=["k2", "s2"],
                inputs=[value("i", I64), value("k", BOOL), state])  # fmt: skip
    nodes = [one("SequenceEmpty", outputs=["q"]), one("Loop", "n", "", "q", outputs=["r"], body=grow),
             one("SequenceLength", "r")]  # fmt: skip
    return model(nodes, X, constants={"n": np.array(2**62)})


@CORPUS.define("sequences")
def an_input_of_sequences_of_sequences() -> onnx.ModelProto:
    kind = SEQUENCE
    for _ in range(25):
        kind = helper.make_sequence_type_proto(kind)
    proto = model([one("SequenceLength", "q")], X)
    proto.graph.input.append(onnx.ValueInfoProto(name="q", type=kind))
    return proto


@CORPUS.define("sequences")
def an_input_map_with_keys_of_floats() -> onnx.ModelProto:
    proto = model([one("Identity", "q")], X)
    kind = onnx.TypeProto()
    kind.map_type.key_type = F32
    kind.map_type.value_type.CopyFrom(helper.make_tensor_type_proto(F32, [1]))
    proto.graph.input.append(onnx.ValueInfoProto(name="q", type=kind))
    return proto
