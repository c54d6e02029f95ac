"""Programs that change tensors in place, as programs that do not.

torch.export keeps `add_`, `copy_`, `index_put_` and the views that they write through. Here every such operator becomes
its functional twin: what it gives is the new value of the tensor, and of what the tensor is a view of. Tensors that
share memory form a tree of views; writing to one of them makes new values of those it lies in, up to the tensor that
owns the memory, and the others are taken anew, when somebody reads them, from the new owner.

A buffer that the program changes and that its results depend on is state: its new value becomes a further output,
called after the buffer, so that who runs the model can hand it back the next time. A changed buffer that no result
depends on (the counter of batches in a BatchNorm) is dropped. A changed input becomes a further output as well, called
`<input>.new`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

import attrs

from uair.frontends.torch import writes
from uair.frontends.torch.errors import TorchMutationError
from uair.frontends.torch.program import Argument, Call, Program, ProgramGraph, Ref
from uair.frontends.torch.views import Sample, Strides, View, views_of
from uair.ir.dims import symbols_of
from uair.ir.dtype import DType
from uair.ir.types import TensorType

NEXT_STEP = "let PyTorch do it: `ep = ep.run_decompositions({})` before the program is saved or given to uair"


def functionalised(program: Program) -> Program:
    """A program without operators that change tensors in place; the program itself when it has none.

    Args:
        program: as exported. It is not changed.

    Returns:
        The program with the new values of state and of changed inputs as its last outputs, named like all others;
        its `mutations` are empty.

    Raises:
        TorchMutationError: a tensor is changed through a view that cannot be followed; the place is the call.
    """
    graph = program.graph
    changed: dict[str, str] = {}
    if _has_writes(graph):
        done = _Follower(graph, _names_in(graph))
        done.run()
        changed = done.changed_inputs()
        graph = done.graph_now()
    if not changed and not program.mutations and graph is program.graph:
        return program
    return _settled(attrs.evolve(program, graph=graph), changed)


# ------------------------------------------------------------------ tensors sharing memory
@attrs.define(eq=False)
class _Memory:
    """Memory that tensors share.

    Attributes:
        version: counts the writes.
        doubts: other memory that may be the same (a reshape that PyTorch may have made a view or a copy), with its
            version at that moment and the call that left it open.
    """

    version: int = 0
    doubts: list[tuple[_Memory, int, Call]] = attrs.Factory(list)


@attrs.define(eq=False)
class _Alias:
    """A tensor in some memory: the owner of the memory (no view), or a view of another one.

    Attributes:
        name: the value that it had at `version`.
        strides: how it lies there, where that is known.
        call: the call that took the view, whose provenance the calls made for it have.
        views: taken of it, by what tells them apart.
    """

    memory: _Memory
    type: TensorType | None
    name: str
    strides: Strides | None = None
    version: int = 0
    parent: _Alias | None = None
    view: View | None = None
    call: Call | None = None
    views: dict[object, _Alias] = attrs.Factory(dict)


class _Follower:
    """Walks a graph in order and emits its calls without in-place operators."""

    def __init__(self, graph: ProgramGraph, taken: set[str], outer: _Follower | None = None) -> None:
        self.graph = graph
        self.outer = outer
        self.taken = taken
        self.calls: list[Call] = []
        self.aliases: dict[str, _Alias] = {}
        self.owners: dict[str, _Alias] = {}
        self.sample: Sample = Sample() if outer is None else outer.sample
        for name, type_ in graph.inputs:
            self.owners[name] = self.aliases[name] = self.owner(name, type_, in_rows=True)

    def run(self) -> None:
        """Follow every call."""
        for call in self.graph.calls:
            if writes.is_write(call):
                self.write_call(call)
            elif views := self.views(call):
                self.view_call(call, views)
            elif not call.target.startswith("aten._assert_tensor_metadata"):
                self.plain_call(call)

    def graph_now(self) -> ProgramGraph:
        """The graph with the calls emitted, giving the values that its outputs have at the end."""
        outputs = tuple(self.resolved(a, None) for a in self.graph.outputs)  # may emit views that are taken anew
        return attrs.evolve(self.graph, calls=tuple(self.calls), outputs=outputs)

    def changed_inputs(self) -> dict[str, str]:
        """The new value of every input that is changed, by the input's name."""
        return {name: owner.name for name, owner in self.owners.items() if owner.memory.version}

    # ------------------------------------------------------------------ values
    def alias(self, name: str, call: Call | None) -> _Alias:
        """The tensor that a name of the program stands for.

        Raises:
            TorchMutationError: nothing before the call defines it.
        """
        found = self.aliases.get(name)
        if found is None and self.outer is not None:  # captured: its value now is an input of the region
            around = self.outer.alias(name, call)
            found = self.owner(self.outer.read(around, call), around.type, in_rows=False)
            self.owners[name] = self.aliases[name] = found
        if found is None:
            raise TorchMutationError(
                f"value {name!r} is used before anything defines it",
                place=_place(call),
                hint="export the program again",
            )
        return found

    def type_of(self, name: str) -> TensorType | None:
        """The type of a value of the program."""
        found = self.aliases.get(name)
        return None if found is None else found.type

    def views(self, call: Call) -> list[View] | None:
        """The views that a call takes."""
        first = next(_each_ref(call.arguments.values()), None)
        if first is None:
            return None
        source = self.alias(first.name, call)
        return views_of(call, writes.operator_name(call), source.type, source.strides, self.sample)

    def owner(self, name: str, type_: TensorType | None, *, in_rows: bool) -> _Alias:
        """A tensor with memory of its own."""
        shape = type_.shape if type_ is not None and in_rows else None
        strides = None if shape is None else Strides.rows(self.sample.numbers(shape))
        return _Alias(_Memory(), type_, name, strides)

    def read(self, alias: _Alias, call: Call | None) -> str:
        """The name of a tensor's value as it is now.

        Raises:
            TorchMutationError: it may or may not share memory with a tensor that has been written since.
        """
        self.require_certain(alias.memory, call)
        if alias.version < alias.memory.version:
            assert alias.parent is not None and alias.view is not None and alias.call is not None
            source = self.read(alias.parent, call)
            alias.name = self.emit(
                alias.call, alias.view.target, {"self": Ref(source), **alias.view.arguments}, alias.type
            )
            alias.version = alias.memory.version
        return alias.name

    def require_certain(self, memory: _Memory, call: Call | None) -> None:
        """Refuse to read memory of which it is not known whether a write has reached it."""
        seen, ahead = {id(memory)}, [memory]
        while ahead:
            here = ahead.pop()
            for other, then, cause in here.doubts:
                if other.version != then:
                    _refuse(
                        call or cause,
                        f"{cause.target} gives a view or a copy, depending on how its operand lies in memory; one of "
                        f"the two tensors is changed in place while the other is still read ({_place(cause)})",
                    )
                if id(other) not in seen:
                    seen.add(id(other))
                    ahead.append(other)

    def resolved(self, argument: Argument, call: Call | None) -> Argument:
        """An argument with the names that its tensors have now."""
        if isinstance(argument, Ref):
            return Ref(self.read(self.alias(argument.name, call), call))
        if isinstance(argument, tuple):
            return tuple(self.resolved(a, call) for a in argument)
        if isinstance(argument, ProgramGraph):
            return self.region(argument, call)
        return argument

    def region(self, graph: ProgramGraph, call: Call | None) -> ProgramGraph:
        """A graph that control flow runs.

        Raises:
            TorchMutationError: it changes one of its inputs.
        """
        if not _has_writes(graph):
            return graph
        done = _Follower(graph, self.taken, self)
        done.run()
        if changed := done.changed_inputs():
            _refuse(call, f"a branch or body changes {', '.join(changed)} from outside of it in place")
        return done.graph_now()

    # ------------------------------------------------------------------ calls
    def plain_call(self, call: Call) -> None:
        """A call that neither writes nor takes views."""
        operands = [self.alias(name, call).strides for name in _refs(call.arguments.values())]
        in_rows = writes.gives_rows(call) or all(s is not None and s.are_rows for s in operands)
        arguments = {name: self.resolved(value, call) for name, value in call.arguments.items()}
        self.calls.append(attrs.evolve(call, arguments=arguments))
        for name, type_ in zip(call.results, call.types, strict=True):
            if name:
                self.aliases[name] = self.owner(name, type_, in_rows=in_rows)

    def view_call(self, call: Call, views: Sequence[View]) -> None:
        """A call that takes views: kept as it is, unless every view is known already."""
        source = self.alias(views[0].source, call)
        value = self.read(source, call)
        new: list[_Alias] = []
        for name, view in zip(call.results, views, strict=True):
            found = self.viewed(source, view, call, name)
            if name:
                self.aliases[name] = found
            if found.name == name:
                new.append(found)
        if new:
            arguments = {name: self.resolved(argument, call) for name, argument in call.arguments.items()}
            arguments[next(iter(arguments))] = Ref(value)
            self.calls.append(attrs.evolve(call, arguments=arguments))

    def viewed(self, source: _Alias, view: View, call: Call, name: str) -> _Alias:
        """The tensor that a view of another one is; `name` is what the call that takes it names it."""
        if not view.certain:
            copy = self.owner(name or self.fresh(call.target), view.type, in_rows=False)
            self.doubt(source.memory, copy.memory, call)
            return copy
        if not view.target:
            return source
        found = source.views.get(view.key)
        if found is None:
            strides = view.strides(source.strides, self.sample.numbers(view.type.dims))
            found = _Alias(source.memory, view.type, "", strides, -1, source, view, call)
            source.views[view.key] = found
        if found.version < source.memory.version and name:
            found.name, found.version = name, source.memory.version
        return found

    @staticmethod
    def doubt(a: _Memory, b: _Memory, call: Call) -> None:
        """Two memories may be one."""
        a.doubts.append((b, b.version, call))
        b.doubts.append((a, a.version, call))

    def write_call(self, call: Call) -> None:
        """A call that changes a tensor in place; its result is the tensor.

        Raises:
            TorchMutationError: the operator has no functional twin, or the tensor is a view that cannot be written.
        """
        if reason := writes.refusal(call):
            _refuse(call, reason)
        target = self.alias(writes.written(call).name, call)
        if target.type is None or target.type.shape is None:
            _refuse(call, f"{call.target} changes a value whose shape is not known")
        if call.target.startswith("aten.fill_diagonal_"):
            target = self.diagonal(target, call)
        source = writes.copied_from(call)
        if source is None or self.alias(source.name, call) is not target:
            self.write(target, self.new_value(call, target), call)
        if call.results and call.results[0]:
            self.aliases[call.results[0]] = self.alias(writes.written(call).name, call)

    def diagonal(self, target: _Alias, call: Call) -> _Alias:
        """The diagonal of a matrix, which `fill_diagonal_` fills."""
        extents = target.type.dims if target.type is not None else ()
        if len(extents) != 2 or call.arguments.get("wrap") or not all(isinstance(d, int) for d in extents):
            _refuse(call, "fill_diagonal_ is followed for matrices of fixed sizes, without wrap")
        assert target.type is not None
        length = min(d for d in extents if isinstance(d, int))
        look = attrs.evolve(
            call,
            target="aten.diagonal.default",
            arguments={"self": writes.written(call)},
            results=("",),
            types=(target.type.with_shape((length,)),),
        )
        views = views_of(look, "diagonal", target.type, target.strides, self.sample)
        assert views is not None
        (view,) = views
        return self.viewed(target, view, look, "")

    def new_value(self, call: Call, target: _Alias) -> str:
        """Emit the functional twin; the name of what it gives, which has the type of the tensor that it changes."""
        assert target.type is not None
        arguments = {
            name: Ref("") if name == writes.written_name(call) else self.resolved(value, call)
            for name, value in call.arguments.items()
        }
        types = {r.name: self.type_of(r.name) for r in _each_ref(call.arguments.values())}
        value = call.arguments.get("src", call.arguments.get("value", call.arguments.get("other")))
        operand = types.get(value.name) if isinstance(value, Ref) else None
        current = ""
        for step in writes.twin(call, arguments, target.type, operand):
            given: dict[str, Argument] = dict(step.arguments)
            for name, argument in given.items():
                if argument == writes.CURRENT:
                    given[name] = Ref(self.read(target, call))
                elif argument == writes.PREVIOUS:
                    given[name] = Ref(current)
            if not step.target:
                (only,) = given.values()
                assert isinstance(only, Ref)
                current = only.name
            else:
                current = self.emit(call, step.target, given, step.type)
        return current

    def write(self, alias: _Alias, value: str, call: Call) -> None:
        """Give a tensor a new value, and so every tensor that it is a view of."""
        path: list[tuple[_Alias, str]] = [(alias, value)]
        while alias.parent is not None:
            view, parent = alias.view, alias.parent
            assert view is not None
            if not view.undo:
                _refuse(call, f"{call.target} writes through {view.target}, whose elements overlap or are hidden")
            given: dict[str, Argument] = {"self": Ref(value), **view.undo_arguments}
            if view.scatters:
                given = {"self": Ref(self.read(parent, call)), "src": Ref(value), **view.undo_arguments}
            value = self.emit(call, view.undo, given, parent.type)
            path.append((parent, value))
            alias = parent
        alias.memory.version += 1
        for each, name in path:
            each.name, each.version = name, each.memory.version

    def emit(self, cause: Call, target: str, arguments: Mapping[str, Argument], type_: TensorType | None) -> str:
        """Append a call that the program lacks, with the provenance of one that it has; its result's name."""
        name = self.fresh(target)
        self.calls.append(
            attrs.evolve(cause, target=target, arguments=arguments, results=(name,), types=(type_,), symbols=())
        )
        return name

    def fresh(self, target: str) -> str:
        """A name that no value of the program has."""
        stem = target.split(".")[1]
        name, n = stem, 0
        while name in self.taken:
            n += 1
            name = f"{stem}_{n}"
        self.taken.add(name)
        return name


# ------------------------------------------------------------------ state and outputs
def _settled(program: Program, changed: Mapping[str, str]) -> Program:
    """Decide about changed buffers and inputs, move their new values behind the user's outputs, drop what is dead.

    Args:
        program: its mutations are those that PyTorch itself has made outputs.
        changed: further new values of inputs of the graph, by their names.
    """
    by_name = {own: name for name, (own, _) in program.constants.items()}
    by_name.update({shown: name for name, shown in program.input_names.items()})
    by_name.update({name: name for name in program.input_names})
    news: dict[str, Argument] = {name: Ref(value) for name, value in changed.items()}
    results: list[Argument] = []
    for i, output in enumerate(program.graph.outputs):
        if i not in program.mutations:
            results.append(output)
        elif (name := by_name.get(program.mutations[i])) is not None:
            news.setdefault(name, output)
    kept = _state_that_matters(program, results, news)
    shown = (
        f"{program.input_names[name]}.new" if name in program.input_names else program.constants[name][0]
        for name in kept
    )
    outputs = (*results, *(news[name] for name in kept))
    return attrs.evolve(
        program,
        graph=_without_dead(attrs.evolve(program.graph, outputs=outputs)),
        output_names=(*program.output_names, *shown),
        mutations={},
    )


def _state_that_matters(program: Program, results: Sequence[Argument], news: Mapping[str, Argument]) -> list[str]:
    """The inputs of the graph whose new values are kept: the user's own, and buffers that a kept output depends on."""
    kept = [name for name in news if name in program.input_names]
    rest = [name for name in news if name in program.constants]
    while True:
        reached = _reached(program.graph, [*results, *(news[name] for name in kept)])
        found = [name for name in rest if name in reached]
        if not found:
            order = {name: i for i, (name, _) in enumerate(program.graph.inputs)}
            return sorted(kept, key=lambda name: order[name])
        kept += found
        rest = [name for name in rest if name not in found]


def _reached(graph: ProgramGraph, wanted: Sequence[Argument]) -> set[str]:
    """Names of all values that some values depend on, themselves too."""
    needed = _Needed()
    needed.add(wanted)
    for call in reversed(graph.calls):
        if needed.takes(call):
            needed.add(call.arguments.values())
    return needed.names


def _without_dead(graph: ProgramGraph) -> ProgramGraph:
    """The graph without ATen's calls that nobody needs; results that are not needed lose their names."""
    needed = _Needed()
    needed.add(graph.outputs)
    kept: list[Call] = []
    for call in reversed(graph.calls):
        if call.target.startswith("aten.") and not needed.takes(call):
            continue
        needed.add(call.arguments.values())
        kept.append(attrs.evolve(call, results=tuple(name if name in needed.names else "" for name in call.results)))
    return attrs.evolve(graph, calls=tuple(reversed(kept)))


@attrs.define(eq=False)
class _Needed:
    """What calls that are kept use.

    Attributes:
        names: of values.
        sizes: symbols; a call that decides one (`item`) is needed though nothing uses its result by name.
    """

    names: set[str] = attrs.Factory(set[str])
    sizes: set[str] = attrs.Factory(set[str])

    def add(self, arguments: Iterable[Argument]) -> None:
        """Need what these arguments use."""
        given = list(arguments)
        self.names.update(_refs(given))
        self.sizes.update(_sizes(given))

    def takes(self, call: Call) -> bool:
        """Whether something that a call gives is needed."""
        return not self.names.isdisjoint(call.results) or not self.sizes.isdisjoint(call.symbols)


# ------------------------------------------------------------------ helpers
def _has_writes(graph: ProgramGraph) -> bool:
    return any(
        writes.is_write(call) or any(map(_has_writes, _regions(call.arguments.values()))) for call in graph.calls
    )


def _regions(arguments: Iterable[Argument]) -> Iterator[ProgramGraph]:
    for argument in arguments:
        if isinstance(argument, ProgramGraph):
            yield argument
        elif isinstance(argument, tuple):
            yield from _regions(argument)


def _each_ref(arguments: Iterable[Argument]) -> Iterator[Ref]:
    for argument in arguments:
        if isinstance(argument, Ref):
            yield argument
        elif isinstance(argument, tuple):
            yield from _each_ref(argument)


def _refs(arguments: Iterable[Argument]) -> Iterator[str]:
    return (ref.name for ref in _each_ref(arguments))


def _sizes(arguments: Iterable[Argument]) -> Iterator[str]:
    """The symbols in the sizes among arguments, and in the graphs that they run."""
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from _sizes(argument)
        elif isinstance(argument, ProgramGraph):
            for call in argument.calls:
                yield from _sizes(call.arguments.values())
            yield from _sizes(argument.outputs)
        elif argument is not None and not isinstance(argument, (Ref, int, float, complex, str, DType)):
            yield from symbols_of((argument,))


def _names_in(graph: ProgramGraph) -> set[str]:
    """Every name that a graph and those in it define."""
    names = {name for name, _ in graph.inputs}
    for call in graph.calls:
        names.update(call.results)
        for region in _regions(call.arguments.values()):
            names |= _names_in(region)
    return names


def _place(call: Call | None) -> str:
    if call is None:
        return "the program's outputs"
    module = f" in module {call.module_path!r}" if call.module_path else ""
    return f"{call.target}{module}" + (f", {call.file}" if call.file else "")


def _refuse(call: Call | None, message: str) -> NoReturn:
    raise TorchMutationError(message, place=_place(call), hint=NEXT_STEP)
