"""From a module or an exported program in memory to the neutral program."""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, cast

import ml_dtypes
import numpy as np

import uair
from uair.frontends.common.errors import MissingFrameworkError, SourceOperatorError
from uair.frontends.torch import naming, recurrence
from uair.frontends.torch.errors import TorchExportError
from uair.frontends.torch.frames import user_line
from uair.frontends.torch.program import HIGHER_ORDER, INLINED, Argument, Call, Program, ProgramGraph, Ref, unique_name
from uair.frontends.torch.quiet import quiet
from uair.frontends.torch.symbols import Sizes, names_of_inputs
from uair.ir.data import ArrayData, Data
from uair.ir.dims import Dim, fresh_symbol
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType

DTYPES = {
    "bool": DType.BOOL,
    "uint8": DType.U8,
    "uint16": DType.U16,
    "uint32": DType.U32,
    "uint64": DType.U64,
    "int8": DType.I8,
    "int16": DType.I16,
    "int32": DType.I32,
    "int64": DType.I64,
    "float16": DType.F16,
    "bfloat16": DType.BF16,
    "float32": DType.F32,
    "float64": DType.F64,
    "complex64": DType.C64,
    "complex128": DType.C128,
    "float8_e4m3fn": DType.F8E4M3,
    "float8_e5m2": DType.F8E5M2,
    "float8_e4m3fnuz": DType.F8E4M3FNUZ,
    "float8_e5m2fnuz": DType.F8E5M2FNUZ,
    "float8_e8m0fnu": DType.F8E8M0,
}
"""Element types by torch's names."""


def framework() -> Any:
    """The torch package.

    Raises:
        MissingFrameworkError: it is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise MissingFrameworkError(
            f"PyTorch cannot be imported: {error}", hint="install it: pip install 'uair[torch]'"
        ) from None


# ------------------------------------------------------------------------------------------------------ exporting
def exported(module: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any] | None, dynamic_shapes: Any) -> Any:
    """The `torch.export.ExportedProgram` of a module.

    Args:
        module: a `torch.nn.Module`.
        inputs: example inputs; their extents are fixed unless `dynamic_shapes` says otherwise.
        kwargs: example keyword inputs.
        dynamic_shapes: as `torch.export.export` takes it.

    Raises:
        TorchExportError: torch.export cannot trace it.
    """
    torch = framework()
    if not inputs and not kwargs and module.forward.__code__.co_argcount > 1:
        first = module.forward.__code__.co_varnames[1]
        raise TorchExportError(
            f"{type(module).__name__} is traced, for which it needs example inputs",
            hint="uair.load(module, torch.randn(1, 3, 224, 224)), "
            f"or on the command line --example '{first}=f32[1,3,224,224]'",
        )
    try:
        with quiet(), torch.no_grad(), recurrence.recording()():
            return torch.export.export(
                module, tuple(inputs), dict(kwargs or {}), dynamic_shapes=dynamic_shapes, strict=False
            )
    except TorchExportError as error:
        error.place = _place(module, error)
        raise
    except Exception as error:
        raise _not_exported(module, inputs, kwargs or {}, error) from error


def _place(module: Any, error: Exception) -> str:
    """The module, and the innermost line of the user's own code in a traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_framework(f.filename)]
    line = f", {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(module).__name__}{line}"


def _not_exported(module: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any], error: Exception) -> TorchExportError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    hint = "torch.export must be able to follow forward: no Python branch or loop may depend on the data of a tensor"
    if "data-dependent" in str(error) or "GuardOnDataDependent" in type(error).__name__:
        hint += "; use torch.cond, torch.where, or a mask of fixed size, and torch._check for sizes"
    elif "dynamic_shapes" in str(error) or "Constraints violated" in str(error):
        hint = "the sizes given in dynamic_shapes do not fit what forward does with them"
        fixes = list(itertools.takewhile(lambda line: "=" in line, _after(lines, "Suggested fixes:")))
        hint += f"; torch suggests {', '.join(fixes)}" if fixes else "; make them static, or torch.export.Dim.AUTO"
    else:
        hint = _unfit(module, inputs, kwargs) or hint
    return TorchExportError(
        f"torch.export cannot trace {type(module).__name__}: {reason}", place=_place(module, error), hint=hint
    )


def _unfit(module: Any, inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """What to do when the module itself does not take the example inputs; empty when it does."""
    try:
        inspect.signature(module.forward).bind(*inputs, **kwargs)
    except TypeError:
        names = ", ".join(inspect.signature(module.forward).parameters)
        return f"forward takes {names or 'nothing'}: give an example of each, by that name or in that order"
    try:
        with quiet(), framework().no_grad():
            module(*inputs, **kwargs)
    except Exception:  # noqa: BLE001  the user's code may raise anything; what it said stands in the message
        if len(inputs) == 1 and isinstance(inputs[0], (tuple, list)) and not _unfit(module, inputs[0], kwargs):
            return "give the inputs one by one, uair.load(module, x, y), not as the tuple that torch.export has"
        return "forward fails on the example inputs without torch.export, too: give inputs that it takes"
    return ""


def _after(lines: Sequence[str], heading: str) -> Sequence[str]:
    return lines[lines.index(heading) + 1 :] if heading in lines else ()


def _is_framework(file: str) -> bool:
    """Whether a file of a stack is none of the user's: torch's, UAIR's, or code that was never in a file."""
    return file.startswith(("<", *_own_folders()))


@functools.cache
def _own_folders() -> tuple[str, ...]:
    return tuple(os.path.join(os.path.dirname(str(p.__file__)), "") for p in (framework(), uair))


def made_explicit(program: Any) -> Any:
    """An exported program without hidden computation: autocast's casts are calls, and parameters are plain tensors.

    torch.export leaves a region under autocast as it is written, and keeps a parameter of a tensor subclass (torchao's
    quantized weights). torch puts in the casts, and what a subclass computes, when it traces the program again, which
    `run_decompositions` does, here with nothing to decompose.
    """
    is_wrapper = importlib.import_module("torch.utils._python_dispatch").is_traceable_wrapper_subclass
    if any(map(is_wrapper, program.state_dict.values())):
        return program.run_decompositions({})
    regions = (module.graph for module in program.graph_module.modules() if hasattr(module, "graph"))
    for node in (node for graph in regions for node in graph.nodes if node.op == "call_function"):
        if target_name(node.target) == "higher_order.wrap_with_autocast" and node.args[2]:
            return program.run_decompositions({})
    return program


def decomposed(program: Any, targets: Iterable[str]) -> Any:
    """An exported program in which some operators are replaced by what torch says they consist of; all others stay.

    Args:
        program: a `torch.export.ExportedProgram`.
        targets: the operators, as `namespace.name.overload`.
    """
    torch = framework()
    wanted = set(targets)
    table = {op: fn for op, fn in torch.export.default_decompositions().items() if str(op) in wanted}
    return program.run_decompositions(table) if table else program


# ------------------------------------------------------------------------------------------------------ reading
def read(program: Any) -> Program:
    """The neutral form of a `torch.export.ExportedProgram`.

    Raises:
        UairError: it holds what the IR has no type for.
    """
    torch = framework()
    sizes = _sizes(program)
    signature = program.graph_signature
    constants = dict(_constants(program))
    entry = next((e for e in program.module_call_graph if e.fqn == ""), None)
    input_names = naming.input_names(
        _paths(program.call_spec.in_spec),
        (entry.signature.forward_arg_names or ()) if entry is not None else (),
        [p for p in signature.user_inputs if isinstance(p, str)],
    )
    names_of_inputs(((input_names[n.name], _extents(n)) for n in program.graph.nodes if n.name in input_names), sizes)
    graph = GraphReader(program.graph_module, sizes).read()
    mutations = {
        i: str(spec.target)
        for i, spec in enumerate(signature.output_specs)
        if spec.kind.name not in ("USER_OUTPUT", "LOSS_OUTPUT")
    }
    return Program(
        graph=graph,
        constants=constants,
        input_names=input_names,
        output_names=naming.output_names(
            _paths(program.call_spec.out_spec), len(signature.output_specs) - len(mutations)
        ),
        mutations=mutations,
        ranges=_ranges(program, sizes),
        producer=f"pytorch {torch.__version__}",
        versions=(("torch", str(torch.__version__)),),
    )


def dtype_of(dtype: Any) -> DType:
    """The element type of a `torch.dtype`.

    Raises:
        SourceOperatorError: the IR has none.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise SourceOperatorError(
            f"tensors of type torch.{name} are not supported",
            hint="quantize with torch.ao.quantization's PT2E flow, or convert the tensor to a plain type",
        )
    return DTYPES[name]


def _sizes(program: Any) -> Sizes:
    """Names of the sizes that somebody has named: `Dim("batch")` is batch."""
    sizes = Sizes()
    for node in program.graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        environment = getattr(mode, "shape_env", None)
        if environment is not None:
            given: Mapping[str, str] = getattr(environment, "source_name_to_debug_name", {})
            variables: Mapping[str, Any] = getattr(environment, "source_to_var", {})
            for source, name in given.items():
                own = variables.get(source)
                own = environment.replacements.get(own, own)
                if getattr(own, "is_Symbol", False) and name.isidentifier():
                    sizes.call(own.name, name)
            break
    return sizes


def _extents(node: Any) -> Sequence[Any]:
    value = node.meta.get("val")
    return [d if isinstance(d, int) else d.node.expr for d in getattr(value, "shape", ())]


def _ranges(program: Any, sizes: Sizes) -> dict[str, tuple[int, int | None]]:
    found: dict[str, tuple[int, int | None]] = {}
    for own, values in program.range_constraints.items():
        if not own.is_Symbol:  # of a derived size, which has no range of its own
            continue
        low, high = (int(v) if getattr(v, "is_Integer", False) else None for v in (values.lower, values.upper))
        found[sizes.name(own.name)] = (low or 0, high)
    return found


def _paths(spec: Any) -> list[tuple[Any, ...]]:
    """The path of every leaf of a pytree: keys of dicts, positions in sequences."""
    pytree = importlib.import_module("torch.utils._pytree")
    tree = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    pairs, _ = pytree.tree_flatten_with_path(tree)
    return [tuple(_key(k) for k in path) for path, _ in pairs]


def _key(key: Any) -> Any:
    for attribute in ("idx", "key", "name"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return str(key)


# ------------------------------------------------------------------------------------------------------ values
def _constants(program: Any) -> Iterator[tuple[str, tuple[str, Data]]]:
    """Name and values of every lifted tensor, by its placeholder; tensors that share memory share their data."""
    shared: dict[Any, Data] = {}
    for spec in program.graph_signature.input_specs:
        kind = spec.kind.name
        if kind not in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR"):
            continue
        stored = program.state_dict if spec.target in program.state_dict else program.constants
        tensor = stored[spec.target]
        key = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)
        if not tensor.numel() or key not in shared:
            shared[key] = ArrayData(view(tensor, spec.target), dtype_of(tensor.dtype))
        yield spec.arg.name, (spec.target, shared[key])


def view(tensor: Any, name: str) -> Array:
    """The values of a tensor, by reference where they lie in plain memory.

    Raises:
        TorchExportError: it has no values, or is none of a dense type.
    """
    torch = framework()
    if tensor.device.type == "meta" or type(tensor) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        kind = "has no values (it is on the meta device)" if tensor.device.type == "meta" else _kind(tensor)
        raise TorchExportError(
            f"parameter {name!r} {kind}", hint="load the weights first, as plain dense tensors, and export again"
        )
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    dtype = dtype_of(plain.dtype).numpy
    if dtype.kind in "biufc" and dtype.type.__module__ == "numpy":
        return cast(Array, plain.numpy())
    whole = torch.uint8 if dtype.itemsize == 1 else torch.uint16
    bits: Array = plain.view(whole).numpy()
    return bits.view(dtype if dtype != np.dtype(ml_dtypes.bfloat16) else ml_dtypes.bfloat16)


def _kind(tensor: Any) -> str:
    return f"is a {type(tensor).__module__}.{type(tensor).__qualname__}, no plain tensor"


# ------------------------------------------------------------------------------------------------------ graphs
class GraphReader:
    """Reads one torch.fx graph, and the graphs that its control flow runs."""

    def __init__(self, owner: Any, sizes: Sizes) -> None:
        self.owner = owner
        self.sizes = sizes
        self.torch = framework()
        self.values: dict[Any, Argument] = {}
        self.calls: list[Call] = []
        self.names: set[str] = set()
        self.graphs: dict[Any, Any] = {}

    def read(self) -> ProgramGraph:
        """The graph."""
        inputs: list[tuple[str, TensorType | None]] = []
        symbols: dict[str, str] = {}
        for node in self.owner.graph.nodes:
            if node.op == "placeholder":
                name = unique_name(node.name, self.names)
                value = node.meta.get("val")
                is_tensor = isinstance(value, self.torch.Tensor)
                self.values[node] = Ref(name) if is_tensor else self._constant(value)
                if symbol := self._symbol(value):
                    symbols[name] = symbol
                inputs.append((name, self._type(value) if is_tensor or symbol else None))
        outputs = self._body(self.owner)
        return ProgramGraph(tuple(inputs), tuple(self.calls), outputs, symbols)

    def _body(self, owner: Any) -> tuple[Argument, ...]:
        outputs: tuple[Argument, ...] = ()
        for node in owner.graph.nodes:
            if node.op == "call_function":
                self._call(node, owner)
            elif node.op == "get_attr":
                self._attribute(owner, node)
            elif node.op == "output":
                found = self._argument(node.args[0])
                outputs = found if isinstance(found, tuple) else (found,)
        return outputs

    def _attribute(self, owner: Any, node: Any) -> None:
        """What a graph holds: another graph, which is read where it is used, or a number."""
        found = owner
        for part in str(node.target).split("."):
            found = getattr(found, part)
        if isinstance(found, self.torch.fx.GraphModule):
            self.graphs[node] = found
            return
        if isinstance(found, self.torch.Tensor) and found.numel() == 1:
            self.values[node] = cast(Argument, found.item())
            return
        raise TorchExportError(
            f"the exported graph holds {node.target!r}, a {type(found).__name__}, which is no parameter",
            hint="register the tensor as a buffer of the module, or export again with strict=False",
        )

    def _call(self, node: Any, owner: Any) -> None:
        target = node.target
        name = target_name(target)
        if name == "_operator.getitem" and isinstance(self.values.get(node.args[0]), tuple):
            self.values[node] = cast(Any, self.values[node.args[0]])[node.args[1]]
            return
        if name.startswith("higher_order.") and name.partition(".")[2] in INLINED:
            self.values[node] = self._inlined(node)
            return
        value = node.meta.get("val")
        if not _is_item(name) and self._is_size(value, name):
            self.values[node] = self._constant(value)
            return
        arguments = {key: self._argument(a) for key, a in _arguments(target, node)}
        found = value if isinstance(value, (tuple, list)) else () if value is None else (value,)
        types = tuple(self._type(v) for v in found)
        results = self._results(node, found)
        path, kind = _module(node)
        symbols = tuple(map(self._symbol, found))
        self.calls.append(
            Call(
                recurrence.own_name(name),
                arguments,
                results,
                types,
                module_path=path,
                module_type=kind,
                file=_file(node),
                symbols=symbols if any(symbols) else (),
            )
        )
        given = tuple(
            self._constant(v) if isinstance(v, self.torch.SymInt) else Ref(r) if r else None
            for v, r in zip(found, results, strict=True)
        )
        self.values[node] = given if isinstance(value, (tuple, list)) else given[0] if given else None

    def _symbol(self, value: Any) -> str:
        """The name of a number that is nothing but one symbol; empty for all else."""
        if not isinstance(value, (self.torch.SymInt, self.torch.SymFloat)):
            return ""
        expression: Any = value.node.expr
        return self.sizes.name(expression.name) if getattr(expression, "is_Symbol", False) else ""

    def _results(self, node: Any, found: Sequence[Any]) -> tuple[str, ...]:
        """Names of the results of a call."""
        if not isinstance(node.meta.get("val"), (tuple, list)):
            return tuple(unique_name(node.name, self.names) for _ in found)
        used: dict[int, str] = {}
        for user in node.users:
            if user.op == "call_function" and target_name(user.target) == "_operator.getitem":
                if user.users:
                    used.setdefault(user.args[1] % len(found), user.name)
            else:
                for i in range(len(found)):
                    used.setdefault(i, f"{node.name}_{i}")
        return tuple(unique_name(used[i], self.names) if i in used else "" for i in range(len(found)))

    def _inlined(self, node: Any) -> Argument:
        """The results of a graph that is run once, its calls put here."""
        at, owner = next((i, self.graphs[a]) for i, a in enumerate(node.args) if a in self.graphs)
        placeholders = [n for n in owner.graph.nodes if n.op == "placeholder"]
        operands = [self._argument(a) for a in node.args[at + 1 :]]
        while len(operands) < len(placeholders) and operands and isinstance(operands[-1], tuple):
            operands = [*operands[:-1], *operands[-1]]
        first = len(operands) - len(placeholders)
        self.values.update(zip(placeholders, operands[first:], strict=True))
        return self._body(owner)

    def _argument(self, value: Any) -> Argument:
        if isinstance(value, self.torch.fx.Node):
            graph = self.graphs.get(value)
            return self.values[value] if graph is None else GraphReader(graph, self.sizes).read()
        if isinstance(value, (tuple, list)):
            return tuple(self._argument(v) for v in value)
        if isinstance(value, slice):
            return tuple(self._argument(v) for v in (value.start, value.stop, value.step))
        if value is None or isinstance(value, (bool, int, float, complex, str)):
            return value
        if isinstance(value, self.torch.dtype):
            return dtype_of(value)
        if isinstance(value, (self.torch.device, self.torch.memory_format, self.torch.layout)):
            return str(value).removeprefix("torch.")
        return self._constant(value)

    def _constant(self, value: Any) -> Argument:
        """A number, or a symbolic one as an expression."""
        if isinstance(value, (self.torch.SymInt, self.torch.SymFloat, self.torch.SymBool)):
            expression = value.node.expr
            if getattr(expression, "is_Float", False):
                return float(expression)
            if getattr(expression, "is_Boolean", False) or str(expression) in ("True", "False"):
                return bool(expression)
            found = self.sizes.dim(expression)
            if found is None:
                raise SourceOperatorError(
                    f"the size {expression} cannot be expressed", hint="export the model with that size fixed"
                )
            return found
        if value is None or isinstance(value, (bool, int, float, complex, str)):
            return value
        raise SourceOperatorError(f"an argument of type {type(value).__name__} cannot be expressed")

    def _is_size(self, value: Any, name: str) -> bool:
        """Whether a call only computes a number that is an expression of sizes."""
        if isinstance(value, (bool, int, float)):
            return True
        return isinstance(value, self.torch.SymInt) and not name.startswith("higher_order.")

    def _type(self, value: Any) -> TensorType | None:
        if isinstance(value, self.torch.Tensor):
            return TensorType(dtype_of(value.dtype), tuple(map(self._extent, value.shape)))
        for kind, dtype in (("SymInt", DType.I64), ("SymFloat", DType.F64), ("SymBool", DType.BOOL)):
            if isinstance(value, getattr(self.torch, kind)):
                return TensorType(dtype, ())
        return None

    def _extent(self, extent: Any) -> Dim:
        if isinstance(extent, int):
            return extent
        found = self.sizes.dim(extent.node.expr)
        return fresh_symbol() if found is None else found


def target_name(target: Any) -> str:
    """What is called, as `namespace.name.overload`."""
    if hasattr(target, "_schema") and hasattr(target, "_overloadname"):
        return str(target)
    if type(target).__module__.startswith("torch._higher_order_ops") or hasattr(target, "_name"):
        return f"higher_order.{target.name() if callable(getattr(target, 'name', None)) else target}"
    module = getattr(target, "__module__", "") or "_operator"
    return f"{module}.{getattr(target, '__name__', target)}"


def _is_item(name: str) -> bool:
    return name in ("aten.item.default", "aten._local_scalar_dense.default")


def _arguments(target: Any, node: Any) -> Iterator[tuple[str, Any]]:
    """Arguments by the schema's names, in the schema's order."""
    schema = getattr(target, "_schema", None)
    if schema is None:
        names = HIGHER_ORDER.get(target_name(target), ())
        for i, value in enumerate(node.args):
            yield (names[i] if i < len(names) else f"arg{i}"), value
        yield from node.kwargs.items()
        return
    for i, argument in enumerate(schema.arguments):
        if i < len(node.args):
            yield argument.name, node.args[i]
        elif argument.name in node.kwargs:
            yield argument.name, node.kwargs[argument.name]


def _module(node: Any) -> tuple[str, str]:
    """Path and class of the innermost module that makes a call."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return "", ""
    path, kind = stack[-1]
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return ("", "") if path.startswith("_empty_nn_module_stack") else (str(path), kind)


def _file(node: Any) -> str:
    """The innermost line of a call's stack that is the user's: outside of torch."""
    return user_line(node.meta.get("stack_trace") or "", _is_framework)
