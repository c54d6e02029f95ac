"""Names of the sizes that a model leaves open."""

from __future__ import annotations

import re

from uair.ir.dims import COUNTED_NAME, Dim, InferredShape, Shape, symbol

MAX_NAME = 100
_ILLEGAL = re.compile(r"[^A-Za-z0-9_.]+")


class Sizes:
    """Symbols for open sizes.

    TensorFlow does not name sizes. The first one of all inputs is the batch, as in every Keras model, and is taken to
    be the same in all of them; the others are named after the input and the axis.
    """

    def __init__(self) -> None:
        self._taken: set[str] = {"batch"}

    def declared(self, name: str, shape: InferredShape) -> Shape:
        """The shape of an input with names for the open extents."""
        return tuple(
            d if d is not None else symbol("batch") if axis == 0 else self.named(f"{name}.{axis}")
            for axis, d in enumerate(shape)
        )

    def named(self, wish: str) -> Dim:
        """A new symbol, called like `wish` where that is possible."""
        legal = _ILLEGAL.sub("_", wish[:MAX_NAME]).strip(".") or "d"
        if not legal[0].isalpha() and legal[0] != "_" or COUNTED_NAME.fullmatch(legal):
            legal = f"_{legal}"
        name, n = legal, 1
        while name in self._taken:
            n += 1
            name = f"{legal}_{n}"
        self._taken.add(name)
        return symbol(name)
