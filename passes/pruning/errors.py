"""Errors of pruning."""

from __future__ import annotations

from uair.errors import UairError


class PruningBudgetError(UairError):
    """The channels that may go do not reach the budget, or the budget means nothing for this model."""

    code = "UAIR-E0760"
    title = "Pruning does not reach the budget"
