"""Pipelines as text: `canonicalise,fuse,quantize-int8{per-channel=false skip=[head,tail]}`."""

from __future__ import annotations

import difflib
import inspect
import re
import types
import typing
from typing import Any, Literal

from uair.context import Context
from uair.errors import UairError
from uair.pipeline import Pass, option_fields

_TOKEN = re.compile(r'\s*(?:(?P<word>[^\s,{}\[\]=:"]+)|"(?P<quoted>(?:[^"\\]|\\[\s\S])*)"|(?P<mark>[,{}\[\]=:]))')
MAX_DEPTH = 8


class PipelineSyntaxError(UairError):
    """A pipeline given as text cannot be understood: wrong syntax, an unknown option, a value of the wrong type."""

    code = "UAIR-E0401"
    title = "Pipeline cannot be understood"


def parse_pipeline(text: str, context: Context) -> list[Pass]:
    """The passes of a pipeline.

    Raises:
        PipelineSyntaxError: see there; UnknownNameError for an unknown pass.
    """
    return _Parser(text, context).pipeline()


class _Parser:
    """Recursive descent over names, options and values.

    Attributes:
        at: where the next token begins, blanks before it included.
        last: where the token that was taken last begins.
    """

    def __init__(self, text: str, context: Context) -> None:
        self.text = text
        self.context = context
        self.at = 0
        self.last = 0

    def window(self, at: int) -> str:
        """The text with a mark under position `at`."""
        return f"   {self.text}\n   {' ' * at}^"

    def fail(self, message: str, at: int | None = None) -> PipelineSyntaxError:
        """The error about what stands at a position, at the token taken last when none is given."""
        return PipelineSyntaxError(
            message,
            window=self.window(self.last if at is None else at),
            hint='write passes as "canonicalise,fuse" and options as "quantize-int8{per-channel=false}"',
        )

    def peek(self) -> tuple[str, str]:
        """Kind and text of the next token; ("end", "") behind the last one."""
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            if self.text[self.at :].strip():
                raise self.fail("the quotation mark is not closed", self.next_start())
            return "end", ""
        kind = found.lastgroup or ""
        return kind, found.group(kind)

    def next_start(self) -> int:
        """Where the next token begins, without the blanks before it."""
        return len(self.text) - len(self.text[self.at :].lstrip())

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.last = self.next_start()
        found = _TOKEN.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return token

    def accept(self, mark: str) -> bool:
        if self.peek() == ("mark", mark):
            self.take()
            return True
        return False

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            raise self.fail(f"expected {mark!r}, found {self.peek()[1] or 'the end'!r}", self.next_start())

    def pipeline(self) -> list[Pass]:
        passes: list[Pass] = []
        while self.peek()[0] != "end":
            passes.append(self.pass_())
            if self.peek()[0] != "end":
                self.expect(",")
        return passes

    def pass_(self) -> Pass:
        kind, name = self.take()
        if kind != "word":
            raise self.fail(f"expected the name of a pass, found {name or 'the end'!r}")
        start = self.last
        try:
            cls = self.context.pass_class(name)
        except UairError as error:
            error.window = error.window or self.window(start)
            raise
        options: dict[str, Any] = {}
        if self.accept("{"):
            while not self.accept("}"):
                key, value = self.option(name)
                if key.replace("-", "_") in options:
                    raise self.fail(f"option {key} is given twice")
                options[key.replace("-", "_")] = value
                self.accept(",")
        try:
            return make_pass(cls, options)
        except UairError as error:
            error.window = error.window or self.window(start)
            raise

    def option(self, name: str) -> tuple[str, Any]:
        kind, key = self.take()
        if kind != "word":
            raise self.fail(f"expected an option of {name}, found {key or 'the end'!r}")
        self.expect("=")
        return key, self.value(0)

    def value(self, depth: int) -> Any:
        """A word, a list of values, or a list of `key:value` pairs."""
        if depth > MAX_DEPTH:
            raise self.fail("values are nested too deeply")
        if not self.accept("["):
            kind, text = self.take()
            if kind not in ("word", "quoted"):
                raise self.fail(f"expected a value, found {text or 'the end'!r}")
            return text if kind == "word" else re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
        items: list[Any] = []
        pairs: dict[str, Any] = {}
        while not self.accept("]"):
            item = self.value(depth + 1)
            if isinstance(item, str) and self.accept(":"):
                pairs[item] = self.value(depth + 1)
            else:
                items.append(item)
            self.accept(",")
        if items and pairs:
            raise self.fail("a list cannot mix values and key:value pairs")
        return pairs or items


def make_pass(cls: type[Pass], options: dict[str, Any]) -> Pass:
    """A pass with options given as text.

    Raises:
        PipelineSyntaxError: an unknown option or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: hints[field.name] for field in option_fields(cls)}
    values: dict[str, Any] = {}
    for key, text in options.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            known = ", ".join(k.replace("_", "-") for k in fields) or "none"
            hint = f"did you mean {near[0].replace('_', '-')}?" if near else f"its options: {known}"
            raise PipelineSyntaxError(f"{cls.name} has no option {key.replace('_', '-')!r}", hint=hint)
        try:
            values[key] = convert(text, fields[key])
        except (TypeError, ValueError) as error:
            raise PipelineSyntaxError(
                f"{cls.name}{{{key.replace('_', '-')}}}: {error}", hint=inspect.getdoc(cls) or ""
            ) from None
    return cls(**values)


def convert(value: Any, annotation: Any) -> Any:
    """Text (or lists and mappings of text) as the annotated type.

    Raises:
        ValueError, TypeError: it is none.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value in ("none", "None"):
            return None
        return convert(value, next(a for a in arguments if a is not type(None)))
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin in (tuple, list):
        items = value if isinstance(value, list) else [value]
        return tuple(convert(v, arguments[0]) for v in items)
    if origin is dict:
        if value == []:
            return {}
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is not a list of key:value pairs")
        return {k: convert(v, arguments[1]) for k, v in value.items()}
    return _convert_word(value, annotation)


def _convert_word(value: Any, annotation: Any) -> Any:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is a list, one value is expected")
    if annotation is bool:
        if value not in ("true", "false"):
            raise ValueError(f"{value!r} is neither true nor false")
        return value == "true"
    if annotation is int:
        return int(value)
    if annotation is float:
        return float(value)
    return value if annotation is str else annotation(value)
