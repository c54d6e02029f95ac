"""An exported PyTorch program in plain values: what the importer reads, whichever way it came.

Two readers make it: `live.py` from a `torch.export.ExportedProgram` in memory, `archive.py` from a `.pt2` file without
torch. Both give every argument the name it has in the operator's schema, sizes as UAIR's own expressions, types as
UAIR's own types; calls that only compute sizes (`aten.sym_size`, `_operator.mul` on sizes) are gone, since the sizes
that they compute stand in the arguments and types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from uair.ir.data import Data
from uair.ir.dims import Dim
from uair.ir.dtype import DType
from uair.ir.types import TensorType


@attrs.frozen
class Ref:
    """The value called `name`, defined earlier in the same graph: an input or a result of a call."""

    name: str


HIGHER_ORDER = {
    "higher_order.cond": ("pred", "true_fn", "false_fn", "operands"),
    "higher_order.while_loop": ("cond_fn", "body_fn", "carried_inputs", "additional_inputs"),
    "higher_order.scan": ("combine_fn", "init", "xs", "additional_inputs"),
    "higher_order.associative_scan": ("combine_fn", "xs", "additional_inputs"),
    "higher_order.map_impl": ("f", "xs", "pos_args"),
}
"""Names of the arguments of higher-order operators, which have no schema; others are called arg0, arg1, ..."""

INLINED = ("wrap_with_set_grad_enabled", "wrap_with_autocast", "wrap", "invoke_subgraph", "hints_wrapper")
"""Higher-order operators that run a graph once; the position of the graph among the arguments differs."""

Argument: TypeAlias = "Ref | ProgramGraph | Dim | float | bool | complex | str | DType | None | tuple[Argument, ...]"
"""An argument. A bool is a bool and no int; a memory format, layout or device is its name as a str."""


@attrs.frozen(eq=False)
class Call:
    """One call of an operator.

    Attributes:
        target: `namespace.name.overload` ("aten.conv2d.default", "torchvision.nms.default"); for a higher-order
            operator "higher_order.cond"; for a Python function on scalars "_operator.add".
        arguments: those that the program gives, by the schema's names, in the schema's order. Defaults are left out.
        results: names of its results in order, "" for one that nobody uses; for an operator that gives a list, those
            of the list's elements (there is no `getitem`).
        types: of the results; None for one that is no tensor.
        module_path: of the innermost torch.nn.Module that made the call ("layers.0.attn"), "" for the root.
        module_type: its class ("torch.nn.modules.conv.Conv2d").
        file: "model.py:41", the innermost line of the user's own code, without its folder.
        symbols: for each result the size that later arguments and types call it, "" for one that is no such number;
            empty when there is none. `aten.item` gives such, and a loop that carries a number.
    """

    target: str
    arguments: Mapping[str, Argument]
    results: tuple[str, ...]
    types: tuple[TensorType | None, ...]
    module_path: str = ""
    module_type: str = ""
    file: str = ""
    symbols: tuple[str, ...] = ()


@attrs.frozen(eq=False)
class ProgramGraph:
    """A graph: the program's, or one that control flow runs.

    Attributes:
        inputs: names and types of its inputs in order; a lifted parameter is one of them.
        calls: in order.
        outputs: what it gives; a constant may be given, or nothing.
        symbols: by the name of an input that is a whole number: the size that arguments and types call it.
    """

    inputs: tuple[tuple[str, TensorType | None], ...]
    calls: tuple[Call, ...]
    outputs: tuple[Argument, ...]
    symbols: Mapping[str, str] = attrs.Factory(dict[str, str])


@attrs.frozen(eq=False)
class Program:
    """An exported program.

    Attributes:
        graph: its graph.
        constants: by the name of an input of `graph` that is a parameter, buffer or lifted tensor: the name that it
            has in the module ("layers.0.weight") and its values. Tensors that the module shares are one Data object.
        input_names: of the inputs that the user gives, in order, as the IR shall call them; keyword inputs have their
            names, nested ones a path ("past.0.key").
        output_names: the same of the outputs.
        mutations: by position in `graph.outputs` of an output that is the new value of a buffer or of an input: the
            name of what changes.
        ranges: least and greatest value of every symbolic size; None where there is no bound.
        producer: "pytorch 2.13.0".
        versions: that its meaning depends on, e.g. ("torch", "2.13.0"), ("schema", "8.20").
    """

    graph: ProgramGraph
    constants: Mapping[str, tuple[str, Data]]
    input_names: Mapping[str, str]
    output_names: tuple[str, ...]
    mutations: Mapping[int, str]
    ranges: Mapping[str, tuple[int, int | None]]
    producer: str = "pytorch"
    versions: tuple[tuple[str, str], ...] = ()


def unique_name(name: str, taken: set[str]) -> str:
    """`name`, or `name_2`, `name_3` ..., whichever is not taken yet; it is then."""
    unique, n = name, 1
    while unique in taken:
        n += 1
        unique = f"{name}_{n}"
    taken.add(unique)
    return unique
