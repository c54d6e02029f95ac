"""Attention as exporters of PyTorch spell it out: guards, masks, shared and repeated heads, scales at both operands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.passes.judging import optimized
from tests.passes.test_attention_products import kinds, module_of, rewritten
from uair.ir.dims import static
from uair.ir.module import Module
from uair.ops import Attention
from uair.passes.canonicalise import Canonicalise
from uair.passes.fuse import Fuse
from uair.passes.fusion import attention
from uair.passes.fusion.attention_products import RecognizeAttention
from uair.passes.fusion.heads import SeparateScores
from uair.passes.fusion.scale_motion import ScaleBeforeMoves
from uair.pipeline import PassContext

QKV = "%q: f32[2,4,5,8], %k: f32[2,4,6,8], %v: f32[2,4,6,3]"
NUMBERS = "constant @zero = 0.0 : f32[]\nconstant @low = -inf : f32[]\nconstant @half = 0.5 : f32[]\n"
PRODUCT = "%t = Transpose(%k) {perm = [0,1,3,2]}  %s = MatMul(%q, %t)  "
GUARD = "%p = Softmax(%m) {axis = 3}  %n = IsNaN(%p)  %g = Where(%n, @zero, %p)  %y = MatMul(%g, %v)  "


def the_attention(module: Module) -> Attention:
    (op,) = [node.op for node in module.main if isinstance(node.op, Attention)]
    return op


def feeds_of(module: Module, **given: Any) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    made = {t.name: rng.normal(size=static(t.type.dims)).astype(np.float32) for t in module.main.inputs}
    return made | given


# -------------------------------------------------------------------------------------------------- rows without a key
def test_guarded_probabilities_with_a_mask_are_attention() -> None:
    """A query that no key is left for gives zeros before and after."""
    nodes = PRODUCT + "%w = Where(%allowed, @zero, @low)  %m = Add(%s, %w)  " + GUARD
    allowed = np.ones((2, 1, 5, 6), bool)
    allowed[0, 0, 1] = False
    module = module_of(QKV + ", %allowed: bool[2,1,5,6]", nodes, NUMBERS)
    found = rewritten(module, RecognizeAttention(), given={"allowed": allowed})
    assert kinds(found) == {"Attention": 1}
    assert the_attention(found).scale == 1.0


def test_guard_of_something_else_is_no_attention() -> None:
    nodes = PRODUCT + "%m = Mul(%s, @half)  " + GUARD.replace("@zero", "@half")
    assert "Attention" not in kinds(rewritten(module_of(QKV, nodes, NUMBERS), RecognizeAttention()))


@pytest.mark.parametrize(
    ("front", "constants", "dropped"),
    [
        ("%m = Mul(%s, @half)  ", "", True),
        ("%m = Add(%s, @mask)  ", "constant @mask = [0.0,-inf,0.0,-inf,1.0,2.0] : f32[6]", True),
        ("%m = Add(%s, @mask)  ", "constant @mask = [-inf,-inf,-inf,-inf,-inf,-inf] : f32[6]", False),
        ("%m = Add(%s, @mask)  ", "constant @mask = [0.0,nan,0.0,0.0,1.0,2.0] : f32[6]", False),
        ("%a = Add(%s, @mask)  %m = Add(%a, @mask)  ", "constant @mask = [0.0,-inf,0.0,0.0,1.0,2.0] : f32[6]", False),
        ("%m = Add(%s, %given)  ", "", False),
        ("%c = Less(%given, @zero)  %m = Where(%c, @low, %s)  ", "", False),
    ],
    ids=["none", "by row", "whole rows", "no number", "two", "given", "chosen"],
)
def test_guards_go_where_a_number_is_left_in_every_row(front: str, constants: str, dropped: bool) -> None:
    """A sum of two masks may take a row away that each of them leaves."""
    inputs = QKV + (", %given: f32[6]" if "%given" in front else "")
    module = module_of(inputs, PRODUCT + front + GUARD, NUMBERS + constants)
    PassContext().apply_rules(module, [attention.DropSoftmaxGuard()])
    assert ("IsNaN" not in kinds(module)) is dropped


# ---------------------------------------------------------------------------------------------------- masks and softcap
def test_constant_numbers_above_the_diagonal_are_causal() -> None:
    """Numbers below -1e9 swallow every score; a mask that also adds something stays."""
    low = ",".join("0.0" if j <= i else "-3e38" for i in range(5) for j in range(5))
    square = QKV.replace("6", "5")
    nodes = PRODUCT + "%m = Add(%s, @mask)  %p = Softmax(%m) {axis = 3}  %y = MatMul(%p, %v)"
    causal = rewritten(module_of(square, nodes, f"constant @mask = [{low}] : f32[5,5]"), RecognizeAttention())
    assert kinds(causal) == {"Attention": 1} and the_attention(causal).causal
    other = low.replace("0.0", "0.5", 1)
    biased = rewritten(module_of(square, nodes, f"constant @mask = [{other}] : f32[5,5]"), RecognizeAttention())
    assert kinds(biased) == {"Attention": 1} and not the_attention(biased).causal


def test_capped_scores_are_attention() -> None:
    """As in Gemma 2: 5 tanh(scores / 2 / 5), and the mask."""
    constants = NUMBERS + "constant @c = 5.0 : f32[]\n"
    cap = "%a = Mul(%s, @half)  %b = Div(%a, @c)  %d = Tanh(%b)  %e = Mul(%d, @c)  "
    end = "%p = Softmax(%m) {axis = 3}  %y = MatMul(%p, %v)"
    inputs = QKV + ", %mask: f32[2,1,5,6]"
    found = rewritten(module_of(inputs, PRODUCT + cap + "%m = Add(%e, %mask)  " + end, constants), RecognizeAttention())
    assert kinds(found) == {"Attention": 1}
    assert (the_attention(found).softcap, the_attention(found).scale) == (5.0, 0.5)
    inside = PRODUCT + "%a = Add(%s, %mask)  %d = Tanh(%a)  %m = Mul(%d, @one)  " + end
    one = module_of(inputs, inside, "constant @one = 1.0 : f32[]\n")
    assert "Attention" not in kinds(rewritten(one, RecognizeAttention()))


def test_one_head_of_keys_and_values_for_all_queries() -> None:
    """As in Falcon and GPTBigCode; a head of keys for every query, but one of values, is something else."""
    end = PRODUCT + "%m = Mul(%s, @half)  %p = Softmax(%m) {axis = 3}  %y = MatMul(%p, %v)"
    one = QKV.replace("%k: f32[2,4", "%k: f32[2,1").replace("%v: f32[2,4", "%v: f32[2,1")
    assert kinds(rewritten(module_of(one, end, NUMBERS), RecognizeAttention())) == {"Attention": 1}
    mixed = QKV.replace("%v: f32[2,4", "%v: f32[2,1")
    assert "Attention" not in kinds(rewritten(module_of(mixed, end, NUMBERS), RecognizeAttention()))


def test_slopes_that_are_added_to_merged_heads() -> None:
    """As in BLOOM: what is added is computed with three axes and reshaped to the merged ones."""
    nodes = (
        "%t = Reshape(%x) {shape = [8,5,6]}  %b = Mul(%z, @half)  %a = Reshape(%b) {shape = [8,1,6]}  "
        "%s = Add(%t, %a)  %y = Reshape(%s) {shape = [2,4,5,6]}"
    )
    module = module_of("%x: f32[2,4,5,6], %z: f32[2,4,6]", nodes, NUMBERS)
    found = rewritten(module, SeparateScores())
    assert [(n.op_type, n.output.type.rank) for n in found.main][-1] == ("Add", 4)


# ------------------------------------------------------------------------------------------- repeated heads, and scales
REPEATED = (
    "%a = Unsqueeze(%x) {axes = [3]}  %b = Expand(%a) {shape = [2,5,2,3,8]}  %c = Reshape(%b) {shape = [2,5,6,8]}  "
    "%k = Transpose(%c) {perm = [0,2,1,3]}  %r = RotaryEmbedding(%k, %cos, %sin)  "
)


def test_repetition_goes_behind_what_is_done_with_heads() -> None:
    """Everything in front of the repetition is done with two heads of six; onnxruntime is the judge."""
    module = module_of("%x: f32[2,5,2,8], %cos: f32[2,5,4], %sin: f32[2,5,4]", REPEATED + "%y = Tanh(%r)")
    found = optimized(module, feeds_of(module), relative=1e-5, absolute=1e-6)
    (rotary,) = [node for node in found.main if node.op_type == "RotaryEmbedding"]
    assert rotary.output.type.dims == (2, 2, 5, 8)


def test_repetition_that_others_take_stays_in_front() -> None:
    nodes = REPEATED + "%u = Tanh(%c)  %w = Transpose(%u) {perm = [0,2,1,3]}  %y = Add(%r, %w)"
    module = module_of("%x: f32[2,5,2,8], %cos: f32[2,5,4], %sin: f32[2,5,4]", nodes)
    found = rewritten(module, attention.TransposeBeforeRepetition(), attention.RotaryBeforeRepetition())
    assert [n.output.type.dims[1] for n in found.main if n.op_type == "RotaryEmbedding"] == [6]


@pytest.mark.parametrize(
    ("between", "stays"), [("", True), ("%s = Mul(%t, @half)  ", True), ("%s = Tanh(%t)  ", False)]
)
def test_keys_are_turned_beside_their_product(between: str, stays: bool) -> None:
    """As onnxruntime computes both as one, unless what repeats heads stands between them."""
    nodes = (
        "%a = Unsqueeze(%x) {axes = [2]}  %b = Expand(%a) {shape = [2,2,3,5,8]}  %c = Reshape(%b) {shape = [2,6,5,8]}  "
        f"%t = Transpose(%c) {{perm = [0,1,3,2]}}  {between}%y = MatMul(%q, {'%s' if between else '%t'})"
    )
    module = module_of("%x: f32[2,2,5,8], %q: f32[2,6,4,8]", nodes, "constant @half = 0.5 : f32[]\n")
    found = rewritten(module, attention.TransposeBeforeRepetition())
    (turn,) = [node for node in found.main if node.op_type == "Transpose"]
    assert turn.output.type.dims[1] == (6 if stays else 2)


def test_keys_that_are_turned_twice_are_turned_once() -> None:
    """The places and heads of the keys change their order in front of the repetition."""
    nodes = (
        "%p = Transpose(%x) {perm = [0,2,1,3]}  %a = Unsqueeze(%p) {axes = [2]}  "
        "%b = Expand(%a) {shape = [2,2,3,5,8]}  %c = Reshape(%b) {shape = [2,6,5,8]}  "
        "%t = Transpose(%c) {perm = [0,1,3,2]}  %y = MatMul(%q, %t)"
    )
    module = module_of("%x: f32[2,5,2,8], %q: f32[2,6,4,8]", nodes)
    found = optimized(module, feeds_of(module), relative=1e-5, absolute=1e-6)
    assert [node.op_type for node in found.main].count("Transpose") == 1


WEIGHTS = "constant @w = [1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0] : f32[8]\nconstant @half = 0.5 : f32[]\n"


@pytest.mark.parametrize(
    ("taker", "scaled"),
    [
        ("%n = RMSNorm(%x, @w)  ", True),
        ("%n = LayerNorm(%x, @w, @w)  ", True),
        ("%n = LayerNorm(%x)  ", False),
        ("%n = Tanh(%x)  ", False),
        ("%n = RMSNorm(%x, %scale)  ", False),
    ],
)
def test_scales_go_into_weights_in_front_of_moves(taker: str, scaled: bool) -> None:
    nodes = taker + REPEATED.replace("%x", "%n") + "%y = Mul(@half, %r)"
    inputs = "%x: f32[2,5,2,8], %cos: f32[2,5,4], %sin: f32[2,5,4]" + (", %scale: f32[8]" if "%scale" in taker else "")
    found = rewritten(module_of(inputs, nodes, WEIGHTS), ScaleBeforeMoves())
    assert ("Mul" not in kinds(found)) is scaled


def test_scales_of_random_numbers_stay() -> None:
    """What the number multiplies has no operand: the noise of a text-to-speech model."""
    nodes = "%n = RandomNormal() {seed = 1, shape = [3,8]}  %t = Transpose(%n) {perm = [1,0]}  %y = Mul(%t, @half)"
    assert "Mul" in kinds(rewritten(module_of("%x: f32[3,8]", nodes, WEIGHTS), ScaleBeforeMoves()))


def test_scales_of_what_others_take_stay() -> None:
    nodes = "%n = RMSNorm(%x, @w)  %t = Transpose(%n) {perm = [1,0]}  %m = Mul(%t, @half)  %y = Add(%m, %t)"
    assert "Mul" in kinds(rewritten(module_of("%x: f32[3,8]", nodes, WEIGHTS), ScaleBeforeMoves()))


# ------------------------------------------------------------------------------------------------------------- indexing
@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        # a place of heads as torch.export's indexing gives it, and the rest of them
        (
            "%t = Transpose(%x) {perm = [2,0,1,3]}  %g = GatherND(%t, @last)  %y = Reshape(%g) {shape = [2,5,8]}",
            {"Slice": 1, "Reshape": 1},
        ),
        # all places in order, of two axes, and of one
        ("%y = GatherND(%m, @all)", {"Reshape": 1}),
        ("%f = Reshape(%m) {shape = [6]}  %y = Gather(%f, @places)", {"Reshape": 1}),
    ],
)
def test_indexing_by_constants_is_slices_and_shapes(nodes: str, left: dict[str, int]) -> None:
    pairs = ",".join(f"{i},{j}" for i in range(2) for j in range(3))
    constants = (
        f"constant @last = [-1] : i64[1,1]\nconstant @all = [{pairs}] : i64[2,1,3,2]\n"
        "constant @places = [0,1,2,3,4,5] : i64[2,1,3]\n"
    )
    inputs = "%x: f32[2,5,6,8]" if "%x" in nodes else "%m: f32[2,3]"
    module = module_of(inputs, nodes, constants)
    found = optimized(module, feeds_of(module), relative=0, absolute=0)
    assert kinds(found) == left


def test_indexing_by_what_is_given_stays() -> None:
    module = module_of("%x: f32[4,3], %i: i64[5,2]", "%y = GatherND(%x, %i)")
    Canonicalise().run(module, PassContext())
    Fuse().run(module, PassContext())
    assert kinds(module) == {"GatherND": 1}


@pytest.mark.parametrize("places", ["%i = Expand(%one) {shape = [8,5,5]}", "%i = Tile(%four) {repeats = [2,1,1]}"])
def test_places_of_relative_positions_in_merged_heads(places: str) -> None:
    """As in DeBERTa V2: the places are the same for the whole batch, or for all heads of it, but are not broadcast."""
    nodes = (
        "%a = Reshape(%x) {shape = [8,5,6]}  %t = Tile(%w) {repeats = [2,1,1]}  %m = MatMul(%a, %t)  "
        f"{places}  %g = GatherElements(%m, %i) {{axis = 2}}  %y = Reshape(%g) {{shape = [2,4,5,5]}}"
    )
    rng = np.random.default_rng(2)
    given = "%one: i64[1,5,5]" if "%one" in places else "%four: i64[4,5,5]"
    module = module_of(f"%x: f32[2,4,5,6], %w: f32[4,6,7], {given}", nodes)
    index = rng.integers(0, 7, static(module.main.inputs[2].type.dims))
    found = rewritten(module, SeparateScores(), given={module.main.inputs[2].name: index})
    assert [(n.op_type, n.output.type.dims) for n in found.main][-1] == ("GatherElements", (2, 4, 5, 5))
