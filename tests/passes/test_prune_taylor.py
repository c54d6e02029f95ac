"""The Taylor criterion of channel pruning, and what a target's device file says of the number of channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.passes.pruning_helpers import conv, dense, residual, transformer
from tests.quant.networks import Builder
from uair.codegen.reference import Differentiator, Interpreter, NoGradientError
from uair.ir.dims import static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor, constant
from uair.ir.module import Module
from uair.ops import Add, Concat, Conv2D, Dequantize, GlobalAvgPool, IntegerLinear, MatMul, Quantize, Relu, Reshape
from uair.passes.prune_channels import PruneChannels
from uair.passes.pruning.criteria import Probe, collect_readings
from uair.passes.pruning.groups import find_groups
from uair.passes.pruning.propagate import label_graph
from uair.passes.pruning.taylor import gate_gradients, rank_by_gates, reads_of
from uair.pipeline import PassContext
from uair.quant.scheme import CONVOLUTIONS

Sample = dict[str, Array]


def samples(count: int, *shape: int) -> list[Sample]:
    rng = np.random.default_rng(7)
    return [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(count)]


def one_number(b: Builder, x: Tensor) -> Module:
    """A number that is linear in every channel of x."""
    channels = static(x.type.dims)[1]
    pooled = b.add(Reshape(shape=(1, channels)), b.add(GlobalAvgPool(), x))
    return b.done(dense(b, pooled, 1))


def linear(kernel: int = 3) -> Module:
    b = Builder(1, 3, 8, 8)
    x = b.add(Relu(), conv(b, b.x, 6))
    return one_number(b, conv(b, x, 4, kernel))


def read_twice(kernel: int = 3) -> Module:
    """A residual block and a Concat: channels that several layers read."""
    b = Builder(1, 3, 8, 8)
    x = b.add(Relu(), conv(b, b.x, 6))
    return one_number(b, b.add(Concat(axis=1), conv(b, x, 4, kernel), conv(b, b.add(Add(), x, x), 3, kernel)))


def depthwise(kernel: int = 3) -> Module:
    b = Builder(1, 3, 8, 8)
    x = b.add(Relu(), conv(b, b.x, 6))
    return one_number(b, conv(b, conv(b, x, 6, kernel, groups=6), 4, 1))


def attention(_: int = 3) -> Module:
    """Queries and keys go together, and are summed over by a product of activations."""
    b = Builder(1, 5, 8)
    q, k = (dense(b, b.x, 6) for _ in range(2))
    scores = b.add(MatMul(trans_b=True), q, k)
    return b.done(dense(b, b.add(Reshape(shape=(1, 25)), scores), 1))


@pytest.mark.parametrize("shifts", [False, True], ids=["removed", "by its mean"])
@pytest.mark.parametrize("make", [linear, read_twice, depthwise, attention], ids=lambda f: f.__name__)
def test_the_importance_is_the_noise_where_the_output_is_linear(make: Callable[[int], Module], shifts: bool) -> None:
    """Where the output is one number, and linear in every channel, first order is all, and signs do nothing.

    What is put in for a channel that goes is a mean over places; padding, which is not among them, is left out here.
    """
    module = make(1 if shifts else 3)
    data = samples(6, *static(module.main.inputs[0].type.dims))
    labelling = label_graph(module.main)
    groups, _ = find_groups(labelling)
    readings = collect_readings(labelling, Interpreter(module), data)
    means = {node: r.mean.mean(axis=1) for node, r in readings.items() if r.can_shift} if shifts else {}
    gradients = gate_gradients(module, labelling, Differentiator, data, means)
    probe = Probe(module, labelling, Interpreter, data)
    assert groups
    for ranking in rank_by_gates(groups, gradients):
        np.testing.assert_allclose(np.diff(ranking.noise).sum(), ranking.noise[-1], rtol=1e-6)
        for atom, noise in zip(ranking.order.tolist(), np.diff(ranking.noise).tolist(), strict=True):
            one = np.array([atom])
            measured = probe.without(readings, one) if shifts else probe.noise(probe.removed({atom}, {}))
            assert noise == pytest.approx(measured, rel=2e-3, abs=1e-7)


def test_what_is_shared_is_gated_wherever_it_is_read() -> None:
    module = residual()
    labelling = label_graph(module.main)
    assert reads_of(labelling) == [n for n in module.main if n.op_type in (*CONVOLUTIONS, "Linear")][1:]
    products = [n for n in reads_of(label_graph(transformer().main)) if n.op_type == "MatMul"]
    assert len(products) == 2, "queries by keys; probabilities are no channels"


def test_layers_compare_by_what_they_do_to_the_outputs() -> None:
    """Twins of which one is hardly heard: it goes first, though its weights are the same."""
    b = Builder(1, 3, 8, 8)
    quiet = conv(b, b.add(Relu(), conv(b, b.x, 8)), 4)
    loud = conv(b, b.add(Relu(), conv(b, b.x, 8)), 4)
    quarter = b.weight(4, 4, 1, 1, scale=0.003)
    x = b.add(Add(), b.add(Conv2D(), quiet, quarter), loud)
    pooled = b.add(Reshape(shape=(1, 4)), b.add(GlobalAvgPool(), x))
    module = b.done(dense(b, pooled, 5))
    first: Node = next(iter(module.main))
    context = PassContext()
    data = samples(12, 1, 3, 8, 8)
    PruneChannels(flops=0.8, least=1, criterion="taylor", compensate="none", samples=data).run(module, context)
    removed = {
        layer["name"]: len(layer["removed"])
        for entry in context.reports["pruning"]["groups"]
        for layer in entry["layers"]
    }
    assert removed.pop(first.name) > 0
    outside = {producer.name for t in (quiet,) if (producer := t.producer) is not None}
    assert not any(count for name, count in removed.items() if name not in outside)


def test_equal_seeds_give_equal_models() -> None:
    kept = []
    for _ in range(2):
        module = residual()
        PruneChannels(flops=0.8, criterion="taylor", samples=samples(12, 1, 3, 8, 8)).run(module, PassContext())
        kept.append([static(node.output.type.dims) for node in module.main])
    assert kept[0] == kept[1]


def test_an_operator_without_a_gradient_is_named() -> None:
    pruning = PruneChannels(flops=0.8, criterion="taylor", samples=samples(8, 1, 3, 8, 8))
    with pytest.raises(NoGradientError, match="no gradient through IntegerLinear") as caught:
        pruning.run(integers_behind(), PassContext())
    assert "of integers" in caught.value.place


def integers_behind() -> Module:
    """A product of integers between the last layer and the output."""
    module = wide()
    last = module.main.outputs[0]
    node = Quantize(dtype=DType.I8).node(last, constant(np.float32(0.1)))
    module.main.append(node)
    width = static(last.type.dims)[-1]
    product = IntegerLinear().node(node.output, constant(np.eye(width, dtype=np.int8)), name="of integers")
    module.main.append(product)
    back = Dequantize().node(product.output, constant(np.float32(0.1)))
    module.main.append(back)
    module.main.set_output(0, back.output)
    return module


def test_by_itself_the_criterion_is_what_the_model_allows() -> None:
    for module, expected in ((wide(), "taylor"), (integers_behind(), "output")):
        context = PassContext()
        PruneChannels(flops=0.8, samples=samples(8, 1, 3, 8, 8)).run(module, context)
        report = context.reports["pruning"]
        assert report["summary"]["criterion"] == expected
        assert any("no gradient through IntegerLinear" in note for note in report["notes"]) == (expected == "output")
    context = PassContext()
    PruneChannels(flops=0.8).run(wide(), context)
    assert context.reports["pruning"]["summary"]["criterion"] == "norm"


# -------------------------------------------------------------------------------------------------------------- targets
def channels_of(module: Module) -> list[int]:
    return [static(node.output.type.dims)[1] for node in module.main if node.op_type == "Conv2D"]


def wide() -> Module:
    b = Builder(1, 3, 8, 8)
    x = b.x
    for _ in range(3):
        x = b.add(Relu(), conv(b, x, 128))
    return one_number(b, x)


@pytest.mark.parametrize(
    ("options", "multiple"),
    [
        ({"target": "rk3588"}, 32),
        ({"target": "ascend310"}, 32),
        ({"target": "mlu370"}, 64),
        ({"target": "horizon_x3"}, 4),
        ({"target": "rk3588", "multiple": 8}, 8),
        ({"target": "rk3588", "multiple": 1}, 1),
        ({"target": "cpu"}, 1),
        ({}, 1),
    ],
    ids=str,
)
def test_channels_are_multiples_of_what_the_target_computes_at_a_time(
    options: dict[str, object], multiple: int
) -> None:
    module, context = wide(), PassContext()
    PruneChannels(flops=0.55, criterion="norm", **options).run(module, context)  # type: ignore[arg-type]
    assert context.reports["pruning"]["summary"]["multiple"] == multiple
    found = channels_of(module)
    assert all(c % multiple == 0 for c in found)
    assert found != [128] * 3
    if multiple == 1:
        assert any(c % 4 for c in found)
