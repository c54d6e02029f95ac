"""Errors of the T-Head code generator."""

from __future__ import annotations

from uair.errors import UairError


class NotInCsinn(UairError):
    """A node has no form in the csinn C API, or none that UAIR writes."""

    code = "UAIR-E0560"
    title = "No csinn form of an operator"


class UnknownRange(UairError):
    """A device that computes in 8-bit integers only needs the range of a tensor, and nothing was measured."""

    code = "UAIR-E0561"
    title = "Range of a tensor is not known"
