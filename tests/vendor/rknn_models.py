"""The real models that rknn-toolkit2 is held to: those of the zoo, and the ONNX files of packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from tests import zoo, zoo_onnx
from tests.zoo import CALIBRATION_SEED, Feeds

SAMPLES = 4
"""Calibration samples; light models get one, since their weights are all the same."""
BOUND: Mapping[str, Mapping[str, Any]] = {"silero_vad_op18_ifless": {"sr": 16000}}
"""Inputs that are given a value before compilation: they choose between graphs inside of the model."""


@attrs.frozen
class Candidate:
    """A model.

    Attributes:
        name: unique name.
        origin: package and version.
        values: inputs that are bound to a value, by name.
        feeds: one input, by name, without those that are bound.
        judged: whether results are compared; those of light models leave float16 and do not depend on the input.
    """

    name: str
    origin: str
    values: Mapping[str, Any]
    feeds: Feeds = attrs.field(repr=False)
    judged: bool
    _path: Callable[[], Path] = attrs.field(repr=False)
    _sample: Callable[[int], Feeds] = attrs.field(repr=False)

    @property
    def path(self) -> Path:
        """The file as published."""
        return self._path()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the inputs that are not bound."""
        return {name: array.shape for name, array in self.feeds.items()}

    def calibration(self) -> list[Feeds]:
        """Samples, none of them equal to `feeds`."""
        count = SAMPLES if self.judged else 1
        return [self._unbound(self._sample(CALIBRATION_SEED + i)) for i in range(count)]

    def _unbound(self, feeds: Feeds) -> Feeds:
        return {name: array for name, array in feeds.items() if name not in self.values}


def candidates() -> dict[str, Candidate]:
    """All models by name: the zoo's, then those of packages; nothing is fetched by this."""
    found: dict[str, Candidate] = {}
    for model in zoo.models().values():
        light = "light" in model.tags
        found[model.name] = Candidate(
            model.name, model.origin, {}, model.feeds(0), not light, _path(model), model.feeds
        )
    for packaged in zoo_onnx.MODELS.values():
        if packaged.name in found or packaged.origin.startswith("onnxruntime"):
            continue
        sample = _drawn(packaged.draws[0])
        bound = BOUND.get(packaged.name, {})
        feeds = {name: array for name, array in sample(0).items() if name not in bound}
        found[packaged.name] = Candidate(packaged.name, packaged.origin, bound, feeds, True, _path(packaged), sample)
    return found


def _path(model: Any) -> Callable[[], Path]:
    return lambda: Path(model.path)


def _drawn(draw: zoo_onnx.Draw) -> Callable[[int], Feeds]:
    return lambda seed: dict(draw(np.random.default_rng(seed)))
