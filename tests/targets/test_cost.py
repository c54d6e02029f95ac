"""The cost model: the formulas of every kind of unit, transfers, and what is not known."""

from __future__ import annotations

import math
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.targets.helpers import dequantized, make
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, constant
from uair.ops import Add, Concat, Conv2D, ConvTranspose2D, Dequantize, Linear, MatMul, Quantize, Relu, Reshape, Softmax
from uair.targets import Confidence, DeviceDescription, load_description
from uair.targets.cost import NOTHING, UNKNOWN, estimate, estimate_graph
from uair.targets.errors import DescriptionError
from uair.targets.products import Work, in_groups, matrix_cycles, merged, pieces, work_of
from uair.targets.steps import StepFinder
from uair.text import parse_type

RK = load_description("rk3588")
ASCEND = load_description("ascend310")


def leaving(node: Node) -> Node:
    """The node in a graph that returns its result."""
    graph = Graph()
    graph.append(node)
    graph.add_output("y", node.output)
    return node


def int8_convolution(x: str, w: str) -> Node:
    """A convolution of a quantized graph, with Quantize behind it."""
    graph = Graph()
    scale, zero = constant(np.float32(0.1)), constant(np.int8(0))
    weight = constant(np.zeros([int(d) for d in w.split(",")], np.int8))
    operands = [graph.append(Dequantize().node(t, scale, zero)) for t in (graph.add_input("x", parse_type(x)), weight)]
    node = graph.append(Conv2D(pads=(1, 1, 1, 1)).node(*(n.output for n in operands)))
    graph.add_output("y", graph.append(Quantize().node(node.output, scale, zero)).output)
    return node


# What the compiler of rknn-toolkit2 2.5.0 printed for layers of one convolution: DDR and NPU cycles.
FLOAT16 = [
    ("f32[1,3,28,28]", "16,3,3,3", 1357, 7056),
    ("f32[1,8,28,28]", "16,8,3,3", 1689, 7056),
    ("f32[1,16,28,28]", "16,16,3,3", 2317, 7056),
    ("f32[1,24,28,28]", "24,24,3,3", 4151, 14112),
    ("f32[1,33,28,28]", "32,33,3,3", 5577, 28224),
    ("f32[1,32,28,28]", "33,32,3,3", 6107, 21168),
    ("f32[1,64,28,28]", "64,64,3,3", 11602, 56448),
    ("f32[1,65,28,28]", "64,65,3,3", 12181, 84672),
    ("f32[1,1,32,32]", "16,1,3,3", None, 9216),
    ("f32[1,1,32,32]", "512,1,3,3", None, 9216),  # one input channel: however many are made
    ("f32[1,192,14,14]", "192,192,3,3", None, 2 * 67392),  # 96 and 96 channels
    ("f32[1,224,7,7]", "224,224,3,3", None, 2 * 32256),  # 112 and 112, each filled up to 128
    ("f32[1,512,14,14]", "512,512,3,3", None, 4 * 239616),
]
INT8 = [
    ("i8[1,3,28,28]", "16,3,3,3", 1269, 7056),
    ("i8[1,16,28,28]", "16,16,3,3", 1700, 7056),
    ("i8[1,24,28,28]", "24,24,3,3", 2425, 7056),
    ("i8[1,33,28,28]", "32,33,3,3", 3065, 14112),
    ("i8[1,48,28,28]", "48,48,3,3", 4611, 28224),
    ("i8[1,64,28,28]", "64,64,3,3", 5823, 28224),
    ("i8[1,65,28,28]", "64,65,3,3", 6378, 42336),
    ("i8[1,1,32,32]", "192,1,3,3", None, 9216),
    ("i8[1,512,14,14]", "512,512,3,3", None, 479232),
]


@pytest.mark.parametrize(("x", "w", "ddr", "npu"), FLOAT16)
def test_rk3588_float16_convolutions_are_the_compilers(x: str, w: str, ddr: int | None, npu: int) -> None:
    cost = estimate(leaving(make(Conv2D(pads=(1, 1, 1, 1)), x, f"=f32[{w}]")), RK)
    assert cost.compute_cycles == pytest.approx(npu)
    assert cost.cycles is not None and cost.compute_cycles is not None
    assert cost.cycles == max(cost.compute_cycles, cost.transfer_cycles or 0)
    assert cost.seconds == pytest.approx(cost.cycles / 1e9)
    assert cost.confidence is Confidence.MEASURED
    if ddr is not None:
        assert cost.transfer_cycles == pytest.approx(ddr, rel=0.04 if w.startswith("24,24") else 0.003)  # does not bind
        assert cost.bound == "compute"


@pytest.mark.parametrize(("x", "w", "ddr", "npu"), INT8)
def test_rk3588_int8_convolutions_are_the_compilers(x: str, w: str, ddr: int | None, npu: int) -> None:
    cost = estimate(int8_convolution(x, w), RK)
    assert cost.compute_cycles == npu
    if ddr is not None:
        assert cost.transfer_cycles == pytest.approx(ddr, rel=0.01)


@pytest.mark.parametrize(
    ("taps", "channels", "cut"),
    [
        (9, 160, [160]),
        (9, 192, [96, 96]),
        (25, 96, [48, 48]),
        (1, 1536, [1536]),
        (1, 2048, [1024, 1024]),
        (1, 4096, [1536, 1536, 1024]),
        (1, 9216, [1536] * 6),
        (1, 25088, [1536] * 16 + [512]),
    ],
)
def test_rk3588_cuts_long_sums(taps: int, channels: int, cut: list[int]) -> None:
    """As the compiler of rknn-toolkit2 2.5.0 cut layers of VGG19, AlexNet and Inception in float16."""
    unit = next(u for u in RK.unit if u.does == "matrix")
    work = Work(1, 16, taps, channels, 16)
    assert pieces(work, unit, DType.F16) == cut
    assert (len(pieces(work, unit, DType.I8)) > 1) == (taps * channels > 22528)


@pytest.mark.parametrize(("channels", "kind"), [(448, DType.I8), (480, DType.F16)])
def test_rk3588_pieces_of_long_integer_sums_are_floats(channels: int, kind: DType) -> None:
    """The compiler computed 7 by 7 of 448 channels (21,952 elements) in integers, of 480 (23,520) in float16."""
    node = int8_convolution(f"i8[1,{channels},8,8]", f"32,{channels},7,7")
    assert StepFinder(RK).compute_type(node) is kind


@pytest.mark.parametrize(
    ("x", "w", "groups", "ddr", "npu"),
    [
        ("f32[1,16,28,28]", "16,1,3,3", 16, 3195, 7056),
        ("f32[1,32,28,28]", "32,1,3,3", 32, 4267, 7056),
        ("f32[1,48,28,28]", "48,1,3,3", 48, 7461, 7056),
        ("f32[1,96,28,28]", "96,1,3,3", 96, 12801, 14112),
        ("f32[1,16,16,16]", "16,4,3,3", 4, 888, 2304),  # groups of 4 channels: one dense convolution
    ],
)
def test_rk3588_groups(x: str, w: str, groups: int, ddr: int, npu: int) -> None:
    cost = estimate(leaving(make(Conv2D(pads=(1, 1, 1, 1), groups=groups), x, f"=f32[{w}]")), RK)
    assert cost.compute_cycles == npu
    assert cost.transfer_cycles == pytest.approx(ddr, rel=0.01)


def test_rk3588_groups_of_whole_blocks_are_computed_one_by_one() -> None:
    cost = estimate(make(Conv2D(pads=(1, 1, 1, 1), groups=4), "f32[1,64,28,28]", "=f32[64,16,3,3]"), RK)
    assert cost.compute_cycles == 4 * 7056


def test_rk3588_transposed_convolutions_are_dense_over_the_result() -> None:
    cost = estimate(make(ConvTranspose2D(strides=(2, 2), pads=(1, 1, 1, 1)), "f32[1,16,16,16]", "=f32[16,16,4,4]"), RK)
    assert cost.compute_cycles == 16 * 32 * 32


@given(
    n=st.integers(1, 3),
    c=st.integers(2, 90),  # one channel, and sums of more than 1536 elements, are counted in other ways
    m=st.integers(1, 130),
    k=st.integers(1, 4),
    size=st.integers(5, 40),
    kind=st.sampled_from([DType.I8, DType.F16]),
)
@settings(max_examples=60, deadline=None)
def test_rk3588_formula(n: int, c: int, m: int, k: int, size: int, kind: DType) -> None:
    unit = next(u for u in RK.unit if u.does == "matrix")
    least, outputs = (4, 32) if kind is DType.I8 else (2, 16)
    expected = n * max(least, k * k * math.ceil(c / 32)) * math.ceil(m / outputs) * 16 * math.ceil(size * size / 16)
    assert matrix_cycles(Work(n, size * size, k * k, c, m), unit, kind) == expected


# --------------------------------------------------------------------------------------------------------------- others
def test_a_cube_takes_16_by_16_by_16_products_a_cycle_on_each_core() -> None:
    cost = estimate(make(MatMul(), "f32[1,512,1024]", "=f32[1024,256]"), ASCEND)
    assert cost.compute_cycles == 512 * 1024 * 256 / 16**3 / 2
    integers = Dequantize()(constant(np.zeros((1024, 256), np.int8)), constant(np.float32(1)), constant(np.int8(0)))
    quantized = MatMul().node(dequantized("i8[1,512,1024]"), integers)
    assert estimate(quantized, ASCEND).compute_cycles == 512 * 1024 * 256 / (16 * 32 * 16) / 2
    assert cost.confidence is Confidence.UNCERTAIN  # the bandwidth is from a data sheet


def test_an_odd_block_leaves_a_core_idle() -> None:
    three = estimate(make(MatMul(), "f32[1,48,16]", "=f32[16,16]"), ASCEND)
    four = estimate(make(MatMul(), "f32[1,64,16]", "=f32[16,16]"), ASCEND)
    assert three.compute_cycles == four.compute_cycles == 2


@given(groups=st.integers(2, 64), inputs=st.integers(1, 40), outputs=st.integers(1, 40))
@settings(max_examples=80, deadline=None)
def test_merged_groups_follow_the_formula_of_grouped_fractal_z(groups: int, inputs: int, outputs: int) -> None:
    cube = next(u for u in ASCEND.unit if u.does == "matrix")
    made = in_groups(Work(1, 16, 1, inputs, outputs, groups), cube, DType.F16, 16)
    together = min(math.lcm(16 // math.gcd(inputs, 16), 16 // math.gcd(outputs, 16)), groups)
    assert (made.groups, made.inputs, made.outputs) == (
        math.ceil(groups / together),
        inputs * together,
        outputs * together,
    )


def test_merging_all_groups_gives_the_dense_product() -> None:
    assert merged(Work(1, 4, 9, 2, 3, 8), 8) == Work(1, 4, 9, 16, 24, 1)


@pytest.mark.parametrize(
    ("op", "operands", "work"),
    [
        (Linear(), ("f32[2,5,7]", "=f32[3,7]"), Work(1, 10, 1, 7, 3)),
        (MatMul(), ("f32[4,2,5,7]", "f32[4,2,7,3]"), Work(8, 5, 1, 7, 3)),
        (MatMul(trans_a=True, trans_b=True), ("f32[4,7,5]", "f32[4,3,7]"), Work(4, 5, 1, 7, 3)),
        (MatMul(), ("f32[4,5,7]", "=f32[7,3]"), Work(1, 20, 1, 7, 3)),
        (Conv2D(groups=2, strides=(2, 2)), ("f32[2,6,9,9]", "=f32[4,3,3,3]"), Work(2, 16, 9, 3, 2, 2)),
    ],
)
def test_products(op: object, operands: tuple[str, ...], work: Work) -> None:
    node = make(op, *operands)  # type: ignore[arg-type]
    assert work_of(node) == (work,)
    assert 2 * work.products == node.op.flops([t.type for t in node.inputs if t], [node.outputs[0].type])


def test_views_cost_nothing_and_symbolic_sizes_are_not_guessed() -> None:
    assert estimate(make(Reshape(shape=(6,)), "f32[2,3]"), RK) is NOTHING
    assert estimate(make(Relu(), "f32[n,3]"), RK) is UNKNOWN


def test_operators_without_a_unit_cost_their_transfers_uncertainly() -> None:
    cost = estimate(make(Softmax(axis=1), "f32[1,1000,1,1]"), RK)
    assert cost.compute_cycles is None and cost.bound == "transfer"
    assert cost.transfer_cycles == pytest.approx(2 * 1000 * 2 / 23.65, rel=1e-3)
    assert cost.confidence is Confidence.UNCERTAIN


def described(**changes: object) -> DeviceDescription:
    return attrs.evolve(RK, **changes)  # type: ignore[arg-type]


def test_the_peak_stands_for_units_that_are_not_described() -> None:
    node = make(Conv2D(), "f32[1,64,30,30]", "=f32[64,64,3,3]")
    cost = estimate(node, described(unit=()))
    flops = 2 * 64 * 64 * 9 * 28 * 28
    assert cost.seconds == pytest.approx(flops / (3.07e12 / 3), rel=0.05)  # one core of three
    assert cost.confidence is Confidence.UNCERTAIN


def test_without_clock_and_bandwidth_only_seconds_of_the_peak_are_left() -> None:
    node = make(Conv2D(), "f32[1,64,30,30]", "=f32[64,64,3,3]")
    cost = estimate(node, described(unit=(), memory=(), compute=attrs.evolve(RK.compute, clock=0.0)))
    assert cost.cycles is None and cost.transfer_cycles is None and cost.seconds is not None
    nothing = estimate(node, described(unit=(), memory=(), compute=attrs.evolve(RK.compute, clock=0.0, peak={})))
    assert nothing.seconds is None and nothing.bound == "unknown"


def test_transfers_that_do_not_overlap_add_up() -> None:
    node = make(Conv2D(), "f32[1,64,30,30]", "=f32[64,64,3,3]")
    both = estimate(node, described(cost=attrs.evolve(RK.cost, overlap=False)))
    assert both.cycles == pytest.approx((both.compute_cycles or 0) + (both.transfer_cycles or 0))


# -------------------------------------------------------------------------------------------------------------- fusion
def residual() -> tuple[Graph, list[Node]]:
    graph = Graph()
    x = graph.add_input("x", parse_type("f32[1,64,28,28]"))
    weight = constant(np.zeros((64, 64, 1, 1), np.float32))
    nodes = [graph.append(Conv2D().node(x, weight))]
    nodes.append(graph.append(Add().node(nodes[0].output, x)))
    nodes.append(graph.append(Relu().node(nodes[1].output)))
    graph.add_output("y", nodes[2].output)
    return graph, nodes


def test_an_addition_and_an_activation_become_part_of_the_convolution() -> None:
    graph, (conv, add, relu) = residual()
    costs = estimate_graph(graph, RK)
    alone = estimate(conv, RK)
    image = 64 * 28 * 28 * 2
    assert costs[add].seconds == costs[relu].seconds == 0
    assert costs[conv].bytes == alone.bytes + image  # the other operand of the addition is read
    assert costs[conv].compute_cycles == alone.compute_cycles


def test_a_result_that_others_read_is_not_fused() -> None:
    graph, (conv, add, _) = residual()
    graph.add_output("z", conv.output)
    assert estimate_graph(graph, RK)[add].bytes == 3 * 64 * 28 * 28 * 2


def test_the_later_of_two_products_takes_the_addition() -> None:
    graph = Graph()
    x = graph.add_input("x", parse_type("f32[1,64,28,28]"))
    weight = constant(np.zeros((64, 64, 1, 1), np.float32))
    first, second = (graph.append(Conv2D().node(x, weight)) for _ in range(2))
    add = graph.append(Add().node(first.output, second.output))
    graph.add_output("y", add.output)
    costs = estimate_graph(graph, RK)
    assert costs[first].bytes == estimate(first, RK).bytes
    assert costs[second].bytes == estimate(second, RK).bytes + 64 * 28 * 28 * 2
    assert costs[add].seconds == 0


# ------------------------------------------------------------------------------------------------------------- the file
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[cost]\nmemory = "SRAM"', "there is no memory level 'SRAM'"),
        ('[cost]\nepilogue = ["Rellu"]', "Rellu"),
        ('[[unit]]\nname = "u"\ndoes = "matrix"\noutputs = { f16 = 0 }', "must be at least 1"),
        ('[[unit]]\nname = "u"\ndoes = "cooking"\noutputs = { f16 = 1 }', "cooking"),
        ('[[unit]]\nname = "u"\ndoes = "vector"\noutputs = { f16 = 1 }\nsource = "gossip"', "gossip"),
    ],
)
def test_faults_of_the_file(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(f'extends = "cpu"\nschema = 1\nname = "toy"\n{text}\n')
    with pytest.raises(DescriptionError, match=message):
        load_description(file)


def test_a_convolution_of_joined_maps_of_open_size_is_not_guessed() -> None:
    graph = Graph()
    x = graph.add_input("x", parse_type("f32[1,64,h,w]"))
    joined = graph.append(Concat(axis=1).node(x, x))
    conv = graph.append(Conv2D().node(joined.output, constant(np.zeros((32, 128, 1, 1), np.float32))))
    graph.add_output("y", conv.output)
    assert estimate_graph(graph, RK) == {joined: UNKNOWN, conv: UNKNOWN}
