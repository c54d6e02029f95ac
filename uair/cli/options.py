"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from uair.ir.module import Module
    from uair.preprocess import Preprocess

    ParamType = click.ParamType[Any]  # generic from click 8.4 on, and only for the type checkers
else:
    ParamType = click.ParamType

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""A model that Python code makes: `package.module:factory`."""
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class ShapeType(ParamType):
    """`x=1,3,224,224`."""

    name = "INPUT=SIZES"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        """Name and sizes."""
        name, separator, sizes = str(value).rpartition("=")
        try:
            shape = tuple(int(s) for s in sizes.replace("x", ",").split(",")) if sizes.strip() else ()
        except ValueError:
            separator = ""
            shape = ()
        if not name or not separator:
            self.fail(f"{value!r} is not of the form x=1,3,224,224", param, ctx)
        if any(size < 0 for size in shape):
            self.fail(f"{value!r}: a size cannot be negative", param, ctx)
        return name, shape


class ValueType(ParamType):
    """`rate=16000`, `sizes=1,2,3`, `mask=mask.npy`."""

    name = "INPUT=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Name, and text, a list of texts or an array; what they mean depends on the input's element type.

        Raises:
            InputFileError: the file cannot be read.
        """
        name, separator, text = str(value).rpartition("=")
        if not name or not separator or not text:
            self.fail(f"{value!r} is not of the form rate=16000", param, ctx)
        if text.lower().endswith(".npy"):
            from uair.cli.inputs import load_npy

            return name, load_npy(Path(text))
        return name, text.split(",") if "," in text else text


class BucketType(ParamType):
    """`x=1,3,224,224`, or `ids=1,128;mask=1,128` for several inputs."""

    name = "INPUT=SIZES"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, tuple[int, ...]]:
        """Shapes by input name."""
        shapes = [ShapeType().convert(part, param, ctx) for part in str(value).split(";")]
        bucket = dict(shapes)
        if len(bucket) != len(shapes):
            self.fail(f"{value!r} gives an input twice", param, ctx)
        return bucket


class NamedText(ParamType):
    """`x:...`, or `...` alone for a model with one input."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Name (empty when left out) and text."""
        name, _, text = str(value).rpartition(":")
        return name, text


class TargetName(ParamType):
    """The name of a target; unknown ones are refused where the target is looked up."""

    name = "TARGET"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The built-in targets."""
        from click.shell_completion import CompletionItem

        from uair.builtin import TARGETS

        return [CompletionItem(name) for name in sorted(TARGETS) if name.startswith(incomplete)]


def shape_option(command: F) -> F:
    """`--shape`."""
    return click.option(
        "--shape",
        "shapes",
        multiple=True,
        type=ShapeType(),
        help="Fix the sizes of an input that the model leaves open: --shape x=1,3,224,224. Once for each input.",
    )(command)


def value_option(command: F) -> F:
    """`--value`."""
    return click.option(
        "--value",
        "values",
        multiple=True,
        type=ValueType(),
        help="Make an input a constant: --value rate=16000. Several numbers are separated by ',', an array is a .npy "
        "file, and one number fills the input. Once for each input.",
    )(command)


def bucket_option(command: F) -> F:
    """`--shape-bucket`."""
    return click.option(
        "--shape-bucket",
        "buckets",
        multiple=True,
        type=BucketType(),
        help="One of several shapes that the compiled model is to take, for targets that can: --shape-bucket "
        "x=1,3,224,224 --shape-bucket x=4,3,224,224. Several inputs are separated by ';'.",
    )(command)


def target_option(command: F) -> F:
    """`--option`."""
    return click.option(
        "--option",
        "--target-option",
        "options",
        metavar="NAME=VALUE",
        multiple=True,
        help="Tell the target something of its own; `uair targets NAME` lists what.",
    )(command)


def json_option(command: F) -> F:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result, or the error, as JSON.")(command)


def preprocess_option(command: F) -> F:
    """`--preprocess`."""
    return click.option(
        "--preprocess",
        "preprocess",
        multiple=True,
        type=NamedText("[INPUT:]STEPS"),
        help="How images become an input, (pixel 0..255 - mean) / std: resize=pad,color=bgr,mean=127.5,std=127.5; "
        "numbers per channel are separated by '/', 123.7/116.3/103.5.",
    )(command)


def loading_options(command: F) -> F:
    """`--load`, `--external-data-root`, `--plugin`, and what a model in Python code needs: `--weights`, `--example`."""
    command = plugin_option(command)
    command = click.option(
        "--example",
        "examples",
        metavar="INPUT=TYPE[SIZES]",
        multiple=True,
        help="For MODEL package.module:factory: an example input, --example x=f32[1,3,224,224]. A size that is a name "
        "is open: ids=i64[batch,seq=16]. Once for each input.",
    )(command)
    command = click.option(
        "--weights",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="For MODEL package.module:factory: its weights, .safetensors or what torch.save has written of tensors.",
    )(command)
    command = click.option(
        "--load",
        "told",
        metavar="NAME=VALUE",
        multiple=True,
        help="Tell the reader of MODEL's format something: --load channels=first, --load signature=encode. The pages "
        "of the formats say what; several words are separated by ','.",
    )(command)
    return click.option(
        "--external-data-root",
        metavar="FOLDER",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Also read external weights from this folder. Without it only the model's own folder is read.",
    )(command)


def plugin_option(command: F) -> F:
    """`--plugin`: what the files bring is known until the command ends."""
    return click.option(
        "--plugin",
        "plugins",
        metavar="FILE.py",
        multiple=True,
        is_eager=True,
        callback=_load_plugins,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Run this Python file and use the rules, passes, operators and targets that it defines. Only a file that "
        "you trust; may be given several times.",
    )(command)


def _load_plugins(context: click.Context, parameter: click.Parameter, files: tuple[Path, ...]) -> tuple[Path, ...]:
    """Let what the files bring be known in the command.

    Raises:
        PluginError: a file cannot be loaded.
    """
    if files and not context.resilient_parsing:
        from uair.context import Context
        from uair.plugins import with_plugins

        context.with_resource(with_plugins(Context.default(), files).in_force())
    return files


def model_argument(command: F) -> F:
    """The model file."""
    return click.argument("model", type=click.Path(path_type=Path))(command)


def output_option(help: str) -> Callable[[F], F]:
    """`--output`."""
    return click.option("--output", "-o", metavar="PATH", type=click.Path(path_type=Path), help=help)


def passes_option(help: str, *, default: str = "") -> Callable[[F], F]:
    """--passes, -p: a pipeline. Its default is shown when it has one."""
    return click.option("--passes", "-p", metavar="PIPELINE", default=default, show_default=bool(default), help=help)


def dump_dir_option(command: F) -> F:
    """`--dump-dir`."""
    return click.option(
        "--dump-dir",
        metavar="FOLDER",
        type=click.Path(file_okay=False, path_type=Path),
        help="Write the IR after every pass that changed it into this folder.",
    )(command)


def reproducer_option(command: F) -> F:
    """`--reproducer`."""
    return click.option(
        "--reproducer",
        metavar="FOLDER",
        type=click.Path(file_okay=False, path_type=Path),
        help="When a pass fails, write the module in front of it into this folder, with the command that replays it.",
    )(command)


def limit_options(command: F) -> F:
    """`--timeout`, `--memory` and `--disk`: what a vendor's tool may use."""
    for name, unit, default, help in (
        ("--disk", "GIB", 64.0, "Disk that the tool may fill, in GiB."),
        ("--memory", "GIB", 8.0, "Memory that the tool may use, in GiB, all its processes together."),
        ("--timeout", "SECONDS", 3600.0, "Time after which the tool is stopped."),
    ):
        command = click.option(
            name, metavar=unit, default=default, show_default=True, type=click.FloatRange(0, min_open=True), help=help
        )(command)
    return command


def load_model(
    path: Path, given: Mapping[str, Any], fed: Sequence[Mapping[str, tuple[int, ...]]] = ()
) -> tuple[Module, dict[str, tuple[int, ...]]]:
    """Read a model file, or the module that Python code makes.

    Args:
        path: of the file, or `package.module:factory`.
        given: the values of `loading_options` and `shape_option`.
        fed: shapes that inputs are fed in, by name, or one such set for every bucket, which a reader may need as well;
            they are not to be bound.

    Returns:
        The module, and the shapes that are still to be bound: a reader may have needed some to read the model.

    Raises:
        UairError: the model cannot be read, or its reader does not take what it is told.
        click.UsageError: an option is for other models.
    """
    from uair.driver.loading import read_model

    shapes = shapes_by_input(given["shapes"])
    if FACTORY.fullmatch(str(path)) and not path.exists():
        from uair.frontends.torch.factory import load_factory

        _require_not_given(given, {"--load": "told"}, "is for model files")
        return load_factory(str(path), given["weights"], given["examples"]), shapes
    code_only = {"--weights": "weights", "--example": "examples"}
    _require_not_given(given, code_only, "is for a model in Python code: package.module:factory")
    told = list(given["told"])
    if given["external_data_root"] is not None:
        if path.suffix.lower() != ".onnx":
            raise click.UsageError("--external-data-root is for .onnx models")
        told.append(f"external_data_root={given['external_data_root']}")
    module, rest = read_model(path, shapes, told, fed)
    return module, dict(rest)


def _require_not_given(given: Mapping[str, Any], options: Mapping[str, str], why: str) -> None:
    """Refuse options that do not go with the model.

    Raises:
        click.UsageError: one is given.
    """
    for option, name in options.items():
        if given[name]:
            raise click.UsageError(f"{option} {why}")


def shapes_by_input(given: Sequence[tuple[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    """`--shape` values by input name.

    Raises:
        click.UsageError: an input is named twice.
    """
    return _by_input("--shape", given)


def values_by_input(given: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """`--value` values by input name.

    Raises:
        click.UsageError: an input is named twice.
    """
    return _by_input("--value", given)


def require_unbound(given: Mapping[str, Any]) -> None:
    """Refuse `--shape`, `--value` and `--load` for an artifact.

    Raises:
        click.UsageError: one is given.
    """
    decided = {"--shape": "shapes", "--value": "values", "--load": "told"}
    _require_not_given(given, decided, "is for models; what an artifact takes was decided by `uair compile`")


def _by_input(option: str, given: Sequence[tuple[str, T]]) -> dict[str, T]:
    found = dict(given)
    if len(found) != len(given):
        names = [name for name, _ in given]
        twice = next(name for name in names if names.count(name) > 1)
        raise click.UsageError(f"{option} gives {twice!r} twice")
    return found


def preprocess_by_input(given: Sequence[tuple[str, str]], names: Sequence[str]) -> Mapping[str, Preprocess]:
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
            raise PreprocessError(
                f"--preprocess names {name!r}, which is no input", hint=f"the inputs are {', '.join(names)}"
            )
        result[name or names[0]] = Preprocess.parse(text)
    return result
