"""`uair run`."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import numpy as np

from uair.cli import options, output
from uair.cli.inputs import InputReader, array_shapes
from uair.preprocess import Preprocess

if TYPE_CHECKING:
    from uair.artifact import Artifact
    from uair.ir.dtype import Array
    from uair.ir.module import Module

OUT_OF_TOLERANCE_STATUS = 4
MOST_VALUES = 1000


@click.command("run")
@options.model_argument
@click.option(
    "--input",
    "-i",
    "inputs",
    metavar="[INPUT=]FILE",
    multiple=True,
    help="An input: x=file.npy, x=picture.png, or one .npz file with all of them. The name may be left out when the "
    "model has one input.",
)
@options.output_option("Write all outputs into this .npz file.")
@options.preprocess_option
@options.shape_option
@options.value_option
@click.option(
    "--tolerance",
    metavar="ERROR",
    type=click.FloatRange(0),
    help="With an artifact's golden input: greatest error accepted, relative to the greatest value of the output.",
)
@click.option(
    "--arithmetic",
    type=click.Choice(["float", "device"]),
    help="Run an artifact in the reference interpreter: in the types of the model, or with floats rounded as each "
    "device holds them. [default: on what is installed]",
)
@options.loading_options
@options.json_option
def command(**given: Any) -> int:
    """Run MODEL, a model file or a compiled artifact, and show its outputs.

    What an artifact has for the CPU runs in onnxruntime, everything else in the reference interpreter. An artifact
    without --input runs its golden input and is compared with the golden output. Exit status 4: the error is above
    --tolerance.

    \b
    uair run model.onnx --input x=image.png --shape x=1,3,224,224 \\
        --preprocess mean=127.5,std=127.5
    uair run model-cpu/
    uair run model-cpu/ --tolerance 1e-3
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    from uair.api import is_artifact

    if is_artifact(given["model"]):
        options.require_unbound(given)
        subject = artifact_subject(given["model"])
    else:
        subject = model_subject(given)
    if given["arithmetic"] and not subject.is_artifact:
        raise click.UsageError("--arithmetic is for artifacts")
    feeds, is_golden = _feeds(subject, given)
    if given["tolerance"] is not None and not is_golden:
        raise click.UsageError("--tolerance needs an artifact with a golden input, and no --input")
    with output.progress(f"running {given['model'].name}"):
        outputs = parts(subject.run(feeds, given["arithmetic"]))
    errors = subject.golden_errors(outputs) if is_golden else {}
    if given["output"]:
        write_npz(given["output"], outputs)
    _show(outputs, errors, as_json=given["as_json"])
    limit = given["tolerance"]
    failed = limit is not None and any(e["relative"] is None or e["relative"] > limit for e in errors.values())
    return OUT_OF_TOLERANCE_STATUS if failed else 0


@attrs.define(eq=False)
class Subject:
    """A model or an artifact.

    Attributes:
        runnable: what is run.
        shapes: shape by input name; None for an unknown rank, text for an open size.
        preprocess: how images become inputs, by input name, where it is known.
        sequences: the inputs that are sequences.
    """

    runnable: Module | Artifact
    shapes: Mapping[str, list[int | str] | None]
    preprocess: Mapping[str, Preprocess]
    sequences: Container[str]

    def run(self, feeds: Mapping[str, Any], arithmetic: Any = None) -> dict[str, Any]:
        """Outputs by name."""
        from uair.api import run

        return run(self.runnable, feeds, arithmetic=arithmetic)

    @property
    def is_artifact(self) -> bool:
        """Whether it is an artifact."""
        from uair.artifact import Artifact

        return isinstance(self.runnable, Artifact)

    @property
    def golden(self) -> dict[str, Any]:
        """The names of the golden files; empty when there are none."""
        from uair.artifact import Artifact

        return self.runnable.manifest.get("golden", {}) if isinstance(self.runnable, Artifact) else {}

    def golden_arrays(self, which: str) -> dict[str, Array]:
        """The golden "inputs" or "outputs"."""
        from uair.artifact import Artifact

        assert isinstance(self.runnable, Artifact)
        return self.runnable.arrays(self.golden[which])

    def golden_errors(self, outputs: Mapping[str, Array]) -> dict[str, Any]:
        """Each output against the golden one."""
        from uair.api import compare

        expected = self.golden_arrays("outputs")
        return {name: compare(expected[name], outputs[name]) for name in expected if name in outputs}


def artifact_subject(path: Path) -> Subject:
    """What is run when an artifact was named."""
    from uair.artifact import Artifact

    artifact = Artifact.open(path)
    entries = artifact.manifest["inputs"]
    known = {e["name"]: Preprocess.from_json(e["preprocess"]) for e in entries if "preprocess" in e}
    return Subject(artifact, {e["name"]: e["shape"] for e in entries}, known, _sequences(entries))


def model_subject(given: dict[str, Any]) -> Subject:
    """What is run when a model file was named."""
    from uair.api import describe_interface, run_pipeline

    module, shapes = options.load_model(given["model"], given, [array_shapes(given["inputs"])])
    run_pipeline(module, "", shapes=shapes, values=options.values_by_input(given["values"]), instruments=())
    entries = describe_interface(module.main.input_names, module.main.inputs)
    return Subject(module, {e["name"]: e["shape"] for e in entries}, {}, _sequences(entries))


def _sequences(entries: Sequence[Mapping[str, Any]]) -> Container[str]:
    return {e["name"] for e in entries if "seq" in e.get("containers", ())}


def _feeds(subject: Subject, given: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The inputs, and whether they are the golden ones."""
    if not given["inputs"] and subject.golden:
        return subject.golden_arrays("inputs"), True
    preprocess = {**subject.preprocess, **options.preprocess_by_input(given["preprocess"], list(subject.shapes))}
    return InputReader(subject.shapes, preprocess, sequences=subject.sequences).read(given["inputs"]), False


def parts(values: Mapping[Any, Any], pattern: str = "{}") -> dict[str, Array]:
    """The arrays in values that may be sequences or maps: `y[0]`, `y[1]`. An optional that is empty has none."""
    found: dict[str, Array] = {}
    for key, value in values.items():
        name = pattern.format(key)
        if isinstance(value, list):
            found |= parts(dict(enumerate(value)), f"{name}[{{}}]")
        elif isinstance(value, dict):
            found |= parts(value, f"{name}[{{!r}}]")
        elif value is not None:
            found[name] = np.asarray(value)
    return found


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by name.

    Raises:
        OutputError: the file cannot be written.
    """
    from uair.artifact import write_arrays
    from uair.atomic import atomic_file

    with atomic_file(path) as file:
        write_arrays(file, arrays)


def _show(outputs: Mapping[str, Array], errors: Mapping[str, Any], *, as_json: bool) -> None:
    from uair.cli.compile import describe_error

    if as_json:
        entries = {
            name: {"shape": list(array.shape), "dtype": str(array.dtype), **_values(array)}
            | ({"error": errors[name]} if name in errors else {})
            for name, array in outputs.items()
        }
        output.print_json({"outputs": entries})
        return
    for name, array in outputs.items():
        output.print_prose(f"{name}: {array.dtype}[{','.join(map(str, array.shape))}]  {summary(array)}", "", "  ")
        if name in errors:
            output.print_prose(f"against the golden output: {describe_error(errors[name])}", "  ", "    ")


def _values(array: Array) -> dict[str, Any]:
    """The first values as plain data, and whether there are more."""
    flat = array.reshape(-1)[:MOST_VALUES]
    values = [str(v) for v in flat] if array.dtype.kind in "OUS" else plain_numbers(flat).tolist()
    return {"values": values, "truncated": array.size > MOST_VALUES}


def plain_numbers(array: Array) -> Array:
    """Numbers in a type of NumPy's own: bfloat16 and the like as float32, complex ones as their absolute value."""
    if array.dtype.kind == "c":
        return np.abs(array)
    return array if array.dtype.kind in "fiub" else array.astype(np.float32)


def summary(array: Array) -> str:
    """A few values, the greatest ones of a score vector, or the range."""
    flat = array.reshape(-1)
    if array.dtype.kind in "OUS":
        return output.listed([repr(str(v)) for v in flat[:8]], 7)
    flat = plain_numbers(flat)
    if flat.size <= 8:
        return ", ".join(f"{v:.4g}" if flat.dtype.kind == "f" else str(v) for v in flat)
    if flat.dtype.kind == "f" and array.ndim <= 2 and flat.size <= 100_000:
        best = np.argsort(-flat, kind="stable")[:5]
        return "greatest: " + ", ".join(f"[{i}] {flat[i]:.4g}" for i in best)
    values = flat.astype(np.float64)
    return f"min {values.min():.4g}, mean {values.mean():.4g}, max {values.max():.4g}"
