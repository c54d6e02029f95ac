"""In-place operators become their functional counterparts before the walk: the IR's tensors never change."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from uair.frontends.torch.program import Argument, Call, Program, ProgramGraph, Ref


def functionalised(program: Program) -> Program:
    """The program without operators that change a tensor in place: those that come after use the new value.

    A change through a view is not carried back to the tensor that is viewed.
    """
    return attrs.evolve(program, graph=_functional(program.graph))


def _functional(graph: ProgramGraph) -> ProgramGraph:
    now: dict[str, str] = {}
    calls = [_call(call, now) for call in graph.calls]
    outputs = tuple(_renamed(a, now) for a in graph.outputs)
    return attrs.evolve(graph, calls=tuple(calls), outputs=outputs)


def _call(call: Call, now: dict[str, str]) -> Call:
    arguments = {name: _renamed(a, now) for name, a in call.arguments.items()}
    namespace, _, rest = call.target.partition(".")
    name, _, overload = rest.partition(".")
    if namespace != "aten" or not name.endswith("_") or name.startswith("__"):
        return attrs.evolve(call, arguments=arguments)
    changed = next(iter(call.arguments.values()))
    if isinstance(changed, Ref):
        result = call.results[0] if call.results else ""
        for old, current in list(now.items()):
            if current == now.get(changed.name, changed.name):
                now[old] = result
        now[changed.name] = result
    return attrs.evolve(call, target=f"aten.{name[:-1]}.{overload}", arguments=arguments)


def _renamed(argument: Argument, now: Mapping[str, str]) -> Argument:
    if isinstance(argument, Ref):
        return Ref(now.get(argument.name, argument.name))
    if isinstance(argument, tuple):
        return tuple(_renamed(a, now) for a in argument)
    return argument
