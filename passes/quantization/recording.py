"""Statistics of calibration samples from a record of an earlier calibration, and such records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from uair.ir.dtype import Array
from uair.ir.fingerprint import fingerprints
from uair.ir.graph import Tensor
from uair.ir.module import Module
from uair.passes.quantization.channels import weighted_axes
from uair.passes.quantization.placement import Plan
from uair.passes.quantization.statistics import (
    ChannelObserver,
    Interpreter,
    Progress,
    SpreadSamples,
    Statistics,
    Watch,
    collect_statistics,
    display_name,
    group_observers,
    observe_tensors,
    watches,
)
from uair.passes.quantization.used_range import WHOLE, used_alone
from uair.quant.calibration import Calibration
from uair.quant.channel_range import ChannelRange
from uair.quant.errors import CalibrationDataError
from uair.quant.observers import RangeObserver
from uair.quant.record import CalibrationRecord

OLDER = (
    "the calibration does not say how far single channels go, as those of earlier versions: it was seen on the samples "
    "that it keeps; save it again to have all of them"
)


@attrs.define(eq=False)
class Recorded:
    """Statistics, and where they come from.

    Attributes:
        statistics: of the plan's groups.
        notes: what the user should know about them.
        digest: sha256 of the record that was used or made; "" without one.
    """

    statistics: Statistics
    notes: list[str] = attrs.Factory(list[str])
    digest: str = ""


def calibrate(
    module: Module,
    plan: Plan,
    interpreter: Interpreter,
    samples: Iterable[Mapping[str, Array]],
    progress: Progress | None = None,
    axes: Mapping[Tensor, int] | None = None,
) -> Recorded:
    """Statistics of what a plan quantizes: from the samples' record where there is one that fits, else measured.

    Values that rewrites for the target have put in may be missing in a record. One that stands alone has them measured
    on the samples that it keeps; beside the samples, it is made anew with what it knew already. What is made is put
    into `samples.made`.

    Args:
        module: the model.
        plan: of what is quantized.
        interpreter: runs the model.
        samples: feeds.
        progress: is told how far it is.
        axes: tensors whose channels are wanted, too, with the axis of the channels.

    Raises:
        CalibrationDataError: a record is of another model or of other samples, or stands alone, lacks values and keeps
            no samples.
        QuantizationError: a value is NaN or infinite; UairError from a sample or from the interpreter.
    """
    axes = axes or {}
    if not isinstance(samples, Calibration) or (samples.record is None and samples.keep is None):
        return Recorded(collect_statistics(plan, interpreter, samples, progress, axes))
    known = samples.record
    if known is not None and samples.stands_alone:
        return _from_record(module, plan, interpreter, samples, known, axes)
    if known is not None:
        kept = _spread(samples)  # reads all samples: their hash is known then
        own = fingerprints(module.main)
        observers, missing = _found(own, plan, known)
        channels, unseen = _found_channels(own, axes, known)
        _require_same_samples(samples, known)
        _require_same_model(module, known, observers)
        if not missing and not unseen:
            statistics = Statistics(group_observers(plan, observers), kept, known.count, channels)
            return Recorded(statistics, digest=known.digest())
    return _with_record(module, plan, interpreter, samples, progress, axes)


def _found(
    own: Mapping[Tensor, str], plan: Plan, known: CalibrationRecord
) -> tuple[dict[Watch, RangeObserver], list[Watch]]:
    """What a record says about the values that a plan quantizes, and those that it lacks."""
    found = {watch: known.find(own[watch[0]], *watch[1]) for watch in watches(plan)}
    missing = [watch for watch, observer in found.items() if observer is None]
    return {watch: observer for watch, observer in found.items() if observer is not None}, missing


def _found_channels(
    own: Mapping[Tensor, str], axes: Mapping[Tensor, int], known: CalibrationRecord
) -> tuple[dict[Tensor, ChannelRange], dict[Tensor, int]]:
    """What a record says about the channels of tensors, and those that it does not have along that axis."""
    found: dict[Tensor, ChannelRange] = {}
    for tensor, axis in axes.items():
        _, seen = known.channels.get(own[tensor], ("", None))
        if seen is not None and (seen.axis, len(seen.low)) == (axis, tensor.type.dims[axis]):
            found[tensor] = seen
    return found, {tensor: axis for tensor, axis in axes.items() if tensor not in found}


def _spread(samples: Iterable[Mapping[str, Array]]) -> list[Mapping[str, Array]]:
    spread = SpreadSamples()
    for sample in samples:
        spread.offer(sample)
    return spread.kept


def _from_record(
    module: Module,
    plan: Plan,
    interpreter: Interpreter,
    samples: Calibration,
    known: CalibrationRecord,
    axes: Mapping[Tensor, int],
) -> Recorded:
    """Statistics from a record alone."""
    own = fingerprints(module.main)
    observers, missing = _found(own, plan, known)
    channels, unseen = _found_channels(own, axes, known)
    notes: list[str] = []
    if missing:
        _require_same_model(module, known, observers)
        total, first = len(observers) + len(missing), display_name(missing[0][0])
        if not known.kept:
            raise CalibrationDataError(
                f"the calibration lacks {len(missing)} of the {total} activations that are quantized, {first!r} for "
                "instance: rewrites for the target have put them in, and it keeps no samples to measure them on",
                hint="give the calibration data, or save the calibration with some samples in it",
            )
        notes.append(
            f"{len(missing)} of {total} activations, {first!r} for instance, are not in the calibration: rewrites for "
            f"the target have put them in. Their ranges are those of the {len(known.kept)} samples that it keeps"
        )
    if missing or (unseen and known.kept):
        looking = ChannelObserver(unseen)
        measured, _ = observe_tensors(missing, interpreter, samples, channels=looking, whole=False)
        observers |= measured
        channels |= looking.found
        if not missing:
            notes.append(OLDER)
    kept = _spread(samples) if known.kept else []
    statistics = Statistics(group_observers(plan, observers), kept, known.count, channels)
    return Recorded(statistics, notes, known.digest())


def _require_same_samples(samples: Calibration, known: CalibrationRecord) -> None:
    """Refuse the record of other samples.

    Raises:
        CalibrationDataError: see there.
    """
    if samples.digest() != known.sha256:
        raise CalibrationDataError(
            f"the saved calibration is of {known.count} samples, {known.source}; these are {samples.count}, "
            f"{samples.description}, with other values",
            hint="name another file, or remove the saved one to calibrate anew",
        )


def _require_same_model(module: Module, known: CalibrationRecord, found: Mapping[Watch, RangeObserver]) -> None:
    """Refuse the record of another model: it shares no computed value with this one, and was read from another file.

    Raises:
        CalibrationDataError: see there.
    """
    recorded = known.model.get("sha256", "")
    if any(tensor.producer is not None for tensor, _ in found) or (recorded and recorded == module.origin.sha256):
        return
    raise CalibrationDataError(
        f"the calibration is of the model {known.model.get('name', '')!r}, and none of the values that are quantized "
        "here is in it: this is another model, or it has changed since",
        hint="calibrate again, with the data",
    )


def _with_record(
    module: Module,
    plan: Plan,
    interpreter: Interpreter,
    samples: Calibration,
    progress: Progress | None,
    axes: Mapping[Tensor, int],
) -> Recorded:
    """Measure all real values of the graph, for whichever target is next, and make the record."""
    graph = module.main
    planned = watches(plan)
    real = [t for t in graph.tensors() if not t.is_constant and t.type.is_tensor and t.type.dtype.is_float]
    others = dict.fromkeys((t, WHOLE) for t in real) | dict.fromkeys(used_alone(real).items())
    for watch in planned:
        others.pop(watch, None)
    spread, kept = SpreadSamples(), SpreadSamples(samples.keep or 0)
    channels = ChannelObserver({**weighted_axes(graph), **axes})
    passing = kept.passing(spread.passing(samples))
    observers, count = observe_tensors(
        planned, interpreter, passing, optional=others, channels=channels, progress=progress
    )
    own, known = fingerprints(graph), samples.record
    samples.made = CalibrationRecord(
        model={"name": module.name, **({"sha256": module.origin.sha256} if module.origin.sha256 else {})},
        inputs=samples.described_inputs(),
        source=samples.description,
        count=count,
        sha256=samples.digest(),
        observers=({} if known is None else known.observers)
        | {(own[tensor], *ends): observer for (tensor, ends), observer in observers.items()},
        kept=[dict(sample) for sample in kept.kept],
        notes=list(samples.notes),
        channels=({} if known is None else known.channels)
        | {own[tensor]: (display_name(tensor), each) for tensor, each in channels.found.items()},
    )
    statistics = Statistics(group_observers(plan, observers), spread.kept, count, channels.found)
    return Recorded(statistics, digest=samples.made.digest())
