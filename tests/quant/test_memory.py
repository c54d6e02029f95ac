"""Memory of quantization: it follows the model, not the number of samples."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uair
from tests.quant.networks import Builder
from uair.codegen.reference import Interpreter
from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.ops import Conv2D, GlobalAvgPool, Linear, Relu, Reshape
from uair.passes.quantization.equalise import choose_equalisations
from uair.passes.quantization.placement import plan_quantization
from uair.passes.quantization.weight_rounding import SeenInputs
from uair.quant.channel_range import ChannelRange
from uair.quant.scheme import Scheme

SIDE = 24
SAMPLE = 3 * SIDE * SIDE * 4
"""Bytes of a sample."""


def network() -> Module:
    b = Builder(1, 3, SIDE, SIDE)
    y = b.x
    for i, (m, k) in enumerate(((8, 3), (16, 8))):
        y = b.add(Relu(), b.add(Conv2D(pads=(1, 1, 1, 1)), y, b.weight(m, k, 3, 3, scale=0.1), name=f"conv{i}"))
    flat = b.add(Reshape(shape=(1, 16)), b.add(GlobalAvgPool(), y))
    return b.done(b.add(Linear(), flat, b.weight(5, 16), name="head"))


def sample(i: int) -> Array:
    return np.random.default_rng(i).normal(size=(3, SIDE, SIDE)).astype(np.float32)


def generated(n: int) -> Iterator[Array]:
    return (sample(i) for i in range(n))


def peak(work: Callable[[], Any], *, exact: bool = True) -> int:
    """Most bytes that are in use at once while it works.

    Graphs are cycles. How many that nobody needs are still there must not depend on what ran before: all older objects
    are set aside (the second collection sees that none is left), and those of the work are looked through often; but
    that takes long (`exact`). Python's own table of strings may double meanwhile, which is megabytes by chance: it does
    not do so twice.
    """
    usual = gc.get_threshold()
    if exact:
        gc.collect()
        gc.freeze()
        gc.collect()
        gc.set_threshold(100, 1, 1)
    try:
        return min(_traced(work) for _ in range(2 if exact else 1))
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def _traced(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def quantize(source: Any, n: int, **options: Any) -> uair.Module:
    return uair.quantize(network(), uair.Int8(source, samples=n, **options)).module


@pytest.mark.parametrize("effort", ["default", "high"])
def test_memory_does_not_grow_with_the_number_of_samples(
    effort: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uair.quant.spool.IN_MEMORY", 1 << 16)
    # More samples fill more bins, of which ranges make arrays in f64; after 64 there are few bins left to fill.
    few, many, histograms = (64, 160, 1 << 18) if effort == "high" else (64, 256, 1 << 16)
    for i in range(many):
        np.save(tmp_path / f"{i:03}.npy", sample(i))
    quantize(tmp_path, 2)  # imports
    exact = effort == "default"
    folder = [peak(lambda n=n: quantize(tmp_path, n, effort=effort), exact=exact) for n in (few, many)]  # type: ignore[misc]
    assert folder[1] < folder[0] + 4 * SAMPLE + histograms
    if effort == "high":
        return
    iterator = [peak(lambda n=n: quantize(generated(n), n, effort=effort)) for n in (few, many)]  # type: ignore[misc]
    entries = 256 * (many - few)  # of each sample its place, and a hash by which repeated ones are found
    assert iterator[1] < iterator[0] + 4 * SAMPLE + entries + histograms


def test_saving_the_calibration_does_not_hold_the_samples(tmp_path: Path) -> None:
    for i in range(96):
        np.save(tmp_path / f"{i:03}.npy", sample(i))
    quantize(tmp_path, 2)
    plain = peak(lambda: quantize(tmp_path, 96))
    saved = peak(lambda: quantize(tmp_path, 96, statistics=tmp_path / "calibration.json", keep_samples=0))
    assert saved < plain + 48 * SAMPLE  # half of the samples: histograms of all values take some


def test_memory_is_that_of_running_the_model_and_what_is_kept(tmp_path: Path) -> None:
    """Beside the model's own values there are eight samples and, for each activation, a histogram and a few copies."""
    module = network()
    np.save(tmp_path / "x.npy", np.stack([sample(i) for i in range(32)]))
    quantize(tmp_path / "x.npy", 2)
    running = peak(lambda: Interpreter(module).run({"x": sample(0)[None]}))
    assert peak(lambda: quantize(tmp_path / "x.npy", 32)) < 3 * running + 8 * SAMPLE + (1 << 18)


def test_moments_of_the_inputs_of_all_weights_are_not_in_memory_at_once() -> None:
    """Second moments take 160 * 160 * 4 bytes for each of 20 layers, to learn from and again to judge by."""
    width, layers, rng = 160, 20, np.random.default_rng(0)
    b = Builder(1, width)
    y = b.x
    for i in range(layers):
        y = b.add(Linear(), y, b.weight(width, width), name=f"linear{i}")
    plan = plan_quantization(b.done(y).main, Scheme())
    rows = rng.normal(size=(200, width)).astype(np.float32)

    def see() -> None:
        seen = SeenInputs(plan, ())
        for number in range(8):
            for item in plan.nodes:
                seen.see(number, item.node, rows)

    see()
    assert peak(see) < 2 * layers * width * width * 4 // 5


def test_a_wide_layer_is_not_looked_at_whole() -> None:
    """What noise is predicted of, weight by weight, is not in memory for a whole matrix of 4096 rows."""
    width, rows = 512, 4096
    b = Builder(1, width)
    module = b.done(b.add(Linear(), b.x, b.weight(rows, width), name="head"))
    plan = plan_quantization(module.main, Scheme())
    (item,) = plan.nodes
    channels = {t: ChannelRange.empty(1, static(t.type.dims)[1]) for t in (item.operand(0), item.node.output)}
    for seen in channels.values():
        seen.observe(np.random.default_rng(0).normal(size=(300, len(seen.low))).astype(np.float32))
    assert peak(lambda: choose_equalisations(plan, Scheme(), channels)) < rows * width * 2
