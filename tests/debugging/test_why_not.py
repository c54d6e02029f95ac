"""`uair.why_not`: the matcher's own answer, in the names of the user's model."""

from __future__ import annotations

import time

import pytest

import uair
from tests import zoo
from tests.debugging import faults
from uair.debugging.why_not import answer
from uair.errors import UnknownNameError
from uair.passes.catalogue import all_rules
from uair.text import parse_module, print_module

TEXT = """uair 1
module @m {
  constant @w = [1.0,2.0,3.0,4.0] : f32[2,2,1,1]
  constant @k = [1.0,2.0] : f32[2]
  graph @main(%x: f32[1,2,4,4], %v: f32[2]) -> (%y: f32[1,2,4,4], %z: f32[1,2,4,4]) {
    %a = Conv2D(%x, @w) : f32[1,2,4,4] loc("conv/a" Conv)
    %b = BatchNorm(%a, @k, @k, @k, @k) : f32[1,2,4,4] loc("bn/b" BatchNormalization)
    %c = Conv2D(%b, @w) : f32[1,2,4,4] loc("conv/c" Conv)
    %d = BatchNorm(%c, @k, @k, @k, @k) : f32[1,2,4,4] loc("bn/d" BatchNormalization)
    %e = Conv2D(%d, @w) : f32[1,2,4,4] loc("conv/e" Conv)
    %f = BatchNorm(%e, %v, @k, @k, @k) : f32[1,2,4,4] loc("bn/f" BatchNormalization)
    %g = Relu(%f) : f32[1,2,4,4] loc("relu/g" Relu)
    %h = BatchNorm(%g, @k, @k, @k, @k) : f32[1,2,4,4] loc("bn/h" BatchNormalization)
    %y = Add(%h, %c) : f32[1,2,4,4] loc("add/y" Add)
    %z = BatchNorm(%c, @k, @k, @k, @k) : f32[1,2,4,4] loc("bn/z" BatchNormalization)
  }
}
"""


def model() -> uair.Module:
    return parse_module(TEXT)


def test_every_candidate_has_its_answer() -> None:
    module = model()
    found = uair.why_not(module, "fold-batch-norm")
    assert print_module(module) == print_module(model())
    answers = {a.name: a for a in found.answers}
    assert list(answers) == ["%b", "%d", "%f", "%h", "%z"]
    assert answers["%b"].applies and answers["%b"].reason == ""
    assert "interior values are private" in answers["%d"].reason and "is also used by" in answers["%d"].reason
    assert answers["%f"].reason == "<tensor %v: f32[2]> is not a constant"
    assert answers["%f"].culprit is answers["%f"].node.inputs[1]
    assert "the rule needs Conv1D|Conv2D" in answers["%h"].reason
    assert (answers["%h"].matched, answers["%h"].wanted) == (1, 2) and answers["%f"].matched == 2
    assert answers["%d"].culprit_location == "Conv 'conv/c'"
    assert found.known.passes == ("fuse",)


@pytest.mark.parametrize("name", ["%d", "d", "bn/d"])
def test_a_node_is_known_by_its_names(name: str) -> None:
    found = uair.why_not(model(), "fold-batch-norm", name)
    assert [a.name for a in found.answers] == ["%d"]
    assert str(found).startswith("%d: <tensor %c: f32[1,2,4,4]> is also used by")


def test_a_node_inside_of_the_pattern_leads_to_where_the_rule_starts() -> None:
    found = uair.why_not(model(), "fold-batch-norm", "conv/c")
    assert [a.name for a in found.answers] == ["%d", "%z"]
    (only,) = uair.why_not(model(), "fold-batch-norm", "add/y").answers
    assert only.reason.endswith("is a Add, the rule needs BatchNorm")


def test_what_was_applied_already_is_said() -> None:
    found = uair.why_not(model(), "fold-batch-norm", "bn/b", passes="canonicalise,fuse")
    assert found.answers == []
    (note,) = found.notes
    assert "Conv 'conv/a', BatchNormalization 'bn/b'" in note and "applied already, in pass fuse" in note
    everything = uair.why_not(model(), "fold-batch-norm", passes="canonicalise,fuse")
    assert [m.location for m in everything.applied] == ["BatchNormalization 'bn/b'"]
    assert [a.name for a in everything.answers] == ["%d", "%f", "%h"]  # %z was the same as %d


def test_a_node_that_is_gone() -> None:
    text = TEXT.replace("Relu(%f)", "Identity(%f)")
    found = uair.why_not(parse_module(text), "drop-identity", "relu/g", passes="canonicalise")
    assert found.answers == []
    assert found.notes == ["<Identity relu/g> is gone, and nothing that is left came from it"]
    assert [made.location for made in found.applied] == ["Relu 'relu/g'"]


def test_a_rule_that_answers_in_its_rewrite_or_raises() -> None:
    class Hesitates(faults.TanhIsSigmoid):
        def rewrite(self, x: object) -> object:
            return uair.no("not today")

    module = parse_module("uair 1\nmodule @m {\n graph @main(%x: f32[2]) -> (%y: f32[2]) {\n  %a = Neg(%x) : f32[2]\n"
                          "  %b = Neg(%a) : f32[2]\n  %y = Tanh(%b) : f32[2]\n }\n}\n")  # fmt: skip
    (only,) = uair.why_not(module, Hesitates()).answers
    assert (only.applies, only.reason) == (False, "not today")
    first, second = uair.why_not(module, faults.Raises()).answers
    assert not first.applies and second.reason == "the rule raises: KeyError: 'no such thing'"


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="no rule called 'fold-batchnorm'") as caught:
        uair.why_not(model(), "fold-batchnorm")
    assert "fold-batch-norm" in caught.value.hint
    with pytest.raises(UnknownNameError, match="no node 'bn/q'") as caught:
        uair.why_not(model(), "fold-batch-norm", "bn/q")
    assert "bn/" in caught.value.hint


@pytest.mark.parametrize("name", ["light_densenet121", "ppocr_rec", "bert"])
def test_every_rule_answers_for_every_candidate_at_once(name: str) -> None:
    module = uair.load(zoo.models()[name].path)
    nodes = [node for graph in module.all_graphs() for node in graph]
    for known in all_rules().values():
        for node in nodes:
            if type(node.op) in known.rule.root_ops:
                begin = time.process_time()
                found = answer(known.rule, node)
                assert time.process_time() - begin < 0.1, (known.rule.name, node)
                assert found.applies != bool(found.reason)
                assert not found.reason.startswith("the rule raises"), found.reason
