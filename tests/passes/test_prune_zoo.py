"""Channel pruning on real graphs: channels of zeros go, and nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

import uair
from tests import zoo
from tests.passes.pruning_helpers import doubled, draw, labelled, without, zeroed
from uair.api import run_pipeline
from uair.codegen.reference import Interpreter
from uair.passes.pruning.groups import find_groups

MODELS = {
    "ppocr_cls": 20,  # depthwise convolutions, gates, residual sums
    "squeezenet_real": 20,  # Concat
    "shufflenet_real": 13,  # grouped convolutions, shuffles
    "densenet121_real": 100,  # Concat of Concat, BatchNorm in front of convolutions
    "inception_v1_real": 50,
    "yolo": 40,  # Split, Concat, Resize, residual sums
    "ppocr_rec": 20,
    "ppocr_det": 20,
    "bert": 8,  # heads, hidden units
}
"""With the least number of groups that must be found."""
READ = ("ppocr_rec", "ppocr_det")
"""Models that add numbers to channels of zeros."""
DOUBLE = ("ppocr_rec",)
"""Models that amplify roundings a thousand times when channels are zeros: they are judged in float64."""


@pytest.mark.parametrize("name", MODELS)
def test_channels_of_zeros_change_nothing(name: str) -> None:
    model = zoo.models()[name]
    module = uair.load(model.path)
    run_pipeline(module, "canonicalise,fuse", shapes=dict(model.shapes), instruments=())
    labelling, groups = labelled(module)
    assert len(groups) >= MODELS[name]
    atoms = draw(groups, np.random.default_rng(0), share=0.25)
    zeros = zeroed(module, labelling, atoms, read=name in READ)
    pruned = without(zeros, labelled(zeros)[0], atoms)
    feeds, tolerance = model.feeds(seed=1), 1e-5
    if name in DOUBLE:
        zeros, pruned, tolerance = doubled(zeros), doubled(pruned), 1e-12
        feeds = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in feeds.items()}
    want, got = Interpreter(zeros).run(feeds), Interpreter(pruned).run(feeds)
    for output, expected in want.items():
        limit = tolerance * max(float(np.abs(expected).max()), 1e-6)
        np.testing.assert_allclose(got[output], expected, rtol=0, atol=limit)


def test_whole_layers_are_covered() -> None:
    """Every convolution of a ResNet but those that end in the classes can lose channels."""
    model = zoo.models()["light_resnet50"]
    module = uair.load(model.path)
    run_pipeline(module, "canonicalise,fuse", shapes=dict(model.shapes), instruments=())
    groups, fixed = find_groups(labelled(module)[0])
    makers = {node for group in groups for node in group.producers}
    assert sum(node.op_type == "Conv2D" for node in makers) == 53
    assert [node.op_type for node in fixed] == ["Linear"]
    assert max(len(group.producers) for group in groups) == 7  # the third stage: six blocks and the projection
