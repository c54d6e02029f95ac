"""UAIR's cost model beside the compiler of rknn-toolkit2: cycles and memory of activations.

```
python -m bench.rknn_cycles                     # all convolutional models of the zoo, float16 and INT8
python -m bench.rknn_cycles --models yolo --mode int8
```

`within 1 %` is the share of the compiler's cycles in convolutions that UAIR predicts within 1 %. `all` adds what UAIR
estimates for the nodes whose cycles the compiler prints as 0. Memory is UAIR's placement of activations, the bytes that
live at one time (no placement can be smaller), and the compiler's "Total Internal Memory Size", which also holds
what its own rewrites need.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.vendor.rknn_cycles import measure

MODELS = (
    *("squeezenet_real", "resnet50_real", "shufflenet_real", "densenet121_real", "inception_v1_real"),
    *("inception_v2_real", "ppocr_cls", "ppocr_det", "ppocr_rec", "yolo"),
)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.rknn_cycles", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--mode", nargs="+", default=["float16", "int8"], choices=["float16", "int8"])
    given = parser.parse_args(arguments)
    header = f"{'model':20} {'mode':8} {'compiler':>11} {'predicted':>11} {'error':>7} {'within 1 %':>10} {'all':>11}"
    sys.stdout.write(f"{header} {'memory KiB':>11} {'live':>7} {'compiler':>9}\n")
    for name in given.models:
        for mode in given.mode:
            with tempfile.TemporaryDirectory(prefix="uair-cycles-") as folder:
                measured = measure(name, mode, Path(folder))
            found = measured.cycles
            exact = sum(p.compiler for p in found.pairs if abs(p.error) <= 0.01) / max(found.compiler, 1)
            sys.stdout.write(
                f"{name:20} {mode:8} {found.compiler:11,} {found.predicted:11,.0f} {found.error:+7.2%} {exact:10.1%} "
                f"{found.all_predicted:11,.0f} {measured.activations // 1024:11,} {measured.lower_bound // 1024:7,} "
                f"{measured.internal // 1024:9,}\n"
            )
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
