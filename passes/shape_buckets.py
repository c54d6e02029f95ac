"""Shape buckets: one compiled model for several input shapes.

What the buckets have in common is bound like any shape; the sizes in which they differ stay symbolic in the module, and
every bucket says which numbers they take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from uair.errors import ShapeBindingError
from uair.ir.dims import static, substitute, symbols_of
from uair.ir.graph import Graph
from uair.ir.module import Module
from uair.passes.bind_shapes import bind_shapes, describe_inputs, learn_sizes
from uair.targets.errors import BucketError

Shapes = Mapping[str, tuple[int, ...]]


@attrs.frozen
class Buckets:
    """The buckets of a compilation, against the inputs of its model.

    Attributes:
        common: number of every symbolic size in which the buckets agree, by name.
        sizes: for each bucket the numbers of the others, by name.
        shapes: for each bucket the shape of every input, by name.
    """

    common: Mapping[str, int]
    sizes: tuple[Mapping[str, int], ...]
    shapes: tuple[Shapes, ...]


def resolve_buckets(graph: Graph, buckets: Sequence[Shapes], fixed: Shapes) -> Buckets:
    """What the buckets say about the symbolic sizes of a graph's inputs.

    Args:
        graph: main graph of the model as it was read.
        buckets: shapes by input name; an input that a bucket leaves out has its shape in `fixed`, or follows from sizes
            that other inputs share with it.
        fixed: shapes that hold in every bucket.

    Raises:
        BucketError: there are fewer than two different buckets, or one leaves a size open.
        ShapeBindingError: an unknown input, a wrong rank, a contradiction with the model.
    """
    _require_tensors(graph)
    names = sorted({s for t in graph.inputs for s in symbols_of(t.type.dims)})
    found: list[dict[str, int]] = []
    for bucket in buckets:
        twice = sorted(set(bucket) & set(fixed))
        if twice:
            raise BucketError(f"both a shape and a bucket are given for input {twice[0]!r}", hint="leave one out")
        sizes = learn_sizes(graph, {**fixed, **bucket})
        missing = [n for n in names if n not in sizes]
        if missing:
            text = "; ".join(f"{k}={','.join(map(str, v))}" for k, v in bucket.items())
            raise BucketError(
                f"the bucket {text} leaves the size {missing[0]!r} open",
                hint=f"give every input with open sizes a shape; the inputs are {describe_inputs(graph)}",
            )
        if sizes not in found:
            found.append(sizes)
    if len(found) < 2:
        raise BucketError(
            "one bucket is no choice: the shapes given are the same for every size that the model leaves open",
            hint="give several buckets that differ, or one shape with --shape",
        )
    common = {n: found[0][n] for n in names if all(sizes[n] == found[0][n] for sizes in found)}
    rest = tuple({n: sizes[n] for n in names if n not in common} for sizes in found)
    shapes = tuple(
        {
            name: static(tuple(substitute(d, sizes) for d in tensor.type.dims))
            for name, tensor in zip(graph.input_names, graph.inputs, strict=True)
        }
        for sizes in found
    )
    return Buckets(common, rest, shapes)


def in_bucket(module: Module, sizes: Mapping[str, int]) -> Module:
    """A copy of a module with the numbers of one bucket.

    Raises:
        TypeInferenceError: an operator of the model does not accept the sizes.
    """
    bound = module.clone()
    known = {s for t in bound.main.inputs for s in symbols_of(t.type.shape or ())}
    bind_shapes(bound, {}, sizes={n: size for n, size in sizes.items() if n in known})
    return bound


def _require_tensors(graph: Graph) -> None:
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        if not tensor.type.is_tensor or tensor.type.shape is None:
            raise ShapeBindingError(
                f"input {name!r} is {tensor.type}: buckets are for tensors of known rank",
                hint="compile for one shape, with --shape",
            )
