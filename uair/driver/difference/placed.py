"""A model that is compiled in parts, or whose nodes stand in groups, as one graph again."""

from __future__ import annotations

from uair.ir.graph import Graph, Tensor
from uair.ir.module import Module, copy_nodes
from uair.ops.control import Isolated
from uair.ops.placement import Transfer


def without_placement(module: Module) -> Module:
    """The module with the nodes of its parts and groups in one graph and without copies; itself when it has none.

    The interpreter shows the results of the main graph's nodes, and those of a part's nodes are what is to be compared.
    """
    if not any(isinstance(node.op, Isolated) for node in module.main):
        return module
    main = module.main
    result, copies = Graph(main.name), dict[Tensor, Tensor]()
    for name, tensor in zip(main.input_names, main.inputs, strict=True):
        copies[tensor] = result.add_input(name, tensor.type)
        copies[tensor].name = tensor.name
    for node in main:
        op, operands = node.op, [t if t is None else copies.get(t, t) for t in node.inputs]
        if isinstance(op, Isolated) and op.body is not None:
            inner = {formal: t for formal, t in zip(op.body.inputs, operands, strict=True) if t is not None}
            copy_nodes(op.body, result, inner)
            copies.update((t, inner.get(made, made)) for t, made in zip(node.outputs, op.body.outputs, strict=True))
        elif isinstance(op, Transfer) and operands[0] is not None:
            copies[node.output] = operands[0]
        else:
            copy_nodes([node], result, copies)
    for name, tensor in zip(main.output_names, main.outputs, strict=True):
        result.add_output(name, copies.get(tensor, tensor))
    return Module(module.name, {**module.graphs, "main": result})
