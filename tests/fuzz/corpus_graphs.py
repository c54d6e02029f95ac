"""Graphs that make no sense: cycles, names, operators, attributes, functions without end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.frontends.onnx.models import F32, I64, floats, model, one
from tests.fuzz.case import ANY, CORPUS, FINE

X = {"x": floats(2, 3)}
CHAIN = 2_000


# ---------------------------------------------------------------------------------------------------------- structure
def relus(count: int) -> list[Any]:
    return [one("Relu", f"t{i}" if i else "x", outputs=[f"t{i + 1}"]) for i in range(count)]


@CORPUS.define("graphs")
def no_outputs() -> onnx.ModelProto:
    return model([one("Relu", "x")], X, outputs=())


@CORPUS.define("graphs")
def nothing_at_all() -> onnx.ModelProto:
    return model([], {}, outputs=())


@CORPUS.define("graphs")
def no_nodes() -> onnx.ModelProto:
    return model([], X, outputs=["x"])


@CORPUS.define("graphs", "UAIR-E0104")
def an_output_that_nothing_gives() -> onnx.ModelProto:
    return model([one("Relu", "x")], X, outputs=["z"])


@CORPUS.define("graphs", "UAIR-E01")
def an_output_without_name() -> onnx.ModelProto:
    return model([one("Relu", "x")], X, outputs=[""])


@CORPUS.define("graphs", "UAIR-E0103")
def a_node_that_needs_itself() -> onnx.ModelProto:
    return model([one("Add", "x", "y")], X)


@CORPUS.define("graphs", "UAIR-E0103")
def a_cycle_of_2000() -> onnx.ModelProto:
    nodes = [one("Relu", f"t{(i + 1) % CHAIN}", outputs=[f"t{i}"]) for i in range(CHAIN)]
    return model(nodes, X, ["t0"])


@CORPUS.define("graphs", "UAIR-E0103")
def a_cycle_through_a_subgraph() -> onnx.ModelProto:
    body = graph([one("Relu", "y", outputs=["r"])], ["r"])
    return model([one("If", "c", then_branch=body, else_branch=body)], {"c": np.array(True)})


@CORPUS.define("graphs", FINE)
def a_chain_of_2000() -> onnx.ModelProto:
    return model(relus(2000), X, ["t2000"])


@CORPUS.define("graphs", FINE)
def a_chain_backwards() -> onnx.ModelProto:
    return model(relus(2000)[::-1], X, ["t2000"])


@CORPUS.define("graphs")
def doubling_by_addition() -> onnx.ModelProto:
    """t(i+1) = t(i) + t(i): a walk that forgets where it was takes 2^60 steps."""
    nodes = [one("Add", f"t{i}" if i else "x", f"t{i}" if i else "x", outputs=[f"t{i + 1}"]) for i in range(60)]
    return model(nodes, X, ["t60"])


@CORPUS.define("graphs")
def doubling_by_concatenation() -> onnx.ModelProto:
    nodes = [one("Concat", *[f"t{i}" if i else "x"] * 2, outputs=[f"t{i + 1}"], axis=0) for i in range(62)]
    return model(nodes, X, ["t62"])


@CORPUS.define("graphs")
def doubling_of_a_shape() -> onnx.ModelProto:
    """Sizes that double symbolically: 2^40 * N."""
    nodes: list[Any] = [one("Shape", "x", outputs=["t0"])]
    nodes += [one("Add", f"t{i}", f"t{i}", outputs=[f"t{i + 1}"]) for i in range(40)]
    nodes.append(one("Expand", "x", "t40"))
    return model(nodes, {"x": (F32, ["N", 1])})


@CORPUS.define("graphs")
def squaring_of_a_size() -> onnx.ModelProto:
    """N, N^2, N^4 ...: numbers with 2^30 digits where somebody multiplies them out."""
    nodes: list[Any] = [one("Shape", "x", outputs=["t0"])]
    nodes += [one("Mul", f"t{i}", f"t{i}", outputs=[f"t{i + 1}"]) for i in range(30)]
    nodes.append(one("Expand", "x", "t30"))
    return model(nodes, {"x": (F32, ["N"])})


@CORPUS.define("graphs")
def squaring_of_a_number() -> onnx.ModelProto:
    nodes: list[Any] = [one("Shape", "x", outputs=["t0"])]
    nodes += [one("Mul", f"t{i}", f"t{i}", outputs=[f"t{i + 1}"]) for i in range(40)]
    nodes.append(one("Expand", "x", "t40"))
    return model(nodes, {"x": floats(10)})


@CORPUS.define("graphs")
def sums_of_many_sizes() -> onnx.ModelProto:
    """(A + B)(A + B)...: sums with 2^16 terms where somebody multiplies them out."""
    nodes: list[Any] = [one("Shape", "x", outputs=["s"]), one("ReduceSum", "s", outputs=["t0"], keepdims=1)]
    nodes += [one("Mul", f"t{i}", f"t{i}", outputs=[f"t{i + 1}"]) for i in range(16)]
    nodes += [one("Reshape", "t16", "one", outputs=["v"]), one("Expand", "x", "v")]
    return model(nodes, {"x": (F32, ["A", "B", "C", "D"])}, constants={"one": np.array([1])})


@CORPUS.define("graphs", "UAIR-E0105")
def a_value_defined_twice() -> onnx.ModelProto:
    return model([one("Relu", "x"), one("Neg", "x")], X)


@CORPUS.define("graphs", "UAIR-E0105")
def an_input_defined_again() -> onnx.ModelProto:
    return model([one("Relu", "x", outputs=["x"])], X, ["x"])


@CORPUS.define("graphs", "UAIR-E0105")
def one_node_with_the_same_result_twice() -> onnx.ModelProto:
    return model([one("Split", "x", outputs=["y", "y"], axis=0)], X)


@CORPUS.define("graphs", "UAIR-E0105")
def an_input_listed_twice() -> onnx.ModelProto:
    proto = model([one("Relu", "x")], X)
    proto.graph.input.append(proto.graph.input[0])
    return proto


@CORPUS.define("graphs", "UAIR-E0105")
def an_output_listed_twice() -> onnx.ModelProto:
    proto = model([one("Relu", "x")], X)
    proto.graph.output.append(proto.graph.output[0])
    return proto


@CORPUS.define("graphs")
def an_input_as_output_twice() -> onnx.ModelProto:
    return model([one("Identity", "x", outputs=["y"]), one("Identity", "x", outputs=["z"])], X, ["x", "y", "z"])


@CORPUS.define("graphs", "UAIR-E0105")
def an_initializer_twice() -> onnx.ModelProto:
    proto = model([one("Add", "x", "w")], X, constants={"w": floats(3)})
    proto.graph.initializer.append(proto.graph.initializer[0])
    return proto


@CORPUS.define("graphs")
def an_initializer_of_another_type_than_its_input() -> onnx.ModelProto:
    return model([one("Add", "x", "w")], {**X, "w": (I64, [7])}, constants={"w": floats(3)})


@CORPUS.define("graphs")
def a_node_without_outputs() -> onnx.ModelProto:
    return model([one("Relu", "x", outputs=[]), one("Relu", "x")], X)


@CORPUS.define("graphs")
def a_node_with_only_omitted_outputs() -> onnx.ModelProto:
    return model([one("TopK", "x", "k", outputs=["", ""]), one("Relu", "x")], X, constants={"k": np.array([1])})


@CORPUS.define("graphs", "UAIR-E01")
def too_many_outputs() -> onnx.ModelProto:
    return model([one("Relu", "x", outputs=["y", "z"])], X)


@CORPUS.define("graphs")
def too_many_inputs() -> onnx.ModelProto:
    return model([one("Relu", *["x"] * 1000)], X)


@CORPUS.define("graphs")
def a_sum_of_2000() -> onnx.ModelProto:
    return model([one("Sum", *["x"] * CHAIN)], X)


@CORPUS.define("graphs")
def a_join_of_20000() -> onnx.ModelProto:
    return model([one("Concat", *["x"] * 20_000, axis=0)], X)


@CORPUS.define("graphs")
def a_split_into_10000() -> onnx.ModelProto:
    names = [f"y{i}" for i in range(10_000)]
    return model([one("Split", "x", outputs=names, axis=0)], {"x": floats(10_000)}, names[:1], opset=11)


@CORPUS.define("graphs", "UAIR-E01")
def all_inputs_omitted() -> onnx.ModelProto:
    return model([one("Conv", "", "", "")], X)


@CORPUS.define("graphs")
def quantization_annotations() -> onnx.ModelProto:
    proto = model([one("Relu", "x")], X)
    note = proto.graph.quantization_annotation.add()
    note.tensor_name = "nowhere"
    return proto


@CORPUS.define("graphs")
def training_information() -> onnx.ModelProto:
    proto = model([one("Relu", "x")], X)
    proto.training_info.add().algorithm.node.append(one("Frobnicate", "nowhere"))
    return proto


@CORPUS.define("graphs")
def a_hundred_thousand_metadata() -> onnx.ModelProto:
    proto = model([one("Relu", "x")], X)
    proto.metadata_props.extend(onnx.StringStringEntryProto(key=f"k{i}", value="v") for i in range(20_000))
    return proto


@CORPUS.define("graphs")
def the_same_metadata_twice() -> onnx.ModelProto:
    proto = model([one("Relu", "x")], X)
    proto.metadata_props.extend([onnx.StringStringEntryProto(key="k", value=v) for v in "ab"])
    return proto


# ---------------------------------------------------------------------------------------------------------- operators
OPERATORS: dict[str, tuple[str, str]] = {
    "unknown": ("Frobnicate", ""),
    "without name": ("", ""),
    "with a long name": ("R" * 1_000_000, ""),
    "of an unknown domain": ("Relu", "com.example"),
    "of a domain that is a path": ("Relu", "../../x"),
    "of training": ("Gradient", "ai.onnx.preview.training"),
    "with a name of code": ("__import__('os')", ""),
    "that are internal": ("Return", ""),
    "of this IR": ("Conv2D", ""),
    "deprecated": ("Upsample", ""),
    "experimental": ("ATen", ""),
}
for name, (op_type, domain) in OPERATORS.items():
    CORPUS.add("operators", name, lambda o=op_type, d=domain: model([one(o, "x", domain=d)], X), "UAIR-E01")
    CORPUS.add("operators", f"{name}, declared", lambda o=op_type, d=domain: typed(model([one(o, "x", domain=d)], X)))


def typed(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(F32, [2, 3]))
    return proto


# ----------------------------------------------------------------------------------------------------------- attributes
def attributed(attribute: AttributeProto | None, op_type: str = "LeakyRelu", **more: Any) -> onnx.ModelProto:
    node = one(op_type, "x", **more)
    if attribute is not None:
        node.attribute.append(attribute)
    return model([node], {"x": floats(1, 2, 6, 6)})


def raw_attribute(name: str, **fields: Any) -> AttributeProto:
    return AttributeProto(name=name, **fields)


ATTRIBUTES: dict[str, tuple[AttributeProto, str]] = {
    "int as float": (helper.make_attribute("alpha", 1), "UAIR-E0106"),
    "text as float": (helper.make_attribute("alpha", "much"), "UAIR-E0106"),
    "list as float": (helper.make_attribute("alpha", [0.1]), "UAIR-E0106"),
    "tensor as float": (helper.make_attribute("alpha", numpy_helper.from_array(floats(1))), "UAIR-E0106"),
    "graph as float": (helper.make_attribute("alpha", onnx.GraphProto(name="g")), "UAIR-E0106"),
    "type 99": (raw_attribute("alpha"), ANY),
    "type FLOAT without value": (raw_attribute("alpha", type=AttributeProto.FLOAT), ANY),
    "type FLOAT with an integer": (raw_attribute("alpha", type=AttributeProto.FLOAT, i=7), ANY),
    "no type and two values": (raw_attribute("alpha", i=7, f=0.5), ANY),
    "nan": (helper.make_attribute("alpha", float("nan")), ANY),
    "infinite": (helper.make_attribute("alpha", float("inf")), ANY),
    "without name": (helper.make_attribute("", 0.5), "UAIR-E0106"),
    "unknown": (helper.make_attribute("colour", "red"), "UAIR-E0106"),
    "a reference outside a function": (
        raw_attribute("alpha", type=AttributeProto.FLOAT, ref_attr_name="a"),
        "UAIR-E0106",
    ),
    "a reference to itself": (raw_attribute("alpha", type=AttributeProto.FLOAT, ref_attr_name="alpha"), "UAIR-E0106"),
}
for name, (attribute, expect) in ATTRIBUTES.items():
    CORPUS.add("attributes", name, lambda a=attribute: attributed(a), expect)
for field in ("floats", "ints", "strings", "tensors", "graphs"):
    CORPUS.add("attributes", f"both f and {field}", lambda f=field: attributed(both(f)))


def both(field: str) -> AttributeProto:
    attribute = helper.make_attribute("alpha", 0.5)
    if field in ("tensors", "graphs"):
        getattr(attribute, field).add()
    else:
        getattr(attribute, field).append(b"a" if field == "strings" else 1)
    return attribute


HUGE = [2**62, -(2**62), 2**63 - 1, -(2**63)]
INTEGERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Transpose perm": ("Transpose", {"perm": [0, 1, 2, 2**40]}),
    "Transpose negative": ("Transpose", {"perm": [0, 1, 2, -1]}),
    "Flatten axis": ("Flatten", {"axis": 2**62}),
    "Softmax axis": ("Softmax", {"axis": -(2**63)}),
    "Concat axis": ("Concat", {"axis": 2**62}),
    "LeakyRelu twice": ("LeakyRelu", {"alpha": 0.1}),
    "kernel 0": ("MaxPool", {"kernel_shape": [0, 0]}),
    "kernel negative": ("MaxPool", {"kernel_shape": [-3, 3]}),
    "kernel huge": ("MaxPool", {"kernel_shape": [2**62, 2**62]}),
    "kernel larger than the image": ("AveragePool", {"kernel_shape": [7, 7]}),
    "kernel of 100000 axes": ("MaxPool", {"kernel_shape": [1] * 100_000}),
    "strides 0": ("MaxPool", {"kernel_shape": [2, 2], "strides": [0, 0]}),
    "strides negative": ("MaxPool", {"kernel_shape": [2, 2], "strides": [-1, 1]}),
    "strides huge": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2**62, 2**62]}),
    "dilations 0": ("MaxPool", {"kernel_shape": [2, 2], "dilations": [0, 1]}),
    "dilations huge": ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2**62, 1]}),
    "pads huge": ("MaxPool", {"kernel_shape": [2, 2], "pads": [2**62] * 4}),
    "pads negative": ("MaxPool", {"kernel_shape": [2, 2], "pads": [-1] * 4}),
    "pads wider than the kernel": ("AveragePool", {"kernel_shape": [2, 2], "pads": [5] * 4}),
    "pads odd": ("MaxPool", {"kernel_shape": [2, 2], "pads": [1, 1, 1]}),
    "auto_pad unknown": ("MaxPool", {"kernel_shape": [2, 2], "auto_pad": "SAME_MIDDLE"}),
    "auto_pad and pads": ("MaxPool", {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER", "pads": [1] * 4}),
    "LpPool p 0": ("LpPool", {"kernel_shape": [2, 2], "p": 0}),
    "LpPool p negative": ("LpPool", {"kernel_shape": [2, 2], "p": -2}),
    "LpNormalization p 7": ("LpNormalization", {"p": 7}),
    "LRN size 0": ("LRN", {"size": 0}),
    "LRN size huge": ("LRN", {"size": 2**62 + 1}),
    "LRN size negative": ("LRN", {"size": -3}),
    "blocksize 0": ("DepthToSpace", {"blocksize": 0}),
    "blocksize negative": ("SpaceToDepth", {"blocksize": -2}),
    "blocksize huge": ("SpaceToDepth", {"blocksize": 2**62}),
    "Cast to nothing": ("Cast", {"to": 0}),
    "Cast to string": ("Cast", {"to": TensorProto.STRING}),
    "Cast to complex": ("Cast", {"to": TensorProto.COMPLEX64}),
    "Shape start huge": ("Shape", {"start": -(2**63), "end": 2**63 - 1}),
    "Gelu": ("Gelu", {"approximate": "fast"}),
    "MVN axes": ("MeanVarianceNormalization", {"axes": [9, 9]}),
    "Einsum nothing": ("Einsum", {"equation": ""}),
    "Einsum long": ("Einsum", {"equation": "abcd," * 10_000}),
    "Einsum arrow": ("Einsum", {"equation": "->->->"}),
    "Einsum ellipses": ("Einsum", {"equation": "......->..."}),
    "Einsum twice": ("Einsum", {"equation": "abcd->aabbccdd"}),
    "Einsum unicode": ("Einsum", {"equation": "\u0430bcd->d"}),
    "RandomNormal huge": ("RandomNormalLike", {"seed": float("nan")}),
    "Multinomial huge": ("Multinomial", {"sample_size": 2**62}),
    "EyeLike k": ("EyeLike", {"k": 2**62}),
    "Split axis": ("Split", {"axis": 2**62, "num_outputs": 1}),
    "Split into 2^62": ("Split", {"axis": 0, "num_outputs": 2**62}),
    "ArgMax axis": ("ArgMax", {"axis": -(2**63)}),
    "HardSigmoid nan": ("HardSigmoid", {"alpha": float("nan"), "beta": float("inf")}),
    "GroupNormalization groups 0": ("GroupNormalization", {"num_groups": 0}),
    "Unsqueeze axes": ("Unsqueeze", {"axes": [2**62]}),
}
for name, (op_type, more) in INTEGERS.items():
    CORPUS.add(
        "attributes", name, lambda o=op_type, m=more: model([one(o, "x", **m)], {"x": floats(1, 2, 6, 6)}, opset=18)
    )
CORPUS.add("attributes", "ten thousand unknown", lambda: many_attributes(10_000), "UAIR-E0106")
CORPUS.add("attributes", "ten thousand of one name", lambda: many_attributes(10_000, "alpha"), "UAIR-E0106")
CORPUS.add("attributes", "a list of half a million", lambda: attributed(None, "Transpose", perm=[0] * 500_000))
CORPUS.add("attributes", "a string of 4 MB", lambda: attributed(None, "Gelu", approximate="n" * 4_000_000))
CORPUS.add(
    "attributes", "a constant list of a million", lambda: model([one("Constant", value_floats=[0.5] * 1_000_000)], {})
)
CORPUS.add(
    "attributes",
    "strings not UTF-8",
    lambda: model([one("Constant", value_strings=[b"\xff", b"\xfe"])], {}),
    "UAIR-E01",
)
CORPUS.add("attributes", "a value not UTF-8", lambda: model([one("Constant", value_string=b"\xff")], {}), "UAIR-E01")


def many_attributes(count: int, name: str = "") -> onnx.ModelProto:
    node = one("LeakyRelu", "x")
    node.attribute.extend(helper.make_attribute(name or f"a{i}", 1.0) for i in range(count))
    return model([node], X)


def convolution(x: Sequence[int], w: Sequence[int], **more: Any) -> onnx.ModelProto:
    op_type = more.pop("op_type", "Conv")
    return model([one(op_type, "x", "w", **more)], {"x": floats(*x)}, constants={"w": floats(*w)})


CONVOLUTIONS: dict[str, tuple[Sequence[int], Sequence[int], dict[str, Any]]] = {
    "groups 0": ((1, 4, 6, 6), (4, 4, 3, 3), {"group": 0}),
    "groups negative": ((1, 4, 6, 6), (4, 4, 3, 3), {"group": -1}),
    "groups 2^62": ((1, 4, 6, 6), (4, 4, 3, 3), {"group": 2**62}),
    "groups that do not divide": ((1, 4, 6, 6), (3, 2, 3, 3), {"group": 2}),
    "channels": ((1, 4, 6, 6), (4, 3, 3, 3), {}),
    "kernel of another shape": ((1, 4, 6, 6), (4, 4, 3, 3), {"kernel_shape": [5, 5]}),
    "kernel of nothing": ((1, 4, 6, 6), (4, 4, 0, 3), {}),
    "no channels": ((1, 0, 6, 6), (4, 0, 3, 3), {}),
    "no batch": ((0, 4, 6, 6), (4, 4, 3, 3), {}),
    "no image": ((1, 4, 0, 6), (4, 4, 3, 3), {}),
    "no filters": ((1, 4, 6, 6), (0, 4, 3, 3), {}),
    "rank 2": ((4, 4), (4, 4), {}),
    "rank 6": ((1, 2, 3, 3, 3, 3), (2, 2, 1, 1, 1, 1), {}),
    "ranks differ": ((1, 4, 6, 6), (4, 4, 3), {}),
    "strides huge": ((1, 4, 6, 6), (4, 4, 3, 3), {"strides": [2**62, 2**62]}),
    "pads huge": ((1, 4, 6, 6), (4, 4, 3, 3), {"pads": [2**62] * 4}),
    "pads negative": ((1, 4, 6, 6), (4, 4, 3, 3), {"pads": [-2] * 4}),
    "pads of a million": ((1, 4, 6, 6), (4, 4, 3, 3), {"pads": [10**6] * 4}),
    "dilations huge": ((1, 4, 6, 6), (4, 4, 3, 3), {"dilations": [2**62] * 2, "pads": [2**61] * 4}),
}
for name, (x, w, more) in CONVOLUTIONS.items():
    for op_type in ("Conv", "ConvTranspose"):
        given = {**more, "op_type": op_type}
        CORPUS.add("convolutions", f"{op_type}: {name}", lambda x=x, w=w, g=given: convolution(x, w, **g))
TRANSPOSED: dict[str, dict[str, Any]] = {
    "output_shape huge": {"output_shape": [2**62, 2**62]},
    "output_shape negative": {"output_shape": [-5, 5]},
    "output_shape too small": {"output_shape": [1, 1]},
    "output_padding huge": {"output_padding": [2**62, 2**62]},
    "output_padding negative": {"output_padding": [-1, -1]},
}
for name, more in TRANSPOSED.items():
    given = {**more, "op_type": "ConvTranspose"}
    CORPUS.add("convolutions", f"ConvTranspose: {name}", lambda g=given: convolution((1, 2, 4, 4), (2, 2, 3, 3), **g))


# ------------------------------------------------------------------------------------------------------------ functions
def function(
    name: str, nodes: Sequence[Any], inputs: Sequence[str] = ("a",), outputs: Sequence[str] = ("b",), **more: Any
) -> onnx.FunctionProto:
    imports = more.pop("imports", [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)])
    return helper.make_function("f", name, list(inputs), list(outputs), list(nodes), imports, **more)


def calling(
    functions: Sequence[onnx.FunctionProto], *inputs: str, outputs: Sequence[str] = ("y",), **more: Any
) -> onnx.ModelProto:
    node = one("F0", *(inputs or ("x",)), outputs=outputs, domain="f", **more)
    return model([node], X, outputs[:1], functions=list(functions))


def step(op_type: str, *inputs: str, outputs: Sequence[str] = ("b",), domain: str = "f", **more: Any) -> Any:
    return one(op_type, *(inputs or ("a",)), outputs=outputs, domain=domain, **more)


@CORPUS.define("functions", "UAIR-E01")
def one_that_calls_itself() -> onnx.ModelProto:
    return calling([function("F0", [step("F0")])])


@CORPUS.define("functions", "UAIR-E01")
def two_that_call_each_other() -> onnx.ModelProto:
    return calling([function("F0", [step("F1")]), function("F1", [step("F0")])])


@CORPUS.define("functions", "UAIR-E01")
def a_ring_of_60() -> onnx.ModelProto:
    return calling([function(f"F{i}", [step(f"F{(i + 1) % 60}")]) for i in range(60)])


@CORPUS.define("functions", "UAIR-E01")
def recursion_in_a_subgraph() -> onnx.ModelProto:
    body = graph([step("F0", outputs=["r"])], ["r"])
    nodes = [one("ReduceMax", "a", outputs=["m"], keepdims=0), one("Cast", "m", outputs=["c"], to=TensorProto.BOOL)]
    nodes.append(one("If", "c", outputs=["b"], then_branch=body, else_branch=body))
    return calling([function("F0", nodes)])


@CORPUS.define("functions", "UAIR-E01")
def a_chain_of_1000() -> onnx.ModelProto:
    last = function("F999", [one("Relu", "a", outputs=["b"])])
    return calling([*(function(f"F{i}", [step(f"F{i + 1}")]) for i in range(999)), last])


@CORPUS.define("functions", FINE)
def a_chain_of_60() -> onnx.ModelProto:
    last = function("F59", [one("Relu", "a", outputs=["b"])])
    return calling([*(function(f"F{i}", [step(f"F{i + 1}")]) for i in range(59)), last])


@CORPUS.define("functions", "UAIR-E01")
def exponential_growth() -> onnx.ModelProto:
    """Each calls the next one twice: 2^40 nodes."""
    twice = [function(f"F{i}", [step(f"F{i + 1}", outputs=["m"]), step(f"F{i + 1}", "m")]) for i in range(40)]
    return calling([*twice, function("F40", [one("Relu", "a", outputs=["b"])])])


@CORPUS.define("functions", "UAIR-E01")
def exponential_growth_of_nothing() -> onnx.ModelProto:
    """The same with empty bodies at the end."""
    wide = [
        function(f"F{i}", [step(f"F{i + 1}", outputs=[f"m{j}"]) for j in range(10)], outputs=("m0",)) for i in range(20)
    ]
    return calling([*wide, function("F20", [], outputs=("a",))])


@CORPUS.define("functions", "UAIR-E0105")
def two_of_one_name() -> onnx.ModelProto:
    return calling([function("F0", [one("Relu", "a", outputs=["b"])])] * 2)


@CORPUS.define("functions", "UAIR-E01")
def a_result_that_nothing_defines() -> onnx.ModelProto:
    return calling([function("F0", [one("Relu", "a", outputs=["c"])])])


@CORPUS.define("functions", "UAIR-E01")
def a_body_that_reads_the_callers_names() -> onnx.ModelProto:
    return calling([function("F0", [one("Relu", "x", outputs=["b"])])])


@CORPUS.define("functions", "UAIR-E01")
def too_many_operands() -> onnx.ModelProto:
    return calling([function("F0", [one("Relu", "a", outputs=["b"])])], "x", "x")


@CORPUS.define("functions", "UAIR-E01")
def a_missing_operand() -> onnx.ModelProto:
    return calling([function("F0", [one("Add", "a", "c", outputs=["b"])], ("a", "c"))])


@CORPUS.define("functions", "UAIR-E01")
def too_many_results() -> onnx.ModelProto:
    return calling([function("F0", [one("Relu", "a", outputs=["b"])])], outputs=("y", "z"))


@CORPUS.define("functions", "UAIR-E01")
def a_formal_operand_twice() -> onnx.ModelProto:
    return calling([function("F0", [one("Relu", "a", outputs=["b"])], ("a", "a"))], "x", "x")


@CORPUS.define("functions", "UAIR-E01")
def a_body_that_defines_its_operand() -> onnx.ModelProto:
    return calling([function("F0", [one("Relu", "a", outputs=["a"])], outputs=("a",))])


@CORPUS.define("functions", "UAIR-E01")
def an_attribute_that_is_not_there() -> onnx.ModelProto:
    return calling([function("F0", [one("Relu", "a", outputs=["b"])])], colour=1)


@CORPUS.define("functions", "UAIR-E01")
def an_attribute_of_another_type() -> onnx.ModelProto:
    node = one("LeakyRelu", "a", outputs=["b"])
    node.attribute.append(raw_attribute("alpha", type=AttributeProto.FLOAT, ref_attr_name="slope"))
    return calling([function("F0", [node], attributes=["slope"])], slope="steep")


@CORPUS.define("functions")
def a_required_attribute_left_out() -> onnx.ModelProto:
    node = one("Cast", "a", outputs=["b"])
    node.attribute.append(raw_attribute("to", type=AttributeProto.INT, ref_attr_name="to"))
    return calling([function("F0", [node], attributes=["to"])])


@CORPUS.define("functions", "UAIR-E0102")
def no_operator_sets() -> onnx.ModelProto:
    return calling([function("F0", [one("Relu", "a", outputs=["b"])], imports=[helper.make_opsetid("g", 1)])])


@CORPUS.define("functions", "UAIR-E0102")
def an_operator_set_of_the_future() -> onnx.ModelProto:
    return calling([function("F0", [one("Relu", "a", outputs=["b"])], imports=[helper.make_opsetid("", 999)])])


@CORPUS.define("functions")
def an_operator_redefined() -> onnx.ModelProto:
    own = onnx.FunctionProto()
    own.CopyFrom(function("Relu", [one("Neg", "a", outputs=["b"])]))
    own.domain = ""
    return model([one("Relu", "x")], X, functions=[own])


@CORPUS.define("functions", "UAIR-E01")
def an_operator_redefined_by_itself() -> onnx.ModelProto:
    own = onnx.FunctionProto()
    own.CopyFrom(function("Relu", [one("Relu", "a", outputs=["b"])]))
    own.domain = ""
    return model([one("Relu", "x")], X, functions=[own])


@CORPUS.define("functions")
def ten_thousand_that_nobody_calls() -> onnx.ModelProto:
    more = [function(f"G{i}", [one("Frobnicate", "a", outputs=["b"])]) for i in range(10_000)]
    return calling([function("F0", [one("Relu", "a", outputs=["b"])]), *more])


# ------------------------------------------------------------------------------------------------------------ subgraphs
def graph(nodes: Sequence[Any], outputs: Sequence[str], inputs: Sequence[Any] = (), **more: Any) -> onnx.GraphProto:
    values = [onnx.ValueInfoProto(name=name) for name in outputs]
    return helper.make_graph(list(nodes), more.pop("name", "body"), list(inputs), values, **more)


def nested_if(depth: int, condition: str = "c") -> onnx.ModelProto:
    inner = graph([one("Relu", "x", outputs=["r0"])], ["r0"])
    for i in range(1, depth):
        node = one("If", condition, outputs=[f"r{i}"], then_branch=inner, else_branch=inner if i < 2 else leaf(i))
        inner = graph([node], [f"r{i}"])
    return model([one("If", condition, then_branch=inner, else_branch=leaf(depth))], {**X, "c": np.array(True)})


def leaf(i: int) -> onnx.GraphProto:
    return graph([one("Neg", "x", outputs=[f"q{i}"])], [f"q{i}"])


def constant_condition(proto: onnx.ModelProto) -> onnx.ModelProto:
    del proto.graph.input[1:]
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    return proto


for depth in (2, 10, 28, 32):
    CORPUS.add("subgraphs", f"{depth} If inside each other", lambda d=depth: nested_if(d))
    CORPUS.add("subgraphs", f"{depth} If inside each other, decided", lambda d=depth: constant_condition(nested_if(d)))


@CORPUS.define("subgraphs", "UAIR-E01")
def a_thousand_if_inside_each_other() -> bytes:
    """By hand: onnx itself refuses to write it."""
    from tests.fuzz.corpus_files import field

    content = leaf(0).SerializeToString()
    for _ in range(1000):
        attribute = field(1, b"then_branch") + field(6, content) + field(20, b"", varint=5)
        node = field(1, b"c") + field(2, b"y") + field(4, b"If") + field(5, attribute)
        content = field(1, node)
    return field(1, b"", varint=8) + field(7, content) + field(8, field(2, b"", varint=17))


@CORPUS.define("subgraphs")
def a_binary_tree_of_if() -> onnx.ModelProto:
    """Each branch has two: 2^11 leaves, decided and not shared."""

    def tree(depth: int, path: str) -> onnx.GraphProto:
        if depth == 0:
            return graph([one("Relu", "x", outputs=[f"r{path}"])], [f"r{path}"])
        node = one(
            "If",
            "c",
            outputs=[f"r{path}"],
            then_branch=tree(depth - 1, path + "0"),
            else_branch=tree(depth - 1, path + "1"),
        )
        return graph([node], [f"r{path}"])

    node = one("If", "c", then_branch=tree(7, "0"), else_branch=tree(7, "1"))
    return model([node], {**X, "c": np.array(True)})


@CORPUS.define("subgraphs", "UAIR-E01")
def one_that_reads_its_own_node() -> onnx.ModelProto:
    body = graph([one("Relu", "y", outputs=["r"])], ["r"])
    return model([one("If", "c", then_branch=body, else_branch=leaf(0))], {**X, "c": np.array(True)})


@CORPUS.define("subgraphs", "UAIR-E01")
def one_that_reads_a_later_node_in_a_circle() -> onnx.ModelProto:
    body = graph([one("Relu", "z", outputs=["r"])], ["r"])
    nodes = [one("If", "c", then_branch=body, else_branch=leaf(0)), one("Neg", "y", outputs=["z"])]
    return model(nodes, {**X, "c": np.array(True)})


@CORPUS.define("subgraphs")
def names_defined_inside_and_outside() -> onnx.ModelProto:
    body = graph([one("Relu", "x", outputs=["t"])], ["t"])
    nodes = [
        one("Neg", "x", outputs=["t"]),
        one("If", "c", then_branch=body, else_branch=leaf(0)),
        one("Abs", "t", outputs=["z"]),
    ]
    return model(nodes, {**X, "c": np.array(True)}, ["y", "z"])


@CORPUS.define("subgraphs")
def a_name_of_the_inside_used_outside() -> onnx.ModelProto:
    body = graph([one("Relu", "x", outputs=["t"])], ["t"])
    nodes = [one("If", "c", then_branch=body, else_branch=leaf(0)), one("Abs", "t", outputs=["z"])]
    return model(nodes, {**X, "c": np.array(True)}, ["y", "z"])


@CORPUS.define("subgraphs")
def an_inner_initializer_of_an_outer_name() -> onnx.ModelProto:
    body = graph([one("Relu", "x", outputs=["t"])], ["t"], initializer=[numpy_helper.from_array(floats(7), "x")])
    return model([one("If", "c", then_branch=body, else_branch=leaf(0))], {**X, "c": np.array(True)})
