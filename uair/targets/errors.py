"""Errors of device description files and of targets."""

from __future__ import annotations

from uair.errors import UairError


class TargetError(UairError):
    """Base of what can be wrong with a target or its description."""

    code = "UAIR-E0500"
    title = "Target"


class DescriptionFileError(TargetError):
    """A device description file is missing, is not text, or is not TOML."""

    code = "UAIR-E0501"
    title = "Device description cannot be read"


class DescriptionError(TargetError):
    """A device description has an unknown key, lacks a required one, or has a value of the wrong type or range."""

    code = "UAIR-E0502"
    title = "Device description does not follow the schema"


class ConstraintSyntaxError(TargetError):
    """A constraint does not follow the grammar of the constraint language."""

    code = "UAIR-E0503"
    title = "Syntax error in a constraint"


class ConstraintTypeError(TargetError):
    """A constraint uses a name that the operator does not have, or combines values that do not go together."""

    code = "UAIR-E0504"
    title = "Constraint does not fit the operator"


class NoEmitter(TargetError):
    """A target is known by its description only: it can be checked against, but nothing writes its files."""

    code = "UAIR-E0506"
    title = "Target writes no files"


class OptionError(TargetError):
    """A target has no such option, or the option, the chip or the vendor's release does not take the value."""

    code = "UAIR-E0550"
    title = "Target option does not fit"


class BucketError(TargetError):
    """Shape buckets that do not fit the model, or a target that is compiled for one shape only."""

    code = "UAIR-E0551"
    title = "Shape buckets do not fit"
