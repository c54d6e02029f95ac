"""Central differences, which gradients are held against where no framework is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tests.ops.drawing import draw, type_of
from uair.codegen.reference.differentiate import Differentiator
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.module import Module
from uair.ops.base import Operator, Sample
from uair.text import parse_type

STEP = 1e-5


def wide_operands(sample: Sample, seed: int = 0) -> list[Any]:
    """Operands of a sample with f64 for f32; values that are given are moved off their kinks, and made finite."""
    rng = np.random.default_rng(seed)
    made: list[Any] = []
    for operand in sample.operands:
        if operand is None:
            made.append(None)
            continue
        value = draw(parse_type(operand), rng) if isinstance(operand, str) else operand
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            value = np.clip(np.where(np.isfinite(value), value, 1.0), -100, 100).astype(np.float64)
            if not isinstance(operand, str):
                value = value + 0.03 * rng.uniform(0.5, 1, value.shape)
        made.append(value)
    return made


def widened(op: Operator) -> Operator:
    """The operator with f64 for every f32 in its attributes."""
    changes = {name: DType.F64 for name, value in op.attributes.items() if value is DType.F32}
    return attrs.evolve(op, **changes) if changes else op  # type: ignore[misc]


def is_float(value: Any) -> bool:
    """Whether a value is an array of f64."""
    return isinstance(value, np.ndarray) and value.dtype == np.float64


def module_of(op: Operator, operands: Sequence[Any]) -> tuple[Module, dict[str, Any]]:
    """A module of one node, floating-point operands and what is no array as inputs; and what to feed it."""
    graph = Graph()
    feeds: dict[str, Any] = {}
    given: list[Tensor | None] = []
    for i, value in enumerate(operands):
        if value is None:
            given.append(None)
        elif isinstance(value, np.ndarray) and not is_float(value):
            given.append(constant(value))
        else:
            feeds[f"x{i}"] = value
            given.append(graph.add_input(f"x{i}", type_of(value)))
    node = graph.append(op.node(*given, name="node"))
    for i, tensor in enumerate(node.outputs):
        graph.add_output(f"y{i}", tensor)
    return Module(graphs={"main": graph}), feeds


def seeds_of(outputs: dict[str, Any], rng: np.random.Generator) -> dict[str, Array]:
    """Random gradients of the floating-point outputs; 0 for scores that are masked."""
    return {
        name: np.where(np.isneginf(y), 0, rng.standard_normal(y.shape)) for name, y in outputs.items() if is_float(y)
    }


def assert_gradients(op: Operator, operands: Sequence[Any], tolerance: float = 1e-6, seed: int = 1) -> int:
    """Every operand's gradient, along a random direction, is the central difference; how many there were."""
    rng = np.random.default_rng(seed)
    module, feeds = module_of(op, operands)
    floats = [name for name, value in feeds.items() if is_float(value)]
    tensors = {name: module.main.input(name) for name in floats}
    differentiator = Differentiator(module, tensors.values())
    seeds: dict[str, Array] = {}

    def seed_all(outputs: dict[str, Any]) -> dict[str, Array]:
        seeds.update(seeds_of(outputs, rng))
        return seeds

    found = differentiator.run(feeds, seed_all).gradients

    def value(name: str, moved: Array) -> float:
        given = [moved if f"x{i}" == name else a for i, a in enumerate(operands)]
        results = op.evaluate_all(given)
        return sum(float((np.where(g != 0, results[int(n[1:])], 0) * g).sum()) for n, g in seeds.items())

    for name in floats:
        x = feeds[name]
        direction = rng.standard_normal(x.shape)
        slope = (value(name, x + STEP * direction) - value(name, x - STEP * direction)) / (2 * STEP)
        gradient = found.get(tensors[name], np.zeros(x.shape))
        assert gradient.shape == x.shape
        assert gradient.dtype == x.dtype
        np.testing.assert_allclose(float((gradient * direction).sum()), slope, rtol=tolerance, atol=tolerance)
    return len(floats)
