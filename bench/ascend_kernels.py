"""Kernels for Ascend 910B in front of the vendor's compiler: which ones it takes, and how exact they are.

    make vendor-bishengir
    python -m bench.ascend_kernels [--model bert resnet50_real ...] [--int8]

Every distinct kernel of every model is given to bishengir-compile, run on the CPU after the vendor's lowering, and
compared with the interpreter. The exit status is 1 when one is refused or wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import attrs
import numpy as np

from tests.codegen.ascend.kernels.cases import error, inputs_of, kernels_of, legalised, reference
from tests.vendor import bishengir
from uair.codegen.ascend.kernels.named import NamedKernel
from uair.codegen.ascend.kernels.program import Verb
from uair.ir import DType

MODELS = ("bert", "resnet50_real")
LIMITS = {DType.F16: 1e-3, DType.F32: 1e-5}


@attrs.frozen
class Row:
    """One kernel.

    Attributes:
        accepted: whether the vendor's front half takes it.
        error: the greatest difference, see `error`; for i8 results in steps, 1 where a float lies between two.
        is_right: whether that is within the limit.
    """

    model: str
    name: str
    interface: DType
    uses: int
    axes: tuple[int, ...]
    accepted: bool
    stage: str
    error: float
    is_right: bool

    def __str__(self) -> str:
        taken = "accepted" if self.accepted else "REFUSED"
        right = "" if self.is_right else "  WRONG"
        axes = "x".join(map(str, self.axes))
        return (
            f"{self.model:14} {self.name:34} {self.interface!s:4} {self.uses:3} {axes:>12} {taken:9}"
            f" {self.error:8.1e} after {self.stage}{right}"
        )


def measured(model: str, named: NamedKernel, interface: DType, folder: Path) -> Row:
    """Give a kernel to the vendor's tool and compare it with the interpreter."""
    kernel, nodes = named.uses[0]
    accepted = bishengir.accepts(named.program, folder).accepted
    inputs = inputs_of(kernel)
    got = bishengir.run(named.program, inputs, folder)
    cube = Verb.MATMUL in named.program.verbs
    want = named.program.evaluate(inputs) if cube else reference(kernel, nodes, inputs)
    worst, right = 0.0, True
    for ours, theirs in zip(got, want, strict=True):
        whole = theirs.dtype == np.int8
        found = float(np.abs(ours.astype(int) - theirs).max()) if whole else error(ours, theirs)
        worst, right = max(worst, found), right and found <= (1 if whole else LIMITS[interface])
    stage = bishengir.stage(named.program)
    return Row(model, named.name, interface, len(named.uses), named.program.sizes, accepted, stage, worst, right)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=MODELS, help="models of the zoo")
    parser.add_argument("--int8", action="store_true", help="the quantized models")
    given = parser.parse_args()
    rows: list[Row] = []
    for model in given.model:
        module = legalised(model, int8=given.int8)
        for interface in (DType.F16,) if given.int8 else (DType.F16, DType.F32):
            for named in kernels_of(module, interface=interface, least=1):
                with tempfile.TemporaryDirectory() as folder:
                    rows.append(measured(model, named, interface, Path(folder)))
                sys.stdout.write(f"{rows[-1]}\n")
                sys.stdout.flush()
    taken, right = sum(row.accepted for row in rows), sum(row.is_right for row in rows)
    sys.stdout.write(f"{taken} of {len(rows)} accepted, {right} of {len(rows)} within the limit\n")
    return int(min(taken, right) < len(rows))


if __name__ == "__main__":
    raise SystemExit(main())
