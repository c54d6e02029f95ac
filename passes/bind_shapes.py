"""Giving symbolic sizes numbers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import attrs

from uair.errors import ShapeBindingError, TypeInferenceError, UairError
from uair.ir.dims import Dim, Shape, fresh_symbol, plain_symbol, substitute, symbols_of
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.inference import refine_types, settle_sizes
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import If
from uair.ops.shape_values import ShapeValues
from uair.passes.inline_branches import inline_branch
from uair.pipeline import Pass, PassContext

SAME_NAME = (
    "sizes of one name are one size in a module; of an ONNX file that says so wrongly they are told apart when it is "
    "read with the shapes: uair.load(path, shapes={...}), or the path itself in place of the module"
)


@attrs.frozen
class BindShapes(Pass):
    """Give inputs fixed shapes; every symbolic size that follows from them is replaced by its number.

    Attributes:
        shapes: shape by input name.
        sizes: number by name of a symbolic size.
        static: require that no input keeps a symbolic size.
    """

    shapes: dict[str, tuple[int, ...]] = attrs.field(factory=dict)
    sizes: dict[str, int] = attrs.field(factory=dict)
    static: bool = False

    def run(self, module: Module, context: PassContext) -> bool:
        """Bind and infer every type again."""
        notes: list[str] = []
        changed = bind_shapes(module, self.shapes, sizes=self.sizes, static=self.static, notes=notes)
        if notes:
            context.reports["branches"] = notes
        return changed


def bind_shapes(
    module: Module,
    shapes: Mapping[str, tuple[int | None, ...]],
    *,
    sizes: Mapping[str, int] | None = None,
    static: bool = False,
    notes: list[str] | None = None,
) -> bool:
    """Give inputs of the main graph fixed shapes, in place. Returns whether anything changed.

    Args:
        module: the module.
        shapes: shape by input name; None leaves an extent as it is.
        sizes: number by name of a symbolic size; the others stay symbolic.
        static: require that no input keeps a symbolic size.
        notes: receives a sentence for every branch that is dropped because the sizes keep it from running.

    Raises:
        ShapeBindingError: an unknown input, a wrong rank, a contradiction with the model or between two inputs, or
            (with `static`) a size that stays open.
        TypeInferenceError: an operator of the model does not accept the sizes.
    """
    graph = module.main
    values: dict[str, Dim] = {**learn_sizes(graph, shapes, sizes)}
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        if tensor.type.is_tensor:
            _bind(name, tensor, shapes.get(name), values)
    if static:
        _require_static(graph)
    if not shapes and not values:
        return False
    decisions = _Decisions()
    found: dict[str, Dim] = {}
    try:
        refine_types(graph, values, decisions, found)
        settle_sizes(module, found, decisions)  # a size that a result had a name for, and an attribute elsewhere uses
    except TypeInferenceError as error:
        error.hint = error.hint or "are the sizes given with --shape those that the model was made for?"
        raise
    if notes is not None:
        notes += decisions.notes
    return True


def bound_inputs(graph: Graph, shapes: Mapping[str, tuple[int | None, ...]]) -> Graph:
    """A graph that has the inputs of another one as they are once these shapes are bound, and no nodes.

    Raises:
        ShapeBindingError: as `bind_shapes`.
    """
    values: dict[str, Dim] = {**learn_sizes(graph, shapes)}
    made = Graph(graph.name)
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        own = made.add_input(name, tensor.type)
        if own.type.is_tensor:
            _bind(name, own, shapes.get(name), values)
    return made


def learn_sizes(
    graph: Graph, shapes: Mapping[str, tuple[int | None, ...]], sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Numbers of symbolic sizes, by name, that shapes of inputs decide, beside those given by name.

    Raises:
        ShapeBindingError: an unknown input or size, a wrong rank, a contradiction with the model or between two inputs.
    """
    values = _sizes(graph, sizes or {})
    for name, shape in shapes.items():
        require_input(graph, name, f"--shape names {name!r}", ShapeBindingError)
        _match(graph, name, shape, values)
    return values


def _bind(name: str, tensor: Tensor, shape: Sequence[int | None] | None, values: Mapping[str, Dim]) -> None:
    """Put the sizes into the type of an input, whose own shape is given or not."""
    if tensor.type.shape is None:
        if shape is not None:
            tensor.type = tensor.type.with_shape(tuple(fresh_symbol() if d is None else d for d in shape))
        return
    bound = tuple(substitute(d, values) for d in tensor.type.shape)
    if any(want not in (None, have) for have, want in zip(bound, shape or (), strict=False)):
        raise ShapeBindingError(
            f"input {name!r} is {tensor.type} in the model, which is {list(bound)} with the sizes given; "
            f"--shape says {list(shape or ())}",
            hint=SAME_NAME,
        )
    tensor.type = TensorType(tensor.type.dtype, bound, tensor.type.layout)


class _Decisions:
    """Takes the branch of an If that the sizes decide.

    Either they decide the condition, or one branch does not accept them: then it cannot run, and whatever runs at all
    takes the other one.

    Attributes:
        notes: what was taken for the second reason.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._values = ShapeValues()

    def __call__(self, graph: Graph, node: Node, failed: Sequence[Graph]) -> list[Node] | None:
        """The nodes of the branch, put in the place of `node`; None when nothing decides."""
        op = node.op
        if not isinstance(op, If):
            return None
        if failed:
            if len(failed) != 1:
                return None
            taken = op.then_branch not in failed
            name = node.name or node.outputs[0].name
            self.notes.append(f"If {name!r}: with these sizes only the branch for {str(taken).lower()} can run")
            return inline_branch(graph, node, taken)
        known = None if node.inputs[0] is None else self._values.known(node.inputs[0])
        decided = None if known is None or known.size != 1 else known.reshape(-1).tolist()[0]
        return inline_branch(graph, node, decided) if isinstance(decided, bool) else None


def require_input(graph: Graph, name: str, what: str, error: type[UairError]) -> None:
    """Refuse a name that is no input; `what` begins the sentence that says so.

    Raises:
        UairError: of the class given; the nearest name is suggested.
    """
    if name in graph.input_names:
        return
    near = difflib.get_close_matches(name, graph.input_names, n=1, cutoff=0.5)
    suggestion = f"did you mean {near[0]!r}? " if near else ""
    raise error(f"{what}, which is no input of the model", hint=f"{suggestion}the inputs are {describe_inputs(graph)}")


def describe_inputs(graph: Graph) -> str:
    """Names and types of the inputs, for messages."""
    return ", ".join(f"{n}: {t.type}" for n, t in zip(graph.input_names, graph.inputs, strict=True)) or "none"


def _sizes(graph: Graph, sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes given by name, which inputs must have."""
    known = dict.fromkeys(s for t in graph.inputs for s in symbols_of(t.type.shape or ()))
    for name, size in sizes.items():
        if name not in known:
            raise ShapeBindingError(
                f"no input has a size called {name!r}", hint=f"the sizes are {', '.join(known) or 'all numbers'}"
            )
        if size < 0:
            raise ShapeBindingError(f"size {name!r} cannot be negative, is {size}")
    return dict(sizes)


def _match(graph: Graph, name: str, shape: Sequence[int | None], values: dict[str, int]) -> None:
    """Learn the sizes that a shape decides."""
    declared = graph.input(name).type.shape
    if any(d is not None and d < 0 for d in shape):
        raise ShapeBindingError(f"input {name!r}: a size cannot be negative in {list(shape)}")
    if not graph.input(name).type.is_tensor:
        raise ShapeBindingError(f"input {name!r} is no tensor but {graph.input(name).type}: it has no shape to bind")
    if declared is None:
        return
    if len(declared) != len(shape):
        raise ShapeBindingError(
            f"input {name!r} has {len(declared)} axes ({graph.input(name).type}), --shape gives {list(shape)}",
            hint=f"--shape {name}={_example(declared)}",
        )
    for axis, (have, want) in enumerate(zip(declared, shape, strict=True)):
        if want is not None:
            _match_extent(f"axis {axis} of input {name!r}", have, want, values)


def _match_extent(place: str, have: Dim, want: int, values: dict[str, int]) -> None:
    """Learn the size that one extent decides."""
    if isinstance(have, int):
        if have != want:
            raise ShapeBindingError(
                f"{place} is {have} in the model, --shape gives {want}",
                hint="only symbolic sizes can be bound; export the model again for another fixed size",
            )
        return
    symbol = plain_symbol(have)
    if symbol is not None and values.setdefault(symbol, want) != want:
        raise ShapeBindingError(
            f"size {symbol!r} would be both {values[symbol]} and {want} ({place})",
            hint=SAME_NAME,
        )


def _require_static(graph: Graph) -> None:
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        if not tensor.type.is_tensor:
            raise ShapeBindingError(
                f"input {name!r} is {tensor.type}, the target takes tensors",
                hint="cut the model behind it, or compile it for the target cpu",
            )
        if tensor.type.shape is None or symbols_of(tensor.type.shape):
            shape = "?" if tensor.type.shape is None else ",".join(str(d) for d in tensor.type.shape)
            raise ShapeBindingError(
                f"input {name!r} has the open shape [{shape}], the target needs numbers",
                hint=f"give it a shape: --shape {name}={_example(tensor.type.shape)}",
            )


def _example(shape: Shape | None) -> str:
    """Sizes for a hint: those that are known, 1 for an open batch size, the name of what the user has to decide."""
    if shape is None:
        return "1,..."
    return ",".join(
        str(size) if isinstance(size, int) else "1" if axis == 0 else f"<{size}>" for axis, size in enumerate(shape)
    )
