"""Runs a neutral program with PyTorch's own operators: what the program means, without any handler of UAIR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import torch

from uair.frontends.torch.live import DTYPES
from uair.frontends.torch.program import Argument, Program, ProgramGraph, Ref
from uair.ir.dtype import DType

_TORCH = {dtype: getattr(torch, name) for name, dtype in DTYPES.items()}


def run_program(program: Program, *inputs: torch.Tensor) -> list[Any]:
    """The outputs of a program, all of them, in order."""
    values: dict[str, Any] = {}
    given = iter(inputs)
    for name, type_ in program.graph.inputs:
        if name in program.constants:
            values[name] = _tensor(program.constants[name][1].array())
        elif type_ is not None:
            values[name] = next(given)
    return _run(program.graph, values)


def _tensor(array: Any) -> torch.Tensor:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(np.array(array.view(np.uint16))).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def _run(graph: ProgramGraph, values: dict[str, Any]) -> list[Any]:
    for call in graph.calls:
        arguments = {name: _value(argument, values) for name, argument in call.arguments.items()}
        if call.target == "higher_order.cond":
            branch = arguments["true_fn"] if bool(arguments["pred"]) else arguments["false_fn"]
            names = [name for name, _ in branch.inputs]
            found: Any = _run(branch, dict(zip(names, arguments["operands"], strict=True)))
        else:
            found = _operator(call.target)(**arguments)
        results: Sequence[Any] = found if isinstance(found, (tuple, list)) else (found,)
        for name, type_, result in zip(call.results, call.types, results, strict=False):
            if name and type_ is not None:
                assert tuple(result.shape) == type_.shape, f"{call.target}: {tuple(result.shape)} is not {type_}"
                assert result.dtype is _TORCH[type_.dtype], f"{call.target}: {result.dtype} is not {type_}"
            values[name] = result
    return [_value(output, values) for output in graph.outputs]


def _operator(target: str) -> Any:
    namespace, name, overload = target.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), name), overload)


def _value(argument: Argument, values: Mapping[str, Any]) -> Any:
    if isinstance(argument, Ref):
        return values[argument.name]
    if isinstance(argument, tuple):
        return [_value(a, values) for a in argument]
    if isinstance(argument, DType):
        return _TORCH[argument]
    if argument == "cpu":
        return torch.device("cpu")
    if isinstance(argument, str) and argument.endswith("_format"):
        return getattr(torch, argument)
    return argument
