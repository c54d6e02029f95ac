"""`uair run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from uair.cli import options, output
from uair.errors import UairError
from uair.preprocess import IMAGE_SUFFIXES, Preprocess


class InputFileError(UairError):
    """An input file given to `uair run` cannot be read or belongs to no input."""

    code = "UAIR-E0901"
    title = "Input cannot be read"


@click.command("run")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--input",
    "-i",
    "inputs",
    multiple=True,
    help="An input: x=file.npy, x=picture.png, or one .npz file with all of them. The name may be left out when there is one.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write all outputs into this .npz file.")
@options.preprocess_option
@options.shape_option
@click.option(
    "--tolerance", type=float, help="With an artifact's golden input: greatest relative error that is accepted."
)
@options.json_option
def command(**given: Any) -> int:
    """Run MODEL, a model file or a compiled artifact, and show its outputs.

    An artifact without --input runs its golden input and is compared with the golden output.

    \b
    uair run model.onnx --input x=image.png --preprocess mean=127.5,std=127.5
    uair run model-cpu/
    """
    from uair.api import is_artifact

    subject = _Subject.artifact(given["model"]) if is_artifact(given["model"]) else _Subject.model(given)
    feeds, is_golden = subject.feeds(given)
    with output.progress(f"running {given['model'].name}"):
        outputs = subject.run(feeds)
    errors = subject.golden_errors(outputs) if is_golden else {}
    if given["output"]:
        from uair.atomic import atomic_file

        with atomic_file(given["output"]) as file:
            np.savez(file, **outputs)
    _show(outputs, errors, as_json=given["as_json"])
    limit = given["tolerance"]
    failed = limit is not None and any(e["relative"] is None or e["relative"] > limit for e in errors.values())
    return 4 if failed else 0


class _Subject:
    """A model or an artifact: names, shapes, preprocessing, how to run."""

    def __init__(
        self, runnable: Any, types: dict[str, tuple[str, list[Any] | None]], known: dict[str, Preprocess]
    ) -> None:
        self.runnable = runnable
        self.types = types
        self.preprocess = known

    @staticmethod
    def artifact(path: Path) -> _Subject:
        from uair.artifact import Artifact

        artifact = Artifact.open(path)
        entries = artifact.manifest["inputs"]
        known = {e["name"]: Preprocess.from_json(e["preprocess"]) for e in entries if "preprocess" in e}
        return _Subject(artifact, {e["name"]: (e["dtype"], e["shape"]) for e in entries}, known)

    @staticmethod
    def model(given: dict[str, Any]) -> _Subject:
        from uair.passes.bind_shapes import bind_shapes

        module = options.load_model(given["model"])
        bind_shapes(module, dict(given["shapes"]))
        types = {
            name: (str(t.type.dtype), None if t.type.shape is None else list(t.type.shape))
            for name, t in zip(module.main.input_names, module.main.inputs, strict=True)
        }
        return _Subject(module, types, {})

    def feeds(self, given: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """The inputs, and whether they are the golden ones."""
        from uair.artifact import Artifact

        if not given["inputs"] and isinstance(self.runnable, Artifact) and "golden" in self.runnable.manifest:
            return self.runnable.arrays(self.runnable.manifest["golden"]["inputs"]), True
        preprocess = self.preprocess | options.preprocess_by_input(given["preprocess"], list(self.types))
        feeds: dict[str, Any] = {}
        for text in given["inputs"]:
            feeds |= self.read(text, preprocess)
        return feeds, False

    def read(self, text: str, preprocess: dict[str, Preprocess]) -> dict[str, Any]:
        """The arrays of one --input."""
        name, separator, file = text.partition("=")
        path = Path(file if separator else text)
        if not path.is_file():
            raise InputFileError(f"there is no file {str(path)!r}", hint="--input NAME=FILE")
        if path.suffix == ".npz" and not separator:
            return load_npz(path)
        if not separator:
            if len(self.types) != 1:
                raise InputFileError(
                    f"{path}: say for which of the inputs {', '.join(self.types)} it is",
                    hint=f"--input {next(iter(self.types), 'NAME')}={path}",
                )
            name = next(iter(self.types))
        if name not in self.types:
            raise InputFileError(f"there is no input {name!r}", hint=f"the inputs are {', '.join(self.types)}")
        return {name: self.array(name, path, preprocess.get(name))}

    def array(self, name: str, path: Path, preprocess: Preprocess | None) -> Any:
        """One array from a file."""
        if path.suffix.lower() in IMAGE_SUFFIXES:
            shape = self.types[name][1]
            if shape is None or not all(isinstance(d, int) for d in shape):
                raise InputFileError(
                    f"an image needs a fixed input size, {name!r} has the shape {shape}",
                    hint=f"--shape {name}=1,3,224,224",
                )
            return (preprocess or Preprocess()).load(path, tuple(shape))
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputFileError(
                f"{path} cannot be read as an array: {error}", hint="save it with numpy.save"
            ) from error

    def run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """Outputs by name."""
        from uair.api import run

        return run(self.runnable, feeds)

    def golden_errors(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """Each output against the golden one."""
        from uair.api import compare

        expected = self.runnable.arrays(self.runnable.manifest["golden"]["outputs"])
        return {name: compare(expected[name], outputs[name]) for name in expected if name in outputs}


def load_npz(path: Path) -> dict[str, Any]:
    """All arrays of an .npz file.

    Raises:
        InputFileError: it is none.
    """
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputFileError(f"{path} cannot be read: {error}", hint="save it with numpy.savez") from error


def _show(outputs: dict[str, Any], errors: dict[str, Any], *, as_json: bool) -> None:
    from uair.cli.compile import describe_error

    if as_json:
        entries = {
            name: {"shape": list(a.shape), "dtype": str(a.dtype), "values": a.reshape(-1)[:1000].tolist()}
            | ({"error": errors[name]} if name in errors else {})
            for name, a in outputs.items()
        }
        output.print_json({"outputs": entries})
        return
    for name, array in outputs.items():
        output.print_text(f"{name}: {array.dtype}{list(array.shape)}  {summary(array)}")
        if name in errors:
            output.print_text(f"  {describe_error(errors[name])} from the golden output")


def summary(array: Any) -> str:
    """A few values, or the greatest ones of a score vector."""
    flat = array.reshape(-1)
    if flat.size <= 8:
        return np.array2string(flat, precision=4, separator=", ")
    if array.dtype.kind == "f" and array.ndim <= 2 and flat.size <= 100_000:
        best = np.argsort(-flat)[:5]
        return "greatest: " + ", ".join(f"[{i}] {flat[i]:.4g}" for i in best)
    values = flat.astype(np.float64) if array.dtype.kind in "fiub" else None
    return "" if values is None else f"min {values.min():.4g}, mean {values.mean():.4g}, max {values.max():.4g}"
