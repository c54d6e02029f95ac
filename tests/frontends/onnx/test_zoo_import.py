"""The models of the zoo: every one imports and verifies; what importing costs."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import zoo
from uair.frontends.onnx import load
from uair.ir.data import ArrayData, MappedData
from uair.ir.verify import verify

COST = """
import resource, sys, time
from uair.frontends.onnx import load
import uair.ir.verify
load(sys.argv[2])  # imports whatever is imported late
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
load(sys.argv[1])
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("name", sorted(zoo.models()))
def test_every_model_imports_and_verifies(name: str) -> None:
    module = load(zoo.models()[name].path)
    counted = Counter(node.op_type for node in module.main)
    message = f"{len(module.main)} nodes: {dict(counted.most_common())}"
    verify(module)
    assert not counted["Opaque"], message
    assert all(t.type.shape is not None for node in module.main for t in node.outputs), message


def test_large_weights_are_views_of_the_file() -> None:
    module = load(zoo.models()["resnet50_real"].path)
    data = {t.data for t in module.main.constants()}
    assert sum(d.nbytes for d in data if isinstance(d, MappedData)) > 95 << 20
    assert sum(d.nbytes for d in data if isinstance(d, ArrayData)) < 1 << 20


def test_importing_98_mib_costs_little() -> None:
    """Measured: 0.02 s of CPU time and 2 MiB; the limits leave room for slow and shared machines."""
    models = zoo.models()
    command = [sys.executable, "-c", COST, str(models["resnet50_real"].path), str(models["light_zfnet512"].path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    seconds, kilobytes = map(float, done.stdout.split())
    assert kilobytes < 20 * 1024
    assert seconds < 0.5
