"""A rewrite rule of one's own: a pattern, a check, a rewrite.

```console
python examples/custom_rule.py
uair why-not mean-for-global-pool model.onnx --plugin examples/custom_rule.py
uair opt model.onnx --plugin examples/custom_rule.py -p "canonicalise,apply-rules{rules=[mean-for-global-pool]},fuse"
```

Some devices have no global pooling, but a mean over axes. The rule is all that is needed to say so; the driver finds
the places, keeps the original names in the locations of the new nodes, and refuses a result of another type.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import uair
from uair.ops import GlobalAvgPool, ReduceMean

MODEL = Path(__file__).resolve().parent / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"


class MeanForGlobalPool(uair.Rule):
    """A global average pool is a mean over height and width."""

    def pattern(self, x: Any) -> Any:
        return GlobalAvgPool()(x)

    def check(self, x: Any) -> Any:
        return x.type.rank == 4 or uair.no("only images have height and width", x)

    def rewrite(self, x: Any) -> Any:
        return ReduceMean(axes=(2, 3), keepdims=True)(x)


def main() -> int:
    """Apply the rule to the example model and compare the outputs; return the exit status."""
    module = uair.load(MODEL)
    image = np.random.default_rng(0).normal(size=(1, 3, 48, 192)).astype(np.float32)
    (before,) = uair.run(module, image).values()

    context = uair.PassContext()
    context.apply_rules(module, [MeanForGlobalPool()])

    (after,) = uair.run(module, image).values()
    replaced = [node for node in module.main if node.op_type == "ReduceMean"]
    print(f"applied {len(replaced)} times, for instance at {replaced[0].loc}")
    print(f"greatest difference of the outputs: {np.abs(after - before).max():.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
