"""Recurrent layers whose number of steps stays open when a module is exported.

torch.export records a recurrent layer as one call, but finds the shapes of its results by unrolling it, which fixes the
number of steps to that of the example. Where it is open, the layer is recorded as an operator of UAIR's own with the
same arguments, whose shapes are told without a loop; the reader of the program calls it by PyTorch's name again.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from uair.frontends.torch.errors import TorchExportError

NAMESPACE = "uair_torch"
"""Where the operators are registered with PyTorch; `uair` itself may be somebody's."""
_OPTIONS = "bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first"
_STATES = {"lstm": "Tensor[] hx", "gru": "Tensor hx", "rnn_tanh": "Tensor hx", "rnn_relu": "Tensor hx"}
"""The operators, with how each takes its states. The names of the arguments are PyTorch's."""
_PACKED = "torch.export cannot trace a packed sequence, whose layout the lengths in the data decide"
_UNPACK = (
    "pad the sequences to one length and give the layer the padded tensor: the steps of a sequence do not see those "
    "behind its end, and its last state is the output at step length - 1 (gather); for the way back, flip the steps "
    "within each length first"
)


def own_name(target: str) -> str:
    """PyTorch's name of an operator by which a layer was recorded; that of any other operator."""
    namespace, _, rest = target.partition(".")
    return f"aten.{rest.partition('.')[0]}.input" if namespace == NAMESPACE else target


@functools.cache
def recording() -> type[Any]:
    """The class of contexts in which layers with an open number of steps are recorded as operators of UAIR's own.

    Packing of sequences raises TorchExportError in them.
    """
    torch = importlib.import_module("torch")
    packing = torch._VF._pack_padded_sequence
    operators = {getattr(torch, name): (_registered(torch, name), name) for name in _STATES}

    def called(_: Any, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What a function of torch gives; every call of one comes here."""
        if function is packing:
            raise TorchExportError(_PACKED, hint=_UNPACK)
        found = operators.get(function)
        if found is None or kwargs or not _is_open(torch, args):
            return function(*args, **(kwargs or {}))
        operator, name = found
        states = list(args[1]) if name == "lstm" else args[1]
        return operator(args[0], states, list(args[2]), *args[3:])

    return type("Recording", (torch.overrides.TorchFunctionMode,), {"__torch_function__": called})


def _is_open(torch: Any, args: Sequence[Any]) -> bool:
    """Whether a call has the form for tensors (that for packed sequences has the sizes second), of open length."""
    if len(args) != 9 or not isinstance(args[0], torch.Tensor) or args[0].dim() != 3:
        return False
    return isinstance(args[0].shape[1 if args[8] else 0], torch.SymInt)


def _registered(torch: Any, name: str) -> Any:
    """An operator with the arguments and results of PyTorch's."""
    results = "Tensor, Tensor, Tensor" if name == "lstm" else "Tensor, Tensor"
    schema = f"(Tensor input, {_STATES[name]}, Tensor[] params, {_OPTIONS}) -> ({results})"
    compute: Callable[..., Any] = getattr(torch, name)

    def layer(x: Any, states: Any, params: Any, *options: Any) -> Any:
        return tuple(part.clone() for part in compute(x, states, params, *options))

    def shapes(x: Any, states: Any, params: Any, *options: Any) -> Any:
        _, _, _, _, bidirectional, batch_first = options
        given = states if name == "lstm" else [states]
        steps, batch = (1, 0) if batch_first else (0, 1)
        sizes = [0, 0, given[0].shape[-1] * (2 if bidirectional else 1)]
        sizes[steps], sizes[batch] = x.shape[steps], x.shape[batch]
        return (x.new_empty(sizes), *(torch.empty_like(s) for s in given))

    operator = torch.library.custom_op(f"{NAMESPACE}::{name}", layer, mutates_args=(), schema=schema)
    operator.register_fake(shapes)
    return getattr(getattr(torch.ops, NAMESPACE), name).default
