"""The options of quantization, which `uair compile` and `uair quantize` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from uair.request import Quantization

F = TypeVar("F", bound=Callable[..., Any])
ONLY_QUANTIZED = {
    "--calib": "calib",
    "--save-calibration": "statistics",
    "--skip": "skip",
    "--per-tensor": "per_tensor",
    "--effort": "effort",
    "--range": "range_",
    "--least-cosine": "least_cosine",
    "--most-float": "most_float",
    "--group": "group",
    "--method": "method",
    "--sensitivity": "sensitivity",
}
"""Options that say nothing about a float model, and their names in Python."""


def quantization_options(command: F) -> F:
    """`--calib` and how ranges, precision and effort are chosen."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--calib",
        metavar="DATA",
        help="Calibration data: a folder of images, .npy, .npz or .bin files, one such file, a list of files (.txt), "
        "file.py:function, or a saved calibration (.json).",
    ),
    click.option(
        "--calib-samples",
        "-n",
        metavar="N",
        default=64,
        show_default=True,
        type=click.IntRange(1),
        help="Samples used at most.",
    ),
    click.option(
        "--save-calibration",
        "--statistics",
        "statistics",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Keep what the samples showed in this .json file; where it is there already and fits, they are not run "
        "again. `--calib FILE` takes it in their place, for any target.",
    ),
    click.option(
        "--keep-samples",
        metavar="N",
        default=8,
        show_default=True,
        type=click.IntRange(0),
        help="Samples that are put into that file, for what statistics alone cannot tell.",
    ),
    click.option("--per-tensor", is_flag=True, help="One weight scale per tensor instead of one per output channel."),
    click.option(
        "--skip", metavar="NAME", multiple=True, help="Keep nodes in float: name of a source node, with * and ?."
    ),
    click.option(
        "--effort",
        type=click.Choice(["default", "high"]),
        help="high: also equalise channels and tune scales and biases, where held-out samples say it helps; slower.",
    ),
    click.option(
        "--range",
        "range_",
        type=click.Choice(["auto", "entropy", "minmax", "mse", "percentile"]),
        help="How activation ranges are chosen; auto tries the others but entropy.  [default: auto]",
    ),
    click.option(
        "--least-cosine",
        metavar="COSINE",
        type=click.FloatRange(0, 1),
        help="Keep parts in float until every output has this cosine similarity with the float model's.  [default: "
        "what the device file of the target says]",
    ),
    click.option(
        "--most-float",
        metavar="SHARE",
        type=click.FloatRange(0, 1),
        help="Greatest share of the multiply-adds that may be in float for that, 0.05 for instance.  [default: 1]",
    ),
    click.option(
        "--group",
        metavar="N",
        type=click.IntRange(0),
        help="w4a16, w8a16: how many neighbouring weights share a scale, 0: all of an output channel.  [default: 128 "
        "for 4 bits, 0 for 8]",
    ),
    click.option(
        "--method",
        type=click.Choice(["auto", "nearest", "gptq", "awq"]),
        help="w4a16, w8a16: how weights are rounded; auto: as the calibration data say is best, without data to the "
        "nearest.  [default: auto]",
    ),
    click.option(
        "--sensitivity",
        is_flag=True,
        help="Also measure, for the report, what each node would gain in float; takes longer.",
    ),
)
FORMATS = ("int8", "w8a16", "w4a16")
"""What a model can be quantized to."""
INT8_ONLY = (
    "--per-tensor",
    "--effort",
    "--range",
    "--least-cosine",
    "--most-float",
    "--save-calibration",
    "--sensitivity",
)
WEIGHTS_ONLY = ("--group", "--method")


def require_no_quantization(given: Mapping[str, Any]) -> None:
    """Refuse what says nothing about a float model.

    Raises:
        click.UsageError: such an option is given.
    """
    for option, name in ONLY_QUANTIZED.items():
        if given[name] not in (None, False, ()):
            raise click.UsageError(f"{option} is for quantization: add --quantize int8, w8a16 or w4a16")


def settings(wanted: str, given: Mapping[str, Any]) -> Quantization:
    """What the options say about one of the `FORMATS`.

    Raises:
        click.UsageError: there is no calibration data for int8, or an option is for another format.
    """
    from uair.request import W4A16, W8A16, Int8

    for option in WEIGHTS_ONLY if wanted == "int8" else INT8_ONLY:
        if given[ONLY_QUANTIZED[option]] not in (None, False):
            raise click.UsageError(f"{option} says nothing about {wanted}")
    if wanted != "int8":
        few = W4A16 if wanted == "w4a16" else W8A16
        return few(
            calibration=given["calib"],
            samples=given["calib_samples"],
            group=given["group"],
            method=given["method"] or "auto",
            skip=tuple(given["skip"]),
        )
    if not given["calib"]:
        raise click.UsageError("INT8 needs calibration data: --calib FOLDER")
    return Int8(
        calibration=given["calib"],
        samples=given["calib_samples"],
        per_channel=not given["per_tensor"],
        skip=tuple(given["skip"]),
        effort=given["effort"] or "default",
        least_cosine=given["least_cosine"],
        most_float=given["most_float"],
        range=given["range_"] or "auto",
        sensitivity=given["sensitivity"],
        statistics=given["statistics"],
        keep_samples=given["keep_samples"],
    )
