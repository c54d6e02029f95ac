"""Which ATen operators give a view of their operand's memory, and how what is written into a view goes back.

A view is stated in one form, whatever the program calls: elements of `chunk` are slices, `flatten` and `unsqueeze` are
`view`, `transpose` and `movedim` are `permute`. Two views of one tensor that are stated alike are the same memory.
The shapes are those that PyTorch recorded. Source: the aliasing annotations of ATen's schemas (`Tensor(a)`), and for
operators that give a view or a copy, PyTorch's documentation of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from uair.frontends.torch.program import Argument, Call, Ref
from uair.ir.dims import Dim, Shape, substitute_shape, symbols_of
from uair.ir.types import TensorType

WHOLE = 2**63 - 1
"""The end of a slice that has none."""


class Sample:
    """Sizes as numbers: every symbol is a large prime of its own, so that only what is always equal is equal."""

    def __init__(self) -> None:
        self._primes: dict[str, Dim] = {}
        self._last = 10_000

    def numbers(self, shape: Shape) -> tuple[int, ...] | None:
        """A shape in numbers; None where an expression is no whole number for them."""
        for name in symbols_of(shape):
            while name not in self._primes:
                self._last += 1
                if all(self._last % i for i in range(2, math.isqrt(self._last) + 1)):
                    self._primes[name] = self._last
        found = substitute_shape(shape, self._primes)
        numbers = tuple(d for d in found if isinstance(d, int))
        return numbers if len(numbers) == len(found) else None


@attrs.frozen
class Strides:
    """How a tensor lies in memory, in the numbers of a `Sample`."""

    shape: tuple[int, ...]
    steps: tuple[int, ...]

    @staticmethod
    def rows(shape: tuple[int, ...] | None) -> Strides | None:
        """Row by row."""
        if shape is None:
            return None
        return Strides(shape, tuple(math.prod(shape[i + 1 :]) for i in range(len(shape))))

    @property
    def are_rows(self) -> bool:
        """Whether the tensor lies row by row."""
        rows = Strides.rows(self.shape)
        assert rows is not None
        return all(d == 1 or a == b for d, a, b in zip(self.shape, self.steps, rows.steps, strict=True))

    def reshaped(self, shape: tuple[int, ...]) -> Strides | None:
        """How the elements lie in another shape; None when no strides give their order.

        Axes that follow each other in memory are one run, and every run must be cut into whole new axes.
        """
        runs: list[tuple[int, int]] = []  # elements, and the step of the last axis; the last run first
        for extent, step in zip(self.shape[::-1], self.steps[::-1], strict=True):
            if extent == 1:
                continue
            if runs and step == runs[-1][0] * runs[-1][1]:
                runs[-1] = (runs[-1][0] * extent, runs[-1][1])
            else:
                runs.append((extent, step))
        steps: list[int] = []
        rest = iter(runs)
        elements, step = next(rest, (1, 1))
        for extent in shape[::-1]:
            if elements == 1 and extent != 1:
                elements, step = next(rest, (1, 1))
            if elements % extent:
                return None
            steps.append(step)
            elements, step = elements // extent, step * extent
        return Strides(shape, tuple(steps[::-1])) if elements == 1 else None


@attrs.frozen
class View:
    """A tensor that lies in another one's memory.

    Attributes:
        source: the name of the value that is looked at.
        type: of the view.
        target: the operator that takes the view of a value given as `self`; "" where the view is the value itself.
        arguments: its further arguments.
        undo: the operator that makes the new source from the view's new value; "" where it cannot be made.
        undo_arguments: its further arguments.
        scatters: whether `undo` takes the old source as `self` and the new value as `src`; it takes the new value as
            `self` otherwise.
        certain: False where PyTorch may also have made a copy, which depends on strides that are not known.
    """

    source: str
    type: TensorType
    target: str = ""
    arguments: Mapping[str, Argument] = attrs.field(factory=dict[str, Argument])
    undo: str = ""
    undo_arguments: Mapping[str, Argument] = attrs.field(factory=dict[str, Argument])
    scatters: bool = False
    certain: bool = True

    def strides(self, source: Strides | None, shape: tuple[int, ...] | None) -> Strides | None:
        """How the view lies in memory, where that is known.

        Args:
            source: how what it is a view of lies there.
            shape: the view's, in numbers.
        """
        if source is None or shape is None:
            return None
        steps = list(source.steps)
        given: Mapping[str, Any] = self.arguments
        if self.target == "aten.view.default":
            return source.reshaped(shape)
        if self.target == "aten.permute.default":
            return Strides(shape, tuple(steps[p] for p in given["dims"]))
        if self.target == "aten.select.int":
            del steps[given["dim"]]
            return Strides(shape, tuple(steps))
        if self.target == "aten.slice.Tensor" and isinstance(given["step"], int):
            steps[given["dim"]] *= given["step"]
            return Strides(shape, tuple(steps))
        return source if not self.target else None

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells two views of one tensor apart."""
        return self.target, self.type, *self.arguments.items()


@attrs.frozen
class Look:
    """A call that takes views: its source and the types of its results."""

    call: Call
    source: str
    operand: TensorType
    memory: Strides | None
    """How the operand lies in memory, where that is known."""
    sample: Sample

    @property
    def result(self) -> TensorType:
        """The type of the first result."""
        found = self.call.types[0]
        assert found is not None  # views_of has looked
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or the schema's default."""
        return self.call.arguments.get(name, default)

    def axis(self, name: str, default: int = 0) -> int:
        """An axis counted from the start."""
        return _from_start(int(self.get(name, default)), self.operand.rank)

    def axes(self, name: str) -> tuple[int, ...]:
        """Axes counted from the start; one number stands for itself."""
        given = self.get(name)
        return tuple(_from_start(int(a), self.operand.rank) for a in (given if isinstance(given, tuple) else (given,)))

    # ------------------------------------------------------------------ the forms of a view
    def itself(self, *, certain: bool = True) -> View:
        """The operand under another name."""
        return View(self.source, self.operand, certain=certain)

    def copied(self) -> View | None:
        """No view: the result has memory of its own."""
        return None

    def reshaped(self, *, certain: bool = True) -> View:
        """The operand's elements in order, in the shape of the result."""
        if self.result == self.operand:
            return self.itself(certain=certain)
        return View(
            self.source,
            self.result,
            "aten.view.default",
            {"size": self.result.dims},
            "aten.view.default",
            {"size": self.operand.dims},
            certain=certain,
        )

    def permuted(self, perm: Sequence[int]) -> View:
        """The operand with its axes in another order."""
        if list(perm) == sorted(perm):
            return self.itself()
        back = tuple(sorted(range(len(perm)), key=perm.__getitem__))
        name = "aten.permute.default"
        return View(self.source, self.result, name, {"dims": tuple(perm)}, name, {"dims": back})

    def selected(self, result: TensorType, axis: int, index: Argument) -> View:
        """One index of an axis, which goes away."""
        where: dict[str, Argument] = {"dim": axis, "index": index}
        return View(self.source, result, "aten.select.int", where, "aten.select_scatter.default", where, scatters=True)

    def sliced(self, result: TensorType, axis: int, start: Argument, end: Argument, step: Argument = 1) -> View:
        """A range of an axis."""
        if result == self.operand and step == 1:
            return self.itself()
        where: dict[str, Argument] = {"dim": axis, "start": start, "end": end, "step": step}
        return View(self.source, result, "aten.slice.Tensor", where, "aten.slice_scatter.default", where, scatters=True)

    def parts(self, axis: int) -> Iterator[View]:
        """The results as ranges of an axis that follow one another."""
        start: Dim = 0
        for result in self.call.types:
            assert result is not None
            end = start + result.dims[axis]
            yield self.sliced(result, axis, start, end)
            start = end

    def as_called(self, undo: str = "", undo_arguments: Mapping[str, Argument] | None = None) -> View:
        """A view that has no other form than the call."""
        rest = {name: value for name, value in self.call.arguments.items() if name != "self"}
        return View(self.source, self.result, self.call.target, rest, undo, undo_arguments or {})


Found: TypeAlias = "View | None | Iterator[View]"
Rule = Callable[[Look], Found]


def views_of(
    call: Call, name: str, source: TensorType | None, memory: Strides | None, sample: Sample
) -> list[View] | None:
    """The views that a call takes, one for each result.

    Args:
        call: the call.
        name: of its operator, without namespace, overload and the underscore of an operator in place.
        source: the type of its first argument, when that is a tensor.
        memory: how that lies in memory, where that is known.
        sample: gives numbers for sizes.

    Returns:
        None where the call gives tensors with memory of their own.
    """
    rule = VIEWS.get(name)
    operand = next(iter(call.arguments.values()), None)
    if rule is None or not isinstance(operand, Ref):
        return None
    known = [t for t in call.types if t is not None and t.shape is not None]
    if source is None or source.shape is None or not known or len(known) < len(call.types):
        return None
    found = rule(Look(call, operand.name, source, memory, sample))
    if found is None or isinstance(found, View):
        return None if found is None else [found]
    return list(found)


def _from_start(axis: int, rank: int) -> int:
    return axis + rank if axis < 0 else axis


# ------------------------------------------------------------------ the operators
def _same(look: Look) -> Found:
    return look.itself() if look.result.dtype is look.operand.dtype else look.copied()


def _reshape(look: Look) -> Found:
    shape = look.sample.numbers(look.result.dims)
    if look.result == look.operand:
        return look.itself()
    if look.memory is None or shape is None:
        return look.reshaped(certain=False)
    return look.reshaped() if look.memory.reshaped(shape) is not None else look.copied()


def _contiguous(look: Look) -> Found:
    if look.memory is None:
        return look.itself(certain=False)
    return look.itself() if look.memory.are_rows else look.copied()


def _view(look: Look) -> Found:
    dtype = look.get("dtype")
    if dtype is None:
        return look.reshaped()
    if look.result.dtype.bits != look.operand.dtype.bits:
        return look.as_called()
    return look.as_called("aten.view.dtype", {"dtype": look.operand.dtype})


def _to(look: Look) -> Found:
    if look.get("copy", False) or look.result.dtype is not look.operand.dtype:
        return look.copied()
    return look.itself(certain=look.get("memory_format") in (None, "preserve_format"))


def _dropout(look: Look) -> Found:
    return look.copied() if look.get("train", True) and look.get("p", 0.5) != 0 else look.itself()


def _real(look: Look) -> Found:
    return look.itself() if look.result.dtype is look.operand.dtype else look.as_called()


def _conj(look: Look) -> Found:
    is_complex = look.operand.dtype.value.startswith("c")
    return look.as_called(look.call.target) if is_complex else look.itself()


def _select(look: Look) -> Found:
    return look.selected(look.result, look.axis("dim"), look.get("index"))


def _slice(look: Look) -> Found:
    start, end = look.get("start"), look.get("end")
    whole = WHOLE if end is None else end
    return look.sliced(look.result, look.axis("dim"), 0 if start is None else start, whole, look.get("step", 1))


def _narrow(look: Look) -> Found:
    axis, start = look.axis("dim"), look.get("start")
    if isinstance(start, Ref):
        return look.as_called()
    extents: Shape = look.operand.dims
    if isinstance(start, int) and start < 0:
        start = start + extents[axis]
    return look.sliced(look.result, axis, start, start + look.result.dims[axis])


def _unbind(look: Look) -> Found:
    axis = look.axis("dim")
    return (look.selected(t, axis, i) for i, t in enumerate(look.call.types) if t is not None)


def _split(look: Look) -> Found:
    return look.parts(look.axis("dim"))


def _split_at(axis: int) -> Rule:
    return lambda look: look.parts(min(axis, look.operand.rank - 1))


def _permute(look: Look) -> Found:
    return look.permuted(look.axes("dims"))


def _swap(first: str, second: str) -> Rule:
    def rule(look: Look) -> Found:
        perm = list(range(look.operand.rank))
        if perm:
            a, b = look.axis(first), look.axis(second)
            perm[a], perm[b] = perm[b], perm[a]
        return look.permuted(perm)

    return rule


def _move(look: Look) -> Found:
    source, destination = look.axes("source"), look.axes("destination")
    moved = dict(zip(destination, source, strict=True))
    rest = iter(a for a in range(look.operand.rank) if a not in source)
    return look.permuted([moved[i] if i in moved else next(rest) for i in range(look.operand.rank)])


def _reverse(look: Look) -> Found:
    return look.permuted(range(look.operand.rank)[::-1])


def _matrix(look: Look) -> Found:
    perm = list(range(look.operand.rank))
    perm[-2:] = perm[-2:][::-1]
    is_hermitian = look.call.target.split(".")[1] in ("mH", "matrix_H", "adjoint")
    return look.as_called() if is_hermitian and look.operand.dtype.value.startswith("c") else look.permuted(perm)


def _diagonal(first: int, second: int) -> Rule:
    def rule(look: Look) -> Found:
        where = {"offset": look.get("offset", 0), "dim1": look.axis("dim1", first), "dim2": look.axis("dim2", second)}
        return View(
            look.source,
            look.result,
            "aten.diagonal.default",
            where,
            "aten.diagonal_scatter.default",
            where,
            scatters=True,
        )

    return rule


def _expand(look: Look) -> Found:
    if look.result == look.operand:
        return look.itself()
    return View(look.source, look.result, "aten.expand.default", {"size": look.result.dims})


def _as_called(look: Look) -> Found:
    return look.as_called()


def _as_real(look: Look) -> Found:
    return look.as_called("aten.view_as_complex.default")


def _as_complex(look: Look) -> Found:
    return look.as_called("aten.view_as_real.default")


def _reordering(look: Look) -> Found:
    return look.reshaped()


VIEWS: dict[str, Rule] = {
    **dict.fromkeys(
        ("alias", "detach", "lift_fresh", "positive", "requires_grad", "resolve_conj", "resolve_neg", "cpu", "cuda"),
        _same,
    ),
    **dict.fromkeys(("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"), _dropout),
    **dict.fromkeys(("to", "type_as"), _to),
    **dict.fromkeys(("squeeze", "unsqueeze", "unflatten", "view_as"), _reordering),
    **dict.fromkeys(("reshape", "reshape_as", "flatten", "ravel"), _reshape),
    **dict.fromkeys(("atleast_1d", "atleast_2d", "atleast_3d"), _reordering),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expand),
    **dict.fromkeys(("transpose", "swapdims"), _swap("dim0", "dim1")),
    **dict.fromkeys(("movedim", "moveaxis"), _move),
    **dict.fromkeys(("numpy_T", "t"), _reverse),
    **dict.fromkeys(("mT", "mH", "matrix_H", "adjoint"), _matrix),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split"), _split),
    **dict.fromkeys(("as_strided", "unfold", "_reshape_alias"), _as_called),
    **dict.fromkeys(("real", "imag"), _real),
    **dict.fromkeys(("conj", "_conj", "_neg_view"), _conj),
    "contiguous": _contiguous,
    "view": _view,
    "swapaxes": _swap("axis0", "axis1"),
    "permute": _permute,
    "select": _select,
    "slice": _slice,
    "narrow": _narrow,
    "unbind": _unbind,
    "hsplit": _split_at(1),
    "vsplit": _split_at(0),
    "dsplit": _split_at(2),
    "diagonal": _diagonal(0, 1),
    "linalg_diagonal": _diagonal(-2, -1),
    "view_as_real": _as_real,
    "view_as_complex": _as_complex,
}
"""The operators whose result may be a view of their first argument, by name without overload."""
