"""Errors of the text form: where in the text, what was found there, what could stand there."""

from __future__ import annotations

from uair.errors import UairError

SHOWN_COLUMNS = 100
"""A longer line is shown in part, around the fault."""


class TextError(UairError):
    """Base of what can be wrong with a text."""

    code = "UAIR-E0200"
    title = "Text form"


class TextSyntaxError(TextError):
    """The text does not follow the grammar; the message says what could stand at the marked place."""

    code = "UAIR-E0201"
    title = "Syntax error in the text form"


class TextNameError(TextError):
    """A value or constant is used but not defined, or defined twice."""

    code = "UAIR-E0202"
    title = "Undefined or repeated name"


class TextValueError(TextError):
    """A number, type, attribute or constant is written correctly but cannot be what it is written for."""

    code = "UAIR-E0203"
    title = "Value does not fit"


class TextLimitError(TextError):
    """The text exceeds a limit that keeps hostile files from exhausting time or memory."""

    code = "UAIR-E0204"
    title = "Text exceeds a limit"


class WeightsError(TextError):
    """The sidecar file with the large constants is missing, damaged, or does not hold what the text refers to."""

    code = "UAIR-E0205"
    title = "Weights of the text form"


class TextFileError(TextError):
    """The file cannot be read, is not text, or is of another version of the text form."""

    code = "UAIR-E0206"
    title = "Text file cannot be read"
    next_step = "name a file that `uair dump -o` wrote"


class ValueFault(Exception):
    """What is wrong with a value and where in its own text; the parser makes the `TextError` of it.

    Args:
        message: the reason.
        offset: position in the text of the value.
        kind: the class of the error to be made.
        hint: the next step.
    """

    def __init__(self, message: str, offset: int = 0, kind: type[TextError] = TextValueError, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.kind = kind
        self.hint = hint


def locate(text: str, position: int) -> tuple[int, int, str]:
    """Line and column, both from 1, of a position in a text, and that line."""
    position = max(0, min(position, len(text)))
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return text.count("\n", 0, position) + 1, position - start + 1, text[start : len(text) if end < 0 else end]


def place_error(error: UairError, file: str, text: str, position: int) -> None:
    """Set the place (file:line:column) and the window (the line with a caret) of an error."""
    line, column, content = locate(text, position)
    error.place = f"{file or '<text>'}:{line}:{column}"
    begin = max(0, column - 1 - SHOWN_COLUMNS * 2 // 3) if len(content) > SHOWN_COLUMNS else 0
    end = begin + SHOWN_COLUMNS
    before = "..." if begin else ""
    shown = before + content[begin:end].replace("\t", " ") + ("..." if len(content) > end else "")
    error.window = f"{line:5} | {shown}\n{' ' * (8 + len(before) + column - 1 - begin)}^"
