"""From the JSON of a `.pt2` file to a neutral graph.

Source of the format: PyTorch's `torch/_export/serde/schema.py`, version 8.20.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from uair.frontends.common.errors import SourceOperatorError, UnsafeModelError
from uair.frontends.torch.expressions import parsed, symbol_name
from uair.frontends.torch.frames import user_line
from uair.frontends.torch.program import HIGHER_ORDER, INLINED, Argument, Call, ProgramGraph, Ref, unique_name
from uair.frontends.torch.symbols import Sizes
from uair.ir.dims import Dim, Shape
from uair.ir.dtype import DType
from uair.ir.types import TensorType

Json = Mapping[str, Any]

SCALAR_TYPES = {
    1: DType.U8,
    2: DType.I8,
    3: DType.I16,
    4: DType.I32,
    5: DType.I64,
    6: DType.F16,
    7: DType.F32,
    8: DType.F64,
    10: DType.C64,
    11: DType.C128,
    12: DType.BOOL,
    13: DType.BF16,
    28: DType.U16,
    29: DType.F8E4M3,
    30: DType.F8E5M2,
    31: DType.F8E4M3FNUZ,
    32: DType.F8E5M2FNUZ,
    33: DType.F8E8M0,
    34: DType.U32,
    35: DType.U64,
}
"""Element types by the numbers of schema.ScalarType; complex halves are missing."""
MEMORY_FORMATS = {1: "contiguous_format", 2: "channels_last", 3: "channels_last_3d", 4: "preserve_format"}
LAYOUTS = {
    1: "sparse_coo",
    2: "sparse_csr",
    3: "sparse_csc",
    4: "sparse_bsr",
    5: "sparse_bsc",
    6: "_mkldnn",
    7: "strided",
}
ITEMS = ("aten.item.default", "aten._local_scalar_dense.default")
MAX_NESTING = 50


def dtype_of(code: Any) -> DType:
    """The element type of a number of schema.ScalarType.

    Raises:
        SourceOperatorError: the IR has none.
    """
    if code not in SCALAR_TYPES:
        raise SourceOperatorError(f"tensors of PyTorch's element type number {code} are not supported")
    return SCALAR_TYPES[code]


def number(value: Any) -> int:
    """A size, stride or offset that must be a number.

    Raises:
        ValueError: it is symbolic, negative, or no number.
    """
    found = value.get("as_int")
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise ValueError(f"{value} is no size")
    return found


class GraphReader:
    """Reads one serialized graph, and those that its control flow runs.

    Attributes:
        sizes: names the symbols.
        names: those given so far, of inputs and results.
    """

    def __init__(self, sizes: Sizes, depth: int = 0) -> None:
        if depth > MAX_NESTING:
            raise ValueError("graphs are nested too deeply")
        self.sizes = sizes
        self.depth = depth
        self.names: set[str] = set()
        self.calls: list[Call] = []
        self.values: dict[str, Argument] = {}
        self.symbolic: dict[str, str] = {}
        self.tensors: dict[str, Json] = {}

    def read(self, graph: Json) -> ProgramGraph:
        """The graph."""
        self._declare(graph)
        inputs: list[tuple[str, TensorType | None]] = []
        symbols: dict[str, str] = {}
        for given in graph["inputs"]:
            kind, name = only(given)[0], name_of(given)
            unique = unique_name(name or f"input_{len(inputs)}", self.names)
            is_tensor = kind == "as_tensor"
            if name:
                self.values[name] = Ref(unique) if is_tensor else self._argument(given)
            if symbol := self._symbol(given):
                symbols[unique] = symbol
            inputs.append((unique, self._type(given) if is_tensor or symbol else None))
        outputs = self._body(graph)
        return ProgramGraph(tuple(inputs), tuple(self.calls), outputs, symbols)

    def _declare(self, graph: Json) -> None:
        """Take up the types and symbolic numbers that a graph's names have."""
        self.tensors.update(graph["tensor_values"])
        for table in ("sym_int_values", "sym_float_values", "sym_bool_values"):
            for name, value in graph.get(table, {}).items():
                kind, found = only(value)
                self.symbolic[name] = found["expr_str"] if kind == "as_expr" else repr(found)

    def _body(self, graph: Json) -> tuple[Argument, ...]:
        """Read the calls; the graph's outputs."""
        read = _used(graph)
        for node in graph["nodes"]:
            self._call(node, read)
        return tuple(self._argument(a) for a in graph["outputs"])

    # ------------------------------------------------------------------ calls
    def _call(self, node: Json, read: set[str]) -> None:
        target = str(node["target"]).removeprefix("torch.ops.")
        results = list(_flat(node["outputs"]))
        if target.startswith("higher_order.") and target.partition(".")[2] in INLINED:
            self._inline(node, results)
            return
        is_item = target in ITEMS
        if not is_item and not target.startswith("higher_order.") and results and all(map(self._is_size, results)):
            return
        arguments = {name: self._argument(a) for name, a in _named(target, node["inputs"])}
        several = len(results) > 1 or any("as_tensors" in o for o in node["outputs"])
        names = tuple(self._result(r, known=not several or name_of(r) in read) for r in results)
        path, kind = _module(node["metadata"].get("nn_module_stack", ""))
        symbols = tuple(map(self._symbol, results))
        self.calls.append(
            Call(
                target,
                arguments,
                names,
                tuple(map(self._type, results)),
                module_path=path,
                module_type=kind,
                file=user_line(node["metadata"].get("stack_trace", "")),
                symbols=symbols if any(symbols) else (),
            )
        )

    def _symbol(self, value: Json) -> str:
        """The name of a number that is nothing but one symbol; empty for all else."""
        if only(value)[0] not in ("as_sym_int", "as_sym_float"):
            return ""
        own = symbol_name(self.symbolic.get(name_of(value), "0"))
        return self.sizes.name(own) if own else ""

    def _is_size(self, result: Json) -> bool:
        """Whether a result is a number that is an expression of sizes, or a constant."""
        kind, _ = only(result)
        return kind in ("as_int", "as_float", "as_bool", "as_sym_int")

    def _result(self, result: Json, *, known: bool) -> str:
        """The name of a result; empty when nobody uses it."""
        own = name_of(result)
        if not own or not known:
            return ""
        name = unique_name(own, self.names)
        if only(result)[0] != "as_sym_int":
            self.values[own] = Ref(name)
        return name

    def _inline(self, node: Json, results: Sequence[Json]) -> None:
        """Put the calls of a graph that is run once here."""
        given = [entry["arg"] for entry in node["inputs"]]
        at = next(i for i, a in enumerate(given) if "as_graph" in a)
        graph: Json = given[at]["as_graph"]["graph"]
        operands = [self._argument(a) for each in given[at + 1 :] for a in _flat([each])]
        inputs = [name_of(i) for i in graph["inputs"]]
        self._declare(graph)
        values = dict(zip(inputs, operands[len(operands) - len(inputs) :], strict=True))
        self.values.update(values)
        found = self._body(graph)
        self.values.update({name_of(r): value for r, value in zip(results, found, strict=True)})

    # ------------------------------------------------------------------ arguments
    def _argument(self, argument: Json) -> Argument:
        kind, value = only(argument)
        make = _ARGUMENTS.get(kind)
        if make is None:
            raise ValueError(f"an argument of kind {kind!r} is not known")
        return make(self, value)

    def reference(self, value: Json) -> Argument:
        """A tensor by its name."""
        name = value["name"]
        if name not in self.values:
            raise ValueError(f"{name!r} is used before anything defines it")
        return self.values[name]

    def optional(self, value: Json) -> Argument:
        """A tensor or nothing."""
        kind, found = only(value)
        return self.reference(found) if kind == "as_tensor" else None

    def symbolic_number(self, value: Json) -> Argument:
        """A number, or the name of a symbolic one."""
        kind, found = only(value)
        if kind != "as_name":
            return cast(Argument, found)
        if found in self.values:
            return self.values[found]
        text = self.symbolic[found]
        number = parsed(text, self.sizes)
        if number is None:
            raise SourceOperatorError(
                f"the size {text} cannot be expressed", hint="export the model with that size fixed"
            )
        return number

    def region(self, value: Json) -> Argument:
        """A graph that control flow runs."""
        return GraphReader(self.sizes, self.depth + 1).read(value["graph"])

    # ------------------------------------------------------------------ types
    def _type(self, result: Json) -> TensorType | None:
        kind, value = only(result)
        if kind == "as_tensor":
            return self._tensor_type(value["name"])
        scalars = {"as_sym_int": DType.I64, "as_sym_float": DType.F64, "as_sym_bool": DType.BOOL}
        return TensorType(scalars[kind], ()) if kind in scalars else None

    def _tensor_type(self, name: str) -> TensorType:
        meta = self.tensors[name]
        if meta.get("layout", 7) != 7:
            raise SourceOperatorError(f"{name!r} is a sparse tensor", hint="export the model with dense tensors")
        return TensorType(dtype_of(meta["dtype"]), self.shape(meta["sizes"]))

    def shape(self, sizes: Sequence[Json]) -> Shape:
        """Sizes, symbolic ones too."""
        return tuple(self._extent(size) for size in sizes)

    def _extent(self, size: Json) -> Dim:
        kind, value = only(size)
        found = parsed(value["expr_str"], self.sizes) if kind == "as_expr" else value
        if found is None or isinstance(found, (bool, float)):
            raise SourceOperatorError(f"the size {value} cannot be expressed", hint="export the model with it fixed")
        if isinstance(found, int) and found < 0:
            raise ValueError(f"{found} is no size")
        return found


def only(union: Json) -> tuple[str, Any]:
    """The one field that a union has."""
    ((kind, value),) = union.items()
    return kind, value


def name_of(argument: Json) -> str:
    """The name of a value; empty for one that has none."""
    _, value = only(argument)
    if not isinstance(value, dict):
        return ""
    found = cast("dict[str, Any]", value)
    return str(found.get("name", found.get("as_name", "")))


def _flat(arguments: Sequence[Json]) -> Iterator[Json]:
    """Arguments with the elements of lists of tensors in place of the lists."""
    for argument in arguments:
        kind, value = only(argument)
        if kind == "as_tensors":
            yield from ({"as_tensor": each} for each in value)
        elif kind == "as_optional_tensors":
            yield from value
        else:
            yield argument


def _named(target: str, inputs: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    """Arguments by name; those of higher-order operators have none in the file."""
    names = HIGHER_ORDER.get(target, ())
    for i, given in enumerate(inputs):
        yield given["name"] or (names[i] if i < len(names) else f"arg{i}"), given["arg"]


def _used(graph: Json) -> set[str]:
    """The names that the calls and outputs of a graph use."""
    found: set[str] = set()
    ahead: list[Any] = [graph["outputs"], [node["inputs"] for node in graph["nodes"]]]
    while ahead:
        value = ahead.pop()
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            found.update(v for k, v in fields.items() if k in ("name", "as_name") and isinstance(v, str))
            ahead.extend(v for k, v in fields.items() if k != "as_graph")
        elif isinstance(value, list):
            ahead.extend(value)
    return found


def _module(stack: str) -> tuple[str, str]:
    """Path and class of the innermost module: entries `key,path,class` are separated by ';', the innermost last."""
    last = stack.rpartition(";")[2].split(",")
    if len(last) < 3 or last[1].startswith("_empty_nn_module_stack"):
        return "", ""
    return last[-2], last[-1]


def _numbers(_: GraphReader, value: Any) -> Argument:
    return tuple(_numbers(_, v) for v in value) if isinstance(value, list) else cast(Argument, value)


def _floats(_: GraphReader, value: Any) -> Argument:
    """Numbers, of which infinities and what is no number are written as words, for JSON has none."""
    return tuple(_floats(_, v) for v in value) if isinstance(value, list) else float(value)


def _custom(_: GraphReader, value: Json) -> Argument:
    raise UnsafeModelError(
        f"the program uses {value.get('name')!r}, a {value.get('class_fqn')}, which is stored as a pickle",
        hint="export a module whose weights are plain tensors",
    )


def _unsupported(_: GraphReader, value: Any) -> Argument:
    raise SourceOperatorError(f"the argument {str(value)[:80]} cannot be expressed")


def _device(_: GraphReader, value: Json) -> Argument:
    return str(value["type"]) if value.get("index") is None else f"{value['type']}:{value['index']}"


_ARGUMENTS: Mapping[str, Callable[[GraphReader, Any], Argument]] = {
    "as_none": lambda _, __: None,
    "as_tensor": GraphReader.reference,
    "as_tensors": lambda r, v: tuple(r.reference(t) for t in v),
    "as_nested_tensors": lambda r, v: tuple(tuple(r.reference(t) for t in each) for each in v),
    "as_optional_tensor": GraphReader.optional,
    "as_optional_tensors": lambda r, v: tuple(r.optional(t) for t in v),
    **dict.fromkeys(("as_int", "as_bool", "as_string"), lambda _, v: v),
    **dict.fromkeys(("as_ints", "as_bools", "as_strings", "as_int_lists"), _numbers),
    **dict.fromkeys(("as_float", "as_floats", "as_float_lists"), _floats),
    **dict.fromkeys(("as_sym_int", "as_sym_float", "as_sym_bool"), GraphReader.symbolic_number),
    **dict.fromkeys(
        ("as_sym_ints", "as_sym_floats", "as_sym_bools"), lambda r, v: tuple(r.symbolic_number(s) for s in v)
    ),
    "as_scalar_type": lambda _, v: dtype_of(v),
    "as_memory_format": lambda _, v: MEMORY_FORMATS[v],
    "as_layout": lambda _, v: LAYOUTS[v],
    "as_device": _device,
    "as_complex": lambda _, v: complex(v["real"], v["imag"]),
    "as_graph": GraphReader.region,
    "as_operator": lambda _, v: v,
    "as_custom_obj": _custom,
    "as_string_to_argument": _unsupported,
}
"""How every kind of argument in schema.Argument is read."""
