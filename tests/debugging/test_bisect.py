"""`uair.bisect`: the change that changed the numbers, and the smallest module that shows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import uair
from tests import zoo
from tests.debugging import faults
from tests.driver.helpers import toy_target
from tests.driver.test_partition import model as partitioned_model
from uair.codegen.reference.numerics import NotComparable
from uair.debugging.bisect import Rules
from uair.debugging.reduction import Case
from uair.debugging.saving import AFTER, INPUTS, MODULE
from uair.errors import ShapeBindingError
from uair.ir import DType
from uair.ir.compare import difference
from uair.ir.verify import verify
from uair.ops import Tanh
from uair.passes.bind_shapes import BindShapes
from uair.pipeline import Pass, PassContext, PassManager, Verify
from uair.rewrite import Rule
from uair.testing import without_hints
from uair.text import parse_module, print_module

CHAIN = """uair 1
module @m {
  graph @main(%x: f32[2,8]) -> (%y: f32[2,8]) {
    %a = Relu(%x) : f32[2,8] loc("first" Relu)
    %b = Abs(%a) : f32[2,8] loc("second" Abs)
    %c = Tanh(%b) : f32[2,8] loc("third" Tanh)
    %d = Neg(%c) : f32[2,8] loc("fourth" Neg)
    %y = Exp(%d) : f32[2,8] loc("fifth" Exp)
  }
}
"""


def chain() -> uair.Module:
    return parse_module(CHAIN)


def test_a_wrong_rule_is_named_with_its_place_and_cut_out() -> None:
    module = chain()
    found = uair.bisect(module, [faults.AbsOfRelu(), faults.TanhIsSigmoid()])
    assert print_module(module) == print_module(chain())
    culprit = found.culprit
    assert culprit is not None and culprit.application is not None and culprit.node is not None
    assert culprit.application.rule == "tanh-is-sigmoid"
    assert (culprit.number, culprit.total) == (2, 2)
    assert [s.name for s in culprit.node.loc.sources] == ["third"]
    assert found.fault is not None and found.fault.output == "y" and found.errors["y"] > 0.1
    assert str(found).startswith("output 'y' changes by") and "rule tanh-is-sigmoid at <Tanh third>" in str(found)
    assert found.smallest is not None
    assert [node.op for node in found.smallest.module.main] == [Tanh()]
    (name,) = found.smallest.module.main.input_names
    given = np.maximum(np.random.default_rng(0).standard_normal((2, 8)), 0).astype(np.float32)
    np.testing.assert_array_equal(found.smallest.feeds[name], given)  # the values of that place, not random ones


def test_numbers_that_agree() -> None:
    found = uair.bisect(chain(), "canonicalise,fuse")
    assert not found.found and found.smallest is None and found.errors == {"y": 0.0}
    assert "agree" in str(found) and found.save("nowhere") == []


def test_the_tolerance_decides() -> None:
    exact = uair.bisect(chain(), [faults.TanhIsSigmoid()], tolerance=1e-6)
    assert exact.found
    assert not uair.bisect(chain(), [faults.TanhIsSigmoid()], tolerance=exact.errors["y"] * 1.01).found


def test_a_pass_that_draws_no_fuel_is_named_as_a_pass() -> None:
    x = {"x": np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)}
    module = parse_module(CHAIN.replace("Abs", "Sin"))
    found = uair.bisect(module, [faults.AbsOfRelu(), faults.DropRelu(), faults.AbsOfRelu()], x)
    assert found.culprit is not None
    assert found.culprit.application is None and found.culprit.pass_ == faults.DropRelu()
    assert found.smallest is not None
    assert [node.op_type for node in found.smallest.module.main] == ["Relu"]
    assert "without a change that could be numbered" in str(found)


def test_a_pass_between_others_is_found() -> None:
    class Nothing(uair.Pass):
        def run(self, module: uair.Module, context: uair.PassContext) -> bool:
            module.metadata["seen"] = module.metadata.get("seen", "") + "x"
            return True

    passes: list[Pass | Rule] = [Nothing(), Nothing(), faults.TanhIsSigmoid(), Nothing(), Nothing(), Nothing()]
    found = uair.bisect(chain(), passes)
    assert (found.step, found.steps) == (3, 6)
    assert found.culprit is not None and isinstance(found.culprit.pass_, Rules)


def test_a_pass_that_raises_is_bisected_too() -> None:
    text = CHAIN.replace("Abs", "Neg").replace("Relu", "Neg")
    found = uair.bisect(parse_module(text), [faults.TanhIsSigmoid(), faults.Raises()], tolerance=10)
    assert found.culprit is not None and found.fault is not None and "no such thing" in found.fault.text
    assert isinstance(found.culprit.fault.error, Exception)
    assert found.smallest is not None
    assert [node.op_type for node in found.smallest.module.main] == ["Neg", "Neg"]


def test_a_rule_that_never_ends_is_cut_out_where_it_begins() -> None:
    found = uair.bisect(chain(), [faults.AbsOfRelu(), faults.Forever()])
    assert found.culprit is not None and found.culprit.application is not None and found.culprit.node is not None
    assert (found.culprit.application.rule, found.culprit.application.location) == ("forever", "Tanh 'third'")
    assert found.fault is not None and "goes on for ever" in found.fault.text
    assert found.smallest is not None and [n.op_type for n in found.smallest.module.main] == ["Tanh"]


def test_a_rule_inside_of_a_branch() -> None:
    module = parse_module(
        """uair 1
module @m {
  graph @main(%x: f32[2,8]) -> (%y: f32[2,8]) {
    %r = Relu(%x) : f32[2,8]
    %s = ReduceSum(%r) {axes = [0,1], keepdims = false} : f32[]
    %p = Cast(%s) {to = bool} : bool[]
    %i = If(%p) (
      then_branch = @then() -> (%t: f32[2,8]) {
        %t = Tanh(%r) : f32[2,8] loc("inside" Tanh)
      },
      else_branch = @else() -> (%e: f32[2,8]) {
        %e = Neg(%r) : f32[2,8]
      }
    ) : f32[2,8]
    %y = Exp(%i) : f32[2,8]
  }
}
"""
    )
    verify(module)
    found = uair.bisect(module, [faults.TanhIsSigmoid()])
    assert found.culprit is not None and found.culprit.node is not None
    assert [s.name for s in found.culprit.node.loc.sources] == ["inside"]
    assert found.smallest is not None
    assert [node.op_type for node in found.smallest.module.main] == ["If"]


RANDOM = """uair 1
module @m {
  graph @main(%x: f32[2,8]) -> (%y: f32[2,8]) {
    %n = RandomNormal() {shape = [2,8]} : f32[2,8]
    %a = Add(%x, %n) : f32[2,8]
    %y = Tanh(%a) : f32[2,8] loc("third" Tanh)
  }
}
"""


def test_random_numbers_are_drawn_again_the_same() -> None:
    assert not uair.bisect(parse_module(RANDOM)).found
    found = uair.bisect(parse_module(RANDOM), [faults.TanhIsSigmoid()])
    assert found.culprit is not None and found.culprit.application is not None
    assert found.culprit.application.location == "Tanh 'third'"
    assert found.smallest is not None and found.smallest.size == 1


def test_what_is_not_repeatable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from uair.ops import RandomNormal

    fresh = np.random.default_rng()
    monkeypatch.setattr(RandomNormal, "evaluate", lambda op, shape=None: fresh.normal(size=(2, 8)).astype(np.float32))
    with pytest.raises(NotComparable) as caught:
        uair.bisect(parse_module(RANDOM), [faults.TanhIsSigmoid()])
    assert "not compute the same twice" in caught.value.message and "RandomNormal" in caught.value.place


def test_open_sizes_need_inputs() -> None:
    module = parse_module(CHAIN.replace("2,8", "n,8"))
    with pytest.raises(NotComparable) as caught:
        uair.bisect(module, [faults.TanhIsSigmoid()])
    assert "'x'" in caught.value.message and "--shape x=" in caught.value.hint
    found = uair.bisect(module, [faults.TanhIsSigmoid()], np.ones((3, 8), np.float32))
    assert found.smallest is not None and found.smallest.size == 1
    assert uair.bisect(module, [faults.TanhIsSigmoid()], shapes={"x": (3, 8)}).found


def test_sequences_are_compared() -> None:
    module = parse_module(
        """uair 1
module @m {
  graph @main(%x: f32[2,8]) -> (%y: seq<f32[2,8]>) {
    %t = Tanh(%x) : f32[2,8]
    %y = SequenceConstruct(%x, %t) : seq<f32[2,8]>
  }
}
"""
    )
    assert not uair.bisect(module).found
    found = uair.bisect(module, [faults.TanhIsSigmoid()])
    assert found.smallest is not None and [n.op_type for n in found.smallest.module.main] == ["Tanh"]


def test_a_target_is_bisected_with_its_whole_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    from uair.context import Context

    target = Context.default().target("cpu")
    own = list(target.prepare())
    assert not uair.bisect(chain(), target="cpu").found

    def prepare() -> list[Pass]:
        return [*own, Rules((faults.TanhIsSigmoid(),))]

    monkeypatch.setattr(target, "prepare", prepare)
    found = uair.bisect(chain(), target="cpu")
    assert found.culprit is not None and found.culprit.application is not None
    assert found.culprit.application.rule == "tanh-is-sigmoid"
    assert found.smallest is not None and found.smallest.size == 1


def test_a_part_of_a_model_is_searched_on_what_it_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    own = target.legalise()

    class WrongFurtherOn(faults.DropRelu):
        """Takes the Relus of the part behind the Sin away."""

        def run(self, module: uair.Module, context: uair.PassContext) -> bool:
            return "wave" in module.main.input_names and super().run(module, context)

    assert not uair.bisect(partitioned_model(), target=target.name).found
    monkeypatch.setattr(target, "legalise", lambda: [*own, WrongFurtherOn()])
    found = uair.bisect(partitioned_model(), target=target.name)
    assert found.culprit is not None and isinstance(found.culprit.pass_, WrongFurtherOn)
    assert "wave" in found.culprit.before.main.input_names
    assert found.smallest is not None and "Relu" in [node.op_type for node in found.smallest.module.main]


def test_inputs_of_other_types_are_saved_as_the_command_line_reads_them(tmp_path: Path) -> None:
    text = """uair 1
module @m {
  graph @main(%x: bf16[2,8], %s: seq<f32[2]>, %t: string[2]) -> (%y: bf16[2,8], %z: i64[], %u: bool[2]) {
    %y = Tanh(%x) : bf16[2,8]
    %z = SequenceLength(%s) : i64[]
    %u = Equal(%t, %t) : bool[2]
  }
}
"""
    module = parse_module(text)
    verify(module)
    with pytest.raises(NotComparable, match="'s' is no tensor"):
        uair.bisect(module, [faults.TanhIsSigmoid()])
    feeds = {"x": np.ones((2, 8), DType.BF16.numpy), "s": [np.ones(2, np.float32)], "t": np.array(["a", "b"], object)}
    found = uair.bisect(module, [faults.TanhIsSigmoid()], feeds)
    assert found.smallest is not None and [n.op_type for n in found.smallest.module.main] == ["Tanh"]
    found.save(tmp_path)
    with np.load(tmp_path / INPUTS) as archive:  # bf16 has no name in .npz files: its bytes are there
        assert uair.bisect(tmp_path / MODULE, [faults.TanhIsSigmoid()], dict(archive)).found
    whole = attrs.evolve(found, smallest=Case(module, feeds))
    assert [f.name for f in whole.save(tmp_path / "whole")] == [MODULE, INPUTS, AFTER] and whole.replay() == ""
    with np.load(tmp_path / "whole" / INPUTS) as archive:
        assert sorted(archive) == ["t", "x"] and archive["t"].tolist() == ["a", "b"]


def test_what_is_saved_shows_the_fault_again(tmp_path: Path) -> None:
    found = uair.bisect(chain(), [faults.TanhIsSigmoid()])
    files = found.save(tmp_path / "case")
    assert [f.name for f in files] == [MODULE, INPUTS, AFTER]  # these rules have no name on a command line: no script
    with np.load(tmp_path / "case" / INPUTS) as archive:
        feeds = dict(archive)
    again = uair.bisect(tmp_path / "case" / MODULE, [faults.TanhIsSigmoid()], feeds)
    assert again.culprit is not None and again.culprit.number == 1
    after = uair.load(tmp_path / "case" / MODULE)
    PassManager([Rules((faults.TanhIsSigmoid(),))], [Verify()]).run(after)
    assert difference(without_hints(after), without_hints(uair.load(tmp_path / "case" / AFTER))) == ""


def test_a_planted_rule_in_resnet50_is_found_in_seconds() -> None:
    model = zoo.models()["resnet50_real"]
    module, feeds = uair.load(model.path), model.feeds(0)
    rules: list[Rule] = [faults.ForgetShift()]
    begin = time.monotonic()
    found = uair.bisect(module, rules, feeds)
    assert time.monotonic() - begin < 30
    assert found.culprit is not None and found.culprit.application is not None and found.culprit.node is not None
    assert (found.culprit.application.rule, found.culprit.total) == ("forget-shift", 53)
    assert found.culprit.node.output.type.dims == (1, 512, 7, 7)
    assert found.smallest is not None
    assert [node.op_type for node in found.smallest.module.main] == ["Conv2D", "BatchNorm"]
    assert _bytes(found.smallest.feeds) < 1 << 20


def _bytes(feeds: Mapping[str, Any]) -> int:
    return sum(np.asarray(value).nbytes for value in feeds.values())


# -------------------------------------------------------------------------------------------------------- open sizes
OPEN = (
    CHAIN.replace("[2,8]", "[n,8]")
    .replace("Exp(%d)", "Mul(%d, %w)")
    .replace("(%x: f32[n,8])", "(%x: f32[n,8], %w: f32[n,8])")
)
BOUND: dict[str, tuple[int, ...]] = {"x": (2, 8)}


def test_binding_shapes_is_a_pass_like_others() -> None:
    """The size of the other input follows from the one that is given."""
    found = uair.bisect(parse_module(OPEN), [faults.TanhIsSigmoid()], shapes=BOUND)
    assert (found.step, found.steps) == (2, 2) and found.smallest is not None
    assert not uair.bisect(parse_module(OPEN), "canonicalise,fuse", shapes=BOUND).found
    assert not uair.bisect(parse_module(OPEN), target="cpu", shapes=BOUND).found


@pytest.mark.parametrize("target", [None, "cpu"])
@pytest.mark.parametrize("raises", [False, True])
def test_what_goes_wrong_when_shapes_are_bound_is_told_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: str | None, raises: bool
) -> None:
    right = BindShapes.run

    def wrong(self: BindShapes, module: uair.Module, context: PassContext) -> bool:
        if raises:
            raise RuntimeError("on the way")
        return right(self, module, context) | faults.DropRelu().run(module, context)

    monkeypatch.setattr(BindShapes, "run", wrong)
    found = uair.bisect(parse_module(OPEN), shapes=BOUND, target=target)
    assert found.culprit is not None and found.culprit.pass_ == BindShapes(shapes=BOUND)
    assert found.fault is not None and ("on the way" in found.fault.text) == raises
    assert found.smallest is not None
    assert {MODULE, INPUTS} <= {path.name for path in found.save(tmp_path)}
    assert "bind-shapes{shapes=" in found.replay()


def test_shapes_that_do_not_fit_are_no_fault() -> None:
    for shapes in ({"x": (2, 9)}, {"x": (2,)}, {"z": (2, 8)}, {"x": (2, 8), "w": (3, 8)}):
        with pytest.raises(ShapeBindingError):
            uair.bisect(parse_module(OPEN), shapes=shapes)
    with pytest.raises(NotComparable):
        uair.bisect(parse_module(OPEN))
