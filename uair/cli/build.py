"""`uair build`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uair.cli import options, output

if TYPE_CHECKING:
    from uair.targets.build import BuildResult
    from uair.vendor import Limits


@click.command("build")
@click.argument("artifact", type=click.Path(path_type=Path))
@options.output_option("Folder to make.  [default: ARTIFACT/build]")
@options.limit_options
@click.option("--overwrite", is_flag=True, help="Replace an earlier build.")
@options.json_option
def command(artifact: Path, output: Path | None, overwrite: bool, as_json: bool, **limits: Any) -> None:
    """Build ARTIFACT with its vendor's tool, and read the result back.

    The tool runs in a copy of the artifact, in a clean environment, within limits. A build counts as good only when the
    tool says so, its files are there, and they can be loaded (or simulated and compared with the golden output). The
    log is kept. `uair doctor` tells which tools this machine has.

    \b
    uair build model-rk3588/
    uair build model-ascend310/ --timeout 3600 --memory 16
    """  # noqa: D301  \b is click's mark of text that is not to be wrapped
    results = run_build(artifact, output, limits, overwrite=overwrite)
    show(results, as_json=as_json)


def run_build(artifact: Path, folder: Path | None, limits: dict[str, Any], *, overwrite: bool) -> list[BuildResult]:
    """Build, with a status line."""
    from uair.building import build

    with output.progress(f"building {artifact.name}"):
        return build(artifact, output=folder, limits=read_limits(limits), overwrite=overwrite)


def read_limits(given: dict[str, Any]) -> Limits:
    """The limits of `--timeout`, `--memory` and `--disk`."""
    from uair.vendor import Limits

    return Limits(seconds=given["timeout"], memory=int(given["memory"] * 2**30), disk=int(given["disk"] * 2**30))


def show(results: list[BuildResult], *, as_json: bool) -> None:
    """Print what was built."""
    if as_json:
        output.print_json([{**result.to_json(), "folder": str(result.folder)} for result in results])
        return
    rows = [
        (str(result.folder / name), output.size(entry["bytes"]))
        for result in results
        for name, entry in result.files.items()
    ]
    output.table(("file", "size"), rows, right=(1,))
    for result in results:
        version = f" {result.version}" if result.version else ""
        unchecked = "" if result.checked or not result.version else ", a version that was not checked"
        output.print_text(f"\n{result.target}: built by {result.tool}{version} in {result.seconds:.1f} s{unchecked}")
        for key, value in result.read_back.items():
            for line in describe(key, value):
                output.print_prose(line, "  ", "    ")
        for finding in result.findings[:10]:
            output.print_prose(f"{finding.level}: {finding.describe()}", "  ", "    ")


def describe(key: str, value: Any) -> list[str]:
    """What reading back told, in lines."""
    if key == "simulated":
        return [
            f"simulated, {row['name']}: cosine {row['cosine']:.6f}, greatest difference {row['max_abs']:.3g}"
            for row in value
        ]
    return [f"{key.replace('_', ' ')}: {value}"] if value else []
