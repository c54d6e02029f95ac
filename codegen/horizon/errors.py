"""Errors of the Horizon targets."""

from __future__ import annotations

from uair.errors import UairError


class HorizonInputError(UairError):
    """An input, its preprocessing and the options are a combination that Horizon's tools do not take."""

    code = "UAIR-E0570"
    title = "Input does not fit Horizon's tools"


class HorizonInterfaceError(UairError):
    """A model has more outputs than Horizon's tools take."""

    code = "UAIR-E0571"
    title = "Interface does not fit Horizon's tools"
