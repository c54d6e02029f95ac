"""What rk3588's tool keeps in float, reads as integers everywhere, and rounds twice."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from tests.quant.networks import scheme_of
from uair.codegen.reference import run
from uair.ir import Module
from uair.ir.dtype import Array
from uair.ops import Dequantize, Quantize
from uair.passes.quantization.placement import MOVES, plan_quantization
from uair.passes.quantize_int8 import QuantizeInt8
from uair.pipeline import PassManager
from uair.quant.parameters import sqnr
from uair.quant.scheme import Scheme
from uair.text import parse_module

SCHEME = scheme_of("rk3588")
PLAIN = attrs.evolve(SCHEME, float_sums=False, one_value=False, symmetric_factors=False)


def transformer() -> Module:
    """An embedding with a constant token of small values, attention of one head, and a classifier of the token."""
    rng = np.random.default_rng(0)

    def weight(*shape: int, scale: float = 0.3) -> str:
        dims = ",".join(map(str, shape))
        return f"{rng.normal(0, scale, shape).ravel().round(3).tolist()} : f32[{dims}]"

    return parse_module(
        f"constant @w = {weight(8, 8)}  constant @k = {weight(8, 8)}  constant @v = {weight(8, 8)}  "
        f"constant @p = {weight(8, 8)}  constant @h = {weight(4, 8)}  constant @t = {weight(1, 1, 8, scale=0.02)}  "
        "constant @g = [1, 1, 1, 1, 1, 1, 1, 1] : f32[8]  constant @z = [0, 0, 0, 0, 0, 0, 0, 0] : f32[8]  "
        "constant @s = 0.35 : f32[]  %x: f32[1,15,8]  "
        "%e = Linear(%x, @w)  %c = Concat(@t, %e) {axis = 1}  %n = LayerNorm(%c, @g, @z)  "
        "%q = Linear(%n, @w)  %kk = Linear(%n, @k)  %vv = Linear(%n, @v)  %m = MatMul(%q, %kk) "
        "{trans_b = true}  %ms = Mul(%m, @s)  %a = Softmax(%ms)  %o = MatMul(%a, %vv)  %l = Linear(%o, @p)  "
        "%r = Add(%c, %l)  %f = Slice(%r) {axes = [1], starts = [0], ends = [1], steps = [1]}  "
        "%fn = LayerNorm(%f, @g, @z)  %y = Linear(%fn, @h)"
    )


def feeds(count: int, seed: int) -> list[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(0, 3, (1, 15, 8)).astype(np.float32)} for _ in range(count)]


def quantize(module: Module, scheme: Scheme, seed: int) -> None:
    PassManager([QuantizeInt8(samples=feeds(16, seed), scheme=scheme, least_cosine=0.0)]).run(module)


def operands(scheme: Scheme) -> dict[str, tuple[int, ...]]:
    return {item.node.output.name: item.activations for item in plan_quantization(transformer().main, scheme).nodes}


def test_sums_that_only_float_reads_are_float() -> None:
    plain, found = operands(PLAIN), operands(SCHEME)
    assert plain["r"] == (0, 1)
    assert found["r"] == (1,), "the layer's result is integers, the stream is not"
    assert plain["ms"] == found["ms"] == (0,)
    assert "f" in plain and "f" not in found
    why = {node.output.name: reason for node, reason in plan_quantization(transformer().main, SCHEME).float_nodes}
    assert why["f"] == MOVES


def test_a_sum_that_integers_read_stays_on_integers() -> None:
    module = parse_module(
        "constant @w = [1, 2, 3, 4] : f32[2,2]  constant @g = [1, 1] : f32[2]  %x: f32[1,3,2]  %a = Linear(%x, @w)  "
        "%s = Add(%a, %x)  %n = LayerNorm(%s, @g, @g)  %b = Linear(%s, @w)  %d = Linear(%n, @w)  %y = Add(%b, %d)"
    )
    found = {item.node.output.name: item.activations for item in plan_quantization(module.main, SCHEME).nodes}
    assert found["s"] == (0, 1)


def test_a_sum_of_floats_is_no_node_of_the_plan() -> None:
    module = parse_module(
        "constant @w = [1, 2, 3, 4] : f32[2,2]  constant @g = [1, 1] : f32[2]  %x: f32[1,3,2]  "
        "%n = LayerNorm(%x, @g, @g)  %s = Add(%n, %x)  %m = LayerNorm(%s, @g, @g)  %y = Linear(%m, @w)"
    )
    plan = plan_quantization(module.main, attrs.evolve(SCHEME, islands=True))
    assert [item.node.output.name for item in plan.nodes] == ["y"]
    assert "s" in {node.output.name for node, _ in plan.float_nodes}


def test_what_is_quantized_for_one_reader_is_integers_for_all() -> None:
    module = transformer()
    scheme = attrs.evolve(SCHEME, float_sums=False)  # the sum reads the stream as integers, LayerNorm would not
    for kept, dequantized in ((scheme, True), (attrs.evolve(scheme, one_value=False), False)):
        found = module.clone()
        quantize(found, kept, 1)
        first = next(node for node in found.main if node.op_type == "LayerNorm").inputs[0]
        assert first is not None and first.producer is not None
        assert isinstance(first.producer.op, Dequantize) == dequantized


def test_factors_have_zero_points_of_0() -> None:
    module = transformer()
    quantize(module, SCHEME, 1)
    for node in module.main:
        if node.op_type == "MatMul":
            for tensor in node.inputs:
                assert tensor is not None and tensor.producer is not None
                stored = tensor.producer.inputs[0]
                assert stored is not None and stored.producer is not None
                assert isinstance(stored.producer.op, Quantize)
                zero = stored.producer.inputs[2]
                assert zero is not None and not zero.numpy().any()


@pytest.mark.parametrize("seed", [2, 3])
def test_a_stream_in_float_is_nearer_to_the_float_model(seed: int) -> None:
    exact = transformer()
    ratios: list[float] = []
    for scheme in (attrs.evolve(SCHEME, float_sums=False), SCHEME):
        module = exact.clone()
        quantize(module, scheme, seed)
        ratios.append(float(np.mean([sqnr(run(exact, f)["y"], run(module, f)["y"]) for f in feeds(4, 77)])))
    assert ratios[1] > ratios[0] + 3
