"""What a compilation was asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import attrs

from uair.preprocess import Preprocess

if TYPE_CHECKING:
    from uair.quant.calibration import Calibration
    from uair.quant.tensor_range import TensorRange


Effort: TypeAlias = Literal["default", "high"]
EFFORTS: tuple[Effort, ...] = ("default", "high")
RangeMethod: TypeAlias = Literal["auto", "entropy", "minmax", "mse", "percentile"]
WeightMethod: TypeAlias = Literal["auto", "nearest", "gptq", "awq"]
WEIGHT_METHODS: tuple[WeightMethod, ...] = ("auto", "nearest", "gptq", "awq")
RANGES: tuple[RangeMethod, ...] = ("auto", "entropy", "minmax", "mse", "percentile")


@attrs.frozen
class Int8:
    """INT8 post-training quantization.

    Attributes:
        calibration: a folder of images, .npy or .npz files, one .npz file, an iterable of inputs (a mapping by input
            name, or one array for a model with one input), or another source that docs/quantization.md lists.
        samples: how many samples are used at most.
        per_channel: whether weights have one scale per output channel.
        skip: names of source nodes, with `*` and `?`, that stay in float.
        effort: "high" also tries what takes longer (equalised channels, tuned scales and biases), and keeps what
            held-out samples say is better.
        least_cosine: parts of the model stay in float until every output has at least this cosine similarity with the
            float model's on calibration samples, from 0 (everything is quantized that can be) to 1; None: what the
            device file says.
        most_float: greatest share of the multiply-adds that may be in float for the sake of that; what was reached
            where it is not enough is said in the report.
        range: how activation ranges are chosen: the observed one, the one with the least squared error, the one of
            99.99 % of the values, by trying these ("auto"), or the one of least Kullback-Leibler divergence.
        statistics: a file, `calibration.json`, that keeps what the samples showed. Where there is none it is written;
            where it is of these samples and this model, they are not run again. As `calibration` it stands for them.
        keep_samples: how many of the samples are put into that file.
        sensitivity: also measure, for the report, what each node alone and the first few together would gain in float.
    """

    calibration: Any
    samples: int = 64
    per_channel: bool = True
    skip: tuple[str, ...] = ()
    effort: Effort = "default"
    least_cosine: float | None = None
    range: RangeMethod = "auto"
    statistics: str | os.PathLike[str] | None = None
    keep_samples: int = 8
    sensitivity: bool = False
    most_float: float | None = None


@attrs.frozen
class WeightOnly:
    """Weights of few bits, which operators compute with in floating point; `W8A16` or `W4A16` is what one asks for.

    Attributes:
        calibration: as for `Int8`; None: weights are rounded without a look at what they are multiplied with.
        samples: how many samples are used at most.
        group: how many neighbouring weights of a matrix share a scale; 0: all of an output channel. None: 128 for 4
            bits and 0 for 8.
        symmetric: whether zero is the middle of the integers; None: for 8 bits only.
        method: how weights are rounded: to the nearest, with feedback (GPTQ), with scaled channels (AWQ), or as the
            calibration samples say is best.
        skip: names of source nodes, with `*` and `?`, that keep their weights.
    """

    bits: ClassVar[Literal[4, 8]]

    calibration: Any = None
    samples: int = 64
    group: int | None = None
    symmetric: bool | None = None
    method: WeightMethod = "auto"
    skip: tuple[str, ...] = ()


@attrs.frozen
class W8A16(WeightOnly):
    """Weights of 8 bits; activations of 16 bits or more, in floating point.

    Attributes: see `WeightOnly`.
    """

    bits: ClassVar[Literal[4, 8]] = 8


@attrs.frozen
class W4A16(WeightOnly):
    """Weights of 4 bits (tables and convolutions: 8 bits); activations of 16 bits or more, in floating point.

    Attributes: see `WeightOnly`.
    """

    bits: ClassVar[Literal[4, 8]] = 4


Quantization: TypeAlias = Int8 | WeightOnly


@attrs.frozen
class CompileRequest:
    """Everything that decides an artifact beside the model.

    Attributes:
        target: name of the target.
        shapes: fixed shapes by input name.
        quantization: None for float.
        preprocess: by input name.
        options: what the user tells the target, by name, as given; see uair.targets.options.
        buckets: the shapes that the compiled model is to take, each by input name; none for the model's one shape. A
            target is given them complete: every bucket has the shape of every input.
        pins: "cpu", or the target's name, by pattern of node names.
        fallback: whether the CPU runs what the target does not take.
        min_island: groups of fewer nodes between two parts on the CPU go there too.
        samples: the calibration samples, for what is emitted: arrays by the emitted module's input names, as often as
            one likes; None for float. Filled in by the driver.
        ranges: how UAIR quantized the activations, by the name of the tensor in the emitted module; empty for float.
            Filled in by the driver.
        values: of inputs that are to be constants, by name.
    """

    target: str
    shapes: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict[str, tuple[int, ...]])
    quantization: Quantization | None = None
    preprocess: Mapping[str, Preprocess] = attrs.field(factory=dict[str, Preprocess])
    options: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    buckets: tuple[Mapping[str, tuple[int, ...]], ...] = ()
    pins: Mapping[str, str] = attrs.field(factory=dict[str, str])
    fallback: bool = True
    min_island: int = 4
    samples: Calibration | None = None
    ranges: Mapping[str, TensorRange] = attrs.field(factory=dict[str, "TensorRange"])
    values: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
