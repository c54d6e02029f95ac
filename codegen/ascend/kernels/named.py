"""The distinct kernels of a graph, with names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from uair.codegen.ascend.kernels.group import Group, Kernel, Product, Refusal, groups, products, takes_all
from uair.codegen.ascend.kernels.program import Program
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node

MOST_WORDS = 4


@attrs.frozen(eq=False)
class NamedKernel:
    """A distinct kernel and where the graph has it.

    Attributes:
        name: snake case, digits only at the end, unique among the kernels of a module.
        kernel: of the first use.
        uses: kernel and nodes of every use.
    """

    name: str
    kernel: Kernel
    uses: list[tuple[Kernel, list[Node]]]

    @property
    def program(self) -> Program:
        """What it computes."""
        return self.kernel.program


@attrs.frozen
class Sources:
    """Kernels in one language.

    Attributes:
        texts: files by path.
        rows: for the manifest, by name of the kernel: its files and the tool they are for, or why it has none.
    """

    texts: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]


def named_kernels(
    graph: Graph,
    *,
    refusal: Refusal = takes_all,
    matrices: bool = False,
    interface: DType = DType.F16,
    least: int = 2,
) -> list[NamedKernel]:
    """The distinct kernels of a graph in its order.

    Args:
        graph: a legalised graph in plain layouts.
        refusal: why a target does not take a program.
        matrices: whether INT8 products become kernels too; without them a dequantization cannot.
        interface: element type of float inputs and outputs.
        least: see `groups`.
    """
    found: list[tuple[Kernel, list[Node]]] = []
    units: list[Group | Product] = [*groups(graph, least=least, refusal=refusal, matrices=matrices)]
    units += products(graph) if matrices else []
    for unit in units:
        if isinstance(unit, Group):
            found.append((unit.program(interface), unit.nodes))
        else:
            found.append((unit.program(), [unit.node]))
    index = {node: i for i, node in enumerate(graph)}
    found.sort(key=lambda use: index[use[1][0]])
    distinct: dict[str, list[tuple[Kernel, list[Node]]]] = {}
    for use in found:
        distinct.setdefault(str(use[0].program), []).append(use)
    names = _Names()
    return [NamedKernel(names.of(uses[0][1]), uses[0][0], uses) for uses in distinct.values()]


class _Names:
    """Names of kernels: the operators, and a number where that is not unique."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}

    def of(self, nodes: list[Node]) -> str:
        words = list(dict.fromkeys(snake_case(node.op_type) for node in nodes))
        name = re.sub(r"\d", "", "_".join(words[:MOST_WORDS]))
        self._count[name] = self._count.get(name, 0) + 1
        return name if self._count[name] == 1 else f"{name}{self._count[name]}"


def snake_case(name: str) -> str:
    """`reduce_mean` of `ReduceMean`, as CANN derives the name of a module from the type of an operator."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
