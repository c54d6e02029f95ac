"""`uair compile`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uair.cli import calibration, options, output, replay

if TYPE_CHECKING:
    from uair.artifact import Artifact
    from uair.ir.module import Module
    from uair.preprocess import Preprocess
    from uair.request import Quantization
    from uair.targets.build import BuildResult


@click.command("compile")
@options.model_argument
@click.option(
    "--target", "-t", required=True, type=options.TargetName(), help="Name of the target; `uair targets` lists them."
)
@click.option(
    "--output",
    "-o",
    metavar="PATH",
    type=click.Path(),  # text: a name that ends in a slash is a folder
    help="Folder to write, or a file name with a suffix (model.bin) for one zip file.  [default: MODEL-TARGET]",
)
@options.shape_option
@options.value_option
@options.bucket_option
@options.target_option
@click.option(
    "--quantize",
    "--quantization",
    type=click.Choice(calibration.FORMATS, case_sensitive=False),
    help="Quantize: int8, or weights of 8 or 4 bits that are computed with in floating point (w8a16, w4a16).",
)
@calibration.quantization_options
@click.option(
    "--pin",
    "pins",
    metavar="NAME=DEVICE",
    multiple=True,
    help="Run nodes on the CPU (NAME=cpu), or keep them on the target (NAME=TARGET): name of a node of the model, with "
    "* and ?; may be given several times.",
)
@click.option("--no-fallback", is_flag=True, help="Refuse a model that the target does not take whole.")
@click.option(
    "--min-island",
    metavar="N",
    default=4,
    show_default=True,
    type=click.IntRange(1),
    help="Groups of fewer nodes between nodes on the CPU go there too.",
)
@options.preprocess_option
@options.loading_options
@click.option("--overwrite", is_flag=True, help="Replace an existing artifact.")
@click.option(
    "--golden",
    metavar="[INPUT=]FILE",
    multiple=True,
    help="Input of the reference result, as `uair run --input`. [default: the first calibration sample, else noise]",
)
@click.option("--no-golden", is_flag=True, help="Do not compute a reference input and output.")
@click.option("--build", "with_build", is_flag=True, help="Also build it with the vendor's tool, as `uair build` does.")
@options.dump_dir_option
@options.reproducer_option
@options.json_option
def command(**given: Any) -> None:
    """Compile MODEL, a file, a SavedModel, or code that makes one, for a target.

    The result is a folder, or one zip file, with the files that the vendor's tool takes, the final IR, a report, and an
    input with its reference output. It appears whole or not at all.

    \b
    uair compile model.onnx --target cpu
    uair compile model.onnx -t cpu -o model.bin
    uair compile model.onnx -t rk3588 --shape x=1,3,224,224 \\
        --quantize int8 --calib images/ \\
        --preprocess resize=crop,mean=123.7/116.3/103.5,std=58.4/57.1/57.4
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    artifact, warnings = _compile(given)
    built = _build(artifact) if given["with_build"] else []
    if given["as_json"]:
        builds = {"builds": [result.to_json() for result in built]} if given["with_build"] else {}
        output.print_json({"artifact": str(artifact.path), **artifact.manifest, "warnings": warnings, **builds})
    else:
        _summary(artifact)
        if built:
            from uair.cli.build import show

            output.print_text("")
            show(built, as_json=False)
    for warning in warnings:
        output.warn(warning)


def _compile(given: dict[str, Any]) -> tuple[Artifact, list[str]]:
    """Run the compilation that the options describe; the artifact, and what looks wrong about it."""
    from uair.api import compile as compile_model
    from uair.cli import advice
    from uair.pipeline import Dump
    from uair.targets.options import given_options
    from uair.text import print_module

    quantize = _quantization(given)
    if given["golden"] and given["no_golden"]:
        raise click.UsageError("--golden and --no-golden exclude each other")
    model: Path = given["model"]
    values = options.values_by_input(given["values"])
    with output.progress(f"reading {model.name}", silent=given["as_json"]) as watchers:
        module, shapes = options.load_model(model, given, given["buckets"])
        preprocess = options.preprocess_by_input(given["preprocess"], module.main.input_names)
        warnings = advice.before(module.main, shapes, preprocess, quantize=quantize is not None)
        if given["dump_dir"]:
            watchers.append(Dump(given["dump_dir"], print_module))
        if given["reproducer"]:
            from uair.debugging.reproducer import Reproducer

            watchers.append(Reproducer(given["reproducer"], replay.running(), given["plugins"]))
        artifact = compile_model(
            module,
            given["target"],
            output=given["output"] or f"{model.stem.replace(':', '-')}-{given['target']}/",
            shapes=shapes,
            values=values,
            quantize=quantize,
            preprocess=preprocess,
            options=given_options(given["options"]),
            buckets=given["buckets"],
            pins=_pins(given["pins"]),
            fallback=not given["no_fallback"],
            min_island=given["min_island"],
            overwrite=given["overwrite"],
            golden=_golden(given, module, shapes, preprocess),
            instruments=watchers,
        )
    return artifact, warnings + advice.after(artifact)


def _quantization(given: Mapping[str, Any]) -> Quantization | None:
    """What the options say about quantization.

    Raises:
        click.UsageError: some of them are missing, or say nothing without --quantize.
    """
    if given["quantize"]:
        return calibration.settings(given["quantize"].lower(), given)
    calibration.require_no_quantization(given)
    return None


def _pins(given: Sequence[str]) -> dict[str, str]:
    """Devices by pattern, as the API takes them."""
    pins: dict[str, str] = {}
    for text in given:
        pattern, separator, device = text.rpartition("=")
        if not (separator and pattern and device):
            raise click.UsageError(f"--pin {text}: expected NAME=DEVICE, for instance --pin 'head*=cpu'")
        pins[pattern] = device
    return pins


def _build(artifact: Artifact) -> list[BuildResult]:
    """Build what was just compiled."""
    from uair.building import build

    with output.progress(f"building {artifact.path.name}"):
        return build(artifact, overwrite=True)


def _golden(
    given: dict[str, Any], module: Module, shapes: Mapping[str, Sequence[int]], preprocess: Mapping[str, Preprocess]
) -> bool | Mapping[str, Any]:
    """What the API is told about the golden input."""
    if not given["golden"]:
        return not given["no_golden"]
    from uair.cli.inputs import InputReader

    graph = module.main
    bound = options.values_by_input(given["values"])
    taken = zip(graph.input_names, graph.inputs, strict=True)
    declared = {name: t.type.shape for name, t in taken if name not in bound}
    return InputReader(
        {name: shapes.get(name, shape) for name, shape in declared.items()}, preprocess, "--golden"
    ).read(given["golden"])


def _summary(artifact: Artifact) -> None:
    """What was written, how far the result is from the reference, and what can be done with it."""
    manifest = artifact.manifest
    rows = _file_rows(manifest["files"])
    rows.append(("manifest.json", output.size((artifact.root / "manifest.json").stat().st_size)))
    output.print_text(f"{artifact.path} for {manifest['target']}")
    output.print_text("")
    output.table(("file", "size"), rows, right=(1,))
    _show_placement(artifact)
    golden = manifest.get("golden", {}).get("compiled_against_reference", {})
    if golden:
        output.print_text("\nThe compiled model against the original one, both interpreted:")
    for name, error in golden.items():
        output.print_prose(f"{name}: {describe_error(error)}", "  ", "    ")
    scripts = [f"{entry['folder']}/build.sh".lstrip("/") for entry in manifest.get("partitions", [])]
    scripts = [name for name in scripts or ["build.sh"] if name in manifest["files"]]
    if artifact.path.is_dir() and scripts:
        lines = (f"sh {shlex.quote(f'{artifact.path}/{name}')}" for name in scripts)
        output.print_text("\nNext: " + "\n      ".join(lines))
    else:
        output.print_text(f"\nNext: uair run {shlex.quote(str(artifact.path))}")


MOST_FILES = 8
"""Files of one folder that are listed one by one."""


def _file_rows(files: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Names and sizes; a folder at the top with many files, such as kernels/, is one line."""
    folders: dict[str, list[str]] = {}
    for name in sorted(files):
        folder, separator, _ = name.partition("/")
        folders.setdefault(folder + separator if separator else name, []).append(name)
    rows: list[tuple[str, str]] = []
    for folder, names in folders.items():
        if len(names) > MOST_FILES and folder != "parts/":
            total = sum(files[name]["bytes"] for name in names)
            rows.append((f"{folder} ({len(names)} files)", output.size(total)))
        else:
            rows += [(name, output.size(files[name]["bytes"])) for name in names]
    return rows


def _show_placement(artifact: Artifact) -> None:
    """The parts of a model that does not run whole on its target: what is copied, and what runs on the CPU and why."""
    parts = artifact.manifest.get("partitions", [])
    if len(parts) < 2:
        return
    placement = json.loads(artifact.file("report.json").read_text("utf-8"))["placement"]
    copied = [0] * len(parts)
    for copy in placement["copies"]:
        for reader in copy["read_by"]:
            copied[reader] += copy["bytes"] if parts[reader]["target"] == copy["to"] else 0
    rows = [
        (entry["folder"], entry["nodes"], _share(entry["flops_share"]), output.size(size))
        for entry, size in zip(parts, copied, strict=True)
    ]
    share = _share(placement["device_flops_share"])
    output.print_text(f"\n{share or 'a part'} of the operations run on {artifact.target}:\n\n")
    output.table(("part", "nodes", "operations", "copied in"), rows, right=(1, 2, 3))
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in placement["fallbacks"]:
        kinds.setdefault((each["operator"], each["reason"]), []).append(each)
    output.print_text("\nOn the CPU (times there are assumed, not measured):\n\n")
    for (operator, reason), nodes in kinds.items():
        time = sum(each["cpu_seconds"] for each in nodes) * 1e6
        names = output.listed([each["node"] for each in nodes])
        output.print_prose(f"{len(nodes)} x {operator}, {time:.3g} us: {reason}", "  ", "    ")
        output.print_prose(f"nodes {names}", "    ", "      ")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def describe_error(error: dict[str, Any]) -> str:
    """A comparison in words."""
    if error["relative"] is None:
        return "not comparable: another size, or other values that are no numbers"
    return (
        f"cosine {error['cosine']:.6f}, greatest difference {error['max_abs']:.3g} "
        f"({error['relative']:.2g} of the greatest value)"
    )
