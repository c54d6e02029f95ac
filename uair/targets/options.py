"""What a user may tell a target: named values, declared by the target as an attrs class.

    @attrs.frozen
    class ToyOptions(TargetOptions):
        level: int = option(2, help="effort of toycc, 0 to 3")
        precision: Literal["f16", "f32"] = option("f16", help="what floats are computed in")

    class ToyTarget(Target):
        options = ToyOptions

A field's annotation says what is taken: text, an int, a float, a bool, one of the words of a Literal, a tuple of these
(separated by commas on the command line), a mapping of text to text (`key:value`, separated by commas), a Path, or any
of these or None. What a value must fulfil beyond its type is checked in `__attrs_post_init__`, and what depends on the
chip in `Target.check_request`; both raise OptionError.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from uair.targets.errors import OptionError
from uair.typed_values import named_texts, near, takes, value_of

T = TypeVar("T", bound="TargetOptions")


@attrs.frozen
class TargetOptions:
    """The options of a target that has none, and the base of all others."""


@attrs.frozen
class OptionInfo:
    """One option, for help.

    Attributes:
        name: as the user writes it.
        takes: what values it takes, in words.
        default: value when it is not given.
        help: what it does.
    """

    name: str
    takes: str
    default: Any
    help: str

    def __str__(self) -> str:
        default = "" if self.default in (None, False, "", (), {}) else f" [{self.default}]"
        return f"{self.name}: {self.help}; takes {self.takes}{default}"


def option(default: Any, *, help: str) -> Any:
    """A field of an options class: its value when it is not given, and what it does in one sentence."""
    return attrs.field(default=default, metadata={"help": help})


def options_of(cls: type[TargetOptions]) -> list[OptionInfo]:
    """The options of a target, in the order of their declaration."""
    hints = typing.get_type_hints(cls)
    return [
        OptionInfo(f.name, takes(hints[f.name]), _default(f), f.metadata.get("help", "")) for f in attrs.fields(cls)
    ]


def parse_options(cls: type[T], given: Mapping[str, Any], target: str) -> T:
    """The options of a target from what the user gave: text from a command line, or values of the fields' own types.

    Args:
        cls: the target's class of options.
        given: values by name; a dash in a name is an underscore.
        target: the target's name, for messages.

    Raises:
        OptionError: an unknown name (near ones are suggested), or a value that the option does not take.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in hints:
            raise OptionError(f"target {target} has no option {key!r}", hint=near(name, list(hints)))
        try:
            values[name] = value_of(hints[name], value)
        except (ValueError, TypeError):
            raise OptionError(
                f"option {name} of target {target} cannot be {value!r}", hint=f"it takes {takes(hints[name])}"
            ) from None
    return cls(**values)


def given_options(text: Sequence[str]) -> dict[str, str]:
    """Options from a command line, each `name=value`.

    Raises:
        OptionError: one is not of that form, or is given twice.
    """
    try:
        return named_texts(text)
    except ValueError as error:
        raise OptionError(f"option {error}") from None


def plain(options: TargetOptions) -> dict[str, Any]:
    """What differs from the defaults, as plain data for a manifest; a file by its name, which depends on no machine."""
    given = ((f.name, getattr(options, f.name), _default(f)) for f in attrs.fields(type(options)))
    return {name: plain_value(value) for name, value, default in given if value != default}


def _default(field: attrs.Attribute[Any]) -> Any:
    factory: Any = field.default
    return factory.factory() if isinstance(factory, attrs.Factory) else factory  # type: ignore[arg-type]


def plain_value(value: Any) -> Any:
    """An option's value as plain data; a file by its name."""
    if isinstance(value, Path):
        return value.name
    if isinstance(value, tuple):
        values: tuple[Any, ...] = value
        return [plain_value(v) for v in values]
    if isinstance(value, Mapping):
        table: Mapping[Any, Any] = value
        return {str(k): plain_value(v) for k, v in table.items()}
    return value
