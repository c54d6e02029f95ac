"""Inputs with fixed values."""

from __future__ import annotations

import numpy as np
import pytest

from uair.codegen.reference import run
from uair.errors import ShapeBindingError
from uair.ir.verify import verify
from uair.passes.bind_inputs import BindInputs
from uair.pipeline import PassContext
from uair.text import parse_module

MODEL = """uair 1
module @m {
  constant @limit = 16000 : i64[]
  graph @main(%x: f32[2,3], %rate: i64[]) -> (%y: f32[2,3]) {
    %c = Equal(%rate, @limit) : bool[]
    %y = If(%c) (
      then_branch = @then() -> (%a: f32[2,3]) {
        %a = Relu(%x) : f32[2,3]
      },
      else_branch = @els() -> (%b: f32[2,3]) {
        %b = Neg(%x) : f32[2,3]
      }
    ) : f32[2,3]
  }
}
"""


@pytest.mark.parametrize(("rate", "operator"), [(16000, "Relu"), (8000, "Neg"), (np.array(8000), "Neg")])
def test_decides_branches(rate: object, operator: str) -> None:
    module = parse_module(MODEL)
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    expected = run(module, {"x": x, "rate": np.array(rate, np.int64)})
    assert BindInputs(values={"rate": rate}).run(module, PassContext())
    verify(module)
    assert module.main.input_names == ["x"] and [node.op_type for node in module.main] == [operator]
    np.testing.assert_array_equal(run(module, {"x": x})["y"], expected["y"])


def test_nothing_to_bind() -> None:
    assert not BindInputs().run(parse_module(MODEL), PassContext())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sr": 1}, "'sr', which is no input"),
        ({"x": [1.0, 2.0]}, "shape \\[2\\]"),
        ({"rate": 0.5}, "cannot hold"),
    ],
)
def test_refusals(values: dict[str, object], words: str) -> None:
    with pytest.raises(ShapeBindingError, match=words):
        BindInputs(values=values).run(parse_module(MODEL), PassContext())
