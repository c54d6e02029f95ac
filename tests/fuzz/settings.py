"""How many examples the fuzz and property tests draw: few and the same in CI, more by UAIR_EXAMPLES."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("UAIR_EXAMPLES", "1"))
"""Times the usual number of examples; anything but 1 draws new ones in every run."""


def examples(count: int) -> settings:
    """Settings for a test that draws `count` examples in CI."""
    return settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
