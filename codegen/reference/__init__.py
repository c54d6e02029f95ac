"""The reference interpreter: the meaning of a module, computed with NumPy.

outputs = run(module, {"x": image})          # one array per output name
"""

from __future__ import annotations

from uair.codegen.reference.errors import (
    FeedShapeError,
    FeedTypeError,
    MissingFeedError,
    ResultTypeError,
    UnknownFeedError,
)
from uair.codegen.reference.feeds import check_feeds, random_feeds
from uair.codegen.reference.interpreter import Interpreter, Observer, run
from uair.codegen.reference.numerics import CheckNumerics, NumericsChanged, relative_error
from uair.codegen.reference.target import ReferenceTarget

__all__ = [
    "CheckNumerics",
    "FeedShapeError",
    "FeedTypeError",
    "Interpreter",
    "MissingFeedError",
    "NumericsChanged",
    "Observer",
    "ReferenceTarget",
    "ResultTypeError",
    "UnknownFeedError",
    "check_feeds",
    "random_feeds",
    "relative_error",
    "run",
]
