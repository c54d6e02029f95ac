"""Several input shapes in one compiled model, and sizes that stay open, as ATC's command line states them.

--dynamic_batch_size: the first extent of some inputs is -1, the same number in all of them; 2 to 100 gears of 1 to
2048. --dynamic_image_size: height and width of one image input. --dynamic_dims: any extents, one number for each -1 in
every gear, with --input_format=ND. The three exclude each other, the last one also AIPP; each gives the compiled model
one more input, by which the caller says which gear it uses. Source: hicann/ge, docs, CLI_options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from uair.ir.dims import Dim, plain_symbol
from uair.ir.graph import Graph
from uair.targets.errors import BucketError, OptionError

Kind = Literal["batch", "image", "dims"]
FEWEST, MOST, LARGEST_BATCH = 2, 100, 2048
FLAGS: Mapping[Kind, str] = {
    "batch": "dynamic_batch_size",
    "image": "dynamic_image_size",
    "dims": "dynamic_dims",
}
Shapes = Sequence[tuple[int, ...]]
"""The shape of every input."""


@attrs.frozen
class Gears:
    """The gears of a compiled model.

    Attributes:
        kind: which option states them.
        value: its value.
        shapes: of every input, with -1 where they differ.
    """

    kind: Kind
    value: str
    shapes: tuple[tuple[int, ...], ...]

    @property
    def flag(self) -> str:
        """The option's name."""
        return FLAGS[self.kind]


def gears_of(graph: Graph, buckets: Sequence[Shapes], wanted: str, *, pictures: bool) -> Gears:
    """The gears for buckets.

    Args:
        graph: with its inputs.
        buckets: at least two, all different.
        wanted: "auto", or the kind.
        pictures: whether AIPP prepares an input.

    Raises:
        BucketError: the buckets have no form of that kind.
    """
    if not FEWEST <= len(buckets) <= MOST:
        raise BucketError(f"ATC takes {FEWEST} to {MOST} shapes, these are {len(buckets)}")
    shapes = tuple(
        tuple(first if all(b[i][axis] == first for b in buckets) else -1 for axis, first in enumerate(shape))
        for i, shape in enumerate(buckets[0])
    )
    kinds: tuple[Kind, ...] = ("batch", "image", "dims")
    refusals: dict[Kind, str] = {}
    for kind in kinds:
        refusals[kind] = _refusal(kind, graph, shapes, buckets, pictures)
        if wanted in ("auto", kind) and not refusals[kind]:
            return Gears(kind, _value(kind, shapes, buckets), shapes)
    reasons = "; ".join(f"--{FLAGS[k]}: {refusals[k]}" for k in kinds if wanted in ("auto", k))
    raise BucketError(f"ATC has no form of these shape buckets: {reasons}")


def _refusal(kind: Kind, graph: Graph, shapes: Shapes, buckets: Sequence[Shapes], pictures: bool) -> str:
    """Why the buckets have no form of this kind; empty when they have one."""
    if kind == "dims":
        return "it excludes AIPP (--preprocess)" if pictures else ""
    open_axes = [(i, axis) for i, shape in enumerate(shapes) for axis, d in enumerate(shape) if d == -1]
    if kind == "image":
        if [axis for _, axis in open_axes] != [2, 3] or len({i for i, _ in open_axes}) != 1:
            return "only height and width of one image input may differ"
        return "" if len(shapes[open_axes[0][0]]) == 4 else "only images have a height and a width"
    if any(axis for _, axis in open_axes):
        return "only the first extent of inputs may differ"
    sizes = [{bucket[i][0] for i, _ in open_axes} for bucket in buckets]
    if any(len(numbers) != 1 for numbers in sizes):
        return "all inputs must have the same batch size"
    largest = max(max(numbers) for numbers in sizes)
    return "" if largest <= LARGEST_BATCH else f"batch sizes are 1 to {LARGEST_BATCH}, not {largest}"


def _value(kind: Kind, shapes: Shapes, buckets: Sequence[Shapes]) -> str:
    """The option's value: `1,4` for batches, `320,320;640,640` for the others."""
    marks = [(i, axis) for i, shape in enumerate(shapes) for axis, d in enumerate(shape) if d == -1]
    rows = [[bucket[i][axis] for i, axis in marks] for bucket in buckets]
    if kind == "batch":
        return ",".join(str(row[0]) for row in rows)
    return ";".join(",".join(map(str, row)) for row in rows)


# ---------------------------------------------------------------------------------------------------------- open sizes
def open_shapes(graph: Graph, ranges: Mapping[str, str]) -> list[list[str]]:
    """The shape of every input as --input_shape states it: numbers, -1, or a range where one is given.

    Raises:
        OptionError: a range is for a size that no input has, or that is not open.
    """
    known = {s for t in graph.inputs for d in t.type.dims if (s := plain_symbol(d))}
    unknown = sorted(set(ranges) - known)
    if unknown:
        hint = f"the open sizes are {', '.join(sorted(known))}" if known else "every size is a number"
        raise OptionError(f"size_ranges names {unknown[0]!r}, which is no open size", hint=hint)
    return [[_extent(d, ranges) for d in t.type.dims] for t in graph.inputs]


def _extent(d: Dim, ranges: Mapping[str, str]) -> str:
    if isinstance(d, int):
        return str(d)
    return ranges.get(plain_symbol(d) or "", "-1")
