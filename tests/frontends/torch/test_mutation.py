"""Programs with in-place operators, made by hand: what they become, without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from uair.frontends.torch.errors import TorchMutationError
from uair.frontends.torch.mutation import functionalised
from uair.frontends.torch.program import Argument, Call, Program, ProgramGraph, Ref
from uair.frontends.torch.views import Strides
from uair.ir.data import ArrayData
from uair.ir.dims import symbol
from uair.ir.dtype import DType
from uair.ir.types import TensorType

F32 = DType.F32


def call(target: str, result: str, extents: tuple[Any, ...], /, *, dtype: DType = F32, **arguments: Argument) -> Call:
    type_ = TensorType(dtype, extents)
    return Call(f"aten.{target}", arguments, (result,), (type_,), module_path="block.0", file="model.py:7")


def program(
    *calls: Call, outputs: tuple[str, ...], x: tuple[Any, ...] = (2, 6), state: Mapping[str, str] | None = None
) -> Program:
    """A program with the input `x`, and a zero-dimensional f32 buffer for each entry of `state`."""
    buffers = state or {}
    inputs = (*((name, TensorType(F32, ())) for name in buffers), ("x", TensorType(F32, x)))
    return Program(
        graph=ProgramGraph(inputs, calls, tuple(map(Ref, outputs))),
        constants={name: (own, ArrayData(np.zeros((), np.float32))) for name, own in buffers.items()},
        input_names={"x": "x"},
        output_names=tuple(f"y{i}" for i in range(len(outputs))),
        mutations={},
        ranges={},
    )


def text(p: Program) -> list[str]:
    """The calls as `result = operator(arguments)`."""

    def shown(a: Any) -> str:
        return f"%{a.name}" if isinstance(a, Ref) else str(a)

    return [
        f"{c.results[0]} = {c.target.split('.')[1]}({', '.join(map(shown, c.arguments.values()))})"
        for c in p.graph.calls
    ]


def test_a_whole_tensor_takes_the_twins_result() -> None:
    p = functionalised(
        program(
            call("relu.default", "y", (2, 6), self=Ref("x")),
            call("add_.Tensor", "", (2, 6), self=Ref("y"), other=Ref("x")),
            call("mul.Tensor", "z", (2, 6), self=Ref("y"), other=2.0),
            outputs=("z", "y"),
        )
    )
    assert text(p) == ["y = relu(%x)", "add = add(%y, %x)", "z = mul(%add, 2.0)"]
    assert p.graph.outputs[1] == Ref(p.graph.calls[1].results[0])
    assert p.graph.calls[1].file == "model.py:7"


def test_a_write_into_a_view_goes_back_to_the_owner_and_other_views_are_taken_anew() -> None:
    p = functionalised(
        program(
            call("clone.default", "y", (2, 6), self=Ref("x")),
            call("select.int", "row", (6,), self=Ref("y"), dim=0, index=1),
            call("view.default", "flat", (12,), self=Ref("y"), size=(12,)),
            call("neg_.default", "", (6,), self=Ref("row")),
            call("exp.default", "e", (12,), self=Ref("flat")),
            outputs=("e", "row"),
        )
    )
    assert text(p) == [
        "y = clone(%x)",
        "row = select(%y, 0, 1)",
        "neg = neg(%row)",
        "select_scatter = select_scatter(%y, %neg, 0, 1)",
        "view = view(%select_scatter, (12,))",
        "e = exp(%view)",
    ]
    assert p.graph.outputs == (Ref("e"), Ref("neg"))


def test_copying_a_view_onto_itself_is_nothing() -> None:
    p = functionalised(
        program(
            call("clone.default", "y", (2, 6), self=Ref("x")),
            call("slice.Tensor", "a", (2, 3), self=Ref("y"), dim=1, start=0, end=3),
            call("relu_.default", "r", (2, 3), self=Ref("a")),
            call("slice.Tensor", "b", (2, 3), self=Ref("y"), dim=-1, end=3),
            call("copy_.default", "", (2, 3), self=Ref("b"), src=Ref("r")),
            outputs=("y",),
        )
    )
    assert text(p)[1:] == [
        "a = slice(%y, 1, 0, 3)",
        "relu = relu(%a)",
        "slice_scatter = slice_scatter(%y, %relu, 1, 0, 3, 1)",
    ]


def test_symbolic_sizes_are_followed() -> None:
    n = symbol("n")
    p = functionalised(
        program(
            call("permute.default", "t", (6, n), self=Ref("x"), dims=(1, 0)),
            call("reshape.default", "copy", (6 * n,), self=Ref("t"), shape=(-1,)),
            call("sigmoid_.default", "", (6 * n,), self=Ref("copy")),
            call("reshape.default", "same", (2, 3 * n), self=Ref("x"), shape=(2, -1)),
            call("tanh_.default", "", (2, 3 * n), self=Ref("same")),
            outputs=("copy",),
            x=(n, 6),
        )
    )
    assert p.output_names == ("y0", "x.new")  # the second reshape is a view of the input, the first is a copy
    assert "sigmoid = sigmoid(%copy)" in text(p)
    assert "view = view(%tanh, (n, 6))" in text(p)


def test_state_is_kept_when_a_result_depends_on_it() -> None:
    def p(seen: str) -> Program:
        return program(
            call("add_.Tensor", "", (), self=Ref("b_count"), other=1),
            call("add_.Tensor", "", (), self=Ref("b_sum"), other=2.0),
            call("mul.Tensor", "y", (2, 6), self=Ref("x"), other=Ref(seen)),
            outputs=("y",),
            state={"b_count": "norm.count", "b_sum": "norm.sum"},
        )

    kept = functionalised(p("b_sum"))
    assert kept.output_names == ("y0", "norm.sum")
    assert text(kept) == ["add_1 = add(%b_sum, 2.0)", "y = mul(%x, %add_1)"]
    assert functionalised(p("x")).output_names == ("y0",)


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (call("set_.source_Tensor", "", (2, 6), self=Ref("y"), source=Ref("x")), "other memory"),
        (call("resize_.default", "", (2, 6), self=Ref("y"), size=(2, 6)), "size of memory"),
        (call("_foreach_add_.Scalar", "", (2, 6), self=(Ref("y"), Ref("x")), scalar=1), "several tensors"),
        (call("mul_.Tensor", "", (2, 6), self=Ref("wide"), other=2), "overlap"),
        (call("mul_.Tensor", "", (2, 6), self=Ref("nothing"), other=2), "before anything defines it"),
    ],
    ids=lambda p: p.target if isinstance(p, Call) else "",
)
def test_what_cannot_be_followed_names_module_and_line(write: Call, named: str) -> None:
    bad = program(
        call("clone.default", "y", (2, 6), self=Ref("x")),
        call("expand.default", "wide", (3, 2, 6), self=Ref("y"), size=(3, 2, 6)),
        write,
        outputs=("y",),
    )
    with pytest.raises(TorchMutationError, match=named) as caught:
        functionalised(bad)
    assert caught.value.place == f"{write.target} in module 'block.0', model.py:7"
    assert caught.value.hint


@pytest.mark.parametrize(
    ("shape", "steps", "new", "expected"),
    [
        ((2, 3, 4), (12, 4, 1), (6, 4), (4, 1)),
        ((2, 3, 4), (12, 1, 3), (2, 12), None),
        ((2, 3, 4), (12, 1, 3), (6, 4), None),
        ((4, 6), (1, 4), (2, 2, 6), (2, 1, 4)),
        ((4, 6), (12, 2), (24,), (2,)),
        ((4, 1, 6), (6, 99, 1), (1, 24), (24, 1)),
        ((), (), (1, 1), (1, 1)),
    ],
)
def test_when_a_reshape_is_a_view(
    shape: tuple[int, ...], steps: tuple[int, ...], new: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    """NumPy's rule, and PyTorch's: the strides of the new shape exist or the elements are copied."""
    found = Strides(shape, steps).reshaped(new)
    assert (None if found is None else found.steps) == expected
