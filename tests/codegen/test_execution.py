"""A run that goes on node by node gives what a run in one go gives, and can be changed on the way."""

from __future__ import annotations

import numpy as np
import pytest

from tests.quant.networks import all_products, samples, small_cnn
from uair.codegen.reference import Interpreter
from uair.ir.module import Module


@pytest.mark.parametrize("module", [small_cnn(), all_products()], ids=["cnn", "products"])
def test_runs_beside_each_other_do_not_disturb_one_another(module: Module) -> None:
    shape = tuple(int(str(d)) for d in module.main.inputs[0].type.dims)
    interpreter = Interpreter(module)
    feeds = samples(3, shape)
    runs = [interpreter.start(each) for each in feeds]
    for node in module.main:
        for run in runs:
            assert run.node is node
            results = run.advance()
            assert [r.shape for r in results] == [t.type.shape for t in node.outputs]
    for run, each in zip(runs, feeds, strict=True):
        assert run.node is None
        want = interpreter.run(each)
        got = run.outputs()
        assert set(got) == set(want)
        assert all(np.array_equal(got[name], want[name]) for name in want)


def test_operands_and_results_can_be_replaced() -> None:
    module = small_cnn()
    stem, relu, *_ = module.main
    run = Interpreter(module).start(samples(1)[0])
    (plain,) = run.advance({2: np.zeros(8, np.float32)})
    run.replace(stem.output, -np.ones_like(plain))
    assert run.node is relu
    (result,) = run.advance()
    assert not result.any(), "what is negative everywhere, ReLU makes 0"
    again = Interpreter(module).start(samples(1)[0])
    (biased,) = again.advance()
    bias = stem.inputs[2]
    assert bias is not None
    assert np.allclose(biased - plain, bias.numpy().reshape(1, -1, 1, 1), atol=1e-5)
