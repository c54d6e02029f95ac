"""The parts of a device description that the cost model reads: arithmetic units, and how nodes use the chip.

A `[[unit]]` says how many products or elements one unit of one core takes per clock cycle; `[cost]` says which memory
the tensors of a model lie in, how many cores one node gets, and what the vendor's compiler makes one step of. What a
description leaves out is not guessed: uair.targets.cost then answers from the peak alone, as uncertain, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from uair.ir.dtype import DType
from uair.targets.verdict import Confidence

Counts = Mapping[DType, int]


def _none() -> Counts:
    return {}


@attrs.frozen
class Unit:
    """An arithmetic unit of a core.

    Attributes:
        name: the vendor's word: "cube", "CNA".
        does: "matrix": convolutions and matrix products; "depthwise": convolutions with one channel a group; "vector":
            everything else.
        rows: pixels of a feature map, or rows of a matrix, that it takes per cycle.
        row_alignment: their number is rounded up to a multiple of it, for every image.
        inputs: by element type the channels (or length of the sums) that it takes per cycle; a vector unit has none.
        outputs: by element type the output channels (or columns) that it makes per cycle; for a depthwise unit the
            channels, for a vector unit the operations per cycle.
        least_steps: by element type the fewest cycles that a row takes for a block of output channels.
        longest: by element type the longest sum (kernel elements * input channels) of one step; longer ones are cut
            over the channels, see `uair.targets.products.pieces`. Pieces of integers need a scale in between, or are
            floats, see `CostModel.integers`.
        lone_input: whether a convolution of one input channel passes over the pixels once, however many channels it
            makes.
        groups: what becomes of grouped convolutions: "each": every group is a convolution of its own; "whole": the same
            where a group has a multiple of eight channels and at least a block of the layout, else they are one dense
            convolution; "merged": as many groups
            share a block as fill it (Ascend's grouped FRACTAL_Z).
        leaving: by element type the block that the channels of a result fill where it leaves the model; elsewhere it is
            the layout's.
        weights: how weights lie in memory: "blocks": input and output channels padded to whole blocks of the unit;
            "packed": as Rockchip's compiler lays them, without padding but for up to four input channels and multiples
            of eight below 32 (depthwise: where one block is missing), which fill a power of two of the layout's blocks.
        parameters: by element type the bytes of bias and scale that an output channel has, padded to whole `outputs`.
        cores: how many there are of it on the chip, where that is not the number of cores.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    name: str
    does: Literal["matrix", "depthwise", "vector"]
    outputs: Counts
    inputs: Counts = attrs.field(factory=_none)
    rows: int = 1
    row_alignment: int = 1
    least_steps: Counts = attrs.field(factory=_none)
    longest: Counts = attrs.field(factory=_none)
    lone_input: bool = False
    groups: Literal["each", "whole", "merged"] = "each"
    leaving: Counts = attrs.field(factory=_none)
    weights: Literal["blocks", "packed"] = "blocks"
    parameters: Counts = attrs.field(factory=_none)
    cores: int | None = None
    source: str = ""
    confidence: Confidence | None = None


@attrs.frozen
class Epilogue:
    """What the compiler makes part of some products.

    Attributes:
        of: the operators that form the products.
        rank: of their results; any when not given.
        stages: lists of operators: of each list at most one is taken, in this order. "Dequantize" is also the Cast of a
            product of integers, its product with that of two scales, and the sum with a bias, as one.
        before: operators that become part of such a product when they give its first operand, something behind it
            becomes part of it, and nothing else reads their results.
    """

    of: tuple[str, ...]
    rank: int | None = None
    stages: tuple[tuple[str, ...], ...] = ()
    before: tuple[str, ...] = ()


@attrs.frozen
class Stages:
    """What may still become part of a product.

    Attributes:
        left: see `Epilogue.stages`.
        again: whether a list is not used up by what is taken of it.
    """

    left: tuple[tuple[str, ...], ...]
    again: bool = False

    def take(self, name: str) -> bool:
        """Whether an operator may be next."""
        return any(name in stage for stage in self.left)

    def behind(self, name: str) -> Stages:
        """What is left behind an operator that was taken."""
        at = next(i for i, stage in enumerate(self.left) if name in stage)
        return self if self.again else Stages(self.left[at + 1 :])


@attrs.frozen
class CostModel:
    """How nodes use the chip.

    Attributes:
        memory: name of the memory level that feature maps and weights lie in while a model runs.
        cores: cores that work on one node; all of `[compute]` when not given.
        overlap: whether transfers go on while the units compute; otherwise the two times add up.
        epilogue: operators that the compiler makes part of the convolution or matrix product in front of them; "Swish"
            is x * sigmoid(x) of two nodes, too. Any number of them, in any order.
        epilogues: what takes its place for some products.
        habits: what else it makes of nodes: "pools": global averages as depthwise convolutions of at most 7 by 7;
            "shuffles": shuffles of channels as dense convolutions of 1 by 1; "concats": a convolution of two
            concatenated maps to fewer than half as many channels as one convolution of each.
        integers: "any": a node is computed in integers when its operands are quantized; "both": only when its result is
            quantized, too.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    memory: str = ""
    cores: int | None = None
    overlap: bool = True
    epilogue: tuple[str, ...] = ()
    epilogues: tuple[Epilogue, ...] = ()
    habits: tuple[Literal["pools", "shuffles", "concats"], ...] = ()
    integers: Literal["any", "both"] = "any"
    source: str = ""
    confidence: Confidence | None = None

    def stages(self, op_type: str, rank: int | None) -> Stages:
        """What may become part of a product.

        Args:
            op_type: the operator that forms it.
            rank: of its result; None when it is not known.
        """
        found = self._epilogue(op_type, rank)
        return Stages((self.epilogue,), again=True) if found is None else Stages(found.stages)

    def before(self, op_type: str, rank: int | None) -> tuple[str, ...]:
        """What may become part of a product in front of it; see `stages`."""
        found = self._epilogue(op_type, rank)
        return () if found is None else found.before

    def _epilogue(self, op_type: str, rank: int | None) -> Epilogue | None:
        return next((each for each in self.epilogues if op_type in each.of and each.rank in (None, rank)), None)


@attrs.frozen
class Pages:
    """A unified address space that pages migrate through.

    Attributes:
        bytes: size of a page.
        fast: name of the memory level that nodes work from.
        slow: name of the level behind it; the same when the size of a faster one is not known.
        host_bandwidth: bytes per second from the host's memory into `slow`; None when not known.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    bytes: int
    fast: str
    slow: str
    host_bandwidth: float | None = None
    source: str = ""
    confidence: Confidence | None = None


@attrs.frozen
class PlanModel:
    """The buffers of a core that tiles have to fit, by names of memory levels; `[transfer]` has the limits of copies.

    Attributes:
        left: holds the rows of a product: feature maps.
        right: holds the weights of a product.
        result: holds its sums; the same as `left` when both share it.
        vector: holds the operands and results of every other node.
        buffers: copies of each tile on the chip, so that one is filled while another is worked on.
        resident: name of the level that the whole model has to fit, weights and activations; for chips without a memory
            behind it.
        pages: the unified address space, where there is one.
        source: key in `sources`.
        confidence: when it differs from the source's.
    """

    left: str = ""
    right: str = ""
    result: str = ""
    vector: str = ""
    buffers: int = 2
    resident: str = ""
    pages: Pages | None = None
    source: str = ""
    confidence: Confidence | None = None

    @property
    def levels(self) -> tuple[str, ...]:
        """The memory levels that it names."""
        paged = () if self.pages is None else (self.pages.fast, self.pages.slow)
        return tuple(n for n in (self.left, self.right, self.result, self.vector, self.resident, *paged) if n)
