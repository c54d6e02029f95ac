"""The reference interpreter: results, sizes, freeing, layouts, and what it says when the feeds do not fit."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from uair.codegen.reference import (
    FeedShapeError,
    FeedTypeError,
    Interpreter,
    MissingFeedError,
    ResultTypeError,
    UnknownFeedError,
    random_feeds,
    run,
)
from uair.codegen.reference.errors import MemoryLimitError
from uair.errors import EvaluationError, OpaqueError, UairError
from uair.ir import (
    ComputedData,
    DType,
    Graph,
    Layout,
    Location,
    MappedData,
    MappedFile,
    Module,
    Node,
    Tensor,
    TensorType,
    constant,
)
from uair.ir.dims import Dim, symbol
from uair.ir.layout import fractal_nz, fractal_z, nc1hwc0, nc1hwc2, nhwc, nhwc_padded, plain, w8c4
from uair.ir.verify import verify
from uair.ops.activation import Relu
from uair.ops.base import Operator
from uair.ops.convolution import Conv2D
from uair.ops.custom import Opaque
from uair.ops.elementwise import Add, Identity, Mul
from uair.ops.indexing import Gather, NonZero
from uair.ops.layout import Pack, Unpack
from uair.ops.linear import MatMul
from uair.ops.shape import Expand, Reshape
from uair.text import parse_module, parse_type

Array = npt.NDArray[Any]


def add(graph: Graph, op: Operator, *operands: Tensor, name: str = "") -> Tensor:
    """Append a node; its result."""
    return graph.append(Node(op, operands, name=name, loc=Location.of(name or "node", op.op_type))).output


def f32(*shape: Dim) -> TensorType:
    return TensorType(DType.F32, shape)


def module_of(graph: Graph, *outputs: Tensor) -> Module:
    for i, tensor in enumerate(outputs):
        graph.add_output(f"y{i}" if i else "y", tensor)
    module = Module(graphs={"main": graph})
    verify(module)
    return module


def affine() -> Module:
    """Y = x @ w + b with a batch size that is open."""
    graph = Graph()
    x = graph.add_input("x", f32(symbol("n"), 3))
    rng = np.random.default_rng(0)
    w, b = (constant(rng.standard_normal(s).astype(np.float32)) for s in ((3, 2), (2,)))
    return module_of(graph, add(graph, Add(), add(graph, MatMul(), x, w, name="product"), b))


def relus(count: int, *shape: int) -> Module:
    graph = Graph()
    t = graph.add_input("x", f32(*shape))
    for _ in range(count):
        t = add(graph, Relu(), t)
    return module_of(graph, t)


# -------------------------------------------------------------------------------------------------------------- results
def test_computes_what_numpy_computes() -> None:
    module = affine()
    x = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    w, b = (t.numpy() for t in module.main.constants())
    np.testing.assert_allclose(run(module, {"x": x})["y"], x @ w + b, rtol=1e-6)


def test_runs_again_with_other_sizes() -> None:
    interpreter = Interpreter(affine())
    for n in (1, 5, 2):
        assert interpreter.run({"x": np.ones((n, 3), np.float32)})["y"].shape == (n, 2)


def test_equal_feeds_give_equal_bits() -> None:
    interpreter = Interpreter(affine())
    x = np.random.default_rng(1).standard_normal((64, 3)).astype(np.float32)
    assert interpreter.run({"x": x})["y"].tobytes() == interpreter.run({"x": x.copy()})["y"].tobytes()


def test_lists_are_taken_when_their_type_fits() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.I64, (2,)))
    assert run(module_of(graph, add(graph, Add(), x, x)), {"x": [3, 4]})["y"].tolist() == [6, 8]


def test_outputs_are_the_callers_own() -> None:
    """An output that is an input, a constant or another output is a copy: writing to it changes nothing else."""
    graph = Graph()
    x = graph.add_input("x", f32(2))
    same = add(graph, Identity(), x)
    module = module_of(graph, x, same, constant(np.ones(2, np.float32)))
    feed = np.zeros(2, np.float32)
    outputs = run(module, {"x": feed})
    for array in outputs.values():
        array += 5
    assert feed.tolist() == [0, 0]
    assert [a.tolist() for a in outputs.values()] == [[5, 5], [5, 5], [6, 6]]
    assert run(module, {"x": feed})["y2"].tolist() == [1, 1]


def test_floating_point_exceptions_are_values() -> None:
    graph = Graph()
    x = graph.add_input("x", f32(3))
    module = module_of(graph, add(graph, Mul(), x, x))
    got = run(module, {"x": np.array([1e30, np.inf, np.nan], np.float32)})["y"]
    assert np.isinf(got[:2]).all()
    assert np.isnan(got[2])


# ---------------------------------------------------------------------------------------------------------------- sizes
def test_sizes_of_the_feeds_reach_the_attributes() -> None:
    graph = Graph()
    n = symbol("n")
    x = graph.add_input("x", f32(n, 4))
    flat = add(graph, Reshape(shape=(n * 4,)), x)
    module = module_of(graph, flat, add(graph, Expand(shape=(3, n * 4)), flat))
    interpreter = Interpreter(module)
    for size in (2, 3, 2):
        outputs = interpreter.run({"x": np.zeros((size, 4), np.float32)})
        assert [a.shape for a in outputs.values()] == [(size * 4,), (3, size * 4)]


def test_sizes_that_the_data_decides() -> None:
    graph = Graph()
    x = graph.add_input("x", f32(5))
    places = add(graph, NonZero(), x)
    found = places.type.dims[1]
    module = module_of(graph, add(graph, Reshape(shape=(found,)), places), add(graph, Gather(), x, places))
    interpreter = Interpreter(module)
    outputs = interpreter.run({"x": np.array([0, 7, 0, 8, 9], np.float32)})
    assert outputs["y"].tolist() == [1, 3, 4]
    assert outputs["y1"].tolist() == [[7, 8, 9]]
    assert interpreter.run({"x": np.zeros(5, np.float32)})["y"].tolist() == []


# ---------------------------------------------------------------------------------------------------------------- feeds
FEED_ERRORS: list[tuple[dict[str, Any], type[UairError], tuple[str, ...]]] = [
    ({}, MissingFeedError, ("input 'x' of type f32[n,3]", "has no value")),
    ({"X": np.zeros((1, 3), np.float32)}, UnknownFeedError, ("no input 'X'", "its inputs are x")),
    ({"x": np.zeros((1, 3))}, FeedTypeError, ("'x' expects f32", "float64", "x.astype(np.float32)")),
    ({"x": np.zeros((1, 4), np.float32)}, FeedShapeError, ("'x' expects shape [n, 3]", "axis 1 is 4 instead of 3")),
    ({"x": np.zeros(3, np.float32)}, FeedShapeError, ("1 axes instead of 2",)),
]  # fmt: skip


@pytest.mark.parametrize(("feeds", "kind", "words"), FEED_ERRORS)
def test_feeds_that_do_not_fit(feeds: dict[str, Any], kind: type[UairError], words: tuple[str, ...]) -> None:
    with pytest.raises(kind) as caught:
        run(affine(), feeds)
    text = str(caught.value)
    assert text.startswith(kind.code)
    assert "hint:" in text
    for word in words:
        assert word in text


def test_a_size_that_two_inputs_contradict_names_both() -> None:
    graph = Graph()
    n = symbol("n")
    a, b = graph.add_input("a", f32(n)), graph.add_input("b", f32(n + 1))
    module = module_of(graph, a, b)
    assert run(module, {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})["y1"].shape == (3,)
    with pytest.raises(FeedShapeError, match=r"input 'b'.*axis 0 is 2 instead of 3 \(n is 2 by axis 0 of 'a'\)"):
        run(module, {"a": np.zeros(2, np.float32), "b": np.zeros(2, np.float32)})


def test_narrow_types_are_fed_as_their_numpy_types() -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.BF16, (2,)))
    module = module_of(graph, add(graph, Relu(), x))
    assert run(module, {"x": np.array([-1, 2], DType.BF16.numpy)})["y"].astype(float).tolist() == [0, 2]
    with pytest.raises(FeedTypeError, match=r"DType\.BF16\.numpy"):
        run(module, {"x": np.zeros(2, np.float16)})


# ------------------------------------------------------------------------------------------------------ errors of nodes
def test_a_custom_operator_is_named_with_its_domain_and_node() -> None:
    graph = Graph()
    x = graph.add_input("x", f32(3))
    y = add(graph, Opaque(domain="com.example", kind="Sort3", result_types=(parse_type("f32[3]"),)), x, name="sorter")
    with pytest.raises(OpaqueError) as caught:
        run(module_of(graph, y), {"x": np.zeros(3, np.float32)})
    assert all(word in str(caught.value) for word in ("com.example", "Sort3", "sorter", "hint:"))


def test_values_that_an_operator_refuses_name_the_node() -> None:
    graph = Graph()
    x, i = graph.add_input("x", f32(3)), graph.add_input("i", TensorType(DType.I64, (1,)))
    module = module_of(graph, add(graph, Gather(), x, i, name="lookup"))
    with pytest.raises(EvaluationError) as caught:
        run(module, {"x": np.zeros(3, np.float32), "i": np.array([9], np.int64)})
    assert "lookup" in str(caught.value)


def test_a_result_that_contradicts_its_type_is_reported() -> None:
    """The recorded type says 4 elements where the data give 2."""
    graph = Graph()
    x = graph.add_input("x", f32(4))
    node = graph.append(Node(NonZero(), [x], name="found", output_types=[TensorType(DType.I64, (1, 4))]))
    graph.add_output("y", node.output)
    module = Module(graphs={"main": graph})
    assert run(module, {"x": np.ones(4, np.float32)})["y"].shape == (1, 4)
    with pytest.raises(ResultTypeError, match=r"NonZero gave int64\[1, 2\]"):
        run(module, {"x": np.array([0, 1, 0, 1], np.float32)})


# --------------------------------------------------------------------------------------------------------------- memory
def test_a_tensor_is_freed_after_its_last_use() -> None:
    """At no time are more than an operand and a result alive."""
    alive: list[weakref.ref[Array]] = []
    most = 0

    def observe(tensor: Tensor, array: Array) -> None:
        nonlocal most
        if tensor.producer is not None:
            alive.append(weakref.ref(array))
        gc.collect()
        most = max(most, sum(reference() is not None for reference in alive))

    run(relus(20, 1000), {"x": np.zeros(1000, np.float32)}, observe=observe)
    assert len(alive) == 20
    assert most <= 2


def test_peak_memory_does_not_grow_with_depth() -> None:
    size = 1 << 18
    feed = {"x": np.zeros(size, np.float32)}
    interpreter = Interpreter(relus(30, size))
    interpreter.run(feed)
    tracemalloc.start()
    interpreter.run(feed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * size * 4


COUNT_FAULTS = """
import resource
import sys
import numpy as np
from uair.codegen.reference import Interpreter
from uair.text import parse_module

interpreter = Interpreter(parse_module(sys.stdin.read()))
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    interpreter.run({"x": np.ones(1 << 18, np.float32)})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the page faults of Linux")
def test_freed_memory_is_taken_again() -> None:
    """A dozen arrays of a megabyte come and go, and the system clears no pages for them: they had 3300 faults."""
    many = [f"%b{i} = Relu(%x) : f32[262144]" for i in range(12)]
    sums = [f"%s{i} = Add(%{f's{i - 1}' if i else 'b0'}, %b{i + 1}) : f32[262144]" for i in range(11)]
    text = "\n".join(["%x : f32[262144]", *many, *sums, "%y = ReduceMax(%s10) : f32[1]"])
    done = subprocess.run([sys.executable, "-c", COUNT_FAULTS], input=text, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300


def test_results_without_a_use_are_not_kept() -> None:
    graph = Graph()
    x = graph.add_input("x", f32(10))
    add(graph, Relu(), x)
    y = add(graph, Add(), x, x)
    references: list[weakref.ref[Array]] = []

    def observe(tensor: Tensor, array: Array) -> None:
        if tensor is y:
            assert references[-1]() is None
        references.append(weakref.ref(array))

    run(module_of(graph, y), {"x": np.zeros(10, np.float32)}, observe=observe)
    assert len(references) == 3


def test_computed_constants_are_had_when_used_and_given_back() -> None:
    computed = 0

    def double(a: Array) -> Array:
        nonlocal computed
        computed += 1
        return a * 2

    graph = Graph()
    x = graph.add_input("x", f32(4))
    base = constant(np.arange(4, dtype=np.float32))
    assert base.data is not None
    folded = Tensor(f32(4), "w", ComputedData(double, (base.data,), DType.F32, (4,)))
    module = module_of(graph, add(graph, Add(), add(graph, Mul(), x, folded), folded))
    feed = {"x": np.ones(4, np.float32)}
    interpreter = Interpreter(module)
    assert computed == 0
    for runs in (1, 2):
        assert interpreter.run(feed)["y"].tolist() == [0, 4, 8, 12]
        assert computed == runs
    keeping = Interpreter(module, keep_constants=True)
    keeping.run(feed)
    keeping.run(feed)
    assert computed == 3


def test_mapped_constants_are_released_after_their_last_use(tmp_path: Path) -> None:
    released: list[int] = []

    class Counting(MappedData):
        def release(self) -> None:
            released.append(self.offset)
            super().release()

    path = tmp_path / "weights"
    path.write_bytes(np.arange(8, dtype=np.float32).tobytes())
    file = MappedFile(path)
    graph = Graph()
    t = graph.add_input("x", f32(4))
    order: list[int] = []
    for offset in (0, 16):
        t = add(graph, Add(), t, Tensor(f32(4), "w", Counting(file, offset, DType.F32, (4,))))
    outputs = run(
        module_of(graph, t), {"x": np.zeros(4, np.float32)}, observe=lambda _t, _a: order.append(len(released))
    )
    assert outputs["y"].tolist() == [4, 6, 8, 10]
    assert released == [0, 16]
    assert order == [0, 0, 1]


def test_observe_sees_inputs_and_results_in_order() -> None:
    module = affine()
    seen: list[tuple[Tensor, tuple[int, ...]]] = []
    run(module, {"x": np.zeros((2, 3), np.float32)}, observe=lambda t, a: seen.append((t, a.shape)))
    graph = module.main
    assert [t for t, _ in seen] == [*graph.inputs, *(t for node in graph for t in node.outputs)]
    assert [s for _, s in seen] == [(2, 3), (2, 2), (2, 2)]


# -------------------------------------------------------------------------------------------------------------- layouts
LAYOUTS = [nc1hwc0(16), nhwc(), plain(32), nc1hwc2(8), nhwc_padded(64), w8c4(), fractal_nz(16, 4)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_pack_and_unpack_are_inverse(layout: Layout) -> None:
    graph = Graph()
    x = graph.add_input("x", f32(2, 5, 3, 7))
    packed = add(graph, Pack(layout=layout), x)
    module = module_of(graph, add(graph, Unpack(), packed))
    shapes: list[tuple[int, ...]] = []
    feed = np.random.default_rng(0).standard_normal((2, 5, 3, 7)).astype(np.float32)
    got = run(module, {"x": feed}, observe=lambda _, a: shapes.append(a.shape))["y"]
    assert np.array_equal(got, feed)
    assert shapes[1] == layout.storage_shape((2, 5, 3, 7), 4)


def laid_out(op: Operator, operands: list[Tensor], layout: Layout) -> Node:
    """A node whose result has a layout, as a layout pass makes it."""
    (t,) = op.infer_types([o.type for o in operands])
    return Node(op, operands, output_types=[TensorType(t.dtype, t.shape, layout)])


def test_a_layout_aligned_module_gives_what_the_plain_one_gives() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((20, 5, 3, 3)).astype(np.float32)
    feed = {"x": rng.standard_normal((1, 5, 6, 7)).astype(np.float32)}
    conv = Conv2D(pads=(1, 1, 1, 1))
    plain_graph = Graph()
    x = plain_graph.add_input("x", f32(1, 5, 6, 7))
    want = run(module_of(plain_graph, add(plain_graph, Relu(), add(plain_graph, conv, x, constant(weight)))), feed)["y"]

    graph = Graph()
    x = graph.add_input("x", f32(1, 5, 6, 7))
    w = constant(weight)
    w.type = TensorType(DType.F32, (20, 5, 3, 3), fractal_z(16))  # constants hold logical arrays in any layout
    t = add(graph, Pack(layout=nc1hwc0(16)), x)
    for node in (laid_out(conv, [t, w], nc1hwc0(16)),):
        t = graph.append(node).output
    t = graph.append(laid_out(Relu(), [t], nc1hwc0(16))).output
    t = add(graph, Pack(layout=nhwc()), t)  # from one layout to another
    stored: dict[Tensor, tuple[int, ...]] = {}
    module = module_of(graph, add(graph, Unpack(), t))
    got = run(module, feed, observe=lambda tensor, a: stored.update({tensor: a.shape}))["y"]
    assert np.array_equal(got, want)
    assert [*stored.values()][1:] == [
        (1, 1, 6, 7, 16),
        (1, 2, 6, 7, 16),
        (1, 2, 6, 7, 16),
        (1, 6, 7, 20),
        (1, 20, 6, 7),
    ]


def test_inputs_and_outputs_with_a_layout_are_storage_arrays() -> None:
    graph = Graph()
    layout = nc1hwc0(4)
    x = graph.add_input("x", TensorType(DType.F32, (1, 3, 2, 2), layout))
    node = graph.append(laid_out(Relu(), [x], layout))
    graph.add_output("y", node.output)
    module = Module(graphs={"main": graph})
    logical = np.arange(-6, 6, dtype=np.float32).reshape(1, 3, 2, 2)
    got = run(module, {"x": layout.pack(logical)})["y"]
    assert np.array_equal(layout.unpack(got, (1, 3, 2, 2)), np.maximum(logical, 0))
    with pytest.raises(FeedShapeError, match=r"expects shape \[1, 1, 2, 2, 4\]"):
        run(module, {"x": logical})


@pytest.mark.parametrize("extent", [1 << 40, 1 << 62])
def test_noise_for_an_input_that_no_machine_holds(extent: int) -> None:
    """The second is more than an array can be asked for."""
    module = parse_module(f"%x: f32[1,{extent}]  %y = Relu(%x)")
    with pytest.raises(MemoryLimitError, match="noise for input 'x'"):
        random_feeds(module.main)
