"""What it costs to form groups (`form-groups`), and how that grows with the graph.

```
python -m bench.group_scaling                  # the graph of bench/models.py with 10,000, 20,000 and 40,000 nodes
python -m bench.group_scaling --target cpu
```

CPU seconds of forming and of taking apart, the least of five runs in turn, and the ratio to the graph of half the size.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import uair
from bench.models import random_graph
from uair.ir.module import Module
from uair.passes.form_groups import FormGroups, InlineGroups
from uair.pipeline import PassContext


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measured(module: Module, target: str, runs: int) -> tuple[float, float, int]:
    """Least seconds of forming and of inlining, and the number of groups."""
    formed, inlined, groups = [], [], 0
    for _ in range(runs):
        formed.append(seconds(lambda: FormGroups(target=target).run(module, PassContext())))
        groups = sum(node.op_type == "Fused" for node in module.main)
        inlined.append(seconds(lambda: InlineGroups().run(module, PassContext())))
    return min(formed), min(inlined), groups


def main() -> int:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(prog="python -m bench.group_scaling", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--target", default="rk3588")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 20_000, 40_000])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    before = 0.0
    for size in options.sizes:
        module = uair.optimize(uair.load(random_graph(size)))
        nodes = len(module.main)
        formed, inlined, groups = measured(module, options.target, options.runs)
        ratio = f"{formed / before:.2f}" if before else "-"
        print(f"{size:6} nodes, {nodes:5} optimised, {groups:4} groups: {formed:.3f} s ({ratio}), back {inlined:.3f} s")
        before = formed
    return 0


if __name__ == "__main__":
    sys.exit(main())
