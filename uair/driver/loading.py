"""Reading a model with its frontend, and what a user may tell the frontend.

The options of a frontend are the parameters of its `load` beside the source, typed by their annotations.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from uair.context import Context
from uair.driver.formats import frontend_of
from uair.errors import UairError
from uair.ir.module import Module
from uair.typed_values import can_be_told, named_texts, near, takes, value_of

Shapes = Mapping[str, "tuple[int, ...]"]


class LoadOptionError(UairError):
    """The frontend that reads the model has no such option, or the option does not take the value."""

    code = "UAIR-E0126"
    title = "Option of a frontend does not fit"


@attrs.frozen
class Loader:
    """The frontend of a format.

    Attributes:
        format: its name.
        function: called with the source, example inputs, and its options by name.
    """

    format: str
    function: Callable[..., Any]

    @staticmethod
    def of(source: Any, format: str | None = None) -> Loader:
        """The frontend that reads a source; of that format when one is given.

        Raises:
            UnknownFormatError: none does.
            UnknownNameError: there is no such format.
        """
        name = format or frontend_of(source)
        return Loader(name, Context.default().frontend(name))

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of its function after the source; `*inputs` and `**options` too."""
        return dict(list(inspect.signature(self.function).parameters.items())[1:])

    def named(self) -> list[str]:
        """The names of its options."""
        return [n for n, p in self.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]

    def annotations(self) -> dict[str, Any]:
        """The types of the options that text can give, by name."""
        found = {name: self._annotation(name) for name in self.named()}
        return {name: annotation for name, annotation in found.items() if can_be_told(annotation)}

    def _annotation(self, name: str) -> Any:
        """The type of an option; Any when it names what only type checkers import."""
        holder = type("Holder", (), {"__annotations__": {name: self.parameters[name].annotation}})
        try:
            return typing.get_type_hints(holder, getattr(self.function, "__globals__", None))[name]
        except NameError:
            return Any

    def told(self, given: Sequence[str]) -> dict[str, Any]:
        """Options from a command line, each `name=value`.

        Raises:
            LoadOptionError: there is no such option, it cannot be told by text, or it does not take the value.
        """
        try:
            texts = named_texts(given)
        except ValueError as error:
            raise LoadOptionError(f"load option {error}", hint="--load NAME=VALUE") from None
        self.require(texts)
        annotations = self.annotations()
        values: dict[str, Any] = {}
        for name, text in texts.items():
            if name not in annotations:
                raise LoadOptionError(
                    f"option {name} of {self.format} models takes no text",
                    hint=f"in Python: uair.load(..., {name}=...)",
                )
            try:
                values[name] = value_of(annotations[name], text)
            except (ValueError, TypeError):
                raise LoadOptionError(
                    f"option {name} of {self.format} models cannot be {text!r}",
                    hint=f"it takes {takes(annotations[name])}",
                ) from None
        return values

    def require(self, names: Sequence[str] | Mapping[str, Any]) -> None:
        """Refuse names that are none of its options.

        Raises:
            LoadOptionError: the first one; near ones are suggested.
        """
        if any(p.kind is p.VAR_KEYWORD for p in self.parameters.values()):
            return
        known = self.named()
        for name in names:
            if name not in known:
                raise LoadOptionError(
                    f"{self.format} models are read without an option {name!r}", hint=near(name, known)
                )

    def read(self, source: Any, inputs: Sequence[Any], options: Mapping[str, Any]) -> Module:
        """Read a model.

        Args:
            source: a path, or a model object of a framework.
            inputs: example inputs, for a model that is traced.
            options: by name.

        Raises:
            LoadOptionError: the frontend has no such option, or takes no inputs.
            UairError: the model cannot be read.
        """
        self.require(options)
        if inputs and not any(p.kind is p.VAR_POSITIONAL for p in self.parameters.values()):
            raise LoadOptionError(f"{self.format} models declare their inputs: example inputs are not taken")
        module: Module = self.function(source, *inputs, **options)
        return module

    def read_with_shapes(
        self, source: Any, options: Mapping[str, Any], shapes: Shapes, fed: Sequence[Shapes] = ()
    ) -> tuple[Module, Shapes]:
        """Read a model whose inputs are to have these shapes.

        A frontend needs the shape of an input whose rank the model does not say (its option `unranked`), or shapes to
        tell apart sizes that the model calls the same (`shapes`); all others are bound when the model is read.

        Args:
            source: a path, or a model object of a framework.
            options: by name.
            shapes: shape by input name.
            fed: shapes that the other inputs are fed in, or one such set for every bucket; they are not to be bound.

        Returns:
            The module, and the shapes that are still to be bound.

        Raises:
            UairError: the model cannot be read.
        """
        given = [{**each, **shapes} for each in fed] or [dict(shapes)]
        if "unranked" not in self.parameters or not any(given):
            if any(given) and "shapes" in self.parameters:
                options = {"shapes": given[0] if len(given) == 1 else given, **options}
            return self.read(source, (), options), shapes
        module = self.read(source, (), {"unranked": given[0], **options})
        types = {name: t.type.shape for name, t in zip(module.main.input_names, module.main.inputs, strict=True)}
        return module, {name: shape for name, shape in shapes.items() if not _is_bound(types.get(name), shape)}


def _is_bound(shape: Sequence[Any] | None, asked: Sequence[int]) -> bool:
    """Whether an input has the shape that was asked for, in the model's own order or with the channels first."""
    if shape is None or len(shape) != len(asked):
        return False
    return tuple(shape) in (tuple(asked), (*asked[:1], *asked[-1:], *asked[1:-1]))


def read_model(
    model: Any, shapes: Shapes | None = None, told: Sequence[str] = (), fed: Sequence[Shapes] = ()
) -> tuple[Module, Shapes]:
    """Read a model whose inputs are to have these shapes.

    Args:
        model: a path, an object of a framework, or a module, which is returned as it is.
        shapes: shape by input name.
        told: what the frontend is told, each `name=value`.
        fed: shapes that inputs are fed in, or one such set for every bucket; they are not to be bound.

    Returns:
        The module, and the shapes that are still to be bound.

    Raises:
        LoadOptionError: the frontend does not take what it is told.
        UairError: the model cannot be read.
    """
    if isinstance(model, Module):
        return model, shapes or {}
    loader = Loader.of(model)
    source = Path(model) if isinstance(model, str) else model
    return loader.read_with_shapes(source, loader.told(told), shapes or {}, fed)
