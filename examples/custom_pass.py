"""A pass of one's own, with an option, run between UAIR's.

```console
python examples/custom_pass.py
uair opt model.onnx --plugin examples/custom_pass.py -p "canonicalise,prune-weights{share=0.2},fuse"
```

A package of yours makes it known to `uair opt -p "canonicalise,prune-weights{share=0.2},fuse"` by an entry point:

```toml
[project.entry-points."uair.passes"]
prune-weights = "mypackage.passes:PruneWeights"
```
"""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import numpy as np

import uair
from uair.context import Context
from uair.ir import Module
from uair.pipeline import Measure, Verify
from uair.pipeline_syntax import parse_pipeline

MODEL = Path(__file__).resolve().parent / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"


@attrs.frozen
class PruneWeights(uair.Pass):
    """Set the smallest weights of every convolution to zero.

    Attributes:
        share: how many of them, from 0 to 1.
    """

    share: float = 0.1

    def run(self, module: Module, context: uair.PassContext) -> bool:
        pruned = 0
        for node in module.main:
            weight = node.operand("w") if node.op_type == "Conv2D" else None
            if weight is None or not weight.is_constant or not context.fuel.draw(self.name, node):
                continue
            values = weight.numpy()
            small = np.abs(values) < np.quantile(np.abs(values), self.share)
            node.set_input(1, uair.constant(np.where(small, 0, values).astype(values.dtype), weight.name))
            pruned += int(small.sum())
        context.reports[self.name] = {"pruned": pruned}
        return pruned > 0


def main() -> int:
    """Run a pipeline with the pass over the example model; return the exit status."""
    own = Context.default()
    known = attrs.evolve(own, passes={**own.passes, PruneWeights.name: PruneWeights})
    passes = parse_pipeline("canonicalise,prune-weights{share=0.02},fuse", known)

    module = uair.load(MODEL)
    image = np.random.default_rng(0).normal(size=(1, 3, 48, 192)).astype(np.float32)
    (before,) = uair.run(module, image).values()
    manager = uair.PassManager(passes, [Verify(), measure := Measure()])
    manager.run(module)
    (after,) = uair.run(module, image).values()

    for record in measure.records:
        print(f"{record.name:28}{record.nodes:4} nodes")
    print(f"weights set to zero: {manager.context.reports['prune-weights']['pruned']}")
    print(f"greatest difference of the outputs: {np.abs(after - before).max():.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
