"""Unique and legal names for what is written to files.

Nothing in the IR is looked up by name: names there are hints, may repeat, and may hold any character. Whoever writes a
file gives every object a name of its own through one `Namer` per name space. The same hints in the same order give the
same names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

ANYTHING = r"(?s:.+)"
IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
LONGEST = 512  # characters kept of a hint that has to be changed: models come from strangers


class Namer:
    """Hands out names that are unique and match a pattern.

    names = Namer(legal=IDENTIFIER, reserved=("int", "for"))
    names.unique("conv1/weight:0")   # "conv1_weight_0"
    names.unique("conv1.weight.0")   # "conv1_weight_0_1"
    """

    __slots__ = ("_legal", "_next", "_taken", "default")

    def __init__(self, legal: str = ANYTHING, *, reserved: Iterable[str] = (), default: str = "t") -> None:
        """Start with the `reserved` names taken.

        Args:
            legal: regular expression that a whole name must match. Every non-empty beginning of a legal name must be
                legal too, and so must a legal name followed by an underscore and digits (identifiers are of this kind).
            reserved: names never handed out, e.g. the keywords of a language.
            default: used for an empty hint and in front of one that begins with an illegal character; itself legal.

        Raises:
            ValueError: `default` is not legal.
        """
        self._legal = re.compile(legal)
        if not self._legal.fullmatch(default):
            raise ValueError(f"the default name {default!r} does not match {legal!r}")
        self._taken = set(reserved)
        self._next: dict[str, int] = {}
        self.default = default

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def reserve(self, name: str) -> None:
        """Take exactly `name`, legal or not: the names of an interface are kept as they are.

        Raises:
            ValueError: it is taken.
        """
        if name in self._taken:
            raise ValueError(f"the name {name!r} is taken")
        self._taken.add(name)

    def unique(self, hint: str = "", default: str = "") -> str:
        """A name like `hint` (or like `default`, when the hint is empty) that was never given before."""
        base = self.legal(hint or default)
        if base not in self._taken:
            self._taken.add(base)
            return base
        number = self._next.get(base, 1)
        while (name := f"{base}_{number}") in self._taken:
            number += 1
        self._next[base] = number + 1
        self._taken.add(name)
        return name

    def legal(self, hint: str) -> str:
        """`hint` with every character that may not stand where it stands replaced by an underscore."""
        if self._legal.fullmatch(hint):
            return hint
        name = ""
        for character in hint[:LONGEST]:
            if self._legal.fullmatch(name + character):
                name += character
            elif name:
                name += "_"
            elif self._legal.fullmatch(f"{self.default}_{character}"):
                name = f"{self.default}_{character}"
        return name if self._legal.fullmatch(name) else self.default
