"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from uair.preprocess import Preprocess

F = TypeVar("F", bound=Callable[..., Any])


class ShapeType(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.4 on, not before
    """`x=1,3,224,224`."""

    name = "INPUT=SIZES"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        """Name and sizes."""
        name, separator, sizes = str(value).rpartition("=")
        try:
            shape = tuple(int(s) for s in sizes.replace("x", ",").split(",") if s) if separator else None
        except ValueError:
            shape = None
        if not name or shape is None:
            self.fail(f"{value!r} is not of the form x=1,3,224,224", param, ctx)
        return name, shape


class NamedText(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.4 on, not before
    """`x=...`, or `...` alone for a model with one input."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Name (empty when left out) and text."""
        name, _, text = str(value).rpartition(":")
        return name, text


def shape_option(command: F) -> F:
    """`--shape`."""
    return click.option(
        "--shape",
        "shapes",
        multiple=True,
        type=ShapeType(),
        help="Fix the shape of an input: --shape x=1,3,224,224. Once for each input.",
    )(command)


def json_option(command: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for programs.")(command)


def preprocess_option(command: F) -> F:
    """`--preprocess`."""
    return click.option(
        "--preprocess",
        "preprocess",
        multiple=True,
        type=NamedText("[INPUT:]STEPS"),
        help="How images become an input: resize=pad,color=bgr,mean=127.5,std=127.5 (numbers per channel: 123/116/103).",
    )(command)


def external_data_option(command: F) -> F:
    """`--external-data-root`."""
    return click.option(
        "--external-data-root",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Also read external weights from this folder. Without it only the model's own folder is read.",
    )(command)


def model_argument(command: F) -> F:
    """The model file."""
    return click.argument("model", type=click.Path(path_type=Path))(command)


def load_model(path: Path, external_data_root: Path | None = None) -> Any:
    """Read a model file."""
    from uair.api import load

    options: dict[str, Any] = {} if external_data_root is None else {"external_data_root": external_data_root}
    return load(path, **options)


def preprocess_by_input(given: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, Preprocess]:
    """`--preprocess` values by input name.

    Raises:
        PreprocessError: a value cannot be read, or no input is named where the model has several.
    """
    from uair.preprocess import Preprocess, PreprocessError

    result: dict[str, Preprocess] = {}
    for name, text in given:
        if not name and len(names) != 1:
            raise PreprocessError(
                f"--preprocess must name one of the inputs {', '.join(names)}", hint=f"--preprocess {names[0]}:{text}"
            )
        if name and name not in names:
            raise PreprocessError(f"--preprocess names {name!r}, the inputs are {', '.join(names)}")
        result[name or names[0]] = Preprocess.parse(text)
    return result
