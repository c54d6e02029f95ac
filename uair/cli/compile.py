"""`uair compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from uair.cli import options, output


@click.command("compile")
@options.model_argument
@click.option("--target", "-t", required=True, help="Name of the target; `uair targets` lists them.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Folder to write, or a file name with a suffix for one zip file. [default: MODEL-TARGET]",
)
@options.shape_option
@click.option(
    "--quantize", "--quantization", type=click.Choice(["int8"], case_sensitive=False), help="Quantize to INT8."
)
@click.option("--calib", help="Calibration data: a folder of images, .npy or .npz files, or one .npz file.")
@click.option("--calib-samples", default=64, show_default=True, type=click.IntRange(1), help="Samples used at most.")
@click.option("--per-tensor", is_flag=True, help="One weight scale per tensor instead of one per output channel.")
@click.option("--skip", multiple=True, help="Keep nodes in float: name of a source node, with * and ?.")
@options.preprocess_option
@options.external_data_option
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("--no-golden", is_flag=True, help="Do not compute a reference input and output.")
@click.option("--dump-dir", type=click.Path(path_type=Path), help="Write the IR after every pass into this folder.")
@options.json_option
def command(**given: Any) -> None:
    """Compile MODEL (.onnx or .uair) for a target.

    \b
    uair compile model.onnx --target ascend310
    uair compile model.onnx -t rk3588 --shape x=1,3,224,224 --quantize int8 --calib images/ \\
        --preprocess resize=crop,mean=123.7/116.3/103.5,std=58.4/57.1/57.4
    uair compile model.onnx -t cpu -o model.bin
    """
    artifact = _compile(given)
    manifest = artifact.manifest
    if given["as_json"]:
        output.print_json({"artifact": str(artifact.path), **manifest})
        return
    _summary(artifact)


def _compile(given: dict[str, Any]) -> Any:
    """Run the compilation that the options describe."""
    from uair.api import compile as compile_model
    from uair.pipeline import Dump, Instrument
    from uair.request import Int8
    from uair.text import print_module

    if given["quantize"] and not given["calib"]:
        raise click.UsageError("--quantize int8 needs calibration data: --calib FOLDER")
    if given["calib"] and not given["quantize"]:
        raise click.UsageError("--calib is for quantization: add --quantize int8")
    model: Path = given["model"]
    with output.progress(f"reading {model.name}") as watchers:
        module = options.load_model(model, given["external_data_root"])
        quantize = Int8(
            calibration=given["calib"],
            samples=given["calib_samples"],
            per_channel=not given["per_tensor"],
            skip=tuple(given["skip"]),
        )
        instruments: list[Instrument] = list(watchers)
        if given["dump_dir"]:
            instruments.append(Dump(given["dump_dir"], print_module))
        return compile_model(
            module,
            given["target"],
            output=given["output"] or Path(f"{model.stem}-{given['target']}"),
            shapes=dict(given["shapes"]),
            quantize=quantize if given["quantize"] else None,
            preprocess=options.preprocess_by_input(given["preprocess"], module.main.input_names),
            overwrite=given["overwrite"],
            golden=not given["no_golden"],
            instruments=instruments,
        )


def _summary(artifact: Any) -> None:
    """What was written, and how far the result is from the reference."""
    manifest = artifact.manifest
    rows = [(name, output.size(entry["bytes"])) for name, entry in sorted(manifest["files"].items())]
    rows.append(("manifest.json", output.size((artifact.root / "manifest.json").stat().st_size)))
    output.table(f"{artifact.path} for {manifest['target']}", ("file", "size"), rows, right=(1,))
    golden = manifest.get("golden", {}).get("compiled_against_reference", {})
    for name, error in golden.items():
        output.print_text(f"{name}: {describe_error(error)} from the original model")


def describe_error(error: dict[str, Any]) -> str:
    """A comparison in words."""
    if error["relative"] is None:
        return "NaN or infinity where the other has none: not comparable"
    share = f"{error['relative']:.2%} of the greatest value"
    return f"cosine {error['cosine']:.6f}, greatest difference {error['max_abs']:.3g} ({share})"
