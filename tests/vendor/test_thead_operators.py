"""csinn operators one by one: what x86_ref calls supported computes what UAIR's interpreter does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.codegen.thead.headers import api_of, read_api
from tests.ops.drawing import operands_of, type_of
from tests.vendor import shl
from uair.codegen.reference import run
from uair.codegen.thead.operators import EMITTERS
from uair.context import Context
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ops import (
    Concat,
    Conv1D,
    Conv2D,
    Conv3D,
    ConvTranspose2D,
    ConvTranspose3D,
    Flip,
    GroupNorm,
    HardSigmoid,
    LayerNorm,
    Linear,
    PRelu,
    Resize,
    RMSNorm,
    Split,
)
from uair.ops.base import Sample, case
from uair.targets import Support

pytestmark = pytest.mark.vendor
TARGET = Context.default().target("x86_ref")
WEIGHTED = (Conv1D, Conv2D, Conv3D, ConvTranspose2D, ConvTranspose3D, Linear, LayerNorm, RMSNorm, GroupNorm, PRelu)
MORE = (
    case(Conv2D(strides=(2, 1), pads=(0, 1, 2, 3), dilations=(1, 2)), "f32[1,4,9,7]", "f32[6,4,3,2]"),
    case(Conv2D(dilations=(2, 3), groups=2), "f32[2,4,9,9]", "f32[4,2,3,2]", "f32[4]"),
    case(Conv1D(strides=(2,), pads=(2, 1), dilations=(2,)), "f32[1,4,11]", "f32[6,4,3]", "f32[6]"),
    case(Conv3D(dilations=(1, 2, 1)), "f32[1,2,5,6,5]", "f32[3,2,2,2,2]"),
    case(ConvTranspose2D(strides=(3, 2), dilations=(2, 1), groups=2), "f32[2,4,3,4]", "f32[4,3,3,2]"),
    case(Linear(transpose_w=False), "f32[2,3,4]", "f32[4,5]", "f32[5]"),
    case(HardSigmoid(alpha=1 / 6, beta=0.5), "f32[2,6]"),
    case(PRelu(), "f32[1,4,3,3]", "f32[4,1,1]"),
    case(Concat(axis=-1), "f32[2,3]", "f32[2,1]", "f32[2,4]"),
    case(Split(axis=1, sizes=(1, 3, 2)), "f32[2,6,2]"),
    case(Flip(axes=(1,)), "f32[2,3,4]"),
    *(
        case(Resize(sizes=(1, 2, 7, 10), mode="linear", coordinate_mode=mode), "f32[1,2,4,5]")
        for mode in ("asymmetric", "align_corners")
    ),
    case(Resize(sizes=(1, 2, 8, 10), coordinate_mode="asymmetric", nearest_mode="floor"), "f32[1,2,4,5]"),
)


def nodes() -> Iterator[tuple[Node, list[Tensor], list[Array]]]:
    """Every supported sample as a node, with its operands that move and their values."""
    samples = [s for cls in EMITTERS for s in cls.samples() if not s.because]
    for sample in (*samples, *MORE):
        values = operands_of(sample)
        if not usable(values):
            continue
        operands: list[Tensor | None] = []
        moving: list[tuple[Tensor, Array]] = []
        for i, value in enumerate(values):
            operand = None if value is None else placed(sample, i, value)
            operands.append(operand)
            if operand is not None and value is not None and not operand.is_constant:
                moving.append((operand, value))
        node = sample.op.node(*operands)
        if all(t.type.is_static and t.type.size for t in node.outputs) and supported(node):
            yield node, [t for t, _ in moving], [v for _, v in moving]


def usable(values: list[Array | None]) -> bool:
    """Whether all are numbers that are finite, and there are some."""
    given = [v for v in values if v is not None]
    return all(v.size and (v.dtype.kind != "f" or bool(np.isfinite(v).all())) for v in given)


def placed(sample: Sample, i: int, value: Array) -> Tensor:
    """An operand: a constant where the sample says so, or where only a constant is taken."""
    fixed = i > 0 and (not isinstance(sample.operands[i], str) or isinstance(sample.op, WEIGHTED))
    return constant(value) if fixed else Tensor(type_of(value))


def supported(node: Node) -> bool:
    """Whether the target takes the node as it is."""
    verdict = TARGET.verdict(node)
    return verdict.support is Support.SUPPORTED and not verdict.through


def module_of(group: list[tuple[Node, list[Tensor], list[Array]]]) -> tuple[Module, dict[str, Array]]:
    """One module of many nodes that have nothing to do with each other, and its feeds."""
    module, graph = Module(), Graph()
    module.graphs["main"] = graph
    feeds: dict[str, Array] = {}
    for i, (node, moving, values) in enumerate(group):
        operands = {t: graph.add_input(f"x{i}_{j}", t.type) for j, t in enumerate(moving)}
        feeds |= {f"x{i}_{j}": value for j, value in enumerate(values)}
        copy = Node(node.op, [operands.get(t, t) if t is not None else None for t in node.inputs], name=f"n{i}")
        graph.append(copy)
        for j, tensor in enumerate(copy.outputs):
            graph.add_output(f"y{i}_{j}", tensor)
    return module, feeds


CASES = list(nodes())
SIZE = 40


@pytest.mark.parametrize("part", range(-(-len(CASES) // SIZE)))
def test_operators(part: int, tmp_path: Path) -> None:
    group = CASES[part * SIZE : (part + 1) * SIZE]
    module, feeds = module_of(group)
    expected = run(module, feeds)
    got = shl.compute(module, tmp_path, feeds).outputs
    for name, want in expected.items():
        node = group[int(name[1:].split("_")[0])][0]
        actual = got[name].reshape(want.shape)
        assert np.allclose(actual, want, rtol=1e-5, atol=2e-5, equal_nan=True), f"{node!r}: {actual} != {want}"


def test_all_operators_are_among_them() -> None:
    """But for those whose samples hold nothing that x86_ref takes."""
    missing = {cls.__name__ for cls in EMITTERS} - {node.op_type for node, _, _ in CASES}
    assert not missing


def test_types_of_the_samples() -> None:
    assert {t.type.dtype for node, _, _ in CASES for t in node.outputs} <= {DType.F32, DType.BOOL}


def test_the_api_is_the_headers() -> None:
    """The names that tests check programs by are those of the library's headers."""
    folder = shl.environment() / "shl" / "x86" / "include" / "csinn"
    names = ("csi_nn.h", "csinn_data_structure.h")
    assert api_of({name: (folder / name).read_text() for name in names}) == read_api()
