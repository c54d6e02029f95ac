"""Results of sizes that no machine has: nothing may try to make them, when the model is read or when it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from tests.frontends.onnx.models import F32, I64, floats, model, one
from tests.fuzz.case import ANY, CORPUS

Make = Callable[[Sequence[int]], tuple[list[Any], dict[str, Any], dict[str, Any]]]
"""Nodes that end in `t`, inputs, and constants, for an enormous shape."""

FILL = numpy_helper.from_array(np.zeros(1, np.float32))


def i64(*values: int) -> Any:
    return np.array(values, np.int64)


def constant_of_shape(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    return [one("ConstantOfShape", "s", outputs=["t"], value=FILL)], {}, {"s": i64(*shape)}


def expand(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    return [one("Expand", "x", "s", outputs=["t"])], {"x": floats(1)}, {"s": i64(*shape)}


def expand_constant(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    return [one("Expand", "k", "s", outputs=["t"])], {}, {"s": i64(*shape), "k": floats(1)}


def tile(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    return [one("Tile", "x", "s", outputs=["t"])], {"x": floats(*[2] * len(shape))}, {"s": i64(*shape)}


def tile_constant(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    return [one("Tile", "k", "s", outputs=["t"])], {}, {"s": i64(*shape), "k": floats(*[2] * len(shape))}


def pad(mode: str) -> Make:
    def make(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
        pads = i64(*[0] * len(shape), *shape)
        node = one("Pad", "x", "s", outputs=["t"], mode=mode)
        return [node], {"x": floats(*[3] * len(shape))}, {"s": pads}

    return make


def pad_constant(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    return (
        [one("Pad", "k", "s", outputs=["t"])],
        {},
        {"s": i64(*[0] * len(shape), *shape), "k": floats(*[3] * len(shape))},
    )


def ranged(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    values = {"a": np.array(0), "b": np.array(min(int(np.prod(shape, dtype=object)), 2**63 - 1)), "d": np.array(1)}
    return [one("Range", "a", "b", "d", outputs=["t"])], {}, values


def ranged_floats(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    values = {"a": np.float32(0), "b": np.float32(3e38), "d": np.float32(1 / len(shape))}
    return [one("Range", "a", "b", "d", outputs=["t"])], {}, {k: np.asarray(v) for k, v in values.items()}


def resize(mode: str) -> Make:
    def make(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
        sizes = i64(*([1, 1, *shape] if len(shape) == 2 else [1, *shape]))
        node = one("Resize", "x", "", "", "s", outputs=["t"], mode=mode)
        return [node], {"x": floats(*[1] * (len(sizes) - 2), 2, 2)}, {"s": sizes}

    return make


def resize_scales(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    scales = np.array([1.0, 1.0, *[float(d) for d in shape[:2]], *[1.0] * (2 - len(shape))][:4], np.float32)
    return [one("Resize", "x", "", "s", outputs=["t"])], {"x": floats(1, 1, 2, 2)}, {"s": scales}


def one_hot(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    values = {"n": i64(int(shape[0])), "v": np.array([0, 1], np.float32)}
    return [one("OneHot", "i", "n", "v", outputs=["t"])], {"i": i64(0, 1)}, values


def random_normal(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    return [one("RandomNormal", outputs=["t"], shape=list(shape))], {}, {}


def outer(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """A column plus a row, both of which are views of one element."""
    n = int(max(shape))
    nodes = [
        one("Expand", "x", "r", outputs=["row"]),
        one("Expand", "x", "c", outputs=["column"]),
        one("Add", "row", "column", outputs=["t"]),
    ]
    return nodes, {"x": floats(1, 1)}, {"r": i64(1, n), "c": i64(n, 1)}


def product(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    nodes, inputs, constants = outer(shape)
    return [*nodes[:2], one("MatMul", "column", "row", outputs=["t"])], inputs, constants


def gathered(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    nodes = [one("Expand", "z", "s", outputs=["i"]), one("Gather", "x", "i", outputs=["t"])]
    return nodes, {"x": floats(3)}, {"z": i64(0), "s": i64(*shape)}


def transposed_convolution(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    n = int(min(shape))
    return (
        [one("ConvTranspose", "x", "w", outputs=["t"], strides=[n, n])],
        {"x": floats(1, 1, 3, 3)},
        {"w": floats(1, 1, 2, 2)},
    )


def padded_pool(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    n = int(min(shape))
    return [one("MaxPool", "x", outputs=["t"], kernel_shape=[1, 1], pads=[0, 0, n, n])], {"x": floats(1, 1, 3, 3)}, {}


def unpooled(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    node = one("MaxUnpool", "x", "i", "s", outputs=["t"], kernel_shape=[2, 2], strides=[2, 2])
    extents = [1, 1, *shape] if len(shape) == 2 else [1, *shape] if len(shape) == 3 else [1, 1, 1, *shape]
    return [node], {"x": floats(1, 1, 1, 1), "i": np.zeros((1, 1, 1, 1), np.int64)}, {"s": i64(*extents)}


def window(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    return [one("HannWindow", "n", outputs=["t"])], {}, {"n": np.array(int(shape[0]))}


def repeated_split(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    nodes, inputs, constants = expand(shape)
    return [*nodes, one("Concat", "t", "t", outputs=["u"], axis=0), one("Transpose", "u", outputs=["v"]),
            one("Identity", "v", outputs=["w"])], inputs, constants  # fmt: skip


def nonzero(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    nodes, inputs, constants = constant_of_shape(shape)
    return [nodes[0], one("NonZero", "t", outputs=["u"])], inputs, constants


def reduced(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    nodes, inputs, constants = constant_of_shape(shape)
    return [nodes[0], one("ReduceSum", "t", outputs=["u"])], inputs, constants


def sorted_values(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    nodes, inputs, constants = constant_of_shape(shape)
    return [nodes[0], one("TopK", "t", "k", outputs=["u", "v"], axis=0)], inputs, {**constants, "k": i64(1)}


def cumulated(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    nodes, inputs, constants = constant_of_shape(shape)
    return [nodes[0], one("CumSum", "t", "k", outputs=["u"])], inputs, {**constants, "k": np.array(0)}


def scattered(shape: Sequence[int]) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    nodes, inputs, constants = constant_of_shape(shape[:1])
    more = {"i": i64(0), "u": floats(1)}
    return [nodes[0], one("ScatterElements", "t", "i", "u", outputs=["v"])], inputs, {**constants, **more}


MAKERS: dict[str, Make] = {
    "ConstantOfShape": constant_of_shape,
    "Expand": expand,
    "Expand of a constant": expand_constant,
    "Tile": tile,
    "Tile of a constant": tile_constant,
    "Pad": pad("constant"),
    "Pad edge": pad("edge"),
    "Pad wrap": pad("wrap"),
    "Pad reflect": pad("reflect"),
    "Pad of a constant": pad_constant,
    "Range": ranged,
    "Range of floats": ranged_floats,
    "Resize nearest": resize("nearest"),
    "Resize linear": resize("linear"),
    "Resize cubic": resize("cubic"),
    "Resize by scales": resize_scales,
    "OneHot": one_hot,
    "RandomNormal": random_normal,
    "a column and a row": outer,
    "a matrix product": product,
    "Gather": gathered,
    "ConvTranspose": transposed_convolution,
    "MaxPool": padded_pool,
    "MaxUnpool": unpooled,
    "HannWindow": window,
    "Concat and Transpose": repeated_split,
    "NonZero": nonzero,
    "ReduceSum": reduced,
    "TopK": sorted_values,
    "CumSum": cumulated,
    "ScatterElements": scattered,
}
SHAPES: dict[str, tuple[int, ...]] = {
    "2^62": (2**62,),
    "2^31 x 2^31": (2**31, 2**31),
    "2^18 x 2^18": (2**18, 2**18),
    "2^31": (2**31,),
    "-1": (-1, 3),
    "2^63 - 1": (2**63 - 1, 2),
}
OPSET = 19


def enormous(make: Make, shape: Sequence[int], *, used: bool = True, at_run_time: bool = False) -> onnx.ModelProto:
    """A model with a result of that shape.

    Args:
        make: what makes it.
        shape: its shape, about.
        used: compute something of it too, and give that back; else give it back itself.
        at_run_time: make the constants results of nodes that are not folded when the model is read.
    """
    nodes, inputs, constants = make(shape)
    last = nodes[-1].output[0]
    if used:
        nodes = [*nodes, one("Identity" if make in (ranged, window) else "Neg", last, outputs=["y"])]
        last = "y"
    if at_run_time:
        for name in list(constants):
            # x * one, where one is an input: known only when the model runs
            constants[f"{name}.c"] = constants.pop(name)
            kind = constants[f"{name}.c"].dtype
            inputs = {**inputs, f"{name}.one": np.ones((), kind)}
            nodes = [one("Mul", f"{name}.c", f"{name}.one", outputs=[name]), *nodes]
    return model(nodes, inputs, [last], constants=constants, opset=OPSET)


for name, make in MAKERS.items():
    for label, shape in SHAPES.items():
        CORPUS.add("sizes", f"{name} {label}", lambda m=make, s=shape: enormous(m, s))
    CORPUS.add("sizes", f"{name} 2^62, given back", lambda m=make: enormous(m, (2**62,), used=False))
    for label in ("2^62", "2^31 x 2^31", "2^18 x 2^18"):
        shape = SHAPES[label]
        CORPUS.add("sizes at run time", f"{name} {label}", lambda m=make, s=shape: enormous(m, s, at_run_time=True))


@CORPUS.define("sizes")
def an_input_of_2_62() -> onnx.ModelProto:
    return model([one("Neg", "x")], {"x": (F32, [2**62])})


@CORPUS.define("sizes")
def a_mask_of_2_62() -> onnx.ModelProto:
    nodes = [one("Shape", "x", outputs=["s"]), one("ConstantOfShape", "s", value=FILL)]
    return model(nodes, {"x": (F32, [2**31, 2**31])})


@CORPUS.define("sizes")
def eye_like() -> onnx.ModelProto:
    return model([one("EyeLike", "x")], {"x": (F32, [2**31, 2**31])})


@CORPUS.define("sizes")
def eye_like_at_run_time() -> onnx.ModelProto:
    return model([one("Expand", "x", "s", outputs=["t"]), one("EyeLike", "t")], {"x": floats(1), "s": i64(2, 2)})


@CORPUS.define("sizes")
def reshape_to_2_62() -> onnx.ModelProto:
    return model([one("Reshape", "x", "s")], {"x": floats(4)}, constants={"s": i64(2**31, 2**31)})


@CORPUS.define("sizes")
def a_batch_of_no_elements_of_2_62() -> onnx.ModelProto:
    return model(
        [one("Expand", "x", "s", outputs=["t"]), one("Neg", "t")], {"x": floats(1)}, constants={"s": i64(0, 2**62)}
    )


@CORPUS.define("sizes")
def sequence_of_2_62() -> onnx.ModelProto:
    nodes = [one("ConstantOfShape", "s", outputs=["t"], value=FILL), one("SplitToSequence", "t", outputs=["q"]),
             one("SequenceLength", "q")]  # fmt: skip
    return model(nodes, {}, constants={"s": i64(2**62)})


@CORPUS.define("sizes")
def dequantized_2_62() -> onnx.ModelProto:
    value = numpy_helper.from_array(np.zeros(1, np.int8))
    nodes = [one("ConstantOfShape", "s", outputs=["t"], value=value), one("DequantizeLinear", "t", "k")]
    return model(nodes, {}, constants={"s": i64(2**20, 2**20), "k": np.asarray(np.float32(0.5))})


@CORPUS.define("sizes")
def weights_of_2_62() -> onnx.ModelProto:
    nodes = [one("ConstantOfShape", "s", outputs=["w"], value=FILL), one("Conv", "x", "w")]
    return model(nodes, {"x": floats(1, 4, 8, 8)}, constants={"s": i64(2**60, 4, 1, 1)})


@CORPUS.define("sizes")
def weights_of_2_40_folded_with_a_normalization() -> onnx.ModelProto:
    nodes = [one("ConstantOfShape", "s", outputs=["w"], value=FILL), one("Conv", "x", "w", outputs=["c"]),
             *(one("ConstantOfShape", "n", outputs=[k], value=FILL) for k in "abmv"),
             one("BatchNormalization", "c", *"abmv")]  # fmt: skip
    return model(nodes, {"x": floats(1, 4, 8, 8)}, constants={"s": i64(2**38, 4, 1, 1), "n": i64(2**38)})


def fft(length: int) -> onnx.ModelProto:
    return model([one("DFT", "x", "n")], {"x": floats(1, 8, 1)}, constants={"n": np.array(length)}, opset=17)


for length in (2**62, 2**40, -1, 0):
    CORPUS.add("sizes", f"DFT of {length}", lambda n=length: fft(n), ANY)
for length in (2**62, -3):
    CORPUS.add("sizes", f"CenterCropPad to {length}", lambda n=length: model(
        [one("CenterCropPad", "x", "n")], {"x": floats(2, 3)}, constants={"n": i64(n, n)}, opset=18))  # fmt: skip
for length in (2**62, 2**40):
    CORPUS.add("sizes", f"Slice to {length}", lambda n=length: model(
        [one("Slice", "x", "a", "b", "c", "d")], {"x": floats(2, 3)},
        constants={"a": i64(-n), "b": i64(n), "c": i64(0), "d": i64(n)}))  # fmt: skip
    CORPUS.add("sizes", f"TopK of {length}", lambda n=length: model(
        [one("TopK", "x", "k", outputs=["y", "i"])], {"x": floats(2, 3)}, constants={"k": i64(n)}))  # fmt: skip
    CORPUS.add("sizes", f"indices {length}", lambda n=length: model(
        [one("Gather", "x", "k")], {"x": floats(2, 3)}, constants={"k": i64(n, -n)}))  # fmt: skip
    CORPUS.add("sizes", f"scattered to {length}", lambda n=length: model(
        [one("ScatterND", "x", "k", "u")], {"x": floats(2, 3)},
        constants={"k": np.array([[n]]), "u": floats(1, 3)}))  # fmt: skip
    CORPUS.add("sizes", f"Split at {length}", lambda n=length: model(
        [one("Split", "x", "k", outputs=["y", "z"])], {"x": floats(2, 3)},
        constants={"k": i64(n, -n + 2)}))  # fmt: skip
    CORPUS.add("sizes", f"BitShift by {length}", lambda n=length: model(
        [one("BitShift", "x", "k", direction="LEFT")], {"x": np.ones(3, np.uint64)},
        constants={"k": np.array([n] * 3, np.uint64)}))  # fmt: skip
    CORPUS.add("sizes", f"Pow of {length}", lambda n=length: model(
        [one("Pow", "x", "k")], {"x": i64(2, 3)}, constants={"k": i64(n, -n)}))  # fmt: skip
    CORPUS.add("sizes", f"axes {length}", lambda n=length: model(
        [one("Unsqueeze", "x", "k")], {"x": floats(2, 3)}, constants={"k": i64(n)}))  # fmt: skip


@CORPUS.define("sizes")
def axes_of_a_million() -> onnx.ModelProto:
    return model([one("Unsqueeze", "x", "k")], {"x": floats(2, 3)}, constants={"k": np.arange(1_000_000)})


@CORPUS.define("sizes")
def a_shape_of_a_million_axes() -> onnx.ModelProto:
    return model([one("Reshape", "x", "k")], {"x": floats(1)}, constants={"k": np.ones(1_000_000, np.int64)})


@CORPUS.define("sizes")
def a_constant_of_a_million_axes() -> onnx.ModelProto:
    return model([one("ConstantOfShape", "k", value=FILL)], {}, constants={"k": np.ones(1_000_000, np.int64)})


@CORPUS.define("sizes")
def a_hundred_axes_by_unsqueeze() -> onnx.ModelProto:
    nodes = [one("Unsqueeze", f"t{i}" if i else "x", "k", outputs=[f"t{i + 1}"]) for i in range(100)]
    return model(nodes, {"x": floats(1)}, ["t100"], constants={"k": i64(0)})


@CORPUS.define("sizes")
def integer_division_by_zero() -> onnx.ModelProto:
    return model([one("Div", "x", "k")], {"x": i64(2, 3)}, constants={"k": i64(0, 0)})


@CORPUS.define("sizes")
def sizes_divided_by_zero() -> onnx.ModelProto:
    nodes = [one("Shape", "x", outputs=["s"]), one("Div", "s", "k", outputs=["t"]), one("Mod", "t", "k", outputs=["u"]),
             one("Reshape", "x", "u")]  # fmt: skip
    return model(nodes, {"x": (F32, ["N", "M"])}, constants={"k": i64(0, 0)})


@CORPUS.define("sizes")
def strings_in_arithmetic() -> onnx.ModelProto:
    return model(
        [one("Add", "x", "k")], {"x": (TensorProto.STRING, [2])}, constants={"k": np.array(["a", "b"], object)}
    )


@CORPUS.define("sizes")
def numbers_from_strings() -> onnx.ModelProto:
    texts = np.array(["1e999999999", "9" * 5000, "nan", "", "0x10", "1_000", "\u0661", "inf"], object)
    return model([one("Cast", "k", to=I64)], {}, constants={"k": texts})


@CORPUS.define("sizes")
def numbers_into_strings() -> onnx.ModelProto:
    return model([one("Cast", "k", to=TensorProto.STRING)], {}, constants={"k": np.array([np.nan, np.inf, 1e300])})


@CORPUS.define("sizes")
def nan_as_integers() -> onnx.ModelProto:
    values = np.array([np.nan, np.inf, -np.inf, 1e30], np.float32)
    return model(
        [one("Cast", "k", to=I64), one("Cast", "k", outputs=["z"], to=TensorProto.INT8)],
        {},
        ["y", "z"],
        constants={"k": values},
    )


@CORPUS.define("sizes")
def scales_of_nan() -> onnx.ModelProto:
    return model(
        [one("Resize", "x", "", "s")],
        {"x": floats(1, 1, 4, 4)},
        constants={"s": np.array([1, 1, np.nan, np.inf], np.float32)},
    )


@CORPUS.define("sizes")
def scales_of_nothing() -> onnx.ModelProto:
    return model(
        [one("Resize", "x", "", "s")], {"x": floats(1, 1, 4, 4)}, constants={"s": np.array([1, 1, 0, -2], np.float32)}
    )


@CORPUS.define("sizes")
def a_step_of_zero() -> onnx.ModelProto:
    return model([one("Range", "a", "b", "c")], {}, constants={"a": np.array(0), "b": np.array(5), "c": np.array(0)})


@CORPUS.define("sizes")
def a_range_of_nan() -> onnx.ModelProto:
    return model([one("Range", "a", "b", "c")], {}, constants={k: np.asarray(np.float32(np.nan)) for k in "abc"})


def regions(count: int) -> onnx.ModelProto:
    return model([one("RoiAlign", "x", "r", "b", output_height=count, output_width=count)], {"x": floats(1, 2, 8, 8)},
                  constants={"r": floats(3, 4), "b": i64(0, 0, 9)})  # fmt: skip


for count in (2, -1, 0, 2**31, 2**62):
    CORPUS.add("sizes", f"RoiAlign into {count}", lambda n=count: regions(n))
