"""Names in the text form.

Hints may be empty, repeat, and hold any character. Names in a text are unique, and the hint can be told from the name:

    %conv1          hint "conv1"
    %conv1#1        another value with the hint "conv1"
    %"a/b:0"        a hint that is no identifier
    %"a/b:0"#1      another value with that hint
    %0              a value without a hint (a hint "0" is written %"0")

Constants are written the same way with `@`.
"""

from __future__ import annotations

import re

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.$]*")
_ESCAPE = re.compile(r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|(.))", re.DOTALL)
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_LONG = {'"': '"', "\\": "\\", "n": "\n", "t": "\t", "r": "\r"}


def quote(text: str) -> str:
    r"""A string in double quotes; what cannot be seen or encoded is written as \u{hex}."""
    if not text.isprintable() or '"' in text or "\\" in text:
        text = "".join(_SHORT.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text)
    return f'"{text}"'


def unquote(quoted: str) -> str:
    """The string that `quote` was given.

    Raises:
        ValueError: an escape is unknown; its second argument is the position.
    """
    if "\\" not in quoted:
        return quoted[1:-1]

    def plain(found: re.Match[str]) -> str:
        if found[1] is not None:
            number = int(found[1], 16)
            if number > 0x10FFFF:
                raise ValueError(f"{found[0]} is no character", found.start())
            return chr(number)
        if found[2] not in _LONG:
            raise ValueError(f"unknown escape {found[0]}", found.start())
        return _LONG[found[2]]

    return _ESCAPE.sub(plain, quoted[1:-1])


def word(text: str) -> str:
    """An identifier as it is, anything else in quotes."""
    return text if IDENTIFIER.fullmatch(text) else quote(text)


def unword(text: str) -> str:
    """The string that `word` was given.

    Raises:
        ValueError: see `unquote`.
    """
    return unquote(text) if text.startswith('"') else text


class ValueNames:
    """Gives each object of one name space its name.

    Args:
        sigil: "%" for values, "@" for constants.
    """

    __slots__ = ("_names", "_next", "_unnamed", "sigil")

    def __init__(self, sigil: str) -> None:
        self.sigil = sigil
        self._names: dict[object, str] = {}
        self._next: dict[str, int] = {}
        self._unnamed = 0

    def __contains__(self, item: object) -> bool:
        return item in self._names

    def of(self, item: object, hint: str) -> str:
        """The name of `item`, made from `hint` the first time."""
        name = self._names.get(item)
        if name is None:
            name = self._names[item] = self._new(hint)
        return name

    def _new(self, hint: str) -> str:
        if not hint:
            self._unnamed += 1
            return f"{self.sigil}{self._unnamed - 1}"
        number = self._next.get(hint, 0)
        self._next[hint] = number + 1
        return f"{self.sigil}{word(hint)}" + (f"#{number}" if number else "")


def hint_of(name: str) -> str:
    """The hint in a name (sigil included).

    Raises:
        ValueError: see `unquote`.
    """
    bare = name[1:]
    if bare[:1].isdigit():
        return ""
    if bare.startswith('"'):
        return unquote(bare[: bare.rindex('"') + 1])
    return bare.split("#", 1)[0]


def canonical(name: str) -> str:
    """The one spelling of a name that may also have been written with needless quotes or escapes.

    Raises:
        ValueError: see `unquote`.
    """
    if name[1:2] != '"':
        return name
    end = name.rindex('"') + 1
    return name[0] + word(unquote(name[1:end])) + name[end:]
