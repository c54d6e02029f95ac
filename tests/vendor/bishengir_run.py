"""Runs kernels that bishengir lowered to LLVM's dialect, on this machine; started by tests/vendor/bishengir.py.

Its Python is that of the vendor's environment, which has llvmlite. Arguments: a folder with kernel.llvm.mlir,
inputs.npz (arr_0, arr_1, ...) and outputs.json ([[shape, dtype], ...]); writes outputs.npz.
"""

# pyright: basic

from __future__ import annotations

import ctypes
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

llvm: Any = importlib.import_module("llvmlite.binding")  # only the vendor's environment has it

POINTER, INDEX = ctypes.c_void_p, ctypes.c_int64
NEEDLESS = ("getFileHandle", "closeFileHandle")


def stripped(text: str) -> str:
    """The module without what mlir-translate does not know: attributes of the vendor's dialects."""
    lines = []
    for line in text.split("\n"):
        if line.startswith("module attributes"):
            line = "module {"
        if line.lstrip().startswith("llvm.func"):
            line = re.sub(r" attributes \{.*\}(?= \{$|$)", "", line)
            line = re.sub(r"(: [^,{}()]+(?:\([^)]*\))?) \{[^{}]*\}", r"\1", line)
        line = re.sub(r" \{[^{}]*(hfusion|hacc|hivm|annotation)[^{}]*\}", "", line)
        if "llvm." in line and "loop" not in line:
            line = re.sub(r" \{[_a-zA-Z0-9.]+\}", "", line)
        lines.append(line)
    return "\n".join(lines)


def compiled(text: str) -> tuple[Any, Any]:
    """The module as machine code."""
    translate = Path(sys.executable).parent / "mlir-translate"
    command = [str(translate), "--allow-unregistered-dialect", "--mlir-to-llvmir"]
    ir = subprocess.run(command, input=stripped(text), capture_output=True, text=True, check=True).stdout
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(ir)
    module.verify()
    target = llvm.Target.from_default_triple()
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    machine = target.create_target_machine(cpu=cpu, features=features)
    names = [*NEEDLESS, *(f"_mlir_ciface_{k}Data{t}" for k in ("print", "get") for t in ("F16", "F32", "I8", "I32"))]
    nothing = ctypes.CFUNCTYPE(None)(lambda: None)
    for name in names:
        llvm.add_symbol(name, ctypes.cast(nothing, ctypes.c_void_p).value)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine, nothing


def descriptor(rank: int) -> Any:
    """The result type of a memref: two pointers, an offset, extents and strides."""
    fields: list[tuple[str, Any]] = [("base", POINTER), ("data", POINTER), ("offset", INDEX)]
    if rank:
        fields += [("sizes", INDEX * rank), ("strides", INDEX * rank)]
    return type("Descriptor", (ctypes.Structure,), {"_fields_": fields})


def call(address: int, inputs: list[Any], outputs: list[Any]) -> list[Any]:
    """Call the function with arrays; the arrays it gives."""
    kinds = [descriptor(len(shape)) for shape, _ in outputs]
    results = type("Results", (ctypes.Structure,), {"_fields_": [(f"r{i}", kind) for i, kind in enumerate(kinds)]})
    types = [t for x in inputs for t in (POINTER, POINTER, INDEX, *[INDEX] * (2 * x.ndim))]
    values = [
        v
        for x in inputs
        for v in (x.ctypes.data, x.ctypes.data, 0, *x.shape, *(stride // x.itemsize for stride in x.strides))
    ]
    given = ctypes.CFUNCTYPE(results, *types)(address)(*values)
    arrays = []
    for i, (shape, dtype) in enumerate(outputs):
        count = int(np.prod(shape))
        memory = ctypes.string_at(getattr(given, f"r{i}").data, count * np.dtype(dtype).itemsize)
        arrays.append(np.frombuffer(memory, dtype).reshape(shape))
    return arrays


def main(folder: Path) -> None:
    """Run the kernel of a folder."""
    with np.load(folder / "inputs.npz") as archive:
        inputs = [np.ascontiguousarray(archive[f"arr_{i}"]) for i in range(len(archive.files))]
    outputs = json.loads((folder / "outputs.json").read_text())
    engine, _kept = compiled((folder / "kernel.llvm.mlir").read_text())
    arrays = call(engine.get_function_address("kernel"), inputs, outputs)
    np.savez(folder / "outputs.npz", *arrays)


for name in sys.argv[1:]:
    main(Path(name))
