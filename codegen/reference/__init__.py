"""The reference interpreter: the meaning of a module, computed with NumPy.

outputs = run(module, {"x": image})          # one array per output name

`Differentiator` runs it backwards as well.
"""

from __future__ import annotations

from uair.codegen.reference.differentiate import Derivatives, Differentiator
from uair.codegen.reference.errors import (
    FeedShapeError,
    FeedTypeError,
    MissingFeedError,
    NoGradientError,
    ResultTypeError,
    SeedError,
    UnknownFeedError,
)
from uair.codegen.reference.feeds import check_feeds, random_feeds
from uair.codegen.reference.interpreter import Interpreter, Observer, run
from uair.codegen.reference.numerics import CheckNumerics, NumericsChanged, relative_error
from uair.codegen.reference.target import ReferenceTarget

__all__ = [
    "CheckNumerics",
    "Derivatives",
    "Differentiator",
    "FeedShapeError",
    "FeedTypeError",
    "Interpreter",
    "MissingFeedError",
    "NoGradientError",
    "NumericsChanged",
    "Observer",
    "ReferenceTarget",
    "ResultTypeError",
    "SeedError",
    "UnknownFeedError",
    "check_feeds",
    "random_feeds",
    "relative_error",
    "run",
]
