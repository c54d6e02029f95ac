"""Latency estimates beside what is measured or published.

```
python -m bench.latency
```

The estimate is that of plan.json: the sum over the nodes, each bound by arithmetic or transfers. The error is that of
the estimated time. Nothing here was run on a device: the figures are the vendors' own, or press; a throughput of a chip
that works on several images at once is given as time per image. What the estimates leave out (starting nodes, the
runtime, operators on the CPU) makes them too short; peaks that are never reached do the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import attrs
import numpy as np

import uair
from tests import zoo
from uair.ir.dtype import DType
from uair.passes.plan import Plan, plan
from uair.targets import DeviceDescription, load_description

DLA = 52.5
"""Dense INT8 TOPS of both deep learning accelerators of AGX Orin: half of the 105 TOPS stated with sparsity."""


@attrs.frozen
class Known:
    """A figure.

    Attributes:
        target: the device description.
        model: of the zoo, the one that the figure is about or the nearest.
        int8: whether it is quantized.
        milliseconds: per image.
        source: of the figure.
        note: how the two differ.
        shapes: of the inputs, when they are not those of the zoo.
    """

    target: str
    model: str
    int8: bool
    milliseconds: float
    source: str
    note: str = ""
    shapes: Mapping[str, tuple[int, ...]] = attrs.Factory(dict[str, tuple[int, ...]])


KNOWN = (
    Known("rk3588", "resnet50_real", True, 1e3 / 110.1, "rknn_model_zoo", "resnet50-v2 there, v1 here; one core"),
    Known("rk3588", "ppocr_det", True, 1e3 / 50.7, "rknn_model_zoo", "one core", {"x": (1, 3, 480, 480)}),
    Known("rk3588", "ppocr_rec", False, 1e3 / 73.9, "rknn_model_zoo", "one core"),
    Known("jetson_orin", "resnet50_real", True, 1e3 / 2037, "NVIDIA, JetPack 5.1.1", "both DLAs, MAXN, batch 2"),
    Known("hanguang800", "resnet50_real", True, 1e3 / 78563, "Hot Chips 2020", "throughput of four cores"),
)


def estimated(known: Known) -> Plan:
    """The plan of a known figure's model."""
    model = zoo.models()[known.model]
    shapes = {**model.shapes, **known.shapes}
    (sample,) = model.calibration(1)
    for name, shape in known.shapes.items():
        sample[name] = np.resize(sample[name], shape)
    quantize = uair.Int8([sample]) if known.int8 else None
    artifact = uair.compile(model.path, known.target, shapes=shapes, quantize=quantize, golden=False)
    module = uair.load(artifact.file("model.uair"))
    return plan(module, described(known))


def described(known: Known) -> DeviceDescription:
    """The device that a figure is about."""
    description = load_description(known.target)
    if known.target != "jetson_orin":
        return description
    compute = attrs.evolve(description.compute, peak={**description.compute.peak, DType.I8: DLA})
    return attrs.evolve(description, compute=compute, unit=())


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=(__doc__ or "").split("\n")[0])
    parser.parse_args(arguments)
    header = f"{'target':12} {'model':16} {'':7} {'known ms':>9} {'estimate':>9} {'error':>7}  {'confidence':10}"
    sys.stdout.write(f"{header} source\n")
    for known in KNOWN:
        made = estimated(known)
        milliseconds = made.seconds * 1e3
        left_out = f"; {made.unknown} nodes of unknown cost" if made.unknown else ""
        sys.stdout.write(
            f"{known.target:12} {known.model:16} {'INT8' if known.int8 else 'float16':7} {known.milliseconds:9.4f} "
            f"{milliseconds:9.4f} {milliseconds / known.milliseconds - 1:+7.0%}  {made.confidence.value:10} "
            f"{known.source}; {known.note}{left_out}\n"
        )
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
