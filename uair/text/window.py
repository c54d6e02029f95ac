"""The lines of a graph around one node, for error messages."""

from __future__ import annotations

from uair.ir.graph import Graph, Node
from uair.text.names import ValueNames
from uair.text.printer import GraphPrinter, print_node

WIDTH = 110
"""Longer lines are shown in part."""


def print_window(graph: Graph, node: Node, around: int = 2) -> str:
    """The printed lines around `node`, numbered as in `print_graph`, with a mark, and where the node comes from.

        41 | %bn3 = BatchNorm(%c3, @s, @b, @m, @v) : f32[1,64,56,56]
    >   42 | %c4 = Conv2D(%bn3, @w4) : f32[1,64,28,28]
           |       ^^^^^^ from Conv 'layer2/conv1'

    Args:
        graph: the graph that the node is in; the window of any other node is its own line alone.
        node: the node.
        around: lines shown before and after it.
    """
    if node.graph is not graph:
        return "\n".join([_line(">", "", print_node(node).split("\n")[0]), _caret(node, print_node(node))])
    printer = GraphPrinter(ValueNames("@"))
    printer.graph(graph, f"graph @{graph.name}", "")
    at = printer.line_of.get(node, len(printer.lines) - 1)
    shown: list[str] = []
    for i in range(max(0, at - around), min(len(printer.lines), at + around + 1)):
        line = printer.lines[i]
        shown.append(_line(">" if i == at else " ", str(i + 1), line))
        if i == at and not node.is_return:
            shown.append(_caret(node, line))
    return "\n".join(shown)


def _line(mark: str, number: str, text: str) -> str:
    return f"{mark}{number:>5} | {text if len(text) <= WIDTH else text[:WIDTH] + '...'}"


def _caret(node: Node, line: str) -> str:
    column = line.find(f"{node.op_type}(")
    return f"      | {' ' * max(column, 0)}{'^' * len(node.op_type)} from {node.loc}"
