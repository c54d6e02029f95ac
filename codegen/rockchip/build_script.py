"""Build model.rknn with rknn-toolkit2, and compare its simulation with the reference.

    python build.py [--output FOLDER] [--no-simulation]

Runs in the Python environment of the toolkit (rknn-toolkit2 2.5.0, Python 3.11) and needs nothing else. What to build
is in build.json beside this file; the files it names are in its folder:

    schema          1
    model           the ONNX file
    load            optional: arguments of `RKNN.load_onnx` beside the file: inputs, input_size_list
    output          name of the .rknn file
    config          arguments of `RKNN.config`: target_platform, optimization_level, mean_values, std_values, ...
    quantization    "none": float16; "model": the ONNX file holds QuantizeLinear and DequantizeLinear, their scales are
                    kept; "toolkit": the toolkit calibrates
    dataset         for "toolkit": a text file, one sample a line, the .npy files of its inputs separated by blanks
    inputs          in the order of the model: name, and source (the key in golden/)
    outputs         the same
    batch           optional: batch that the .rknn file takes, `rknn_batch_size` of `RKNN.build`
    golden          optional: inputs and outputs, .npz files of one sample and its reference result
    cosine          lowest cosine similarity of an output of the simulation with the reference

Written are the .rknn file, build.log (all that the toolkit prints, with the compiler's table of layers), result.json:

    status          "ok", "failed", or "unfinished" when the process was killed or crashed in `stage`
    stage           the step it was in: settings, import, config, load, build, export, simulate, compare
    reason          why it failed
    seconds         time of each step
    file            bytes and sha256 of the .rknn file
    outputs         of the simulation: cosine, greatest absolute error, greatest magnitude of the reference

Exit status: 0 built (and close enough to the reference, when there is one), 1 the toolkit failed or left no usable
file, 2 build.json or a file it names is wrong, 3 built, but the simulation is not close enough.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

SETTINGS, LOG, RESULT = "build.json", "build.log", "result.json"
SCHEMA = 1
MAGIC = b"RKNN"
QUANTIZATIONS = ("none", "model", "toolkit")
EXIT_TOOLKIT, EXIT_SETTINGS, EXIT_DIFFERENT = 1, 2, 3


class BuildError(Exception):
    """A step failed.

    Args:
        reason: for people.
        status: exit status of the script.
    """

    def __init__(self, reason: str, status: int = EXIT_TOOLKIT) -> None:
        super().__init__(reason)
        self.status = status


class Report:
    """result.json, written anew at every step: it says where a process was that crashed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {"schema": SCHEMA, "status": "unfinished", "stage": "settings", "seconds": {}}

    def write(self, **fields: Any) -> None:
        """Add fields and save."""
        self.content.update(fields)
        temporary = self.path.with_name(f".{self.path.name}")
        temporary.write_text(json.dumps(self.content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(temporary, self.path)

    @contextlib.contextmanager
    def step(self, name: str) -> Generator[None, None, None]:
        """A step with its time; whatever the toolkit raises becomes a `BuildError`."""
        self.write(stage=name)
        started = time.monotonic()
        try:
            yield
        except BuildError:
            raise
        except (Exception, SystemExit) as error:  # the toolkit raises every kind, and calls exit()
            raise BuildError(f"{name}: {type(error).__name__}: {_last_line(str(error))}") from error
        finally:
            self.content["seconds"][name] = round(time.monotonic() - started, 3)


def _last_line(text: str) -> str:
    """The toolkit puts whole tracebacks into messages; their last line is the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


# ------------------------------------------------------------------------------------------------------------- settings
def read_settings(folder: Path) -> dict[str, Any]:
    """Read build.json and see that what it names is there.

    Raises:
        BuildError: it is missing or wrong.
    """
    path = folder / SETTINGS
    try:
        settings: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BuildError(f"{path} cannot be read: {error.strerror}", EXIT_SETTINGS) from error
    except ValueError as error:
        raise BuildError(f"{path} is no JSON: {error}", EXIT_SETTINGS) from error
    problem = _problem(settings)
    if problem:
        raise BuildError(f"{SETTINGS} {problem}", EXIT_SETTINGS)
    names = [settings["model"], *settings.get("golden", {}).values()]
    if settings["quantization"] == "toolkit":
        names.append(settings["dataset"])
    for name in names:
        existing(folder, name, SETTINGS)
    if Path(settings["output"]).name != settings["output"]:
        raise BuildError(f"{SETTINGS} has an output that is no plain file name: {settings['output']!r}", EXIT_SETTINGS)
    return cast("dict[str, Any]", settings)


def existing(folder: Path, name: str, source: str) -> Path:
    """The path of a file of the folder.

    Raises:
        BuildError: it is missing or elsewhere.
    """
    path = (folder / name).resolve()
    if folder.resolve() not in path.parents:
        raise BuildError(f"{name}, named by {source}, is outside of the folder", EXIT_SETTINGS)
    if not path.is_file():
        raise BuildError(f"{name}, named by {source}, is missing", EXIT_SETTINGS)
    return path


def _problem(settings: Any) -> str:
    """What is wrong with the content of build.json; empty when it can be used."""
    if not isinstance(settings, dict):
        return "is not an object"
    known = cast("dict[str, Any]", settings)
    if known.get("schema") != SCHEMA:
        return f"has schema {known.get('schema')!r}, this script reads {SCHEMA}"
    kinds: list[tuple[str, type]] = [("model", str), ("output", str), ("config", dict), ("quantization", str)]
    kinds += [("inputs", list), ("outputs", list)]
    if known.get("quantization") == "toolkit":
        kinds += [("dataset", str)]
    if "batch" in known:
        kinds += [("batch", int)]
    if "load" in known:
        kinds += [("load", dict)]
    if "golden" in known:
        kinds += [("golden", dict), ("cosine", float)]
    for key, kind in kinds:
        if not isinstance(known.get(key), kind):
            return f"has no usable {key!r}: {known.get(key)!r}"
    if known["quantization"] not in QUANTIZATIONS:
        return f"has quantization {known['quantization']!r}, which is none of {', '.join(QUANTIZATIONS)}"
    return ""


def absolute_dataset(path: Path) -> str:
    """The content of a dataset file with absolute paths, for the toolkit runs in another folder.

    Raises:
        BuildError: it lists nothing, or a file that is missing or not in its folder.
    """
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        files = [existing(path.parent, name, path.name) for name in line.split()]
        if files:
            lines.append(" ".join(str(file) for file in files))
    if not lines:
        raise BuildError(f"{path.name} lists no samples", EXIT_SETTINGS)
    return "\n".join(lines) + "\n"


# -------------------------------------------------------------------------------------------------------------- toolkit
@contextlib.contextmanager
def captured(log: Path) -> Generator[None, None, None]:
    """Standard output and standard error of the process go to a file, also what C++ code prints."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        ctypes.CDLL(None).fflush(None)
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


def succeed(code: Any, call: str) -> None:
    """Check a return code of the toolkit.

    Raises:
        BuildError: it is not 0.
    """
    if code != 0:
        raise BuildError(f"{call} returned {code!r}; {LOG} tells why")


def check_file(path: Path) -> dict[str, Any]:
    """Size and hash of the .rknn file.

    Raises:
        BuildError: it is missing, empty, or something else: the toolkit has been seen to report success then.
    """
    if not path.is_file():
        raise BuildError(f"the toolkit reported success, but wrote no {path.name}")
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise BuildError(f"the toolkit reported success, but {path.name} ({len(data)} bytes) is no RKNN file")
    return {"name": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def build(folder: Path, output: Path, settings: Mapping[str, Any], report: Report) -> Any:
    """Build and export.

    Args:
        folder: of build.json.
        output: where the .rknn file goes.
        settings: content of build.json.
        report: of this run.

    Returns:
        the toolkit's object; the simulator works only in the process that built.

    Raises:
        BuildError: a step failed.
    """
    with report.step("import"):
        toolkit: Any = importlib.import_module("rknn.api").RKNN(verbose=True)
    with report.step("config"):
        succeed(toolkit.config(**settings["config"]), "config")
    with report.step("load"):
        succeed(toolkit.load_onnx(model=str(folder / settings["model"]), **settings.get("load", {})), "load_onnx")
    with report.step("build"):
        batch = {"rknn_batch_size": settings["batch"]} if "batch" in settings else {}
        if settings["quantization"] == "toolkit":
            Path("dataset.txt").write_text(absolute_dataset(folder / settings["dataset"]), encoding="utf-8")
            dataset = os.path.abspath("dataset.txt")
            succeed(toolkit.build(do_quantization=True, dataset=dataset, **batch), "build")
        else:
            succeed(toolkit.build(do_quantization=False, **batch), "build")
    with report.step("export"):
        path = output / settings["output"]
        temporary = Path(path.name).absolute()
        succeed(toolkit.export_rknn(str(temporary)), "export_rknn")
        checked = check_file(temporary)
        path.write_bytes(temporary.read_bytes())
        report.write(file=checked)
    return toolkit


# ----------------------------------------------------------------------------------------------------------- simulation
def simulate(toolkit: Any, folder: Path, settings: Mapping[str, Any]) -> Sequence[Any]:
    """Outputs of the simulator for the golden input, in the order of the model.

    Raises:
        BuildError: the golden input lacks one, or the toolkit fails.
    """
    feeds = load_arrays(folder / settings["golden"]["inputs"])
    missing = [port["source"] for port in settings["inputs"] if port["source"] not in feeds]
    if missing:
        raise BuildError(f"{settings['golden']['inputs']} lacks {', '.join(missing)}", EXIT_SETTINGS)
    succeed(toolkit.init_runtime(), "init_runtime")
    arrays = [np.ascontiguousarray(feeds[port["source"]]) for port in settings["inputs"]]
    results = toolkit.inference(inputs=arrays, data_format=["nchw"] * len(arrays))
    if results is None or len(results) != len(settings["outputs"]):
        count = "none" if results is None else len(results)
        raise BuildError(f"the simulation gave {count} outputs, {len(settings['outputs'])} were expected")
    batch = settings.get("batch", 1)  # the simulator takes one sample and gives as many results as the file's batch
    return [np.split(np.asarray(result), batch)[0] for result in results] if batch > 1 else results


def load_arrays(path: Path) -> dict[str, Any]:
    """Content of an .npz file.

    Raises:
        BuildError: it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise BuildError(f"{path.name} cannot be read: {error}", EXIT_SETTINGS) from error


def compare(name: str, expected: Any, actual: Any) -> dict[str, Any]:
    """How far an output of the simulation is from the reference.

    Raises:
        BuildError: they differ in their number of elements.
    """
    if np.size(expected) != np.size(actual):
        raise BuildError(f"output {name} has shape {np.shape(actual)} in the simulation, {np.shape(expected)} before")
    a = np.asarray(expected, dtype=np.float64).reshape(-1)
    b = np.asarray(actual, dtype=np.float64).reshape(-1)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return {"name": name, "cosine": None, "max_abs": None, "reference_max": None, "finite": False}
    norms = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    cosine = float(a @ b) / (norms[0] * norms[1]) if all(norms) else float(norms[0] == norms[1])
    return {
        "name": name,
        "cosine": cosine,
        "max_abs": float(np.max(np.abs(a - b), initial=0.0)),
        "reference_max": float(np.max(np.abs(a), initial=0.0)),
        "finite": True,
    }


def verify(results: Sequence[Any], folder: Path, settings: Mapping[str, Any], report: Report) -> None:
    """Compare a simulation with the reference.

    Raises:
        BuildError: an output is not close enough.
    """
    golden = load_arrays(folder / settings["golden"]["outputs"])
    missing = [port["source"] for port in settings["outputs"] if port["source"] not in golden]
    if missing:
        raise BuildError(f"{settings['golden']['outputs']} lacks {', '.join(missing)}", EXIT_SETTINGS)
    rows = [compare(p["source"], golden[p["source"]], r) for p, r in zip(settings["outputs"], results, strict=True)]
    report.write(outputs=rows, limit=settings["cosine"])
    for row in rows:
        if row["cosine"] is None:
            raise BuildError(f"output {row['name']} is not finite", EXIT_DIFFERENT)
        if row["cosine"] < settings["cosine"]:
            reason = (
                f"output {row['name']} has cosine {row['cosine']:.6f} with the reference, below {settings['cosine']}"
            )
            raise BuildError(reason, EXIT_DIFFERENT)


# ----------------------------------------------------------------------------------------------------------------- main
def run(folder: Path, output: Path, report: Report, *, simulation: bool) -> None:
    """All steps, in an empty working folder: the toolkit leaves files in it.

    Raises:
        BuildError: a step failed.
    """
    with report.step("settings"):
        settings = read_settings(folder)
    (output / settings["output"]).unlink(missing_ok=True)
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="rknn-") as scratch, captured(output / LOG):
        os.chdir(scratch)
        try:
            toolkit = build(folder, output, settings, report)
            if simulation and "golden" in settings:
                with report.step("simulate"):
                    results = simulate(toolkit, folder, settings)
                with report.step("compare"):
                    verify(results, folder, settings, report)
        finally:
            os.chdir(before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what build.json beside this file describes; the exit status."""
    folder = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Build and simulate this model with rknn-toolkit2.")
    parser.add_argument("--output", type=Path, default=folder, help="where the results go (default: beside build.py)")
    parser.add_argument("--no-simulation", action="store_true", help="do not run the simulator")
    options = parser.parse_args(arguments)
    output = cast("Path", options.output).resolve()
    output.mkdir(parents=True, exist_ok=True)
    report = Report(output / RESULT)
    try:
        run(folder, output, report, simulation=not options.no_simulation)
    except BuildError as error:
        report.write(status="failed", reason=str(error))
        sys.stderr.write(f"build.py: {error}\n")
        return error.status
    report.write(status="ok", stage="done")
    file = report.content["file"]
    sys.stdout.write(f"{output / file['name']}: {file['bytes']} bytes\n")
    for row in report.content.get("outputs", []):
        sys.stdout.write(f"  {row['name']}: cosine {row['cosine']:.6f}, greatest error {row['max_abs']:.4g}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
