"""How far two results are apart, in numbers and in words."""

from __future__ import annotations

import numpy as np

from uair.cli.compile import describe_error
from uair.driver.describe import compare


def test_results_of_another_size_cannot_be_compared() -> None:
    """Random numbers may decide a size: the length of spoken text."""
    found = compare(np.zeros((1, 4), np.float32), np.zeros((1, 6), np.float32))
    assert found == {"max_abs": None, "relative": None, "cosine": None}
    assert "another size" in describe_error(found)
