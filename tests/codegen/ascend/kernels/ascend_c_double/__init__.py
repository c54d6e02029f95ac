"""Building operators in Ascend C with g++ and the double beside this file, and running them on the CPU."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from uair.codegen.ascend.kernels.ascend_c import Plan
from uair.codegen.ascend.kernels.ascend_c_package import package
from uair.codegen.ascend.kernels.chips import CHIPS
from uair.codegen.ascend.kernels.custom_op import CustomOp
from uair.codegen.ascend.kernels.program import Program
from uair.context import Context
from uair.ir import Array

FOLDER = Path(__file__).parent


@attrs.frozen
class Binary:
    """An operator as a program of this machine.

    Attributes:
        path: the executable.
        target: the chip.
    """

    path: Path
    target: str

    def run(
        self, program: Program, inputs: Sequence[Array], shapes: Sequence[Sequence[int]], *, cores: int, ub: int = 0
    ) -> tuple[list[Array], int]:
        """The outputs and the number of cores that worked.

        Args:
            program: types and sizes of inputs and outputs.
            inputs: arrays.
            shapes: of the tensors, as the host sees them.
            cores: of the chip.
            ub: bytes of a core's unified buffer; the chip's when not given.
        """
        folder = self.path.parent
        for i, x in enumerate(inputs):
            (folder / f"x{i}").write_bytes(np.ascontiguousarray(x).tobytes())
        for i, v in enumerate(program.outputs):
            (folder / f"y{i}.size").write_text(str(program.size(v) * v.dtype.bits // 8))
        space = ub or Context.default().target(self.target).description.memory_level("UB").bytes
        command = [str(self.path), str(cores), str(space), str(folder), *(",".join(map(str, s)) for s in shapes)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        *sizes, used = map(int, done.stdout.split())
        assert sizes == [program.size(v) for v in program.outputs], "InferShape"
        arrays = [
            np.fromfile(folder / f"y{i}", v.dtype.numpy).reshape(program.shape(v))
            for i, v in enumerate(program.outputs)
        ]
        return arrays, used


def built(op: CustomOp, layout: Plan, target: str, folder: Path) -> Binary:
    """Compile an operator for this machine; warnings are errors."""
    chip = CHIPS[target]
    for path, text in package(op, layout, chip).items():
        (folder / Path(path).name).write_text(text) if "op_kernel" not in path else (folder / "kernel.cpp").write_text(
            text
        )
    ports = [f"memory[{i}].data()" for i in range(len(op.ports))]
    defines = {
        "OP_KERNEL": '"kernel.cpp"',
        "OP_HOST": f'"{op.module}.cpp"',
        "KERNEL_CALL": f"{op.module}({', '.join([*ports, 'workspace', 'tiling'])})",
    }
    command = ["g++", "-std=c++17", "-Wall", "-Werror", "-Wno-unknown-pragmas", f"-I{FOLDER}", f"-I{folder}"]
    command += ["-DEXACT_TAIL"] * chip.exact_tail + [f"-D{name}={value}" for name, value in defines.items()]
    command += [str(FOLDER / "main.cpp"), "-o", str(folder / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return Binary(folder / "run", target)
