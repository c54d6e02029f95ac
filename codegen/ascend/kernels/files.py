"""The kernels/ folder of an artifact: kernels of the module's groups in the languages of the chip, and what they are.

    kernels/manifest.json   every kernel: its files, its inputs and outputs, and the nodes that it stands for
    kernels/NAME.mlir       for bishengir-compile (Ascend 910B), with build.sh
    kernels/tbe/            operators in TBE DSL (Ascend 310), with op_proto/ and framework/ a custom operator package
    kernels/ascendc/        a custom operator package in Ascend C (Ascend 310P, 310B, 910B)
    kernels/constants.npz   inputs of kernels that are no tensors of the model, such as folded biases

Nothing of it is needed to run ATC on the model: ATC has kernels of its own for every operator. These replace several
operators by one pass over memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from uair.artifact import ArtifactBuilder, to_json
from uair.codegen.ascend.kernels.ascend_c_package import ascend_c_sources
from uair.codegen.ascend.kernels.chips import CHIPS, Chip
from uair.codegen.ascend.kernels.group import Refusal, takes_all
from uair.codegen.ascend.kernels.lower import Argument
from uair.codegen.ascend.kernels.mlir import mlir_refusal, mlir_sources
from uair.codegen.ascend.kernels.named import NamedKernel, Sources, named_kernels
from uair.codegen.ascend.kernels.program import Program, Value, Verb
from uair.codegen.ascend.kernels.tbe import tbe_sources
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.targets.description import DeviceDescription

FOLDER, MANIFEST, CONSTANTS = "kernels", "manifest.json", "constants.npz"
SCHEMA = 1
Write = Callable[[Sequence[NamedKernel], Chip, DeviceDescription], Sources]
LANGUAGES: Mapping[str, Write] = {"mlir": mlir_sources, "tbe": tbe_sources, "ascendc": ascend_c_sources}
REFUSALS: Mapping[str, Refusal] = {"mlir": mlir_refusal}
"""By language, why a program is not one kernel; the first language of a chip decides on groups."""


@attrs.frozen
class KernelFiles:
    """What `kernels` makes.

    Attributes:
        texts: by path in the kernels/ folder.
        arrays: of constants.npz, by key; without any there is no such file.
    """

    texts: Mapping[str, str]
    arrays: Mapping[str, Array]


def kernels(module: Module, description: DeviceDescription) -> KernelFiles:
    """The files of the kernels/ folder; none when the chip has no kernels or the module no group of operators.

    Args:
        module: legalised, in plain layouts.
        description: of the chip.
    """
    chip = CHIPS.get(description.name)
    if chip is None:
        return KernelFiles({}, {})
    refusal = REFUSALS.get(chip.languages[0], takes_all)
    found = named_kernels(module.main, refusal=refusal, matrices="mlir" in chip.languages)
    if not found:
        return KernelFiles({}, {})
    texts: dict[str, str] = {}
    arrays: dict[str, Array] = {}
    rows = [_row(each, module.main, arrays) for each in found]
    for language in chip.languages:
        sources = LANGUAGES[language](found, chip, description)
        texts.update(sources.texts)
        for row in rows:
            row["sources"].append({"language": language, **sources.rows[row["name"]]})
    texts[MANIFEST] = to_json(
        {
            "schema": SCHEMA,
            "target": description.name,
            "soc": description.toolchain.soc_version,
            "kernels": rows,
            "constants": CONSTANTS if arrays else None,
        }
    )
    return KernelFiles(texts, arrays)


def add_kernels(module: Module, description: DeviceDescription, artifact: ArtifactBuilder) -> None:
    """Write the kernels/ folder of an artifact, see `kernels`."""
    files = kernels(module, description)
    for path, text in files.texts.items():
        artifact.add_text(f"{FOLDER}/{path}", text, executable=path.endswith(".sh"))
    if files.arrays:
        artifact.add_arrays(f"{FOLDER}/{CONSTANTS}", files.arrays)


def _row(named: NamedKernel, graph: Graph, arrays: dict[str, Array]) -> dict[str, Any]:
    """What the manifest says of a kernel."""
    program = named.program
    uses: list[dict[str, Any]] = []
    for number, (kernel, nodes) in enumerate(named.uses):
        inputs = [
            _input(argument, graph, arrays, f"{named.name}.{number}.{i}") for i, argument in enumerate(kernel.arguments)
        ]
        outputs = [[_tensor(t, graph) for t in tensors] for tensors in kernel.results]
        uses.append({"nodes": _nodes(nodes), "inputs": inputs, "outputs": outputs})
    return {
        "name": named.name,
        "unit": "cube" if Verb.MATMUL in program.verbs else "vector",
        "axes": list(program.sizes),
        "inputs": [_value(program, v) for v in program.inputs],
        "outputs": [_value(program, v) for v in program.outputs],
        "sources": [],
        "uses": uses,
    }


def _value(program: Program, value: Value) -> dict[str, Any]:
    return {"dtype": str(value.dtype), "shape": list(program.shape(value))}


def _nodes(nodes: Sequence[Node]) -> list[dict[str, Any]]:
    return [
        {"name": node.name, "operator": node.op_type, "source": [source.name for source in node.loc.sources]}
        for node in nodes
    ]


def _tensor(tensor: Tensor, graph: Graph) -> dict[str, Any]:
    """Where a tensor comes from: an input of the model, a constant, or a node."""
    if tensor.is_constant:
        return {"constant": tensor.name}
    if tensor.producer is None:
        return {"input": next(n for n, t in zip(graph.input_names, graph.inputs, strict=True) if t is tensor)}
    return {"node": tensor.producer.name, "output": tensor.index}


def _input(argument: Argument, graph: Graph, arrays: dict[str, Array], key: str) -> dict[str, Any]:
    """What an input of a kernel takes; what is derived from tensors is put to `arrays`."""
    row = {"takes": argument.use, **_tensor(argument.tensor, graph)}
    if argument.values is not None:
        arrays[key] = argument.values
        row["values"] = key
    return row
