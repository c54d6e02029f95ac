"""Complex numbers and Fourier transforms."""

from __future__ import annotations

from uair.frontends.torch.node import Family

FAMILY = Family()
